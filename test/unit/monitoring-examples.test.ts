// The alerts and the dashboard under examples/monitoring: what they ask for exists, and promtool agrees.
import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { parse } from 'yaml';
import { METRICS, PREFIX } from '../../src/metrics/catalogue.js';
import { createMetrics } from '../../src/metrics/metrics.js';
import { STATUS, statsAfter } from '../helpers/results.js';

const path = (relative: string) => fileURLToPath(new URL(`../../${relative}`, import.meta.url));
const read = (name: string) => readFileSync(path(`examples/monitoring/${name}`), 'utf8');
const known = new Map(METRICS.map((metric) => [PREFIX + metric.name, metric]));

const noPromtool =
  spawnSync('promtool', ['--version']).error === undefined
    ? false
    : 'promtool is missing (package prometheus)';

interface Selector {
  readonly name: string;
  readonly labels: readonly string[];
}

/** "vpc_conn_x{label=...}" wherever it stands in an expression. */
function selectors(text: string): Selector[] {
  return [...text.matchAll(/\b(vpc_conn_\w+)(?:\{([^}]*)\})?/g)].map(([, name = '', labels = '']) => ({
    name,
    labels: [...labels.matchAll(/(\w+)\s*(?:=~|!~|!=|=)\s*"/g)].map(([, label = '']) => label),
  }));
}

/** Prometheus itself adds these. */
const ADDED = ['instance', 'job'];

function strangers(expressions: readonly string[]): string[] {
  return expressions.flatMap(selectors).flatMap(({ name, labels }) => {
    const metric = known.get(name);
    if (metric === undefined) return [name];
    return labels
      .filter((label) => !metric.labels.includes(label) && !ADDED.includes(label))
      .map((label) => `${name}{${label}}`);
  });
}

function expressionsOf(node: unknown): string[] {
  if (Array.isArray(node)) return node.flatMap(expressionsOf);
  if (typeof node !== 'object' || node === null) return [];
  return Object.entries(node).flatMap(([key, value]) =>
    ['expr', 'query', 'definition'].includes(key) && typeof value === 'string'
      ? [value]
      : expressionsOf(value),
  );
}

t.test('what is asked for exists, with these labels', async (t) => {
  t.same(strangers(['rate(vpc_conn_nothing_total[5m])']), ['vpc_conn_nothing_total'], 'the judge works');
  t.same(strangers(['vpc_conn_guard_up{peer="x"}']), ['vpc_conn_guard_up{peer}']);
  const dashboard = expressionsOf(JSON.parse(read('grafana-dashboard.json')));
  const alerts = expressionsOf(parse(read('alerts.yaml')));
  t.ok(dashboard.length > 20 && alerts.length >= 10, 'expressions were found');
  t.same(strangers(dashboard), []);
  t.same(strangers(alerts), []);
  const states = [
    ...(read('alerts.yaml') + read('grafana-dashboard.json')).matchAll(/state=~?\\?"([\w|-]+)/g),
  ];
  for (const state of states.flatMap(([, list = '']) => list.split('|'))) {
    t.match(await createMetrics(source()).render(), `state="${state}"`, state);
  }
});

t.test('reasons in expressions are drop reasons', async (t) => {
  const list = readFileSync(path('native/forward/drop_reason.def'), 'utf8');
  const reasons = [...list.matchAll(/^VPC_CONN_DROP\((\w+)/gm)].map(([, name]) => name);
  const used = [...read('alerts.yaml').matchAll(/reason[!=]~"([^"]+)"/g)].flatMap(([, all = '']) =>
    all.split('|'),
  );
  t.ok(used.length > 0);
  t.same(
    used.filter((reason) => !reasons.includes(reason)),
    [],
  );
});

t.test('the dashboard: one identifier each, nothing over another, the data source is chosen', async (t) => {
  const { panels } = JSON.parse(read('grafana-dashboard.json')) as {
    panels: {
      id: number;
      gridPos: { x: number; y: number; w: number; h: number };
      datasource?: { uid: string };
    }[];
  };
  t.equal(new Set(panels.map(({ id }) => id)).size, panels.length);
  for (const { id, gridPos: one, datasource } of panels) {
    if (datasource !== undefined) t.match(datasource.uid, /^\$\{datasource\}$/);
    const over = panels.filter(
      ({ id: other, gridPos: two }) =>
        other !== id &&
        one.x < two.x + two.w &&
        two.x < one.x + one.w &&
        one.y < two.y + two.h &&
        two.y < one.y + one.h,
    );
    t.same(over, [], `panel ${id}`);
    t.ok(one.x + one.w <= 24);
  }
});

t.test(
  'promtool: rules, their tests, the scrape job, and what a gateway answers',
  { skip: noPromtool },
  async (t) => {
    const promtool = (args: string[], input = '') =>
      execFileSync('promtool', args, { input, encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'] });
    t.match(promtool(['check', 'rules', path('examples/monitoring/alerts.yaml')]), /SUCCESS: \d+ rules/);
    t.match(promtool(['check', 'config', path('examples/monitoring/prometheus.yaml')]), /SUCCESS/);
    for (const file of readdirSync(path('test/monitoring'))) {
      t.match(promtool(['test', 'rules', path(`test/monitoring/${file}`)]), /SUCCESS/, file);
    }
    promtool(['check', 'metrics'], await createMetrics(source()).render());
    t.throws(() => promtool(['check', 'metrics'], 'not a metric\n'), 'it would say so');
  },
);

function source() {
  return { status: () => STATUS, stats: () => statsAfter(1), allowances: () => ({}) };
}
