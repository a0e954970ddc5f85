/** Forwarding tables and neighbors as text, and the pipelines that run on them in memory. */

import type {
  NativeEvent,
  NativeForwardingTable,
  NativePipeline,
  NativeVerdict,
} from '../../src/native/addon.js';
import { loadAddon } from '../../src/native/binding.js';
import { addressToBytes, bytesToAddress, familyOf, ipv4ToBytes } from '../../src/net/address.js';
import { macToBytes } from '../../src/net/mac.js';
import { type Bytes, be16, bytes } from './frames.js';

export interface PeerText {
  localAddress: string;
  address: string;
  innerMtu: number;
  masqueradeUnlisted: boolean;
  resolveThroughTunnel: boolean;
}

export interface ProxiedText {
  address: string;
  host: string;
  prefixLength: number;
  peer: number;
}

export interface TableText {
  overlayMac: string;
  overlayAddress: string;
  /** Present: IPv6 is carried. Then `proxied` and `reserved` may hold both kinds. */
  overlayAddress6?: string;
  overlayMtu: number;
  underlayMac: string;
  peers: PeerText[];
  proxied: ProxiedText[];
  reserved: string[];
  masqueradePorts: [number, number];
  dscp?: number;
  acceptReversed?: boolean;
  /** Default: more than any test needs. */
  icmpErrorsPerSecond?: number;
  /** Default: overlayAddress. */
  masqueradeAddresses?: string[];
  /** Default: 1024. */
  masqueradeFlows?: number;
}

/** scope: 0 overlay, 1 underlay, 2 + peer inside the tunnel. No MAC: it does not answer. */
export interface NeighborText {
  scope: number;
  address: string;
  mac?: string;
}

const le16 = (value: number): number[] => be16(value).reverse();

export function toTable(table: TableText): NativeForwardingTable {
  return {
    overlayMac: macToBytes(table.overlayMac),
    overlayAddress: ipv4ToBytes(table.overlayAddress),
    overlayMtu: table.overlayMtu,
    underlayMac: macToBytes(table.underlayMac),
    peers: table.peers.map((peer) => ({
      ...peer,
      localAddress: addressToBytes(peer.localAddress),
      address: addressToBytes(peer.address),
    })),
    proxied: toProxied(table, 4),
    reserved: toReserved(table, 4),
    masqueradeFirstPort: table.masqueradePorts[0],
    masqueradeLastPort: table.masqueradePorts[1],
    dscp: table.dscp,
    acceptReversed: table.acceptReversed ?? false,
    icmpErrorsPerSecond: table.icmpErrorsPerSecond ?? 100_000,
    masqueradeAddresses: bytes(
      ...(table.masqueradeAddresses ?? [table.overlayAddress]).map((address) => ipv4ToBytes(address)),
    ),
    masqueradeFlows: table.masqueradeFlows ?? 1024,
    ...(table.overlayAddress6 !== undefined && { overlayAddress6: addressToBytes(table.overlayAddress6) }),
    proxied6: toProxied(table, 6),
    reserved6: toReserved(table, 6),
  };
}

function toProxied({ proxied }: TableText, family: 4 | 6): Uint8Array {
  return bytes(
    ...proxied
      .filter(({ address }) => familyOf(address) === family)
      .map(({ address, host, prefixLength, peer }) =>
        bytes(addressToBytes(address), addressToBytes(host), [prefixLength, 0], le16(peer)),
      ),
  );
}

function toReserved({ reserved }: TableText, family: 4 | 6): Uint8Array {
  return bytes(...reserved.filter((address) => familyOf(address) === family).map(addressToBytes));
}

function padded(address: Uint8Array, length: number): Uint8Array {
  return bytes(address, new Uint8Array(length - address.length));
}

export function toNeighbors(neighbors: readonly NeighborText[]): Uint8Array {
  return bytes(
    ...neighbors.map(({ scope, address, mac }, slot) =>
      bytes(
        le16(scope),
        [mac === undefined ? 2 : 1, familyOf(address) ?? 0],
        padded(addressToBytes(address), 16),
        mac === undefined ? new Uint8Array(6) : macToBytes(mac),
        le16(slot),
      ),
    ),
  );
}

/** "unresolved 0 10.0.0.10", "arp 2 <hex>": an event in a line. */
export function eventText(event: NativeEvent): string {
  switch (event.kind) {
    case 'unresolved':
    case 'heard':
    case 'unlisted':
      return `${event.kind} ${event.scope} ${bytesToAddress(event.address)}`;
    case 'arp':
    case 'neighbor-discovery':
      return `${event.kind} ${event.scope} ${event.frame.toString('hex')}`;
    case 'path-report':
      return `${event.kind} ${event.scope} ${bytesToAddress(event.router)} ${event.mtu} ${event.sent}`;
    case 'keepalive':
      return `keepalive ${event.scope} ${event.length} ${event.frame.toString('hex')}`;
    case 'worker-failed':
      return `${event.kind} ${event.worker} ${event.code}`;
  }
}

/** A gateway without sockets. */
export class MemoryGateway {
  readonly pipeline: NativePipeline;
  readonly #names: string[];

  constructor(table: TableText, neighbors: readonly NeighborText[]) {
    const addon = loadAddon();
    this.#names = addon.counterNames;
    this.pipeline = new addon.Pipeline();
    this.publish(table, neighbors);
  }

  publish(table: TableText, neighbors: readonly NeighborText[]): void {
    this.pipeline.publishTable(toTable(table));
    this.pipeline.publishNeighbors(toNeighbors(neighbors));
  }

  run(direction: 'encap' | 'decap', frame: Bytes, virtio?: Bytes): NativeVerdict {
    return direction === 'encap' ? this.pipeline.encap(frame, virtio) : this.pipeline.decap(frame, virtio);
  }

  /** Those that are not zero. */
  counters(): Record<string, number> {
    const values = new BigUint64Array(this.#names.length);
    this.pipeline.readCounters(values);
    const pairs = this.#names.map((name, index): [string, number] => [name, Number(values[index])]);
    return Object.fromEntries(pairs.filter(([, value]) => value !== 0));
  }
}
