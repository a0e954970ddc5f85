/**
 * IP addresses: text, network-order bytes and, for IPv4, unsigned 32-bit numbers. IPv6 is a thin typed layer
 * over ipaddr.js. IPv4 is the dotted quad and nothing else, and is parsed here, because tables have thousands:
 * "10.1", "0x0a.0.0.1" and "010.0.0.1", which inet_aton would take, are refused; people read them in two ways.
 */
import ipaddr from 'ipaddr.js';

export type Family = 4 | 6;

/** An address with the length of its prefix. Host bits may be set: an interface's address has them. */
export interface Prefix {
  readonly address: string;
  readonly prefixLength: number;
}

/** 4 or 6 for an address that this file parses, undefined for anything else (also for "10.0.0.0/24"). */
export function familyOf(text: string): Family | undefined {
  if (isIpv4(text)) return 4;
  // A zone ("fe80::1%eth0") names an interface of one machine: no address of the wire.
  return !text.includes('%') && ipaddr.IPv6.isValid(text) ? 6 : undefined;
}

export function isIpv4(text: string): boolean {
  return DOTTED_QUAD.test(text);
}

const DOTTED_QUAD = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/;

/** "10.0.0.5" -> 0x0a000005 (unsigned). Throws RangeError when the text is no dotted quad. */
export function parseIpv4(text: string): number {
  if (!isIpv4(text)) throw new RangeError(`${JSON.stringify(text)} is not an IPv4 address`);
  return text.split('.').reduce((value, octet) => value * 256 + Number(octet), 0);
}

/** 0x0a000005 -> "10.0.0.5"; the value is taken as unsigned 32 bits. */
export function formatIpv4(value: number): string {
  return `${(value >>> 24) & 255}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}`;
}

/** Four bytes in network order, owned by the caller. Throws RangeError when the text is no dotted quad. */
export function ipv4ToBytes(text: string): Uint8Array<ArrayBuffer> {
  const value = parseIpv4(text);
  return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
}

/** The dotted quad of exactly four bytes (a Buffer will do); throws RangeError for any other number. */
export function bytesToIpv4(bytes: Uint8Array): string {
  if (bytes.length !== 4) throw new RangeError(`an IPv4 address has 4 bytes, not ${bytes.length}`);
  return bytes.join('.');
}

/** 4 or 16 bytes in network order, owned by the caller. Throws RangeError when the text is no address. */
export function addressToBytes(text: string): Uint8Array<ArrayBuffer> {
  const family = familyOf(text);
  if (family === undefined) throw new RangeError(`${JSON.stringify(text)} is not an IP address`);
  return family === 4 ? ipv4ToBytes(text) : new Uint8Array(ipaddr.IPv6.parse(text).toByteArray());
}

/** Canonical text (dotted quad; RFC 5952 for IPv6) of 4 or 16 bytes; throws RangeError for any other number. */
export function bytesToAddress(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytesToIpv4(bytes);
  if (bytes.length !== 16) throw new RangeError(`an IP address has 4 or 16 bytes, not ${bytes.length}`);
  return new ipaddr.IPv6([...bytes]).toRFC5952String();
}

/** The one spelling of an address that is used for comparing and printing; undefined when it is none. */
export function canonicalAddress(text: string): string | undefined {
  return familyOf(text) === undefined ? undefined : bytesToAddress(addressToBytes(text));
}

/**
 * "10.0.0.0/24" or "10.0.0.5" (then /32, for IPv6 /128), with canonical address; host bits are kept.
 * Undefined when it is neither, also for a length out of range or with a leading zero.
 */
export function parsePrefix(text: string): Prefix | undefined {
  const [written = '', length, ...rest] = text.split('/');
  const address = canonicalAddress(written);
  if (address === undefined || rest.length > 0) return undefined;
  const bits = addressBits(address);
  if (length === undefined) return { address, prefixLength: bits };
  if (!/^(0|[1-9][0-9]{0,2})$/.test(length) || Number(length) > bits) return undefined;
  return { address, prefixLength: Number(length) };
}

/** "10.0.0.0/24"; an address alone when the prefix holds only that. */
export function formatPrefix(prefix: Prefix): string {
  return isSingle(prefix) ? prefix.address : `${prefix.address}/${prefix.prefixLength}`;
}

/** The same prefix with all host bits clear. */
export function networkOf(prefix: Prefix): Prefix {
  const bytes = addressToBytes(prefix.address);
  for (let index = 0; index < bytes.length; index += 1) {
    bytes[index] = (bytes[index] ?? 0) & maskByte(prefix.prefixLength, index);
  }
  return { address: bytesToAddress(bytes), prefixLength: prefix.prefixLength };
}

/** IPv4: the first address of the prefix, as an unsigned number. */
export function firstAddress(prefix: Prefix): number {
  return (parseIpv4(prefix.address) & netmask(prefix.prefixLength)) >>> 0;
}

/** IPv4: the last address of the prefix, as an unsigned number. */
export function lastAddress(prefix: Prefix): number {
  return (parseIpv4(prefix.address) | ~netmask(prefix.prefixLength)) >>> 0;
}

/** First and last address of the prefix as unsigned numbers of the family's width. */
export function rangeOf(prefix: Prefix): { readonly first: bigint; readonly last: bigint } {
  const hostBits = BigInt(addressBits(prefix.address) - prefix.prefixLength);
  const first = (addressToValue(prefix.address) >> hostBits) << hostBits;
  return { first, last: first + (1n << hostBits) - 1n };
}

/** The address with this value; the inverse of what rangeOf tells. */
export function valueToAddress(value: bigint, family: Family): string {
  const digits = value.toString(16).padStart(family === 4 ? 8 : 32, '0');
  return bytesToAddress(Buffer.from(digits, 'hex'));
}

/** Whether the prefix holds one address alone. */
export function isSingle(prefix: Prefix): boolean {
  return prefix.prefixLength === addressBits(prefix.address);
}

/** Bits of an address of this one's family: 32 or 128. */
export function addressBits(address: string): 32 | 128 {
  return address.includes(':') ? 128 : 32;
}

/** IPv6 fe80::/10; false for IPv4. */
export function isLinkLocal6(address: string): boolean {
  return address.includes(':') && contains(LINK_LOCAL6, address);
}

/** Whether the address is in the prefix (host bits of `prefix.address` do not count); false across families. */
export function contains(prefix: Prefix, address: string): boolean {
  const ours = addressToBytes(prefix.address);
  const theirs = addressToBytes(address);
  if (ours.length !== theirs.length) return false;
  return ours.every(
    (byte, index) => ((byte ^ (theirs[index] ?? 0)) & maskByte(prefix.prefixLength, index)) === 0,
  );
}

/** Whether two prefixes have an address in common: one then contains the other. */
export function rangesOverlap(left: Prefix, right: Prefix): boolean {
  return left.prefixLength <= right.prefixLength
    ? contains(left, right.address)
    : contains(right, left.address);
}

/** Order for sorting: IPv4 before IPv6, then by value. Equal addresses in two spellings compare as 0. */
export function compareAddresses(left: string, right: string): number {
  const a = addressToBytes(left);
  const b = addressToBytes(right);
  if (a.length !== b.length) return a.length - b.length;
  const at = a.findIndex((byte, index) => byte !== b[index]);
  return at === -1 ? 0 : (a[at] ?? 0) - (b[at] ?? 0);
}

/** Reached over the internet: in no private, shared or reserved range. */
export function isPublic(address: string): boolean {
  return ipaddr.isValid(address) && ipaddr.parse(address).range() === 'unicast';
}

/**
 * What kind of address this is if no host of a network can have it as its own (RFC 6890, RFC 1122 3.2.1.3);
 * undefined for an ordinary one. For a prefix: the first such range that it touches.
 */
export function unusableRange(prefix: Prefix): string | undefined {
  return UNUSABLE.find(([range]) => rangesOverlap(range, prefix))?.[1];
}

const LINK_LOCAL6: Prefix = { address: 'fe80::', prefixLength: 10 };

const UNUSABLE: readonly (readonly [Prefix, string])[] = [
  [{ address: '255.255.255.255', prefixLength: 32 }, 'the broadcast address'],
  [{ address: '0.0.0.0', prefixLength: 8 }, 'in 0.0.0.0/8, which no host can have'],
  [{ address: '127.0.0.0', prefixLength: 8 }, 'a loopback address'],
  [{ address: '169.254.0.0', prefixLength: 16 }, 'a link-local address'],
  [{ address: '224.0.0.0', prefixLength: 4 }, 'a multicast address'],
  [{ address: '::', prefixLength: 128 }, 'the unspecified address'],
  [{ address: '::1', prefixLength: 128 }, 'the loopback address'],
  [{ address: '::', prefixLength: 96 }, 'in ::/96, which no host can have'],
  [{ address: '::ffff:0.0.0.0', prefixLength: 96 }, 'an IPv4-mapped address'],
  [LINK_LOCAL6, 'a link-local address'],
  [{ address: 'fd00:ec2::', prefixLength: 32 }, 'an address of the VPC itself (instance metadata)'],
  [{ address: 'ff00::', prefixLength: 8 }, 'a multicast address'],
];

function addressToValue(address: string): bigint {
  return BigInt(`0x${Buffer.from(addressToBytes(address)).toString('hex')}`);
}

/** A shift by 32 is a shift by 0 in JavaScript, hence the case for /0. */
function netmask(prefixLength: number): number {
  return prefixLength === 0 ? 0 : (0xffffffff << (32 - prefixLength)) >>> 0;
}

function maskByte(prefixLength: number, index: number): number {
  const bits = Math.min(8, Math.max(0, prefixLength - index * 8));
  return (0xff00 >> bits) & 0xff;
}
