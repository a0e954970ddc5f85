/**
 * Runs programs inside network namespaces. Everything the lab does to the kernel goes through this file, so
 * that VERBOSE=1 shows every command with its namespace.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { VpcConnError } from '../errors.js';

export interface ExecResult {
  /** Exit code; 128 + signal number is not used: a program ended by a signal has code -1. */
  code: number;
  stdout: string;
  stderr: string;
}

export interface ExecOptions {
  /** Bounded always: 60 s unless given. */
  timeoutMs?: number;
  /** Written to the program's standard input, which is closed then. */
  input?: string;
  env?: NodeJS.ProcessEnv;
}

/** What VERBOSE prints; a lab may redirect it (the demo draws on the terminal itself). */
export function trace(where: string, argv: readonly string[], input?: string): void {
  if (!process.env.VERBOSE) return;
  process.stderr.write(`[${where}] ${argv.join(' ')}\n`);
  if (input === undefined) return;
  for (const line of input.trimEnd().split('\n')) process.stderr.write(`[${where}]   ${line}\n`);
}

/** The argument vector that runs `argv` inside `namespace` (undefined: the caller's own). */
export function inNamespace(namespace: string | undefined, argv: readonly string[]): string[] {
  // "ip netns exec" replaces itself by the program: the child's pid is the program's own.
  return namespace === undefined ? [...argv] : ['ip', 'netns', 'exec', namespace, ...argv];
}

/**
 * Runs a program to its end and hands back what it printed; a non-zero exit code is a result, not an error.
 * Throws VpcConnError when the program is missing or does not end in time (it is killed then).
 */
export function exec(
  namespace: string | undefined,
  argv: readonly string[],
  options: ExecOptions = {},
): Promise<ExecResult> {
  const timeoutMs = options.timeoutMs ?? 60_000;
  trace(namespace ?? 'host', argv, options.input);
  const [program = '', ...args] = inNamespace(namespace, argv);
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
      env: options.env ?? process.env,
    });
    let stdout = '';
    let stderr = '';
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill('SIGKILL');
    }, timeoutMs);
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.once('error', (cause) => {
      clearTimeout(timer);
      const message = `Cannot run ${program}: ${cause.message}. Run "npm run setup" to install what the lab needs.`;
      reject(new VpcConnError('lab-program-missing', message, { cause }));
    });
    child.once('close', (code) => {
      clearTimeout(timer);
      if (!late) return resolve({ code: code ?? -1, stdout, stderr });
      const what = `"${argv.join(' ')}" in ${namespace ?? 'this namespace'}`;
      reject(
        new VpcConnError(
          'lab-timeout',
          `${what} did not end within ${timeoutMs} ms. ${stdout}${stderr}`.trim(),
        ),
      );
    });
    // A program that ends before it reads its input closes the pipe; its exit code tells.
    child.stdin?.on('error', () => undefined);
    if (options.input !== undefined) child.stdin?.end(options.input);
  });
}

/** exec() for commands that must work: throws VpcConnError with what the program said. */
export async function must(
  namespace: string | undefined,
  argv: readonly string[],
  options: ExecOptions = {},
): Promise<string> {
  const result = await exec(namespace, argv, options);
  if (result.code === 0) return result.stdout;
  const said = (result.stderr || result.stdout).trim();
  throw new VpcConnError(
    'lab-command-failed',
    `"${argv.join(' ')}" failed in ${namespace ?? 'the host'} with code ${result.code}: ${said}`,
  );
}

/** A program that runs beside the test; killed by its pid when the lab closes. */
export class LabProcess {
  readonly namespace: string;
  readonly argv: readonly string[];
  readonly pid: number;
  /** Everything it has printed so far. */
  stdout = '';
  stderr = '';
  /** Resolves when it has ended; never rejects. */
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  private readonly child: ChildProcess;
  private readonly listeners = new Set<() => void>();
  private ended = false;

  constructor(namespace: string, argv: readonly string[], env: NodeJS.ProcessEnv = process.env) {
    trace(namespace, [...argv, '&']);
    this.namespace = namespace;
    this.argv = argv;
    const [program = '', ...args] = inNamespace(namespace, argv);
    this.child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], env });
    this.pid = this.child.pid ?? -1;
    this.child.stdin?.on('error', () => undefined);
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
      this.changed();
    });
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
      this.changed();
    });
    this.exited = new Promise((resolve) => {
      const end = (code: number | null, signal: NodeJS.Signals | null) => {
        this.ended = true;
        resolve({ code, signal });
        this.changed();
      };
      this.child.once('close', end);
      this.child.once('error', (cause) => {
        this.stderr += `${cause.message}\n`;
        end(null, null);
      });
    });
  }

  get running(): boolean {
    return !this.ended;
  }

  /** Writes to the program's input. */
  write(text: string): void {
    this.child.stdin?.write(text);
  }

  /** Ends the program's input. */
  closeInput(): void {
    this.child.stdin?.end();
  }

  kill(signal: NodeJS.Signals = 'SIGKILL'): void {
    if (this.running) this.child.kill(signal);
  }

  /**
   * Waits until `condition` holds for what the program has printed. Rejects with both outputs when the
   * program ends first or `timeoutMs` is over.
   */
  until(condition: (process: LabProcess) => boolean, what: string, timeoutMs = 30_000): Promise<void> {
    return new Promise((resolve, reject) => {
      const finish = (error?: Error) => {
        clearTimeout(timer);
        this.listeners.delete(check);
        if (error) reject(error);
        else resolve();
      };
      const fail = (why: string) => {
        const output = `${this.stdout}${this.stderr}`.trim();
        finish(
          new VpcConnError(
            'lab-process',
            `"${this.argv.join(' ')}" in ${this.namespace} ${why} (${what}). It printed:\n${output}`,
          ),
        );
      };
      const check = () => {
        if (condition(this)) finish();
        else if (this.ended) fail('ended too early');
      };
      const timer = setTimeout(() => fail(`did not get there within ${timeoutMs} ms`), timeoutMs);
      this.listeners.add(check);
      check();
    });
  }

  private changed(): void {
    for (const listener of [...this.listeners]) listener();
  }
}

/**
 * Polls `condition` until it returns something truthy, and hands that back. The only wait of the lab that is
 * not an event; it throws after `timeoutMs` (30 s unless given), naming `what` never became true.
 */
export async function waitFor<T>(
  condition: () => T | Promise<T>,
  options: { what: string; timeoutMs?: number; intervalMs?: number },
): Promise<T> {
  const timeoutMs = options.timeoutMs ?? 30_000;
  const end = Date.now() + timeoutMs;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() >= end) {
      throw new VpcConnError('lab-timeout', `Waited ${timeoutMs} ms in vain for ${options.what}.`);
    }
    await new Promise((resolve) => setTimeout(resolve, options.intervalMs ?? 20));
  }
}
