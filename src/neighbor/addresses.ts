/** Whose an address is: ours, proxied, reserved, on-link. Every question is a few map lookups. */
import type { ForwardingTable, Scope } from '../dataplane/port.js';
import { isIpv4, isLinkLocal6, networkOf, type Prefix, parseIpv4, unusableRange } from '../net/address.js';
import { UNSPECIFIED_ADDRESS } from '../net/arp.js';
import { linkLocalOf, UNSPECIFIED_ADDRESS6 } from '../net/ndp.js';

/** What neighbor discovery must know of the plan. Give a new one to `update()` before `publishTable()`. */
export interface NeighborView {
  readonly table: Pick<
    ForwardingTable,
    'overlayMac' | 'overlayAddress' | 'overlayAddress6' | 'underlayMac' | 'peers' | 'proxied' | 'reserved'
  >;
  /** Source address on the underlay's own link; default: the first peer's local address. */
  readonly underlayAddress?: string;
  /** Subnets of the overlay interface. */
  readonly onLink: readonly Prefix[];
  /** Every address of this machine; may name proxied addresses that the operating system has configured. */
  readonly ownAddresses: readonly string[];
  /** Addresses beside the overlay's that far hosts are masqueraded behind: answered for like proxied ones. */
  readonly pool?: readonly string[];
  readonly arp: 'respond' | 'silent';
}

/** Prefixes of both families: one map lookup for each length in use. */
export class PrefixSet {
  readonly #v4 = new Map<number, Set<number>>();
  readonly #v6 = new Map<number, Set<string>>();

  constructor(prefixes: Iterable<Prefix>) {
    for (const { address, prefixLength } of prefixes) {
      if (isIpv4(address)) insert(this.#v4, prefixLength, network(parseIpv4(address), prefixLength));
      else insert(this.#v6, prefixLength, networkOf({ address, prefixLength }).address);
    }
  }

  has(address: string): boolean {
    if (!isIpv4(address)) return this.#has6(address);
    const value = parseIpv4(address);
    for (const [length, networks] of this.#v4) {
      if (networks.has(network(value, length))) return true;
    }
    return false;
  }

  #has6(address: string): boolean {
    for (const [prefixLength, networks] of this.#v6) {
      if (networks.has(networkOf({ address, prefixLength }).address)) return true;
    }
    return false;
  }
}

function insert<T>(sets: Map<number, Set<T>>, length: number, value: T): void {
  const values = sets.get(length) ?? new Set();
  values.add(value);
  sets.set(length, values);
}

export class AddressBook {
  readonly view: NeighborView;
  readonly #proxied: PrefixSet;
  readonly #onLink: PrefixSet;
  readonly #reserved: ReadonlySet<string>;
  readonly #own: ReadonlySet<string>;

  constructor(view: NeighborView) {
    this.view = view;
    const pool = (view.pool ?? []).map((address) => ({ address, prefixLength: 32 }));
    this.#proxied = new PrefixSet([...view.table.proxied, ...pool]);
    this.#onLink = new PrefixSet(view.onLink);
    this.#reserved = new Set(view.table.reserved);
    this.#own = new Set([
      view.table.overlayAddress,
      ...(view.table.overlayAddress6 === undefined ? [] : [view.table.overlayAddress6]),
      ...view.table.peers.map((peer) => peer.localAddress),
      // A proxied address stays proxied when the operating system has configured it, too.
      ...view.ownAddresses.filter((address) => !this.#proxied.has(address)),
    ]);
  }

  isProxied(address: string): boolean {
    return this.#proxied.has(address);
  }

  isReserved(address: string): boolean {
    return this.#reserved.has(address);
  }

  isOnLink(address: string): boolean {
    return this.#onLink.has(address);
  }

  isOwnMac(mac: string): boolean {
    return mac === this.view.table.overlayMac || mac === this.view.table.underlayMac;
  }

  /**
   * Ours in this scope. Behind a peer only the tunnel's own address is: a far host may well have the address
   * that this gateway has in its VPC.
   */
  isOwn(scope: Scope, address: string): boolean {
    if (typeof scope === 'object') {
      const { peers, underlayMac } = this.view.table;
      return peers[scope.peer]?.localAddress === address || linkLocalOf(underlayMac) === address;
    }
    return this.#own.has(address);
  }

  /** Whether a host of the scope can have this address, so that we may ask for it and believe in it. */
  isNeighborAddress(scope: Scope, address: string): boolean {
    if (isIpv4(address)) {
      const first = parseIpv4(address) >>> 24;
      if (first === 0 || first === 127 || first >= 224) return false;
    } else if (!isLinkLocal6(address)) {
      // Routers are mostly known by their link-local addresses.
      if (unusableRange({ address, prefixLength: 128 }) !== undefined) return false;
    }
    return !this.isOwn(scope, address) && !(scope === 'overlay' && this.#proxied.has(address));
  }

  /** What we say of ourselves when we ask for `target` (RFC 5227 1.1: never an address that we do not own). */
  sender(scope: Scope, target: string): { readonly mac: string; readonly address: string } {
    const { table, underlayAddress } = this.view;
    const mac = scope === 'overlay' ? table.overlayMac : table.underlayMac;
    if (!isIpv4(target)) {
      if (scope === 'underlay') return { mac, address: underlayAddress ?? linkLocalOf(mac) };
      // Inside a tunnel both VPCs may use one another's addresses; a link-local one is surely this machine's.
      const address = scope === 'overlay' ? table.overlayAddress6 : linkLocalOf(mac);
      return { mac, address: address ?? UNSPECIFIED_ADDRESS6 };
    }
    if (scope === 'overlay') return { mac, address: table.overlayAddress };
    const address =
      scope === 'underlay'
        ? (underlayAddress ?? table.peers[0]?.localAddress)
        : table.peers[scope.peer]?.localAddress;
    // A tunnel over IPv6 ends at no IPv4 address: there the gateway asks as itself.
    if (address !== undefined && !isIpv4(address)) return { mac, address: table.overlayAddress };
    return { mac, address: address ?? UNSPECIFIED_ADDRESS };
  }
}

function network(address: number, prefixLength: number): number {
  return prefixLength === 0 ? 0 : (address & (0xffffffff << (32 - prefixLength))) >>> 0;
}
