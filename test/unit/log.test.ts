import t, { type Test } from 'tap';
import { createLogger, createRepeatFilter, logReady, setLogLevel } from '../../src/log.js';

function sink() {
  const lines: string[] = [];
  return {
    lines,
    write: (text: string) => void lines.push(text),
    json: () => lines.map((line) => JSON.parse(line) as Record<string, unknown>),
  };
}

t.test('ready is logged whatever the level, and the level stays', async (t) => {
  for (const level of ['trace', 'info', 'warn', 'error'] as const) {
    const out = sink();
    const logger = createLogger({ level, format: 'json' }, out);
    logReady(logger);
    logger.info('other');
    const messages = out.json().map(({ msg }) => msg);
    t.same(messages, level === 'trace' || level === 'info' ? ['ready', 'other'] : ['ready'], level);
    t.equal(out.json()[0]?.level, 'info');
  }
});

t.test('JSON lines carry level name, ISO time, fields, and errors with their code', async (t) => {
  const out = sink();
  const logger = createLogger({ level: 'info', format: 'auto' }, out);
  logger.warn({ peer: 'vpc-b', err: Object.assign(new Error('no'), { code: 'EX' }) }, 'lost');
  const [line] = out.json();
  t.match(line, { level: 'warn', peer: 'vpc-b', msg: 'lost', err: { message: 'no', code: 'EX' } });
  t.match(line?.time, /^\d{4}-\d\d-\d\dT/);
  t.equal(line?.pid, undefined);
});

t.test('pretty lines for people', async (t) => {
  const out = sink();
  const logger = createLogger({ level: 'error', format: 'pretty' }, out);
  logReady(logger);
  logger.warn('not shown');
  t.equal(out.lines.length, 1);
  t.match(out.lines[0], /^\[\d\d:\d\d:\d\d\.\d{3}\] INFO: ready\n$/);
});

t.test('the level changes for children, too', async (t) => {
  const out = sink();
  const logger = createLogger({ level: 'error', format: 'json' }, out);
  const child = logger.child({ part: 'neighbor' });
  const grandchild = child.child({ scope: 'overlay' });
  grandchild.info('before');
  setLogLevel(logger, 'info');
  grandchild.info('after');
  child.debug('still hidden');
  t.same(
    out.json().map(({ msg }) => msg),
    ['after'],
  );
});

t.test('repeated events: the first at once, then a count per interval', async (t) => {
  const out = sink();
  const logger = createLogger({ level: 'info', format: 'json' }, out);
  const tick = fakeInterval(t);
  const filter = createRepeatFilter({ logger, maximum: 2 });
  filter.log('a', { peer: 'x' }, 'peer lost');
  filter.log('a', { peer: 'x' }, 'peer lost');
  filter.log('a', { peer: 'x' }, 'peer lost');
  filter.log('b', {}, 'link down');
  t.same(
    out.json().map(({ msg }) => msg),
    ['peer lost', 'link down'],
  );
  for (let i = 0; i < 5; i++) filter.log(`kind ${i}`, {}, 'too many kinds');
  tick();
  t.same(
    out
      .json()
      .slice(2)
      .map(({ msg }) => msg),
    ['peer lost (2 more in the last minute)', 'further events of other kinds (5 more in the last minute)'],
  );
  tick(); // quiet: forgotten
  filter.log('a', {}, 'peer lost');
  t.equal(out.json().at(-1)?.msg, 'peer lost');
  filter.log('a', {}, 'peer lost');
  filter.close();
  t.match(out.json().at(-1), { msg: 'peer lost (1 more in the last minute)', repeated: 1, level: 'warn' });
  filter.log('c', {}, 'a hint', 'info');
  filter.log('c', {}, 'a hint', 'info');
  filter.close();
  t.match(out.json().at(-1), { msg: 'a hint (1 more in the last minute)', level: 'info' });
});

/** Replaces setInterval; the returned function fires what was set and not cleared. */
function fakeInterval(t: Test): () => void {
  let callback: (() => void) | undefined;
  t.intercept(globalThis, 'setInterval', {
    value: (fire: () => void) => {
      callback = fire;
      return { unref: () => undefined };
    },
  });
  return () => callback?.();
}
