/**
 * Destinations: what the workers ask for. Each has a slot (its usage mark), a next hop from the kernel's
 * routes, and through it a neighbor of the cache; what comes of it is published as an adjacency. Here are
 * also the bound (one slot each) and the garbage collection; a neighbor lives as long as a destination
 * leads through it.
 */
import type { Adjacency, Scope } from '../dataplane/port.js';
import { type Neighbor, NeighborCache, neighborKey } from './cache.js';
import type { Clock } from './clock.js';
import { Deadlines, NOT_DUE, type Timed } from './deadlines.js';
import { Publisher } from './publisher.js';

export interface NeighborLimits {
  /** Destinations at most; never more than the data plane has slots. */
  readonly destinations: number;
  /** Base of the reachable time, milliseconds (RFC 4861: 30 s). */
  readonly reachableTime: number;
  /** An unused destination is forgotten after this, milliseconds. */
  readonly gcStale: number;
  /** Broadcast requests a second, all targets together. */
  readonly requestsPerSecond: number;
}

export const DEFAULT_LIMITS: Omit<NeighborLimits, 'destinations'> = {
  reachableTime: 30_000,
  gcStale: 600_000,
  requestsPerSecond: 100,
};

export interface ResolverOptions {
  readonly clock: Clock;
  readonly random: () => number;
  readonly limits: NeighborLimits;
  /** The kernel's routes: the destination itself when on-link, undefined when there is no route. */
  readonly nextHopFor: (scope: Scope, destination: string) => string | undefined;
  /** Whether a host of the scope can have this address. */
  readonly isNeighborAddress: (scope: Scope, address: string) => boolean;
  readonly publish: (adjacencies: readonly Adjacency[]) => void;
  /** Usage marks: second of the clock at which each slot was last used; the array may be reused. */
  readonly neighborUse: () => Uint32Array;
  readonly request: (scope: Scope, address: string, mac: string | undefined) => void;
  readonly onMacChange: (scope: Scope, address: string, oldMac: string, newMac: string) => void;
  /** A destination has a MAC now, its next hop's. */
  readonly onResolved: (scope: Scope, address: string, mac: string) => void;
}

export interface Destination extends Timed {
  readonly scope: Scope;
  readonly address: string;
  readonly slot: number;
  /** The slot's usage mark when it became ours: the previous owner's. */
  readonly oldMark: number;
  readonly createdAt: number;
  pinned: boolean;
  /** Undefined: no route. */
  neighbor: Neighbor | undefined;
  /** As published; undefined: not published. */
  adjacency: Adjacency | undefined;
}

/** No route: asked again after this. Milliseconds. */
const NEGATIVE_TIME = 900;
/** A destination used within this time is not evicted unless its neighbor is stale or failed. Milliseconds. */
const BUSY_TIME = 60_000;
/** One search for the least recently used makes room for this share of the bound. */
const EVICTED_SHARE = 64;
/** A search that found nothing to evict is not repeated for this time, milliseconds. */
const EVICT_INTERVAL = 500;
/** Usage marks are read at most this often, milliseconds; they are whole seconds anyway. */
const USE_AGE = 200;
const COLLECT_INTERVAL = 10_000;
/** Next hops asked of the kernel in one turn of the event loop. */
const REROUTED_PER_TURN = 256;

export class Resolver {
  readonly cache: NeighborCache;
  readonly counters = { learned: 0, refused: 0, noRoute: 0, evicted: 0, macChanges: 0 };
  readonly #options: ResolverOptions;
  readonly #clock: Clock;
  readonly #destinations = new Map<string, Destination>();
  readonly #through = new Map<Neighbor, Set<Destination>>();
  readonly #noRoute: Deadlines<Destination>;
  readonly #publisher: Publisher;
  readonly #freeSlots: number[] = [];
  #slotsTaken = 0;
  #use: Uint32Array | undefined;
  #useReadAt = 0;
  #rerouting: Destination[] = [];
  #nothingToEvictUntil = 0;
  #cancelCollect: (() => void) | undefined;
  #closed = false;

  constructor(options: ResolverOptions) {
    const { clock, random, limits } = options;
    this.#options = options;
    this.#clock = clock;
    this.#publisher = new Publisher(clock, () => {
      const adjacencies = this.#adjacencies();
      options.publish(adjacencies);
      return adjacencies.length;
    });
    this.#noRoute = new Deadlines(clock, (destination) => {
      if (destination.pinned) this.#route(destination);
      else this.#drop(destination);
    });
    this.cache = new NeighborCache({
      clock,
      random,
      reachableTime: limits.reachableTime,
      requestsPerSecond: limits.requestsPerSecond,
      request: ({ scope, address }, mac) => options.request(scope, address, mac),
      usedAt: (neighbor) => this.#neighborUsedAt(neighbor),
      onChange: (neighbor) => this.#changed(neighbor),
      onExpired: (neighbor) => {
        this.#publisher.batch(() => {
          for (const destination of [...(this.#through.get(neighbor) ?? [])]) this.#drop(destination);
        });
      },
    });
  }

  get size(): number {
    return this.#destinations.size;
  }

  destinations(): IterableIterator<Destination> {
    return this.#destinations.values();
  }

  destination(scope: Scope, address: string): Destination | undefined {
    return this.#destinations.get(neighborKey(scope, address));
  }

  /** Second of the clock; 0: never. */
  usedAt(destination: Destination): number {
    const mark = this.#marks()[destination.slot] ?? 0;
    return mark === destination.oldMark ? 0 : mark;
  }

  /** Finds the destination or starts to resolve it; undefined when refused (counted). */
  want(scope: Scope, address: string): Destination | undefined {
    const known = this.destination(scope, address);
    if (known) return known;
    const destination = this.#create(scope, address);
    if (destination) this.#route(destination);
    return destination;
  }

  /** Exactly these of the scope are always kept resolved: re-probed also when unused, retried forever. */
  pin(scope: Scope, addresses: ReadonlySet<string>): void {
    for (const destination of this.#destinations.values()) {
      const leaves = sameScope(destination.scope, scope) && !addresses.has(destination.address);
      if (!leaves || !destination.pinned || destination.neighbor?.state === 'static') continue;
      destination.pinned = false;
      if (destination.neighbor) this.#repin(destination.neighbor);
    }
    for (const address of addresses) {
      const destination = this.destination(scope, address) ?? this.#create(scope, address, true);
      if (!destination) continue;
      destination.pinned = true;
      if (destination.neighbor) this.cache.setPinned(destination.neighbor, true);
      else this.#route(destination);
    }
  }

  /** A destination whose MAC is given: never asked for, never forgotten. */
  setStatic(scope: Scope, address: string, mac: string): void {
    const known = this.destination(scope, address);
    const destination = known ?? this.#create(scope, address, true);
    if (!destination) return;
    destination.pinned = true;
    this.#attach(destination, this.cache.setStatic(scope, address, mac));
  }

  /** A frame came from a destination that is published as failed: the failure is over, ask again. */
  heard(scope: Scope, address: string): void {
    const destination = this.destination(scope, address);
    if (!destination) return;
    if (destination.neighbor) this.cache.retry(destination.neighbor);
    else this.#route(destination);
  }

  /**
   * The sender of an ARP packet (RFC 826): updates what is known of it; adds it only if `mayAdd`, that is,
   * if it asked for us.
   */
  learn(scope: Scope, address: string, mac: string, isReply: boolean, mayAdd: boolean): void {
    const neighbor = this.cache.find(scope, address);
    if (neighbor) {
      const old = this.cache.learn(neighbor, mac, isReply);
      if (old === undefined) return;
      this.counters.macChanges += 1;
      this.#options.onMacChange(scope, address, old, mac);
    } else if (mayAdd) {
      const key = neighborKey(scope, address);
      const destination = this.#destinations.get(key) ?? this.#create(scope, address);
      if (!destination) return;
      this.counters.learned += 1;
      this.#attach(destination, this.cache.add(scope, address, mac));
    }
  }

  /** The MAC of a destination's next hop, or of an on-link neighbor, as far as it may be used now. */
  macOf(scope: Scope, address: string): string | undefined {
    return (this.destination(scope, address)?.neighbor ?? this.cache.find(scope, address))?.mac;
  }

  /** The kernel's routes changed: asks for all next hops again, pinned destinations at once, others in turns. */
  routesChanged(): void {
    const running = this.#rerouting.length > 0;
    const all = [...this.#destinations.values()];
    this.#publisher.batch(() => {
      for (const destination of all) if (destination.pinned) this.#route(destination);
    });
    this.#rerouting = all.filter((destination) => !destination.pinned);
    if (!running) this.#rerouteSome();
  }

  /** Link down or up, or an own MAC or address changed. */
  linkChanged(scope: Scope): void {
    this.#publisher.batch(() => {
      for (const neighbor of [...this.cache.values()]) {
        if (sameScope(neighbor.scope, scope)) this.cache.verify(neighbor);
      }
    });
  }

  /** Drops every destination for which `keep` is false. */
  retain(keep: (destination: Destination) => boolean): void {
    this.#publisher.batch(() => {
      for (const destination of [...this.#destinations.values()]) {
        if (!keep(destination)) this.#drop(destination);
      }
    });
  }

  /** Publishes what changed before anything else happens. */
  publishNow(): void {
    this.#publisher.now();
  }

  close(): void {
    this.#closed = true;
    this.cache.close();
    this.#noRoute.close();
    this.#publisher.close();
    this.#cancelCollect?.();
    this.#rerouting = [];
    this.#destinations.clear();
    this.#through.clear();
  }

  #create(scope: Scope, address: string, pinned = false): Destination | undefined {
    if (this.#closed) return undefined;
    const slot = this.#options.isNeighborAddress(scope, address) ? this.#takeSlot(pinned) : undefined;
    if (slot === undefined) {
      this.counters.refused += 1;
      return undefined;
    }
    const destination: Destination = {
      ...NOT_DUE,
      scope,
      address,
      slot,
      oldMark: this.#marks()[slot] ?? 0,
      createdAt: this.#clock.now(),
      pinned,
      neighbor: undefined,
      adjacency: undefined,
    };
    this.#destinations.set(neighborKey(scope, address), destination);
    this.#scheduleCollect();
    return destination;
  }

  #takeSlot(pinned: boolean): number | undefined {
    const { destinations } = this.#options.limits;
    if (this.#freeSlots.length === 0 && this.#slotsTaken >= destinations) this.#evict(pinned);
    const freed = this.#freeSlots.pop();
    if (freed !== undefined) return freed;
    return this.#slotsTaken < destinations ? this.#slotsTaken++ : undefined;
  }

  #route(destination: Destination): void {
    const { scope, address, neighbor } = destination;
    if (neighbor?.state === 'static') return;
    const nextHop = this.#options.nextHopFor(scope, address);
    if (nextHop === undefined || !this.#options.isNeighborAddress(scope, nextHop)) {
      this.counters.noRoute += 1;
      // Failed already, for whatever reason, it does not fail any longer for this one.
      const failedAt = neighbor?.state === 'failed' ? neighbor.since : this.#clock.now();
      this.#detach(destination);
      if (destination.heapIndex < 0) this.#noRoute.set(destination, failedAt + NEGATIVE_TIME);
      this.#refresh(destination);
    } else if (neighbor?.address !== nextHop) {
      this.#attach(destination, this.cache.resolve(scope, nextHop, destination.pinned));
    }
  }

  #attach(destination: Destination, neighbor: Neighbor): void {
    if (destination.neighbor !== neighbor) {
      this.#detach(destination);
      this.#noRoute.clear(destination);
      destination.neighbor = neighbor;
      const through = this.#through.get(neighbor) ?? new Set();
      through.add(destination);
      this.#through.set(neighbor, through);
      if (destination.pinned) this.cache.setPinned(neighbor, true);
    }
    this.#refresh(destination);
  }

  #detach(destination: Destination): void {
    const { neighbor } = destination;
    if (!neighbor) return;
    destination.neighbor = undefined;
    const through = this.#through.get(neighbor);
    through?.delete(destination);
    if (through && through.size > 0) {
      if (destination.pinned) this.#repin(neighbor);
      return;
    }
    this.#through.delete(neighbor);
    this.cache.remove(neighbor);
  }

  #repin(neighbor: Neighbor): void {
    const through = [...(this.#through.get(neighbor) ?? [])];
    this.cache.setPinned(
      neighbor,
      through.some((destination) => destination.pinned),
    );
  }

  #drop(destination: Destination): void {
    const key = neighborKey(destination.scope, destination.address);
    if (this.#destinations.get(key) !== destination) return;
    this.#detach(destination);
    this.#noRoute.clear(destination);
    this.#destinations.delete(key);
    this.#freeSlots.push(destination.slot);
    if (destination.adjacency) this.#publisher.changed();
  }

  #changed(neighbor: Neighbor): void {
    this.#publisher.batch(() => {
      for (const destination of this.#through.get(neighbor) ?? []) this.#refresh(destination);
    });
  }

  /** Brings the adjacency up to date with the neighbor. */
  #refresh(destination: Destination): void {
    const { scope, address, slot, neighbor, adjacency } = destination;
    const mac = neighbor?.mac;
    const failed = neighbor === undefined || neighbor.state === 'failed';
    if (mac !== undefined) {
      if (adjacency?.mac === mac) return;
      destination.adjacency = { scope, address, mac, slot };
      this.#options.onResolved(scope, address, mac);
    } else if (failed) {
      if (adjacency && adjacency.mac === undefined) return;
      destination.adjacency = { scope, address, slot };
    } else {
      if (!adjacency) return;
      destination.adjacency = undefined;
    }
    this.#publisher.changed();
  }

  #adjacencies(): Adjacency[] {
    const adjacencies: Adjacency[] = [];
    for (const { adjacency } of this.#destinations.values()) if (adjacency) adjacencies.push(adjacency);
    return adjacencies;
  }

  #rerouteSome(): void {
    this.#publisher.batch(() => {
      for (const destination of this.#rerouting.splice(-REROUTED_PER_TURN)) {
        const key = neighborKey(destination.scope, destination.address);
        if (this.#destinations.get(key) === destination) this.#route(destination);
      }
    });
    if (this.#rerouting.length > 0) this.#clock.soon(() => this.#rerouteSome());
  }

  #marks(): Uint32Array {
    const now = this.#clock.now();
    if (this.#use === undefined || now - this.#useReadAt >= USE_AGE) {
      this.#use = this.#options.neighborUse();
      this.#useReadAt = now;
    }
    return this.#use;
  }

  #neighborUsedAt(neighbor: Neighbor): number {
    let latest = 0;
    for (const destination of this.#through.get(neighbor) ?? []) {
      latest = Math.max(latest, this.usedAt(destination));
    }
    return latest;
  }

  /** Milliseconds; a new destination counts as used when it was made. */
  #lastNeeded(destination: Destination): number {
    return Math.max(destination.createdAt, this.usedAt(destination) * 1000);
  }

  /** Makes room, least recently used first; of what is busy only for a pinned destination. */
  #evict(pinned: boolean): void {
    const now = this.#clock.now();
    if (!pinned && now < this.#nothingToEvictUntil) return;
    const candidates: { destination: Destination; needed: number }[] = [];
    for (const destination of this.#destinations.values()) {
      const state = destination.neighbor?.state ?? 'failed';
      if (destination.pinned || (state === 'incomplete' && !pinned)) continue;
      const needed = this.#lastNeeded(destination);
      if (pinned || state === 'stale' || state === 'failed' || now - needed > BUSY_TIME) {
        candidates.push({ destination, needed });
      }
    }
    if (candidates.length === 0) this.#nothingToEvictUntil = now + EVICT_INTERVAL;
    candidates.sort((one, other) => one.needed - other.needed);
    const room = pinned ? 1 : Math.ceil(this.#options.limits.destinations / EVICTED_SHARE);
    for (const { destination } of candidates.slice(0, room)) {
      this.counters.evicted += 1;
      this.#drop(destination);
    }
  }

  #scheduleCollect(): void {
    if (this.#cancelCollect || this.#closed) return;
    this.#cancelCollect = this.#clock.after(COLLECT_INTERVAL, () => {
      this.#cancelCollect = undefined;
      const now = this.#clock.now();
      this.retain(
        (destination) =>
          destination.pinned ||
          destination.neighbor?.state === 'incomplete' ||
          now - this.#lastNeeded(destination) < this.#options.limits.gcStale,
      );
      if (this.#destinations.size > 0) this.#scheduleCollect();
    });
  }
}

export function sameScope(one: Scope, other: Scope): boolean {
  return typeof one === 'object' && typeof other === 'object' ? one.peer === other.peer : one === other;
}
