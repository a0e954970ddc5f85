/** What a histogram of latencies says. */
import type { LatencyResult } from '../control/protocol.js';

type Buckets = LatencyResult['buckets'];

/** The bound of the bucket that this share of the batches, 0..1, does not exceed, microseconds; null: there are none. */
export function quantile(buckets: Buckets, share: number): number | null {
  const total = buckets.reduce((sum, { batches }) => sum + batches, 0);
  if (total === 0) return null;
  let seen = 0;
  for (const { belowMicroseconds, batches } of buckets) {
    seen += batches;
    if (seen >= share * total) return belowMicroseconds ?? Number.POSITIVE_INFINITY;
  }
  return Number.POSITIVE_INFINITY;
}

/** What happened since an earlier poll; all of it where the gateway was restarted meanwhile. */
export function bucketsSince(now: Buckets, before: Buckets | undefined): Buckets {
  const fits = before?.every(({ batches }, place) => batches <= (now[place]?.batches ?? 0)) ?? false;
  if (!fits || before === undefined) return now;
  return now.map((bucket, place) => ({
    ...bucket,
    batches: bucket.batches - (before[place]?.batches ?? 0),
  }));
}

/** "< 33 us", "< 1.05 ms": a bucket's bound. */
export function formatBound(microseconds: number | null): string {
  if (microseconds === null) return '-';
  if (microseconds === Number.POSITIVE_INFINITY) return '> 4 s';
  if (microseconds < 1000) return `< ${Math.round(microseconds)} us`;
  if (microseconds < 1_000_000) return `< ${(microseconds / 1000).toPrecision(3)} ms`;
  return `< ${(microseconds / 1_000_000).toPrecision(3)} s`;
}
