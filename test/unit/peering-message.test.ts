import fc from 'fast-check';
import t from 'tap';
import {
  decodeFrame,
  encodeFrame,
  type Message,
  MOST_REFUSED,
  prefixesPerQuestion,
  VERDICTS,
} from '../../src/peering/message.js';

const MAC = '02:00:00:00:01:01';
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const u16 = fc.integer({ min: 0, max: 0xffff });
const common = { instance: u32, sequence: u32 };
const answers = { ...common, answerer: u32, revision: u32 };
const v4 = fc.ipV4();
const hostsOf = (address: fc.Arbitrary<string>, bits: number, most: number) =>
  fc.array(fc.record({ address, prefixLength: fc.integer({ min: 0, max: bits }) }), {
    minLength: 1,
    maxLength: most,
  });
const message: fc.Arbitrary<Message> = fc.oneof(
  fc.record({ kind: fc.constant('question' as const), ...common }),
  fc.record({
    kind: fc.constant('answer' as const),
    ...answers,
    acceptsNone: fc.boolean(),
    received: u16,
    dwell: u32,
  }),
  fc.record({
    kind: fc.constant('list-question' as const),
    ...common,
    hosts: fc.oneof(
      hostsOf(v4, 32, prefixesPerQuestion(4)),
      hostsOf(fc.constantFrom('2001:db8::1', '2001:db8:0:1::'), 128, prefixesPerQuestion(16)),
    ),
  }),
  fc.record({
    kind: fc.constant('list-answer' as const),
    ...answers,
    verdicts: fc.array(fc.constantFrom(...VERDICTS), { maxLength: prefixesPerQuestion(4) }),
  }),
  fc.record({ kind: fc.constant('refused-question' as const), ...common }),
  fc.record({
    kind: fc.constant('refused-answer' as const),
    ...answers,
    addresses: fc.array(fc.oneof(v4, fc.constant('2001:db8::1')), { maxLength: MOST_REFUSED }),
  }),
);

t.test('what is written is read again, padded or not', async () => {
  fc.assert(
    fc.property(message, fc.integer({ min: 0, max: 2000 }), (written, length) => {
      const frame = encodeFrame(written, MAC, length);
      if (frame.length < Math.max(60, length)) throw new Error(`${frame.length} bytes`);
      t.same(decodeFrame(frame), written);
      // The workers hand up no more than this.
      t.same(decodeFrame(frame.subarray(0, 640)), written);
    }),
  );
});

t.test('frames of any bytes are read without harm', async (t) => {
  const header = Buffer.from('0180c200000e02000000010188b57670636301', 'hex');
  let read = 0;
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.integer({ min: 0, max: 7 }), (tail, kind) => {
      if (decodeFrame(tail) !== undefined) throw new Error('random bytes are a message');
      const frame = Uint8Array.from([...header, kind, 0, 8 + tail.length, ...tail]);
      const found = decodeFrame(frame);
      if (found === undefined) return;
      read += 1;
      // What is believed can be said again: every field is in its range.
      encodeFrame(found, MAC);
    }),
    { numRuns: 2000 },
  );
  t.ok(read > 0, 'some of them are messages');
});

t.test('one byte changed, or the end cut off, is read without harm', async (t) => {
  fc.assert(
    fc.property(message, fc.nat(), fc.integer({ min: 0, max: 255 }), (written, place, value) => {
      const frame = encodeFrame(written, MAC);
      const changed = frame.slice();
      changed[place % frame.length] = value;
      const found = decodeFrame(changed);
      if (found !== undefined) encodeFrame(found, MAC);
      const length = 14 + new DataView(frame.buffer).getUint16(20);
      t.equal(decodeFrame(frame.subarray(0, place % length)), undefined);
    }),
  );
});

t.test('an answer is never longer than its question', async (t) => {
  const by = { instance: 1, sequence: 2, answerer: 3, revision: 4 };
  const question = encodeFrame({ kind: 'question', instance: 1, sequence: 2 }, MAC);
  const answer = encodeFrame({ kind: 'answer', ...by, acceptsNone: true, received: 1, dwell: 2 }, MAC);
  t.ok(answer.length <= question.length);
  for (const [address, bytes] of [
    ['10.0.0.1', 4],
    ['2001:db8::1', 16],
  ] as const) {
    for (let count = 1; count <= prefixesPerQuestion(bytes); count += 1) {
      const hosts = Array.from({ length: count }, () => ({ address, prefixLength: 32 }));
      const asked = encodeFrame({ kind: 'list-question', instance: 1, sequence: 2, hosts }, MAC);
      const verdicts = hosts.map(() => 'silent' as const);
      t.ok(encodeFrame({ kind: 'list-answer', ...by, verdicts }, MAC).length <= asked.length, `${count}`);
      t.ok(asked.length <= 640, 'the workers hand up all of it');
    }
  }
  const asked = encodeFrame({ kind: 'refused-question', instance: 1, sequence: 2 }, MAC);
  const addresses = Array.from({ length: MOST_REFUSED }, () => '2001:db8::1');
  t.ok(encodeFrame({ kind: 'refused-answer', ...by, addresses }, MAC).length <= asked.length);
});

t.test('another version, kind, magic or EtherType is no message', async (t) => {
  const frame = encodeFrame({ kind: 'question', instance: 1, sequence: 2 }, MAC);
  t.ok(decodeFrame(frame));
  for (const [at, value] of [
    [12, 0x08],
    [14, 0],
    [18, 2],
    [19, 0],
    [19, 7],
    [21, 15],
  ] as const) {
    const other = frame.slice();
    other[at] = value;
    t.equal(decodeFrame(other), undefined, `byte ${at} = ${value}`);
  }
  t.equal(
    Buffer.from(frame.subarray(0, 30)).toString('hex'),
    '0180c200000e02000000010188b5767063630101' + '0020' + '0000000100000002',
    'the first 30 bytes are fixed for ever',
  );
});
