import type { Clock } from './clock.js';

/** After publishing n adjacencies rest for n times this, milliseconds: at 10,000 of them 100 ms. */
const REST_PER_ADJACENCY = 0.01;

/**
 * Publishes at once after a quiet time, at most once a turn of the event loop, and no oftener than large
 * sets can bear: every publish replaces them all.
 */
export class Publisher {
  readonly #clock: Clock;
  readonly #publish: () => number;
  #dirty = false;
  #resting = false;
  #batches = 0;
  #closed = false;
  #cancelRest: (() => void) | undefined;

  /** `publish` returns how many adjacencies it published. */
  constructor(clock: Clock, publish: () => number) {
    this.#clock = clock;
    this.#publish = publish;
  }

  changed(): void {
    this.#dirty = true;
    this.#flush();
  }

  /** Whatever changes in `action` is published together. */
  batch(action: () => void): void {
    this.#batches += 1;
    try {
      action();
    } finally {
      this.#batches -= 1;
      this.#flush();
    }
  }

  /** Publishes what changed without waiting for the rest to end. */
  now(): void {
    if (!this.#dirty || this.#closed) return;
    this.#cancelRest?.();
    this.#cancelRest = undefined;
    this.#resting = false;
    this.#flush();
  }

  close(): void {
    this.#closed = true;
    this.#cancelRest?.();
  }

  #flush(): void {
    if (!this.#dirty || this.#resting || this.#batches > 0 || this.#closed) return;
    this.#dirty = false;
    this.#resting = true;
    const rest = Math.floor(this.#publish() * REST_PER_ADJACENCY);
    const rested = () => {
      this.#resting = false;
      this.#flush();
    };
    if (rest === 0) this.#clock.soon(rested);
    else this.#cancelRest = this.#clock.after(rest, rested);
  }
}
