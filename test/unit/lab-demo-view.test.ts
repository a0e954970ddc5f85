import t from 'tap';
import { DRAWING, INTRODUCTION, paint, renderLive } from '../../src/lab/demo-view.js';

const flow = {
  what: 'UDP echo',
  from: 'a1 10.0.0.10',
  to: 'b1 10.0.0.20',
  bytesPerSecond: 1.234e9,
  total: '123456 of 123456',
};
const gateway = {
  name: 'vpc-a',
  state: 'degraded',
  peer: 'vpc-b unresolved',
  guard: 'down',
  encapPerSecond: 123456,
  decapPerSecond: 99999,
  drops: 1e9,
};

t.test('everything fits 80 columns and 24 lines', async (t) => {
  const live = renderLive([flow, flow, flow, flow], [gateway, gateway]);
  for (const line of [DRAWING, INTRODUCTION].join('\n').split('\n')) t.ok(line.length <= 80, line);
  // The live table is indented by four.
  for (const line of live.split('\n')) t.ok(line.length <= 76, line);
  t.ok(live.split('\n').length <= 20);
});

t.test('a flow that was never measured has no rate', async (t) => {
  t.match(renderLive([{ ...flow, bytesPerSecond: null }], []), / - /);
});

t.test('colours only on a terminal', async (t) => {
  t.equal(paint(false).good('ok'), 'ok');
  t.equal(paint(true).good('ok'), '\x1b[32mok\x1b[0m');
});
