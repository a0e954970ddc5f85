/** What a run of the bench leaves: samples, and the summary made of them. */
import type { Metric, Values } from '../measure/tests.js';
import { type Spread, spread } from './statistics.js';

export interface Sample {
  round: number;
  variant: string;
  contender: string;
  test: string;
  values: Values;
  /** Why there are no values. */
  error?: string;
}

export interface Named {
  name: string;
  title: string;
}

export interface MicroResult {
  name: string;
  title: string;
  /** Nanoseconds, round by round. */
  values: number[];
}

export interface Results {
  format: 'vpc-conn bench 1';
  version: string;
  /** ISO 8601. */
  started: string;
  seconds: number;
  machine: Record<string, string>;
  /** How busy the machine was before anything ran, share of all its cores. */
  busyBefore: number;
  options: Record<string, string | number | boolean>;
  variants: Named[];
  contenders: (Named & { kind: string; detail: string })[];
  tests: (Named & { metrics: readonly Metric[] })[];
  samples: Sample[];
  /** What did not run, each a sentence. */
  notes: string[];
  micro: MicroResult[];
}

/** The values of one metric, round by round. */
export function valuesOf(
  results: Pick<Results, 'samples'>,
  variant: string,
  contender: string,
  metric: string,
): Map<number, number> {
  const values = new Map<number, number>();
  for (const sample of results.samples) {
    const value = sample.values[metric];
    if (sample.variant !== variant || sample.contender !== contender || value === undefined) continue;
    values.set(sample.round, value);
  }
  return values;
}

/** Ratios to another contender's value of the same round; rounds that lack either do not count. */
export function ratiosOf(
  results: Pick<Results, 'samples'>,
  variant: string,
  contender: string,
  reference: string,
  metric: string,
): number[] {
  const references = valuesOf(results, variant, reference, metric);
  const ratios: number[] = [];
  for (const [round, value] of valuesOf(results, variant, contender, metric)) {
    const other = references.get(round);
    if (other !== undefined && other > 0) ratios.push(value / other);
  }
  return ratios;
}

export interface Row {
  variant: string;
  contender: string;
  metric: Metric;
  value: Spread;
  toVxlan: Spread | undefined;
  toPlain: Spread | undefined;
}

/** One row for each variant, metric and contender that has values, in that order. */
export function summarize(results: Results): Row[] {
  const rows: Row[] = [];
  for (const { name: variant } of results.variants) {
    for (const metric of results.tests.flatMap(({ metrics }) => metrics)) {
      for (const { name: contender } of results.contenders) {
        const value = spread([...valuesOf(results, variant, contender, metric.name).values()]);
        if (value === undefined) continue;
        const ratio = (reference: string) =>
          metric.ratio ? spread(ratiosOf(results, variant, contender, reference, metric.name)) : undefined;
        rows.push({ variant, contender, metric, value, toVxlan: ratio('vxlan'), toPlain: ratio('plain') });
      }
    }
  }
  return rows;
}
