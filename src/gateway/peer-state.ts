/** What a person is told about a peer: its state in a word and why, logged once per change. */
import type { PeerState } from '../control/protocol.js';
import type { Logger } from '../log.js';
import { isIpv4 } from '../net/address.js';
import type { PeeringPeer, PeeringView, PeerReport } from '../peering/peering.js';
import { leastPathMtu } from './path-mtu.js';
import { type Plan, type PlannedPeer, tunnelOverhead } from './plan.js';

/** Without keepalives, a peer counts as up as long as something was heard from it, seconds. */
export const HEARD_LATELY = 10;

const INNER_ETHERNET = 14;

/**
 * What the peering has to know of a plan.
 * @param reported what routers said of the path to a peer's address, outer bytes: probing begins there.
 */
export function peeringView(plan: Plan, reported: (peerAddress: string) => number | undefined): PeeringView {
  return {
    sourceMac: plan.underlay.mac,
    peers: plan.peers.map((peer, place) => peeringPeer(plan, peer, place, reported(peer.address))),
  };
}

function peeringPeer(plan: Plan, peer: PlannedPeer, place: number, reported = peer.routeMtu): PeeringPeer {
  const entries = plan.table.proxied.filter((entry) => entry.peer === place);
  return {
    name: peer.name,
    address: peer.address,
    localAddress: peer.localAddress,
    initiates: peer.keepalive,
    pathLimit: Math.min(peer.routeMtu, reported),
    leastPath: leastPathMtu(peer.address),
    outerHeaders: tunnelOverhead(peer.address) - INNER_ETHERNET,
    hosts: entries.map(({ address, host, prefixLength }) => ({
      address: host,
      prefixLength,
      proxiedAs: address,
    })),
    acceptsNone: entries.length === 0 && peer.unlisted === 'drop',
  };
}

export interface PeerFacts {
  readonly peer: PlannedPeer;
  /** The next hop's MAC is known. */
  readonly resolved: boolean;
  /** Seconds since anything came from it; null: never. */
  readonly silence: number | null;
  readonly report: PeerReport | undefined;
  /** Far hosts that were dropped lately, because they have no proxied address here. */
  readonly refusedHosts: readonly string[];
}

export interface PeerVerdict {
  readonly state: PeerState;
  /** Empty when there is nothing to say. */
  readonly why: string;
}

/** The first trouble in the order in which they have to be mended. */
export function judgePeer({ peer, resolved, silence, report }: Omit<PeerFacts, 'refusedHosts'>): PeerVerdict {
  if (!resolved) {
    const question = isIpv4(peer.address) ? 'ARP' : 'neighbor solicitations';
    return { state: 'unresolved', why: `the next hop to it does not answer ${question}` };
  }
  const heard = silence !== null && silence < HEARD_LATELY;
  switch (report?.answers ?? 'unasked') {
    case 'unasked':
      if (!heard) {
        return { state: 'unknown', why: 'keepalives are not initiated, and nothing was heard lately' };
      }
      break;
    case 'awaited':
      if (!heard) return { state: 'unknown', why: 'its first answer to a keepalive is awaited' };
      break;
    case 'never':
      if (!heard) return { state: 'silent', why: 'it has not answered any keepalive' };
      break;
    case 'no-longer': {
      const why = heard
        ? 'it is heard, but no longer answers keepalives: what is sent to it gets lost'
        : 'it no longer answers keepalives';
      return { state: 'silent', why };
    }
    case 'yes':
      break;
  }
  const [finding] = report?.findings ?? [];
  if (finding) return { state: 'misconfigured', why: finding.message };
  if (peer.outerMtu < peer.routeMtu) {
    const why = `packets of more than ${peer.outerMtu} bytes do not get through, though the route says ${peer.routeMtu} (${peer.innerMtuWhy})`;
    return { state: 'mtu-limited', why };
  }
  return { state: 'up', why: report?.answers === 'never' ? 'it sends, but answers no keepalive' : '' };
}

/** Remembers what was logged of each peer. */
export class PeerLog {
  readonly #logger: Pick<Logger, 'info' | 'warn'>;
  #states = new Map<string, PeerState>();
  #findings = new Map<string, ReadonlySet<string>>();

  constructor(logger: Pick<Logger, 'info' | 'warn'>) {
    this.#logger = logger;
  }

  /** Call once a second with all peers. */
  observe(all: readonly PeerFacts[]): void {
    const states = new Map<string, PeerState>();
    const findings = new Map<string, ReadonlySet<string>>();
    for (const facts of all) {
      const { name } = facts.peer;
      const verdict = judgePeer(facts);
      states.set(name, verdict.state);
      this.#state(name, this.#states.get(name) ?? 'unknown', verdict);
      const now = new Set(facts.report?.findings.map(({ message }) => message));
      findings.set(name, now);
      this.#told(name, this.#findings.get(name) ?? new Set(), now);
    }
    this.#states = states;
    this.#findings = findings;
  }

  #state(peer: string, before: PeerState, { state, why }: PeerVerdict): void {
    if (state === before) return;
    // What is wrong with the settings is logged finding by finding.
    const text = `peer ${peer} is ${state}${why === '' || state === 'misconfigured' ? '' : `: ${why}`}`;
    if (state === 'up' || state === 'unknown') this.#logger.info({ peer, state }, text);
    else this.#logger.warn({ peer, state }, text);
  }

  #told(peer: string, before: ReadonlySet<string>, now: ReadonlySet<string>): void {
    for (const message of now) if (!before.has(message)) this.#logger.warn({ peer }, message);
    for (const message of before) if (!now.has(message)) this.#logger.info({ peer }, `settled: ${message}`);
  }
}
