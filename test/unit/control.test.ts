import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { createConnection, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { connect } from '../../src/control/client.js';
import type { StatusResult } from '../../src/control/protocol.js';
import { type ControlServerOptions, type Handlers, startControlServer } from '../../src/control/server.js';
import { SettingsError, VpcConnError } from '../../src/errors.js';
import { createLogger } from '../../src/log.js';
import { settings } from '../helpers/machine-double.js';
import { temporaryDirectory } from '../helpers/temporary-directory.js';

const logger = createLogger({ level: 'error', format: 'json' }, { write: () => undefined });

function handlers(changes: Partial<Handlers> = {}): Handlers {
  return {
    status: () => ({ name: 'vpc-a', pid: 4711 }) as StatusResult,
    stats: () => ({ workers: [], totals: {}, drops: [], peers: [], bindings: 0, flows: 0 }),
    neighbors: () => [],
    flows: () => ({ flows: [], next: 0, total: 0 }),
    reload: async () => ({ generation: 2, changes: ['peer vpc-b added'] }),
    logLevel: () => ({ level: 'info' }),
    settings: () => settings(),
    stop: async () => ({ stopped: true }),
    ...changes,
  };
}

async function serve(t: Test, options: Partial<ControlServerOptions> = {}) {
  const socket = options.socket ?? join(temporaryDirectory(t), 'a.sock');
  const server = await startControlServer({ socket, handlers: handlers(), logger, ...options });
  t.teardown(() => server.close());
  return server;
}

/** A client without manners: raw lines. */
async function raw(t: Test, path: string, options: { allowHalfOpen?: boolean } = {}) {
  const socket = createConnection({ path, ...options });
  t.teardown(() => socket.destroy());
  let text = '';
  socket.setEncoding('utf8');
  socket.on('data', (chunk) => {
    text += chunk;
  });
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  return {
    socket,
    lines: async (count: number): Promise<Record<string, unknown>[]> => {
      while (text.split('\n').length <= count) await once(socket, 'data');
      return text
        .split('\n')
        .slice(0, count)
        .map((line) => JSON.parse(line));
    },
  };
}

const gone = async (socket: Socket) => socket.destroyed || (await once(socket, 'close'));

t.test('calls, errors and reconnection', async (t) => {
  let failure: Error | undefined;
  const socket = join(temporaryDirectory(t), 'deep/er/a.sock');
  const changed = handlers({
    reload: () => {
      if (failure !== undefined) throw failure;
      return { generation: 3, changes: [] };
    },
  });
  const server = await startControlServer({ socket, handlers: changed, logger });
  t.equal(statSync(socket).mode & 0o777, 0o600);
  t.equal(statSync(join(socket, '..')).mode & 0o777, 0o755);
  const client = await connect({ socket });
  t.teardown(() => client.close());
  t.match(await client.status(), { name: 'vpc-a', pid: 4711 });
  t.same(await Promise.all([client.flows(), client.neighbors(), client.call('stop')]), [
    { flows: [], total: 0 },
    [],
    { stopped: true },
  ]);
  t.same(await client.reload(), { generation: 3, changes: [] });

  failure = new SettingsError('bad-peer', 'gateway.yaml:3:1 is wrong.');
  await t.rejects(client.reload(), { code: 'bad-peer', message: failure.message, exitCode: 2 });
  failure = new TypeError('x is undefined');
  await t.rejects(client.reload(), { code: 'internal', message: /x is undefined.*log/, exitCode: 1 });

  await server.close();
  t.notOk(existsSync(socket), 'the socket file is removed');
  await t.rejects(client.status(), { code: /control-lost|no-gateway/ });
  await t.rejects(client.status(), { code: 'no-gateway' });
  const again = await startControlServer({ socket, handlers: handlers(), logger });
  t.teardown(() => again.close());
  t.match(await client.status(), { name: 'vpc-a' }, 'the client reconnects');
});

t.test('the socket belongs to whom the settings say, and opens for nobody before', async (t) => {
  const directory = temporaryDirectory(t);
  const root = process.geteuid?.() === 0;
  const plain = await serve(t, { socket: join(directory, 'plain.sock') });
  t.equal(statSync(plain.socket).mode & 0o777, 0o600, 'its owner alone, unless told otherwise');
  const shared = await serve(t, { socket: join(directory, 'shared.sock'), access: { mode: 0o660 } });
  t.equal(statSync(shared.socket).mode & 0o777, 0o660);
  const client = await connect({ socket: shared.socket });
  t.teardown(() => client.close());
  t.match(await client.status(), { name: 'vpc-a' });
  t.test('by name and by number', { skip: !root && 'only root gives files away' }, async (t) => {
    const access = { mode: 0o640, owner: 'nobody', group: '4711' };
    const given = await serve(t, { socket: join(directory, 'given.sock'), access });
    const { uid, gid, mode } = statSync(given.socket);
    t.equal(uid, 65534);
    t.equal(gid, 4711);
    t.equal(mode & 0o777, 0o640);
  });
  for (const access of [{ owner: 'nobody-here' }, { group: 'nobody-here' }]) {
    const socket = join(directory, 'none.sock');
    await t.rejects(startControlServer({ socket, handlers: handlers(), logger, access }), {
      code: 'control-account',
      exitCode: 2,
      message: /has no (user|group) nobody-here in .*Add it/,
    });
    t.notOk(existsSync(socket), 'nothing is made');
  }
});

t.test('a thousand connections', async (t) => {
  const { socket } = await serve(t);
  const good = await connect({ socket });
  t.teardown(() => good.close());
  t.match(await good.status(), { name: 'vpc-a' });
  const crowd = Array.from({ length: 1000 }, () => createConnection({ path: socket }));
  t.teardown(() => {
    for (const one of crowd) one.destroy();
  });
  let open = crowd.length;
  const emptied = new Promise<void>((resolve) => {
    for (const one of crowd) {
      one.on('error', () => undefined); // the kernel's queue is full, too
      one.write('{"v":1,"id":1,'); // half a line, for ever
      one.resume();
      one.once('close', () => {
        open -= 1;
        if (open < 32) resolve();
      });
    }
  });
  t.match(await good.status(), { name: 'vpc-a' }, 'who was there before is served');
  await emptied;
  t.match(await good.neighbors(), [], 'and stays so');
  for (const one of crowd) one.destroy();
  const late = await connect({ socket });
  t.teardown(() => late.close());
  // The server sees them go one by one; until then it says that it is busy, or closes before that is read.
  let answer: StatusResult | undefined;
  let refusal: unknown;
  for (let attempt = 0; attempt < 200 && answer === undefined; attempt++) {
    try {
      answer = await late.status();
    } catch (error) {
      refusal = (error as VpcConnError).code;
      if (!['control-busy', 'control-lost'].includes(`${refusal}`)) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  t.match(answer ?? { refusal }, { name: 'vpc-a' }, 'who comes after them is served, too');
});

t.test('a living socket is refused and stays, a stale one is replaced', async (t) => {
  const socket = join(temporaryDirectory(t), 'a.sock');
  // A process that dies without removing its socket.
  const script = `require('net').createServer().listen(${JSON.stringify(socket)}, () => process.kill(process.pid, 'SIGKILL'))`;
  await once(spawn(process.execPath, ['-e', script]), 'exit');
  t.ok(existsSync(socket), 'a stale socket file was left');
  await serve(t, { socket });
  await t.rejects(startControlServer({ socket, handlers: handlers(), logger }), {
    code: 'control-in-use',
    exitCode: 1,
    message: /^Gateway vpc-a \(process 4711\) already uses .*a\.sock\. Stop it/,
  });
  const client = await connect({ socket });
  t.teardown(() => client.close());
  t.match(await client.status(), { name: 'vpc-a' }, 'the first one is undisturbed');
});

t.test('a socket of somebody who does not answer', async (t) => {
  const socket = join(temporaryDirectory(t), 'a.sock');
  const mute = createServer(() => undefined).listen(socket);
  t.teardown(() => mute.close());
  await once(mute, 'listening');
  await t.rejects(startControlServer({ socket, handlers: handlers(), logger }), {
    message: /^Another process/,
  });
});

t.test('paths that cannot be a socket', async (t) => {
  const file = join(temporaryDirectory(t), 'file');
  writeFileSync(file, '');
  const start = (socket: string) => startControlServer({ socket, handlers: handlers(), logger });
  await t.rejects(start(file), { exitCode: 2, message: /not a socket/ });
  t.ok(existsSync(file), 'the file is not touched');
  await t.rejects(start(`/${'x'.repeat(120)}`), { exitCode: 2, message: /107 bytes/ });
  await t.rejects(start(join(file, 'a.sock')), { code: 'control-socket', exitCode: 1 });
});

t.test('requests that are none', async (t) => {
  const { socket } = await serve(t);
  for (const line of ['{', '[]', 'null', '{"v":1,"id":"x","method":"status"}', '{"v":1,"id":1}']) {
    const client = await raw(t, socket);
    client.socket.write(`${line}\n`);
    t.match((await client.lines(1))[0], { id: null, ok: false, error: { code: 'control-protocol' } }, line);
  }
  const client = await raw(t, socket);
  client.socket.write('{"v":2,"id":1,"method":"status"}\n\n{"v":1,"id":2,"method":"toString"}\n');
  client.socket.write('{"v":1,"id":3,"method":"status"}\n');
  const lines = await client.lines(3);
  t.match(lines[0], { id: 1, ok: false, error: { exitCode: 2, message: /version 1/ } });
  t.match(lines[1], { id: 2, ok: false, error: { code: 'control-method' } });
  t.match(lines[2], { id: 3, ok: true });
});

t.test('a client that closes its half gets its answer', async (t) => {
  const { socket } = await serve(t);
  const client = await raw(t, socket, { allowHalfOpen: true });
  client.socket.end('{"v":1,"id":1,"method":"neighbors"}\n');
  t.same(await client.lines(1), [{ id: 1, ok: true, result: [] }]);
  await gone(client.socket);
});

t.test('endless requests and too many clients', async (t) => {
  const { socket } = await serve(t, { maximumClients: 1 });
  const endless = await raw(t, socket);
  endless.socket.write('x'.repeat(70_000));
  t.match((await endless.lines(1))[0], { id: null, error: { message: /65536 bytes/ } });
  await gone(endless.socket);
  const good = await connect({ socket });
  t.teardown(() => good.close());
  await good.status();
  const second = await connect({ socket });
  await t.rejects(second.status(), { code: /control-(busy|lost)/ });
  const third = await raw(t, socket);
  t.match((await third.lines(1))[0], { id: null, error: { code: 'control-busy' } });
  await gone(third.socket);
  t.match(await good.status(), { name: 'vpc-a' }, 'the first is not disturbed');
});

t.test('clients that never read, idle clients', async (t) => {
  const row = { protocol: 'udp', peer: 'vpc-b', far: '10.0.0.20:9', masqueradedAs: '10.0.0.5:9', near: '' };
  const rows = Array.from({ length: 20_000 }, () => ({ ...row, state: 'established', idleSeconds: 1 }));
  let calls = 0;
  const flows = () => {
    calls += 1;
    return { flows: rows, next: 0, total: rows.length };
  };
  const { socket } = await serve(t, { idleTimeout: 3000, handlers: handlers({ flows }) });
  const hog = await raw(t, socket);
  hog.socket.pause();
  hog.socket.write('{"v":1,"id":1,"method":"flows"}\n'.repeat(100));
  const idle = await raw(t, socket);
  const good = await connect({ socket });
  t.teardown(() => good.close());
  t.equal((await good.flows()).flows.length, rows.length, 'a large answer arrives whole');
  await gone(idle.socket);
  t.equal(calls, 2, 'a client that does not read is asked for no more than one answer');
  t.match(await good.status(), { name: 'vpc-a' }, 'the others are not disturbed');
});

t.test('flows come page by page, as many as were asked for', async (t) => {
  const row = { protocol: 'udp', peer: 'vpc-b', far: '', masqueradedAs: '', near: '', state: '' };
  const asked: unknown[] = [];
  const flows: Handlers['flows'] = (request) => {
    asked.push(request);
    const { from = 0, most = 0 } = request;
    // Every other page is empty: there may be nothing in a part of the table.
    const rows =
      from % 2 === 0
        ? Array.from({ length: Math.min(most, 700) }, () => ({ ...row, idleSeconds: from }))
        : [];
    return { flows: rows, next: from < 9 ? from + 1 : 0, total: 3500 };
  };
  const { socket } = await serve(t, { handlers: handlers({ flows }) });
  const client = await connect({ socket });
  t.teardown(() => client.close());
  t.equal((await client.flows()).flows.length, 1000);
  t.same(asked, [
    { from: 0, most: 1000 },
    { from: 1, most: 300 },
    { from: 2, most: 300 },
  ]);
  const all = await client.flows(1_000_000);
  t.same([all.flows.length, all.total], [3500, 3500]);
});

t.test('close answers what is under way', async (t) => {
  let finish = () => {};
  let asked = () => {};
  const underWay = new Promise<void>((resolve) => {
    asked = resolve;
  });
  const server = await serve(t, {
    handlers: handlers({
      stop: () =>
        new Promise((resolve) => {
          finish = () => resolve({ stopped: true });
          asked();
        }),
    }),
  });
  const client = await connect({ socket: server.socket });
  t.teardown(() => client.close());
  const stopped = client.stop();
  await underWay;
  const closed = server.close();
  finish();
  t.same(await stopped, { stopped: true });
  await closed;
  await server.close();
});

t.test('an answer that never comes', async (t) => {
  const socket = join(temporaryDirectory(t), 'a.sock');
  const mute = createServer(() => undefined).listen(socket);
  t.teardown(() => mute.close());
  await once(mute, 'listening');
  const client = await connect({ socket, timeout: 1000 });
  await t.rejects(client.status(), { code: 'control-timeout', message: /did not answer "status"/ });
  const waiting = client.status();
  client.close();
  await t.rejects(waiting, { code: 'control-closed' });

  const babble = createServer((peer) => peer.end('HTTP/1.1 400\n')).listen(`${socket}2`);
  t.teardown(() => babble.close());
  await once(babble, 'listening');
  const other = await connect({ socket: `${socket}2` });
  await t.rejects(other.status(), { code: 'control-protocol' });
  other.close();
});

t.test('which gateway', async (t) => {
  const directory = temporaryDirectory(t);
  writeFileSync(join(directory, 'not-a-socket.sock'), '');
  const find = (env: NodeJS.ProcessEnv = {}) =>
    connect({ directory, env }).then((client) => {
      client.close();
      return client.socket;
    });
  await t.rejects(find(), { code: 'no-gateway', exitCode: 1, message: /nothing answers/ });
  await t.rejects(connect({ directory: join(directory, 'missing'), env: {} }), { code: 'no-gateway' });
  await t.rejects(connect({ socket: join(directory, 'x.sock') }), {
    code: 'no-gateway',
    message: /--socket/,
  });
  const a = await serve(t, { socket: join(directory, 'a.sock') });
  t.equal(await find(), a.socket);
  const b = await serve(t, { socket: join(directory, 'b.sock') });
  await t.rejects(find(), { code: 'several-gateways', exitCode: 2, message: `${a.socket}, ${b.socket}` });
  t.equal(await find({ VPC_CONN_SOCKET: b.socket }), b.socket);
  const error = await find({ VPC_CONN_SOCKET: `${directory}/not-a-socket.sock` }).catch((e: unknown) => e);
  t.type(error, VpcConnError);
});
