/** The gateway of world6.ts with tunnels over IPv6, and the frames on its underlay. */
import type { NeighborText } from '../helpers/forwarding.js';
import { type Bytes, etherIp, ethernet, type Ipv6Fields, ipv6, type Transport } from '../helpers/frames.js';
import { MAC } from './world.js';
import { NEIGHBORS6, WORLD6 } from './world6.js';

export const HERE6 = '2001:db8:ffff::1';
/** Peers: proxied addresses; masquerade; the original tool. */
export const B6 = '2001:db8:ffff::2';
export const C6 = '2001:db8:ffff::3';
export const D6 = '2001:db8:ffff::4';

export const MTU6 = 1444;

const IPV4 = 0x0800;
const IPV6 = 0x86dd;

const peer = (address: string) => ({
  localAddress: HERE6,
  address,
  innerMtu: MTU6,
  masqueradeUnlisted: address === C6,
  resolveThroughTunnel: address === D6,
});

const NEXT_HOPS: NeighborText[] = [B6, C6, D6].map((address) => ({ scope: 1, address, mac: MAC.nextHop }));

export const OVER_IPV6 = {
  table: { ...WORLD6.table, peers: [B6, C6, D6].map(peer) },
  neighbors: [...NEXT_HOPS, ...NEIGHBORS6.filter(({ scope }) => scope !== 1)],
};

export interface OuterOver6 extends Partial<Ipv6Fields> {
  /** Of the inner frame. */
  innerTo?: string;
  innerFrom?: string;
}

const typeOf = (packet: Bytes): number => ((packet[0] ?? 0) >> 4 === 6 ? IPV6 : IPV4);

/** Into the tunnel, as the gateway sends it. */
export function toPeerOver6(to: string, packet: Bytes, outer: OuterOver6 = {}): Bytes {
  const { innerTo = MAC.overlay, innerFrom = MAC.local, ...fields } = outer;
  const inner = ethernet({ to: innerTo, from: innerFrom, type: typeOf(packet) }, packet);
  const flowLabel = flowLabelOf(packet);
  const ip = ipv6({ from: HERE6, to, flowLabel, hopLimit: 64, ...fields }, etherIp(inner));
  return ethernet({ to: MAC.nextHop, from: MAC.underlay, type: IPV6 }, ip);
}

/** From a peer, as its gateway sends it. `carried` instead of an EtherIP packet round `packet`. */
export function fromPeerOver6(
  from: string,
  packet: Bytes,
  outer: OuterOver6 = {},
  carried?: Transport,
): Bytes {
  const { innerTo = MAC.farGateway, innerFrom = MAC.farHost, ...fields } = outer;
  const inner = ethernet({ to: innerTo, from: innerFrom, type: typeOf(packet) }, packet);
  const ip = ipv6({ from, to: HERE6, hopLimit: 63, flowLabel: 7, ...fields }, carried ?? etherIp(inner));
  return ethernet({ to: MAC.underlay, from: MAC.nextHop, type: IPV6 }, ip);
}

const M64 = 0xffff_ffff_ffff_ffffn;

function mix(key: bigint): bigint {
  const high = ((key ^ (key >> 32n)) * 0x9e3779b97f4a7c15n) & M64;
  return high ^ (high >> 29n);
}

function mixAddress(address: bigint, tag: bigint): bigint {
  const low = mix(((address & M64) + mix(tag)) & M64);
  return mix(((address >> 64n) + low) & M64);
}

/** The label that all packets of the inner flow have (native/forward/flow_label.h). */
export function flowLabelOf(packet: Bytes): number {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
  const six = typeOf(packet) === IPV6;
  const value = (at: number, length: number): bigint =>
    BigInt(`0x${Buffer.from(packet.subarray(at, at + length)).toString('hex')}`);
  const protocol = view.getUint8(six ? 6 : 9);
  const fragment = !six && (view.getUint16(6) & 0x3fff) !== 0;
  const hasPorts = !fragment && (protocol === 6 || protocol === 17);
  const ports = hasPorts ? value(six ? 40 : (view.getUint8(0) & 15) * 4, 4) : 0n;
  const sum = six
    ? mixAddress(value(8, 16), BigInt(protocol)) + mixAddress(value(24, 16), 0n) + ports
    : mix(value(12, 8)) + ports + BigInt(protocol);
  const label = Number((mix(sum & M64) >> 16n) & 0xfffffn);
  return label === 0 ? 1 : label;
}
