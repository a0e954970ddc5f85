import type { Clock } from './clock.js';

/** Something that is due once. Only Deadlines writes these members; start with those of `NOT_DUE`. */
export interface Timed {
  /** Milliseconds of the clock; Infinity: never. */
  deadline: number;
  heapIndex: number;
}

export const NOT_DUE: Readonly<Timed> = { deadline: Number.POSITIVE_INFINITY, heapIndex: -1 };

/**
 * Two runs are at least this far apart, milliseconds, so that thousands of deadlines close together cost a
 * few timers. Nothing is ever early.
 */
const GRANULARITY = 20;

/** A heap of items by deadline, with one timer for the earliest: an idle cache costs nothing. */
export class Deadlines<T extends Timed> {
  readonly #clock: Clock;
  readonly #onDue: (item: T) => void;
  readonly #heap: T[] = [];
  #cancel: (() => void) | undefined;
  #armedFor = Number.POSITIVE_INFINITY;
  #lastRun = Number.NEGATIVE_INFINITY;
  #closed = false;

  /** `onDue` is called with the item's deadline cleared; it may set it again. */
  constructor(clock: Clock, onDue: (item: T) => void) {
    this.#clock = clock;
    this.#onDue = onDue;
  }

  /** Replaces the item's deadline. */
  set(item: T, at: number): void {
    if (this.#closed) return;
    item.deadline = at;
    if (item.heapIndex < 0) {
      item.heapIndex = this.#heap.length;
      this.#heap.push(item);
    }
    this.#sift(item);
    this.#arm();
  }

  clear(item: T): void {
    const index = item.heapIndex;
    item.deadline = Number.POSITIVE_INFINITY;
    if (index < 0) return;
    item.heapIndex = -1;
    const last = this.#heap.pop();
    if (last === undefined || last === item) return;
    this.#place(last, index);
    this.#sift(last);
  }

  close(): void {
    this.#closed = true;
    this.#cancel?.();
    this.#heap.length = 0;
  }

  #arm(): void {
    const earliest = this.#heap[0]?.deadline ?? Number.POSITIVE_INFINITY;
    if (earliest >= this.#armedFor || this.#closed) return;
    this.#cancel?.();
    this.#armedFor = earliest;
    const now = this.#clock.now();
    const wait = Math.max(0, earliest - now, this.#lastRun + GRANULARITY - now);
    this.#cancel = this.#clock.after(wait, () => this.#run());
  }

  #run(): void {
    this.#armedFor = Number.POSITIVE_INFINITY;
    const now = this.#clock.now();
    this.#lastRun = now;
    for (let item = this.#heap[0]; item !== undefined && item.deadline <= now; item = this.#heap[0]) {
      this.clear(item);
      this.#onDue(item);
    }
    this.#arm();
  }

  #place(item: T, index: number): void {
    this.#heap[index] = item;
    item.heapIndex = index;
  }

  #sift(item: T): void {
    let index = item.heapIndex;
    for (;;) {
      const parent = this.#heap[(index - 1) >> 1];
      if (index === 0 || parent === undefined || parent.deadline <= item.deadline) break;
      this.#place(parent, index);
      index = (index - 1) >> 1;
    }
    for (;;) {
      const left = this.#heap[2 * index + 1];
      const right = this.#heap[2 * index + 2];
      const child =
        right !== undefined && left !== undefined && right.deadline < left.deadline ? right : left;
      if (child === undefined || child.deadline >= item.deadline) break;
      const next = child.heapIndex;
      this.#place(child, index);
      index = next;
    }
    this.#place(item, index);
  }
}
