/**
 * The neighbor state machine: RFC 4861 7.3 carried over to ARP, as Linux does, with the request limits of
 * RFC 1122 2.3.2.1. One Neighbor per scope and next hop; who needs it, and for how long, is the resolver's
 * business. Pure logic: time, requests and usage come through the options.
 *
 *     resolve ---> incomplete ---- 3 requests unanswered ----> failed (0.9 s) ---> gone, or incomplete if pinned
 *                      | reply                                    ^
 *                      v            used, at 80 % of its time     |
 *        +-------> reachable -----------------------------> probe-+ 3 unicast requests, 1 broadcast
 *        | reply       | unused                               ^
 *        |             v             used again               |
 *        |           stale ------------------------> delay ---+
 *        +------------------------------------------------- probe
 *
 * The MAC stays published in reachable, stale, delay and probe: a busy flow never stalls on a refresh.
 */
import type { NeighborRow } from '../control/protocol.js';
import type { Scope } from '../dataplane/port.js';
import type { Clock } from './clock.js';
import { Deadlines, NOT_DUE, type Timed } from './deadlines.js';
import { TokenBucket } from './limits.js';

export type NeighborState = NeighborRow['state'];

/** Read-only to all but the cache. Times are whole milliseconds of the clock. */
export interface Neighbor extends Timed {
  readonly scope: Scope;
  readonly address: string;
  state: NeighborState;
  /** Present whenever frames may be sent to it. */
  mac: string | undefined;
  /** When it entered its state. */
  since: number;
  /** When the MAC was learned or last confirmed. */
  confirmedAt: number;
  reachableUntil: number;
  /** When it was last asked; -Infinity: never. */
  requestedAt: number;
  /** Requests since it was last confirmed. */
  tries: number;
  /** A reply would be an answer to a request of ours. */
  awaiting: boolean;
  /** Always kept resolved, also when unused; retried forever. */
  pinned: boolean;
}

export interface NeighborCacheOptions {
  readonly clock: Clock;
  /** 0 <= random() < 1 */
  readonly random: () => number;
  /** Milliseconds, before jitter. */
  readonly reachableTime: number;
  /** Broadcast requests a second, all targets together. */
  readonly requestsPerSecond: number;
  /** Sends a request: to `mac` alone, or as broadcast when that is undefined. */
  readonly request: (neighbor: Neighbor, mac: string | undefined) => void;
  /** Second of the clock at which the neighbor was last used; 0: never. */
  readonly usedAt: (neighbor: Neighbor) => number;
  /** The MAC or the failure of a neighbor changed. */
  readonly onChange: (neighbor: Neighbor) => void;
  /** The time of a failed neighbor that is not pinned is over: the resolver drops it. */
  readonly onExpired: (neighbor: Neighbor) => void;
}

/** RFC 1122 2.3.2.1: at most one request a second per target. Milliseconds. */
const REQUEST_INTERVAL = 1000;
const TRIES = 3;
/** A failure holds for at most a second; timers may be a little late. Milliseconds. */
const NEGATIVE_TIME = 900;
/** A used entry is probed when this much of its reachable time is over. */
const PROBE_EARLY = 0.8;
/** A reply later than this after the last request is nobody's answer. Milliseconds. */
const ANSWER_TIME = 4000;
/** How long a request may wait for the rate limit before the neighbor counts as failed. Milliseconds. */
const QUEUE_TIME = 3000;
const STALE_SCAN_INTERVAL = 1000;
/** Many stale entries may wake together: their probes are spread over this time. Milliseconds. */
const DELAY_SPREAD = 1000;

export class NeighborCache {
  readonly #options: NeighborCacheOptions;
  readonly #clock: Clock;
  readonly #neighbors = new Map<string, Neighbor>();
  readonly #deadlines: Deadlines<Neighbor>;
  readonly #stale = new Set<Neighbor>();
  readonly #bucket: TokenBucket;
  /** Waiting for the rate limit, oldest first. */
  readonly #queue = new Set<Neighbor>();
  /** When neighbors that are gone were asked, so that a new entry keeps the limit per target. */
  readonly #askedLately = new Map<string, number>();
  #cancelStaleScan: (() => void) | undefined;
  #cancelDrain: (() => void) | undefined;
  #closed = false;
  /** Requests that the rate limit refused. */
  throttled = 0;

  constructor(options: NeighborCacheOptions) {
    this.#options = options;
    this.#clock = options.clock;
    this.#deadlines = new Deadlines(options.clock, (neighbor) => this.#due(neighbor));
    this.#bucket = new TokenBucket(options.requestsPerSecond, options.clock.now());
  }

  get size(): number {
    return this.#neighbors.size;
  }

  values(): IterableIterator<Neighbor> {
    return this.#neighbors.values();
  }

  find(scope: Scope, address: string): Neighbor | undefined {
    return this.#neighbors.get(neighborKey(scope, address));
  }

  /** Finds the neighbor or starts to resolve it. Being asked for counts as use. */
  resolve(scope: Scope, address: string, pinned = false): Neighbor {
    const known = this.find(scope, address);
    if (known) {
      if (known.state === 'stale') this.#verifySoon(known);
      if (pinned) this.setPinned(known, true);
      return known;
    }
    const neighbor = this.#create(scope, address);
    neighbor.pinned = pinned;
    this.#enter(neighbor, 'incomplete');
    this.#broadcast(neighbor);
    return neighbor;
  }

  /** A neighbor that made itself known: it has a MAC, which is verified at its first use. */
  add(scope: Scope, address: string, mac: string): Neighbor {
    return this.#introduce(scope, address, mac, 'stale');
  }

  /** Never asked for, never aged. */
  setStatic(scope: Scope, address: string, mac: string): Neighbor {
    return this.#introduce(scope, address, mac, 'static');
  }

  /**
   * An ARP packet of the neighbor says `mac` (RFC 826: believed whatever its target). Only the answer to a
   * request of ours proves that frames reach it; another MAC than the known one is taken over and verified.
   * Returns the MAC that was replaced, if any.
   */
  learn(neighbor: Neighbor, mac: string, isReply: boolean): string | undefined {
    if (neighbor.state === 'static') return undefined;
    const old = neighbor.mac;
    const now = this.#clock.now();
    if (isReply && neighbor.awaiting && now - neighbor.requestedAt < ANSWER_TIME) {
      this.#confirm(neighbor, mac);
    } else if (mac === old) {
      return undefined;
    } else {
      neighbor.mac = mac;
      neighbor.confirmedAt = now;
      if (neighbor.pinned || (old !== undefined && neighbor.state !== 'stale')) this.#probe(neighbor);
      else this.#enter(neighbor, 'stale');
    }
    if (mac === old) return undefined;
    this.#options.onChange(neighbor);
    return old;
  }

  setPinned(neighbor: Neighbor, pinned: boolean): void {
    neighbor.pinned = pinned;
    if (!pinned) return;
    if (neighbor.state === 'stale') this.#probe(neighbor);
    else if (this.#queue.delete(neighbor)) this.#broadcast(neighbor);
  }

  /** A sign of life from a failed neighbor: starts anew. */
  retry(neighbor: Neighbor): void {
    if (neighbor.state === 'failed') this.#restart(neighbor);
  }

  /** The link or our own addresses changed: nothing that was learned is certain any more. */
  verify(neighbor: Neighbor): void {
    switch (neighbor.state) {
      case 'static':
      case 'delay':
        break;
      case 'failed':
      case 'incomplete':
        this.#restart(neighbor);
        break;
      case 'probe':
        this.#probe(neighbor);
        break;
      case 'reachable':
      case 'stale':
        if (neighbor.pinned) this.#probe(neighbor);
        else if (this.#usedSinceConfirmed(neighbor)) this.#verifySoon(neighbor);
        // What nobody uses can wait until somebody does.
        else this.#enter(neighbor, 'stale');
    }
  }

  /** Forgets it; the caller sees to what was published. */
  remove(neighbor: Neighbor): void {
    const key = neighborKey(neighbor.scope, neighbor.address);
    if (this.#neighbors.get(key) !== neighbor) return;
    this.#neighbors.delete(key);
    this.#leave(neighbor);
    const now = this.#clock.now();
    for (const [known, at] of this.#askedLately) {
      if (now - at < REQUEST_INTERVAL) break;
      this.#askedLately.delete(known);
    }
    if (now - neighbor.requestedAt < REQUEST_INTERVAL) this.#askedLately.set(key, neighbor.requestedAt);
  }

  close(): void {
    this.#closed = true;
    this.#deadlines.close();
    this.#cancelStaleScan?.();
    this.#cancelDrain?.();
    this.#neighbors.clear();
    this.#stale.clear();
    this.#queue.clear();
  }

  #create(scope: Scope, address: string): Neighbor {
    const key = neighborKey(scope, address);
    const neighbor: Neighbor = {
      ...NOT_DUE,
      scope,
      address,
      state: 'incomplete',
      mac: undefined,
      since: this.#clock.now(),
      confirmedAt: 0,
      reachableUntil: 0,
      requestedAt: this.#askedLately.get(key) ?? Number.NEGATIVE_INFINITY,
      tries: 0,
      awaiting: false,
      pinned: false,
    };
    this.#askedLately.delete(key);
    this.#neighbors.set(key, neighbor);
    return neighbor;
  }

  #introduce(scope: Scope, address: string, mac: string, state: 'stale' | 'static'): Neighbor {
    const neighbor = this.find(scope, address) ?? this.#create(scope, address);
    neighbor.mac = mac;
    neighbor.confirmedAt = this.#clock.now();
    this.#enter(neighbor, state);
    this.#options.onChange(neighbor);
    return neighbor;
  }

  #due(neighbor: Neighbor): void {
    switch (neighbor.state) {
      case 'incomplete':
        if (this.#queue.has(neighbor)) this.#refuse(neighbor);
        else if (neighbor.tries < TRIES) this.#broadcast(neighbor);
        else this.#fail(neighbor);
        break;
      case 'probe':
        if (this.#queue.has(neighbor)) this.#refuse(neighbor);
        else if (neighbor.tries < TRIES) this.#unicast(neighbor);
        else if (neighbor.tries === TRIES) this.#broadcast(neighbor);
        else this.#fail(neighbor);
        break;
      case 'reachable':
        if (neighbor.pinned || this.#usedSinceConfirmed(neighbor)) this.#probe(neighbor);
        else if (this.#clock.now() >= neighbor.reachableUntil) this.#enter(neighbor, 'stale');
        else this.#deadlines.set(neighbor, neighbor.reachableUntil);
        break;
      case 'delay':
        this.#probe(neighbor);
        break;
      case 'failed':
        if (neighbor.pinned) this.#restart(neighbor);
        else this.#options.onExpired(neighbor);
        break;
      case 'stale':
      case 'static':
    }
  }

  /** Clears whatever waits for the neighbor in its present state. */
  #leave(neighbor: Neighbor): void {
    this.#deadlines.clear(neighbor);
    this.#queue.delete(neighbor);
    this.#stale.delete(neighbor);
  }

  #enter(neighbor: Neighbor, state: NeighborState): void {
    this.#leave(neighbor);
    neighbor.state = state;
    neighbor.since = this.#clock.now();
    if (state === 'stale') {
      this.#stale.add(neighbor);
      this.#scheduleStaleScan();
    }
  }

  #confirm(neighbor: Neighbor, mac: string): void {
    const now = this.#clock.now();
    neighbor.mac = mac;
    neighbor.confirmedAt = now;
    neighbor.awaiting = false;
    neighbor.tries = 0;
    this.#enter(neighbor, 'reachable');
    // RFC 4861 6.3.2: uniformly between 0.5 and 1.5 times the base, so that entries do not march in step.
    const time = Math.round(this.#options.reachableTime * (0.5 + this.#options.random()));
    neighbor.reachableUntil = now + time;
    this.#deadlines.set(neighbor, now + Math.round(time * PROBE_EARLY));
  }

  #fail(neighbor: Neighbor): void {
    neighbor.mac = undefined;
    this.#enter(neighbor, 'failed');
    this.#deadlines.set(neighbor, this.#clock.now() + NEGATIVE_TIME);
    this.#options.onChange(neighbor);
  }

  #refuse(neighbor: Neighbor): void {
    this.throttled += 1;
    this.#fail(neighbor);
  }

  #restart(neighbor: Neighbor): void {
    const wasFailed = neighbor.state === 'failed';
    neighbor.tries = 0;
    this.#enter(neighbor, 'incomplete');
    this.#broadcast(neighbor);
    if (wasFailed) this.#options.onChange(neighbor);
  }

  #probe(neighbor: Neighbor): void {
    neighbor.tries = 0;
    this.#enter(neighbor, 'probe');
    this.#unicast(neighbor);
  }

  #verifySoon(neighbor: Neighbor): void {
    this.#enter(neighbor, 'delay');
    this.#deadlines.set(neighbor, this.#clock.now() + Math.floor(this.#options.random() * DELAY_SPREAD));
  }

  #unicast(neighbor: Neighbor): void {
    // Through a tunnel there is no unicast: the far gateway's receiver passes on what is broadcast.
    if (typeof neighbor.scope === 'object') this.#broadcast(neighbor);
    else if (!this.#tooEarly(neighbor)) this.#ask(neighbor, neighbor.mac);
  }

  #broadcast(neighbor: Neighbor): void {
    if (this.#tooEarly(neighbor)) return;
    const now = this.#clock.now();
    if (neighbor.pinned) {
      // Peers and gateways must not starve behind a scan; they are few.
      this.#bucket.borrow(now);
    } else if (this.#queue.size > 0 || !this.#bucket.take(now)) {
      this.#enqueue(neighbor);
      return;
    }
    this.#ask(neighbor, undefined);
  }

  #tooEarly(neighbor: Neighbor): boolean {
    const at = neighbor.requestedAt + REQUEST_INTERVAL;
    if (this.#clock.now() >= at) return false;
    this.#deadlines.set(neighbor, at);
    return true;
  }

  #ask(neighbor: Neighbor, mac: string | undefined): void {
    const now = this.#clock.now();
    neighbor.requestedAt = now;
    neighbor.tries += 1;
    neighbor.awaiting = true;
    this.#deadlines.set(neighbor, now + REQUEST_INTERVAL);
    this.#options.request(neighbor, mac);
  }

  #enqueue(neighbor: Neighbor): void {
    const worthWaiting = (this.#options.requestsPerSecond * QUEUE_TIME) / 1000;
    if (this.#queue.size >= worthWaiting) {
      this.#refuse(neighbor);
      return;
    }
    this.#queue.add(neighbor);
    this.#deadlines.set(neighbor, this.#clock.now() + QUEUE_TIME);
    this.#scheduleDrain();
  }

  #scheduleDrain(): void {
    if (this.#cancelDrain || this.#closed) return;
    this.#cancelDrain = this.#clock.after(this.#bucket.wait(this.#clock.now()), () => this.#drain());
  }

  #drain(): void {
    this.#cancelDrain = undefined;
    for (const neighbor of this.#queue) {
      if (!this.#bucket.take(this.#clock.now())) break;
      this.#queue.delete(neighbor);
      this.#ask(neighbor, undefined);
    }
    if (this.#queue.size > 0) this.#scheduleDrain();
  }

  /** Marks are whole seconds: use in the very second of the confirmation counts, rather once too often. */
  #usedSinceConfirmed(neighbor: Neighbor): boolean {
    return this.#options.usedAt(neighbor) >= Math.max(1, Math.floor(neighbor.confirmedAt / 1000));
  }

  #scheduleStaleScan(): void {
    if (this.#cancelStaleScan || this.#closed) return;
    this.#cancelStaleScan = this.#clock.after(STALE_SCAN_INTERVAL, () => this.#scanStale());
  }

  #scanStale(): void {
    this.#cancelStaleScan = undefined;
    for (const neighbor of [...this.#stale]) {
      if (this.#usedSinceConfirmed(neighbor)) this.#verifySoon(neighbor);
    }
    if (this.#stale.size > 0) this.#scheduleStaleScan();
  }
}

export function neighborKey(scope: Scope, address: string): string {
  return typeof scope === 'object' ? `${scope.peer} ${address}` : `${scope} ${address}`;
}
