/** The report as Markdown; the terminal gets its short form. */
import { duration, figure, table, withSpread } from './format.js';
import { type Results, type Row, summarize } from './results.js';
import { spread } from './statistics.js';
import { judge } from './targets.js';

/** Every target, or only those that this run can tell something about. */
export function targetTable(results: Results, { all = false } = {}): string {
  const judged = judge(results).filter(({ verdict }) => all || verdict !== 'not measured');
  if (judged.length === 0) return 'This run measured nothing that has a target.';
  const rows = judged.map(({ title, rung, better, target, ratio, verdict }) => [
    title,
    rung,
    `${better === 'higher' ? '>=' : '<='} ${target}`,
    withSpread(ratio) || '-',
    verdict,
  ]);
  return table(['target (ratio to vxlan)', 'rung', 'wanted', 'measured', 'verdict'], rows);
}

/** The main metrics of a variant: one row each, one column for each contender: value and ratio to vxlan. */
export function overview(results: Results, variant: string, rows = summarize(results)): string {
  const mains = new Set([...results.tests.map(({ name }) => name), 'tcp1.cpu', 'rtt.p99']);
  const here = rows.filter((row) => row.variant === variant && mains.has(row.metric.name));
  const columns = results.contenders.filter(({ name }) => here.some(({ contender }) => contender === name));
  const metrics = [...new Map(here.map(({ metric }) => [metric.name, metric])).values()];
  const cell = ({ value, toVxlan, contender }: Row) =>
    `${figure(value.median)}${toVxlan && contender !== 'vxlan' ? ` (${figure(toVxlan.median)})` : ''}`;
  return table(
    ['median (ratio to vxlan)', 'unit', ...columns.map(({ name }) => name)],
    metrics.map((metric) => [
      metric.title,
      metric.unit,
      ...columns.map(({ name }) => {
        const row = here.find(
          ({ contender, metric: { name: same } }) => contender === name && same === metric.name,
        );
        return row ? cell(row) : '';
      }),
    ]),
  );
}

export function detailTable(rows: readonly Row[]): string {
  return table(
    ['metric', 'unit', 'contender', 'median (min..max)', 'to vxlan', 'to plain', 'rounds'],
    rows.map(({ metric, contender, value, toVxlan, toPlain }) => [
      metric.title,
      metric.unit,
      contender,
      withSpread(value),
      withSpread(toVxlan),
      withSpread(toPlain),
      `${value.count}`,
    ]),
  );
}

export function microTable(results: Results): string {
  return table(
    ['code', 'ns per frame (min..max)'],
    results.micro.map(({ title, values }) => [title, withSpread(spread(values))]),
  );
}

export function markdown(results: Results, charts: readonly { title: string; file: string }[]): string {
  const rows = summarize(results);
  const parts = [
    '# vpc-conn bench',
    `${results.started}, version ${results.version}, ${duration(results.seconds)} long.`,
    table(['machine', ''], Object.entries(results.machine)),
  ];
  if (results.busyBefore > BUSY) parts.push(`**${busySentence(results.busyBefore)}**`);
  if (results.samples.length > 0) {
    parts.push('## Targets', targetTable(results, { all: true }));
    parts.push(...charts.map(({ title, file }) => `![${title}](${file})`));
    parts.push(
      '## Contenders',
      table(
        ['name', '', 'runs on'],
        results.contenders.map(({ name, title, detail }) => [name, title, detail]),
      ),
    );
  }
  for (const { name, title } of results.variants) {
    const here = rows.filter(({ variant }) => variant === name);
    if (here.length === 0) continue;
    parts.push(`## ${title}`, overview(results, name, rows), '### All figures', detailTable(here));
  }
  if (results.micro.length > 0) parts.push('## Micro benchmarks', microTable(results));
  if (results.notes.length > 0)
    parts.push('## What did not run', results.notes.map((note) => `- ${note}`).join('\n'));
  return `${parts.join('\n\n')}\n`;
}

/** Share of the machine that somebody else uses; more than this is said. */
export const BUSY = 0.05;

export function busySentence(share: number): string {
  return (
    `The machine was ${Math.round(share * 100)} % busy before anything ran: ` +
    'absolute figures are too low, and ratios are noisier than they should be.'
  );
}
