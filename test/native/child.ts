/**
 * A process inside a network namespace that runs functions of the test: what opens netlink sockets must live
 * where it is tested. Functions travel as their source, so that they may use nothing but their arguments.
 */
import { type ChildProcess, spawn, type spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type * as guard from '../../src/gateway/guard.js';
import { claimLabId, removeLab } from '../../src/lab/cleanup.js';
import { exec, inNamespace, must } from '../../src/lab/command.js';
import { compiled } from '../../src/lab/gateway-process.js';
import type { NativeNetlink, NativeNftables } from '../../src/native/addon.js';
import type * as binding from '../../src/native/binding.js';
import type * as netlink from '../../src/net/netlink.js';

/** What a function gets in the child; `held` stays between two of them. */
export interface Tools {
  loadAddon: typeof binding.loadAddon;
  createGuard: typeof guard.createGuard;
  probeGuard: typeof guard.probeGuard;
  openNetlink: typeof netlink.openNetlink;
  spawn: typeof spawn;
  spawnSync: typeof spawnSync;
  net: typeof import('node:net');
  held: {
    netlink?: NativeNetlink;
    nftables?: NativeNftables;
    guard?: guard.Guard;
    changes?: number;
  };
}

export class Child {
  readonly process: ChildProcess;
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;

  private constructor(argv: readonly string[]) {
    const [program = '', ...args] = argv;
    this.process = spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    this.exited = new Promise((resolve) =>
      this.process.once('exit', (code, signal) => resolve({ code, signal })),
    );
  }

  /** `wrapper` is a command that replaces itself by what follows it. */
  static async start(namespace: string, wrapper: readonly string[] = []): Promise<Child> {
    compiled('gateway/guard.js');
    const script = fileURLToPath(new URL('./child.mjs', import.meta.url));
    const child = new Child(inNamespace(namespace, [...wrapper, process.execPath, script]));
    await child.#answer();
    return child;
  }

  /** Runs `body` in the child; rejects with what it threw (message, code, errno, syscall). */
  run<T>(body: (tools: Tools) => T): Promise<Awaited<T>>;
  run<T, A>(body: (tools: Tools, argument: A) => T, argument: A): Promise<Awaited<T>>;
  run(body: (tools: Tools, argument: never) => unknown, argument?: unknown): Promise<unknown> {
    const answer = this.#answer();
    this.process.send({ source: body.toString(), argument });
    return answer;
  }

  async kill(): Promise<void> {
    this.process.kill('SIGKILL');
    await this.exited;
  }

  #answer(): Promise<never> {
    return new Promise((resolve, reject) => {
      const onExit = () => reject(new Error('the process under test ended without an answer'));
      this.process.once('exit', onExit);
      this.process.once('message', (message: { value?: never; error?: object }) => {
        this.process.off('exit', onExit);
        if (message.error) reject(Object.assign(new Error(), message.error));
        else resolve(message.value as never);
      });
    });
  }
}

/** Fresh namespaces, each with its loopback up; gone with the test whatever happens. */
export async function makeNamespaces<Name extends string>(
  teardown: (undo: () => void) => void,
  ...names: Name[]
): Promise<Record<Name, string>> {
  const id = claimLabId();
  teardown(() => removeLab(id));
  const made = Object.fromEntries(names.map((name) => [name, `${id}-${name}`])) as Record<Name, string>;
  for (const name of names) {
    await must(undefined, ['ip', 'netns', 'add', made[name]]);
    await must(made[name], ['ip', 'link', 'set', 'lo', 'up']);
  }
  return made;
}

/** `ip -batch` in the namespace. */
export async function ip(namespace: string, lines: readonly string[]): Promise<void> {
  await must(namespace, ['ip', '-batch', '-'], { input: `${lines.join('\n')}\n` });
}

/** Names of the nf_tables tables in the namespace, as "netdev vpc_conn_1". */
export async function tablesIn(namespace: string): Promise<string[]> {
  const { stdout } = await exec(namespace, ['nft', 'list', 'tables']);
  return [...stdout.matchAll(/^table (\S+ \S+)/gm)].map(([, name = '']) => name);
}

/** Runs a module's source in the namespace, with `addon` loaded; ADDON_PATH is for its worker threads. */
export function script(namespace: string, source: string, ...flags: string[]): ReturnType<typeof exec> {
  const argv = [
    'env',
    `ADDON_PATH=${ADDON_PATH}`,
    process.execPath,
    ...flags,
    '--input-type=module',
    '-e',
    `${PRELUDE}\n${source}`,
  ];
  return exec(namespace, argv, { timeoutMs: 30_000 });
}

const ADDON_PATH =
  process.env.VPC_CONN_ADDON || fileURLToPath(new URL('../../build/Release/vpc_conn.node', import.meta.url));

const PRELUDE = `
import { loadAddon } from ${JSON.stringify(fileURLToPath(new URL('../../dist/native/binding.js', import.meta.url)))};
const addon = loadAddon();`;
