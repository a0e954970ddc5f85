/** Medians, spreads, and whether two sets of figures differ beyond noise. */

export interface Spread {
  median: number;
  min: number;
  max: number;
  count: number;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** undefined: there are no values. */
export function spread(values: readonly number[]): Spread | undefined {
  if (values.length === 0) return undefined;
  return {
    median: median(values),
    min: Math.min(...values),
    max: Math.max(...values),
    count: values.length,
  };
}

/** Small, seeded, good enough for shuffling and resampling (mulberry32): the same seed, the same run. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Fisher-Yates; leaves `items` alone. */
export function shuffle<T>(items: readonly T[], next: () => number): T[] {
  const rest = [...items];
  const shuffled: T[] = [];
  while (rest.length > 0) shuffled.push(...rest.splice(Math.floor(next() * rest.length), 1));
  return shuffled;
}

export interface Change {
  /** New median by old median. */
  factor: number;
  /** Beyond noise: at least three values each, and 95 % of resampled factors on one side of 1. */
  real: boolean;
}

const RESAMPLES = 2000;
const ENOUGH = 3;
/** Nobody cares about less, however often it repeats. */
const NEGLIGIBLE = 0.02;

/** Compares by bootstrap: both sets are drawn from again and again, and the medians' factor watched. */
export function compare(before: readonly number[], after: readonly number[], seed = 1): Change {
  const factor = median(after) / median(before);
  const enough = before.length >= ENOUGH && after.length >= ENOUGH;
  if (!enough || !Number.isFinite(factor)) return { factor, real: false };
  const next = random(seed);
  const draw = (values: readonly number[]) =>
    median(values.map(() => values[Math.floor(next() * values.length)] ?? 0));
  const factors = Array.from({ length: RESAMPLES }, () => draw(after) / draw(before)).sort((a, b) => a - b);
  const low = factors[Math.floor(RESAMPLES * 0.025)] ?? 1;
  const high = factors[Math.floor(RESAMPLES * 0.975)] ?? 1;
  return { factor, real: (low > 1 || high < 1) && Math.abs(factor - 1) > NEGLIGIBLE };
}
