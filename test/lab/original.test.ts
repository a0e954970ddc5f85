// vpc-conn at one end of the tunnel, the original tool's behaviour (test/helpers/original) at the other.
import t, { type Test } from 'tap';
import {
  createLab,
  type Lab,
  type NicSpec,
  ping,
  tcpTransfer,
  udpEcho,
  whyNoLab,
} from '../../src/lab/index.js';
import { totals } from '../helpers/lab.js';
import { RECEIVER_ARGS, senderArgs, twins } from '../helpers/original/commands.js';
import {
  destinationMac,
  innerFrames,
  isArp,
  isArpRequest,
  isIpv4,
  Original,
  Watch,
} from '../helpers/original/wire.js';

const skip = await whyNoLab();

async function twinLab(t: Test, nic: NicSpec = {}): Promise<Lab> {
  const lab = await createLab(
    twins([{ name: 'a1', address: '10.0.0.10', nic }], [{ name: 'b1', address: '10.0.0.20', nic }]),
  );
  t.teardown(() => lab.close());
  return lab;
}

/** The protocol address that an ARP packet asks for. */
function target(frame: Buffer): string {
  return [...frame.subarray(38, 42)].join('.');
}

t.test('the original at both ends: one host, ping, nothing more', { skip }, async (t) => {
  const lab = await twinLab(t);
  const sender = await Original.start(lab, 'gw-a', senderArgs('10.0.0.20'));
  const receiver = await Original.start(lab, 'gw-b', RECEIVER_ARGS);
  const result = await ping(lab, 'a1', '10.0.0.20', { count: 10 });
  t.equal(result.received, 10);
  t.equal(sender.asked.filter((address) => address === '10.0.0.20').length, 10, 'it asks before every frame');
  t.ok(sender.process.running && receiver.process.running);
});

t.test('vpc-conn sends, the original receives', { skip }, async (t) => {
  const lab = await twinLab(t);
  const receiver = await Original.start(lab, 'gw-b', RECEIVER_ARGS);
  const wire = await Watch.start(lab, 'underlay', 'gw-a');
  const gateway = await lab.startGateway('a', { args: senderArgs('10.0.0.20', '10.0.0.21') });

  const began = Date.now();
  const result = await ping(lab, 'a1', '10.0.0.20', { count: 40 });
  t.match(result, { sent: 40, received: 40, duplicates: 0, errors: 0 });
  const seconds = (Date.now() - began) / 1000;
  const inner = innerFrames(await wire.frames());
  t.equal(inner.filter(isIpv4).length, 40);
  const requests = inner.filter(isArpRequest);
  t.ok(requests.length >= 1 && requests.length <= 1 + seconds, `${requests.length} requests for 40 frames`);
  t.ok(
    requests.every((frame) => target(frame) === '10.0.0.20'),
    'and only for the host that is wanted',
  );
  t.equal(
    inner.filter((frame) => isIpv4(frame) && destinationMac(frame) === lab.mac('b1')).length,
    40,
    'the far host has its own MAC on the wire: the original delivers with it',
  );
  const after = await totals(gateway);
  t.ok((after.checksums_mended ?? 0) >= 40, 'the checksum that the original leaves wrong is mended');
  t.equal(after.drop_bad_ipv4_checksum ?? 0, 0);
  t.same(await lab.mappingDrops('a'), { spoofed: 0, unregistered: 0 }, 'VPC a saw nothing that it drops');

  await t.test('a host that does not exist is asked for once a second at most', async (t) => {
    const before = innerFrames(await wire.frames()).length;
    await lab.register('gw-a', '10.0.0.21');
    const start = Date.now();
    const result = await ping(lab, 'a1', '10.0.0.21', { count: 50, wait: 1 });
    t.equal(result.received, 0);
    const elapsed = (Date.now() - start) / 1000;
    const asked = innerFrames(await wire.frames())
      .slice(before)
      .filter((frame) => isArpRequest(frame) && target(frame) === '10.0.0.21');
    t.ok(asked.length >= 2 && asked.length <= 1 + elapsed, `${asked.length} requests in ${elapsed} s`);
  });

  t.equal((await ping(lab, 'a1', '10.0.0.20', { count: 3 })).received, 3, 'the other host still answers');
  t.ok(receiver.process.running, 'nothing that vpc-conn sends ends the original');
});

t.test('the original sends, vpc-conn receives', { skip }, async (t) => {
  const lab = await twinLab(t);
  const wire = await Watch.start(lab, 'underlay', 'gw-b');
  const gateway = await lab.startGateway('b', { args: RECEIVER_ARGS });
  const sender = await Original.start(lab, 'gw-a', senderArgs('10.0.0.20'));

  // Slowly: the original takes a late echo reply for the answer to its next question.
  const result = await ping(lab, 'a1', '10.0.0.20', { count: 20, interval: 0.3 });
  t.match(result, { sent: 20, received: 20, duplicates: 0, errors: 0 });
  const inner = innerFrames(await wire.frames());
  const answers = inner.filter((frame) => isArp(frame) && !isArpRequest(frame));
  t.equal(inner.filter(isArpRequest).length, 0, 'it is never asked: it would take that for an answer');
  t.equal(answers.length, 20, 'every question has its answer');
  t.equal(inner.filter(isIpv4).length, 20, 'every echo request its reply');
  t.equal(inner.length, 40, 'and nothing else goes there');
  t.same(
    sender.took.filter(({ mac, isArp }) => !isArp || mac !== lab.mac('b1')),
    [],
    'it took nothing else for an answer',
  );
  t.equal(
    inner.filter((frame) => isIpv4(frame) && destinationMac(frame) === lab.mac('a1')).length,
    20,
    "replies carry the originator's MAC, because the original delivers with it",
  );
  t.equal((await totals(gateway)).drop_bad_ipv4_checksum ?? 0, 0);

  const echoed = await udpEcho(lab, { from: 'a1', to: 'b1', address: '10.0.0.20', sizes: [0, 1, 100, 1200] });
  t.equal(echoed.received, 0, 'UDP does not work: the original leaves its checksum partial');
  t.ok(sender.process.running);
});

t.test('TCP and UDP from behind the original, if their checksums are complete', { skip }, async (t) => {
  const lab = await twinLab(t, { checksumOffload: false });
  const gateway = await lab.startGateway('b', { args: RECEIVER_ARGS });
  const sender = await Original.start(lab, 'gw-a', senderArgs('10.0.0.20'));
  const transfer = await tcpTransfer(lab, { from: 'a1', to: 'b1', address: '10.0.0.20', bytes: 200_000 });
  t.same(transfer.received, { bytes: transfer.bytes, sha256: transfer.sha256 });
  // One at a time: it takes a reply that overtakes an answer for the answer, and loses it.
  for (const size of [1, 1436]) {
    const echoed = await udpEcho(lab, { from: 'a1', to: 'b1', address: '10.0.0.20', sizes: [size] });
    t.match(echoed, { sent: 1, received: 1, lost: [], corrupt: [], duplicated: [] });
  }

  const big = await ping(lab, 'a1', '10.0.0.20', { count: 3, size: 1472, wait: 1 });
  t.equal(big.received, 0, 'what does not fit, the original sends in outer fragments');
  t.equal((await totals(gateway)).drop_outer_fragment, 6);
  t.ok(sender.process.running);
});
