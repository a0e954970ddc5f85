/** What the bench makes of its samples. */
import t from 'tap';
import type { Metric } from '../../bench/measure/tests.js';
import { differences, parseResults } from '../../bench/report/compare.js';
import { duration, figure, withSpread } from '../../bench/report/format.js';
import { markdown, targetTable } from '../../bench/report/markdown.js';
import { type Results, ratiosOf, type Sample, summarize } from '../../bench/report/results.js';
import { compare, median, random, shuffle, spread } from '../../bench/report/statistics.js';
import { charts } from '../../bench/report/svg.js';
import { judge } from '../../bench/report/targets.js';

const tcp1: Metric = { name: 'tcp1', title: 'TCP, 1 flow', unit: 'Gbit/s', better: 'higher', ratio: true };
const rtt: Metric = { name: 'rtt', title: 'RTT idle: median', unit: 'us', better: 'lower', ratio: true };

function sample(round: number, contender: string, values: Record<string, number>): Sample {
  return { round, variant: 'base', contender, test: Object.keys(values)[0] ?? '', values };
}

function results(samples: Sample[]): Results {
  const kinds: Record<string, string> = { vxlan: 'reference', plain: 'reference', socat: 'peer' };
  const names = [...new Set(samples.map(({ contender }) => contender))];
  return {
    format: 'vpc-conn bench 1',
    version: '0.0.0',
    started: '2026-01-01T00:00:00.000Z',
    seconds: 60,
    machine: { kernel: '6.1' },
    busyBefore: 0,
    options: {},
    variants: [{ name: 'base', title: 'Base' }],
    contenders: names.map((name) => ({ name, title: name, kind: kinds[name] ?? 'vpc-conn', detail: '' })),
    tests: [
      { name: 'tcp1', title: 'TCP, 1 flow', metrics: [tcp1] },
      { name: 'rtt', title: 'RTT idle', metrics: [rtt] },
    ],
    samples,
    notes: [],
    micro: [],
  };
}

/** tcp1 of each contender, round by round. */
function rounds(values: Record<string, number[]>, metric = 'tcp1'): Sample[] {
  return Object.entries(values).flatMap(([contender, list]) =>
    list.map((value, index) => sample(index + 1, contender, { [metric]: value })),
  );
}

t.test('medians and spreads', async (t) => {
  t.equal(median([3, 1, 2]), 2);
  t.equal(median([4, 1, 2, 3]), 2.5);
  t.same(spread([5, 1, 3]), { median: 3, min: 1, max: 5, count: 3 });
  t.equal(spread([]), undefined);
  t.equal(figure(1234.5), '1235');
  t.equal(figure(12.34), '12.3');
  t.equal(figure(1.234), '1.23');
  t.equal(withSpread({ median: 2, min: 1, max: 3, count: 3 }), '2.00 (1.00..3.00)');
  t.equal(withSpread({ median: 2, min: 2, max: 2, count: 1 }), '2.00');
  t.equal(duration(3671), '1:01:11');
  t.equal(duration(59.6), '1:00');
});

t.test('the same seed, the same order', async (t) => {
  const items = [1, 2, 3, 4, 5, 6, 7, 8];
  const once = shuffle(items, random(7));
  t.same(shuffle(items, random(7)), once);
  t.notSame(shuffle(items, random(8)), once);
  t.same([...once].sort(), items, 'nothing lost, nothing twice');
  t.same(items, [1, 2, 3, 4, 5, 6, 7, 8]);
});

t.test('ratios are of the same round', async (t) => {
  // A machine that is half as fast in the second round: the ratio does not notice.
  const all = results([
    ...rounds({ vxlan: [4, 2, 4], full: [6, 3, 5] }),
    sample(4, 'full', { tcp1: 100 }),
    { ...sample(5, 'vxlan', {}), error: 'it did not run' },
  ]);
  t.same(ratiosOf(all, 'base', 'full', 'vxlan', 'tcp1'), [1.5, 1.5, 1.25]);
  const row = summarize(all).find(({ contender }) => contender === 'full');
  t.same(row?.toVxlan, { median: 1.5, min: 1.25, max: 1.5, count: 3 });
  t.equal(row?.toPlain, undefined);
});

t.test('targets', async (t) => {
  const verdict = (all: Results, title: string, rung: string) =>
    judge(all).find((each) => each.title === title && each.rung === rung)?.verdict;
  const fast = results([
    ...rounds({
      vxlan: [4, 4, 4],
      off: [2, 2, 2],
      segment: [4, 4.1, 4],
      full: [6, 6.1, 6],
      socat: [1, 2, 1],
    }),
    ...rounds({ vxlan: [100], off: [150], segment: [131], full: [79] }, 'rtt'),
  ]);
  t.equal(verdict(fast, 'TCP 1 flow', 'off'), 'missed');
  t.equal(verdict(fast, 'TCP 1 flow', 'segment'), 'reached');
  t.equal(verdict(fast, 'TCP 1 flow', 'full'), 'stretch reached');
  t.equal(verdict(fast, 'Idle RTT', 'off'), 'reached', 'lower is better');
  t.equal(verdict(fast, 'Idle RTT', 'segment'), 'missed');
  t.equal(verdict(fast, 'Idle RTT', 'full'), 'stretch reached');
  t.equal(verdict(fast, 'TCP 4 flows', 'off'), 'not measured');
  t.equal(verdict(fast, 'TCP 1 flow, to the fastest other user-space tunnel', 'full'), 'reached');
  t.match(targetTable(fast), /TCP 1 flow .* missed/);
  t.notMatch(targetTable(fast), /not measured/);
  t.match(targetTable(fast, { all: true }), /not measured/);
});

t.test('what changed beyond noise', async (t) => {
  t.same(compare([1, 1.01, 0.99, 1, 1.02], [1.2, 1.21, 1.19, 1.2, 1.22]).real, true);
  t.equal(compare([1, 1.3, 0.8, 1.1, 0.9], [1.05, 0.85, 1.25, 1.1, 0.9]).real, false, 'noise');
  t.equal(compare([1, 1, 1, 1, 1], [1.01, 1.01, 1.01, 1.01, 1.01]).real, false, 'negligible');
  t.equal(compare([1, 1], [9, 9]).real, false, 'too few to tell');
  const before = results([
    ...rounds({ vxlan: [4, 4, 4, 4], full: [4, 4.1, 4, 4] }),
    ...rounds({ vxlan: [100, 100, 100], full: [100, 101, 100] }, 'rtt'),
  ]);
  const after = results([
    ...rounds({ vxlan: [2, 2, 2, 2], full: [3, 3.1, 3, 3] }),
    ...rounds({ vxlan: [100, 100, 100], full: [150, 151, 150] }, 'rtt'),
  ]);
  const found = differences(before, after);
  const of = (where: string, what: string) =>
    found.find((each) => each.where === where && each.what === what)?.verdict;
  t.equal(of('base/full', 'TCP, 1 flow'), 'better', 'in ratios, though the machine is slower');
  t.equal(of('base/vxlan', 'TCP, 1 flow'), 'worse', 'the machine');
  t.equal(of('base/full', 'RTT idle: median'), 'worse');
  t.equal(of('base/vxlan', 'RTT idle: median'), 'same');
});

t.test('results of an earlier run', async (t) => {
  const all = results(rounds({ vxlan: [4], full: [6] }));
  t.same(parseResults(JSON.stringify(all), 'old.json'), all);
  t.throws(() => parseResults('{}', 'old.json'), {
    exitCode: 2,
    message: /old\.json was not written by this/,
  });
  t.throws(() => parseResults('no', 'old.json'), { exitCode: 2, message: /old\.json is not JSON/ });
});

t.test('report and charts', async (t) => {
  const all = results(rounds({ vxlan: [4, 4.5], 'a<b': [6, 7], full: [1, 2] }));
  const drawn = charts(all);
  t.same(
    drawn.map(({ file }) => file),
    ['tcp.svg'],
    'only charts that have figures',
  );
  const text = drawn[0]?.text ?? '';
  t.match(text, /^<svg [^>]*>/);
  t.match(text, 'a&lt;b', 'escaped');
  t.notMatch(text, /NaN|undefined/);
  t.equal((text.match(/<rect x/g) ?? []).length, 3, 'a bar each');
  const page = markdown(all, drawn);
  t.match(page, '![TCP throughput](tcp.svg)');
  t.match(page, /full +\| 1\.50 \(1\.00\.\.2\.00\)/);
  t.notMatch(page, /NaN|undefined/);
});
