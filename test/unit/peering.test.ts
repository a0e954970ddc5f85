import t from 'tap';
import { ASK_EVERY, MAX_MISSED } from '../../src/peering/conversation.js';
import { decodeFrame, encodeFrame, type Message } from '../../src/peering/message.js';
import { FORGET_AFTER } from '../../src/peering/refusals.js';
import { PeeringCase, peeringPeer } from '../helpers/peering-case.js';

const MAC = '02:00:00:00:00:09';
const kinds = (packets: readonly { frame: Uint8Array }[]): string[] =>
  packets.map(({ frame }) => decodeFrame(frame)?.kind ?? 'nothing');

t.test('two gateways find each other: up, round trip, no loss', async (t) => {
  const c = new PeeringCase();
  t.equal(c.a.report.answers, 'awaited');
  c.seconds(60);
  for (const end of [c.a, c.b]) {
    t.match(end.report, { answers: 'yes', loss: 0, path: { limited: false, proven: true }, findings: [] });
    t.ok(Math.abs((end.report.roundTrip ?? 0) - 10) < 0.1, `${end.report.roundTrip} ms`);
    t.match(end.peering.counters(), { malformed: 0, strayAnswers: 0, refused: 0 });
  }
  t.same(c.a.path, ['proven 198.18.0.2 1500']);
  const perMinute = c.sent('a').filter(({ size }) => size < 1000).length;
  t.ok(perMinute < 80, `${perMinute} small frames a minute in one direction, answers included`);
  c.close();
  t.equal(c.clock.pending, 0, 'no timer stays');
});

t.test('the far JS thread takes its time: that is not the path', async (t) => {
  const c = new PeeringCase({}, { initiates: false });
  c.passes = (packet) => {
    if (packet.from !== 'b') return true;
    // As if the answer had been on the far thread for 400 ms of the time that it was under way.
    const answer = decodeFrame(packet.frame);
    if (answer?.kind !== 'answer') return true;
    c.clock.after(405, () => c.deliver(c.a, encodeFrame({ ...answer, dwell: 400_000 }, MAC)));
    return false;
  };
  c.seconds(5);
  t.ok(Math.abs((c.a.report.roundTrip ?? 0) - 10) < 0.1, `${c.a.report.roundTrip} ms`);
  c.close();
});

t.test('a peer that dies is silent within 10 s, and up again at its first answer', async (t) => {
  const c = new PeeringCase({}, { initiates: false });
  c.seconds(30);
  c.passes = () => false;
  const start = c.clock.now();
  while (c.a.report.answers === 'yes') c.seconds(0.1);
  t.equal(c.a.report.answers, 'no-longer');
  t.ok(c.clock.now() - start < 10_000, `${c.clock.now() - start} ms`);
  t.ok((c.a.report.loss ?? 0) > 0.1);
  t.same(c.a.path, ['proven 198.18.0.2 1500'], 'a dead peer is no black hole');
  c.passes = () => true;
  c.seconds(5);
  t.equal(c.a.report.answers, 'yes');
  t.same(c.a.path, ['proven 198.18.0.2 1500']);
  c.close();
});

t.test('loss is the share of the last 100 keepalives', async (t) => {
  const c = new PeeringCase({}, { initiates: false });
  let count = 0;
  c.passes = ({ from, size }) => {
    if (from !== 'a' || size > 1000) return true;
    count += 1;
    return count % 4 !== 0;
  };
  c.seconds(500);
  const { loss } = c.a.report;
  t.ok(loss !== null && Math.abs(loss - 0.25) < 0.03, `${loss}`);
  t.equal(c.a.report.answers, 'yes', 'one lost of four is no silence');
  t.equal(c.a.report.path.limited, false, 'nor a black hole');
  c.close();
});

t.test('keepalive: false never initiates, only answers', async (t) => {
  const c = new PeeringCase({ initiates: false }, { initiates: false });
  c.a.handle({ kind: 'unlisted', scope: { peer: 0 }, address: '10.0.0.77' });
  c.seconds(3600);
  t.same(c.wire, []);
  t.equal(c.a.report.answers, 'unasked');
  t.equal(c.clock.pending, 0, 'not even a timer');
  c.deliver(c.a, encodeFrame({ kind: 'question', instance: 1, sequence: 2 }, MAC));
  t.same(kinds(c.wire), ['answer']);
  c.seconds(60);
  t.equal(c.wire.length, 1);
  c.close();
});

t.test('one end initiates: the other one only answers', async (t) => {
  const c = new PeeringCase({}, { initiates: false });
  c.seconds(60);
  t.match(c.a.report, { answers: 'yes', path: { proven: true } });
  t.ok(kinds(c.sent('b')).every((kind) => kind.endsWith('answer')));
  c.close();
});

t.test('another EtherIP implementation is left in peace while it is at work', async (t) => {
  const c = new PeeringCase();
  c.passes = () => false;
  c.seconds(60);
  const sizes = new Set(c.sent('a').map(({ size }) => size));
  t.same([...sizes], [82], 'nothing but the smallest frame: no probe, no list');
  const atFirst = c.sent('a').length;
  t.ok(atFirst <= 7, `${atFirst} in the first minute`);
  t.equal(c.a.report.answers, 'never');
  t.same(c.a.path, []);
  c.a.heardLately = true;
  c.seconds(600);
  t.equal(c.sent('a').length, atFirst, 'its traffic shows that it lives');
  c.a.heardLately = false;
  c.seconds(600);
  const more = c.sent('a').length - atFirst;
  t.ok(more > 30 && more < 45, `${more} in ten quiet minutes`);
  c.close();
});

t.test('a peer that begins to speak is asked at once, and not more than once a second', async (t) => {
  const c = new PeeringCase();
  c.passes = () => false;
  c.seconds(120);
  c.a.heardLately = true;
  const before = c.sent('a').length;
  c.deliver(c.a, encodeFrame({ kind: 'question', instance: 1, sequence: 2 }, MAC));
  c.seconds(0.01);
  t.same(kinds(c.sent('a').slice(before)), ['answer', 'question']);
  for (let count = 0; count < 100; count += 1) {
    c.deliver(c.a, encodeFrame({ kind: 'question', instance: 1, sequence: count }, MAC));
  }
  c.seconds(0.9);
  t.equal(kinds(c.sent('a').slice(before)).filter((kind) => kind === 'question').length, 1);
  c.close();
});

t.test('without a next hop nothing is sent, and nothing is lost', async (t) => {
  const c = new PeeringCase({}, { initiates: false });
  c.a.resolved = false;
  c.seconds(60);
  t.same(c.wire, []);
  t.equal(c.a.report.answers, 'awaited');
  c.a.resolved = true;
  c.seconds(2);
  t.equal(c.a.report.answers, 'yes');
  c.close();
});

t.test('what the kernel does not take says nothing about the path', async (t) => {
  const c = new PeeringCase({}, { initiates: false });
  c.seconds(5);
  c.sends = false;
  c.seconds(60);
  t.same(c.a.path, ['proven 198.18.0.2 1500']);
  c.close();
});

t.test('checklist 39: a black hole lowers the path, raising it takes 600 s', async (t) => {
  const c = new PeeringCase({}, { initiates: false });
  let carries = 1400;
  c.passes = ({ size }) => size <= carries;
  c.seconds(2.9);
  t.same(c.a.path, []);
  c.seconds(0.2);
  t.equal(c.a.path[0], 'black hole 198.18.0.2 1200', 'in use at once');
  t.equal(c.a.report.answers, 'yes', 'lost probes are no lost keepalives');
  t.equal(c.a.report.loss, 0);
  c.seconds(30);
  const found = Number(c.a.path.at(-1)?.split(' ').at(-1));
  t.ok(found <= 1400 && found > 1396, `found ${found}`);
  t.equal(c.a.report.path.limited, true);
  carries = 1500;
  c.seconds(550);
  t.equal(c.a.report.path.limited, true);
  c.seconds(60);
  t.match(c.a.report.path, { limited: false, proven: true });
  t.equal(c.a.path.at(-1), 'proven 198.18.0.2 1500');
  c.close();
});

t.test(
  'checklist 39: probes are padded questions with zeros, one at a time, none above the route',
  async (t) => {
    const c = new PeeringCase({ pathLimit: 9001 }, { initiates: false });
    c.passes = ({ size }) => size <= 4000;
    c.seconds(120);
    const probes = c.sent('a').filter(({ size }) => size > 400);
    t.ok(probes.length > 10);
    for (const { frame, size } of probes) {
      t.equal(decodeFrame(frame)?.kind, 'question');
      t.ok(size <= 9001);
      t.ok(
        frame.subarray(60).every((byte) => byte === 0),
        'no user data',
      );
    }
    const answered = c.sent('b').every(({ frame }) => frame.length <= 60);
    t.ok(answered, 'a probe gets the smallest answer');
    c.close();
  },
);

t.test('checklist 39: heavy loss is no black hole for long', async (t) => {
  const c = new PeeringCase({}, { initiates: false });
  let seed = 1;
  c.passes = () => {
    seed = (seed * 1103515245 + 12345) % 2147483648;
    return seed / 2147483648 > 0.1;
  };
  let limited = 0;
  for (let second = 0; second < 1200; second += 1) {
    c.seconds(1);
    if (c.a.report.path.limited) limited += 1;
  }
  t.ok(limited < 60, `${limited} of 1200 s`);
  c.close();
});

t.test('one-sided plan: the peer lists nobody here', async (t) => {
  const c = new PeeringCase({}, { hosts: [], acceptsNone: true });
  c.seconds(5);
  t.match(c.a.report.findings, [{ code: 'accepts-none', message: /^vpc-b lists none of the hosts here/ }]);
  t.same(c.b.report.findings, []);
  c.b.peering.update({
    sourceMac: MAC,
    peers: [
      peeringPeer({ name: 'vpc-a', address: '198.18.0.1', localAddress: '198.18.0.2', acceptsNone: false }),
    ],
  });
  c.seconds(5);
  t.same(c.a.report.findings, [], 'mended');
  c.close();
});

t.test('far hosts that the peer cannot deliver are told by name', async (t) => {
  const host = (address: string, prefixLength = 32, proxiedAs = address) => ({
    address,
    prefixLength,
    proxiedAs,
  });
  const c = new PeeringCase(
    { hosts: [host('10.0.0.20'), host('10.0.0.21', 32, '10.0.0.99'), host('10.0.1.0', 24)] },
    { initiates: false },
  );
  c.b.verdicts.set('10.0.0.21', 'proxied').set('10.0.1.0', 'no-route');
  c.seconds(5);
  t.match(c.a.report.findings, [
    { code: 'proxied', host: '10.0.0.21', message: /cannot deliver to 10\.0\.0\.21 \(here 10\.0\.0\.99\)/ },
    { code: 'no-route', host: '10.0.1.0/24', message: /no route to it/ },
  ]);
  c.b.verdicts.clear();
  c.seconds(65);
  t.same(c.a.report.findings, [], 'looked at again every minute');
  c.close();
});

t.test('a list of thousands goes in pieces, at a measured pace', async (t) => {
  const hosts = Array.from({ length: 2000 }, (_, index) => {
    const address = `10.0.${index >> 8}.${index & 255}`;
    return { address, prefixLength: 32, proxiedAs: address };
  });
  hosts.push({ address: '2001:db8::1', prefixLength: 128, proxiedAs: '2001:db8::1' });
  const c = new PeeringCase({ hosts }, { initiates: false });
  c.b.verdicts.set('10.0.7.207', 'silent').set('2001:db8::1', 'no-route');
  for (let index = 0; index < 40; index += 1) c.b.verdicts.set(`10.0.1.${index}`, 'proxied');
  c.seconds(20);
  t.equal(c.a.report.findings.length, 16, 'so many by name');
  t.equal(c.a.report.more, 26, 'the rest by number');
  const asked = c.sent('a').filter(({ frame }) => decodeFrame(frame)?.kind === 'list-question');
  t.equal(asked.length, 22);
  t.ok(asked.every(({ frame }) => frame.length <= 640));
  t.equal(c.b.peering.counters().refused, 0);
  c.close();
});

t.test('a host that is refused there is told here, and forgotten when it stops', async (t) => {
  const c = new PeeringCase({}, { initiates: false });
  c.seconds(10);
  c.b.handle({ kind: 'unlisted', scope: { peer: 0 }, address: '10.0.0.11' });
  t.same(c.b.peering.refusedHosts(0), ['10.0.0.11']);
  c.seconds(5);
  t.match(c.a.report.findings, [
    { code: 'refused', host: '10.0.0.11', message: /^vpc-b drops what 10\.0\.0\.11 sends/ },
  ]);
  c.seconds(FORGET_AFTER / 1000 + 10);
  t.same(c.a.report.findings, []);
  t.same(c.b.peering.refusedHosts(0), []);
  for (let index = 0; index < 1000; index += 1) {
    c.b.handle({ kind: 'unlisted', scope: { peer: 0 }, address: `10.9.${index >> 8}.${index & 255}` });
  }
  const before = c.wire.length;
  c.seconds(10);
  t.equal(c.a.report.findings.length, 16, 'bounded, whatever is made up');
  t.ok(c.wire.length - before < 60);
  c.close();
});

t.test('answers that nobody asked for, and a flood of questions, change nothing', async (t) => {
  const c = new PeeringCase({}, { initiates: false });
  c.seconds(10);
  const report = JSON.stringify(c.a.report);
  const [question] = c.sent('a').map(({ frame }) => decodeFrame(frame));
  const by = { instance: question?.instance ?? 0, sequence: 1, answerer: 1, revision: 1 };
  const forged: Message[] = [
    { kind: 'answer', ...by, acceptsNone: true, received: 60, dwell: 0 },
    { kind: 'list-answer', ...by, verdicts: ['silent'] },
    { kind: 'refused-answer', ...by, addresses: ['10.0.0.1'] },
  ];
  for (const message of forged) c.deliver(c.a, encodeFrame(message, MAC));
  t.equal(c.a.peering.counters().strayAnswers, 3);
  t.equal(JSON.stringify(c.a.report), report);
  c.deliver(c.a, new Uint8Array(60));
  t.equal(c.a.peering.counters().malformed, 1);

  const before = c.wire.length;
  for (let sequence = 0; sequence < 100; sequence += 1) {
    const hosts = [{ address: '10.0.0.1', prefixLength: 32 }];
    c.deliver(c.b, encodeFrame({ kind: 'list-question', instance: 1, sequence, hosts }, MAC));
  }
  t.ok(c.wire.length - before <= 8, 'lists are looked through so often a second');
  t.ok(c.b.peering.counters().refused >= 92);
  const short = encodeFrame({ kind: 'question', instance: 1, sequence: 1 }, MAC).subarray(0, 46);
  const sent = c.wire.length;
  c.deliver(c.b, short);
  t.equal(c.wire.length, sent, 'a question shorter than its answer gets none');
  c.close();
});

t.test('reload: keepalives on and off, peers come and go', async (t) => {
  const c = new PeeringCase({}, { initiates: false });
  c.seconds(10);
  const view = (changes: Parameters<typeof peeringPeer>[0]) => ({
    sourceMac: MAC,
    peers: [peeringPeer(changes)],
  });
  c.a.peering.update(view({ initiates: false }));
  t.match(c.a.report, { answers: 'unasked', findings: [], loss: null, roundTrip: null });
  t.equal(c.a.path.at(-1), 'forget 198.18.0.2');
  const before = c.sent('a').length;
  c.seconds(60);
  t.equal(c.sent('a').length, before);
  c.a.peering.update(view({}));
  c.seconds(ASK_EVERY / 1000);
  t.equal(c.a.report.answers, 'yes');
  c.a.peering.update(view({ pathLimit: 1400 }));
  c.seconds(1);
  t.equal(c.a.path.at(-1), 'proven 198.18.0.2 1400', 'another route is probed at once');
  c.a.peering.update({ sourceMac: MAC, peers: [] });
  t.equal(c.a.path.at(-1), 'forget 198.18.0.2');
  c.deliver(c.a, encodeFrame({ kind: 'question', instance: 1, sequence: 2 }, MAC));
  const gone = c.sent('a').length;
  c.seconds(60);
  t.equal(c.sent('a').length, gone, 'a peer that is gone is neither asked nor answered');
  t.ok(MAX_MISSED > 1);
  c.close();
});
