/**
 * The same packet from a peer with TCP in it. Most golden cases carry UDP, which the driver never strips: as
 * TCP the faster paths must decide about them, too. What is wrong with the headers stays as wrong as it was.
 */
import { type Bytes, be16, bytes, ETHERIP, onesSum, TCP, tcp } from '../frames.js';

const ETHERNET = 14;
const ETHERIP_HEADER = 2;
const FRAGMENT = 0x3fff;

interface Header {
  at: number;
  length: number;
  end: number;
  protocol: number;
}

/** undefined: its lengths are wrong, or it is a fragment. */
function ipv4At(frame: Bytes, at: number): Header | undefined {
  if (frame.length < at + 20) return undefined;
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const length = (view.getUint8(at) & 15) * 4;
  const end = at + view.getUint16(at + 2);
  const fits = view.getUint8(at) >> 4 === 4 && length >= 20 && at + length <= end && end <= frame.length;
  if (!fits || (view.getUint16(at + 6) & FRAGMENT) !== 0) return undefined;
  return { at, length, end, protocol: view.getUint8(at + 9) };
}

/** A right checksum is right again; a wrong one stays. */
function withHeader(packet: Bytes, changes: { length: number; protocol?: number }): Uint8Array<ArrayBuffer> {
  const header = bytes(packet);
  const wasRight = onesSum(header) === 0xffff;
  header.set(be16(changes.length), 2);
  if (changes.protocol !== undefined) header.set([changes.protocol], 9);
  if (!wasRight) return header;
  header.set([0, 0], 10);
  header.set(be16(~onesSum(header) & 0xffff), 10);
  return header;
}

/** Whether the packet of a frame, or the one inside EtherIP, is a fragment. */
export function isFragment(frame: Bytes): boolean {
  const at = (place: number): number => ((frame[place] ?? 0) << 8) | (frame[place + 1] ?? 0);
  const isIpv4 = (ethernet: number): boolean => at(ethernet + 12) === 0x0800;
  if (!isIpv4(0)) return false;
  const inner = ETHERNET + ((frame[ETHERNET] ?? 0) & 15) * 4 + ETHERIP_HEADER;
  const carried = frame[ETHERNET + 9] === ETHERIP && isIpv4(inner);
  return (at((carried ? inner : 0) + ETHERNET + 6) & FRAGMENT) !== 0;
}

/** undefined: it is no EtherIP packet with an IPv4 packet, or has TCP already. */
export function asTcp(frame: Bytes, sequence: number, payload: Bytes): Uint8Array<ArrayBuffer> | undefined {
  const outer = ipv4At(frame, ETHERNET);
  if (outer?.protocol !== ETHERIP || frame[12] !== 8 || frame[13] !== 0) return undefined;
  const ethernet = outer.at + outer.length + ETHERIP_HEADER;
  if (frame[ethernet + 12] !== 8 || frame[ethernet + 13] !== 0) return undefined;
  const inner = ipv4At(frame.subarray(0, outer.end), ethernet + ETHERNET);
  if (inner === undefined || inner.protocol === TCP) return undefined;
  const from = frame.subarray(inner.at + 12, inner.at + 16);
  const to = frame.subarray(inner.at + 16, inner.at + 20);
  const segment = tcp({ from: 40500, to: 443, sequence, payload }).bytes(from, to);
  const innerHeader = withHeader(frame.subarray(inner.at, inner.at + inner.length), {
    length: inner.length + segment.length,
    protocol: TCP,
  });
  const carried = bytes(frame.subarray(outer.at + outer.length, inner.at), innerHeader, segment);
  const outerHeader = withHeader(frame.subarray(outer.at, outer.at + outer.length), {
    length: outer.length + carried.length,
  });
  return bytes(frame.subarray(0, outer.at), outerHeader, carried);
}
