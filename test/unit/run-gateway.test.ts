import { EventEmitter, once } from 'node:events';
import { existsSync, readFileSync, renameSync, unwatchFile, watchFile, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { runGateway } from '../../src/cli/run-gateway.js';
import type { Settings } from '../../src/config/settings.js';
import { connect } from '../../src/control/client.js';
import { SettingsError, VpcConnError } from '../../src/errors.js';
import type { Gateway, GatewayEvents } from '../../src/gateway/gateway.js';
import type { Finding } from '../../src/gateway/preflight.js';
import { createLogger } from '../../src/log.js';
import { FakeProcess } from '../helpers/cli.js';
import { STATUS, statsAfter } from '../helpers/results.js';
import { temporaryDirectory } from '../helpers/temporary-directory.js';

/** A gateway that only remembers what was asked of it. */
class FakeGateway extends EventEmitter<GatewayEvents> implements Gateway {
  readonly settings: Settings;
  readonly calls: string[] = [];
  startWith: Promise<void> = Promise.resolve();
  #abort: (error: Error) => void = () => {};

  constructor(settings: Settings) {
    super();
    this.settings = settings;
  }

  async start(): Promise<void> {
    this.calls.push('start');
    const aborted = new Promise<never>((_, reject) => {
      this.#abort = reject;
    });
    await Promise.race([this.startWith, aborted]);
  }

  async stop(): Promise<void> {
    if (!this.calls.includes('stop')) this.calls.push('stop');
    this.#abort(new VpcConnError('stopped', 'The gateway was stopped.'));
  }

  async reload(settings: Settings) {
    this.calls.push(`reload ${settings.name}`);
    return { generation: 2, changes: [] };
  }

  status = () => STATUS;
  stats = () => statsAfter(1);
  neighbors = () => [];
  flows = () => ({ flows: [], next: 0, total: 0 });
}

function settingsFor(socket: string): Settings {
  return {
    source: 'gateway.yaml',
    name: 'vpc-a',
    overlay: { interface: 'ens5', arp: 'respond' },
    underlay: { interface: 'ens6', address: '198.18.0.1' },
    peers: [],
    dataplane: { acceleration: 'auto', workers: 'auto', offloads: 'manage', spin: 50, icmpErrors: 100 },
    masquerade: { firstPort: 61_000, lastPort: 65_535, addresses: [], flows: 262_144 },
    control: { socket },
    log: { level: 'warn', format: 'json' },
  };
}

interface Changes {
  reload?: () => Settings;
  prepare?: (gateway: FakeGateway) => void;
  socket?: string;
  watchedFile?: string;
  metrics?: { host: string; port: number };
  surroundings?: () => Promise<readonly Finding[]>;
}

function start(t: Test, changes: Changes = {}) {
  const { reload, prepare, watchedFile, metrics, surroundings } = changes;
  const socket = changes.socket ?? join(temporaryDirectory(t), 'a.sock');
  const settings = { ...settingsFor(socket), ...(metrics && { metrics }) };
  const gateway = new FakeGateway(settings);
  prepare?.(gateway);
  const io = new FakeProcess();
  const logger = createLogger(settings.log, io.stderr);
  const ended = runGateway({
    settings,
    notes: ['a note'],
    io,
    logger,
    createGateway: () => gateway,
    ...(reload === undefined ? {} : { reload }),
    ...(watchedFile === undefined ? {} : { watchedFile }),
    ...(surroundings && { surroundings }),
  });
  const messages = () =>
    io.err
      .split('\n')
      .filter(Boolean)
      .map((line) => (JSON.parse(line) as { msg: string }).msg);
  const ready = () => io.until(() => messages().includes('ready'));
  return { socket, gateway, io, ended, messages, ready };
}

function clean(t: Test, { socket, io }: ReturnType<typeof start>): void {
  t.notOk(existsSync(socket), 'no socket is left');
  t.same(io.signals.eventNames(), [], 'no signal handler is left');
}

t.test('SIGTERM stops with 0; ready is logged at level warn, the note is not', async (t) => {
  const run = start(t);
  await run.ready();
  t.same(run.messages(), ['ready']);
  const client = await connect({ socket: run.socket });
  t.same(await client.status(), STATUS);
  client.close();
  run.io.signals.emit('SIGTERM', 'SIGTERM');
  t.equal(await run.ended, 0);
  t.same(run.gateway.calls, ['start', 'stop']);
  clean(t, run);
});

t.test('the control socket answers stop after the gateway stopped, then the run ends', async (t) => {
  const run = start(t);
  await run.ready();
  const client = await connect({ socket: run.socket });
  t.teardown(() => client.close());
  t.same(await client.stop(), { stopped: true });
  t.same(run.gateway.calls, ['start', 'stop']);
  t.notOk(existsSync(run.socket), 'another gateway may take the socket now');
  t.equal(await run.ended, 0);
  clean(t, run);
});

t.test('a start that fails leaves nothing behind', async (t) => {
  const failure = new SettingsError('no-interface', 'This machine has no interface ens5.');
  const run = start(t, {
    prepare: (gateway) => {
      gateway.startWith = Promise.reject(failure);
    },
  });
  await t.rejects(run.ended, failure);
  t.notMatch(run.messages(), ['ready']);
  clean(t, run);
});

t.test('a signal while it starts', async (t) => {
  const run = start(t, {
    prepare: (gateway) => {
      gateway.startWith = new Promise(() => undefined);
    },
  });
  (await connectWhenUp(run.socket)).close();
  run.io.signals.emit('SIGINT', 'SIGINT');
  t.equal(await run.ended, 0);
  t.same(run.messages(), [], 'never ready');
  clean(t, run);
});

t.test('a gateway that fails while running ends the process with its exit code', async (t) => {
  const run = start(t);
  await run.ready();
  run.gateway.emit('failed', new VpcConnError('interface-gone', 'Interface ens6 has disappeared.'));
  t.equal(await run.ended, 1);
  t.match(run.messages(), ['ready', 'Interface ens6 has disappeared.']);
  clean(t, run);
});

t.test('a living gateway on the socket refuses the second before it starts', async (t) => {
  const first = start(t);
  await first.ready();
  const second = start(t, { socket: first.socket });
  await t.rejects(second.ended, { code: 'control-in-use', exitCode: 1 });
  t.same(second.gateway.calls, []);
  first.io.signals.emit('SIGTERM', 'SIGTERM');
  t.equal(await first.ended, 0);
});

t.test('reload: by socket, by SIGHUP, of a faulty file, without a file', async (t) => {
  let file: () => Settings = () => ({ ...settingsFor(''), name: 'changed' });
  const run = start(t, { reload: () => file() });
  await run.ready();
  const client = await connect({ socket: run.socket });
  t.teardown(() => client.close());
  t.same(await client.reload(), { generation: 2, changes: [] });
  t.same(run.gateway.calls, ['start', 'reload changed']);
  file = () => {
    throw new SettingsError('settings-value', 'gateway.yaml:3:1: wrong.');
  };
  await t.rejects(client.reload(), { exitCode: 2, message: 'gateway.yaml:3:1: wrong.' });
  run.io.signals.emit('SIGHUP', 'SIGHUP');
  await run.io.until(() => run.messages().some((line) => /nothing has changed: gateway.yaml:3:1/.test(line)));
  t.same(run.gateway.calls, ['start', 'reload changed'], 'the gateway was not bothered');
  run.io.signals.emit('SIGTERM', 'SIGTERM');
  t.equal(await run.ended, 0);

  const flags = start(t);
  await flags.ready();
  const other = await connect({ socket: flags.socket });
  t.teardown(() => other.close());
  await t.rejects(other.reload(), { code: 'no-file', exitCode: 2 });
  await other.stop();
  t.equal(await flags.ended, 0);
});

t.test('a watched file is read again when it changes, however it is replaced', async (t) => {
  const directory = temporaryDirectory(t);
  const watchedFile = join(directory, 'gateway.yaml');
  writeFileSync(watchedFile, 'one');
  const reload = () => ({ ...settingsFor(''), name: readFileSync(watchedFile, 'utf8') });
  const run = start(t, { reload, watchedFile });
  const reloads = () =>
    run.gateway.calls.filter((call) => call.startsWith('reload')).map((call) => call.slice(7));
  const until = async (name: string) => {
    while (reloads().at(-1) !== name) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  await run.ready();
  writeFileSync(watchedFile, 'three');
  await until('three');
  writeFileSync(join(directory, 'draft'), 'fourteen');
  renameSync(join(directory, 'draft'), watchedFile);
  await until('fourteen');
  run.io.signals.emit('SIGTERM', 'SIGTERM');
  t.equal(await run.ended, 0);
  const before = reloads().length;
  writeFileSync(watchedFile, 'five');
  await new Promise<void>((resolve) => {
    const seen = () => {
      unwatchFile(watchedFile, seen);
      resolve();
    };
    watchFile(watchedFile, { interval: 20 }, seen);
    writeFileSync(watchedFile, 'sixteen');
  });
  t.equal(reloads().length, before, 'nobody looks any more');
});

t.test('a second signal ends at once', async (t) => {
  const run = start(t);
  await run.ready();
  run.io.signals.emit('SIGTERM', 'SIGTERM');
  run.io.signals.emit('SIGINT', 'SIGINT');
  t.same(run.io.exits, [1]);
  await run.ended;
});

t.test('systemd is notified through its own program', async (t) => {
  const directory = temporaryDirectory(t);
  const log = join(directory, 'notified');
  writeFileSync(
    join(directory, 'systemd-notify'),
    `#!/bin/sh\necho "$@" > ${log}.new && mv ${log}.new ${log}\n`,
    {
      mode: 0o755,
    },
  );
  const run = start(t);
  run.io.env.NOTIFY_SOCKET = '/run/systemd/notify';
  run.io.env.PATH = `${directory}:/usr/bin:/bin`;
  await run.ready();
  while (!existsSync(log)) await new Promise((resolve) => setTimeout(resolve, 5));
  t.equal(readFileSync(log, 'utf8'), `--ready --pid=${process.pid}\n`);
  run.io.signals.emit('SIGTERM', 'SIGTERM');
  t.equal(await run.ended, 0);
});

t.test('a missing systemd-notify is said, since systemd would end the gateway for it', async (t) => {
  const run = start(t);
  run.io.env.NOTIFY_SOCKET = '/run/systemd/notify';
  run.io.env.PATH = temporaryDirectory(t);
  await run.io.until(() => run.messages().length > 1);
  t.match(run.messages(), ['ready', /^systemd was not told .*it is missing.* Install it/]);
  run.io.signals.emit('SIGTERM', 'SIGTERM');
  t.equal(await run.ended, 0);
});

async function connectWhenUp(socket: string) {
  for (;;) {
    try {
      return await connect({ socket });
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

t.test('the log level changes while the gateway runs', async (t) => {
  const run = start(t);
  await run.ready();
  const client = await connect({ socket: run.socket });
  t.teardown(() => client.close());
  t.same(await client.logLevel(), { level: 'warn' });
  t.same(await client.logLevel('info'), { level: 'info' });
  const wrong = { level: 'loud' } as unknown as { level: 'info' };
  await t.rejects(client.call('logLevel', wrong), {
    code: 'log-level',
    exitCode: 2,
    message: /no such level/,
  });
  t.same(run.messages(), ['ready']);
  run.io.signals.emit('SIGTERM', 'SIGTERM');
  t.equal(await run.ended, 0);
  t.same(run.messages(), ['ready', 'stopping'], 'at level warn that line was not logged');
});

t.test('findings about the surroundings are logged, hints at level debug', async (t) => {
  const findings = [
    { severity: 'warning', code: 'proxy-arp', message: 'The kernel answers.', remedy: 'Switch it off.' },
    { severity: 'info', code: 'rp-filter', message: 'It is strict.', remedy: '' },
  ] as const;
  const run = start(t, { surroundings: async () => findings });
  await run.io.until(() => run.messages().length === 2);
  t.same(run.messages(), ['ready', 'The kernel answers. Switch it off.']);
  t.match(run.io.err, /"code":"proxy-arp"/);
  run.io.signals.emit('SIGTERM', 'SIGTERM');
  t.equal(await run.ended, 0);
});

/** A port that nobody listens at, and a listener for it. */
async function somePort() {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, port: (server.address() as AddressInfo).port };
}

t.test('metrics: scraped while the gateway runs, gone with it', async (t) => {
  const { server, port } = await somePort();
  server.close();
  await once(server, 'close');
  const run = start(t, { metrics: { host: '127.0.0.1', port } });
  await run.ready();
  const answer = await fetch(`http://127.0.0.1:${port}/metrics`);
  t.equal(answer.status, 200);
  t.match(await answer.text(), /^vpc_conn_received_frames_total\{direction="encap",worker="0"\} 1000$/m);
  run.io.signals.emit('SIGTERM', 'SIGTERM');
  t.equal(await run.ended, 0);
  await t.rejects(fetch(`http://127.0.0.1:${port}/metrics`));
  clean(t, run);
});

t.test('metrics: a port that is taken ends the start with 2, before the machine is touched', async (t) => {
  const { server, port } = await somePort();
  t.teardown(() => server.close());
  const run = start(t, { metrics: { host: '127.0.0.1', port } });
  const message = new RegExp(
    `^gateway\\.yaml: metrics\\.listen: another program already listens at .*:${port}\\.`,
  );
  await t.rejects(run.ended, { code: 'metrics-listen', exitCode: 2, message });
  t.same(run.gateway.calls, ['stop']);
  clean(t, run);
});
