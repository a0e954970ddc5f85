/** What `vpc-conn stats` prints. */
import type { StatsResult } from '../control/protocol.js';
import { formatBitRate, formatBytes, formatCount, plural } from './format.js';
import { bucketsSince, formatBound, quantile } from './latency.js';
import { sparkline } from './sparkline.js';
import { type Column, table } from './table.js';

type Values = Readonly<Record<string, number>>;

/** An earlier poll, for rates. */
export interface Earlier {
  result: StatsResult;
  /** Between the two polls. */
  seconds: number;
}

const DIRECTIONS: Readonly<Record<string, string>> = {
  encap: 'encap (overlay to underlay)',
  decap: 'decap (underlay to overlay)',
  'slow-path': 'kernel and slow path (ARP)',
};

/** Counters worth a word when they are not zero; those in the tables and drops are not among them. */
const REMARKS: Readonly<Record<string, string>> = {
  rx_super_frames: 'super-frames received',
  carried_by_kernel: 'frames carried by the kernel alone',
  held: 'frames waited for ARP',
  mss_clamped: 'TCP MSS options lowered',
  checksums_mended: 'checksums mended',
  ecn_unexpected: 'ECN fields that nothing should have made (RFC 6040)',
  etherip_reversed: 'frames with the EtherIP version in the wrong half',
  ring_lost: 'frames lost before a worker saw them: more came than it can carry (see dataplane.workers)',
  events_lost: 'events lost',
};

const WIDTH = 100;

export function renderStats(stats: StatsResult, earlier?: Earlier): string {
  const parts = [directions(stats, earlier), workers(stats, earlier)];
  if ((stats.latency ?? []).length > 0) parts.push(latency(stats, earlier));
  if (stats.peers.length > 0) parts.push(peers(stats, earlier));
  const remarks = remarksOf(stats);
  if (remarks !== '') parts.push(remarks);
  parts.push(drops(stats));
  return `${parts.join('\n\n')}\n`;
}

function directions(stats: StatsResult, earlier: Earlier | undefined): string {
  const now = byDirection(stats);
  const before = earlier && byDirection(earlier.result);
  return table(
    trafficColumns('direction', 'frames', earlier !== undefined, [{ head: 'dropped', align: 'right' }]),
    [...now].map(([direction, values]) => {
      const rates = earlier && { before: before?.get(direction), seconds: earlier.seconds };
      return [
        DIRECTIONS[direction] ?? direction,
        ...trafficCells(values, 'frames', rates),
        formatCount(dropped(values)),
      ];
    }),
  );
}

function workers(stats: StatsResult, earlier: Earlier | undefined): string {
  const rows = stats.workers.filter(({ worker }) => worker !== 'slow-path');
  return table(
    [
      { head: 'worker' },
      { head: 'cpu', align: 'right' },
      { head: 'frames', align: 'right' },
      { head: 'bytes', align: 'right' },
      { head: 'frames/batch', align: 'right' },
      { head: 'dropped', align: 'right' },
      { head: 'ring lost', align: 'right' },
    ],
    rows.map(({ worker, values }) => {
      const { rx_frames: frames = 0, rx_bytes: bytes = 0, batches = 0, ring_lost: lost = 0 } = values;
      return [
        worker,
        formatShare(cpuShare(stats, worker, earlier)),
        formatCount(frames),
        formatBytes(bytes),
        batches === 0 ? '-' : (frames / batches).toFixed(1),
        formatCount(dropped(values)),
        formatCount(lost),
      ];
    }),
  );
}

/**
 * CPU time of a worker by the time that passed, since the earlier poll or else since the start; undefined: not told.
 * 1 is one processor.
 */
export function cpuShare(stats: StatsResult, worker: string, earlier?: Earlier): number | undefined {
  const now = stats.workers.find((row) => row.worker === worker)?.cpuSeconds;
  if (now === undefined) return undefined;
  const before = earlier?.result.workers.find((row) => row.worker === worker)?.cpuSeconds;
  const since = before !== undefined && before <= now ? before : 0;
  const seconds = since === before && earlier ? earlier.seconds : (stats.uptimeSeconds ?? 0);
  return seconds > 0 ? (now - since) / seconds : undefined;
}

export function formatShare(share: number | undefined): string {
  if (share === undefined) return '-';
  return share > 0 && share < 0.1 ? `${(share * 100).toFixed(1)}%` : `${Math.round(share * 100)}%`;
}

/** Since the earlier poll, or else since the start. */
function latency(stats: StatsResult, earlier: Earlier | undefined): string {
  return table(
    [
      { head: 'latency in this gateway' },
      { head: 'half', align: 'right' },
      { head: '99%', align: 'right' },
      { head: '99.9%', align: 'right' },
      { head: '1 us to 4 s' },
    ],
    (stats.latency ?? []).map(({ direction, buckets: all }) => {
      const before = earlier?.result.latency?.find((row) => row.direction === direction)?.buckets;
      const buckets = bucketsSince(all, before);
      return [
        direction,
        ...[0.5, 0.99, 0.999].map((share) => formatBound(quantile(buckets, share))),
        sparkline(
          buckets.map(({ batches }) => batches),
          buckets.length,
        ).trimEnd(),
      ];
    }),
  );
}

function peers(stats: StatsResult, earlier: Earlier | undefined): string {
  return table(
    trafficColumns('peer', 'packets', earlier !== undefined),
    stats.peers.map(({ peer, values }) => {
      const before = earlier?.result.peers.find((row) => row.peer === peer)?.values;
      return [peer, ...trafficCells(values, 'packets', earlier && { before, seconds: earlier.seconds })];
    }),
  );
}

function trafficColumns(
  first: string,
  unit: 'frames' | 'packets',
  rates: boolean,
  more: readonly Column[] = [],
): Column[] {
  const heads = rates
    ? [`rx ${unit}`, 'rx/s', 'rx rate', `tx ${unit}`, 'tx/s', 'tx rate']
    : [`rx ${unit}`, 'rx bytes', `tx ${unit}`, 'tx bytes'];
  return [{ head: first }, ...heads.map((head) => ({ head, align: 'right' as const })), ...more];
}

function trafficCells(
  values: Values,
  unit: 'frames' | 'packets',
  rates: { before: Values | undefined; seconds: number } | undefined,
): string[] {
  return ['rx', 'tx'].flatMap((way) => {
    const count = values[`${way}_${unit}`] ?? 0;
    const bytes = values[`${way}_bytes`] ?? 0;
    if (rates === undefined) return [formatCount(count), formatBytes(bytes)];
    return [
      formatCount(count),
      rate(count, rates.before?.[`${way}_${unit}`], rates.seconds, formatCount),
      rate(bytes, rates.before?.[`${way}_bytes`], rates.seconds, formatBitRate),
    ];
  });
}

/** '-' where there is nothing to compare with: a peer that is new, a gateway that was restarted. */
function rate(
  now: number,
  before: number | undefined,
  seconds: number,
  format: (n: number) => string,
): string {
  return before === undefined || before > now || seconds <= 0 ? '-' : format((now - before) / seconds);
}

/** "encap/0", "encap/1", ... added up under "encap". */
export function byDirection(stats: StatsResult): Map<string, Record<string, number>> {
  const sums = new Map<string, Record<string, number>>();
  for (const { worker, values } of stats.workers) {
    const direction = worker.split('/')[0] ?? worker;
    const sum = sums.get(direction) ?? {};
    for (const [name, value] of Object.entries(values)) sum[name] = (sum[name] ?? 0) + value;
    sums.set(direction, sum);
  }
  return sums;
}

export function dropped(values: Values): number {
  return Object.entries(values)
    .filter(([name]) => name.startsWith('drop_'))
    .reduce((sum, [, count]) => sum + count, 0);
}

function remarksOf(stats: StatsResult): string {
  const remarks = Object.entries(REMARKS)
    .filter(([name]) => (stats.totals[name] ?? 0) > 0)
    .map(([name, text]) => `${formatCount(stats.totals[name] ?? 0)} ${text}`);
  if (stats.bindings > 0) {
    const over = plural(stats.flows, 'masqueraded flow');
    remarks.push(`${over} over ${plural(stats.bindings, 'binding')}`);
  }
  return remarks.join('\n');
}

function drops(stats: StatsResult): string {
  const rows = stats.drops.filter(({ count }) => count > 0);
  if (rows.length === 0) return 'No frame was dropped.';
  const reasonWidth = Math.max('drop reason'.length, ...rows.map(({ reason }) => reason.length));
  return table(
    [
      { head: 'drop reason', width: reasonWidth },
      { head: 'count', align: 'right', width: 7 },
      { head: 'what it was, and what to do', width: WIDTH - reasonWidth - 7 - 3 * 2 },
    ],
    rows.map(({ reason, count, meaning, remedy }) => [
      reason,
      formatCount(count),
      [meaning, remedy].filter((text) => text !== '').join('\n'),
    ]),
  );
}
