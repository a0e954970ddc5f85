/**
 * What a frame with a virtio header is on a wire: super-frames cut, checksums completed, done the plain way and
 * with no code of the product, so that what different rungs leave to the kernel can be compared.
 */
import { type Bytes, be16, be32, bytes, CWR, FIN, onesSum, PSH } from '../frames.js';

const NEEDS_CHECKSUM = 1;
const GSO_TCP4 = 1;
const GSO_ECN = 0x80;
const ETHERNET = 14;

export interface Virtio {
  flags: number;
  gso: number;
  gsoSize: number;
  checksumStart: number;
  checksumOffset: number;
}

export function parseVirtio(header: Bytes): Virtio {
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  return {
    flags: view.getUint8(0),
    gso: view.getUint8(1),
    gsoSize: view.getUint16(4, true),
    checksumStart: view.getUint16(6, true),
    checksumOffset: view.getUint16(8, true),
  };
}

/** The frame itself, or its segments. A super-frame of another kind than TCP over IPv4 is left as it is. */
export function wireFrames(frame: Bytes, header: Bytes): Uint8Array<ArrayBuffer>[] {
  const virtio = parseVirtio(header);
  if ((virtio.gso & ~GSO_ECN) === GSO_TCP4) return segments(frame, virtio.gsoSize);
  const whole = bytes(frame);
  if ((virtio.flags & NEEDS_CHECKSUM) !== 0) complete(whole, virtio.checksumStart, virtio.checksumOffset);
  return [whole];
}

/** The field holds the pseudo-header's sum; a sum of zero is sent as ones, as the kernel does for every protocol. */
function complete(frame: Uint8Array, start: number, offset: number): void {
  frame.set(be16(~onesSum(frame.subarray(start)) & 0xffff || 0xffff), start + offset);
}

function segments(frame: Bytes, size: number): Uint8Array<ArrayBuffer>[] {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const tcp = ETHERNET + (view.getUint8(ETHERNET) & 15) * 4;
  const payload = tcp + (view.getUint8(tcp + 12) >> 4) * 4;
  const length = frame.length - payload;
  return Array.from({ length: Math.max(1, Math.ceil(length / size)) }, (_, index) => {
    const from = index * size;
    const part = frame.subarray(payload + from, Math.min(payload + from + size, frame.length));
    const segment = bytes(frame.subarray(0, payload), part);
    const last = from + part.length === length;
    segment.set(be16(segment.length - ETHERNET), ETHERNET + 2);
    segment.set(be16((view.getUint16(ETHERNET + 4) + index) & 0xffff), ETHERNET + 4);
    segment.set([0, 0], ETHERNET + 10);
    segment.set(be16(~onesSum(segment.subarray(ETHERNET, tcp)) & 0xffff), ETHERNET + 10);
    segment.set(be32((view.getUint32(tcp + 4) + from) >>> 0), tcp + 4);
    const flags = view.getUint8(tcp + 13) & (index === 0 ? 0xff : ~CWR) & (last ? 0xff : ~(FIN | PSH));
    segment.set([flags], tcp + 13);
    segment.set([0, 0], tcp + 16);
    const pseudo = bytes(segment.subarray(ETHERNET + 12, ETHERNET + 20), [0, 6], be16(segment.length - tcp));
    segment.set(be16(~onesSum(pseudo, segment.subarray(tcp)) & 0xffff), tcp + 16);
    return segment;
  });
}
