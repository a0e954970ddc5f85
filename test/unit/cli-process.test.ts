/** What only a process of its own shows: pipes, flushing, exit codes. Needs `npm run build:ts`. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import t, { type Test } from 'tap';
import { startControlServer } from '../../src/control/server.js';
import { createLogger } from '../../src/log.js';
import { settings } from '../helpers/machine-double.js';
import { STATUS, statsAfter } from '../helpers/results.js';
import { temporaryDirectory } from '../helpers/temporary-directory.js';

const MAIN = 'dist/cli/main.js';
const ROWS = 20_000;

if (existsSync(MAIN)) {
  t.test('a long answer reaches a pipe whole', async (t) => {
    const child = run(t, 'flows', '--json', '--socket', await serve(t));
    const [out, [code]] = await Promise.all([text(child.stdout), once(child, 'exit')]);
    t.equal(code, 0);
    t.equal(JSON.parse(out).length, ROWS);
  });

  t.test('a reader that goes away is no error', async (t) => {
    const child = run(t, 'stats', '--watch', '--json', '--socket', await serve(t));
    await once(child.stdout, 'data');
    child.stdout.destroy();
    const [errors, [code]] = await Promise.all([text(child.stderr), once(child, 'exit')]);
    t.equal(errors, '');
    t.equal(code, 0);
  });

  t.test('wrong usage', async (t) => {
    const child = run(t, 'fly');
    const [errors, [code]] = await Promise.all([text(child.stderr), once(child, 'exit')]);
    t.match(errors, /^vpc-conn: unknown command "fly"/);
    t.equal(code, 2);
  });
} else {
  t.pass(`${MAIN} is not built`, { skip: true });
}

function run(t: Test, ...argv: string[]) {
  const child = spawn(process.execPath, [MAIN, ...argv], { stdio: ['ignore', 'pipe', 'pipe'] });
  t.teardown(() => child.kill('SIGKILL'));
  return child;
}

async function serve(t: Test): Promise<string> {
  const row = { protocol: 'udp', peer: 'vpc-b', far: '10.0.0.20:9', masqueradedAs: '10.0.0.5:9', near: '' };
  const server = await startControlServer({
    socket: join(temporaryDirectory(t), 'a.sock'),
    logger: createLogger({ level: 'error', format: 'json' }, { write: () => undefined }),
    handlers: {
      status: () => STATUS,
      stats: () => statsAfter(1),
      neighbors: () => [],
      settings: () => settings(),
      flows: () => ({
        flows: Array.from({ length: ROWS }, () => ({ ...row, state: 'established', idleSeconds: 1 })),
        next: 0,
        total: ROWS,
      }),
      logLevel: () => ({ level: 'info' }),
      reload: () => ({ generation: 1, changes: [] }),
      stop: () => ({ stopped: true }),
    },
  });
  t.teardown(() => server.close());
  return server.socket;
}
