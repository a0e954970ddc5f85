import type { Clock } from '../../src/neighbor/clock.js';

interface Timer {
  readonly at: number;
  readonly order: number;
  readonly callback: () => void;
}

/** A clock that stands still until told to advance; everything due runs in order, at its own time. */
export class FakeClock implements Clock {
  #now: number;
  #timers: Timer[] = [];
  #immediates: (() => void)[] = [];
  #order = 0;

  constructor(start = 1_000_000) {
    this.#now = start;
  }

  now(): number {
    return this.#now;
  }

  after(milliseconds: number, callback: () => void): () => void {
    const timer = { at: this.#now + milliseconds, order: this.#order++, callback };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  soon(callback: () => void): void {
    this.#immediates.push(callback);
  }

  /** Timers and immediates that wait. */
  get pending(): number {
    return this.#timers.length + this.#immediates.length;
  }

  /** Ends this turn of the event loop: what was put off to after it runs. */
  turn(): void {
    const due = this.#immediates;
    this.#immediates = [];
    for (const callback of due) callback();
  }

  advance(milliseconds: number): void {
    const end = this.#now + milliseconds;
    this.#drain();
    for (let timer = this.#next(end); timer !== undefined; timer = this.#next(end)) {
      const { at, callback } = timer;
      this.#timers = this.#timers.filter((other) => other !== timer);
      this.#now = Math.max(this.#now, at);
      callback();
      this.#drain();
    }
    this.#now = end;
  }

  #next(end: number): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.#timers) {
      if (timer.at > end) continue;
      if (!next || timer.at < next.at || (timer.at === next.at && timer.order < next.order)) next = timer;
    }
    return next;
  }

  #drain(): void {
    while (this.#immediates.length > 0) this.turn();
  }
}
