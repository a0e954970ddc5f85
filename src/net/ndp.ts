/**
 * Neighbor solicitations and advertisements over Ethernet (RFC 4861 4.3, 4.4, 7.1). What the bytes say, no more:
 * who may answer or be believed is for src/neighbor to decide.
 *
 *    0             14                                54                     62         78
 *   +-------------+----------------------------------+----------------------+----------+---------+
 *   | Ethernet    | IPv6, next header 58, hop limit  | 135 or 136, 0,       | target   | options |
 *   | type 0x86dd | 255, source, destination         | checksum, R S O bits |          |         |
 *   +-------------+----------------------------------+----------------------+----------+---------+
 */
import { addressToBytes, bytesToAddress } from './address.js';
import { bytesToMac, MAC_BYTES, macToBytes } from './mac.js';

export const ALL_NODES = 'ff02::1';
export const UNSPECIFIED_ADDRESS6 = '::';

const ETHERTYPE_IPV6 = 0x86dd;
const NEXT_HEADER_ICMP6 = 58;
/** RFC 4861 7.1: proves that no router has passed it on. */
const HOP_LIMIT = 255;
const SOLICITATION = 135;
const ADVERTISEMENT = 136;
const SOURCE_LINK_LAYER = 1;
const TARGET_LINK_LAYER = 2;
const ADDRESS_BYTES = 16;

const AT_ETHERTYPE = 12;
const AT_PAYLOAD_LENGTH = 18;
const AT_NEXT_HEADER = 20;
const AT_HOP_LIMIT = 21;
const AT_SOURCE = 22;
const AT_DESTINATION = 38;
const AT_TYPE = 54;
const AT_CODE = 55;
const AT_CHECKSUM = 56;
const AT_FLAGS = 58;
const AT_TARGET = 62;
const AT_OPTIONS = 78;

const FLAG_SOLICITED = 0x40;
const FLAG_OVERRIDE = 0x20;

export interface NdpFrame {
  /** Ethernet destination and source. */
  readonly destination: string;
  readonly source: string;
  readonly kind: 'solicitation' | 'advertisement';
  readonly sourceAddress: string;
  readonly destinationAddress: string;
  readonly target: string;
  /** Source (solicitation) or target (advertisement) link-layer address option. */
  readonly linkLayer?: string;
  /** Advertisements. */
  readonly solicited?: boolean;
  readonly override?: boolean;
}

/**
 * The message in an Ethernet frame of any origin; bytes after it are padding. Undefined when a receiver must
 * discard it (RFC 4861 7.1.1, 7.1.2): truncated, another hop limit, a wrong checksum, an option without length,
 * a multicast target, an unspecified source in a message that is none of duplicate address detection's.
 */
export function parseNdp(frame: Uint8Array): NdpFrame | undefined {
  if (frame.length < AT_OPTIONS) return undefined;
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  const end = AT_TYPE + view.getUint16(AT_PAYLOAD_LENGTH);
  const type = view.getUint8(AT_TYPE);
  if (
    view.getUint16(AT_ETHERTYPE) !== ETHERTYPE_IPV6 ||
    view.getUint8(AT_NEXT_HEADER) !== NEXT_HEADER_ICMP6 ||
    view.getUint8(AT_HOP_LIMIT) !== HOP_LIMIT ||
    view.getUint8(AT_CODE) !== 0 ||
    (type !== SOLICITATION && type !== ADVERTISEMENT) ||
    end < AT_OPTIONS ||
    end > frame.length ||
    sum(frame.subarray(AT_SOURCE, AT_TYPE), pseudoTail(end - AT_TYPE), frame.subarray(AT_TYPE, end)) !==
      0xffff
  ) {
    return undefined;
  }
  const solicitation = type === SOLICITATION;
  const linkLayer = findLinkLayer(frame.subarray(AT_OPTIONS, end), solicitation);
  if (linkLayer === 'malformed') return undefined;
  const address = (at: number) => bytesToAddress(frame.subarray(at, at + ADDRESS_BYTES));
  const [sourceAddress, destinationAddress, target] = [AT_SOURCE, AT_DESTINATION, AT_TARGET].map(address);
  if (sourceAddress === undefined || destinationAddress === undefined || target === undefined)
    return undefined;
  if (isMulticast(target)) return undefined;
  const flags = view.getUint8(AT_FLAGS);
  if (solicitation && sourceAddress === UNSPECIFIED_ADDRESS6) {
    if (linkLayer !== undefined || !isMulticast(destinationAddress)) return undefined;
  }
  if (!solicitation && isMulticast(destinationAddress) && (flags & FLAG_SOLICITED) !== 0) return undefined;
  return {
    destination: bytesToMac(frame.subarray(0, MAC_BYTES)),
    source: bytesToMac(frame.subarray(MAC_BYTES, 2 * MAC_BYTES)),
    kind: solicitation ? 'solicitation' : 'advertisement',
    sourceAddress,
    destinationAddress,
    target,
    ...(linkLayer !== undefined && { linkLayer }),
    ...(!solicitation && {
      solicited: (flags & FLAG_SOLICITED) !== 0,
      override: (flags & FLAG_OVERRIDE) !== 0,
    }),
  };
}

/** The frame, owned by the caller. Throws RangeError when a MAC or an address is none: the caller's mistake. */
export function buildNdp(message: NdpFrame): Uint8Array<ArrayBuffer> {
  const solicitation = message.kind === 'solicitation';
  const option = message.linkLayer === undefined ? 0 : 8;
  const frame = new Uint8Array(AT_OPTIONS + option);
  const view = new DataView(frame.buffer);
  frame.set(macToBytes(message.destination), 0);
  frame.set(macToBytes(message.source), MAC_BYTES);
  view.setUint16(AT_ETHERTYPE, ETHERTYPE_IPV6);
  view.setUint8(14, 6 << 4);
  view.setUint16(AT_PAYLOAD_LENGTH, frame.length - AT_TYPE);
  view.setUint8(AT_NEXT_HEADER, NEXT_HEADER_ICMP6);
  view.setUint8(AT_HOP_LIMIT, HOP_LIMIT);
  frame.set(addressToBytes(message.sourceAddress), AT_SOURCE);
  frame.set(addressToBytes(message.destinationAddress), AT_DESTINATION);
  view.setUint8(AT_TYPE, solicitation ? SOLICITATION : ADVERTISEMENT);
  if (message.solicited) view.setUint8(AT_FLAGS, view.getUint8(AT_FLAGS) | FLAG_SOLICITED);
  if (message.override) view.setUint8(AT_FLAGS, view.getUint8(AT_FLAGS) | FLAG_OVERRIDE);
  frame.set(addressToBytes(message.target), AT_TARGET);
  if (message.linkLayer !== undefined) {
    view.setUint8(AT_OPTIONS, solicitation ? SOURCE_LINK_LAYER : TARGET_LINK_LAYER);
    view.setUint8(AT_OPTIONS + 1, 1);
    frame.set(macToBytes(message.linkLayer), AT_OPTIONS + 2);
  }
  const body = frame.subarray(AT_TYPE);
  view.setUint16(
    AT_CHECKSUM,
    ~sum(frame.subarray(AT_SOURCE, AT_TYPE), pseudoTail(body.length), body) & 0xffff,
  );
  return frame;
}

/** Where a solicitation for `address` goes (RFC 4291 2.7.1, RFC 2464 7). */
export function solicitedNode(address: string): { readonly address: string; readonly mac: string } {
  const group = addressToBytes('ff02::1:ff00:0');
  group.set(addressToBytes(address).subarray(13), 13);
  return { address: bytesToAddress(group), mac: multicastMac(group) };
}

export const ALL_NODES_MAC = multicastMac(addressToBytes(ALL_NODES));

/** The link-local address that an interface with this MAC forms by itself (RFC 4291 appendix A). */
export function linkLocalOf(mac: string): string {
  const [a = 0, ...rest] = macToBytes(mac);
  const bytes = Uint8Array.of(
    0xfe,
    0x80,
    0,
    0,
    0,
    0,
    0,
    0,
    a ^ 2,
    ...rest.slice(0, 2),
    0xff,
    0xfe,
    ...rest.slice(2),
  );
  return bytesToAddress(bytes);
}

function multicastMac(group: Uint8Array): string {
  return bytesToMac(Uint8Array.of(0x33, 0x33, ...group.subarray(12)));
}

function isMulticast(address: string): boolean {
  return address.startsWith('ff') && address.indexOf(':') === 4;
}

function findLinkLayer(options: Uint8Array, solicitation: boolean): string | 'malformed' | undefined {
  const wanted = solicitation ? SOURCE_LINK_LAYER : TARGET_LINK_LAYER;
  let found: string | undefined;
  for (let at = 0; at < options.length; ) {
    const length = (options[at + 1] ?? 0) * 8;
    if (length === 0 || at + length > options.length) return 'malformed';
    if (options[at] === wanted && length === 8) found ??= bytesToMac(options.subarray(at + 2, at + 8));
    at += length;
  }
  return found;
}

/** Length and next header of the pseudo-header (RFC 8200 8.1), behind the addresses. */
function pseudoTail(length: number): Uint8Array {
  return Uint8Array.of(0, 0, length >>> 8, length & 255, 0, 0, 0, NEXT_HEADER_ICMP6);
}

/** RFC 1071; every part but the last is of even length. */
function sum(...parts: Uint8Array[]): number {
  let total = 0;
  for (const part of parts) {
    part.forEach((byte, index) => {
      total += index % 2 === 0 ? byte << 8 : byte;
    });
  }
  while (total > 0xffff) total = (total & 0xffff) + Math.floor(total / 0x10000);
  return total;
}
