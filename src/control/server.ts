/**
 * The control socket: newline-delimited JSON on a Unix socket that only its owner may open unless told otherwise. Clients are
 * served one request at a time each; none can make the gateway hold more than one answer for it.
 */
import { once } from 'node:events';
import { chmodSync, lchownSync, lstatSync, mkdirSync, readFileSync, type Stats, unlinkSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { SettingsError, VpcConnError } from '../errors.js';
import type { Logger } from '../log.js';
import { connect, probe } from './client.js';
import { type Method, type Methods, PROTOCOL_VERSION } from './protocol.js';

export type Handlers = {
  /** Parameters are as the client sent them: an object, nothing more is checked. */
  [M in Method]: (params: Methods[M]['params']) => Methods[M]['result'] | Promise<Methods[M]['result']>;
};

export interface ControlServerOptions {
  /** Path of the socket; its directory is made if missing. */
  socket: string;
  /** Who may open it; default: 0600, and whoever runs this process. Names or numbers. */
  access?: { mode?: number; owner?: string; group?: string };
  handlers: Handlers;
  logger: Logger;
  /** Clients at once; default 32. */
  maximumClients?: number;
  /** Milliseconds without a byte in either direction after which a client is dropped; default one minute. */
  idleTimeout?: number;
}

export interface ControlServer {
  readonly socket: string;
  /** Answers what is under way (at most for a second), removes the socket file. Idempotent. */
  close(): Promise<void>;
}

const MAXIMUM_REQUEST = 64 * 1024;
const CLOSE_GRACE = 1000;
/** sun_path of Linux, less the terminating zero. */
const MAXIMUM_PATH_BYTES = 107;

/** Rejects with VpcConnError when another gateway lives on the socket, or the path cannot be used. */
export async function startControlServer(options: ControlServerOptions): Promise<ControlServer> {
  const { socket: path } = options;
  if (Buffer.byteLength(path) > MAXIMUM_PATH_BYTES) {
    throw new SettingsError(
      'control-path',
      `control.socket ${path} is longer than the ${MAXIMUM_PATH_BYTES} bytes that Linux allows. Choose a shorter path.`,
    );
  }
  const access = accessOf(options.access);
  const clients = new ClientSet(options);
  const server = createServer({ allowHalfOpen: true }, (socket) => clients.add(socket));
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    await replaceStale(path);
    await listen(server, path, access);
  } catch (error) {
    server.close(); // takes a socket away that was made, but not given to whom it belongs
    if (error instanceof VpcConnError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new VpcConnError(
      'control-socket',
      `The control socket ${path} cannot be made (${reason}). Run as root, or choose another control.socket.`,
      { cause: error },
    );
  }
  server.on('error', (error) => options.logger.error({ err: error }, 'control socket failed'));

  let closing: Promise<void> | undefined;
  const close = async () => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve())); // unlinks the file, too
    await clients.close();
    await closed;
  };
  return {
    socket: path,
    close: () => {
      closing ??= close();
      return closing;
    },
  };
}

/** Removes a socket file that a dead gateway left; refuses when somebody answers, or it is no socket. */
async function replaceStale(path: string): Promise<void> {
  let entry: Stats;
  try {
    entry = lstatSync(path);
  } catch {
    return; // nothing there; what else is wrong with the path, listen() finds out
  }
  if (!entry.isSocket()) {
    throw new SettingsError(
      'control-path',
      `control.socket ${path} exists and is not a socket. Choose another path, or remove it.`,
    );
  }
  if ((await probe(path)) === 'ECONNREFUSED') {
    unlinkSync(path);
    return;
  }
  throw new VpcConnError(
    'control-in-use',
    `${await whoAnswers(path)} already uses the control socket ${path}. ` +
      'Stop it with "vpc-conn stop", or give this gateway another control.socket.',
  );
}

async function whoAnswers(path: string): Promise<string> {
  try {
    const client = await connect({ socket: path, timeout: 1000 });
    try {
      const { name, pid } = await client.status();
      return `Gateway ${name} (process ${pid})`;
    } finally {
      client.close();
    }
  } catch {
    return 'Another process';
  }
}

interface Access {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** chown's word for "as it is". */
const UNCHANGED = -1;

/** Before anything is made. Throws SettingsError for names that this machine does not know. */
function accessOf({ mode = 0o600, owner, group }: ControlServerOptions['access'] = {}): Access {
  const number = (key: 'owner' | 'group', name: string | undefined, file: string): number => {
    if (name === undefined) return UNCHANGED;
    const id = /^\d+$/.test(name) ? Number(name) : accountNumber(name, file);
    if (id !== undefined) return id;
    const kind = key === 'owner' ? 'user' : 'group';
    throw new SettingsError(
      'control-account',
      `control.${key}: this machine has no ${kind} ${name} in ${file}. Add it, or write another name or a number.`,
    );
  };
  return { mode, uid: number('owner', owner, '/etc/passwd'), gid: number('group', group, '/etc/group') };
}

/** Both files begin a line with the name, a password and the number. */
function accountNumber(name: string, file: string): number | undefined {
  const lines = readFileSync(file, 'utf8').split('\n');
  const fields = lines.map((line) => line.split(':')).find(([known]) => known === name);
  return fields?.[2] === undefined ? undefined : Number(fields[2]);
}

async function listen(server: Server, path: string, { mode, uid, gid }: Access): Promise<void> {
  // bind() happens inside listen(), so the file never exists with a wider mode, not even for a moment.
  const previous = process.umask(0o177);
  try {
    server.listen({ path });
  } finally {
    process.umask(previous);
  }
  await once(server, 'listening');
  // First whose it is, then for whom it opens: never for the wrong ones, not even for a moment.
  if (uid !== UNCHANGED || gid !== UNCHANGED) lchownSync(path, uid, gid);
  chmodSync(path, mode);
}

class ClientSet {
  readonly #options: ControlServerOptions;
  readonly #sockets = new Set<Socket>();
  readonly #underWay = new Set<Promise<void>>();
  #closing = false;

  constructor(options: ControlServerOptions) {
    this.#options = options;
  }

  add(socket: Socket): void {
    const { maximumClients = 32, idleTimeout = 60_000, logger } = this.#options;
    socket.on('error', () => {}); // a client that goes away is nobody's trouble
    if (this.#closing || this.#sockets.size >= maximumClients) {
      socket.write(failure(null, 'control-busy', `More than ${maximumClients} clients; try again later.`));
      socket.destroySoon();
      return;
    }
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    socket.setTimeout(idleTimeout, () => socket.destroy());
    this.#serve(socket).then(
      () => socket.destroySoon(),
      (error: unknown) => {
        logger.debug({ err: error }, 'control client dropped');
        socket.destroy();
      },
    );
  }

  async close(): Promise<void> {
    this.#closing = true;
    const grace = AbortSignal.timeout(CLOSE_GRACE);
    const expired = new Promise<void>((resolve) => grace.addEventListener('abort', () => resolve()));
    await Promise.race([Promise.allSettled(this.#underWay), expired]);
    const gone = [...this.#sockets].map((socket) => {
      const closed = once(socket, 'close');
      socket.destroySoon(); // sends what is still buffered
      return closed;
    });
    await Promise.race([Promise.allSettled(gone), expired]);
    for (const socket of this.#sockets) socket.destroy();
  }

  async #serve(socket: Socket): Promise<void> {
    socket.setEncoding('utf8');
    let received = '';
    // Reading pauses while a request is answered: a client that does not read its answers stops here.
    for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
      received += chunk;
      for (let end = received.indexOf('\n'); end >= 0; end = received.indexOf('\n')) {
        const line = received.slice(0, end);
        received = received.slice(end + 1);
        if (line.trim() === '') continue;
        const answer = line.length > MAXIMUM_REQUEST ? tooLong() : await this.#answer(line);
        if (socket.destroyed || !socket.writable) return;
        if (!socket.write(answer)) await drained(socket);
      }
      if (received.length > MAXIMUM_REQUEST) {
        socket.write(tooLong());
        return;
      }
    }
  }

  async #answer(line: string): Promise<string> {
    const request = parseRequest(line);
    if (request === undefined) {
      return failure(null, 'control-protocol', 'A request is one line: {"v":1,"id":number,"method":"..."}.');
    }
    const { version, id, method, params } = request;
    if (version !== PROTOCOL_VERSION) {
      const text = `This gateway speaks protocol version ${PROTOCOL_VERSION}. Use the vpc-conn of the same release.`;
      return failure(id, 'control-protocol', text, 2);
    }
    const { handlers } = this.#options;
    if (!isMethod(handlers, method)) {
      const text = `This gateway has no method "${method}"; it has ${Object.keys(handlers).join(', ')}.`;
      return failure(id, 'control-method', text, 2);
    }
    // Each handler checks what it was sent.
    const handler = handlers[method] as (params: object) => unknown;
    const work = this.#run(id, () => handler(params));
    // Closing waits until the answer is written, which happens in the turn after this promise settles.
    const turn = work.then(() => new Promise<void>((resolve) => setImmediate(resolve)));
    this.#underWay.add(turn);
    turn.finally(() => this.#underWay.delete(turn));
    return await work;
  }

  async #run(id: number, handler: () => unknown): Promise<string> {
    try {
      return `${JSON.stringify({ id, ok: true, result: await handler() })}\n`;
    } catch (error) {
      if (error instanceof VpcConnError) return failure(id, error.code, error.message, error.exitCode);
      this.#options.logger.error({ err: error }, 'control request failed');
      const reason = error instanceof Error ? error.message : String(error);
      return failure(id, 'internal', `The gateway failed unexpectedly (${reason}). See its log.`);
    }
  }
}

/** Resolves when the socket took everything, or died (the idle timeout destroys one that never reads). */
async function drained(socket: Socket): Promise<void> {
  const done = new AbortController();
  const options = { signal: done.signal };
  try {
    await Promise.race([once(socket, 'drain', options), once(socket, 'close', options)]);
  } finally {
    done.abort();
  }
}

interface Request {
  version: unknown;
  id: number;
  method: string;
  params: object;
}

function parseRequest(line: string): Request | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { v: version, id, method, params = {} } = value as Record<string, unknown>;
  if (typeof id !== 'number' || !Number.isSafeInteger(id) || typeof method !== 'string') return undefined;
  if (typeof params !== 'object' || params === null) return undefined;
  return { version, id, method, params };
}

function isMethod(handlers: Handlers, method: string): method is Method {
  return Object.hasOwn(handlers, method);
}

function tooLong(): string {
  return failure(null, 'control-protocol', `A request may have ${MAXIMUM_REQUEST} bytes at most.`);
}

function failure(id: number | null, code: string, message: string, exitCode: 1 | 2 = 1): string {
  return `${JSON.stringify({ id, ok: false, error: { code, message, exitCode } })}\n`;
}
