/** One line that says where the bench is: rewritten on a terminal, one after the other elsewhere. */
import { duration } from './report/format.js';

export class Progress {
  private readonly terminal = process.stderr.isTTY === true;
  private readonly started = performance.now();

  /** What is being done. `remaining`: seconds still to go, about. */
  show(what: string, remaining: number): void {
    if (!this.terminal) return;
    const line = this.line(what, remaining);
    process.stderr.write(`\r\x1b[K${line.slice(0, (process.stderr.columns ?? 80) - 1)}`);
  }

  /** What has been done: on a terminal the next takes its place. */
  done(what: string, remaining: number): void {
    if (this.terminal) this.show(what, remaining);
    else process.stderr.write(`${this.line(what, remaining)}\n`);
  }

  /** Something that stays on the screen. */
  say(what: string): void {
    process.stderr.write(`${this.terminal ? '\r\x1b[K' : ''}${what}\n`);
  }

  /** Seconds since the start. */
  elapsed(): number {
    return (performance.now() - this.started) / 1000;
  }

  private line(what: string, remaining: number): string {
    return `[bench ${duration(this.elapsed())}, about ${duration(remaining)} to go] ${what}`;
  }
}
