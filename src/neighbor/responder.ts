/**
 * Who answers ARP requests and neighbor solicitations. On the overlay: this gateway, for proxied addresses, so that hosts send it what
 * is meant for far hosts (the kernel answers for the gateway's own). Through a tunnel: for hosts of this
 * VPC, with the MAC of their next hop (on-link: their own), because some peers (the original tool) fill in
 * the inner destination MAC.
 *
 * RFC 5227 on proxied addresses: probes are answered, conflicting packets are met with one announcement per
 * address every 10 s (2.4 c: the address is configured, it cannot be given up). Nothing is probed or announced at
 * start: a VPC has no broadcast and registers addresses itself, so the one would prove nothing and the
 * other reach nobody.
 */
import type { Scope } from '../dataplane/port.js';
import { addressBits, unusableRange } from '../net/address.js';
import type { AddressBook } from './addresses.js';
import type { Clock } from './clock.js';
import { buildAnnouncement, buildReply, type Discovery } from './discovery.js';
import { OncePer } from './limits.js';

export interface ResponderOptions {
  readonly clock: Clock;
  readonly book: () => AddressBook;
  readonly send: (scope: Scope, frame: Uint8Array) => void;
  /** The MAC that frames to a local host get, if it is known now. */
  readonly macOf: (address: string) => string | undefined;
  /** Starts to resolve a local host; false: refused. */
  readonly resolve: (address: string) => boolean;
}

interface PendingAnswer {
  readonly peer: number;
  readonly request: Discovery;
  readonly expires: number;
}

/** RFC 5227 2.4, DEFEND_INTERVAL, milliseconds. */
const DEFEND_INTERVAL = 10_000;
/** A request through the tunnel waits this long for its host to be resolved, milliseconds. */
const PENDING_TIME = 3000;
const PENDING_AT_MOST = 256;

export class Responder {
  readonly counters = { repliesSent: 0, defences: 0, tunnelRefused: 0 };
  readonly #options: ResponderOptions;
  readonly #defended = new OncePer(DEFEND_INTERVAL);
  /** By peer, requester and target; oldest first. */
  readonly #pending = new Map<string, PendingAnswer>();

  constructor(options: ResponderOptions) {
    this.#options = options;
  }

  /** Requests that wait for their host. */
  get pending(): number {
    return this.#pending.size;
  }

  /** A request on the overlay whose sender is neither us nor in conflict with us. */
  answerOverlay(request: Discovery): void {
    const book = this.#options.book();
    const { targetAddress } = request;
    if (book.view.arp === 'silent') return;
    if (!book.isProxied(targetAddress) || book.isOwn('overlay', targetAddress)) return;
    if (book.isReserved(targetAddress)) return;
    const { mac } = book.sender('overlay', targetAddress);
    this.#reply('overlay', request, mac, mac);
  }

  /** Somebody else claims a proxied address. */
  defend(address: string): void {
    const book = this.#options.book();
    if (book.view.arp === 'silent' || !book.isProxied(address) || book.isReserved(address)) return;
    if (!this.#defended.allow(address, this.#options.clock.now())) return;
    const { mac } = book.sender('overlay', address);
    this.counters.defences += 1;
    this.#options.send('overlay', buildAnnouncement(address, mac));
  }

  /** A request of a far gateway for a host of this VPC: answered at once, or as soon as it is resolved. */
  answerTunnel(peer: number, request: Discovery): void {
    const book = this.#options.book();
    const { targetAddress } = request;
    const isLocalHost =
      request.senderAddress !== undefined &&
      request.senderAddress !== targetAddress &&
      book.isNeighborAddress('overlay', targetAddress) &&
      unusableRange({ address: targetAddress, prefixLength: addressBits(targetAddress) }) === undefined &&
      !book.isReserved(targetAddress);
    if (!isLocalHost) {
      this.counters.tunnelRefused += 1;
      return;
    }
    const mac = this.#options.macOf(targetAddress);
    if (mac !== undefined) {
      this.#answerFor({ peer, request, expires: 0 }, mac);
      return;
    }
    this.#expire();
    const key = `${peer} ${request.from} ${request.senderAddress} ${targetAddress}`;
    if (this.#pending.has(key)) return;
    if (this.#pending.size >= PENDING_AT_MOST || !this.#options.resolve(targetAddress)) {
      this.counters.tunnelRefused += 1;
      return;
    }
    const resolved = this.#options.macOf(targetAddress);
    if (resolved !== undefined) {
      // Its next hop was known already: that of another host in the same subnet.
      this.#answerFor({ peer, request, expires: 0 }, resolved);
      return;
    }
    this.#pending.set(key, { peer, request, expires: this.#options.clock.now() + PENDING_TIME });
  }

  /** A local host has a MAC now: whoever waits for it is answered. */
  resolved(address: string, mac: string): void {
    if (this.#pending.size === 0) return;
    this.#expire();
    for (const [key, answer] of this.#pending) {
      if (answer.request.targetAddress !== address) continue;
      this.#pending.delete(key);
      this.#answerFor(answer, mac);
    }
  }

  /** The peers or addresses changed: what waits may not be right any more. The far side asks again. */
  forget(): void {
    this.#pending.clear();
  }

  #answerFor({ peer, request }: PendingAnswer, mac: string): void {
    const scope = { peer };
    this.#reply(scope, request, this.#options.book().sender(scope, request.targetAddress).mac, mac);
  }

  #reply(scope: Scope, request: Discovery, source: string, mac: string): void {
    this.counters.repliesSent += 1;
    this.#options.send(scope, buildReply(request, source, mac));
  }

  #expire(): void {
    const now = this.#options.clock.now();
    for (const [key, { expires }] of this.#pending) {
      if (expires > now) break;
      this.#pending.delete(key);
    }
  }
}
