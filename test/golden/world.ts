/** The gateway of all golden cases, and the frames on both of its sides. */
import type { NeighborText, TableText } from '../helpers/forwarding.js';
import {
  type Bytes,
  etherIp,
  ethernet,
  type Ipv4Fields,
  ipv4,
  type Transport,
  unreachable,
} from '../helpers/frames.js';

export const MAC = {
  overlay: '02:00:00:00:00:05',
  underlay: '02:00:00:00:01:01',
  nextHop: '02:00:00:00:01:02',
  local: '02:00:00:00:00:0a',
  /** What stands as inner MACs in what a peer sends: nobody's here. */
  farHost: '02:00:00:00:0b:14',
  farGateway: '02:00:00:00:0b:05',
};

export const HERE = '198.18.0.1';
/** Peers: proxied addresses; masquerade; the original tool. */
export const B = '198.18.0.2';
export const C = '198.18.0.3';
export const D = '198.18.0.4';

/** A local host, and the gateway's own address. */
export const LOCAL = '10.0.0.10';
export const GATEWAY = '10.0.0.5';
/** A far host with the same proxied address; a twin of LOCAL in B's VPC, which is 10.0.0.99 here. */
export const FAR = '10.0.0.20';
export const TWIN = '10.0.0.10';
export const TWIN_HERE = '10.0.0.99';
/** A far host of C without a proxied address, and one behind the original tool (D). */
export const UNLISTED = '10.0.0.77';
export const ORIGINAL = '10.0.0.40';

const MTU = 1464;

export const TABLE: TableText = {
  overlayMac: MAC.overlay,
  overlayAddress: GATEWAY,
  overlayMtu: 1500,
  underlayMac: MAC.underlay,
  peers: [
    { localAddress: HERE, address: B, innerMtu: MTU, masqueradeUnlisted: false, resolveThroughTunnel: false },
    { localAddress: HERE, address: C, innerMtu: MTU, masqueradeUnlisted: true, resolveThroughTunnel: false },
    { localAddress: HERE, address: D, innerMtu: MTU, masqueradeUnlisted: false, resolveThroughTunnel: true },
  ],
  proxied: [
    { address: FAR, host: FAR, prefixLength: 32, peer: 0 },
    { address: TWIN_HERE, host: TWIN, prefixLength: 32, peer: 0 },
    { address: '10.0.2.0', host: '10.0.1.0', prefixLength: 24, peer: 0 },
    { address: ORIGINAL, host: ORIGINAL, prefixLength: 32, peer: 2 },
  ],
  reserved: ['10.0.0.0', '10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.255'],
  masqueradePorts: [40000, 40999],
};

export const NEXT_HOPS: NeighborText[] = [B, C, D].map((address) => ({
  scope: 1,
  address,
  mac: MAC.nextHop,
}));
export const NEIGHBORS: NeighborText[] = [
  ...NEXT_HOPS,
  { scope: 0, address: LOCAL, mac: MAC.local },
  { scope: 4, address: ORIGINAL, mac: '02:00:00:00:0d:40' },
];

/** From a local host to the gateway, on the overlay. */
export function fromLocal(packet: Bytes): Bytes {
  return ethernet({ to: MAC.overlay, from: MAC.local }, packet);
}

/** To a local host, as the gateway sends it. */
export function toLocal(packet: Bytes): Bytes {
  return ethernet({ to: MAC.local, from: MAC.overlay }, packet);
}

export interface OuterFields extends Partial<Ipv4Fields> {
  /** Of the inner frame. */
  innerTo?: string;
  innerFrom?: string;
}

/** Into the tunnel, as the gateway sends it: DF, TTL 64, identification 0. */
export function toPeer(peer: string, packet: Bytes, outer: OuterFields = {}): Bytes {
  const { innerTo = MAC.overlay, innerFrom = MAC.local, ...fields } = outer;
  const inner = ethernet({ to: innerTo, from: innerFrom }, packet);
  const ip = ipv4({ from: HERE, to: peer, id: 0, df: true, ttl: 64, ...fields }, etherIp(inner));
  return ethernet({ to: MAC.nextHop, from: MAC.underlay }, ip);
}

/** From a peer, as its gateway sends it. `carried` instead of an EtherIP packet round `packet`. */
export function fromPeer(peer: string, packet: Bytes, outer: OuterFields = {}, carried?: Transport): Bytes {
  const { innerTo = MAC.farGateway, innerFrom = MAC.farHost, ...fields } = outer;
  const inner = ethernet({ to: innerTo, from: innerFrom }, packet);
  const ip = ipv4({ from: peer, to: HERE, id: 0, df: true, ttl: 63, ...fields }, carried ?? etherIp(inner));
  return ethernet({ to: MAC.underlay, from: MAC.nextHop }, ip);
}

/** RFC 1191: fragmentation needed, about `packet`, as the gateway sends it to a host: at most 576 bytes. */
export function tooBig(to: string, packet: Bytes, mtu: number): Uint8Array<ArrayBuffer> {
  const quoted = packet.subarray(0, 576 - 28);
  return ipv4({ from: GATEWAY, to, tos: 0xc0, id: 0 }, unreachable(quoted, { mtu }));
}
