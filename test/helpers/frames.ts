/**
 * Frames for tests, built from their fields. Checksums are computed here the plain way, word by word, so that
 * what the C++ pipelines make of a frame is compared with something that shares no code with them.
 */
import { addressToBytes, ipv4ToBytes } from '../../src/net/address.js';
import { macToBytes } from '../../src/net/mac.js';

export type Bytes = Uint8Array;

export const TCP = 6;
export const UDP = 17;
export const ICMP = 1;
export const ETHERIP = 97;
export const ICMP6 = 58;

export const FIN = 0x01;
export const SYN = 0x02;
export const RST = 0x04;
export const PSH = 0x08;
export const ACK = 0x10;
export const URG = 0x20;
export const ECE = 0x40;
export const CWR = 0x80;

export function bytes(...parts: (Bytes | readonly number[])[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

export function be16(value: number): number[] {
  return [(value >>> 8) & 255, value & 255];
}

export function be32(value: number): number[] {
  return [(value >>> 24) & 255, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
}

/** A payload that tells where each of its bytes was: 0, 1, ... 250, 0, ... */
export function counting(length: number, from = 0): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, index) => (from + index) % 251);
}

/** RFC 1071 as it is written. The sum is not complemented. */
export function onesSum(...parts: Bytes[]): number {
  let sum = 0;
  let high = true;
  for (const part of parts) {
    for (const byte of part) {
      sum += high ? byte << 8 : byte;
      if (sum > 0xffff) sum -= 0xffff;
      high = !high;
    }
  }
  return sum;
}

export interface EthernetFields {
  to: string;
  from: string;
  type?: number;
}

export function ethernet(
  { to, from, type = 0x0800 }: EthernetFields,
  payload: Bytes,
): Uint8Array<ArrayBuffer> {
  return bytes(macToBytes(to), macToBytes(from), be16(type), payload);
}

/** What an IPv4 packet carries: its bytes depend on the addresses (pseudo-header). */
export interface Transport {
  readonly protocol: number;
  bytes(from: Bytes, to: Bytes): Uint8Array<ArrayBuffer>;
}

export interface Ipv4Fields {
  from: string;
  to: string;
  tos?: number;
  id?: number;
  df?: boolean;
  mf?: boolean;
  /** Bytes; a multiple of 8. */
  offset?: number;
  ttl?: number;
  options?: readonly number[];
  /** Instead of the right ones. */
  checksum?: number;
  totalLength?: number;
  version?: number;
  headerWords?: number;
}

export function ipv4(fields: Ipv4Fields, carried: Transport): Uint8Array<ArrayBuffer> {
  const { tos = 0, id = 0x1234, df = true, mf = false, offset = 0, ttl = 64, options = [] } = fields;
  const from = ipv4ToBytes(fields.from);
  const to = ipv4ToBytes(fields.to);
  const payload = carried.bytes(from, to);
  const headerLength = 20 + options.length;
  const header = bytes(
    [((fields.version ?? 4) << 4) | (fields.headerWords ?? headerLength / 4), tos],
    be16(fields.totalLength ?? headerLength + payload.length),
    be16(id),
    be16((df ? 0x4000 : 0) | (mf ? 0x2000 : 0) | (offset / 8)),
    [ttl, carried.protocol, 0, 0],
    from,
    to,
    options,
  );
  header.set(be16(fields.checksum ?? ~onesSum(header) & 0xffff), 10);
  return bytes(header, payload);
}

/**
 * The fragments of a packet (RFC 791 section 3.2), none larger than `mtu`. `laterOptions`: those of `options`
 * that have the copy bit, padded.
 */
export function fragments(
  fields: Ipv4Fields & { laterOptions?: readonly number[] },
  carried: Transport,
  mtu: number,
): Uint8Array<ArrayBuffer>[] {
  const { laterOptions = [], ...first } = fields;
  const body = carried.bytes(ipv4ToBytes(fields.from), ipv4ToBytes(fields.to));
  const made: Uint8Array<ArrayBuffer>[] = [];
  for (let at = 0; at < body.length; ) {
    const options = at === 0 ? (fields.options ?? []) : laterOptions;
    const room = mtu - 20 - options.length;
    const last = body.length - at <= room;
    const length = last ? body.length - at : room - (room % 8);
    made.push(
      ipv4(
        {
          ...first,
          options,
          df: false,
          mf: !last || (fields.mf ?? false),
          offset: (fields.offset ?? 0) + at,
        },
        raw(carried.protocol, body.subarray(at, at + length)),
      ),
    );
    at += length;
  }
  return made;
}

export interface Ipv6Fields {
  from: string;
  to: string;
  trafficClass?: number;
  flowLabel?: number;
  hopLimit?: number;
  /** Extension headers in order; the upper layer follows. */
  extensions?: readonly Extension[];
  /** Instead of the right one. */
  payloadLength?: number;
  version?: number;
}

/** An extension header but for its first byte, the next header. */
export interface Extension {
  readonly type: number;
  readonly rest: readonly number[];
}

export const HOP_BY_HOP: Extension = { type: 0, rest: [0, 1, 4, 0, 0, 0, 0] };
export const DESTINATION_OPTIONS: Extension = { type: 60, rest: [0, 1, 4, 0, 0, 0, 0] };

/** A fragment header; offset in bytes, a multiple of 8. */
export function fragment6({ offset = 0, more = false, id = 0x12345678 } = {}): Extension {
  return { type: 44, rest: [0, ...be16(offset | Number(more)), ...be32(id)] };
}

export function ipv6(fields: Ipv6Fields, carried: Transport): Uint8Array<ArrayBuffer> {
  const { trafficClass = 0, flowLabel = 0, hopLimit = 64, extensions = [], version = 6 } = fields;
  const from = addressToBytes(fields.from);
  const to = addressToBytes(fields.to);
  const types = [...extensions.map(({ type }) => type), carried.protocol];
  const payload = bytes(
    ...extensions.map(({ rest }, index) => [types[index + 1] ?? 59, ...rest]),
    carried.bytes(from, to),
  );
  return bytes(
    be32(((version << 28) | (trafficClass << 20) | flowLabel) >>> 0),
    be16(fields.payloadLength ?? payload.length),
    [types[0] ?? 59, hopLimit],
    from,
    to,
    payload,
  );
}

/** Anything: other protocols, later fragments, what is malformed. */
export function raw(protocol: number, payload: Bytes | readonly number[]): Transport {
  return { protocol, bytes: () => bytes(payload) };
}

/** right: as sent; partial: the pseudo-header's sum, left to the NIC; a number: itself. */
export type ChecksumChoice = 'right' | 'partial' | number;

function pseudoHeader(from: Bytes, to: Bytes, protocol: number, length: number): Bytes {
  return bytes(from, to, [0, protocol], be16(length));
}

function sealed(
  segment: Uint8Array<ArrayBuffer>,
  at: number,
  choice: ChecksumChoice,
  pseudo: Bytes,
  zero: number,
): Uint8Array<ArrayBuffer> {
  let checksum = typeof choice === 'number' ? choice : onesSum(pseudo);
  if (choice === 'right') checksum = ~onesSum(pseudo, segment) & 0xffff || zero;
  segment.set(be16(checksum), at);
  return segment;
}

export interface TcpFields {
  from: number;
  to: number;
  sequence?: number;
  acknowledgment?: number;
  flags?: number;
  window?: number;
  urgent?: number;
  options?: readonly number[];
  payload?: Bytes;
  checksum?: ChecksumChoice;
  headerWords?: number;
}

export function tcp(fields: TcpFields): Transport {
  const { sequence = 1000, acknowledgment = 2000, flags = ACK, window = 502, urgent = 0 } = fields;
  const { options = [], payload = new Uint8Array(), checksum = 'right' } = fields;
  return {
    protocol: TCP,
    bytes(from, to) {
      const segment = bytes(
        be16(fields.from),
        be16(fields.to),
        be32(sequence),
        be32(acknowledgment),
        [(fields.headerWords ?? 5 + options.length / 4) << 4, flags],
        be16(window),
        [0, 0],
        be16(urgent),
        options,
        payload,
      );
      return sealed(segment, 16, checksum, pseudoHeader(from, to, TCP, segment.length), 0);
    },
  };
}

export function mssOption(mss: number): number[] {
  return [2, 4, ...be16(mss)];
}

export interface UdpFields {
  from: number;
  to: number;
  payload?: Bytes;
  checksum?: ChecksumChoice;
  length?: number;
}

export function udp(fields: UdpFields): Transport {
  const { payload = new Uint8Array(), checksum = 'right' } = fields;
  return {
    protocol: UDP,
    bytes(from, to) {
      const length = 8 + payload.length;
      const datagram = bytes(
        be16(fields.from),
        be16(fields.to),
        be16(fields.length ?? length),
        [0, 0],
        payload,
      );
      // RFC 768: a checksum that comes out as zero is sent as ones.
      return sealed(datagram, 6, checksum, pseudoHeader(from, to, UDP, length), 0xffff);
    },
  };
}

export interface IcmpFields {
  type: number;
  code?: number;
  /** The four bytes behind the checksum: identifier and sequence, or unused and MTU. */
  rest?: readonly number[];
  payload?: Bytes;
  checksum?: ChecksumChoice;
}

export function icmp(fields: IcmpFields): Transport {
  const { type, code = 0, rest = [0, 0, 0, 0], payload = new Uint8Array(), checksum = 'right' } = fields;
  return {
    protocol: ICMP,
    bytes: () => sealed(bytes([type, code, 0, 0], rest, payload), 2, checksum, new Uint8Array(), 0),
  };
}

export function echo(fields: { id: number; sequence?: number; reply?: boolean; payload?: Bytes }): Transport {
  const { id, sequence = 1, reply = false, payload = counting(32) } = fields;
  return icmp({ type: reply ? 0 : 8, rest: [...be16(id), ...be16(sequence)], payload });
}

/** ICMP destination unreachable about `quoted` (port unreachable; with `mtu`: fragmentation needed). */
export function unreachable(
  quoted: Bytes,
  fields: { mtu?: number; checksum?: ChecksumChoice } = {},
): Transport {
  const { mtu, checksum = 'right' } = fields;
  const code = mtu === undefined ? 3 : 4;
  return icmp({ type: 3, code, rest: [0, 0, ...be16(mtu ?? 0)], payload: quoted, checksum });
}

/** As icmp(), for IPv6: its checksum covers the addresses, too. */
export function icmp6(fields: IcmpFields): Transport {
  const { type, code = 0, rest = [0, 0, 0, 0], payload = new Uint8Array(), checksum = 'right' } = fields;
  return {
    protocol: ICMP6,
    bytes: (from, to) => {
      const message = bytes([type, code, 0, 0], rest, payload);
      return sealed(message, 2, checksum, pseudoHeader(from, to, ICMP6, message.length), 0);
    },
  };
}

export function echo6(fields: {
  id: number;
  sequence?: number;
  reply?: boolean;
  payload?: Bytes;
}): Transport {
  const { id, sequence = 1, reply = false, payload = counting(32) } = fields;
  return icmp6({ type: reply ? 129 : 128, rest: [...be16(id), ...be16(sequence)], payload });
}

export function packetTooBig(quoted: Bytes, mtu: number, checksum: ChecksumChoice = 'right'): Transport {
  return icmp6({ type: 2, rest: be32(mtu), payload: quoted, checksum });
}

export interface ArpFields {
  operation: 1 | 2;
  senderMac: string;
  sender: string;
  targetMac?: string;
  target: string;
}

export function arp(fields: ArpFields): Uint8Array<ArrayBuffer> {
  const { operation, senderMac, sender, targetMac = '00:00:00:00:00:00', target } = fields;
  return bytes(
    be16(1),
    be16(0x0800),
    [6, 4],
    be16(operation),
    macToBytes(senderMac),
    ipv4ToBytes(sender),
    macToBytes(targetMac),
    ipv4ToBytes(target),
  );
}

/** EtherIP (RFC 3378): 0x3000, then the inner frame. */
export function etherIp(inner: Bytes, word = 0x3000): Transport {
  return raw(ETHERIP, bytes(be16(word), inner));
}

/** Behind the packet, up to the 60 bytes that an Ethernet frame has at least. Not zeros, to be seen if carried. */
export function padded(frame: Bytes, length = 60): Uint8Array<ArrayBuffer> {
  return bytes(frame, new Uint8Array(Math.max(0, length - frame.length)).fill(0xee));
}

/** struct virtio_net_hdr as AF_PACKET delivers it. */
export interface VirtioFields {
  /** The L4 checksum is partial: where its summing starts and where its field lies, from the frame's start. */
  partial?: { start: number; offset: number };
  gso?: 'tcp' | 'tcp6' | 'udp' | number;
  gsoSize?: number;
}

const GSO = { tcp: 1, tcp6: 4, udp: 5 };

export function virtioHeader({ partial, gso = 0, gsoSize = 0 }: VirtioFields): Uint8Array<ArrayBuffer> {
  const header = new Uint8Array(10);
  const view = new DataView(header.buffer);
  header[0] = partial ? 1 : 0;
  header[1] = typeof gso === 'number' ? gso : GSO[gso];
  view.setUint16(4, gsoSize, true);
  view.setUint16(6, partial?.start ?? 0, true);
  view.setUint16(8, partial?.offset ?? 0, true);
  return header;
}

/** A capture file of Ethernet frames, for decoders. */
export function pcap(frames: readonly Bytes[]): Buffer {
  const header = Buffer.alloc(24);
  header.writeUInt32LE(0xa1b2c3d4, 0);
  header.writeUInt16LE(2, 4);
  header.writeUInt16LE(4, 6);
  header.writeUInt32LE(0x40000, 16);
  header.writeUInt32LE(1, 20);
  const records = frames.flatMap((frame) => {
    const record = Buffer.alloc(16);
    record.writeUInt32LE(frame.length, 8);
    record.writeUInt32LE(frame.length, 12);
    return [record, frame];
  });
  return Buffer.concat([header, ...records]);
}
