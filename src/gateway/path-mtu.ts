/**
 * Path MTU: what limits the path to each peer below its route, who said so, and until when. Sizes are outer IP
 * packets, bytes. The plan makes the tunnel's inner MTU of it (gateway/plan.ts), so a path that shrinks or grows
 * goes the same way as a link that changes: plan again, publish, tell. All methods run on the JS thread.
 */
import { type Clock, systemClock } from '../neighbor/clock.js';
import { isIpv4 } from '../net/address.js';

/** RFC 1191 section 6.3, RFC 8899 section 5.1.1 (PMTU_RAISE_TIMER): a lowered path is tried again after this long, ms. */
export const RAISE_AFTER = 600_000;
/**
 * RFC 8899 section 3, item 7: what claims less than every IPv4 host must take (RFC 791), or than every IPv6 link
 * carries (RFC 8200 section 5), is a forgery or of no use, and must not make the gateway send tiny packets.
 */
export function leastPathMtu(peerAddress: string): 576 | 1280 {
  return isIpv4(peerAddress) ? 576 : 1280;
}

/** RFC 1191 section 7.1: what to try when a router from before 1990 says "too big" and not how big. */
const PLATEAUS = [32000, 17914, 8166, 4352, 2002, 1492, 1006, 576];

export interface PathLimit {
  /** Largest outer IP packet that gets through, bytes. */
  readonly outerMtu: number;
  /** For people: "ICMP from 198.18.0.9", "probe". */
  readonly why: string;
}

/** An ICMP error about an outer packet of ours; the workers have checked that it quotes one (forward/decap). */
export interface PathReport {
  /** The quoted destination. */
  readonly peerAddress: string;
  /** The router that complains. */
  readonly router: string;
  /** Next-hop MTU as it stands in the error; 0: the router does not say. */
  readonly mtu: number;
  /** Total length of the quoted packet. */
  readonly sent: number;
}

export interface PathMtus {
  /** What limits the path to this peer's address; undefined: nothing that is known of beyond its route. */
  limit(peerAddress: string): PathLimit | undefined;
  /** What routers said of it, outer bytes: probes need not go beyond. Undefined: nothing that still counts. */
  reportedLimit(peerAddress: string): number | undefined;
  /** Believes a report that could be true; false: it claims nothing new, or nonsense. */
  reported(report: PathReport): boolean;
  /**
   * A probe of `outerMtu` bytes was answered: smaller limits are lifted, whoever set them. It sets none: the route
   * or an ICMP error may still have the last word.
   */
  proven(peerAddress: string, outerMtu: number): void;
  /**
   * Probes: packets larger than `outerMtu` vanish without a word (RFC 8899 section 4.3). Replaces an earlier such
   * finding, smaller or larger, and holds until proven() lifts it or forget(): the prober tries again by itself.
   */
  blackHole(peerAddress: string, outerMtu: number): void;
  /** Nothing is known of this path any more: the peer is gone, or nobody probes it now. */
  forget(peerAddress: string): void;
  /** Ends the timers. Idempotent. */
  close(): void;
}

export interface PathMtuOptions {
  /** The outer MTU in force towards a peer; undefined: no such peer. */
  readonly inForce: (peerAddress: string) => number | undefined;
  /** A limit came, changed or went. */
  readonly onChange: () => void;
  readonly clock?: Clock;
}

interface Path {
  icmp?: PathLimit & { readonly cancel: () => void };
  probe?: PathLimit;
}

export function createPathMtus(options: PathMtuOptions): PathMtus {
  return new Paths(options);
}

class Paths implements PathMtus {
  readonly #options: PathMtuOptions;
  readonly #clock: Clock;
  readonly #paths = new Map<string, Path>();

  constructor(options: PathMtuOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  limit(peerAddress: string): PathLimit | undefined {
    const { icmp, probe } = this.#paths.get(peerAddress) ?? {};
    const least = icmp && (!probe || icmp.outerMtu <= probe.outerMtu) ? icmp : probe;
    return least && { outerMtu: least.outerMtu, why: least.why };
  }

  reportedLimit(peerAddress: string): number | undefined {
    return this.#paths.get(peerAddress)?.icmp?.outerMtu;
  }

  reported({ peerAddress, router, mtu, sent }: PathReport): boolean {
    const inForce = this.#options.inForce(peerAddress);
    if (inForce === undefined) return false;
    // Every IPv6 router says it (RFC 8201 section 4).
    const unsaid = mtu === 0 && isIpv4(peerAddress);
    const claimed = unsaid ? (PLATEAUS.find((plateau) => plateau < sent) ?? 0) : mtu;
    // RFC 8899 section 4.6.1. What is not smaller than the packet it is about cannot have been in its way; what
    // was sent before the last report was believed may come back with the same figure.
    if (claimed < leastPathMtu(peerAddress) || claimed >= sent || claimed > inForce) return false;
    const path = this.#path(peerAddress);
    if (path.icmp === undefined && claimed === inForce) return false;
    const changed = path.icmp?.outerMtu !== claimed;
    path.icmp?.cancel();
    const cancel = this.#clock.after(RAISE_AFTER, () => {
      delete path.icmp;
      this.#options.onChange();
    });
    path.icmp = { outerMtu: claimed, why: `ICMP from ${router}`, cancel };
    if (changed) this.#options.onChange();
    return changed;
  }

  proven(peerAddress: string, outerMtu: number): void {
    const path = this.#paths.get(peerAddress);
    if (path === undefined) return;
    const before = this.limit(peerAddress);
    if (path.icmp && path.icmp.outerMtu < outerMtu) {
      path.icmp.cancel();
      delete path.icmp;
    }
    if (path.probe && path.probe.outerMtu < outerMtu) delete path.probe;
    if (this.limit(peerAddress)?.outerMtu !== before?.outerMtu) this.#options.onChange();
  }

  blackHole(peerAddress: string, outerMtu: number): void {
    const path = this.#path(peerAddress);
    if (path.probe?.outerMtu === outerMtu) return;
    path.probe = { outerMtu, why: 'probe' };
    this.#options.onChange();
  }

  forget(peerAddress: string): void {
    const path = this.#paths.get(peerAddress);
    if (path === undefined) return;
    const limited = this.limit(peerAddress) !== undefined;
    path.icmp?.cancel();
    this.#paths.delete(peerAddress);
    if (limited) this.#options.onChange();
  }

  close(): void {
    for (const { icmp } of this.#paths.values()) icmp?.cancel();
    this.#paths.clear();
  }

  #path(peerAddress: string): Path {
    let path = this.#paths.get(peerAddress);
    if (path === undefined) {
      path = {};
      this.#paths.set(peerAddress, path);
    }
    return path;
  }
}
