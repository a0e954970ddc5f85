import { once } from 'node:events';
import { request } from 'node:http';
import { connect as connectSocket, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { SettingsError, VpcConnError } from '../../src/errors.js';
import { createLogger } from '../../src/log.js';
import { type MetricsServerOptions, startMetricsServer } from '../../src/metrics/server.js';

const ANSWER = 'vpc_conn_info 1\n';

async function serve(t: Test, changes: Partial<MetricsServerOptions> = {}) {
  const lines: string[] = [];
  const logger = createLogger(
    { level: 'info', format: 'json' },
    { write: (line: string) => void lines.push(line) },
  );
  const server = await startMetricsServer({
    listen: { host: '127.0.0.1', port: 0 },
    place: 'gateway.yaml:3:3: metrics.listen',
    metrics: { contentType: 'text/plain; version=0.0.4', render: async () => ANSWER },
    logger,
    ...changes,
  });
  t.teardown(() => server.close());
  return { server, lines };
}

async function ask(port: number, path: string, method = 'GET', body = '') {
  const asked = request({ host: '127.0.0.1', port, path, method, agent: false });
  asked.end(body);
  const [response] = await once(asked, 'response');
  let text = '';
  for await (const chunk of response) text += chunk;
  return { status: response.statusCode, type: response.headers['content-type'], text };
}

async function client(t: Test, port: number): Promise<Socket> {
  const socket = connectSocket({ host: '127.0.0.1', port });
  socket.on('error', () => {});
  t.teardown(() => socket.destroy());
  await once(socket, 'connect');
  return socket;
}

/** Asks until there is a place for one more client. */
async function answered(port: number, path: string) {
  for (;;) {
    const answer = await ask(port, path).catch(() => undefined);
    if (answer !== undefined) return answer;
  }
}

t.test('GET /metrics, and nothing else', async (t) => {
  const { server } = await serve(t);
  const { port } = server;
  t.same(await ask(port, '/metrics'), { status: 200, type: 'text/plain; version=0.0.4', text: ANSWER });
  t.match(await ask(port, '/metrics?name=x'), { status: 200, text: ANSWER });
  t.match(await ask(port, '/metrics', 'HEAD'), { status: 200, text: '' });
  t.match(await ask(port, '/'), { status: 404, text: /are at \/metrics/ });
  t.match(await ask(port, '/metrics', 'POST', 'x'.repeat(1000)), { status: 405, text: /Only GET/ });
});

t.test('a gateway that does not run yet, and one that fails', async (t) => {
  let error: Error = new VpcConnError('not-running', 'This gateway is not running. Start it first.');
  const render = async () => {
    throw error;
  };
  const { server, lines } = await serve(t, { metrics: { contentType: 'text/plain', render } });
  t.match(await ask(server.port, '/metrics'), { status: 503, text: /not running/ });
  t.same(lines, [], 'nothing to log');
  error = new Error('a fault');
  for (let i = 0; i < 3; i++) await t.rejects(ask(server.port, '/metrics'), 'the connection ends');
  t.equal(lines.length, 1, 'logged once');
  t.match(lines[0], /a scrape of the metrics failed.*|a fault/);
  await server.close();
  t.match(lines[1], /2 more in the last minute/, 'and summarised');
});

t.test('an address that cannot be had: where it is written, why, and what to do', async (t) => {
  const { server } = await serve(t);
  const refused = async (host: string, port: number, message: RegExp) => {
    const trying = startMetricsServer({
      listen: { host, port },
      place: 'gateway.yaml:3:3: metrics.listen',
      metrics: { contentType: '', render: async () => '' },
      logger: createLogger({ level: 'error', format: 'json' }, { write: () => {} }),
    });
    await t.rejects(trying, { code: 'metrics-listen', exitCode: 2, message });
    await t.rejects(trying, SettingsError);
  };
  const { port } = server;
  await refused(
    '127.0.0.1',
    port,
    new RegExp(
      `^gateway\\.yaml:3:3: metrics\\.listen: another program already listens at 127\\.0\\.0\\.1:${port}\\. Stop`,
    ),
  );
  await refused('192.0.2.77', 9797, /192\.0\.2\.77 is no address of this machine\. Write one/);
});

t.test('clients that are silent, do not read, or are too many', async (t) => {
  await t.test('no request', async (t) => {
    const { server } = await serve(t, { patience: 50 });
    const silent = await client(t, server.port);
    silent.resume();
    await once(silent, 'close');
    const half = await client(t, server.port);
    half.resume();
    half.write('GET /metrics HTTP/1.1\r\nHost: x\r\n');
    await once(half, 'close');
    t.match(await ask(server.port, '/metrics'), { status: 200 });
  });

  await t.test('an answer that is not read', async (t) => {
    const large = 'x'.repeat(32 * 1024 * 1024);
    const { server } = await serve(t, {
      patience: 100,
      maximumClients: 1,
      metrics: { contentType: 'text/plain', render: async () => large },
    });
    const slow = await client(t, server.port);
    slow.pause();
    slow.write('GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n');
    await answered(server.port, '/');
    let received = 0;
    slow.on('data', (chunk) => {
      received += chunk.length;
    });
    const closed = once(slow, 'close');
    slow.resume();
    await closed;
    t.ok(received < large.length, `cut off after ${received} bytes`);
  });

  await t.test('one too many', async (t) => {
    const { server, lines } = await serve(t, { maximumClients: 2 });
    const [first] = await Promise.all([client(t, server.port), client(t, server.port)]);
    const third = await client(t, server.port);
    third.resume();
    await once(third, 'close');
    t.match(lines[0], /2 are connected already/);
    first.destroy();
    t.match(await answered(server.port, '/metrics'), { status: 200 });
  });
});

t.test('close() ends what is under way, and twice is once', async (t) => {
  const { server } = await serve(t);
  const open = await client(t, server.port);
  open.resume();
  const gone = once(open, 'close');
  await Promise.all([server.close(), server.close(), gone]);
  await t.rejects(ask(server.port, '/metrics'), { code: 'ECONNREFUSED' });
});
