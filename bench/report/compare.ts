/** What changed between two runs, beyond noise. */
import { SettingsError } from '../../src/errors.js';
import { figure, table } from './format.js';
import { type Results, ratiosOf, valuesOf } from './results.js';
import { compare, median } from './statistics.js';

export interface Difference {
  where: string;
  what: string;
  unit: string;
  before: number;
  after: number;
  factor: number;
  verdict: 'better' | 'worse' | 'same';
}

/** Reads what a bench has written. */
export function parseResults(text: string, file: string): Results {
  let results: Partial<Results>;
  try {
    results = JSON.parse(text) as Partial<Results>;
  } catch (cause) {
    throw new SettingsError('bench-compare', `${file} is not JSON. Give a results.json of the bench.`, {
      cause,
    });
  }
  if (results.format === 'vpc-conn bench 1') return results as Results;
  throw new SettingsError(
    'bench-compare',
    `${file} was not written by this bench. Give a results.json of it.`,
  );
}

/**
 * Everything that both runs have. Ratios to the kernel recipe are compared where there are any: the machine's
 * mood is not in them. The reference itself is compared as it is, and tells about the machine.
 */
export function differences(before: Results, after: Results): Difference[] {
  const found: Difference[] = [];
  const add = (
    where: string,
    what: string,
    unit: string,
    better: 'higher' | 'lower',
    old: readonly number[],
    now: readonly number[],
  ) => {
    if (old.length === 0 || now.length === 0) return;
    const { factor, real } = compare(old, now);
    const verdict = !real ? 'same' : factor > 1 === (better === 'higher') ? 'better' : 'worse';
    found.push({ where, what, unit, before: median(old), after: median(now), factor, verdict });
  };
  for (const { name: variant } of after.variants) {
    for (const metric of after.tests.flatMap(({ metrics }) => metrics)) {
      if (metric.aside) continue;
      for (const { name: contender } of after.contenders) {
        const relative = metric.ratio && contender !== 'vxlan';
        const values = (results: Results) =>
          relative
            ? ratiosOf(results, variant, contender, 'vxlan', metric.name)
            : [...valuesOf(results, variant, contender, metric.name).values()];
        const unit = relative ? 'of vxlan' : metric.unit;
        add(`${variant}/${contender}`, metric.title, unit, metric.better, values(before), values(after));
      }
    }
  }
  for (const piece of after.micro) {
    const old = before.micro.find(({ name }) => name === piece.name);
    if (old) add('micro', piece.title, 'ns', 'lower', old.values, piece.values);
  }
  return found;
}

export function compareReport(before: Results, after: Results): string {
  const all = differences(before, after);
  const changed = all.filter(({ verdict }) => verdict !== 'same');
  const summary = `${changed.length} of ${all.length} figures changed beyond noise since ${before.started}.`;
  if (changed.length === 0) return summary;
  const rows = changed.map(({ where, what, unit, before: old, after: now, factor, verdict }) => [
    where,
    what,
    `${figure(old)} ${unit}`,
    `${figure(now)} ${unit}`,
    `${factor >= 1 ? '+' : ''}${Math.round((factor - 1) * 100)} %`,
    verdict,
  ]);
  return `${summary}\n\n${table(['', 'figure', 'before', 'after', 'change', ''], rows)}`;
}
