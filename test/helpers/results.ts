/** Results of the control socket's methods, for tests of what is made of them. */
import type { StatsResult, StatusResult } from '../../src/control/protocol.js';

export const STATUS: StatusResult = {
  name: 'vpc-a',
  version: '0.1.0',
  pid: 4711,
  state: 'running',
  uptimeSeconds: 11_530,
  source: '/etc/vpc-conn/vpc-a.yaml',
  generation: { published: 5, acknowledged: 5 },
  overlay: {
    interface: 'ens5',
    address: '10.0.0.5',
    mac: '02:00:00:00:00:05',
    mtu: 9001,
    up: true,
    arp: 'respond',
  },
  underlay: { interface: 'ens6', address: '198.18.0.1', mac: '02:00:00:00:01:01', mtu: 9001, up: true },
  acceleration: {
    encap: { rung: 'off', why: 'not available' },
    decap: { rung: 'off', why: 'not available' },
  },
  guard: { state: 'up', method: 'nftables, owned by this process' },
  peers: [
    {
      name: 'vpc-b',
      address: '198.18.0.2',
      localAddress: '198.18.0.1',
      state: 'up',
      stateWhy: '',
      lastSeenSeconds: 0,
      nextHop: '198.18.0.254',
      nextHopMac: '02:00:00:00:01:fe',
      innerMtu: 8965,
      innerMtuWhy: 'eth2 9001',
      proxied: 3,
      unlisted: 'drop',
      resolve: 'peer',
      keepalive: true,
      roundTripMs: 0.214,
      loss: 0,
      findings: [],
      refusedHosts: [],
      counters: { rx_packets: 1_000_000, rx_bytes: 1_464_000_000, tx_packets: 12, tx_bytes: 999 },
    },
  ],
  notices: [],
};

export function statusWith(changes: Partial<StatusResult>): StatusResult {
  return { ...STATUS, ...changes };
}

export function peerWith(changes: Partial<StatusResult['peers'][number]>): StatusResult['peers'][number] {
  const [peer] = STATUS.peers;
  if (peer === undefined) throw new Error('there is one');
  return { ...peer, ...changes };
}

/** Two polls, the second one `rounds` later. */
export function statsAfter(rounds: number): StatsResult {
  const encap = {
    rx_frames: 1000 * rounds,
    rx_bytes: 1_500_000 * rounds,
    tx_frames: 900 * rounds,
    tx_bytes: 1_400_000 * rounds,
    drop_not_proxied: 12,
    drop_multicast: 0,
  };
  const idle = { rx_frames: 0, rx_bytes: 0, tx_frames: 0, tx_bytes: 0, ring_lost: 7 };
  return {
    uptimeSeconds: 100,
    workers: [
      { worker: 'encap/0', cpuSeconds: 0.5 * rounds, values: { ...encap, batches: 400 * rounds } },
      { worker: 'encap/1', cpuSeconds: 0.01 * rounds, values: encap },
      { worker: 'decap/0', cpuSeconds: 0, values: idle },
      { worker: 'slow-path', values: {} },
    ],
    latency: [
      {
        direction: 'encap',
        buckets: [
          { belowMicroseconds: 1.024, batches: 0 },
          { belowMicroseconds: 2.048, batches: 990 * rounds },
          { belowMicroseconds: null, batches: 10 * rounds },
        ],
      },
      { direction: 'decap', buckets: [{ belowMicroseconds: null, batches: 0 }] },
    ],
    totals: { ring_lost: 7, mss_clamped: 4, held: 0 },
    drops: [
      {
        reason: 'not_proxied',
        count: 24,
        meaning: 'For an address that is not a proxied address of this gateway.',
        remedy: 'List the far host under peers[].proxied if it should be reachable.',
      },
      { reason: 'multicast', count: 0, meaning: 'never shown', remedy: '' },
    ],
    peers: [
      {
        peer: 'vpc-b',
        values: { rx_packets: 5, rx_bytes: 500, tx_packets: 2000 * rounds, tx_bytes: 2_500_000 * rounds },
      },
    ],
    bindings: 2,
    flows: 3,
  };
}
