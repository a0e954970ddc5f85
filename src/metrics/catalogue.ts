/**
 * Every metric: its name, what it says, and how it is read from what a gateway tells of itself. docs/metrics.md is
 * made from this list, and the dashboard and the alerts under examples/monitoring are held to it. Names follow
 * Prometheus: base units, counters end with _total. Labels are bounded by the settings (peers, workers) or by
 * lists in the code (directions, reasons, states); none carries a host's address.
 */
import type { PeerState, StatsResult, StatusResult } from '../control/protocol.js';

export const PREFIX = 'vpc_conn_';

/** What one scrape reads; all of it comes from the JS thread. */
export interface Facts {
  readonly status: StatusResult;
  readonly stats: StatsResult;
  /** By interface; those of the driver's statistics that say what an instance type allows (ENA), else empty. */
  readonly allowances: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly process: { readonly cpuSeconds: number; readonly residentBytes: number };
  /** Seconds since 1970. */
  readonly now: number;
}

export interface Sample {
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface MetricDefinition {
  /** Without PREFIX. */
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  readonly help: string;
  readonly labels: readonly string[];
  readonly read: (facts: Facts) => Sample[];
}

type Described = readonly [name: string, help: string];

/** The workers' own counters (native/forward/counters.h) but the drops; the test of metrics holds this complete. */
export const WORKER_COUNTERS: Readonly<Record<string, Described>> = {
  rx_frames: ['received_frames', 'Frames taken up. A super-frame counts as one.'],
  rx_bytes: ['received_bytes', 'Bytes of frames taken up.'],
  rx_super_frames: ['received_super_frames', 'Super-frames (merged by GRO) among the received frames.'],
  forwarded: ['forwarded_frames', 'Received frames that went on to the other side.'],
  carried_by_kernel: [
    'kernel_carried_frames',
    'Forwarded frames that the kernel carried without a worker (rung full).',
  ],
  tx_frames: [
    'transmitted_frames',
    'Frames sent; more than the forwarded ones where super-frames were segmented.',
  ],
  tx_bytes: ['transmitted_bytes', 'Bytes of frames sent.'],
  tx_super_frames: [
    'transmitted_super_frames',
    'Super-frames sent whole; the kernel or the driver segments them.',
  ],
  punted: ['punted_frames', 'ARP, neighbor discovery and keepalives, given to the control plane.'],
  held: ['held_frames', 'Frames that waited because the MAC of their next hop was not known.'],
  hold_released: ['released_frames', 'Held frames that were sent when the MAC became known.'],
  ring_lost: [
    'ring_lost_frames',
    'Frames that the kernel dropped because the workers were too slow: overload.',
  ],
  events_lost: ['lost_events', 'Events for the control plane that found their queue full.'],
  mss_clamped: ['clamped_mss', 'TCP SYNs whose MSS option was lowered to what the tunnel carries.'],
  fragmented: ['fragmented_packets', 'Packets that were cut into fragments because they were too big.'],
  icmp_errors: ['sent_icmp_errors', 'ICMP errors ("packet too big") sent to hosts.'],
  icmp_errors_withheld: ['withheld_icmp_errors', 'ICMP errors not sent because of the limit dataplane.icmp.'],
  checksums_mended: [
    'mended_checksums',
    'Wrong IPv4 header checksums put right (resolve: tunnel, for the original tool).',
  ],
  ecn_unexpected: ['unexpected_ecn_packets', 'ECN combinations that nothing should make (RFC 6040).'],
  etherip_reversed: [
    'reversed_etherip_packets',
    'EtherIP packets with the version in the wrong half (compat.reversed).',
  ],
  coalesced: ['coalesced_frames', 'Frames that were merged into super-frames in user space.'],
  batches: ['batches', 'Batches of frames that the workers went through.'],
  sleeps: ['sleeps', 'Times that a worker found nothing to do and slept.'],
};

/** Counters of ARP and neighbor discovery, arp_... among the totals. */
const NEIGHBOR_COUNTERS: Readonly<Record<string, Described>> = {
  arp_requests_sent: ['neighbor_requests', 'ARP requests and neighbor solicitations sent.'],
  arp_replies_sent: ['neighbor_replies', 'Answers sent for proxied and own addresses.'],
  arp_throttled: ['neighbor_throttled', 'Neighbors not asked for because of the limit on all requests.'],
  arp_conflicts: ['neighbor_conflicts', 'Frames of other machines that claim an own or a proxied address.'],
  arp_mac_changes: ['neighbor_mac_changes', 'Neighbors that came up with another MAC.'],
};

/** Counters of what gateways say to each other, keepalive_... among the totals. */
const KEEPALIVE_COUNTERS: Readonly<Record<string, Described>> = {
  keepalive_asked: ['keepalive_questions', 'Keepalives, path probes and questions about lists sent.'],
  keepalive_answered: ['keepalive_replies', 'Answers given to the gateways of peers.'],
  keepalive_heard: ['keepalive_answers', 'Answers received.'],
  keepalive_malformed: ['keepalive_malformed', 'Messages that were malformed or of another version.'],
};

const PEER_COUNTERS: Readonly<Record<string, Described>> = {
  rx_packets: ['peer_received_packets', 'Packets from this peer.'],
  rx_bytes: ['peer_received_bytes', 'Bytes from this peer.'],
  tx_packets: ['peer_transmitted_packets', 'Packets to this peer.'],
  tx_bytes: ['peer_transmitted_bytes', 'Bytes to this peer.'],
};

const PEER_STATES: Readonly<Record<PeerState, true>> = {
  up: true,
  silent: true,
  unresolved: true,
  'mtu-limited': true,
  misconfigured: true,
  unknown: true,
};

const RUNGS = ['off', 'segment', 'full'] as const;

type Peer = StatusResult['peers'][number];

export const METRICS: readonly MetricDefinition[] = [
  gauge('info', 'Always 1; says which gateway this is.', ['gateway', 'version'], ({ status }) => [
    { labels: { gateway: status.name, version: status.version }, value: 1 },
  ]),
  gauge('start_time_seconds', 'When the gateway started, seconds since 1970.', [], ({ status, now }) => [
    { value: Math.round(now - status.uptimeSeconds) },
  ]),
  gauge('degraded', '1: something does not work although the gateway runs; status says what.', [], (facts) =>
    one(facts.status.state === 'degraded'),
  ),
  gauge('notices', 'Sentences under "Notices" in status.', [], ({ status }) => [
    { value: status.notices.length },
  ]),
  gauge('guard_up', '1: the kernel guard is in force.', [], ({ status }) => one(status.guard.state === 'up')),
  gauge('table_generation', 'Generation of the forwarding table that was published last.', [], (facts) => [
    { value: facts.status.generation.published },
  ]),
  gauge(
    'table_generation_acknowledged',
    'Generation of the forwarding table that every worker has taken up.',
    [],
    ({ status }) => [{ value: status.generation.acknowledged }],
  ),
  gauge('interface_up', '1: the interface is up and has a carrier.', ['side', 'interface'], (facts) =>
    sides(facts, ({ up }) => Number(up)),
  ),
  gauge('interface_mtu_bytes', 'MTU of the interface.', ['side', 'interface'], (facts) =>
    sides(facts, ({ mtu }) => mtu),
  ),
  gauge(
    'acceleration_rung',
    '1 for the rung that the direction runs on, 0 for the others.',
    ['direction', 'rung'],
    ({ status: { acceleration } }) =>
      (['encap', 'decap'] as const).flatMap((direction) =>
        RUNGS.map((rung) => ({
          labels: { direction, rung },
          value: Number(acceleration[direction].rung === rung),
        })),
      ),
  ),
  ...counters(WORKER_COUNTERS, ['direction', 'worker'], ({ stats }, counter) =>
    stats.workers.map(({ worker, values }) => ({
      labels: workerLabels(worker),
      value: values[counter] ?? 0,
    })),
  ),
  counter(
    'dropped_frames',
    'Frames dropped; docs/drop-reasons.md says what each reason means and what to do.',
    ['direction', 'reason'],
    drops,
  ),
  gauge('masquerade_flows', 'Masqueraded flows in use.', [], ({ stats }) => [{ value: stats.flows }]),
  gauge('masquerade_bindings', 'Ports that masquerade has given out.', [], ({ stats }) => [
    { value: stats.bindings },
  ]),
  gauge('neighbors', 'Next hops and hosts that are known or asked for.', [], ({ stats }) => [
    { value: stats.totals.arp_entries ?? 0 },
  ]),
  ...counters(NEIGHBOR_COUNTERS, [], total),
  ...counters(KEEPALIVE_COUNTERS, [], total),
  ...counters(PEER_COUNTERS, ['peer'], ({ stats }, counter) =>
    stats.peers.map(({ peer, values }) => ({ labels: { peer }, value: values[counter] ?? 0 })),
  ),
  gauge(
    'peer_state',
    '1 for the state that the peer is in, 0 for the others.',
    ['peer', 'state'],
    ({ status: { peers } }) =>
      peers.flatMap(({ name: peer, state: now }) =>
        Object.keys(PEER_STATES).map((state) => ({ labels: { peer, state }, value: Number(now === state) })),
      ),
  ),
  peerGauge(
    'silence_seconds',
    'Seconds since anything came from the peer; absent: never.',
    (peer) => peer.lastSeenSeconds,
  ),
  peerGauge(
    'round_trip_seconds',
    'Smoothed round trip of keepalives; absent: not measured.',
    ({ roundTripMs }) => (roundTripMs === null ? null : roundTripMs / 1000),
  ),
  peerGauge(
    'keepalive_loss_ratio',
    'Share of the last 100 keepalives that were not answered, 0 to 1; absent: not measured.',
    (peer) => peer.loss,
  ),
  peerGauge(
    'inner_mtu_bytes',
    'Largest inner IP packet that the tunnel to the peer carries.',
    (peer) => peer.innerMtu,
  ),
  peerGauge(
    'proxied_addresses',
    'Proxied addresses that stand for hosts behind the peer.',
    (peer) => peer.proxied,
  ),
  peerGauge(
    'findings',
    'Sentences in status on what the two gateways do not agree on.',
    (peer) => peer.findings.length,
  ),
  peerGauge(
    'refused_hosts',
    'Far hosts without a proxied address that sent within the last five minutes and were dropped.',
    (peer) => peer.refusedHosts.length,
  ),
  counter(
    'interface_allowance_exceeded_packets',
    'Packets that the instance type made wait or dropped (ENA); absent: the driver does not tell.',
    ['interface', 'allowance'],
    ({ allowances }) =>
      Object.entries(allowances).flatMap(([name, values]) =>
        ending(values, EXCEEDED).map(([allowance, value]) => ({
          labels: { interface: name, allowance },
          value,
        })),
      ),
  ),
  gauge(
    'interface_conntrack_allowance_available',
    'Connections that security groups may still track (ENA); absent: the driver does not tell.',
    ['interface'],
    ({ allowances }) =>
      Object.entries(allowances).flatMap(([name, { conntrack_allowance_available: value }]) =>
        value === undefined ? [] : [{ labels: { interface: name }, value }],
      ),
  ),
  counter(
    'process_cpu_seconds',
    'CPU time of the process, workers included.',
    [],
    ({ process: { cpuSeconds } }) => [{ value: cpuSeconds }],
  ),
  gauge('process_resident_bytes', 'Memory of the process, rings included.', [], (facts) => [
    { value: facts.process.residentBytes },
  ]),
];

/** As ENA calls them: bw_in_allowance_exceeded, pps_allowance_exceeded, ... */
const EXCEEDED = '_allowance_exceeded';

function ending(values: Readonly<Record<string, number>>, end: string): [string, number][] {
  return Object.entries(values).flatMap(([name, value]): [string, number][] =>
    name.endsWith(end) ? [[name.slice(0, -end.length), value]] : [],
  );
}

function gauge(
  name: string,
  help: string,
  labels: readonly string[],
  read: MetricDefinition['read'],
): MetricDefinition {
  return { name, type: 'gauge', help, labels, read };
}

function counter(
  name: string,
  help: string,
  labels: readonly string[],
  read: MetricDefinition['read'],
): MetricDefinition {
  return { name: `${name}_total`, type: 'counter', help, labels, read };
}

function counters(
  described: Readonly<Record<string, Described>>,
  labels: readonly string[],
  read: (facts: Facts, counter: string) => Sample[],
): MetricDefinition[] {
  return Object.entries(described).map(([from, [name, help]]) =>
    counter(name, help, labels, (facts) => read(facts, from)),
  );
}

/** null: no sample. */
function peerGauge(name: string, help: string, value: (peer: Peer) => number | null): MetricDefinition {
  return gauge(`peer_${name}`, help, ['peer'], ({ status: { peers } }) =>
    peers.flatMap((peer) => {
      const known = value(peer);
      return known === null ? [] : [{ labels: { peer: peer.name }, value: known }];
    }),
  );
}

function one(yes: boolean): Sample[] {
  return [{ value: Number(yes) }];
}

function sides(
  { status: { overlay, underlay } }: Facts,
  value: (side: StatusResult['underlay']) => number,
): Sample[] {
  return [
    { labels: { side: 'overlay', interface: overlay.interface }, value: value(overlay) },
    { labels: { side: 'underlay', interface: underlay.interface }, value: value(underlay) },
  ];
}

function total({ stats }: Facts, counter: string): Sample[] {
  return [{ value: stats.totals[counter] ?? 0 }];
}

/** "encap/0"; what is no worker's has its row, too. */
function workerLabels(row: string): { direction: string; worker: string } {
  const [direction = row, worker = 'none'] = row.split('/');
  return { direction, worker };
}

/** Added up over the workers: with every worker there would be thousands of series that stay 0. */
function drops({ stats }: Facts): Sample[] {
  const sums = new Map<string, { labels: Record<string, string>; value: number }>();
  for (const { worker, values } of stats.workers) {
    const { direction } = workerLabels(worker);
    for (const [name, value] of Object.entries(values)) {
      if (!name.startsWith('drop_')) continue;
      const reason = name.slice('drop_'.length);
      const sum = sums.get(`${direction} ${reason}`) ?? { labels: { direction, reason }, value: 0 };
      sum.value += value;
      sums.set(`${direction} ${reason}`, sum);
    }
  }
  return [...sums.values()];
}
