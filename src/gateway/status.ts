/** What a running gateway tells about itself: pure functions of the plan, the neighbors and the counters. */
import type {
  FlowRow,
  FlowsRequest,
  FlowsResult,
  LatencyResult,
  NeighborRow,
  StatsResult,
  StatusResult,
} from '../control/protocol.js';
import type {
  DataPlane,
  DropReason,
  Flow,
  MasqueradeUse,
  PeerCounters,
  WorkerCounters,
  WorkerLoad,
} from '../dataplane/port.js';
import { VpcConnError } from '../errors.js';
import type { NeighborCounters } from '../neighbor/neighbors.js';
import type { PeeringCounters } from '../peering/peering.js';
import type { OffloadChange } from './offloads.js';
import { judgePeer, type PeerFacts } from './peer-state.js';
import type { Plan } from './plan.js';

/** A moment, not an amount: nothing to add up or to show among the counters. */
const LAST_RX = 'last_rx_seconds';

/** Remembers when each peer was last heard; seconds on the clock that `now` comes from (CLOCK_MONOTONIC). */
export class PeerActivity {
  readonly #packets = new Map<string, bigint>();
  readonly #heard = new Map<string, number>();

  /** Call once a second and before reading. */
  observe(rows: readonly PeerCounters[], now: number): void {
    for (const { peer, values } of rows) {
      const stamp = values[LAST_RX];
      if (stamp !== undefined) {
        if (stamp > 0n) this.#heard.set(peer, Number(stamp));
        continue;
      }
      const packets = values.rx_packets ?? 0n;
      const before = this.#packets.get(peer) ?? 0n;
      this.#packets.set(peer, packets);
      if (packets > before) this.#heard.set(peer, now);
    }
    const known = new Set(rows.map(({ peer }) => peer));
    for (const map of [this.#packets, this.#heard]) {
      for (const peer of map.keys()) if (!known.has(peer)) map.delete(peer);
    }
  }

  /** Seconds since the peer was last heard; null: never. */
  silence(peer: string, now: number): number | null {
    const heard = this.#heard.get(peer);
    return heard === undefined ? null : Math.max(0, now - heard);
  }
}

export interface StatusFacts {
  readonly plan: Plan;
  readonly version: string;
  readonly state: StatusResult['state'];
  readonly uptimeSeconds: number;
  readonly generation: StatusResult['generation'];
  readonly acceleration: StatusResult['acceleration'];
  readonly offloads: readonly OffloadChange[];
  readonly guard: StatusResult['guard'];
  readonly neighbors: readonly NeighborRow[];
  readonly peerCounters: readonly PeerCounters[];
  /** In the order of the plan's peers. */
  readonly peers: readonly PeerFacts[];
  /** Beyond what the plan notices. */
  readonly notices: readonly string[];
}

export function statusOf(facts: StatusFacts): StatusResult {
  const { plan } = facts;
  const { settings, overlay, underlay } = plan;
  return {
    name: settings.name,
    version: facts.version,
    pid: process.pid,
    state: facts.state,
    uptimeSeconds: facts.uptimeSeconds,
    source: settings.source,
    generation: facts.generation,
    overlay: { ...side(overlay), address6: overlay.address6 ?? null, arp: settings.overlay.arp },
    underlay: side(underlay),
    acceleration: facts.acceleration,
    offloads: [...facts.offloads],
    guard: facts.guard,
    peers: facts.peers.map((peer) => peerStatus(peer, facts)),
    notices: [...plan.notices.map((notice) => notice.message), ...facts.notices],
  };
}

function side({ interface: name, address, mac, mtu, up }: Plan['underlay']): StatusResult['underlay'] {
  return { interface: name, address, mac, mtu, up };
}

function peerStatus(known: PeerFacts, facts: StatusFacts): StatusResult['peers'][number] {
  const { peer, silence, report } = known;
  const nextHop = facts.neighbors.find((row) => row.scope === 'underlay' && row.address === peer.address);
  const counters = facts.peerCounters.find((row) => row.peer === peer.name)?.values ?? {};
  const { state, why } = judgePeer(known);
  const more = report?.more ? [`... and ${report.more} more like these.`] : [];
  return {
    name: peer.name,
    address: peer.address,
    localAddress: peer.localAddress,
    state,
    stateWhy: why,
    lastSeenSeconds: silence === null ? null : Math.round(silence),
    nextHop: nextHop?.nextHop ?? null,
    nextHopMac: nextHop?.mac ?? null,
    innerMtu: peer.innerMtu,
    innerMtuWhy: peer.innerMtuWhy,
    proxied: peer.proxiedCount,
    unlisted: peer.unlisted,
    resolve: peer.resolve,
    keepalive: peer.keepalive,
    roundTripMs: report?.roundTrip ?? null,
    loss: report?.loss ?? null,
    findings: [...(report?.findings.map(({ message }) => message) ?? []), ...more],
    refusedHosts: [...known.refusedHosts],
    counters: amounts(counters),
  };
}

export interface StatsFacts {
  readonly uptimeSeconds: number;
  readonly workers: readonly WorkerCounters[];
  readonly loads: readonly WorkerLoad[];
  readonly peers: readonly PeerCounters[];
  readonly dropReasons: readonly DropReason[];
  readonly masquerade: MasqueradeUse;
  readonly neighbors: NeighborCounters;
  readonly peering: PeeringCounters;
}

export function statsOf(facts: StatsFacts): StatsResult {
  const { workers, loads, peers, dropReasons, masquerade, neighbors, peering } = facts;
  const totals: Record<string, number> = {};
  for (const { values } of workers) {
    for (const [name, value] of Object.entries(values)) totals[name] = (totals[name] ?? 0) + Number(value);
  }
  for (const [name, value] of Object.entries(neighbors)) totals[`arp_${snakeCase(name)}`] = value;
  for (const [name, value] of Object.entries(peering)) totals[`keepalive_${snakeCase(name)}`] = value;
  const drops = Object.entries(totals)
    .filter(([name, count]) => name.startsWith('drop_') && count > 0)
    .map(([name, count]) => {
      const reason = name.slice('drop_'.length);
      const text = dropReasons.find((one) => one.name === reason);
      return { reason, count, meaning: text?.meaning ?? '', remedy: text?.remedy ?? '' };
    })
    .sort((one, other) => other.count - one.count);
  return {
    uptimeSeconds: facts.uptimeSeconds,
    workers: workers.map(({ worker, values }) => {
      const load = loads.find((one) => one.worker === worker);
      return {
        worker,
        ...(load && { cpuSeconds: load.cpuNanoseconds / 1e9 }),
        values: numbers(values),
      };
    }),
    latency: latencyOf(loads),
    totals,
    drops,
    peers: peers.map(({ peer, values }) => ({ peer, values: amounts(values) })),
    ...masquerade,
  };
}

/** Microseconds: where the data plane's first bucket ends. */
const FIRST_BUCKET = 1.024;

function latencyOf(loads: readonly WorkerLoad[]): LatencyResult[] {
  const sums = new Map<string, number[]>();
  for (const { worker, latency } of loads) {
    const direction = worker.split('/')[0] ?? worker;
    const sum = sums.get(direction) ?? latency.map(() => 0);
    sums.set(
      direction,
      sum.map((batches, bucket) => batches + (latency[bucket] ?? 0)),
    );
  }
  return [...sums].map(([direction, counts]) => ({
    direction,
    buckets: counts.map((batches, bucket) => ({
      belowMicroseconds: bucket === counts.length - 1 ? null : FIRST_BUCKET * 2 ** bucket,
      batches,
    })),
  }));
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** In one answer. */
const FLOWS_OF_PAGE = 1000;

/** A page of flows. Throws VpcConnError when the request, which may come from anywhere, makes no sense. */
export function flowsOf(
  plan: Plan,
  dataPlane: Pick<DataPlane, 'flows'>,
  { from = 0, most = FLOWS_OF_PAGE }: FlowsRequest,
  total: number,
): FlowsResult {
  if (!isPlace(from) || !isPlace(most)) {
    throw new VpcConnError(
      'flows-request',
      'from and most of a request for flows are whole numbers. Leave them out to begin at the start.',
    );
  }
  const page = dataPlane.flows(from, Math.min(most, FLOWS_OF_PAGE));
  return { flows: page.flows.map((flow) => flowRow(plan, flow)), next: page.next, total };
}

function isPlace(value: unknown): boolean {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < 2 ** 32;
}

function flowRow(plan: Plan, flow: Flow): FlowRow {
  return {
    protocol: flow.protocol,
    peer: plan.peers[flow.peer]?.name ?? '',
    far: `${flow.farAddress}:${flow.farPort}`,
    masqueradedAs: `${flow.address}:${flow.port}`,
    near: flow.protocol === 'icmp' ? flow.nearAddress : `${flow.nearAddress}:${flow.nearPort}`,
    state: flow.state,
    idleSeconds: flow.idleSeconds,
  };
}

/** Exact up to 2^53, which a 100 Gbit/s link reaches in bytes after eight days: fit for people and ratios. */
function numbers(values: Readonly<Record<string, bigint>>): Record<string, number> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, Number(value)]));
}

function amounts(values: Readonly<Record<string, bigint>>): Record<string, number> {
  return Object.fromEntries(Object.entries(numbers(values)).filter(([name]) => name !== LAST_RX));
}
