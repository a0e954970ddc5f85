// rtnetlink: what the kernel tells, and the watch through every stage of its life and every end of a process.
import t from 'tap';
import { LabProcess, waitFor } from '../../src/lab/command.js';
import { whyNoLab } from '../../src/lab/index.js';
import { Child, ip, makeNamespaces, script } from './child.js';

const skip = await whyNoLab();

t.test('links, addresses and routes', { skip }, async (t) => {
  const { n } = await makeNamespaces(t.teardown, 'n');
  await ip(n, [
    'link add o0 address 02:00:00:00:00:05 mtu 1400 type veth peer name o1',
    'link set o0 up',
    'address add 10.0.0.5/24 dev o0',
    'address add 10.0.0.6/24 dev o0',
    'address add 10.9.0.5/16 dev o0',
    'address add 2001:db8::5/64 dev o0 nodad',
    'route add 198.51.100.0/24 via 10.0.0.1 mtu 1300',
    'route add blackhole 203.0.113.0/24',
    'rule add from 10.9.0.5 lookup 77',
    'route add 198.51.100.0/24 via 10.9.0.1 table 77',
  ]);
  const child = await Child.start(n);
  t.teardown(() => child.kill());

  const down = await child.run(({ openNetlink }) => openNetlink().links());
  const o0 = down.find((link) => link.name === 'o0');
  t.match(o0, { mac: '02:00:00:00:00:05', mtu: 1400, up: true, running: false, type: 1, kind: 'veth' });
  t.match(
    down.find((link) => link.name === 'lo'),
    { ifindex: 1, up: true, running: true, type: 772, kind: '' },
  );
  await ip(n, ['link set o1 up']);
  await waitFor(
    async () =>
      (await child.run(({ openNetlink }) => openNetlink().links())).some((l) => l.name === 'o0' && l.running),
    { what: 'the carrier' },
  );

  const ifindex = o0?.ifindex ?? 0;
  const held = await child.run(({ openNetlink }) => openNetlink().addresses());
  t.same(
    held
      .filter((a) => a.ifindex === ifindex && !a.address.startsWith('fe80'))
      .sort((a, b) => (a.address < b.address ? -1 : 1)),
    [
      { ifindex, family: 4, address: '10.0.0.5', prefixLength: 24, secondary: false },
      { ifindex, family: 4, address: '10.0.0.6', prefixLength: 24, secondary: true },
      { ifindex, family: 4, address: '10.9.0.5', prefixLength: 16, secondary: false },
      { ifindex, family: 6, address: '2001:db8::5', prefixLength: 64, secondary: false },
    ],
  );

  const routes = await child.run(({ openNetlink }, ifindex) => {
    const netlink = openNetlink();
    const kernel = (...args: Parameters<typeof netlink.route>) => netlink.route(...args) ?? null;
    return {
      onLink: kernel('10.0.0.77'),
      gateway: kernel('198.51.100.9'),
      policy: kernel('198.51.100.9', ifindex, '10.9.0.5'),
      ipv6: kernel('2001:db8::77'),
      local: kernel('10.0.0.5'),
      none: kernel('192.0.2.1'),
      blackhole: kernel('203.0.113.1'),
      assumed: kernel('192.0.2.1', ifindex),
      goneInterface: kernel('10.0.0.77', 4711),
      strangeSource: kernel('10.0.0.77', ifindex, '192.0.2.7'),
      broadcast: kernel('10.0.0.255'),
    };
  }, ifindex);
  t.same(routes, {
    onLink: { ifindex, source: '10.0.0.5' },
    gateway: { ifindex, gateway: '10.0.0.1', source: '10.0.0.5', mtu: 1300 },
    policy: { ifindex, gateway: '10.9.0.1' },
    ipv6: { ifindex, source: '2001:db8::5' },
    local: { ifindex: 1, source: '10.0.0.5' },
    none: null,
    blackhole: null,
    assumed: { ifindex, source: '10.0.0.5' },
    goneInterface: null,
    strangeSource: null,
    broadcast: null,
  });

  await t.rejects(
    child.run(({ openNetlink }) => openNetlink().route('nowhere')),
    { message: /is not an IP address/ },
  );
  await t.rejects(
    child.run(({ loadAddon }) => new (loadAddon().Netlink)().route(new Uint8Array(5))),
    { message: /4 or 16 bytes/ },
  );

  // More than one datagram's worth, while it changes under the dump.
  const many = Array.from({ length: 3000 }, (_, i) => `10.20.${i >> 8}.${i & 255}`);
  await ip(
    n,
    many.map((address) => `address add ${address}/32 dev o0`),
  );
  const churn = new LabProcess(n, ['sh', '-c', CHURN]);
  t.teardown(() => churn.kill());
  const counts = await child.run(({ openNetlink }) => {
    const netlink = openNetlink();
    return Array.from({ length: 10 }, () => {
      const seen = netlink.addresses().filter((held) => held.address.startsWith('10.20.'));
      return [seen.length, new Set(seen.map((held) => held.address)).size];
    });
  });
  t.same(
    counts,
    counts.map(() => [3000, 3000]),
    'whole and without repetition',
  );
});

/** Changes without end: an address comes and goes on the loopback interface. */
const CHURN = `while ip address add 192.0.2.200/32 dev lo && ip address del 192.0.2.200/32 dev lo; do sleep 0.002; done`;

t.test('watch', { skip }, async (t) => {
  const { n } = await makeNamespaces(t.teardown, 'n');
  const child = await Child.start(n);
  t.teardown(() => child.kill());

  await child.run(({ loadAddon, held }) => {
    held.netlink = new (loadAddon().Netlink)();
    held.changes = 0;
    held.netlink.watch(() => {
      held.changes = (held.changes ?? 0) + 1;
    });
  });
  const changes = () => child.run(({ held }) => held.changes ?? 0);
  for (const change of [
    'link add o0 type veth peer name o1',
    'link set o0 up',
    'address add 10.0.0.5/24 dev o0',
    'address add 2001:db8::5/64 dev o0 nodad',
    'route add 198.51.100.0/24 dev o0',
    'rule add from 10.9.0.5 lookup 77',
    'link set o0 mtu 1400',
    'link del o0',
  ]) {
    // Other notifications of the change before may still come in; the kernel sends each within its command.
    const before = await changes();
    await ip(n, [change]);
    await waitFor(async () => (await changes()) > before, { what: `the notification of "${change}"` });
  }

  // A blocked JS thread: thousands of changes are one call, or two when one came in between.
  const burst = await child.run(async ({ held, spawnSync }) => {
    const before = held.changes ?? 0;
    spawnSync('sh', [
      '-c',
      'for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do ip address add 192.0.2.$i/32 dev lo; done',
    ]);
    while (held.changes === before) await new Promise(setImmediate);
    return (held.changes ?? 0) - before;
  });
  t.ok(burst >= 1 && burst < 20, `20 changes behind a busy thread came as ${burst} calls`);

  await t.rejects(
    child.run(({ held }) => held.netlink?.watch(() => undefined)),
    { code: 'BUSY' },
  );
  await t.rejects(
    child.run(({ held }) => held.netlink?.watch('no function' as never)),
    { message: /must be a function/ },
  );
  const after = await child.run(({ held }) => {
    held.netlink?.close();
    held.netlink?.close();
    return held.changes;
  });
  await ip(n, ['address add 192.0.2.99/32 dev lo']);
  t.equal(await child.run(({ held, openNetlink }) => openNetlink().links() && held.changes), after);
  await t.rejects(
    child.run(({ held }) => held.netlink?.watch(() => undefined)),
    { code: 'CLOSED' },
  );
});

t.test('every end of a process, with changes streaming in', { skip }, async (t) => {
  const { n } = await makeNamespaces(t.teardown, 'n');
  const churn = new LabProcess(n, ['sh', '-c', CHURN]);
  t.teardown(() => churn.kill());

  const watching = `
    const netlink = new addon.Netlink();
    let calls = 0;
    const called = new Promise((resolve) => netlink.watch(() => { if (++calls >= 3) resolve(); }));
    const hold = setTimeout(() => process.exit(99), 20000);`;
  const ends: Record<string, [source: string, code: number, flags?: string[]]> = {
    'the watch alone keeps nothing alive': ['new addon.Netlink().watch(() => {});', 0],
    'natural end': [`${watching} await called; clearTimeout(hold);`, 0],
    'process.exit': [`${watching} await called; process.exit(7);`, 7],
    'process.exit within the callback': [
      'setTimeout(() => {}, 20000); new addon.Netlink().watch(() => process.exit(7));',
      7,
    ],
    'close within the callback': [
      `const hold = setTimeout(() => {}, 20000);
       const netlink = new addon.Netlink(); netlink.watch(() => { netlink.close(); clearTimeout(hold); });`,
      0,
    ],
    'a callback that throws': [
      'setTimeout(() => {}, 20000); new addon.Netlink().watch(() => { throw new Error("thrown"); });',
      1,
    ],
    SIGTERM: [`${watching} await called; process.kill(process.pid, 'SIGTERM');`, -1],
    'collected without close, many times': [
      `${watching} await called; netlink.close();
       for (let i = 0; i < 200; i++) { new addon.Netlink().watch(() => {}); if (i % 20 === 0) { gc(); await new Promise(setImmediate); } }
       clearTimeout(hold);`,
      0,
      ['--expose-gc'],
    ],
    'close and watch anew': [
      'for (let i = 0; i < 200; i++) { const n = new addon.Netlink(); n.watch(() => {}); if (i % 7 === 0) await new Promise(setImmediate); n.close(); }',
      0,
    ],
    'workers terminated, ended and exited': [
      `import { Worker } from 'node:worker_threads';
       const source = (end) => 'const { parentPort } = require("node:worker_threads");' +
         'const addon = require(' + JSON.stringify(process.env.ADDON_PATH) + ');' +
         'globalThis.n = new addon.Netlink(); let c = 0; n.watch(() => { if (++c === 2) {' + end + '} });' +
         'parentPort.ref(); setTimeout(() => {}, 20000);';
       for (const end of ['parentPort.postMessage(1)', 'process.exit()', 'throw new Error("thrown")']) {
         for (let i = 0; i < 3; i++) {
           const worker = new Worker(source(end), { eval: true, execArgv: [] });
           worker.once('message', () => worker.terminate());
           worker.once('error', ({ message }) => { if (message !== 'thrown') { console.error(message); process.exit(98); } });
           await new Promise((resolve) => worker.once('exit', resolve));
         }
       }`,
      0,
    ],
  };
  for (const [name, [source, code, flags = []]] of Object.entries(ends)) {
    const end = await script(n, source, ...flags);
    t.equal(end.code, code, `${name}: ${end.stderr.slice(0, 500)}`);
  }
});
