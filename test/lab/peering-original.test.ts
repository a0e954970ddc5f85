// Keepalives towards the original, which takes any frame for data: it must not notice them while it works.
import t from 'tap';
import { createLab, type GatewayProcess, ping, whyNoLab } from '../../src/lab/index.js';
import { peerOf, totals, twinConfig } from '../helpers/lab.js';
import { RECEIVER_ARGS, senderArgs, twins } from '../helpers/original/commands.js';
import { Original } from '../helpers/original/wire.js';
import { judgeFrames } from '../helpers/second-opinion.js';

const skip = await whyNoLab();

t.test('the original at the far end is left in peace', { skip }, async (t) => {
  const lab = await createLab(
    twins([{ name: 'a1', address: '10.0.0.10' }], [{ name: 'b1', address: '10.0.0.20' }]),
  );
  t.teardown(() => lab.close());
  await judgeFrames(t, lab, ['a']);
  const receiver = await Original.start(lab, 'gw-b', RECEIVER_ARGS);
  const asked = async (gateway: GatewayProcess) => (await totals(gateway)).keepalive_asked ?? 0;

  const byFlags = await lab.startGateway('a', {
    args: senderArgs('10.0.0.20'),
  });
  t.match(await ping(lab, 'a1', '10.0.0.20', { count: 5 }), { received: 5, duplicates: 0, errors: 0 });
  t.equal(await asked(byFlags), 0, 'the flag form never asks');
  await byFlags.stop();

  // With keepalives in the file: asked three times, then not as long as it is at work.
  const peer = { proxied: ['10.0.0.20'], resolve: 'tunnel' };
  const byFile = await lab.startGateway('a', { config: twinConfig('a', peer) });
  await lab.waitFor(async () => (await asked(byFile)) >= 3, { what: 'the first questions' });
  await ping(lab, 'a1', '10.0.0.20', { count: 1 });
  const before = await asked(byFile);
  const result = await ping(lab, 'a1', '10.0.0.20', { count: 30, interval: 0.2 });
  t.match(result, { received: 30, duplicates: 0, errors: 0 });
  t.ok((await asked(byFile)) - before <= 0, 'nothing but data');
  t.match(await peerOf(byFile), { state: 'up', stateWhy: /answers no keepalive/, innerMtu: 1464 });
  t.ok(receiver.process.running);
});
