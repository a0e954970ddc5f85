/** Limits on what hostile or broken neighbors can make us send, log or remember. */

/** `rate` tokens a second, at most `rate` saved up. */
export class TokenBucket {
  readonly #rate: number;
  #tokens: number;
  #at: number;

  constructor(rate: number, now: number) {
    this.#rate = rate;
    this.#tokens = rate;
    this.#at = now;
  }

  take(now: number): boolean {
    this.#refill(now);
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }

  /** Takes a token that may not be there yet: others wait the longer. */
  borrow(now: number): void {
    this.#refill(now);
    this.#tokens -= 1;
  }

  /** Milliseconds until take() can succeed. */
  wait(now: number): number {
    this.#refill(now);
    return Math.max(0, Math.ceil(((1 - this.#tokens) * 1000) / this.#rate));
  }

  #refill(now: number): void {
    this.#tokens = Math.min(this.#rate, this.#tokens + ((now - this.#at) * this.#rate) / 1000);
    this.#at = now;
  }
}

/** Remembers at most this many keys; while all of them are recent, further keys are refused. */
const KEYS_REMEMBERED = 1024;

/** Lets each key pass once per interval. */
export class OncePer {
  readonly #interval: number;
  /** Key to the time it last passed, oldest first. */
  readonly #passed = new Map<string, number>();

  /** @param interval milliseconds */
  constructor(interval: number) {
    this.#interval = interval;
  }

  allow(key: string, now: number): boolean {
    for (const [known, at] of this.#passed) {
      if (now - at < this.#interval) break;
      this.#passed.delete(known);
    }
    if (this.#passed.has(key) || this.#passed.size >= KEYS_REMEMBERED) return false;
    this.#passed.set(key, now);
    return true;
  }
}
