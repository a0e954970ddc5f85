/**
 * Packetization layer path MTU discovery for one peer (RFC 8899 section 5): which size to probe next, and what
 * answers and losses say. Sizes are those of outer IP packets, bytes; times are milliseconds. Pure: it neither
 * sends nor waits.
 *
 * It begins at the route's MTU, which is nearly always right, and believes it until a black hole is confirmed:
 * MAX_PROBES probes lost, none answered, while the peer answered something small beside each of them. A peer that
 * does not answer at all is no evidence: it may be another EtherIP implementation.
 */

/** RFC 8899 5.1.2. */
export const BASE_PLPMTU = 1200;
export const MAX_PROBES = 3;
/** RFC 8899 5.1.1: PMTU_RAISE_TIMER. */
export const RAISE_AFTER = 600_000;
/** CONFIRMATION_TIMER: nothing acknowledges the tunnel's data, so the size in use is probed, too. */
export const CONFIRM_EVERY = 10_000;
/** The search ends when no more than this is to be won, bytes. */
const PRECISION = 4;

type Phase =
  /** The size in use is the route's; not proven yet. */
  | 'unproven'
  /** A black hole was confirmed; BASE_PLPMTU is probed. */
  | 'base'
  /** Between what passed and what did not. */
  | 'search'
  /** Found; confirmed at intervals. */
  | 'complete';

export class PathSearch {
  readonly #least: number;
  #limit: number;
  #mtu: number;
  #phase: Phase = 'unproven';
  /** The smallest size known not to pass, or one more than the limit. */
  #ceiling: number;
  /** Tried first by the next search. */
  #hint: number | undefined;
  #lost = 0;
  #proven = false;
  #nextAt = 0;
  #raiseAt = Number.POSITIVE_INFINITY;

  /**
   * @param limit what the route carries: nothing larger is ever probed.
   * @param least what every path carries; used when BASE_PLPMTU does not pass either.
   */
  constructor(limit: number, least: number) {
    this.#limit = limit;
    this.#least = least;
    this.#mtu = limit;
    this.#ceiling = limit + 1;
  }

  /** The largest outer packet to send. */
  get mtu(): number {
    return this.#mtu;
  }

  /** The path carries less than its route says. */
  get limited(): boolean {
    return this.#mtu < this.#limit;
  }

  /** A probe of this size, or a larger one, was answered. */
  get proven(): boolean {
    return this.#proven;
  }

  get searching(): boolean {
    return this.#phase === 'base' || this.#phase === 'search';
  }

  /** Probes of the present size that count as lost. */
  get lost(): number {
    return this.#lost;
  }

  /** When next() has something to send. */
  get nextAt(): number {
    return Math.min(this.#nextAt, this.#phase === 'complete' ? this.#raiseAt : Number.POSITIVE_INFINITY);
  }

  /** Another limit is another path: it begins anew. */
  setLimit(limit: number, now: number): void {
    if (limit === this.#limit) return;
    this.#limit = limit;
    this.#mtu = limit;
    this.#ceiling = limit + 1;
    this.#phase = 'unproven';
    this.#proven = false;
    this.#lost = 0;
    this.#hint = undefined;
    this.#nextAt = now;
    this.#raiseAt = Number.POSITIVE_INFINITY;
  }

  /** The size to probe now. */
  next(now: number): number {
    if (this.#phase === 'complete' && now >= this.#raiseAt) {
      this.#ceiling = this.#limit + 1;
      this.#hint = this.#limit;
      this.#phase = 'search';
      this.#lost = 0;
    }
    switch (this.#phase) {
      case 'unproven':
      case 'complete':
        return this.#mtu;
      case 'base':
        return this.#base;
      case 'search':
        return this.#hint ?? this.#middle;
    }
  }

  answered(size: number, now: number): void {
    this.#lost = 0;
    if (this.searching) {
      this.#proven = true;
      // Unproven until now: a base that passes is where the search begins, smaller or not.
      const passed = Math.min(size, this.#limit);
      this.#mtu = this.#phase === 'base' ? passed : Math.max(this.#mtu, passed);
      this.#goOn(now);
    } else if (size >= this.#mtu) {
      this.#proven = true;
      if (this.#phase === 'unproven') this.#finish(now);
      else this.#nextAt = now + CONFIRM_EVERY;
    }
  }

  /**
   * A probe of this size was not answered in time.
   * @param witnessed the peer did answer something small that was sent with it; nothing else is evidence.
   */
  unanswered(size: number, witnessed: boolean, now: number): void {
    if (size !== this.next(now)) return;
    this.#nextAt = now;
    if (!witnessed) return;
    this.#lost += 1;
    if (this.#lost < MAX_PROBES) return;
    this.#lost = 0;
    if (!this.searching) {
      // What passed until now may have been lost by chance: it is tried first. What never passed is not.
      this.#hint = this.#proven ? size : undefined;
      this.#ceiling = this.#proven ? this.#limit + 1 : size;
      this.#proven = false;
      this.#phase = 'base';
      this.#mtu = this.#base;
      if (size > this.#base) return;
      this.#mtu = Math.min(this.#least, size);
    } else if (this.#phase === 'base') {
      this.#ceiling = size;
      this.#mtu = Math.min(this.#least, this.#limit);
    } else {
      this.#ceiling = Math.min(this.#ceiling, size);
      this.#hint = undefined;
    }
    this.#goOn(now);
  }

  /** Searches between what passes and what does not, until nothing more can be won. */
  #goOn(now: number): void {
    this.#phase = 'search';
    this.#nextAt = now;
    const hinted = this.#hint !== undefined && this.#hint > this.#mtu && this.#hint < this.#ceiling;
    if (!hinted) this.#hint = undefined;
    if (!hinted && this.#ceiling - this.#mtu <= PRECISION) this.#finish(now);
  }

  #finish(now: number): void {
    this.#phase = 'complete';
    this.#raiseAt = this.limited ? now + RAISE_AFTER : Number.POSITIVE_INFINITY;
    this.#nextAt = now + CONFIRM_EVERY;
  }

  get #base(): number {
    return Math.min(Math.max(BASE_PLPMTU, this.#least), this.#limit);
  }

  get #middle(): number {
    return Math.floor((this.#mtu + this.#ceiling) / 2);
  }
}
