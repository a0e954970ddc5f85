import { readFileSync } from 'node:fs';
import t from 'tap';
import { VpcConnError } from '../../src/errors.js';
import { METRICS, PREFIX, WORKER_COUNTERS } from '../../src/metrics/catalogue.js';
import { createMetrics, type MetricsSource } from '../../src/metrics/metrics.js';
import { peerWith, STATUS, statsAfter, statusWith } from '../helpers/results.js';

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

function source(changes: Partial<MetricsSource> = {}): MetricsSource {
  return { status: () => STATUS, stats: () => statsAfter(1), allowances: () => ({}), ...changes };
}

/** The samples of one metric: "{labels} value". */
function samples(text: string, name: string): string[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith(`${PREFIX}${name}{`) || line.startsWith(`${PREFIX}${name} `))
    .map((line) => line.slice(PREFIX.length + name.length).trim());
}

t.test(
  'the catalogue: every counter of the workers, one name each, the conventions of Prometheus',
  async (t) => {
    const counters = [...read('native/forward/counters.h').matchAll(/^ {2}X\((\w+)\)/gm)].map(
      ([, name]) => name,
    );
    t.ok(counters.length > 20, 'the list was read');
    t.same(Object.keys(WORKER_COUNTERS).sort(), counters.sort(), 'describe it in src/metrics/catalogue.ts');
    const names = METRICS.map(({ name }) => name);
    t.equal(new Set(names).size, names.length, 'no name twice');
    for (const { name, type, help, labels } of METRICS) {
      t.match(name, /^[a-z0-9_]+$/);
      t.equal(
        name.endsWith('_total'),
        type === 'counter',
        `${name}: counters, and only they, end with _total`,
      );
      t.notMatch(name, /_(ms|milliseconds|kb|percent|bits)(_|$)/, `${name}: base units`);
      t.match(help, /^[A-Z0-9].*\.$/, `${name}: a sentence`);
      t.notOk(
        labels.some((label) => /address|host|ip|mac/.test(label)),
        `${name}: no label that traffic can grow`,
      );
    }
  },
);

t.test('docs/metrics.md is what the catalogue makes', async (t) => {
  const script = new URL('../../scripts/write-metrics.mjs', import.meta.url).href;
  const { metricsPage } = (await import(script)) as { metricsPage: (catalogue: object) => string };
  t.equal(read('docs/metrics.md'), metricsPage({ METRICS, PREFIX }), 'run scripts/write-metrics.mjs');
});

t.test('a scrape tells what status and stats tell', async (t) => {
  const allowances = () => ({
    ens6: { pps_allowance_exceeded: 9, conntrack_allowance_available: 1000, tx_queue_0_packets: 5 },
    ens5: {},
  });
  const text = await createMetrics(source({ allowances })).render();
  t.same(samples(text, 'info'), ['{gateway="vpc-a",version="0.1.0"} 1']);
  t.same(samples(text, 'received_frames_total'), [
    '{direction="encap",worker="0"} 1000',
    '{direction="encap",worker="1"} 1000',
    '{direction="decap",worker="0"} 0',
    '{direction="slow-path",worker="none"} 0',
  ]);
  t.same(samples(text, 'dropped_frames_total'), [
    '{direction="encap",reason="not_proxied"} 24',
    '{direction="encap",reason="multicast"} 0',
  ]);
  t.same(samples(text, 'peer_transmitted_bytes_total'), ['{peer="vpc-b"} 2500000']);
  t.same(samples(text, 'peer_state').sort(), [
    '{peer="vpc-b",state="misconfigured"} 0',
    '{peer="vpc-b",state="mtu-limited"} 0',
    '{peer="vpc-b",state="silent"} 0',
    '{peer="vpc-b",state="unknown"} 0',
    '{peer="vpc-b",state="unresolved"} 0',
    '{peer="vpc-b",state="up"} 1',
  ]);
  t.same(samples(text, 'peer_round_trip_seconds'), ['{peer="vpc-b"} 0.000214']);
  t.same(samples(text, 'acceleration_rung').slice(0, 3), [
    '{direction="encap",rung="off"} 1',
    '{direction="encap",rung="segment"} 0',
    '{direction="encap",rung="full"} 0',
  ]);
  t.same(samples(text, 'interface_allowance_exceeded_packets_total'), [
    '{interface="ens6",allowance="pps"} 9',
  ]);
  t.same(samples(text, 'interface_conntrack_allowance_available'), ['{interface="ens6"} 1000']);
  t.same(samples(text, 'interface_mtu_bytes')[1], '{side="underlay",interface="ens6"} 9001');
  t.same(
    [samples(text, 'masquerade_flows'), samples(text, 'degraded'), samples(text, 'guard_up')],
    [['3'], ['0'], ['1']],
  );
  t.ok(Number(samples(text, 'process_resident_bytes')[0]) > 1e6);
  t.notMatch(text, /198\.18|10\.0\.0|02:00/, 'no address anywhere');
  for (const { name, type } of METRICS) t.match(text, `# TYPE ${PREFIX}${name} ${type}\n`);
});

t.test('each scrape starts from nothing: no value twice, no series of a peer that is gone', async (t) => {
  let rounds = 0;
  const peers = [
    peerWith({ name: 'gone', lastSeenSeconds: 3 }),
    peerWith({ roundTripMs: null, lastSeenSeconds: null }),
  ];
  const metrics = createMetrics(
    source({
      stats: () => statsAfter(++rounds),
      status: () => statusWith({ peers: rounds === 0 ? peers : peers.slice(1) }),
    }),
  );
  const first = await metrics.render();
  t.same(samples(first, 'peer_silence_seconds'), ['{peer="gone"} 3'], 'what is not known has no sample');
  t.same(samples(first, 'peer_round_trip_seconds').length, 1);
  const second = await metrics.render();
  t.same(samples(second, 'received_frames_total')[0], '{direction="encap",worker="0"} 2000');
  t.notMatch(second, /gone/);
});

t.test('those who ask at once get one reading', async (t) => {
  let readings = 0;
  const metrics = createMetrics(
    source({
      status: () => {
        readings += 1;
        return STATUS;
      },
    }),
  );
  const texts = await Promise.all([metrics.render(), metrics.render(), metrics.render()]);
  t.equal(readings, 1);
  t.equal(new Set(texts).size, 1);
  await metrics.render();
  t.equal(readings, 2);
});

t.test('what the source throws comes through, and the next scrape works', async (t) => {
  let running = false;
  const metrics = createMetrics(
    source({
      stats: () => {
        if (!running) throw new VpcConnError('not-running', 'This gateway is not running.');
        return statsAfter(1);
      },
    }),
  );
  await t.rejects(metrics.render(), { code: 'not-running' });
  running = true;
  t.match(await metrics.render(), /vpc_conn_info/);
});
