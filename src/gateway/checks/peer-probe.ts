/**
 * Asks the peers' gateways whether they are there and how large packets may be, without being a gateway: workers
 * that forward nothing, for a few seconds. Only peers that may be asked are (keepalive: true), only questions are
 * sent, and all that is attached to the machine is gone when this returns.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { createNativeDataPlane } from '../../dataplane/native-data-plane.js';
import type { DataPlane, DataPlaneEvent, DataPlaneFactory, ForwardingTable } from '../../dataplane/port.js';
import { createNeighbors } from '../../neighbor/neighbors.js';
import type { Netlink } from '../../net/netlink.js';
import { decodeFrame } from '../../peering/message.js';
import { createPeering, type PeerReport } from '../../peering/peering.js';
import { createGuard, type Guard } from '../guard.js';
import { peeringView } from '../peer-state.js';
import { neighborView, type Plan, type PlannedPeer } from '../plan.js';
import { createNextHops } from '../routes.js';
import { type Finding, info, warning } from './finding.js';

export interface PeerProbe {
  readonly peer: PlannedPeer;
  /** What has to answer ARP on the underlay; undefined: the kernel has no route. */
  readonly nextHop: string | undefined;
  readonly resolved: boolean;
  readonly report: Pick<PeerReport, 'answers' | 'roundTrip' | 'path'>;
  /** Largest outer packet that was answered, bytes; undefined: none of the sizes that were tried. */
  readonly proven: number | undefined;
}

export interface PeerProbeOptions {
  readonly dataPlaneFactory?: DataPlaneFactory;
  readonly guardFactory?: () => Guard;
  /** Milliseconds until a peer counts as silent, and until no more sizes are tried. */
  readonly answerWithin?: number;
  readonly pathWithin?: number;
}

/** A second question is asked after two seconds (peering/conversation.ts). */
const ANSWER_WITHIN = 3000;
/** Three lost probes, and one of the size that every tunnel should carry. */
const PATH_WITHIN = 7000;
const POLL = 20;

/** Throws VpcConnError when the workers or the guard cannot be attached. */
export async function probePeers(
  plan: Plan,
  netlink: Pick<Netlink, 'route'>,
  options: PeerProbeOptions = {},
): Promise<PeerProbe[]> {
  if (plan.peers.every((peer) => !peer.keepalive)) return [];
  const undo: (() => void)[] = [];
  try {
    return await probe(plan, netlink, options, undo);
  } finally {
    for (const take of undo.reverse()) take();
  }
}

async function probe(
  plan: Plan,
  netlink: Pick<Netlink, 'route'>,
  options: PeerProbeOptions,
  undo: (() => void)[],
): Promise<PeerProbe[]> {
  const table = forwardingNothing(plan.table);
  const guard = (options.guardFactory ?? createGuard)();
  undo.push(() => guard.close());
  // Or the kernel would answer the answers: it knows no protocol 97.
  guard.apply({ ...plan.guard, proxied: [], masquerade: undefined });
  let heard: (event: DataPlaneEvent) => void = () => {};
  const dataPlane = (options.dataPlaneFactory ?? createNativeDataPlane)({
    overlay: { ifindex: plan.overlay.ifindex, name: plan.overlay.interface },
    underlay: { ifindex: plan.underlay.ifindex, name: plan.underlay.interface },
    workers: 1,
    spinMicroseconds: 0,
    onEvent: (event) => heard(event),
  });
  undo.push(() => dataPlane.close());
  dataPlane.publishTable(table);
  dataPlane.start();
  const talk = converse(plan, table, dataPlane, netlink, undo);
  heard = talk.heard;
  await settled(talk.probes, options);
  return talk.probes();
}

/** Whatever comes is dropped; answers to keepalives are handed up all the same. */
function forwardingNothing(table: ForwardingTable): ForwardingTable {
  return {
    ...table,
    peers: table.peers.map((peer) => ({ ...peer, unlisted: 'drop' })),
    proxied: [],
    icmpErrorsPerSecond: 0,
  };
}

function converse(
  plan: Plan,
  table: ForwardingTable,
  dataPlane: DataPlane,
  netlink: Pick<Netlink, 'route'>,
  undo: (() => void)[],
) {
  const nextHops = createNextHops(netlink, () => plan);
  const neighbors = createNeighbors({
    dataPlane,
    view: { ...neighborView(plan), table, pool: [], arp: 'silent' },
    nextHopFor: nextHops.nextHopFor,
  });
  undo.push(() => neighbors.close());
  const asked = plan.peers.filter((peer) => peer.keepalive);
  neighbors.pin(
    'underlay',
    asked.map((peer) => peer.address),
  );
  const resolved = (address: string) => neighbors.macOf('underlay', address) !== undefined;
  const sizes = new Map<string, number>();
  const view = peeringView(plan, () => undefined);
  const peering = createPeering({
    dataPlane,
    // Lists are compared by gateways that run.
    view: { ...view, peers: view.peers.map((peer) => ({ ...peer, hosts: [] })) },
    resolved,
    heardLately: () => false,
    judge: () => 'other',
    path: {
      proven: (address, outerMtu) => void sizes.set(address, outerMtu),
      blackHole: (address, outerMtu) => void sizes.set(address, outerMtu),
      forget: () => {},
    },
  });
  undo.push(() => peering.close());
  return {
    heard: (event: DataPlaneEvent) => {
      if (event.kind === 'keepalive') {
        // Questions are for a gateway that runs.
        if (decodeFrame(event.frame)?.kind.endsWith('answer')) peering.handle(event);
      } else if ('scope' in event && event.scope === 'underlay') neighbors.handle(event);
    },
    probes: (): PeerProbe[] => {
      const reports = peering.reports();
      return plan.peers.flatMap((peer, place) => {
        const report = reports[place];
        if (!peer.keepalive || report === undefined) return [];
        const { address } = peer;
        const nextHop = nextHops.nextHopFor('underlay', address);
        const proven = report.path.proven ? sizes.get(address) : undefined;
        return [{ peer, nextHop, resolved: resolved(address), report, proven }];
      });
    },
  };
}

/** Resolves when there is nothing more to find out, or no more time. */
async function settled(
  probes: () => readonly PeerProbe[],
  { answerWithin = ANSWER_WITHIN, pathWithin = PATH_WITHIN }: PeerProbeOptions,
): Promise<void> {
  const began = performance.now();
  for (;;) {
    const elapsed = performance.now() - began;
    const waits = ({ report: { answers, path } }: PeerProbe) =>
      answers === 'yes' ? !path.proven && elapsed < pathWithin : elapsed < answerWithin;
    if (!probes().some(waits)) return;
    await delay(POLL);
  }
}

export function peerFindings(plan: Plan, probes: readonly PeerProbe[]): Finding[] {
  return plan.peers.flatMap((peer, place) => {
    const key = `peers[${place}]`;
    const probe = probes.find((one) => one.peer.name === peer.name);
    if (probe !== undefined) return [judge(probe, plan.underlay.interface, key)];
    const message = `Peer ${peer.name} was not asked whether it is there, because its keepalive is off.`;
    return peer.keepalive ? [] : [{ ...info('peer-not-asked', message), key }];
  });
}

function judge({ peer, nextHop, resolved, report, proven }: PeerProbe, device: string, key: string): Finding {
  const who = `${peer.name} (${peer.address})`;
  if (nextHop === undefined || !resolved) {
    const message =
      nextHop === undefined || nextHop === peer.address
        ? `Peer ${who} does not answer ARP on ${device}.`
        : `The router ${nextHop} on the way to peer ${who} does not answer ARP on ${device}.`;
    const remedy = `Look whether ${device} is the right interface and the address is right.`;
    return warning('peer-unresolved', message, remedy, key);
  }
  if (report.answers !== 'yes') {
    const message = `The gateway of peer ${who} did not answer a keepalive.`;
    const remedy = `Start it if it does not run; let security groups and network ACLs pass protocol 97 both ways; its file must have ${peer.localAddress} as this gateway's address.`;
    return warning('peer-silent', message, remedy, key);
  }
  const time = report.roundTrip === null ? '' : ` in ${report.roundTrip.toFixed(1)} ms`;
  if (report.path.limited) {
    const smaller = proven === undefined ? '' : `, packets of ${proven} bytes do`;
    const message = `Peer ${who} answers${time}, but packets of ${peer.outerMtu} bytes do not reach it though the route says so${smaller}.`;
    const remedy = `Set the MTU that the way has: ip route change ${peer.address} ... mtu BYTES. A gateway that runs finds it by itself.`;
    return warning('path-mtu', message, remedy, key);
  }
  const size = report.path.proven
    ? ` Packets of ${peer.outerMtu} bytes, the most that its route takes, arrive.`
    : '';
  return { ...info('peer-answers', `Peer ${who} answers${time}.${size}`), key };
}
