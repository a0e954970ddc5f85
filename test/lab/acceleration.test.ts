// Rung "segment": the kernel cuts super-frames, and the wire shows no difference. Whatever happens to the
// interface or to the gateway meanwhile, no byte is lost and the interface is as it was afterwards.
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  createLab,
  type GatewayProcess,
  type Lab,
  startTransfer,
  tcpTransfer,
  whyNoLab,
} from '../../src/lab/index.js';
import { drops, statusOf as status, type TwinOptions, totals, twinConfig, twinVpcs } from '../helpers/lab.js';

const skip = await whyNoLab();
const MIB = 1024 * 1024;
const TSO = 'tx-tcp-segmentation';
const BOTH = [
  ['a1', 'b1'],
  ['b2', 'a2'],
] as const;

interface Case extends TwinOptions {
  dataplane?: Record<string, unknown>;
  /** Before the gateways start. */
  prepare?: (lab: Lab) => Promise<void>;
}

function config(vpc: 'a' | 'b', dataplane: Record<string, unknown> = {}) {
  return { ...twinConfig(vpc), dataplane };
}

async function twins(t: Test, { dataplane, prepare, ...options }: Case = {}) {
  const lab = await createLab(twinVpcs(options));
  t.teardown(() => lab.close());
  await prepare?.(lab);
  const start = (vpc: 'a' | 'b') => lab.startGateway(vpc, { config: config(vpc, dataplane) });
  const [a, b] = await Promise.all([start('a'), start('b')]);
  return { lab, a, b, start };
}

const encap = async (gateway: GatewayProcess) => (await status(gateway)).acceleration.encap;

async function feature(lab: Lab, node: string, name: string): Promise<boolean> {
  const text = await lab.must(node, ['ethtool', '-k', 'eth2']);
  return new RegExp(`^\\s*${name}: on`, 'm').test(text);
}

const ethtool = (lab: Lab, ...words: string[]) => lab.must('gw-a', ['ethtool', '-K', 'eth2', ...words]);
const everywhere =
  (...words: string[]) =>
  async (lab: Lab) => {
    for (const node of ['gw-a', 'gw-b']) await lab.must(node, ['ethtool', '-K', 'eth2', ...words]);
  };

const superFrames = async (gateway: GatewayProcess) => (await totals(gateway)).tx_super_frames ?? 0;

/** Records what passes eth2 of gateway a, until it is told to end. */
async function capture(lab: Lab, name: string, ...filter: string[]) {
  const file = join(lab.directory, `${name}.pcap`);
  const tcpdump = lab.spawn('gw-a', [
    ...['tcpdump', '-i', 'eth2', '-nn', '--immediate-mode', '-B', '65536', '-U', '-Z', 'root', '-w', file],
    ...filter,
  ]);
  await tcpdump.until(({ stderr }) => stderr.includes('listening on'), 'tcpdump listening');
  const finish = async () => {
    tcpdump.kill('SIGINT');
    await tcpdump.exited;
    return { file, stderr: tcpdump.stderr };
  };
  return { finish };
}

/** What tshark makes of the frames of a capture, checksums verified. */
async function dissect(lab: Lab, file: string) {
  const check = ['ip.check_checksum', 'tcp.check_checksum'].flatMap((key) => ['-o', `${key}:TRUE`]);
  const fields = ['frame.len', 'ip.checksum.status', 'tcp.checksum.status', '_ws.malformed'];
  const shown = ['-T', 'fields', ...fields.flatMap((field) => ['-e', field])];
  const argv = ['tshark', '-n', '-r', file, ...check, '-Y', 'etherip && tcp', ...shown];
  const text = await lab.must('gw-a', argv, { timeoutMs: 120_000 });
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) => {
      const [length, ip, tcp, malformed] = line.split('\t');
      return { length: Number(length), ip, tcp, malformed: Boolean(malformed) };
    });
}

const captured = (stderr: string) => Number(/(\d+) packets? captured/.exec(stderr)?.[1] ?? Number.NaN);

async function ownDevices(lab: Lab, node: string): Promise<string[]> {
  const links = JSON.parse(await lab.must(node, ['ip', '-j', 'link', 'show'])) as { ifname: string }[];
  return links.map(({ ifname }) => ifname).filter((name) => name.startsWith('vpc'));
}

const notes = (lab: Lab) => readdirSync(lab.directory).filter((name) => name.includes('.offloads.json'));

t.test('auto: 64 MiB both ways, every frame fits the wire', { skip }, async (t) => {
  const { lab, a, b } = await twins(t);
  for (const gateway of [a, b]) {
    t.match((await status(gateway)).acceleration, {
      encap: { rung: 'full', why: '' },
      decap: { rung: 'full', why: '' },
    });
  }
  // Stripped frames that the kernel merged were not on the wire like that.
  const tooLarge = await capture(lab, 'large', 'greater', '1515', 'and', 'ip', 'proto', '97');
  const bytes = 64 * MIB + 7;
  for (const [from, to] of BOTH) {
    const result = await tcpTransfer(lab, { from, to, bytes });
    t.same(result.received, { bytes, sha256: result.sha256 }, `${from} to ${to}`);
  }
  t.equal(captured((await tooLarge.finish()).stderr), 0, 'tcpdump saw no frame above 1514 bytes');
  for (const gateway of [a, b]) t.ok((await superFrames(gateway)) > 500, 'the kernel did the cutting');
  for (const node of ['gw-a', 'gw-b']) {
    const wire = await lab.counters(node, 'eth2');
    const size = wire.txBytes / wire.txPackets;
    t.ok(wire.txBytes > bytes && size <= 1514, `${node}: ${Math.round(size)} bytes in a frame`);
  }
  t.same({ ...(await drops(a)), ...(await drops(b)) }, {}, 'nothing was dropped');
  t.equal(await a.stop(), 0);
  t.same([await ownDevices(lab, 'gw-a'), notes(lab)], [[], []], 'nothing is left');
});

t.test('off: the kernel cuts nothing', { skip }, async (t) => {
  const { lab, a } = await twins(t, { dataplane: { acceleration: 'off' } });
  t.match(await encap(a), { rung: 'off', why: /dataplane\.acceleration is off/ });
  const bytes = 4 * MIB;
  const result = await tcpTransfer(lab, { from: 'a1', to: 'b1', bytes });
  t.same(result.received, { bytes, sha256: result.sha256 });
  t.same([await superFrames(a), await ownDevices(lab, 'gw-a')], [0, []]);
});

for (const checksums of ['off', 'on'] as const) {
  const name = `transmit checksums of the underlay ${checksums}: what is on the wire is right`;
  t.test(name, { skip }, async (t) => {
    const { lab, a, b } = await twins(t, { prepare: everywhere('tx', checksums) });
    const bytes = 6 * MIB + 1;
    for (const gateway of [a, b]) t.match(await encap(gateway), { rung: 'full', why: '' });
    const wire = await capture(lab, 'wire', 'ip', 'proto', '97');
    for (const [from, to] of BOTH) {
      const result = await tcpTransfer(lab, { from, to, bytes });
      t.same(result.received, { bytes, sha256: result.sha256 }, `${from} to ${to}`);
    }
    const { file } = await wire.finish();
    t.ok((await superFrames(a)) > 20, 'the kernel did the cutting');
    const frames = await dissect(lab, file);
    const full = frames.filter(({ length }) => length === 1514);
    t.ok(full.length > 4000, `${full.length} full frames`);
    t.same(
      frames.filter(({ length, malformed }) => length > 1514 || malformed),
      [],
      'none too large, none malformed',
    );
    // Of the outer and of the inner header; 1 is good, 0 is bad, 2 is not looked at.
    t.same(
      frames.filter(({ ip }) => ip !== '1,1'),
      [],
      'IPv4 checksums',
    );
    // The NIC would complete it: here the far veth does without.
    if (checksums === 'on') return;
    t.same(
      frames.filter(({ tcp }) => tcp !== '1'),
      [],
      'TCP checksums',
    );
  });
}

t.test('leave: segmentation offload switched on by hand in the middle', { skip }, async (t) => {
  const { lab, a } = await twins(t, { dataplane: { offloads: 'leave' } });
  t.match(await encap(a), { rung: 'full' });
  const transfer = await startTransfer(lab, { from: 'a1', to: 'b1' });
  await transfer.moves(2 * MIB);
  await ethtool(lab, 'tso', 'on');
  await lab.waitFor(async () => (await encap(a)).rung === 'off', { what: 'stepping down' });
  t.match(
    (await encap(a)).why,
    /eth2 has tx-tcp-segmentation on.*Run ethtool -K eth2 .*tx-tcp-segmentation off/,
  );
  t.ok(await feature(lab, 'gw-a', TSO), 'it is left');
  const before = await superFrames(a);
  await transfer.moves(2 * MIB);
  t.equal(await superFrames(a), before, 'user space cuts');
  await ethtool(lab, 'tso', 'off');
  await lab.waitFor(async () => (await encap(a)).rung === 'full', { what: 'stepping up' });
  await transfer.moves(2 * MIB);
  t.ok((await superFrames(a)) > before, 'the kernel cuts again');
  const { bytes, sha256, received } = await transfer.finish();
  t.same(received, { bytes, sha256 });
  t.match(
    a.log().filter(({ level }) => level === 'warn'),
    [{ msg: /goes on without kernel segmentation/ }],
  );
});

t.test('manage: segmentation offload switched on by hand in the middle', { skip }, async (t) => {
  const { lab, a } = await twins(t);
  const transfer = await startTransfer(lab, { from: 'a1', to: 'b1' });
  await transfer.moves(2 * MIB);
  await ethtool(lab, 'tso', 'on');
  await lab.waitFor(async () => !(await feature(lab, 'gw-a', TSO)), { what: 'it being switched off again' });
  await transfer.moves(2 * MIB);
  t.match(await status(a), {
    acceleration: { encap: { rung: 'full', why: '' } },
    offloads: [{ interface: 'eth2', was: true, now: false }],
  });
  const { bytes, sha256, received } = await transfer.finish();
  t.same(received, { bytes, sha256 });
  t.match(
    a.log().filter(({ level }) => level === 'warn'),
    [{ msg: /somebody switched .*tx-tcp-segmentation on.* on eth2; switched back/ }],
  );
  t.equal(await a.stop(), 0);
  t.ok(await feature(lab, 'gw-a', TSO), 'and at the end it is what somebody wanted');
});

t.test(
  'offloads of the underlay: managed, and as they were after SIGKILL and restart',
  { skip },
  async (t) => {
    const { lab, a, b, start } = await twins(t, { underlay: { honest: false } });
    const before = ['tx-tcp-ecn-segmentation', 'tx-tcp-mangleid-segmentation', TSO];
    const asBefore = async (node: string) => {
      for (const name of before) t.ok(await feature(lab, node, name), `${node}: ${name}`);
    };
    const changed = before.map((name) => ({ interface: 'eth2', feature: name, was: true, now: false }));
    const told = async (gateway: GatewayProcess) =>
      (await status(gateway)).offloads?.toSorted((one, other) => (one.feature < other.feature ? -1 : 1));
    t.same(await told(a), changed);
    t.match(
      (await a.client('status')).stdout,
      /eth2 tx-tcp-segmentation off while this gateway runs \(was on\)/,
    );
    t.equal(notes(lab).length, 2);
    for (const name of notes(lab)) t.equal(statSync(join(lab.directory, name)).mode & 0o777, 0o600);
    const bytes = 8 * MIB;
    const first = await tcpTransfer(lab, { from: 'a1', to: 'b1', bytes });
    t.same(first.received, { bytes, sha256: first.sha256 });
    t.ok((await superFrames(a)) > 0);
    const wire = await lab.counters('gw-a', 'eth2');
    t.ok(wire.txBytes / wire.txPackets <= 1514, 'no super-frame on the wire');

    await a.kill();
    t.same(await ownDevices(lab, 'gw-a'), [], 'no device outlives SIGKILL');
    t.notOk(await feature(lab, 'gw-a', TSO), 'a note, and nobody to act on it');
    const again = await start('a');
    t.match(await encap(again), { rung: 'full' });
    t.same(await told(again), changed);
    t.match(
      again.log().filter(({ msg }) => msg?.includes('without setting back')),
      [{ msg: /ended without setting back offloads of eth2; done now/ }],
    );
    const second = await tcpTransfer(lab, { from: 'a1', to: 'b1', bytes });
    t.same(second.received, { bytes, sha256: second.sha256 });
    t.equal(await again.stop(), 0);
    await asBefore('gw-a');
    t.equal(await b.stop(), 0);
    await asBefore('gw-b');
    t.same(notes(lab), []);
  },
);

t.test('a start with acceleration off cleans up after a crash, too', { skip }, async (t) => {
  const { lab, a } = await twins(t, { underlay: { honest: false } });
  await a.kill();
  t.notOk(await feature(lab, 'gw-a', TSO));
  const check = await lab.exec('gw-a', [
    process.execPath,
    'dist/cli/main.js',
    'check',
    '-c',
    a.configFile ?? '',
  ]);
  t.match(check.stdout, /info: A gateway ended without setting offloads back/);
  t.match(check.stdout, /info: Frames to the underlay run on rung segment/);
  t.notOk(await feature(lab, 'gw-a', TSO), 'check changes nothing');
  const off = await lab.startGateway('a', { config: config('a', { acceleration: 'off' }) });
  t.ok(await feature(lab, 'gw-a', TSO));
  t.equal((await status(off)).offloads?.length, 0);
});

t.test('two gateways on one underlay interface: the last one sets back', { skip }, async (t) => {
  const { lab, a, b } = await twins(t, { underlay: { honest: false } });
  await b.stop();
  // A second pair of addresses on the same interfaces, and nothing to carry.
  await lab.must('gw-a', ['ip', 'address', 'add', '198.18.0.11/24', 'dev', 'eth2']);
  const second = await lab.startGateway('a', {
    config: {
      ...config('a'),
      name: 'vpc-a2',
      underlay: { interface: 'eth2', address: '198.18.0.11' },
      peers: [{ name: 'other', address: '198.18.0.12', proxied: ['10.0.0.30'] }],
    },
  });
  t.match((await status(second)).offloads, [{ was: true }, { was: true }, { was: true }]);
  t.equal(await a.stop(), 0);
  t.notOk(await feature(lab, 'gw-a', TSO), 'the second one needs it');
  t.match(await encap(second), { rung: 'full' });
  t.equal(await second.stop(), 0);
  t.ok(await feature(lab, 'gw-a', TSO));
});

t.test('segment insists: exit code 2 with the remedy', { skip }, async (t) => {
  const lab = await createLab(twinVpcs({ underlay: { honest: false } }));
  t.teardown(() => lab.close());
  const refused = lab.startGateway('a', {
    config: config('a', { acceleration: 'segment', offloads: 'leave' }),
  });
  await t.rejects(refused, { message: /segment does not work here: eth2 has .*Run ethtool -K eth2/ });
  t.same([await ownDevices(lab, 'gw-a'), notes(lab)], [[], []]);
  const file = readdirSync(lab.directory).find((name) => name.endsWith('.yaml')) ?? '';
  const command = (verb: string) =>
    lab.exec('gw-a', [process.execPath, 'dist/cli/main.js', verb, '-c', join(lab.directory, file)]);
  const run = await command('run');
  t.equal(run.code, 2);
  const check = await command('check');
  t.equal(check.code, 2);
  t.match(check.stdout, /error: .*dataplane\.acceleration: segment does not work here/);
  const works = await lab.startGateway('a', { config: config('a', { acceleration: 'segment' }) });
  t.match(await encap(works), { rung: 'segment' });
});

t.test('the private tap is taken away in the middle', { skip }, async (t) => {
  const { lab, a } = await twins(t, { underlay: { honest: false } });
  const transfer = await startTransfer(lab, { from: 'a1', to: 'b1' });
  await transfer.moves(2 * MIB);
  const [tap = ''] = await ownDevices(lab, 'gw-a');
  await lab.must('gw-a', ['ip', 'link', 'set', tap, 'down']);
  await transfer.moves(2 * MIB);
  await lab.waitFor(async () => (await encap(a)).rung === 'off', { what: 'stepping down' });
  t.match(await status(a), {
    state: 'running',
    acceleration: { encap: { why: /stopped taking super-frames.*start it again/ } },
  });
  const { bytes, sha256, received } = await transfer.finish();
  t.same(received, { bytes, sha256 });
  t.equal(await a.stop(), 0);
  t.ok(await feature(lab, 'gw-a', TSO));
  t.ok(!existsSync(join(lab.directory, 'gw-a-1.offloads.json')));
});
