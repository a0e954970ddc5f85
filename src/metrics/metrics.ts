/** A gateway's metrics as Prometheus reads them. Read when somebody asks, on the JS thread; nothing runs in between. */
import { Counter, Gauge, Registry } from 'prom-client';
import type { StatsResult, StatusResult } from '../control/protocol.js';
import { type Facts, METRICS, type MetricDefinition, PREFIX } from './catalogue.js';

export interface MetricsSource {
  status(): StatusResult;
  stats(): StatsResult;
  /** By interface name; see Facts. */
  allowances(): Facts['allowances'];
}

export interface Metrics {
  readonly contentType: string;
  /** Text exposition format. Rejects with what the source throws, VpcConnError while the gateway does not run. */
  render(): Promise<string>;
}

export function createMetrics(source: MetricsSource): Metrics {
  const registry = new Registry();
  const fills = METRICS.map((definition) => register(registry, definition));
  let underWay: Promise<string> | undefined;
  const render = async () => {
    const facts = read(source);
    for (const fill of fills) fill(facts);
    return await registry.metrics();
  };
  return {
    contentType: registry.contentType,
    render: () => {
      // Those who ask at once get one reading.
      underWay ??= render().finally(() => {
        underWay = undefined;
      });
      return underWay;
    },
  };
}

function read(source: MetricsSource): Facts {
  const { user, system } = process.cpuUsage();
  return {
    status: source.status(),
    stats: source.stats(),
    allowances: source.allowances(),
    process: { cpuSeconds: (user + system) / 1e6, residentBytes: process.memoryUsage.rss() },
    now: Date.now() / 1000,
  };
}

/** The values are counted elsewhere: each reading starts from nothing. */
function register(registry: Registry, definition: MetricDefinition): (facts: Facts) => void {
  const configuration = {
    name: PREFIX + definition.name,
    help: definition.help,
    labelNames: [...definition.labels],
    registers: [registry],
  };
  if (definition.type === 'counter') {
    const counter = new Counter(configuration);
    return (facts) => {
      counter.reset();
      for (const { labels = {}, value } of definition.read(facts)) counter.inc(labels, value);
    };
  }
  const gauge = new Gauge(configuration);
  return (facts) => {
    gauge.reset();
    for (const { labels = {}, value } of definition.read(facts)) gauge.set(labels, value);
  };
}
