/**
 * Whether this gateway can deliver to a host of its own side: what it answers when a peer asks about the far
 * hosts that it lists. The same rules as the workers' (native/forward/decap.cc), asked before there is a packet.
 */
import type { ForwardingTable, Scope } from '../dataplane/port.js';
import { addressToBytes, formatPrefix, networkOf, type Prefix, unusableRange } from '../net/address.js';
import type { Verdict } from '../peering/peering.js';

export interface DeliveryFacts {
  readonly table: () => ForwardingTable;
  /** Undefined: no route. */
  readonly nextHopFor: (scope: Scope, destination: string) => string | undefined;
  /** The host was asked for by ARP, and did not answer. */
  readonly failed: (address: string) => boolean;
}

/** Cost per question: a search by halves, and for single hosts the kernel's route where none is remembered. */
export function createJudge({ table, nextHopFor, failed }: DeliveryFacts): (host: Prefix) => Verdict {
  let built: { table: ForwardingTable; proxied: Ranges; reserved: ReadonlySet<string> } | undefined;
  return (host) => {
    const now = table();
    if (built?.table !== now) {
      built = { table: now, proxied: new Ranges(now.proxied), reserved: new Set(now.reserved) };
    }
    // Coming out of the tunnel, what is for a proxied address would go straight back in.
    if (built.proxied.cover(host)) return 'proxied';
    if (formatPrefix(host) !== host.address) {
      // Of a prefix only its route can be told: it may well hold the gateway's and reserved addresses.
      return nextHopFor('overlay', anyHostOf(host)) === undefined ? 'no-route' : 'deliverable';
    }
    if (host.address === now.overlayAddress) return 'gateway';
    if (built.reserved.has(host.address) || unusableRange(host) !== undefined) return 'reserved';
    if (nextHopFor('overlay', host.address) === undefined) return 'no-route';
    return failed(host.address) ? 'silent' : 'deliverable';
  };
}

/** A prefix's first address is often nobody's: the one after it. */
function anyHostOf(prefix: Prefix): string {
  const network = networkOf(prefix).address;
  const last = /[0-9a-f]+$/.exec(network)?.[0];
  if (last === undefined) return `${network}1`;
  const radix = network.includes(':') ? 16 : 10;
  return `${network.slice(0, -last.length)}${(Number.parseInt(last, radix) | 1).toString(radix)}`;
}

interface Range {
  readonly first: string;
  readonly last: string;
}

/** Prefixes as ranges of hexadecimal numbers, which sort as text; families differ in length and are kept apart. */
class Ranges {
  readonly #ranges: Range[] = [];

  constructor(prefixes: readonly Prefix[]) {
    const sorted = prefixes.map(rangeOf).sort((one, other) => (one.first < other.first ? -1 : 1));
    for (const range of sorted) {
      const before = this.#ranges.at(-1);
      if (before && before.last >= range.last) continue; // nested
      this.#ranges.push(range);
    }
  }

  /** Whether one of them holds all of this prefix. */
  cover(prefix: Prefix): boolean {
    const { first, last } = rangeOf(prefix);
    let low = 0;
    let high = this.#ranges.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#ranges[middle]?.first ?? '') <= first) low = middle + 1;
      else high = middle;
    }
    const range = this.#ranges[low - 1];
    return range !== undefined && range.last >= last;
  }
}

function rangeOf(prefix: Prefix): Range {
  const first = addressToBytes(networkOf(prefix).address);
  const last = first.map((byte, index) => {
    const bits = Math.min(8, Math.max(0, prefix.prefixLength - index * 8));
    return byte | (0xff >> bits);
  });
  const text = (bytes: Uint8Array) =>
    `${bytes.length === 4 ? '4' : '6'}${Buffer.from(bytes).toString('hex')}`;
  return { first: text(first), last: text(last) };
}
