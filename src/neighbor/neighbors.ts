/**
 * Neighbor discovery over Ethernet: ARP for IPv4 (RFC 826, 1122, 5227), solicitations and advertisements for IPv6
 * (RFC 4861), with the same states and timers. One object per gateway; it lives on the JS thread, takes the data
 * plane's rare events and publishes adjacencies.
 */
import type { NeighborRow } from '../control/protocol.js';
import type { DataPlane, DataPlaneEvent, Scope } from '../dataplane/port.js';
import { isUnicastMac } from '../net/mac.js';
import { AddressBook, type NeighborView } from './addresses.js';
import { type Clock, systemClock } from './clock.js';
import { buildRequest, type Discovery, parseDiscovery } from './discovery.js';
import { OncePer } from './limits.js';
import { DEFAULT_LIMITS, type Destination, type NeighborLimits, Resolver } from './resolver.js';
import { Responder } from './responder.js';

export type { NeighborView } from './addresses.js';
export type { Clock } from './clock.js';
export type { NeighborLimits } from './resolver.js';

/** Another machine uses an address that is ours or proxied here. At most one notice a minute per address. */
export interface AddressConflict {
  readonly scope: Scope;
  readonly address: string;
  /** The other machine's. */
  readonly mac: string;
}

/** A neighbor has another MAC than before. At most one notice a minute per address. */
export interface MacChange {
  readonly scope: Scope;
  readonly address: string;
  readonly oldMac: string;
  readonly newMac: string;
}

export interface NeighborsOptions {
  readonly dataPlane: Pick<DataPlane, 'neighborSlots' | 'publishNeighbors' | 'neighborUse' | 'send'>;
  readonly view: NeighborView;
  /**
   * The kernel's routes: the destination itself when it is on-link, undefined when there is no route. Behind
   * a peer: the destination itself.
   */
  readonly nextHopFor: (scope: Scope, destination: string) => string | undefined;
  readonly onConflict?: (conflict: AddressConflict) => void;
  readonly onMacChange?: (change: MacChange) => void;
  readonly limits?: Partial<NeighborLimits>;
  readonly clock?: Clock;
  /** 0 <= random() < 1; jitter only. */
  readonly random?: () => number;
}

export interface NeighborCounters {
  /** Destinations known now. */
  entries: number;
  requestsSent: number;
  repliesSent: number;
  /** Frames that the data plane did not take. */
  notSent: number;
  /** Frames that were no valid request or reply of ARP or neighbor discovery. */
  malformed: number;
  /** Neighbors added because they asked for us. */
  learned: number;
  macChanges: number;
  /** ARP packets whose sender address is ours or proxied. */
  conflicts: number;
  /** Announcements sent against conflicts (RFC 5227 2.4). */
  defences: number;
  /** ARP packets whose sender nobody can be: group or zero MAC, impossible address. */
  senderRefused: number;
  /** Destinations not taken up: impossible or own address, or every slot busy. */
  refused: number;
  evicted: number;
  /** Destinations for which the kernel has no route. */
  noRoute: number;
  /** Neighbors that failed for the overall request limit. */
  throttled: number;
  /** Requests through a tunnel for what is no local host, or too many at once. */
  tunnelRefused: number;
  /** Destinations behind a peer that resolves for itself: never asked for. */
  tunnelUnasked: number;
}

export interface Neighbors {
  /** Takes 'unresolved', 'heard', 'arp' and 'neighbor-discovery'; ignores other kinds. */
  handle(event: DataPlaneEvent): void;
  /**
   * Replaces the view; call it before the matching publishTable(), so that no adjacency survives a peer that
   * lost its place. What the new view makes wrong is unpublished before this returns.
   */
  update(view: NeighborView): void;
  /** Exactly these destinations of the scope are always kept resolved, used or not, and retried forever. */
  pin(scope: Scope, destinations: readonly string[]): void;
  /** A MAC given by a person: never asked for, never aged. */
  setStatic(scope: Scope, destination: string, mac: string): void;
  /** Asks for the next hops of all destinations again. */
  routesChanged(): void;
  /** The link changed: once it is up, what is used is verified. update() sees to own MACs and addresses. */
  linkChanged(scope: 'overlay' | 'underlay', up: boolean): void;
  /** The MAC that frames to this destination get now; undefined while there is none. */
  macOf(scope: Scope, destination: string): string | undefined;
  /** It was asked for in vain, and not heard since. */
  failed(scope: Scope, destination: string): boolean;
  rows(): NeighborRow[];
  counters(): NeighborCounters;
  /** Cancels all timers; later calls do nothing. */
  close(): void;
}

export function createNeighbors(options: NeighborsOptions): Neighbors {
  return new NeighborDiscovery(options);
}

/** Milliseconds between two notices of one kind about one address. */
const NOTICE_INTERVAL = 60_000;

class NeighborDiscovery implements Neighbors {
  readonly #options: NeighborsOptions;
  readonly #clock: Clock;
  readonly #resolver: Resolver;
  readonly #responder: Responder;
  readonly #conflictNotices = new OncePer(NOTICE_INTERVAL);
  readonly #macChangeNotices = new OncePer(NOTICE_INTERVAL);
  readonly #counters = {
    requestsSent: 0,
    notSent: 0,
    malformed: 0,
    conflicts: 0,
    senderRefused: 0,
    tunnelUnasked: 0,
  };
  #book: AddressBook;
  #closed = false;

  constructor(options: NeighborsOptions) {
    const { dataPlane, limits, clock = systemClock, random = Math.random } = options;
    this.#options = options;
    this.#clock = clock;
    this.#book = new AddressBook(options.view);
    this.#resolver = new Resolver({
      clock,
      random,
      limits: {
        ...DEFAULT_LIMITS,
        ...limits,
        destinations: Math.min(limits?.destinations ?? dataPlane.neighborSlots, dataPlane.neighborSlots),
      },
      nextHopFor: options.nextHopFor,
      isNeighborAddress: (scope, address) => this.#book.isNeighborAddress(scope, address),
      publish: (adjacencies) => void dataPlane.publishNeighbors(adjacencies),
      neighborUse: () => dataPlane.neighborUse(),
      request: (scope, address, mac) => this.#request(scope, address, mac),
      onMacChange: (scope, address, oldMac, newMac) => {
        if (!this.#macChangeNotices.allow(`${JSON.stringify(scope)} ${address}`, clock.now())) return;
        options.onMacChange?.({ scope, address, oldMac, newMac });
      },
      onResolved: (scope, address, mac) => {
        if (scope === 'overlay') this.#responder.resolved(address, mac);
      },
    });
    this.#responder = new Responder({
      clock,
      book: () => this.#book,
      send: (scope, frame) => this.#send(scope, frame),
      macOf: (address) => this.#resolver.macOf('overlay', address),
      resolve: (address) => this.#resolver.want('overlay', address)?.neighbor !== undefined,
    });
  }

  handle(event: DataPlaneEvent): void {
    if (this.#closed) return;
    switch (event.kind) {
      case 'unresolved':
        if (this.#mayAsk(event.scope)) this.#resolver.want(event.scope, event.address);
        else this.#counters.tunnelUnasked += 1;
        return;
      case 'heard':
        this.#resolver.heard(event.scope, event.address);
        return;
      case 'arp':
      case 'neighbor-discovery':
        this.#discovery(event.scope, parseDiscovery(event.kind, event.frame));
        return;
      case 'path-report':
      case 'keepalive':
      case 'unlisted':
      case 'worker-failed':
        return;
    }
  }

  update(view: NeighborView): void {
    if (this.#closed) return;
    const old = this.#book.view.table;
    const { table } = view;
    this.#book = new AddressBook(view);
    this.#responder.forget();
    const moved = new Set(
      [...old.peers.keys()].filter((place) => !samePeer(old.peers[place], table.peers[place])),
    );
    this.#resolver.retain(
      ({ scope, address }) =>
        this.#book.isNeighborAddress(scope, address) && !(typeof scope === 'object' && moved.has(scope.peer)),
    );
    if (
      old.overlayMac !== table.overlayMac ||
      old.overlayAddress !== table.overlayAddress ||
      old.overlayAddress6 !== table.overlayAddress6
    ) {
      this.#resolver.linkChanged('overlay');
    }
    if (old.underlayMac !== table.underlayMac) this.#resolver.linkChanged('underlay');
    this.#resolver.publishNow();
  }

  pin(scope: Scope, destinations: readonly string[]): void {
    if (!this.#closed) this.#resolver.pin(scope, new Set(destinations));
  }

  setStatic(scope: Scope, destination: string, mac: string): void {
    if (!this.#closed) this.#resolver.setStatic(scope, destination, mac);
  }

  routesChanged(): void {
    if (!this.#closed) this.#resolver.routesChanged();
  }

  linkChanged(scope: 'overlay' | 'underlay', up: boolean): void {
    if (up && !this.#closed) this.#resolver.linkChanged(scope);
  }

  macOf(scope: Scope, destination: string): string | undefined {
    return this.#resolver.destination(scope, destination)?.adjacency?.mac;
  }

  failed(scope: Scope, destination: string): boolean {
    return this.#resolver.destination(scope, destination)?.neighbor?.state === 'failed';
  }

  rows(): NeighborRow[] {
    const now = this.#clock.now();
    return Array.from(this.#resolver.destinations(), (destination) => this.#row(destination, now));
  }

  counters(): NeighborCounters {
    return {
      entries: this.#resolver.size,
      ...this.#counters,
      ...this.#resolver.counters,
      ...this.#responder.counters,
      throttled: this.#resolver.cache.throttled,
    };
  }

  close(): void {
    this.#closed = true;
    this.#resolver.close();
    this.#responder.forget();
  }

  #row(destination: Destination, now: number): NeighborRow {
    const { scope, address, neighbor, createdAt } = destination;
    const used = this.#resolver.usedAt(destination);
    return {
      scope:
        typeof scope === 'object'
          ? `peer ${this.#book.view.table.peers[scope.peer]?.name ?? scope.peer}`
          : scope,
      address,
      nextHop: neighbor?.address ?? '',
      state: neighbor?.state ?? 'failed',
      mac: neighbor?.mac ?? null,
      ageSeconds: Math.floor((now - (neighbor?.since ?? createdAt)) / 1000),
      usedSecondsAgo: used === 0 ? null : Math.max(0, Math.floor(now / 1000) - used),
    };
  }

  /** A peer whose gateway fills in the MACs is never asked: the original's sender takes anything for an answer. */
  #mayAsk(scope: Scope): boolean {
    return typeof scope !== 'object' || this.#book.view.table.peers[scope.peer]?.resolve === 'tunnel';
  }

  #discovery(scope: Scope, heard: Discovery | undefined): void {
    if (!heard) {
      this.#counters.malformed += 1;
      return;
    }
    if (typeof scope === 'object' && !this.#book.view.table.peers[scope.peer]) return;
    if (this.#book.isOwnMac(heard.from)) return;
    if (heard.senderMac !== undefined && this.#book.isOwnMac(heard.senderMac)) return;
    if (!isUnicastMac(heard.from) || !isUnicastMac(heard.senderMac ?? heard.from)) {
      this.#counters.senderRefused += 1;
      return;
    }
    if (heard.senderAddress !== undefined && !this.#believe(scope, heard, heard.senderAddress)) return;
    if (heard.operation !== 'request') return;
    if (typeof scope === 'object') this.#responder.answerTunnel(scope.peer, heard);
    else if (scope === 'overlay') this.#responder.answerOverlay(heard);
  }

  /** Learns from what the sender says of itself; false: the sender is in conflict with us or impossible. */
  #believe(scope: Scope, heard: Discovery, address: string): boolean {
    const book = this.#book;
    if (!book.isNeighborAddress(scope, address)) {
      const proxied = scope === 'overlay' && book.isProxied(address);
      if (proxied || book.isOwn(scope, address))
        this.#conflict({ scope, address, mac: heard.senderMac ?? heard.from });
      else this.#counters.senderRefused += 1;
      return false;
    }
    const known = this.#resolver.cache.find(scope, address)?.mac;
    // RFC 4861 7.2.5: without its MAC an answer proves that the known one still works, and without the
    // override flag it may not put another in its place.
    const mac = heard.senderMac ?? known;
    if (mac === undefined || (!heard.override && known !== undefined && mac !== known)) return true;
    if (heard.senderMac === undefined && !heard.solicited) return true;
    const asksForUs =
      scope === 'overlay' &&
      heard.operation === 'request' &&
      book.isOnLink(address) &&
      (book.isProxied(heard.targetAddress) || book.isOwn(scope, heard.targetAddress));
    this.#resolver.learn(scope, address, mac, heard.solicited, asksForUs);
    return true;
  }

  #conflict(conflict: AddressConflict): void {
    this.#counters.conflicts += 1;
    const key = `${JSON.stringify(conflict.scope)} ${conflict.address}`;
    if (this.#conflictNotices.allow(key, this.#clock.now())) this.#options.onConflict?.(conflict);
    if (conflict.scope === 'overlay') this.#responder.defend(conflict.address);
  }

  #request(scope: Scope, address: string, mac: string | undefined): void {
    this.#counters.requestsSent += 1;
    this.#send(scope, buildRequest(this.#book.sender(scope, address), address, mac));
  }

  #send(scope: Scope, frame: Uint8Array): void {
    if (!this.#options.dataPlane.send(scope, frame)) this.#counters.notSent += 1;
  }
}

function samePeer(
  one: NeighborView['table']['peers'][number] | undefined,
  other: NeighborView['table']['peers'][number] | undefined,
): boolean {
  return (
    one?.name === other?.name &&
    one?.address === other?.address &&
    one?.localAddress === other?.localAddress &&
    one?.resolve === other?.resolve
  );
}
