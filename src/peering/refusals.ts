/** Far hosts of one peer that sent lately and were dropped, because they have no proxied address here. */
import { MOST_REFUSED } from './message.js';

/** A host that sends no more is forgotten, milliseconds. */
export const FORGET_AFTER = 300_000;
/** However many addresses a peer makes up. */
const MOST_REMEMBERED = 64;

export class Refusals {
  /** address -> when it was last refused; the latest at the end. */
  readonly #at = new Map<string, number>();

  /** True: the address is a new one. */
  add(address: string, now: number): boolean {
    const known = this.#at.delete(address);
    this.#at.set(address, now);
    const [oldest] = this.#at.keys();
    if (this.#at.size > MOST_REMEMBERED && oldest !== undefined) this.#at.delete(oldest);
    return !known;
  }

  /** True: some were forgotten. */
  expire(now: number): boolean {
    const before = this.#at.size;
    for (const [address, at] of this.#at) {
      if (now - at < FORGET_AFTER) break;
      this.#at.delete(address);
    }
    return this.#at.size < before;
  }

  /** The settings changed: who is refused must show anew. */
  clear(): void {
    this.#at.clear();
  }

  /** The latest ones first, as many as one answer takes. */
  latest(): string[] {
    return [...this.#at.keys()].slice(-MOST_REFUSED).reverse();
  }
}
