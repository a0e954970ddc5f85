import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import type { Settings } from '../../src/config/settings.js';
import {
  type MemoryDataPlaneBehaviour,
  memoryDataPlaneFactory,
} from '../../src/dataplane/memory-data-plane.js';
import { SettingsError, VpcConnError } from '../../src/errors.js';
import { createGateway, type GatewayOptions } from '../../src/gateway/gateway.js';
import { createLogger } from '../../src/log.js';
import { createNeighbors } from '../../src/neighbor/neighbors.js';
import { buildArp, parseArp } from '../../src/net/arp.js';
import { decodeFrame, encodeFrame, type Message } from '../../src/peering/message.js';
import {
  address,
  GuardDouble,
  MachineDouble,
  OffloadsDouble,
  OVERLAY,
  peer,
  proxied,
  settings,
  UNDERLAY,
} from '../helpers/machine-double.js';
import { temporaryDirectory } from '../helpers/temporary-directory.js';

const ALL = 0xffffffffffn;

interface Expected {
  readonly code: string;
  readonly exitCode?: 1 | 2;
  readonly message?: string | RegExp;
}

interface CaseOptions extends GatewayOptions {
  readonly settings?: Settings;
  readonly dataPlane?: MemoryDataPlaneBehaviour;
}

/** A gateway on doubles, everything in reach. */
function gatewayCase(t: Test, options: CaseOptions = {}) {
  const machine = new MachineDouble();
  const guard = new GuardDouble();
  const kernel = new OffloadsDouble();
  const memory = memoryDataPlaneFactory(options.dataPlane);
  const log: { level: string; msg: string }[] = [];
  const logger = createLogger(
    { level: 'debug', format: 'json' },
    { write: (line) => void log.push(JSON.parse(line)) },
  );
  const gateway = createGateway(options.settings ?? settings(), {
    logger,
    openNetlink: () => machine,
    guardFactory: () => guard,
    kernelOffloads: kernel,
    dataPlaneFactory: memory.factory,
    capabilities: () => ALL,
    ...options,
  });
  t.teardown(() => gateway.stop());
  return {
    gateway,
    machine,
    guard,
    kernel,
    log,
    messages: () => log.map((line) => line.msg),
    get dataPlane() {
      const [made] = memory.made;
      if (!made) throw new Error('no data plane was made');
      return made;
    },
    made: memory.made,
  };
}

async function started(t: Test, options: CaseOptions = {}) {
  const built = gatewayCase(t, options);
  await built.gateway.start();
  return built;
}

/** Waits for a condition; the suite's own timeout ends a wait in vain. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await delay(2);
}

t.test('start: guard first, then table, workers, peers; stop in reverse', async (t) => {
  const built = gatewayCase(t);
  const { gateway, guard, machine } = built;
  guard.onApply = () => t.equal(built.made.length, 0, 'the guard is up before there are workers');
  await gateway.start();
  const { dataPlane } = built;
  t.equal(guard.applied.length, 1);
  t.ok(dataPlane.started);
  t.equal(dataPlane.table?.overlayAddress, '10.0.0.5');
  t.same(dataPlane.options, {
    overlay: { ifindex: 2, name: 'eth1' },
    underlay: { ifindex: 3, name: 'eth2' },
    workers: 1,
    spinMicroseconds: 50,
    kernelSegmentation: true,
    knownEncap: true,
    xdpStrip: true,
    onEvent: dataPlane.options.onEvent,
  });
  t.match(parseArp(dataPlane.sent[0]?.frame ?? new Uint8Array()), {
    operation: 'request',
    targetAddress: '198.18.0.2',
    senderAddress: '198.18.0.1',
  });

  await gateway.stop();
  t.ok(dataPlane.closed && guard.closed && machine.closed);
  await gateway.stop();
  t.throws(() => gateway.status(), { code: 'not-running' });
  await t.rejects(gateway.start(), { code: 'started-before' });
});

t.test('stop before start, and twice at once', async (t) => {
  const { gateway, made } = gatewayCase(t);
  await Promise.all([gateway.stop(), gateway.stop()]);
  await t.rejects(gateway.start(), VpcConnError);
  t.equal(made.length, 0);
});

t.test('a start that fails at any step leaves nothing behind', async (t) => {
  const boom = new Error('boom');
  const cases: Record<
    string,
    { options?: CaseOptions; break?: (c: ReturnType<typeof gatewayCase>) => void; error: Expected }
  > = {
    'no such interface': {
      break: ({ machine }) => machine.remove(3),
      error: { code: 'no-interface', exitCode: 2, message: /eth2/ },
    },
    'an address of another machine': {
      options: { settings: settings({ underlay: { interface: 'eth2', address: '198.18.0.77' } }) },
      error: { code: 'address-not-here', exitCode: 2 },
    },
    'no privileges': {
      options: { capabilities: () => 0n },
      error: { code: 'no-privileges', exitCode: 1, message: /as root/ },
    },
    'the guard refuses': {
      break: ({ guard }) => {
        guard.refuses = new VpcConnError('guard-kernel', 'Use a newer kernel.');
      },
      error: { code: 'guard-kernel', exitCode: 1 },
    },
    'no data plane': {
      options: {
        dataPlaneFactory: () => {
          throw new VpcConnError('addon-missing', 'Run: npm run build');
        },
      },
      error: { code: 'addon-missing' },
    },
    'the workers do not start': {
      options: { dataPlane: { startError: boom } },
      error: { code: 'start-failed', exitCode: 1, message: 'The gateway could not start: boom.' },
    },
    'the workers never take up the table': {
      options: { dataPlane: { acknowledges: false }, acknowledgeWithin: 20 },
      error: { code: 'workers-stuck', exitCode: 1 },
    },
    'neighbors cannot be made': {
      options: {
        neighborsFactory: () => {
          throw boom;
        },
      },
      error: { code: 'start-failed' },
    },
  };
  for (const [name, { options, break: breakIt, error }] of Object.entries(cases)) {
    await t.test(name, async (t) => {
      const built = gatewayCase(t, options);
      breakIt?.(built);
      const failed: unknown[] = [];
      built.gateway.on('failed', (reason) => failed.push(reason));
      await t.rejects(built.gateway.start(), error);
      t.ok(built.machine.closed || built.machine.watching === undefined, 'nothing is watched');
      t.ok(built.guard.closed || built.guard.applied.length === 0, 'no guard stays');
      t.ok(
        built.made.every((made) => made.closed),
        'no data plane stays',
      );
      t.same(failed, [], 'the rejection says it; no event repeats it');
      t.throws(() => built.gateway.status(), { code: 'not-running' });
    });
  }
});

t.test('a machine that does not fit is a SettingsError', async (t) => {
  const { gateway, machine } = gatewayCase(t);
  machine.remove(2);
  await t.rejects(gateway.start(), SettingsError);
});

t.test('stop and failure while the start waits for the workers', async (t) => {
  const stopped = gatewayCase(t, { dataPlane: { acknowledges: false } });
  const starting = stopped.gateway.start();
  const rejected = t.rejects(starting, { code: 'stopped' });
  await until(() => stopped.made[0]?.started === true);
  await stopped.gateway.stop();
  await rejected;
  t.ok(stopped.dataPlane.closed && stopped.guard.closed);

  const failing = gatewayCase(t, { dataPlane: { acknowledges: false } });
  const doomed = t.rejects(failing.gateway.start(), {
    code: 'worker-failed',
    message: /encap\/0.*no memory/,
  });
  await until(() => failing.made[0]?.started === true);
  failing.dataPlane.emit({ kind: 'worker-failed', worker: 'encap/0', code: 'ENOMEM', message: 'no memory' });
  await doomed;
  t.ok(failing.dataPlane.closed && failing.guard.closed);
});

t.test('status', async (t) => {
  const { gateway, dataPlane } = await started(t);
  t.match(gateway.status(), {
    name: 'vpc-a',
    pid: process.pid,
    state: 'running',
    source: 'gateway.yaml',
    generation: { published: 1, acknowledged: 1 },
    overlay: {
      interface: 'eth1',
      address: '10.0.0.5',
      mac: OVERLAY.mac,
      mtu: 1500,
      up: true,
      arp: 'respond',
    },
    underlay: { interface: 'eth2', address: '198.18.0.1', mac: UNDERLAY.mac, mtu: 1500, up: true },
    acceleration: {
      encap: { rung: 'full', why: '' },
      decap: { rung: 'full', why: '' },
    },
    offloads: [],
    guard: { state: 'up', method: 'netdev ingress' },
    notices: [],
  });
  const peerStatus = () => gateway.status().peers[0];
  t.match(peerStatus(), {
    name: 'vpc-b',
    address: '198.18.0.2',
    localAddress: '198.18.0.1',
    state: 'unresolved',
    lastSeenSeconds: null,
    nextHop: '198.18.0.2',
    nextHopMac: null,
    innerMtu: 1464,
    innerMtuWhy: 'eth2 1500',
    proxied: 1,
    unlisted: 'drop',
    resolve: 'peer',
    keepalive: true,
  });

  const frame = buildArp({
    destination: UNDERLAY.mac,
    source: '02:00:00:00:00:b0',
    operation: 'reply',
    senderMac: '02:00:00:00:00:b0',
    senderAddress: '198.18.0.2',
    targetMac: UNDERLAY.mac,
    targetAddress: '198.18.0.1',
  });
  dataPlane.emit({ kind: 'arp', scope: 'underlay', frame });
  t.match(peerStatus(), { state: 'unknown', nextHopMac: '02:00:00:00:00:b0', lastSeenSeconds: null });
  t.match(peerStatus()?.stateWhy, /first answer to a keepalive is awaited/);

  dataPlane.setPeerCounters('vpc-b', { rx_packets: 7n });
  t.match(peerStatus(), { state: 'up', lastSeenSeconds: 0, counters: { rx_packets: 7 } });

  const now = process.hrtime.bigint() / 1_000_000_000n;
  dataPlane.setPeerCounters('vpc-b', { rx_packets: 8n, last_rx_seconds: now - 30n });
  t.match(peerStatus(), { state: 'unknown', counters: { rx_packets: 8 } });
  t.ok([30, 31].includes(peerStatus()?.lastSeenSeconds ?? 0), 'the time stamp of the workers is preferred');
  t.notOk('last_rx_seconds' in (peerStatus()?.counters ?? {}), 'a moment is no amount');
  t.match(gateway.neighbors(), [{ scope: 'underlay', address: '198.18.0.2', state: 'reachable' }]);
});

t.test('keepalives: asked, answered, told and logged once', async (t) => {
  const { gateway, dataPlane, log } = await started(t);
  const reply = buildArp({
    destination: UNDERLAY.mac,
    source: '02:00:00:00:00:b0',
    operation: 'reply',
    senderMac: '02:00:00:00:00:b0',
    senderAddress: '198.18.0.2',
    targetMac: UNDERLAY.mac,
    targetAddress: '198.18.0.1',
  });
  dataPlane.emit({ kind: 'arp', scope: 'underlay', frame: reply });
  const questions = () =>
    dataPlane.sent.flatMap(({ scope, frame }) => {
      const message = decodeFrame(frame);
      return typeof scope === 'object' && message ? [{ message, frame }] : [];
    });
  const hear = (message: Message) => {
    const frame = encodeFrame(message, '02:00:00:00:0b:05');
    const receivedAt = Number(process.hrtime.bigint()) / 1e6;
    dataPlane.emit({ kind: 'keepalive', scope: { peer: 0 }, frame, length: frame.length, receivedAt });
  };
  const by = { answerer: 9, revision: 1 };
  const answered = new Set<number>();
  const answerAll = () => {
    for (const { message, frame } of questions()) {
      const { instance, sequence } = message;
      if (answered.has(sequence)) continue;
      answered.add(sequence);
      if (message.kind === 'question') {
        const received = frame.length;
        hear({ kind: 'answer', instance, sequence, ...by, acceptsNone: false, received, dwell: 0 });
      } else if (message.kind === 'refused-question') {
        hear({ kind: 'refused-answer', instance, sequence, ...by, addresses: ['10.0.0.10'] });
      } else if (message.kind === 'list-question') {
        t.same(message.hosts, [{ address: '10.0.0.20', prefixLength: 32 }]);
        hear({ kind: 'list-answer', instance, sequence, ...by, verdicts: ['gateway'] });
      }
    }
  };
  const [peerNow] = [() => gateway.status().peers[0]];
  await until(() => {
    answerAll();
    return peerNow()?.state === 'misconfigured' && log.some(({ msg }) => msg.includes('is misconfigured'));
  });
  t.match(peerNow(), {
    loss: 0,
    findings: [
      /drops what 10\.0\.0\.10 sends/,
      /cannot deliver to 10\.0\.0\.20: it is that gateway's own address/,
    ],
  });
  t.type(peerNow()?.roundTripMs, 'number');
  const told = log.filter(({ msg }) => msg.includes('drops what 10.0.0.10 sends'));
  t.equal(told.length, 1, 'logged once');

  const asked = { kind: 'list-question', instance: 5, sequence: 6 } as const;
  const hosts = ['10.0.0.20', '10.0.0.5', '10.0.0.1', '10.0.0.11', '127.0.0.1'].map((address) => ({
    address,
    prefixLength: 32,
  }));
  hear({ ...asked, hosts: [...hosts, { address: '10.0.0.0', prefixLength: 24 }] });
  const answer = questions().at(-1)?.message;
  t.match(answer, {
    kind: 'list-answer',
    verdicts: ['proxied', 'gateway', 'reserved', 'deliverable', 'reserved', 'deliverable'],
  });

  dataPlane.emit({ kind: 'unlisted', scope: { peer: 0 }, address: '10.0.0.77' });
  t.same(peerNow()?.refusedHosts, ['10.0.0.77']);
  t.match(gateway.stats().totals, { keepalive_malformed: 0, keepalive_stray_answers: 0 });
});

t.test('stats and flows', async (t) => {
  const { gateway, dataPlane } = await started(t, {
    settings: settings({ peers: [peer({ unlisted: 'masquerade' })] }),
    dataPlane: { dropReasons: [{ name: 'not_proxied', meaning: 'Not ours.', remedy: 'List it.' }] },
  });
  dataPlane.workerRows = [
    { worker: 'encap/0', values: { rx_frames: 10n, drop_not_proxied: 3n, drop_ipv6: 0n } },
    { worker: 'decap/0', values: { rx_frames: 5n, drop_not_proxied: 1n, drop_ipv6: 9n } },
  ];
  dataPlane.flowRows = [
    {
      protocol: 'tcp',
      peer: 0,
      farAddress: '10.0.0.9',
      farPort: 4000,
      address: '10.0.0.6',
      port: 61000,
      nearAddress: '10.0.0.10',
      nearPort: 5432,
      state: 'established',
      idleSeconds: 2,
    },
  ];
  const stats = gateway.stats();
  t.match(stats.totals, { rx_frames: 15, drop_not_proxied: 4, drop_ipv6: 9, arp_malformed: 0 });
  t.same(stats.drops, [
    { reason: 'ipv6', count: 9, meaning: '', remedy: '' },
    { reason: 'not_proxied', count: 4, meaning: 'Not ours.', remedy: 'List it.' },
  ]);
  t.match(stats, { bindings: 1, flows: 1 });
  t.same(gateway.flows(), {
    flows: [
      {
        protocol: 'tcp',
        peer: 'vpc-b',
        far: '10.0.0.9:4000',
        masqueradedAs: '10.0.0.6:61000',
        near: '10.0.0.10:5432',
        state: 'established',
        idleSeconds: 2,
      },
    ],
    next: 0,
    total: 1,
  });
  const wrong = { from: -1 };
  t.throws(() => gateway.flows(wrong), { code: 'flows-request' });
  t.throws(() => gateway.flows({ most: '5' as unknown as number }), { code: 'flows-request' });
});

t.test('bindings are swept once a second while somebody masquerades', async (t) => {
  const { gateway, dataPlane } = await started(t, {
    settings: settings({ peers: [peer({ unlisted: 'masquerade' })] }),
  });
  await until(() => dataPlane.sweeps > 0);
  await gateway.stop();
  const quiet = await started(t);
  quiet.gateway.stats();
  t.equal(quiet.dataPlane.sweeps, 0);
});

t.test('reload: guarded before and after, in words, without a new data plane', async (t) => {
  const built = await started(t);
  const { gateway, guard, dataPlane } = built;
  const steps: string[] = [];
  guard.onApply = (plan) =>
    steps.push(
      `guard ${plan.proxied.map((one) => one.address)} while ${dataPlane.table?.proxied.map((one) => one.address)}`,
    );
  const next = settings({
    peers: [
      peer({ proxied: [proxied('10.0.0.21')] }),
      peer({ name: 'vpc-c', address: '198.18.0.3', proxied: [] }),
    ],
  });
  t.same(await gateway.reload(next), {
    generation: dataPlane.acknowledgedGeneration(),
    changes: [
      'peer vpc-b: proxied 10.0.0.20 removed',
      'peer vpc-b: proxied 10.0.0.21 added',
      'peer vpc-c added: 198.18.0.3, proxied: none',
    ],
  });
  t.same(steps, ['guard 10.0.0.20,10.0.0.21 while 10.0.0.20', 'guard 10.0.0.21 while 10.0.0.21']);
  t.equal(built.made.length, 1);
  t.equal(gateway.settings, next);
  t.same(
    gateway.status().peers.map((one) => [one.name, one.nextHop]),
    [
      ['vpc-b', '198.18.0.2'],
      ['vpc-c', '198.18.0.3'],
    ],
    'the new peer is being resolved',
  );
  t.ok(built.messages().includes('peer vpc-c added: 198.18.0.3, proxied: none'));

  t.same((await gateway.reload(next)).changes, [], 'the same again changes nothing');
  t.equal(dataPlane.tables.length, 2);
});

t.test('a reload that is refused changes nothing', async (t) => {
  const { gateway, guard, dataPlane } = await started(t);
  const before = gateway.settings;
  const refused: [Settings, Expected][] = [
    [settings({ name: 'vpc-z' }), { code: 'restart-needed', message: /^name cannot change/ }],
    [settings({ overlay: { interface: 'eth7', arp: 'respond' } }), { code: 'restart-needed' }],
    [settings({ overlay: { ...before.overlay, address: '10.0.0.77' } }), { code: 'address-not-here' }],
    [settings({ peers: [peer({ proxied: [proxied('10.0.0.5')] })] }), { code: 'proxied-own-address' }],
  ];
  for (const [wanted, error] of refused) {
    await t.rejects(gateway.reload(wanted), { ...error, exitCode: 2 });
    await t.rejects(gateway.reload(wanted), SettingsError);
  }
  t.equal(dataPlane.tables.length, 1);
  t.equal(guard.applied.length, 1);
  t.equal(gateway.settings, before);
  t.equal(gateway.status().state, 'running');
});

t.test('a reload that fails half-way is taken back', async (t) => {
  const behaviour = { acknowledges: true };
  const { gateway, guard, dataPlane } = await started(t, { dataPlane: behaviour, acknowledgeWithin: 20 });
  const wanted = settings({ peers: [peer({ proxied: [proxied('10.0.0.21')] })] });

  behaviour.acknowledges = false;
  await t.rejects(gateway.reload(wanted), { code: 'workers-stuck', exitCode: 1 });
  behaviour.acknowledges = true;
  t.same(dataPlane.table, dataPlane.tables[0]);
  t.same(guard.applied.at(-1), guard.applied[0]);

  guard.refuses = new Error('no');
  await t.rejects(gateway.reload(wanted), { code: 'reload-failed', message: /the old ones stay: no/ });
  guard.refuses = undefined;
  t.same(dataPlane.table, dataPlane.tables[0]);
  t.equal(gateway.status().peers[0]?.proxied, 1);
  t.match(
    (await gateway.reload(wanted)).changes,
    ['peer vpc-b: proxied 10.0.0.20 removed'],
    'later it works',
  );
});

t.test('reload needs a running gateway', async (t) => {
  await t.rejects(gatewayCase(t).gateway.reload(settings()), { code: 'not-running' });
});

t.test('a link that changes is followed', async (t) => {
  const { gateway, machine, dataPlane, messages } = await started(t);
  machine.change(3, { mtu: 1400, mac: '02:00:00:00:00:99' });
  await until(() => dataPlane.tables.length === 2);
  t.match(dataPlane.table, { underlayMac: '02:00:00:00:00:99', peers: [{ innerMtu: 1364 }] });
  t.ok(messages().includes('interface eth2: MTU 1500 -> 1400'));

  machine.change(3, { running: false });
  await until(() => gateway.status().state === 'degraded');
  t.match(gateway.status(), { underlay: { up: false }, notices: [/eth2 is down.*ip link set eth2 up/] });
  t.equal(dataPlane.tables.length, 2, 'the workers are not concerned');

  machine.change(3, { running: true });
  await until(() => gateway.status().state === 'running');
  t.ok(messages().includes('interface eth2: is up again'));
});

t.test('a change of routes alone asks for the next hops again', async (t) => {
  const { gateway, machine, dataPlane, guard } = await started(t);
  machine.routes.set('198.18.0.2', { ifindex: 3, gateway: '198.18.0.254' });
  machine.watching?.();
  await until(() => gateway.status().peers[0]?.nextHop === '198.18.0.254');
  t.equal(dataPlane.tables.length, 1);
  t.equal(guard.applied.length, 1);
});

t.test('an address that goes keeps the gateway up, degraded', async (t) => {
  const { gateway, machine } = await started(t);
  const addresses = machine.addressRows;
  machine.addressRows = addresses.filter((held) => held.ifindex !== 2);
  machine.watching?.();
  await until(() => gateway.status().state === 'degraded');
  t.match(gateway.status().notices, [/10\.0\.0\.5 is no longer an address of eth1/]);
  machine.addressRows = [...addresses, address(2, '10.0.0.20/32')];
  machine.watching?.();
  await until(() => gateway.status().state === 'running');
  t.match(gateway.status().notices, [/10\.0\.0\.20, proxied for peer vpc-b, is also configured/]);
});

t.test('a default address that changes moves table and guard', async (t) => {
  const { gateway, machine, guard, dataPlane } = await started(t);
  machine.addressRows = [address(2, '10.0.0.6/24'), address(3, '198.18.0.1/24')];
  machine.watching?.();
  await until(() => dataPlane.table?.overlayAddress === '10.0.0.6');
  t.equal(guard.applied.at(-1)?.overlay.address, '10.0.0.6');
  t.equal(gateway.status().overlay.address, '10.0.0.6');
});

t.test('a guard that cannot follow degrades the gateway until it can', async (t) => {
  const { gateway, machine, guard, dataPlane } = await started(t);
  guard.refuses = new VpcConnError('guard-refused', 'nft says no.');
  machine.addressRows = [address(2, '10.0.0.6/24'), address(3, '198.18.0.1/24')];
  machine.watching?.();
  await until(() => gateway.status().state === 'degraded');
  t.match(gateway.status().notices, ['nft says no.']);
  t.equal(dataPlane.table?.overlayAddress, '10.0.0.5', 'nothing is published unguarded');
  guard.refuses = undefined;
  machine.watching?.();
  await until(() => gateway.status().state === 'running');
  t.equal(dataPlane.table?.overlayAddress, '10.0.0.6');
});

t.test('an interface that disappears ends the gateway with a plain sentence', async (t) => {
  for (const comesBack of [false, true]) {
    const { gateway, machine, guard, dataPlane } = await started(t);
    const failed = once(gateway, 'failed');
    machine.remove(2);
    if (comesBack) machine.linkRows = [...machine.linkRows, { ...OVERLAY, ifindex: 9 }];
    const [error] = await failed;
    t.match(error, { code: 'interface-gone', exitCode: 1, message: /^Interface eth1 has disappeared\./ });
    t.type(error, VpcConnError);
    t.ok(dataPlane.closed && guard.closed && machine.closed, 'everything is down when the event comes');
    await gateway.stop();
  }
});

t.test('a reload after the interface is gone is refused', async (t) => {
  const { gateway, machine } = await started(t);
  machine.linkRows = [...machine.linkRows.filter(({ ifindex }) => ifindex !== 2), { ...OVERLAY, ifindex: 9 }];
  await t.rejects(gateway.reload(settings()), { code: 'interface-gone' });
});

t.test('a worker that fails ends the gateway, once', async (t) => {
  const { gateway, dataPlane, guard } = await started(t);
  const failures: VpcConnError[] = [];
  gateway.on('failed', (error) => failures.push(error));
  const emit = (worker: string) =>
    dataPlane.emit({ kind: 'worker-failed', worker, code: 'EIO', message: 'the ring broke' });
  emit('encap/0');
  emit('decap/0');
  await until(() => failures.length > 0);
  await gateway.stop();
  t.match(failures, [{ code: 'worker-failed', message: /Worker encap\/0 failed: the ring broke \(EIO\)/ }]);
  t.equal(failures.length, 1);
  t.ok(dataPlane.closed && guard.closed);
});

t.test('a worker that lost its interface says so', async (t) => {
  const { gateway, dataPlane, machine } = await started(t);
  const failed = once(gateway, 'failed');
  machine.linkRows = machine.linkRows.filter(({ ifindex }) => ifindex !== 3);
  dataPlane.emit({ kind: 'worker-failed', worker: 'decap/0', code: 'ENXIO', message: 'no such device' });
  t.match(await failed, [{ code: 'interface-gone', message: /eth2/ }]);
});

t.test('stop: no event, no change is followed any more', async (t) => {
  const { gateway, dataPlane, machine } = await started(t);
  gateway.on('failed', () => t.fail('a stop is no failure'));
  const watching = machine.watching;
  machine.remove(2);
  await gateway.stop();
  watching?.();
  dataPlane.options.onEvent({ kind: 'worker-failed', worker: 'encap/0', code: 'EIO', message: 'late' });
  t.equal(dataPlane.tables.length, 1);
});

t.test('takes down the rest when one part will not go', async (t) => {
  const { gateway, dataPlane, guard, machine, messages } = await started(t, {
    neighborsFactory: (options) => {
      const neighbors = createNeighbors(options);
      return Object.assign(Object.create(neighbors) as typeof neighbors, {
        pin: () => {},
        macOf: () => undefined,
        close: () => {
          neighbors.close();
          throw new Error('will not');
        },
      });
    },
  });
  await gateway.stop();
  t.ok(dataPlane.closed && guard.closed && machine.closed);
  t.ok(messages().includes('a part of the gateway could not be taken down cleanly'));
});

t.test('acceleration follows the interface, and is told', async (t) => {
  const { gateway, kernel, machine, dataPlane, messages } = await started(t, {
    settings: settings({
      dataplane: { acceleration: 'segment', workers: 1, offloads: 'leave', spin: 50, icmpErrors: 100 },
    }),
  });
  t.match(gateway.status(), { state: 'running', acceleration: { encap: { rung: 'segment' } } });
  kernel.turn('tx-tcp-segmentation', true);
  machine.watching?.();
  await until(() => dataPlane.segmenting === 'user-space');
  t.match(gateway.status(), {
    state: 'degraded',
    acceleration: { encap: { rung: 'off', why: /ethtool -K eth2 tx-tcp-segmentation off/ } },
    notices: [/acceleration is segment, but encap runs without/],
  });
  kernel.turn('tx-tcp-segmentation', false);
  machine.watching?.();
  await until(() => dataPlane.segmenting === 'kernel');
  t.match(gateway.status(), { state: 'running', notices: [] });
  t.equal(messages().filter((message) => message.includes('kernel segmentation')).length, 2);

  dataPlane.segmenting = 'broken';
  await until(() => dataPlane.segmenting === 'user-space');
  t.match(gateway.status().acceleration.encap, { rung: 'off', why: /stopped taking super-frames/ });
});

t.test('workers that do not start with kernel segmentation start without', async (t) => {
  const segmentationError = new VpcConnError('workers-start', 'open(/dev/net/tun): No such device');
  const built = await started(t, { dataPlane: { segmentationError } });
  t.same(
    built.made.map(({ started, closed, options }) => [started, closed, options.kernelSegmentation]),
    [
      [false, true, true],
      [true, false, false],
    ],
  );
  t.match(built.gateway.status(), {
    state: 'running',
    acceleration: { encap: { rung: 'off', why: /does not start: open\(\/dev\/net\/tun\)/ } },
  });
  const insisting = gatewayCase(t, {
    dataPlane: { segmentationError },
    settings: settings({ dataplane: { ...settings().dataplane, acceleration: 'segment' } }),
  });
  await t.rejects(insisting.gateway.start(), segmentationError);
});

t.test('offloads are set back after the workers have ended, also when the start fails', async (t) => {
  const directory = temporaryDirectory(t);
  const control = { socket: join(directory, 'vpc-a.sock') };
  const note = join(directory, 'vpc-a.offloads.json');
  const built = gatewayCase(t, { settings: settings({ control }) });
  built.kernel.turn('tx-tcp-segmentation', true);
  await built.gateway.start();
  t.same(built.gateway.status().offloads, [
    { interface: 'eth2', feature: 'tx-tcp-segmentation', was: true, now: false },
  ]);
  t.ok(existsSync(note));
  built.kernel.onSet = () => t.ok(built.dataPlane.closed, 'first the workers end');
  await built.gateway.stop();
  t.equal(built.kernel.is('tx-tcp-segmentation'), true);
  t.notOk(existsSync(note));

  const failing = gatewayCase(t, {
    settings: settings({ control }),
    dataPlane: { acknowledges: false },
    acknowledgeWithin: 20,
  });
  failing.kernel.turn('tx-tcp-segmentation', true);
  await t.rejects(failing.gateway.start(), { code: 'workers-stuck' });
  t.equal(failing.kernel.is('tx-tcp-segmentation'), true);
  t.notOk(existsSync(note));
});
