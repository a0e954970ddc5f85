// The original's two commands, unchanged, with vpc-conn at both ends: what it never did.
import t from 'tap';
import { createLab, ping, tcpTransfer, udpEcho, whyNoLab } from '../../src/lab/index.js';
import { RECEIVER_ARGS, senderArgs, twins } from '../helpers/original/commands.js';
import { judgeFrames } from '../helpers/second-opinion.js';

const skip = await whyNoLab();

const originators = [
  { name: 'a1', address: '10.0.0.10' },
  { name: 'a2', address: '10.0.0.11' },
  { name: 'a3', address: '10.0.0.12' },
];
const farHosts = [
  { name: 'b1', address: '10.0.0.20' },
  { name: 'b2', address: '10.0.0.21' },
  // Named by the prefix.
  { name: 'b3', address: '10.0.0.40' },
];

t.test('several originators and far hosts at once', { skip }, async (t) => {
  const lab = await createLab(twins(originators, farHosts));
  t.teardown(() => lab.close());
  await judgeFrames(t, lab);
  const receiver = await lab.startGateway('b', { args: RECEIVER_ARGS });
  const sender = await lab.startGateway('a', { args: senderArgs('10.0.0.20', '10.0.0.21', '10.0.0.32/28') });
  const pairs = originators.flatMap((from) => farHosts.map((to) => ({ from, to })));

  await t.test('ping', async (t) => {
    await Promise.all(
      pairs.map(async ({ from, to }) => {
        const result = await ping(lab, from.name, to.address, { count: 10 });
        t.match(result, { sent: 10, received: 10, duplicates: 0, errors: 0 }, `${from.name} to ${to.name}`);
      }),
    );
  });

  await t.test('TCP', async (t) => {
    await Promise.all(
      originators.map(async (from, index) => {
        const to = farHosts[index];
        if (to === undefined) return;
        const route = { from: from.name, to: to.name, bytes: 4_000_001 };
        const { bytes, sha256, received } = await tcpTransfer(lab, route);
        t.same(received, { bytes, sha256 }, `${from.name} to ${to.name}`);
      }),
    );
  });

  await t.test('UDP', async (t) => {
    await Promise.all(
      originators.map(async (from) => {
        // 1436: the tunnel's 1464 bytes less the headers.
        const sizes = [0, 1, 2, 3, 511, 1435, 1436];
        const echoed = await udpEcho(lab, { from: from.name, to: 'b1', sizes });
        const all = { sent: 7, received: 7, lost: [], corrupt: [], duplicated: [] };
        t.match(echoed, all, `${from.name} to b1`);
      }),
    );
  });

  t.same(await lab.mappingDrops('a'), { spoofed: 0, unregistered: 0 }, 'VPC a drops nothing');
  t.same(await lab.mappingDrops('b'), { spoofed: 0, unregistered: 0 }, 'nor does VPC b');
  t.equal(await sender.stop(), 0);
  t.equal(await receiver.stop(), 0);
});
