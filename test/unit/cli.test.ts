import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type Handlers, startControlServer } from '../../src/control/server.js';
import { SettingsError, VpcConnError } from '../../src/errors.js';
import { createLogger } from '../../src/log.js';
import { VERSION } from '../../src/version.js';
import { cli, FakeProcess } from '../helpers/cli.js';
import { settings } from '../helpers/machine-double.js';
import { STATUS, statsAfter } from '../helpers/results.js';
import { temporaryDirectory } from '../helpers/temporary-directory.js';

const logger = createLogger({ level: 'error', format: 'json' }, { write: () => undefined });

async function gateway(t: Test, changes: Partial<Handlers> = {}) {
  const socket = join(temporaryDirectory(t), 'a.sock');
  let polls = 0;
  const handlers: Handlers = {
    status: () => STATUS,
    stats: () => {
      polls += 1;
      return statsAfter(polls);
    },
    neighbors: () => [],
    settings: () => settings(),
    flows: () => ({ flows: [], next: 0, total: 0 }),
    logLevel: ({ level = 'info' }) => ({ level }),
    reload: () => ({ generation: 6, changes: ['peer vpc-c added'] }),
    stop: async () => {
      setImmediate(() => server.close());
      return { stopped: true };
    },
    ...changes,
  };
  const server = await startControlServer({ socket, handlers, logger });
  t.teardown(() => server.close());
  return socket;
}

t.test('check --against-running says what a reload would do', async (t) => {
  const socket = await gateway(t, {
    settings: () => settings({ control: { socket }, dataplane: { ...settings().dataplane, workers: 3 } }),
  });
  const file = join(temporaryDirectory(t), 'gateway.yaml');
  const write = (workers: number, peer: string) =>
    writeFileSync(
      file,
      JSON.stringify({
        name: 'vpc-a',
        overlay: { interface: 'eth1' },
        underlay: { interface: 'eth2', address: '198.18.0.1' },
        peers: [{ name: peer, address: '198.18.0.2', proxied: ['10.0.0.20'] }],
        dataplane: { workers },
        control: { socket },
        log: { format: 'json' },
      }),
    );
  const found = async () => {
    const { out } = await cli('check', '-c', file, '--against-running', '--json');
    const { findings } = JSON.parse(out) as {
      findings: { code: string; severity: string; message: string }[];
    };
    return findings.filter(({ code }) => code.startsWith('re'));
  };
  write(3, 'vpc-b');
  t.match(await found(), [{ severity: 'info', code: 'reload-nothing' }]);
  write(2, 'vpc-c');
  t.match(await found(), [
    { severity: 'warning', code: 'restart-needed', message: /^dataplane\.workers is not what .* vpc-a has/ },
    { severity: 'info', code: 'reload-change', message: 'a reload changes: peer vpc-b removed' },
    { severity: 'info', code: 'reload-change', message: /peer vpc-c added/ },
  ]);
  const nobody = await cli('check', '-c', file, '--json');
  t.notMatch(nobody.out, /reload/, 'only where it was asked for');
});

t.test('version and help go to stdout and end with 0', async (t) => {
  t.same(await cli('--version'), { code: 0, out: `${VERSION}\n`, err: '' });
  t.match(JSON.parse(readFileSync('package.json', 'utf8')), { version: VERSION });
  const help = await cli('--help');
  t.match(help, { code: 0, err: '' });
  for (const command of [
    'run',
    'check',
    'status',
    'stats',
    'neighbors',
    'flows',
    'reload',
    'log-level',
    'stop',
    'demo',
  ]) {
    t.match(help.out, new RegExp(`^ {2}${command}\\b`, 'm'), command);
  }
  t.match(await cli('run', '--help'), { code: 0, err: '', out: /--outside-interface/ });
});

t.test('wrong usage ends with 2, in one plain sentence', async (t) => {
  const cases: [string[], RegExp][] = [
    [[], /nothing to run.*-c/],
    [['fly'], /unknown command "fly".*run, check/],
    [['--fly'], /unknown option '--fly'/],
    [['status', '--fly'], /unknown option '--fly'/],
    [['status', 'extra'], /too many arguments/],
    [['run', '-c'], /argument missing/],
    [['-c', 'x.yaml', '-o', 'eth1'], /'-c, --config <file>' cannot be used with .*-o/],
    [['check', '-c', 'x.yaml', '--dst_addr=198.18.0.2'], /cannot be used with .*-d/],
    [['-c', '/nowhere/x.yaml'], /nowhere/],
    [
      ['-o', 'lo', '-t', 'lo', '-d', '198.18.0.2', '-s', '198.18.0.1', '--reload-on-change'],
      /needs a file.*-c/,
    ],
  ];
  for (const [argv, expected] of cases) {
    const { code, out, err } = await cli(...argv);
    t.equal(code, 2, argv.join(' '));
    t.equal(out, '');
    t.match(err, expected);
    t.match(err, /^vpc-conn: [^\n]+\n$/, 'one line, no stack trace');
  }
});

t.test('status, stats, neighbors, flows', async (t) => {
  const socket = await gateway(t);
  t.match(await cli('status', '--socket', socket), { code: 0, err: '', out: /^Gateway vpc-a is working/ });
  t.match(await cli('stats', '--socket', socket), { code: 0, out: /not_proxied/ });
  t.match(await cli('neighbors', '--socket', socket), { code: 0, out: /No neighbors yet/ });
  t.match(await cli('flows', '--socket', socket), { code: 0, out: /No masqueraded flows/ });
  const json = await cli('status', '--json', '--socket', socket);
  t.same(JSON.parse(json.out), STATUS);
  const fake = new FakeProcess();
  fake.env.VPC_CONN_SOCKET = socket;
  t.equal(await fake.run('status'), 0, 'the socket of the environment');
});

t.test('reload and stop wait for the result', async (t) => {
  const socket = await gateway(t);
  t.match(await cli('reload', '--socket', socket), {
    code: 0,
    out: 'Reloaded (table 6):\n- peer vpc-c added\n',
  });
  t.same(await cli('stop', '--socket', socket), { code: 0, out: 'The gateway has stopped.\n', err: '' });
  t.notOk(existsSync(socket), 'the socket is gone when stop returns');
  t.match(await cli('stop', '--socket', socket), { code: 1, err: /^vpc-conn: No gateway answers at / });

  const faulty = await gateway(t, {
    reload: () => {
      throw new SettingsError('settings-value', 'a.yaml:3:1: wrong.\na.yaml:4:1: wrong, too.');
    },
    status: () => {
      throw new VpcConnError('not-running', 'Not running.');
    },
  });
  t.same(await cli('reload', '--socket', faulty), {
    code: 2,
    out: '',
    err: 'vpc-conn: a.yaml:3:1: wrong.\nvpc-conn: a.yaml:4:1: wrong, too.\n',
  });
  t.match(await cli('status', '--socket', faulty), { code: 1, err: 'vpc-conn: Not running.\n' });
  t.match(await cli('status', '--socket', faulty, '--verbose'), { code: 1, err: /\n +at / });
});

t.test('log-level', async (t) => {
  const socket = await gateway(t);
  t.match(await cli('log-level', '--socket', socket), { code: 0, out: 'Log level: info.\n' });
  t.match(await cli('log-level', 'debug', '--socket', socket), {
    code: 0,
    out: 'Log level changed to debug.\n',
  });
  const json = await cli('log-level', 'warn', '--json', '--socket', socket);
  t.same(JSON.parse(json.out), { level: 'warn' });
  t.match(await cli('log-level', 'loud', '--socket', socket), {
    code: 2,
    err: /trace, debug, info, warn, error/,
  });
});

t.test('--watch repeats until a signal', async (t) => {
  const socket = await gateway(t);
  const lines = new FakeProcess();
  const watching = lines.run('stats', '--watch', '--json', '--socket', socket);
  await lines.until(() => lines.out.split('\n').length > 2);
  lines.signals.emit('SIGINT');
  t.equal(await watching, 0);
  const [first, second] = lines.out.split('\n').map((line) => line && JSON.parse(line));
  t.same([first, second], [statsAfter(1), statsAfter(2)]);
  t.equal(lines.signals.listenerCount('SIGINT'), 0);

  const terminal = new FakeProcess({ isTTY: true });
  const drawing = terminal.run('stats', '--watch', '--socket', socket);
  await terminal.until(() => terminal.out.split('\x1b[?2026h').length > 2);
  terminal.signals.emit('SIGTERM');
  t.equal(await drawing, 0);
  t.match(terminal.out, 'LAST MINUTE', 'the live view');
  t.ok(terminal.out.endsWith('\x1b[?25h\x1b[?1049l'), 'the terminal is given back');

  const dumb = new FakeProcess({ isTTY: true });
  dumb.env.TERM = 'dumb';
  const repeating = dumb.run('stats', '--watch', '--socket', socket);
  await dumb.until(() => /RX RATE/.test(dumb.out));
  dumb.signals.emit('SIGTERM');
  t.equal(await repeating, 0);
  t.notOk(dumb.out.includes('\x1b'), 'plain text where nothing else is understood');
});

t.test('check lists every finding and ends with 2', async (t) => {
  const file = join(temporaryDirectory(t), 'gateway.yaml');
  writeFileSync(
    file,
    'overlay: { interface: ens5 }\nunderlay: { interface: ens6, address: 198.18.0.300 }\npeeers: []\n',
  );
  const text = await cli('check', '-c', file);
  t.match(text, { code: 2, err: '', out: /^error: .*gateway\.yaml:1:1: peers: this key is missing/ });
  t.match(text.out, /gateway\.yaml:3:1: peeers.*\n3 errors found\n$/);
  const json = await cli('check', '-c', file, '--json');
  t.equal(json.code, 2);
  const result = JSON.parse(json.out);
  t.equal(result.errors, result.findings.length);
  t.match(result.findings[0], { severity: 'error', code: String, message: String });
});
