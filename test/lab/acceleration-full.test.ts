// Rung "full": the driver takes the outer headers off, the kernel merges the inner TCP and carries known flows by
// itself, and nobody can tell. Whatever changes meanwhile, the kernel does nothing that a worker would not do.
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import type { StatusResult } from '../../src/control/protocol.js';
import {
  createLab,
  type GatewayProcess,
  type Lab,
  ping,
  startTransfer,
  tcpTransfer,
  udpEcho,
  whyNoLab,
} from '../../src/lab/index.js';
import {
  ALL_ECHOED,
  drops,
  range,
  statusOf,
  type TwinOptions,
  totals,
  twinConfig,
  twinVpcs,
} from '../helpers/lab.js';
import { sendFrames } from '../helpers/original/wire.js';
import { judgeFrames } from '../helpers/second-opinion.js';

const skip = await whyNoLab();
const MIB = 1024 * 1024;
const BPF_LINKS = fileURLToPath(new URL('../helpers/rungs/bpf_links.py', import.meta.url));

function config(vpc: 'a' | 'b', acceleration = 'full', peer: Record<string, unknown> = {}) {
  return { ...twinConfig(vpc, peer), dataplane: { acceleration } };
}

async function twins(t: Test, options: TwinOptions = {}, prepare?: (lab: Lab) => Promise<void>) {
  const lab = await createLab(twinVpcs(options));
  t.teardown(() => lab.close());
  await prepare?.(lab);
  const start = (vpc: 'a' | 'b') => lab.startGateway(vpc, { config: config(vpc) });
  const [a, b] = await Promise.all([start('a'), start('b')]);
  return { lab, a, b };
}

const encap = async (gateway: GatewayProcess) => (await statusOf(gateway)).acceleration.encap;
const decap = async (gateway: GatewayProcess) => (await statusOf(gateway)).acceleration.decap;

const carried = async (gateway: GatewayProcess) => (await totals(gateway)).carried_by_kernel ?? 0;

async function carriesMore(lab: Lab, gateway: GatewayProcess, what: string): Promise<void> {
  const before = await carried(gateway);
  await lab.waitFor(async () => (await carried(gateway)) > before + 10, { what: `flows carried ${what}` });
}

/** Segments that a host's TCP found to have overtaken others. */
async function overtaken(lab: Lab, host: string): Promise<number> {
  const text = await lab.must(host, ['nstat', '-asz', 'TcpExt*Reorder']);
  return [...text.matchAll(/^\w+\s+(\d+)/gm)].reduce((sum, [, count]) => sum + Number(count), 0);
}

/** Processors of this process and of all that it starts from now on, as a mask. */
const affinity = () => / ([0-9a-f]+)$/m.exec(taskset())?.[1] ?? '';
const lowestBit = (mask: string) => {
  const bits = BigInt(`0x${mask}`);
  return (bits & -bits).toString(16);
};
const setAffinity = (mask: string) => void taskset(mask);
const taskset = (...mask: string[]) =>
  execFileSync('taskset', ['-ap', ...mask, `${process.pid}`], { encoding: 'utf8' });

const detach = (lab: Lab, gateway: GatewayProcess, type: 'xdp' | 'tcx') =>
  lab.must(gateway.name, ['python3', BPF_LINKS, 'detach', `${gateway.process.pid}`, type]);

t.test('TCP both ways, UDP and ping on the highest rung', { skip }, async (t) => {
  // One processor for all: veth queues by processor, and between two of them the kernel itself changes the order.
  const everywhere = affinity();
  setAffinity(lowestBit(everywhere));
  t.teardown(() => setAffinity(everywhere));
  const { lab, a, b } = await twins(t, {}, (lab) => judgeFrames(t, lab));
  for (const gateway of [a, b]) {
    const { stdout } = await gateway.client('status', '--json');
    const { acceleration } = JSON.parse(stdout) as StatusResult;
    t.match(acceleration, { encap: { rung: 'full', why: '' }, decap: { rung: 'full', why: '' } });
  }
  t.equal((await ping(lab, 'a1', lab.address('b1'), { count: 3 })).received, 3);
  for (const [from, to] of [
    ['a1', 'b1'],
    ['b2', 'a2'],
  ] as const) {
    const sent = await tcpTransfer(lab, { from, to, bytes: 64 * MIB });
    t.equal(sent.sha256, sent.received.sha256, `${from} to ${to}: equal digests`);
    t.equal(await overtaken(lab, from), 0, `${from} to ${to}: in order`);
  }
  t.match(
    await udpEcho(lab, { from: 'a2', to: 'b2', sizes: range(0, 1436).filter((size) => size % 41 === 0) }),
    ALL_ECHOED,
  );
  for (const gateway of [a, b]) {
    const { workers, peers } = JSON.parse((await gateway.client('stats', '--json')).stdout);
    const slowPath = workers.at(-1).values;
    t.ok(slowPath.rx_super_frames > 100, 'the kernel merged');
    t.ok(slowPath.tx_bytes > 60 * MIB, 'and carried nearly all');
    t.equal(slowPath.carried_by_kernel, slowPath.forwarded);
    t.ok(peers[0].values.rx_bytes > 64 * MIB, 'which counts for the peer');
    t.same(await drops(gateway), {}, 'nothing dropped');
  }
});

t.test('pings and small datagrams of known hosts wake nobody', { skip }, async (t) => {
  const { lab, a, b } = await twins(t);
  const COUNT = 20;
  const exchanges = {
    ping: () => ping(lab, 'a1', lab.address('b1'), { count: COUNT, interval: 0.02 }),
    UDP: () => udpEcho(lab, { from: 'b2', to: 'a2', sizes: range(100, 100 + COUNT - 1) }),
  };
  for (const [name, exchange] of Object.entries(exchanges)) {
    await exchange(); // seen by the workers
    const before = await Promise.all([a, b].map(carried));
    await exchange();
    const after = await Promise.all([a, b].map(carried));
    // On each gateway there and back: encap one way, decap the other. While neighbors are being published,
    // the workers have them for a moment.
    t.ok(
      after.every((count, index) => count - (before[index] ?? 0) >= 2 * COUNT - 5),
      `${name}: ${before} became ${after}`,
    );
  }
  for (const gateway of [a, b]) t.same(await drops(gateway), {}, 'nothing dropped');
});

t.test('the machine changes under a flow that the kernel carries', { skip }, async (t) => {
  const { lab, b } = await twins(t, { kind: 'lan' });
  const transfer = await startTransfer(lab, { from: 'a1', to: 'b1' });
  await carriesMore(lab, b, 'at first');

  await t.test('the local host has another MAC', async () => {
    await lab.must('b1', ['sysctl', '-qw', 'net.ipv4.conf.eth0.arp_notify=1']);
    await lab.must('b1', ['ip', 'link', 'set', 'eth0', 'address', '02:bb:00:00:00:01']);
    await transfer.moves(4 * MIB);
    await carriesMore(lab, b, 'to the new MAC');
  });

  await t.test('the far host is no longer proxied, and again', async (t) => {
    b.writeConfig(config('b', 'full', { proxied: ['10.0.0.11'] }));
    t.equal((await b.client('reload')).code, 0);
    const frozen = await carried(b);
    await lab.waitFor(async () => ((await drops(b)).drop_unlisted_source ?? 0) > 0, {
      what: 'the worker to refuse the host',
    });
    t.equal(await carried(b), frozen, 'nothing is carried after the reload');
    b.writeConfig(config('b'));
    t.equal((await b.client('reload')).code, 0);
    await transfer.moves(MIB);
    await carriesMore(lab, b, 'again');
  });

  await t.test('a forged marker from the wire', async (t) => {
    const seen = await lab.must('gw-b', ['tcpdump', '-enn', '-c', '1', '-i', 'eth2', 'ip proto 6']);
    const marker = /([0-9a-f:]{17}) > /.exec(seen)?.[1] ?? '';
    const frame = Buffer.from(`020000000009${marker.replaceAll(':', '')}0800${'45'.padEnd(92, '0')}`, 'hex');
    await sendFrames(lab, 'underlay', 'gw-b', [frame], 3);
    await lab.waitFor(async () => (await drops(b)).drop_forged_marker === 3, { what: '3 forged markers' });
    t.pass('counted, and nothing else');
  });

  await t.test('the program at the ingress is taken away', async (t) => {
    t.match(await detach(lab, b, 'tcx'), /detached/);
    await transfer.moves(4 * MIB);
    t.match(await decap(b), { rung: 'full', why: /known flows take the workers, too: .*takes frames away/ });
    t.match(await encap(b), { rung: 'segment', why: /known hosts' packets take .*takes frames away/ });
    t.ok(((await drops(b)).drop_tx_failed ?? 0) > 0, 'the frames in between are counted');
  });

  await t.test('the XDP program is taken away', async (t) => {
    t.match(await detach(lab, b, 'xdp'), /detached/);
    await transfer.moves(MIB);
    t.match(await decap(b), { rung: 'off', why: /somebody took the XDP program off eth2/ });
  });

  const { bytes, sha256, received } = await transfer.finish();
  t.same(received, { bytes, sha256 });
});

t.test('frames of 9001 bytes', { skip }, async (t) => {
  const { lab, b } = await twins(t, { nic: { mtu: 9001 }, underlay: { mtu: 9001 } });
  t.same(await decap(b), { rung: 'full', why: '' }, 'the program takes packets that lie in pieces');
  const sent = await tcpTransfer(lab, { from: 'a1', to: 'b1', bytes: 16 * MIB });
  t.equal(sent.sha256, sent.received.sha256);
  t.ok((await carried(b)) > 0);
});

t.test('another XDP program is there first', { skip }, async (t) => {
  const lab = await createLab(twinVpcs({}));
  t.teardown(() => lab.close());
  const other = lab.spawn('gw-a', ['python3', BPF_LINKS, 'block', 'eth2']);
  await other.until(({ stdout }) => stdout.includes('attached'), 'the other program');
  await t.rejects(lab.startGateway('a', { config: config('a') }), {
    message: /full does not work here: another XDP program is attached to eth2\. Take it off/,
  });
  const a = await lab.startGateway('a', { config: config('a', 'auto') });
  t.match(await decap(a), { rung: 'off', why: /another XDP program is attached to eth2/ });
  const b = await lab.startGateway('b', { config: config('b', 'auto') });
  t.same(await decap(b), { rung: 'full', why: '' });
  t.equal((await ping(lab, 'a1', lab.address('b1'), { count: 3 })).received, 3);
  const links = () => lab.must('gw-b', ['ip', '-j', '-d', 'link', 'show', 'dev', 'eth2']);
  t.match(await links(), /"xdp"/);
  t.equal(await b.stop(), 0);
  t.notMatch(await links(), /"xdp"/, 'gone with the gateway');
});
