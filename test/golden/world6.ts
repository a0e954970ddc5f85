/** The same gateway with IPv6 beside IPv4, and the frames on both of its sides. */
import type { NeighborText, TableText } from '../helpers/forwarding.js';
import { type Bytes, etherIp, ethernet, ipv4 } from '../helpers/frames.js';
import { HERE, MAC, NEIGHBORS, TABLE } from './world.js';

/** A local host, and the gateway's own address. */
export const LOCAL6 = '2001:db8::10';
export const GATEWAY6 = '2001:db8::5';
/** A far host with the same proxied address; a twin of LOCAL6 in B's VPC, which is 2001:db8::99 here. */
export const FAR6 = '2001:db8::20';
export const TWIN6 = '2001:db8::10';
export const TWIN6_HERE = '2001:db8::99';
/** Without a proxied address; behind the peer that asks through the tunnel (D). */
export const UNLISTED6 = '2001:db8::77';
export const ASKED6 = '2001:db8::40';

const TABLE6: TableText = {
  ...TABLE,
  overlayAddress6: GATEWAY6,
  proxied: [
    ...TABLE.proxied,
    { address: FAR6, host: FAR6, prefixLength: 128, peer: 0 },
    { address: TWIN6_HERE, host: TWIN6, prefixLength: 128, peer: 0 },
    { address: '2001:db8:2::', host: '2001:db8:1::', prefixLength: 64, peer: 0 },
    { address: '2001:db8:2::99', host: '2001:db8:3::1', prefixLength: 128, peer: 0 },
    { address: ASKED6, host: ASKED6, prefixLength: 128, peer: 2 },
  ],
  reserved: [...TABLE.reserved, '2001:db8::', '2001:db8::1', '2001:db8::2', '2001:db8::3'],
};

export const NEIGHBORS6: NeighborText[] = [
  ...NEIGHBORS,
  { scope: 0, address: LOCAL6, mac: MAC.local },
  { scope: 4, address: ASKED6, mac: '02:00:00:00:0d:40' },
];

export const WORLD6 = { table: TABLE6, neighbors: NEIGHBORS6 };

const IPV6 = 0x86dd;

export function fromLocal6(packet: Bytes): Bytes {
  return ethernet({ to: MAC.overlay, from: MAC.local, type: IPV6 }, packet);
}

export function toLocal6(packet: Bytes): Bytes {
  return ethernet({ to: MAC.local, from: MAC.overlay, type: IPV6 }, packet);
}

export interface Outer6Fields {
  tos?: number;
  innerTo?: string;
  innerFrom?: string;
}

export function toPeer6(peer: string, packet: Bytes, outer: Outer6Fields = {}): Bytes {
  const { innerTo = MAC.overlay, innerFrom = MAC.local, ...fields } = outer;
  const inner = ethernet({ to: innerTo, from: innerFrom, type: IPV6 }, packet);
  const ip = ipv4({ from: HERE, to: peer, id: 0, df: true, ttl: 64, ...fields }, etherIp(inner));
  return ethernet({ to: MAC.nextHop, from: MAC.underlay }, ip);
}

export function fromPeer6(peer: string, packet: Bytes, outer: Outer6Fields = {}): Bytes {
  const { innerTo = MAC.farGateway, innerFrom = MAC.farHost, ...fields } = outer;
  const inner = ethernet({ to: innerTo, from: innerFrom, type: IPV6 }, packet);
  const ip = ipv4({ from: peer, to: HERE, id: 0, df: true, ttl: 63, ...fields }, etherIp(inner));
  return ethernet({ to: MAC.underlay, from: MAC.nextHop }, ip);
}
