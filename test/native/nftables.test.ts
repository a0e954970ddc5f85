// libnftables in the process: transactions, and tables that live exactly as long as their owner.
import t from 'tap';
import { exec, must, waitFor } from '../../src/lab/command.js';
import { whyNoLab } from '../../src/lab/index.js';
import { Child, makeNamespaces, script, tablesIn } from './child.js';

const skip = await whyNoLab();

t.test('commands', { skip }, async (t) => {
  const { n } = await makeNamespaces(t.teardown, 'n');
  const child = await Child.start(n);
  t.teardown(() => child.kill());
  const run = (commands: string) =>
    child.run(({ loadAddon, held }, commands) => {
      held.nftables ??= new (loadAddon().Nftables)();
      return held.nftables.run(commands);
    }, commands);

  t.equal(await run('list tables'), '');
  t.equal(await run(''), '');
  await t.rejects(run('add rule here'), {
    code: 'NFTABLES_REFUSED',
    message: /^syntax error/,
    errno: undefined,
  });
  await t.rejects(run('add table ip one\nadd rule ip one nowhere accept'), {
    code: 'NFTABLES_REFUSED',
    message: /^Could not process rule: No such file or directory$/,
    errno: 2,
  });
  t.same(await tablesIn(n), [], 'a transaction is all or nothing');
  t.equal(await run('add table ip kept\nlist tables'), 'table ip kept\n');
  t.equal(await run('list tables'), 'table ip kept\n', 'output does not pile up');
  await t.rejects(
    child.run(({ held }) => held.nftables?.run(5 as never)),
    { message: /must be a string/ },
  );
  await t.rejects(
    child.run(({ held }) => {
      held.nftables?.close();
      held.nftables?.close();
      return held.nftables?.run('list tables');
    }),
    { code: 'CLOSED' },
  );
  t.same(await tablesIn(n), ['ip kept'], 'a table without an owner stays');

  await t.rejects(
    script(n, `process.setuid(65534); new addon.Nftables().run('add table ip mine');`).then(({ stderr }) => {
      throw new Error(stderr);
    }),
    { message: /Operation not permitted[\s\S]*errno: 1,/ },
  );
});

t.test('10,000 elements, and one more', { skip }, async (t) => {
  const { n } = await makeNamespaces(t.teardown, 'n');
  const child = await Child.start(n);
  t.teardown(() => child.kill());
  const milliseconds = await child.run(({ loadAddon, held }) => {
    const nftables = new (loadAddon().Nftables)();
    held.nftables = nftables;
    const timed = (commands: string) => {
      const start = performance.now();
      nftables.run(commands);
      return Math.round(performance.now() - start);
    };
    const all = Array.from({ length: 10_000 }, (_, i) => `10.1.${i >> 8}.${i & 255}`).join(', ');
    nftables.run('table netdev big { flags owner; set s { type ipv4_addr; flags interval; }; }');
    return {
      all: timed(`add element netdev big s { ${all} }`),
      one: timed('add element netdev big s { 10.2.0.0/16 }'),
      exchange: timed('delete element netdev big s { 10.1.0.1 }\nadd element netdev big s { 10.3.0.1 }'),
    };
  });
  t.comment(JSON.stringify(milliseconds));
  const has = async (address: string) =>
    (await exec(n, ['nft', 'get', 'element', 'netdev', 'big', 's', `{ ${address} }`])).code === 0;
  t.ok(await has('10.1.39.15'), 'the last of the ten thousand');
  t.ok(await has('10.2.200.1'), 'the prefix');
  t.notOk(await has('10.1.0.1'), 'the deleted one');
  t.ok((await has('10.1.0.0')) && (await has('10.1.0.2')), 'its neighbors');
  t.ok(await has('10.3.0.1'), 'the added one');
  t.ok(Math.max(...Object.values(milliseconds)) < 20_000, 'not in minutes even on a busy machine');
});

t.test('an owned table', { skip }, async (t) => {
  const { n } = await makeNamespaces(t.teardown, 'n');
  const gone = () => waitFor(async () => (await tablesIn(n)).length === 0, { what: 'the table to vanish' });
  const own = ({ loadAddon, held }: Parameters<Parameters<Child['run']>[0]>[0]) => {
    held.nftables = new (loadAddon().Nftables)();
    held.nftables.run('table netdev mine { flags owner; }');
    // More runs on one object: the socket, and the table with it, stays.
    for (let i = 0; i < 20; i += 1) held.nftables.run(`add set netdev mine s${i} { type ipv4_addr; }`);
    held.nftables.run('list ruleset');
  };

  await t.test('cannot be touched by others', async (t) => {
    const child = await Child.start(n);
    t.teardown(() => child.kill());
    await child.run(own);
    t.same(await tablesIn(n), ['netdev mine']);
    await exec(n, ['nft', 'flush', 'ruleset']);
    t.same(await tablesIn(n), ['netdev mine'], 'flush ruleset');
    t.not((await exec(n, ['nft', 'delete', 'table', 'netdev', 'mine'])).code, 0);
    t.not((await exec(n, ['nft', 'add', 'chain', 'netdev', 'mine', 'c'])).code, 0);
    // Other people's changes during our runs make the library read its cache again.
    await must(n, [
      'sh',
      '-c',
      'for i in 1 2 3 4 5 6 7 8; do nft add table ip other$i; done; nft flush ruleset',
    ]);
    await child.run(({ held }) => held.nftables?.run('add chain netdev mine c'));
    t.same(await tablesIn(n), ['netdev mine']);
  });
  await gone();

  await t.test('vanishes on close', async (t) => {
    const child = await Child.start(n);
    t.teardown(() => child.kill());
    await child.run(own);
    await child.run(({ held }) => held.nftables?.close());
    t.same(await tablesIn(n), []);
  });

  await t.test('vanishes on SIGKILL, also under a child process that lives on', async (t) => {
    const child = await Child.start(n);
    t.teardown(() => child.kill());
    await child.run(own);
    const sleeper = await child.run(({ spawn }) => {
      const detached = spawn('sleep', ['600'], { detached: true, stdio: 'ignore' });
      detached.unref();
      return detached.pid ?? 0;
    });
    t.teardown(() => process.kill(sleeper, 'SIGKILL'));
    t.same(await tablesIn(n), ['netdev mine']);
    await child.kill();
    await gone();
    t.ok(process.kill(sleeper, 0), 'the grandchild is alive');
  });

  const owning = `new addon.Nftables().run('table netdev mine { flags owner; }');`;
  const kept = `globalThis.kept = new addon.Nftables(); kept.run('table netdev mine { flags owner; }');`;
  const inWorker = (end: string) => `import { Worker } from 'node:worker_threads';
    const source = 'const { parentPort } = require("node:worker_threads"); globalThis.kept = new (require(' +
      JSON.stringify(process.env.ADDON_PATH) + ').Nftables)();' +
      'kept.run("table netdev mine { flags owner; }"); parentPort.postMessage(1); setTimeout(() => {}, 20000);';
    const worker = new Worker(source, { eval: true, execArgv: [] });
    await new Promise((resolve) => worker.once('message', resolve));
    const during = addonTables();
    ${end}
    if (!during.includes('mine')) process.exit(98);
    if (addonTables().includes('mine')) process.exit(97);
    function addonTables() { return new addon.Nftables().run('list tables'); }`;
  const ends: Record<string, [source: string, code: number, flags?: string[]]> = {
    'natural end': [kept, 0],
    'process.exit': [`${kept} process.exit(7);`, 7],
    'an uncaught error': [`${kept} throw new Error('thrown');`, 1],
    SIGTERM: [`${kept} process.kill(process.pid, 'SIGTERM'); setTimeout(() => {}, 20000);`, -1],
    'garbage collection': [
      `${owning}
       for (let i = 0; i < 100; i++) { gc(); await new Promise(setImmediate); }
       if (new addon.Nftables().run('list tables') !== '') process.exit(99);`,
      0,
      ['--expose-gc'],
    ],
    'the end of a worker thread': [inWorker('await worker.terminate();'), 0],
  };
  for (const [name, [source, code, flags = []]] of Object.entries(ends)) {
    const end = await script(n, source, ...flags);
    t.equal(end.code, code, `${name}: ${end.stderr.slice(0, 500)}`);
    await gone();
  }
});

t.test('without libnftables', { skip }, async (t) => {
  const { n } = await makeNamespaces(t.teardown, 'n');
  const listing = await must(undefined, ['sh', '-c', 'PATH=$PATH:/sbin ldconfig -p']);
  const path = /libnftables\.so\.1 .*=> (\S+)/.exec(listing)?.[1] ?? '';
  // An empty file over the library, in a mount namespace of the child's own.
  const child = await Child.start(n, [
    'unshare',
    '-m',
    'sh',
    '-c',
    `mount --bind /dev/null ${path} && exec "$0" "$@"`,
  ]);
  t.teardown(() => child.kill());
  await t.rejects(
    child.run(({ loadAddon }) => void new (loadAddon().Nftables)()),
    {
      code: 'NFTABLES_MISSING',
      message: 'libnftables is missing; install the package nftables (apt-get install nftables)',
    },
  );
  await t.rejects(
    child.run(({ createGuard }) => void createGuard()),
    { code: 'nftables-missing', message: /apt-get install nftables/ },
  );
});
