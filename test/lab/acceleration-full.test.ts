// Rung "full": the driver takes the outer headers off, the kernel merges the inner TCP, and nobody can tell.
import t from 'tap';
import type { StatusResult } from '../../src/control/protocol.js';
import { createLab, ping, tcpTransfer, udpEcho, whyNoLab } from '../../src/lab/index.js';
import { ALL_ECHOED, drops, range, totals, twinConfig, twinVpcs } from '../helpers/lab.js';
import { judgeFrames } from '../helpers/second-opinion.js';

const skip = await whyNoLab();
const MIB = 1024 * 1024;

t.test('TCP both ways, UDP and ping on the highest rung', { skip }, async (t) => {
  const lab = await createLab(twinVpcs({}));
  t.teardown(() => lab.close());
  await judgeFrames(t, lab);
  const start = (vpc: 'a' | 'b') =>
    lab.startGateway(vpc, { config: { ...twinConfig(vpc), dataplane: { acceleration: 'full' } } });
  const [a, b] = await Promise.all([start('a'), start('b')]);
  for (const gateway of [a, b]) {
    const { stdout } = await gateway.client('status', '--json');
    const { acceleration } = JSON.parse(stdout) as StatusResult;
    t.match(acceleration, { encap: { rung: 'segment', why: '' }, decap: { rung: 'full', why: '' } });
  }
  t.equal((await ping(lab, 'a1', lab.address('b1'), { count: 3 })).received, 3);
  for (const [from, to] of [
    ['a1', 'b1'],
    ['b2', 'a2'],
  ] as const) {
    const sent = await tcpTransfer(lab, { from, to, bytes: 64 * MIB });
    t.equal(sent.sha256, sent.received.sha256, `${from} to ${to}: equal digests`);
  }
  t.match(
    await udpEcho(lab, { from: 'a2', to: 'b2', sizes: range(0, 1436).filter((size) => size % 41 === 0) }),
    ALL_ECHOED,
  );
  for (const gateway of [a, b]) {
    const { rx_super_frames = 0, rx_frames = 0 } = await totals(gateway);
    t.ok(rx_super_frames > 0 && rx_frames > 0, 'the kernel merged before the worker saw them');
    t.same(await drops(gateway), {}, 'nothing dropped');
  }
});
