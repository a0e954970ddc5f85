/**
 * rtnetlink: links, addresses and routes of this network namespace, with addresses and MACs as text. Reads
 * are synchronous and always fresh; the watch only says that something changed.
 */
import { VpcConnError } from '../errors.js';
import type { NativeNetlink } from '../native/addon.js';
import { loadAddon } from '../native/binding.js';
import { addressToBytes, bytesToAddress, type Family } from './address.js';
import { bytesToMac, MAC_BYTES } from './mac.js';

/** ARPHRD_ETHER: the only type of link that a gateway can work on. */
export const ETHERNET = 1;

export interface Link {
  readonly ifindex: number;
  readonly name: string;
  /** "02:00:00:00:00:01"; empty for a link whose hardware address has not 6 bytes (a tunnel's, say). */
  readonly mac: string;
  readonly mtu: number;
  /** Administratively up. */
  readonly up: boolean;
  /** Up and with a carrier. */
  readonly running: boolean;
  /** ARPHRD_*; see ETHERNET. */
  readonly type: number;
  /** "veth", "bridge", "vlan" ...; empty for hardware. */
  readonly kind: string;
}

export interface Address {
  readonly ifindex: number;
  readonly family: Family;
  readonly address: string;
  readonly prefixLength: number;
  /** IPv4: not the address that the kernel itself would choose in its subnet. IPv6: a temporary one (RFC 8981). */
  readonly secondary: boolean;
}

export interface Route {
  /** Loopback's for an address of this machine. */
  readonly ifindex: number;
  /** Absent: the destination is on-link. */
  readonly gateway?: string;
  readonly source?: string;
  /** Absent: the link's own. Includes what path MTU discovery has taught the kernel. */
  readonly mtu?: number;
}

export interface Netlink {
  links(): Link[];
  addresses(): Address[];
  /**
   * The kernel's own choice for `destination`; undefined when it has none. With `ifindex` the kernel takes
   * a destination without any route for on-link. Throws RangeError for text that is no address.
   */
  route(destination: string, ifindex?: number, source?: string): Route | undefined;
  /**
   * Calls back after links, addresses, routes or rules changed: several changes may be one call, and a call
   * may find nothing changed. Does not keep the process alive. One watch at a time.
   */
  watch(onChange: () => void): void;
  /** Ends the watch; no call comes afterwards. Idempotent; links, addresses and route still answer. */
  close(): void;
}

/** Needs no privileges. Throws VpcConnError; so do the methods when the kernel does not answer. */
export function openNetlink(): Netlink {
  return new KernelNetlink(new (loadAddon().Netlink)());
}

class KernelNetlink implements Netlink {
  readonly #native: NativeNetlink;
  /** process.exit() and uncaught errors on the main thread run no environment clean-up. */
  readonly #onExit = () => this.close();
  #watching = false;

  constructor(native: NativeNetlink) {
    this.#native = native;
  }

  links(): Link[] {
    return asking('links', () => this.#native.links()).map((link) => ({
      ...link,
      mac: link.mac.length === MAC_BYTES ? bytesToMac(link.mac) : '',
    }));
  }

  addresses(): Address[] {
    return asking('addresses', () => this.#native.addresses()).map((held) => ({
      ...held,
      address: bytesToAddress(held.address),
    }));
  }

  route(destination: string, ifindex?: number, source?: string): Route | undefined {
    const to = addressToBytes(destination);
    const from = source === undefined ? undefined : addressToBytes(source);
    const route = asking('a route', () => this.#native.route(to, ifindex, from));
    if (!route) return undefined;
    return {
      ifindex: route.ifindex,
      ...(route.gateway && { gateway: bytesToAddress(route.gateway) }),
      ...(route.source && { source: bytesToAddress(route.source) }),
      ...(route.mtu !== undefined && { mtu: route.mtu }),
    };
  }

  watch(onChange: () => void): void {
    asking('changes', () => this.#native.watch(onChange));
    if (!this.#watching) process.once('exit', this.#onExit);
    this.#watching = true;
  }

  close(): void {
    if (this.#watching) process.off('exit', this.#onExit);
    this.#watching = false;
    this.#native.close();
  }
}

function asking<T>(what: string, ask: () => T): T {
  try {
    return ask();
  } catch (cause) {
    if (cause instanceof TypeError) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new VpcConnError(
      'netlink',
      `The kernel does not tell ${what} over netlink: ${reason}. Try again; if it stays so, look at the limits on open files and memory of this process.`,
      { cause },
    );
  }
}
