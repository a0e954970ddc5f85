import fc from 'fast-check';
import t from 'tap';
import { bytesToIpv4 } from '../../src/net/address.js';
import { type ArpFrame, BROADCAST_MAC, buildArp, parseArp, ZERO_MAC } from '../../src/net/arp.js';
import { bytesToMac } from '../../src/net/mac.js';

const REQUEST: ArpFrame = {
  destination: BROADCAST_MAC,
  source: '02:00:00:00:00:05',
  operation: 'request',
  senderMac: '02:00:00:00:00:05',
  senderAddress: '10.0.0.5',
  targetMac: ZERO_MAC,
  targetAddress: '10.0.0.10',
};

const REQUEST_BYTES =
  'ffffffffffff0200000000050806' + '0001080006040001' + '0200000000050a000005' + '0000000000000a00000a';

t.test('RFC 826: a request, byte by byte, padded to 60', async (t) => {
  const frame = buildArp(REQUEST);
  t.equal(Buffer.from(frame).toString('hex'), REQUEST_BYTES.padEnd(120, '0'));
});

t.test('a frame without padding and one with trailing bytes are read alike, at any offset', async (t) => {
  const bytes = Buffer.from(REQUEST_BYTES, 'hex');
  t.same(parseArp(bytes), REQUEST);
  t.same(parseArp(Buffer.concat([bytes, Buffer.alloc(18, 0xee)])), REQUEST);
  const shifted = Buffer.concat([Buffer.alloc(3, 0xff), bytes, Buffer.alloc(3, 0xff)]);
  t.same(parseArp(shifted.subarray(3, 45)), REQUEST);
});

t.test('every truncated frame is refused', async (t) => {
  const bytes = Buffer.from(REQUEST_BYTES, 'hex');
  for (let length = 0; length < bytes.length; length += 1) {
    // The bytes beyond the end exist and are right: only the length says that they are not the frame's.
    t.equal(parseArp(bytes.subarray(0, length)), undefined, `${length} bytes`);
  }
});

t.test(
  'RFC 826: hrd 1, pro 0x0800, hln 6, pln 4, op 1 or 2; anything else is refused (checklist 46)',
  async (t) => {
    const broken: [at: number, value: number, what: string][] = [
      [12, 0x81, 'VLAN tag'],
      [13, 0x00, 'IPv4'],
      [13, 0x35, 'RARP'],
      [14, 1, 'hrd high byte'],
      [15, 6, 'hrd IEEE 802'],
      [16, 0x86, 'pro'],
      [17, 1, 'pro low byte'],
      [18, 8, 'hln'],
      [19, 16, 'pln'],
      [20, 1, 'op high byte'],
      [21, 0, 'op 0'],
      [21, 3, 'op 3'],
    ];
    for (const [at, value, what] of broken) {
      const bytes = Buffer.from(REQUEST_BYTES, 'hex');
      bytes[at] = value;
      t.equal(parseArp(bytes), undefined, what);
    }
  },
);

t.test('what was built is read back', async () => {
  const mac = fc.uint8Array({ minLength: 6, maxLength: 6 }).map(bytesToMac);
  const address = fc.uint8Array({ minLength: 4, maxLength: 4 }).map(bytesToIpv4);
  const frame = fc.record<ArpFrame>({
    destination: mac,
    source: mac,
    operation: fc.constantFrom('request', 'reply'),
    senderMac: mac,
    senderAddress: address,
    targetMac: mac,
    targetAddress: address,
  });
  fc.assert(
    fc.property(frame, (arp) => {
      t.same(parseArp(buildArp(arp)), arp);
    }),
    { numRuns: 50 },
  );
});

t.test('arbitrary bytes never throw', async () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
      parseArp(bytes);
    }),
  );
});

t.test('a caller who gives no address gets a RangeError', async (t) => {
  t.throws(() => buildArp({ ...REQUEST, senderAddress: 'nobody' }), RangeError);
  t.throws(() => buildArp({ ...REQUEST, targetMac: '02:00' }), RangeError);
});
