/** What the bench runs, and its command line. */
import t from 'tap';
import type { Contender } from '../../bench/contenders/contender.js';
import { FULL, QUICK, TESTS } from '../../bench/measure/tests.js';
import { parseOptions } from '../../bench/options.js';
import { estimateSeconds, plan, VARIANTS } from '../../bench/plan.js';
import { TARGETS } from '../../bench/report/targets.js';

const named = (cases: ReturnType<typeof plan>) =>
  cases.map(({ variant, contender, test }) => `${variant.name}/${contender.name}/${test.name}`);

t.test('a round holds every contender of a test', async (t) => {
  const cases = named(plan({ quick: false, peers: [] }));
  t.equal(new Set(cases).size, cases.length, 'nothing twice');
  for (const contender of ['vxlan', 'plain', 'off', 'segment', 'full', 'auto']) {
    t.ok(cases.includes(`base/${contender}/tcp1`), contender);
  }
  for (const { name } of VARIANTS) t.ok(cases.includes(`${name}/full/tcp1`), name);
  t.notOk(cases.includes('masquerade/plain/tcp1'), 'plain forwarding knows no masquerade');
  t.ok(cases.includes('masquerade/vxlan/tcp1'));
  const labs = new Set(plan({ quick: false, peers: [] }).map(({ contender }) => contender));
  t.equal(labs.size, 6, 'a contender is one object: its lab is built once');
});

t.test('every target is measured, by --quick, too', async (t) => {
  const metrics = TESTS.flatMap((test) => test.metrics.map(({ name }) => ({ test: test.name, name })));
  for (const quick of [true, false]) {
    const tests = new Set(plan({ quick, peers: [] }).map(({ test }) => test.name));
    for (const { metric } of TARGETS) {
      const test = metrics.find(({ name }) => name === metric)?.test;
      t.ok(test !== undefined && tests.has(test), `${metric}${quick ? ', quick' : ''}`);
    }
  }
});

t.test('metrics have names of their own', async (t) => {
  const names = TESTS.flatMap(({ metrics }) => metrics.map(({ name }) => name));
  t.equal(new Set(names).size, names.length);
  for (const test of TESTS) t.equal(test.metrics[0]?.name, test.name, 'the first is the main one');
});

t.test('time', async (t) => {
  t.ok(estimateSeconds(plan({ quick: true, peers: [] }), QUICK) < 130, 'two quick rounds fit five minutes');
  t.ok(estimateSeconds(plan({ quick: false, peers: [] }), FULL) * 5 < 2 * 3600);
});

t.test('--only keeps the references', async (t) => {
  const cases = named(plan({ quick: false, peers: [], only: /^base\/segment\/tcp4$/ }));
  t.same(cases, ['base/vxlan/tcp4', 'base/plain/tcp4', 'base/segment/tcp4']);
  t.same(plan({ quick: false, peers: [], only: /nothing/ }), []);
});

t.test('--peers', async (t) => {
  const peer = { name: 'other', title: '', kind: 'peer' } as Contender;
  const cases = named(plan({ quick: false, peers: [peer] })).filter((name) => name.includes('/other/'));
  t.ok(cases.includes('base/other/tcp1'));
  t.ok(
    cases.every((name) => name.startsWith('base/')),
    'only on the base variant',
  );
});

t.test('command line', async (t) => {
  t.match(parseOptions([]), { quick: false, rounds: 5, micro: false, peers: false });
  t.match(parseOptions(['--quick']), { quick: true, rounds: 3 });
  t.match(parseOptions(['--rounds', '7', '--seed', '0', '--out', 'x']), { rounds: 7, seed: 0, out: 'x' });
  t.ok(parseOptions(['--only', 'base/.*/tcp1']).only?.test('base/off/tcp1'));
  for (const wrong of [
    ['--rounds', '0'],
    ['--rounds', 'many'],
    ['--only', '('],
    ['--fast'],
    ['unexpected'],
  ]) {
    t.throws(() => parseOptions(wrong), { exitCode: 2, message: /./ }, wrong.join(' '));
  }
});
