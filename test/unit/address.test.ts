import fc from 'fast-check';
import t from 'tap';
import {
  addressToBytes,
  bytesToAddress,
  bytesToIpv4,
  canonicalAddress,
  compareAddresses,
  contains,
  familyOf,
  firstAddress,
  formatIpv4,
  formatPrefix,
  ipv4ToBytes,
  isIpv4,
  lastAddress,
  networkOf,
  type Prefix,
  parseIpv4,
  parsePrefix,
  rangesOverlap,
  unusableRange,
} from '../../src/net/address.js';
import { bytesToMac, canonicalMac, isUnicastMac, macToBytes } from '../../src/net/mac.js';

const u32 = fc.integer({ min: 0, max: 0xffffffff });
const ipv4 = u32.map(formatIpv4);
const ipv6Bytes = fc.uint8Array({ minLength: 16, maxLength: 16 });
const prefixes = fc.record({ address: ipv4, prefixLength: fc.integer({ min: 0, max: 32 }) });

/** The reference: addresses as strings of bits. */
function bits(address: string): string {
  return Array.from(addressToBytes(address), (byte) => byte.toString(2).padStart(8, '0')).join('');
}

function naiveContains(prefix: Prefix, address: string): boolean {
  return bits(address).startsWith(bits(prefix.address).slice(0, prefix.prefixLength));
}

t.test('only dotted quads are IPv4 addresses', async (t) => {
  for (const text of ['0.0.0.0', '10.0.0.5', '255.255.255.255']) t.equal(isIpv4(text), true, text);
  const wrong = [
    '',
    '10',
    '10.1',
    '10.0.0',
    '10.0.0.256',
    '010.0.0.1',
    '10.0.0.01',
    '0x0a.0.0.1',
    ' 10.0.0.1',
  ];
  for (const text of [
    ...wrong,
    '10.0.0.1 ',
    '10.0.0.1.',
    '10.0.0.1/32',
    '1e1.0.0.0',
    '-1.0.0.0',
    '::1',
    '10.0.0.5\n',
  ]) {
    t.equal(isIpv4(text), false, JSON.stringify(text));
    t.throws(() => parseIpv4(text), RangeError);
    t.throws(() => ipv4ToBytes(text), RangeError);
  }
});

t.test('IPv4 text, number and bytes are the same thing', async () => {
  fc.assert(
    fc.property(u32, (value) => {
      const text = formatIpv4(value);
      const bytes = ipv4ToBytes(text);
      return (
        parseIpv4(text) === value && bytesToIpv4(bytes) === text && bytesToIpv4(Buffer.from(bytes)) === text
      );
    }),
  );
});

t.test('the byte order is that of the network', async (t) => {
  t.equal(parseIpv4('10.0.0.5'), 0x0a000005);
  t.same([...ipv4ToBytes('10.1.2.3')], [10, 1, 2, 3]);
  t.same([...addressToBytes('2001:db8::1')].slice(0, 4), [0x20, 0x01, 0x0d, 0xb8]);
  t.throws(() => bytesToIpv4(new Uint8Array(3)), RangeError);
  t.throws(() => bytesToAddress(new Uint8Array(5)), RangeError);
  t.throws(() => addressToBytes('vpc-a'), RangeError);
});

t.test('IPv6 has one canonical text', async (t) => {
  fc.assert(
    fc.property(ipv6Bytes, (bytes) => {
      const text = bytesToAddress(bytes);
      t.equal(familyOf(text), 6);
      return (
        Buffer.compare(addressToBytes(text), bytes) === 0 && canonicalAddress(text.toUpperCase()) === text
      );
    }),
  );
  t.equal(canonicalAddress('2001:DB8:0:0::0001'), '2001:db8::1');
  t.equal(canonicalAddress('fe80::1%eth0'), undefined, 'a zone belongs to one machine');
  t.equal(canonicalAddress('host'), undefined);
});

t.test('prefixes', async (t) => {
  t.same(parsePrefix('10.0.0.5'), { address: '10.0.0.5', prefixLength: 32 });
  t.same(parsePrefix('10.0.0.5/24'), { address: '10.0.0.5', prefixLength: 24 }, 'host bits are kept');
  t.same(parsePrefix('0.0.0.0/0'), { address: '0.0.0.0', prefixLength: 0 });
  t.same(parsePrefix('2001:db8::/64'), { address: '2001:db8::', prefixLength: 64 });
  t.same(parsePrefix('2001:db8::1'), { address: '2001:db8::1', prefixLength: 128 });
  for (const text of [
    '10.0.0.0/33',
    '10.0.0.0/08',
    '10.0.0.0/',
    '10.0.0.0/24/1',
    '/24',
    '::/129',
    '10.0.0.0/-1',
    '10.0.0.0/ 8',
  ]) {
    t.equal(parsePrefix(text), undefined, text);
  }
  t.equal(formatPrefix({ address: '10.0.0.5', prefixLength: 32 }), '10.0.0.5');
  t.equal(formatPrefix({ address: '10.0.0.0', prefixLength: 24 }), '10.0.0.0/24');
  t.equal(formatPrefix({ address: '2001:db8::', prefixLength: 32 }), '2001:db8::/32');
});

t.test('prefix arithmetic agrees with strings of bits', async () => {
  fc.assert(
    fc.property(prefixes, (prefix) => {
      const parsed = parsePrefix(formatPrefix(prefix));
      return parsed?.address === prefix.address && parsed.prefixLength === prefix.prefixLength;
    }),
  );
  fc.assert(
    fc.property(
      prefixes,
      ipv4,
      (prefix, address) => contains(prefix, address) === naiveContains(prefix, address),
    ),
  );
  // Random pairs hardly ever meet: derive one of them from the other.
  fc.assert(
    fc.property(prefixes, u32, (prefix, noise) => {
      const hostBits = prefix.prefixLength === 0 ? 0xffffffff : 0xffffffff >>> prefix.prefixLength;
      const inside = formatIpv4(
        (firstAddress(prefix) | (prefix.prefixLength === 32 ? 0 : noise & hostBits)) >>> 0,
      );
      return contains(prefix, inside) && naiveContains(prefix, inside);
    }),
  );
  fc.assert(
    fc.property(prefixes, (prefix) => {
      const first = formatIpv4(firstAddress(prefix));
      const last = formatIpv4(lastAddress(prefix));
      const head = bits(prefix.address).slice(0, prefix.prefixLength);
      return (
        bits(first) === head.padEnd(32, '0') &&
        bits(last) === head.padEnd(32, '1') &&
        networkOf(prefix).address === first
      );
    }),
  );
});

t.test('prefixes overlap when one holds the first address of the other', async (t) => {
  const near = fc
    .tuple(prefixes, fc.integer({ min: 0, max: 32 }), fc.integer({ min: 0, max: 31 }))
    .map(([prefix, length, bit]) => {
      const flipped = formatIpv4((parseIpv4(prefix.address) ^ (1 << bit)) >>> 0);
      return [prefix, { address: flipped, prefixLength: length }] as const;
    });
  let overlaps = 0;
  fc.assert(
    fc.property(near, ([left, right]) => {
      const expected = firstAddress(left) <= lastAddress(right) && firstAddress(right) <= lastAddress(left);
      overlaps += expected ? 1 : 0;
      return rangesOverlap(left, right) === expected && rangesOverlap(right, left) === expected;
    }),
  );
  t.ok(overlaps > 0, 'both outcomes were met');
  t.equal(contains({ address: '::', prefixLength: 0 }, '10.0.0.1'), false, 'families never mix');
});

t.test('addresses are ordered by value, IPv4 first', async (t) => {
  fc.assert(
    fc.property(
      u32,
      u32,
      (a, b) => Math.sign(compareAddresses(formatIpv4(a), formatIpv4(b))) === Math.sign(a - b),
    ),
  );
  t.same(['::1', '10.0.0.10', '10.0.0.9', '::'].sort(compareAddresses), [
    '10.0.0.9',
    '10.0.0.10',
    '::',
    '::1',
  ]);
  t.equal(compareAddresses('2001:DB8::1', '2001:db8:0::1'), 0);
});

t.test('addresses that no host can have', async (t) => {
  const table: [string, string | undefined][] = [
    ['0.0.0.0', 'in 0.0.0.0/8, which no host can have'],
    ['127.0.0.1', 'a loopback address'],
    ['169.254.169.254', 'a link-local address'],
    ['224.0.0.1', 'a multicast address'],
    ['239.255.255.255', 'a multicast address'],
    ['255.255.255.255', 'the broadcast address'],
    ['0.0.0.0/0', 'the broadcast address'],
    ['fe80::1', 'a link-local address'],
    ['ff02::1', 'a multicast address'],
    ['::1', 'the loopback address'],
    ['10.0.0.5', undefined],
    ['198.18.0.1', undefined],
    ['223.255.255.255', undefined],
    ['169.253.255.255', undefined],
    ['2001:db8::1', undefined],
  ];
  for (const [text, expected] of table) {
    const prefix = parsePrefix(text);
    t.ok(prefix);
    if (prefix) t.equal(unusableRange(prefix), expected, text);
  }
});

t.test('MAC addresses', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 6, maxLength: 6 }), (bytes) => {
      const text = bytesToMac(bytes);
      return (
        Buffer.compare(macToBytes(text), bytes) === 0 &&
        canonicalMac(text.toUpperCase().replaceAll(':', '-')) === text
      );
    }),
  );
  t.equal(bytesToMac(Buffer.from([2, 0, 0, 0, 0, 0xab])), '02:00:00:00:00:ab');
  for (const text of [
    '',
    '02:00:00:00:00',
    '02:00:00:00:00:01:02',
    '2:0:0:0:0:1',
    '02:00-00:00:00:01',
    '020000000001',
    'g2:00:00:00:00:01',
  ]) {
    t.equal(canonicalMac(text), undefined, text);
    t.throws(() => macToBytes(text), RangeError);
  }
  t.throws(() => bytesToMac(new Uint8Array(5)), RangeError);
  t.equal(isUnicastMac('02:00:00:00:00:01'), true);
  for (const text of ['ff:ff:ff:ff:ff:ff', '01:00:5e:00:00:01', '00:00:00:00:00:00'])
    t.equal(isUnicastMac(text), false, text);
});
