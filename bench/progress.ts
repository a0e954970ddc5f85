/** One line that says where the bench is: rewritten on a terminal, one after the other elsewhere. */
import { duration } from './report/format.js';

export class Progress {
  private readonly terminal = process.stderr.isTTY === true;
  private readonly started = performance.now();

  /** `remaining`: seconds still to go, about. */
  show(what: string, remaining: number): void {
    const line = `[bench ${duration(this.elapsed())}, about ${duration(remaining)} to go] ${what}`;
    if (this.terminal) process.stderr.write(`\r\x1b[K${line.slice(0, (process.stderr.columns ?? 80) - 1)}`);
    else process.stderr.write(`${line}\n`);
  }

  /** Something that stays on the screen. */
  say(what: string): void {
    process.stderr.write(`${this.terminal ? '\r\x1b[K' : ''}${what}\n`);
  }

  /** Seconds since the start. */
  elapsed(): number {
    return (performance.now() - this.started) / 1000;
  }
}
