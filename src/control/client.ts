/** Talks to a running gateway over its control socket. Loads no native code. */
import { readdir } from 'node:fs/promises';
import { createConnection, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Settings } from '../config/settings.js';
import { SettingsError, VpcConnError } from '../errors.js';
import type {
  FlowRow,
  LogLevel,
  Method,
  Methods,
  NeighborRow,
  StatsResult,
  StatusResult,
} from './protocol.js';
import { PROTOCOL_VERSION } from './protocol.js';

/** Where gateways put their sockets by default. */
export const SOCKET_DIRECTORY = '/run/vpc-conn';

/** Milliseconds. */
const RETRY_AFTER = 20;

export interface ConnectOptions {
  /** Default: env VPC_CONN_SOCKET, else the only live socket in `directory`. */
  socket?: string;
  /** Default: SOCKET_DIRECTORY. */
  directory?: string;
  env?: NodeJS.ProcessEnv;
  /** Milliseconds until an unanswered call fails; default 5000. `reload` and `stop` get six times that. */
  timeout?: number;
}

export interface ControlClient {
  /** The socket's path. */
  readonly socket: string;
  /** Rejects with VpcConnError: the gateway's own error, or that it cannot be reached. Reconnects by itself. */
  call<M extends Method>(method: M, params?: Methods[M]['params']): Promise<Methods[M]['result']>;
  status(): Promise<StatusResult>;
  stats(): Promise<StatsResult>;
  neighbors(): Promise<NeighborRow[]>;
  /** The first `most` masqueraded flows (default 1000), fetched page by page, and how many there are in all. */
  flows(most?: number): Promise<{ flows: FlowRow[]; total: number }>;
  reload(): Promise<Methods['reload']['result']>;
  /** Changes the level of the gateway's log, or only asks for it. */
  logLevel(level?: LogLevel): Promise<Methods['logLevel']['result']>;
  /** Those in force. */
  settings(): Promise<Settings>;
  /** Resolves when the gateway has stopped and removed its socket, so that another may take its place. */
  stop(): Promise<Methods['stop']['result']>;
  close(): void;
}

/** Connects to the gateway; rejects with a sentence and a remedy when there is none, or more than one. */
export async function connect(options: ConnectOptions = {}): Promise<ControlClient> {
  const explicit = options.socket ?? nonEmpty((options.env ?? process.env).VPC_CONN_SOCKET);
  const path = explicit ?? (await discover(options.directory ?? SOCKET_DIRECTORY));
  const client = new Client(path, options.timeout ?? 5000);
  await client.open();
  return client;
}

/** The errno name if nobody answers at `path`; undefined when somebody accepts. */
export async function probe(path: string): Promise<string | undefined> {
  try {
    (await open(path, 1000)).destroy();
    return undefined;
  } catch (error) {
    return errnoName(error);
  }
}

async function discover(directory: string): Promise<string> {
  let names: string[] = [];
  try {
    names = (await readdir(directory)).filter((name) => name.endsWith('.sock')).sort();
  } catch (error) {
    if (errnoName(error) !== 'ENOENT') throw unreachable(directory, error);
  }
  const paths = names.map((name) => join(directory, name));
  const dead = new Set(['ECONNREFUSED', 'ENOENT', 'ENOTSOCK']);
  const results = await Promise.all(paths.map(probe));
  // A socket that may not be opened counts as live: connecting to it then says why it failed.
  const live = paths.filter((_, index) => !dead.has(results[index] ?? ''));
  const [first] = live;
  if (first === undefined) {
    throw new VpcConnError(
      'no-gateway',
      `No gateway is running on this machine: nothing answers in ${directory}. ` +
        'Start one with "vpc-conn run", or give its control socket with --socket.',
    );
  }
  if (live.length > 1) {
    throw new SettingsError(
      'several-gateways',
      `Several gateways run on this machine. Choose one with --socket: ${live.join(', ')}.`,
    );
  }
  return first;
}

interface Pending {
  resolve(result: unknown): void;
  reject(error: unknown): void;
  timer: NodeJS.Timeout;
}

class Client implements ControlClient {
  readonly socket: string;
  readonly #timeout: number;
  readonly #pending = new Map<number, Pending>();
  #connection: Socket | undefined;
  #opening: Promise<Socket> | undefined;
  #nextId = 1;
  #closed = false;

  constructor(socket: string, timeout: number) {
    this.socket = socket;
    this.#timeout = timeout;
  }

  status = () => this.call('status');
  stats = () => this.call('stats');
  neighbors = () => this.call('neighbors');
  reload = () => this.call('reload');
  logLevel = (level?: LogLevel) => this.call('logLevel', level === undefined ? {} : { level });
  settings = () => this.call('settings');

  async open(): Promise<Socket> {
    if (this.#closed) throw new VpcConnError('control-closed', 'This control client is closed.');
    if (this.#connection !== undefined) return this.#connection;
    this.#opening ??= this.#connect().finally(() => {
      this.#opening = undefined;
    });
    return await this.#opening;
  }

  async flows(most = 1000): Promise<{ flows: FlowRow[]; total: number }> {
    const flows: FlowRow[] = [];
    for (let from = 0; ; ) {
      const page = await this.call('flows', { from, most: Math.min(most - flows.length, 1000) });
      flows.push(...page.flows);
      if (page.next === 0 || flows.length >= most)
        return { flows, total: Math.max(page.total, flows.length) };
      from = page.next;
    }
  }

  async call<M extends Method>(method: M, params?: Methods[M]['params']): Promise<Methods[M]['result']> {
    const connection = await this.open();
    if (this.#closed) throw new VpcConnError('control-closed', 'This control client is closed.');
    if (connection.destroyed) throw lost(this.socket);
    const id = this.#nextId++;
    const slow = method === 'reload' || method === 'stop';
    const limit = slow ? this.#timeout * 6 : this.#timeout;
    const answer = await new Promise<unknown>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(
          new VpcConnError(
            'control-timeout',
            `The gateway at ${this.socket} did not answer "${method}" within ${limit / 1000} s. ` +
              'It may be overloaded or stopped by a debugger; try again, then look at its log.',
          ),
        );
      }, limit);
      this.#pending.set(id, { resolve, reject, timer });
      connection.write(`${JSON.stringify({ v: PROTOCOL_VERSION, id, method, params })}\n`);
    });
    // The server's handlers are typed by the same Methods; the protocol's version guards against others.
    return answer as Methods[M]['result'];
  }

  async stop(): Promise<Methods['stop']['result']> {
    const connection = await this.open();
    const ended = new Promise<void>((resolve) => connection.once('close', () => resolve()));
    const result = await this.call('stop');
    await Promise.race([ended, delay(this.#timeout, undefined, { ref: false })]);
    return result;
  }

  close(): void {
    this.#closed = true;
    this.#connection?.destroy();
    this.#fail(new VpcConnError('control-closed', 'This control client was closed before the answer came.'));
  }

  async #connect(): Promise<Socket> {
    let connection: Socket;
    try {
      connection = await open(this.socket, this.#timeout);
    } catch (error) {
      throw unreachable(this.socket, error);
    }
    if (this.#closed) {
      connection.destroy();
      throw new VpcConnError('control-closed', 'This control client is closed.');
    }
    this.#connection = connection;
    let received = '';
    connection.setEncoding('utf8');
    connection.on('data', (chunk: string) => {
      const lines = (received + chunk).split('\n');
      received = lines.pop() ?? '';
      for (const line of lines) this.#receive(line);
    });
    connection.on('error', () => {}); // 'close' follows
    connection.on('end', () => connection.destroy());
    connection.on('close', () => {
      if (this.#connection === connection) this.#connection = undefined;
      this.#fail(lost(this.socket));
    });
    return connection;
  }

  #receive(line: string): void {
    const answer = parseAnswer(line);
    if (answer === undefined || answer.id === null) {
      this.#fail(answer?.error ?? unintelligible(this.socket));
      this.#connection?.destroy();
      return;
    }
    const pending = this.#pending.get(answer.id);
    if (pending === undefined) return; // it timed out before
    this.#pending.delete(answer.id);
    clearTimeout(pending.timer);
    if (answer.error === undefined) pending.resolve(answer.result);
    else pending.reject(answer.error);
  }

  #fail(error: VpcConnError): void {
    for (const pending of this.#pending.values()) {
      clearTimeout(pending.timer);
      pending.reject(error);
    }
    this.#pending.clear();
  }
}

interface Answer {
  /** null: about the connection, not about one request. */
  id: number | null;
  result?: unknown;
  error?: VpcConnError;
}

function parseAnswer(line: string): Answer | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (!isRecord(value)) return undefined;
  const { id, ok, error } = value;
  if (typeof id !== 'number' && id !== null) return undefined;
  if (ok === true) return { id, result: value.result };
  if (!isRecord(error) || typeof error.code !== 'string' || typeof error.message !== 'string')
    return undefined;
  const exitCode = error.exitCode === 2 ? 2 : 1;
  return { id, error: new VpcConnError(error.code, error.message, { exitCode }) };
}

/** Connects; where more clients come than the kernel queues, tries again until the time is over. */
async function open(path: string, timeout: number): Promise<Socket> {
  const deadline = performance.now() + timeout;
  for (;;) {
    try {
      return await openNow(path, deadline - performance.now());
    } catch (error) {
      if (errnoName(error) !== 'EAGAIN' || performance.now() >= deadline) throw error;
      await delay(RETRY_AFTER);
    }
  }
}

function openNow(path: string, timeout: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const connection = createConnection({ path });
    const timer = setTimeout(() => {
      connection.destroy();
      reject(Object.assign(new Error(`no answer from ${path}`), { code: 'ETIMEDOUT' }));
    }, timeout);
    connection.once('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    connection.once('connect', () => {
      clearTimeout(timer);
      connection.removeAllListeners('error');
      resolve(connection);
    });
  });
}

function unreachable(path: string, cause: unknown): VpcConnError {
  const name = errnoName(cause);
  if (name === 'EACCES' || name === 'EPERM') {
    return new VpcConnError('control-permission', `You may not use ${path}. Run the command as root.`, {
      cause,
    });
  }
  if (name === 'ENOENT' || name === 'ECONNREFUSED') {
    return new VpcConnError(
      'no-gateway',
      `No gateway answers at ${path}. Start one with "vpc-conn run", or check the path given with --socket.`,
      { cause },
    );
  }
  return new VpcConnError(
    'control-unreachable',
    `The control socket ${path} cannot be used (${name}). Check that it is the socket of a running gateway.`,
    { cause },
  );
}

function lost(path: string): VpcConnError {
  return new VpcConnError(
    'control-lost',
    `The gateway at ${path} closed the connection before it answered. See its log.`,
  );
}

function unintelligible(path: string): VpcConnError {
  return new VpcConnError(
    'control-protocol',
    `What answers at ${path} does not speak vpc-conn's protocol. Check the path given with --socket.`,
  );
}

function errnoName(error: unknown): string {
  return isRecord(error) && typeof error.code === 'string' ? error.code : 'unknown error';
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === '' ? undefined : text;
}
