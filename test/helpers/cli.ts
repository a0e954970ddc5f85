/** The command line in-process: its output, its signals, its exit code. */
import { EventEmitter } from 'node:events';
import { main } from '../../src/cli/program.js';

export class FakeProcess {
  readonly signals = new EventEmitter();
  readonly exits: number[] = [];
  readonly env: NodeJS.ProcessEnv = { TERM: 'xterm' };
  out = '';
  err = '';
  readonly #changed = new EventEmitter();
  readonly stdout: { isTTY: boolean; write: (text: string) => void };
  readonly stderr = { write: (text: string) => this.#add('err', text) };

  constructor({ isTTY = false } = {}) {
    this.stdout = { isTTY, write: (text) => this.#add('out', text) };
  }

  run(...argv: string[]): Promise<number> {
    return main(argv, this);
  }

  exit(code: number): void {
    this.exits.push(code);
    this.#changed.emit('change');
  }

  /** Resolves once `condition` holds; it is looked at whenever something was written. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise((resolve) => this.#changed.once('change', resolve));
  }

  #add(to: 'out' | 'err', text: string): void {
    this[to] += text;
    this.#changed.emit('change');
  }
}

/** Runs one command line to its end. */
export async function cli(...argv: string[]) {
  const fake = new FakeProcess();
  const code = await fake.run(...argv);
  return { code, out: fake.out, err: fake.err };
}
