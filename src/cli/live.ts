/** A terminal as one picture that changes: nothing but changed lines is written, in one piece per picture. */
import type { Io } from './io.js';

const ENTER = '\x1b[?1049h\x1b[?25l';
const LEAVE = '\x1b[?25h\x1b[?1049l';
/** Synchronized update: terminals that know it show all or nothing; others ignore it. */
const BEGIN = '\x1b[?2026h';
const END = '\x1b[?2026l';
const CTRL_C = '\x03';

export interface Screen {
  /** Puts lines on the screen, where the terminal has taken the picture before. */
  draw(lines: readonly string[]): void;
  readonly size: { columns: number; rows: number };
  close(): void;
}

/** Whether pictures can be drawn: a terminal that moves its cursor. */
export function isScreen({ stdout, env }: Pick<Io, 'stdout' | 'env'>): boolean {
  return stdout.isTTY === true && env.TERM !== 'dumb' && env.TERM !== undefined;
}

/** Whether the terminal is likely to show nothing but ASCII. */
export function isAscii(env: NodeJS.ProcessEnv): boolean {
  const locale = [env.LC_ALL, env.LC_CTYPE, env.LANG].find((value) => value !== undefined && value !== '');
  return !/utf-?8/i.test(locale ?? '');
}

/**
 * Takes the terminal until close(), which gives it back as it was, also when the process ends otherwise.
 * @param actions quit: q or Ctrl-C was pressed. resized: draw again.
 */
export function openScreen(io: Io, actions: { quit(): void; resized(): void }): Screen {
  const { stdout, stdin, signals } = io;
  let shown: readonly string[] = [];
  let closed = false;

  const typed = (data: unknown) => {
    const keys = String(data);
    if (keys.includes('q') || keys.includes(CTRL_C)) actions.quit();
  };
  const resized = () => {
    stdout.write('\x1b[2J');
    shown = [];
    actions.resized();
  };
  const close = () => {
    if (closed) return;
    closed = true;
    stdout.write(LEAVE);
    stdout.off?.('resize', resized);
    signals.off('exit', close);
    if (stdin?.isTTY !== true) return;
    stdin.off('data', typed);
    stdin.setRawMode?.(false);
    stdin.pause();
  };

  stdout.write(ENTER);
  stdout.on?.('resize', resized);
  signals.on('exit', close);
  if (stdin?.isTTY === true) {
    stdin.setRawMode?.(true);
    stdin.on('data', typed);
    stdin.resume();
  }

  return {
    close,
    get size() {
      return { columns: stdout.columns ?? 80, rows: stdout.rows ?? 24 };
    },
    draw(lines) {
      // A connection that is slower than the pictures gets fewer of them.
      if (closed || stdout.writableNeedDrain === true) return;
      const changed = lines.flatMap((line, row) =>
        line === shown[row] ? [] : [`\x1b[${row + 1};1H${line}\x1b[K`],
      );
      const rest = shown.length > lines.length ? `\x1b[${lines.length + 1};1H\x1b[J` : '';
      shown = [...lines];
      if (changed.length > 0 || rest !== '') stdout.write(`${BEGIN}${changed.join('')}${rest}${END}`);
    },
  };
}
