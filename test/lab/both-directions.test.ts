// The main job: hosts of two VPCs with the same addresses, in both directions, over TCP, UDP and ICMP.
import t from 'tap';
import { ping, tcpTransfer, udpEcho, whyNoLab } from '../../src/lab/index.js';
import { ALL_ECHOED, drops, range, startTwins, totals } from '../helpers/lab.js';

const skip = await whyNoLab();

t.test('proxied addresses, the same on both sides', { skip }, async (t) => {
  const { lab, a, b } = await startTwins(t);

  await t.test('ICMP', async (t) => {
    for (const [from, to] of [
      ['a1', 'b1'],
      ['b1', 'a1'],
      ['a2', 'b2'],
      ['b2', 'a1'],
    ] as const) {
      const result = await ping(lab, from, lab.address(to), { count: 10 });
      t.match(result, { sent: 10, received: 10, duplicates: 0, errors: 0 }, `${from} to ${to}`);
    }
    const full = await ping(lab, 'a1', '10.0.0.20', { count: 3, size: 1436, dontFragment: true });
    t.match(full, { received: 3, errors: 0 }, 'a packet of the whole tunnel MTU, not to be fragmented');
  });

  await t.test('TCP', async (t) => {
    for (const [from, to, bytes] of [
      ['a1', 'b1', 20_000_003],
      ['b1', 'a1', 20_000_003],
      ['b2', 'a1', 1],
      ['a2', 'b1', 0],
    ] as const) {
      const result = await tcpTransfer(lab, { from, to, bytes });
      t.same(result.received, { bytes, sha256: result.sha256 }, `${bytes} bytes from ${from} to ${to}`);
    }
  });

  await t.test('UDP of every size up to the tunnel MTU', async (t) => {
    for (const [from, to] of [
      ['a1', 'b1'],
      ['b2', 'a2'],
    ] as const) {
      const result = await udpEcho(lab, { from, to, sizes: range(0, 1436) });
      t.same(result, { sent: 1437, received: 1437, ...ALL_ECHOED }, `${from} to ${to} and back`);
    }
  });

  await t.test('four hosts at once, each with every far host', async (t) => {
    const pairs = [
      ['a1', 'b1'],
      ['a2', 'b1'],
      ['a1', 'b2'],
      ['b1', 'a2'],
      ['b2', 'a1'],
      ['b2', 'a2'],
    ] as const;
    await Promise.all(
      pairs.map(async ([from, to]) => {
        const result = await tcpTransfer(lab, { from, to, bytes: 8_000_000 });
        t.same(result.received, { bytes: 8_000_000, sha256: result.sha256 }, `TCP from ${from} to ${to}`);
      }),
    );
    await Promise.all(
      pairs.map(async ([from, to]) => {
        const result = await udpEcho(lab, { from, to, sizes: range(1400, 1436) });
        t.match(result, { received: 37, ...ALL_ECHOED }, `UDP between ${from} and ${to}`);
      }),
    );
  });

  await t.test('what the machines say about it', async (t) => {
    for (const vpc of ['a', 'b']) {
      t.equal((await lab.mappingDrops(vpc)).spoofed, 0, `VPC ${vpc} saw no foreign address from a NIC`);
    }
    for (const gateway of [a, b]) {
      // A veth takes 256 frames; with six bulk transfers at once it may be full for a moment, and TCP sends again.
      const { drop_tx_busy: _, ...rest } = await drops(gateway);
      t.same(rest, {}, `${gateway.name} dropped nothing`);
    }
    t.ok(((await totals(a)).mss_clamped ?? 0) > 0, 'TCP was told to fit the tunnel');
    const wire = await lab.counters('gw-a', 'eth2');
    t.ok(wire.txBytes / wire.txPackets <= 1514, 'the underlay carried no frame above its MTU');
  });

  await t.test('both gateways end cleanly', async (t) => {
    t.equal(await a.stop(), 0);
    t.equal(await b.stop(), 0);
    const after = await ping(lab, 'a1', '10.0.0.20', { count: 1, wait: 1 });
    t.equal(after.received, 0, 'and nothing goes on without them');
    t.equal(await lab.must('gw-a', ['nft', 'list', 'ruleset']), '', 'no rule is left behind');
  });
});

t.test('a plain LAN instead of a VPC', { skip }, async (t) => {
  const { lab } = await startTwins(t, { kind: 'lan' });
  t.match(
    await ping(lab, 'a1', '10.0.0.20'),
    { received: 5, duplicates: 0 },
    'the gateway answers ARP itself',
  );
  const result = await tcpTransfer(lab, { from: 'b2', to: 'a2', bytes: 4_000_000 });
  t.same(result.received, { bytes: 4_000_000, sha256: result.sha256 });
});
