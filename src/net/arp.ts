/**
 * ARP over Ethernet for IPv4 (RFC 826). What the bytes say, no more: who may answer or be believed is for
 * src/neighbor to decide.
 *
 *    0               6               12      14
 *   +---------------+---------------+-------+
 *   | destination   | source        | 0x0806|  Ethernet
 *   +-------+-------+---+---+-------+-------+
 *   | hrd 1 |pro 0x0800 | 6 | 4 |  op   |      14..21
 *   +-------+-------+---+---+-------+
 *   | sender MAC    | sender IP |              22..31
 *   | target MAC    | target IP |              32..41
 *   +---------------+-----------+
 */
import { bytesToIpv4, ipv4ToBytes } from './address.js';
import { bytesToMac, MAC_BYTES, macToBytes } from './mac.js';

export const BROADCAST_MAC = 'ff:ff:ff:ff:ff:ff';
export const ZERO_MAC = '00:00:00:00:00:00';
export const UNSPECIFIED_ADDRESS = '0.0.0.0';

const ETHERTYPE_ARP = 0x0806;
const HARDWARE_ETHERNET = 1;
const PROTOCOL_IPV4 = 0x0800;
const IPV4_BYTES = 4;
const ARP_FRAME_BYTES = 42;
/** Shortest Ethernet frame without FCS: what an ARP frame is padded to. */
const MINIMUM_FRAME_BYTES = 60;

const AT_ETHERTYPE = 12;
const AT_HARDWARE = 14;
const AT_PROTOCOL = 16;
const AT_HARDWARE_LENGTH = 18;
const AT_PROTOCOL_LENGTH = 19;
const AT_OPERATION = 20;
const AT_SENDER_MAC = 22;
const AT_SENDER_ADDRESS = 28;
const AT_TARGET_MAC = 32;
const AT_TARGET_ADDRESS = 38;

export interface ArpFrame {
  /** Ethernet destination and source. */
  readonly destination: string;
  readonly source: string;
  readonly operation: 'request' | 'reply';
  readonly senderMac: string;
  readonly senderAddress: string;
  readonly targetMac: string;
  readonly targetAddress: string;
}

/**
 * The ARP packet in an Ethernet frame of any origin; bytes after it are padding. Undefined when it is
 * truncated, tagged, no ARP, not IPv4 over Ethernet, or neither request nor reply.
 */
export function parseArp(frame: Uint8Array): ArpFrame | undefined {
  // The only bounds check: every offset below lies within these bytes.
  if (frame.length < ARP_FRAME_BYTES) return undefined;
  const view = new DataView(frame.buffer, frame.byteOffset, ARP_FRAME_BYTES);
  if (
    view.getUint16(AT_ETHERTYPE) !== ETHERTYPE_ARP ||
    view.getUint16(AT_HARDWARE) !== HARDWARE_ETHERNET ||
    view.getUint16(AT_PROTOCOL) !== PROTOCOL_IPV4 ||
    view.getUint8(AT_HARDWARE_LENGTH) !== MAC_BYTES ||
    view.getUint8(AT_PROTOCOL_LENGTH) !== IPV4_BYTES
  ) {
    return undefined;
  }
  const operation = view.getUint16(AT_OPERATION);
  if (operation !== 1 && operation !== 2) return undefined;
  const mac = (at: number) => bytesToMac(frame.subarray(at, at + MAC_BYTES));
  const address = (at: number) => bytesToIpv4(frame.subarray(at, at + IPV4_BYTES));
  return {
    destination: mac(0),
    source: mac(MAC_BYTES),
    operation: operation === 1 ? 'request' : 'reply',
    senderMac: mac(AT_SENDER_MAC),
    senderAddress: address(AT_SENDER_ADDRESS),
    targetMac: mac(AT_TARGET_MAC),
    targetAddress: address(AT_TARGET_ADDRESS),
  };
}

/**
 * The frame, padded to 60 bytes, owned by the caller. Throws RangeError when a MAC or an address is none:
 * the caller's mistake.
 */
export function buildArp(arp: ArpFrame): Uint8Array<ArrayBuffer> {
  const frame = new Uint8Array(MINIMUM_FRAME_BYTES);
  const view = new DataView(frame.buffer);
  frame.set(macToBytes(arp.destination), 0);
  frame.set(macToBytes(arp.source), MAC_BYTES);
  view.setUint16(AT_ETHERTYPE, ETHERTYPE_ARP);
  view.setUint16(AT_HARDWARE, HARDWARE_ETHERNET);
  view.setUint16(AT_PROTOCOL, PROTOCOL_IPV4);
  view.setUint8(AT_HARDWARE_LENGTH, MAC_BYTES);
  view.setUint8(AT_PROTOCOL_LENGTH, IPV4_BYTES);
  view.setUint16(AT_OPERATION, arp.operation === 'request' ? 1 : 2);
  frame.set(macToBytes(arp.senderMac), AT_SENDER_MAC);
  frame.set(ipv4ToBytes(arp.senderAddress), AT_SENDER_ADDRESS);
  frame.set(macToBytes(arp.targetMac), AT_TARGET_MAC);
  frame.set(ipv4ToBytes(arp.targetAddress), AT_TARGET_ADDRESS);
  return frame;
}
