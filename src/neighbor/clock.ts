/** Time as src/neighbor sees it; tests bring their own. */
export interface Clock {
  /** Milliseconds of CLOCK_MONOTONIC: the clock of the data plane's usage marks. */
  now(): number;
  /** Calls back once, after at least `milliseconds`; the returned function cancels. */
  after(milliseconds: number, callback: () => void): () => void;
  /** Calls back once, after the current turn of the event loop. */
  soon(callback: () => void): void;
}

/** The real one. Its timers do not keep a process alive: the workers do that. */
export const systemClock: Clock = {
  // libuv's hrtime is CLOCK_MONOTONIC; performance.now() would count from the start of the process.
  now: () => Number(process.hrtime.bigint() / 1_000_000n),
  after(milliseconds, callback) {
    const timer = setTimeout(callback, milliseconds).unref();
    return () => clearTimeout(timer);
  },
  soon: (callback) => void setImmediate(callback),
};
