import t from 'tap';
import type { Settings } from '../../src/config/settings.js';
import { VpcConnError } from '../../src/errors.js';
import { type Finding, type PreflightProbes, preflight, surroundings } from '../../src/gateway/preflight.js';
import { effectiveCapabilities, missingCapabilities } from '../../src/gateway/privileges.js';
import {
  address,
  MachineDouble,
  OffloadsDouble,
  OVERLAY,
  peer,
  settings,
} from '../helpers/machine-double.js';

const ALL = 0xffffffffffn;

/** A machine on which nothing is to be found. */
function fitting(changes: (machine: MachineDouble) => void = () => {}) {
  const machine = new MachineDouble();
  machine.routes.set('198.18.0.2', { ifindex: 3 });
  machine.change(3, { mtu: 1536 });
  changes(machine);
  const kernel = new OffloadsDouble();
  const probes: PreflightProbes = {
    openNetlink: () => machine,
    capabilities: () => ALL,
    sysctl: () => undefined,
    probeGuard: () => 'netdev ingress',
    readText: () => undefined,
    askEni: async () => undefined,
    clockSynchronized: () => true,
    driverOf: () => undefined,
    probePeers: async () => [],
    kernelOffloads: kernel,
  };
  return { machine, kernel, probes };
}

/** With an acceleration about which there is nothing to find. */
function plain(changes: Partial<Settings> = {}) {
  return settings({ dataplane: dataplane({ acceleration: 'off' }), ...changes });
}

function dataplane(changes: Partial<Settings['dataplane']>) {
  return { ...settings().dataplane, ...changes };
}

t.test('a machine that fits', async (t) => {
  const { machine, probes } = fitting();
  t.same(await preflight(plain(), probes), []);
  t.ok(machine.closed, 'nothing stays open');
});

t.test('each finding has its remedy', async (t) => {
  const find = async (
    changes: (machine: MachineDouble) => void,
    wanted = plain(),
    probes: Partial<PreflightProbes> = {},
  ) => await preflight(wanted, { ...fitting(changes).probes, ...probes });

  const exactly = (found: readonly Finding[], expected: readonly object[]) => {
    t.equal(found.length, expected.length);
    t.match(found, expected);
  };

  exactly(await find(() => {}, plain(), { capabilities: () => 0n }), [
    { severity: 'error', code: 'no-privileges', message: /CAP_NET_ADMIN and CAP_NET_RAW/, remedy: /as root/ },
    { severity: 'info', code: 'guard-not-probed' },
  ]);
  const missing = new VpcConnError('nftables-missing', 'libnftables is missing. Install nftables.');
  const refuse = () => {
    throw missing;
  };
  exactly(await find(() => {}, plain(), { probeGuard: refuse }), [
    { severity: 'error', code: 'nftables-missing', message: missing.message },
  ]);
  exactly(await find((machine) => machine.remove(2)), [
    { severity: 'error', code: 'no-interface', key: 'overlay.interface', message: /eth1.*Use one of eth2/ },
  ]);
  exactly(await find((machine) => machine.routes.clear()), [
    {
      severity: 'warning',
      code: 'peer-no-route',
      key: 'peers[0].address',
      remedy: /ip route add 198\.18\.0\.2 via ROUTER dev eth2/,
    },
  ]);
  exactly(await find((machine) => machine.routes.set('198.18.0.2', { ifindex: 2 })), [
    { severity: 'warning', code: 'peer-route-elsewhere', message: /does not leave by eth2/ },
  ]);
  exactly(await find((machine) => machine.change(3, { mtu: 1500 })), [
    {
      severity: 'info',
      code: 'mtu-clamped',
      message: /1464 bytes \(eth2 1500\)/,
      remedy: /1536/,
    },
  ]);
  exactly(await find((machine) => machine.change(3, { mtu: 576 })), [
    { severity: 'warning', code: 'mtu-small' },
  ]);
  exactly(await find((machine) => void machine.addressRows.push(address(2, '10.0.0.20/32'))), [
    { severity: 'info', code: 'proxied-configured' },
  ]);
  exactly(await find((machine) => machine.change(2, { up: false })), [
    { severity: 'warning', code: 'interface-down' },
  ]);
  const sysctl = (values: Record<string, string>) => ({ sysctl: (path: string) => values[path] });
  exactly(await find(() => {}, plain(), sysctl({ 'net/ipv4/ip_forward': '1\n' })), [
    { severity: 'info', code: 'ip-forward' },
  ]);
  exactly(
    await find(
      () => {},
      plain({ peers: [peer({ unlisted: 'masquerade' })] }),
      sysctl({ 'net/ipv4/ip_local_port_range': '32768\t61999\n' }),
    ),
    [{ severity: 'warning', code: 'masquerade-ports-overlap' }],
  );
});

t.test('the kernel, limits and the clock', async (t) => {
  const found = async (probes: Partial<PreflightProbes>, wanted = plain(), mtu = 1536) => {
    const list = await preflight(wanted, { ...fitting((m) => m.change(3, { mtu })).probes, ...probes });
    return list.map(({ severity, code }) => `${severity} ${code}`);
  };
  const files = (values: Record<string, string>) => ({ readText: (path: string) => values[path] });
  const sysctl = (values: Record<string, string>) => ({ sysctl: (path: string) => values[path] });

  t.same(await found(sysctl({ 'net/ipv4/conf/eth1/proxy_arp': '1\n' })), ['warning proxy-arp']);
  t.same(await found(sysctl({ 'net/ipv4/conf/all/proxy_arp': '1\n' })), ['warning proxy-arp']);
  t.same(await found(sysctl({ 'net/ipv4/conf/eth2/proxy_arp': '1\n' })), [], 'nobody asks on the underlay');
  t.same(await found(sysctl({ 'net/ipv4/conf/eth2/rp_filter': '1\n' })), ['info rp-filter']);
  t.same(await found(sysctl({ 'net/ipv4/conf/eth2/rp_filter': '2\n' })), []);
  t.same(await found({ clockSynchronized: () => false }), ['info clock-unsynchronized']);
  t.same(await found({ clockSynchronized: () => undefined }), []);

  const memory = (kibibytes: number) => ({
    '/proc/meminfo': `MemFree: 1 kB\nMemAvailable:   ${kibibytes} kB\n`,
  });
  t.same(await found(files(memory(8_000_000))), []);
  t.same(await found(files(memory(100_000))), ['warning memory-short']);
  const group = {
    ...memory(8_000_000),
    '/proc/self/cgroup': '0::/system.slice/vpc-conn.service\n',
    '/sys/fs/cgroup/system.slice/vpc-conn.service/memory.max': '104857600\n',
    '/sys/fs/cgroup/system.slice/vpc-conn.service/memory.current': '20000000\n',
  };
  t.same(await found(files(group)), ['warning memory-short'], 'what the control group allows');
  const unlimited = { '/sys/fs/cgroup/system.slice/vpc-conn.service/memory.max': 'max\n' };
  t.same(await found(files({ ...group, ...unlimited })), []);
  const many = plain({
    peers: [peer({ unlisted: 'masquerade' })],
    masquerade: { ...settings().masquerade, flows: 4_194_304 },
  });
  t.same(await found(files(memory(200_000)), many), ['warning memory-short'], 'a large table of flows');
  t.same(await found(files(memory(200_000))), []);

  const limits = (files: string, locked = 'unlimited') => ({
    '/proc/self/limits': `Max open files            ${files}                 524288               files\nMax locked memory         ${locked}              ${locked}              bytes\n`,
  });
  t.same(await found(files(limits('64'))), ['warning open-files']);
  t.same(await found(files(limits('1024'))), []);

  const clock = '/sys/devices/system/clocksource/clocksource0';
  const slow = {
    [`${clock}/current_clocksource`]: 'xen\n',
    [`${clock}/available_clocksource`]: 'xen tsc hpet\n',
  };
  const list = await preflight(plain(), { ...fitting().probes, ...files(slow) });
  t.match(list, [{ severity: 'warning', code: 'clock-slow', remedy: /echo tsc > \/sys/ }]);
  t.equal(list.length, 1);
  t.same(await found(files({ [`${clock}/current_clocksource`]: 'tsc\n' })), []);

  const kernel = new OffloadsDouble();
  kernel.probed = 'bpf: Operation not permitted';
  const auto = settings();
  const few = { kernelOffloads: kernel, capabilities: () => 0x3000n };
  t.same(await found(few, auto), ['info acceleration', 'info no-bpf-privileges']);
  const locked = { kernelOffloads: kernel, ...files(limits('1024', '65536')) };
  t.same(await found(locked, auto), ['info acceleration', 'info locked-memory']);
  kernel.probed = undefined;
  t.same(await found(locked, auto), ['info acceleration'], 'what works needs no hint');
});

t.test('receive offloads, a driver with limits, a public peer', async (t) => {
  const { kernel, probes } = fitting();
  kernel.features['rx-gro'] = { active: false, changeable: true };
  kernel.features['rx-lro'] = { active: true, changeable: true };
  const list = await preflight(plain(), probes);
  t.match(list, [
    { severity: 'warning', code: 'lro-on', message: /^eth1 /, remedy: /ethtool -K eth1 lro off/ },
    { severity: 'warning', code: 'lro-on', message: /^eth2 / },
    { severity: 'info', code: 'gro-off', remedy: /ethtool -K eth1 gro on/ },
    { severity: 'info', code: 'gro-off' },
  ]);
  t.equal(list.length, 4);

  const ena = fitting((machine) => machine.change(3, { mtu: 9001 }));
  const found = await preflight(settings(), { ...ena.probes, driverOf: () => 'ena' });
  t.match(
    found.filter(({ code }) => code === 'mtu-xdp'),
    [{ message: /^eth2 has an MTU of 9001\. Its driver \(ENA\).*3502/, remedy: /mtu 3502/ }],
  );

  const abroad = fitting((machine) => machine.routes.set('8.8.4.4', { ifindex: 3 }));
  t.match(await preflight(plain({ peers: [peer({ address: '8.8.4.4' })] }), abroad.probes), [
    { severity: 'warning', code: 'tunnel-public', key: 'peers[0].address', remedy: /IPsec or WireGuard/ },
  ]);
});

t.test(
  'what is logged once a gateway runs: nothing that a start has judged, and never a rejection',
  async (t) => {
    const { machine, probes } = fitting((m) => m.change(3, { mtu: 9001 }));
    const values = { 'net/ipv4/conf/eth1/proxy_arp': '1\n' } as Record<string, string>;
    const found = await surroundings(settings(), { ...probes, sysctl: (path) => values[path] });
    t.match(found, [{ code: 'proxy-arp' }]);
    t.equal(found.length, 1);
    t.ok(machine.closed);
    machine.remove(2);
    t.same(await surroundings(settings(), probes), []);
  },
);

t.test('acceleration: which rung, what is switched, what stands in the way', async (t) => {
  const find = async (
    wanted: Partial<Settings['dataplane']>,
    change: (kernel: OffloadsDouble) => void = () => {},
  ) => {
    const { kernel, probes } = fitting();
    change(kernel);
    const before = structuredClone(kernel.features);
    const found = await preflight(settings({ dataplane: dataplane(wanted) }), probes);
    t.same(kernel.features, before, 'nothing was switched');
    return found;
  };
  const tso = (kernel: OffloadsDouble) => kernel.turn('tx-tcp-segmentation', true);
  const fixed = (kernel: OffloadsDouble) => {
    kernel.features['tx-tcp-segmentation'] = { active: true, changeable: false };
  };
  const failing = (kernel: OffloadsDouble) => {
    kernel.probed = 'bpf: Invalid argument';
  };
  const rung = {
    severity: 'info',
    code: 'acceleration',
    message: 'Frames to the underlay run on rung segment',
  };
  t.match(await find({ acceleration: 'auto' }), [rung]);
  t.match(await find({ acceleration: 'segment' }), [rung]);
  t.match(await find({ acceleration: 'auto' }, tso), [
    rung,
    {
      severity: 'info',
      code: 'offloads-switched',
      message: /eth2: tx-tcp-segmentation off;/,
      remedy: /leave/,
    },
  ]);
  t.match(await find({ acceleration: 'auto', offloads: 'leave' }, tso), [
    { severity: 'info', code: 'acceleration', message: /without.*ethtool -K eth2 tx-tcp-segmentation off/ },
  ]);
  t.match(await find({ acceleration: 'auto' }, failing), [
    { severity: 'info', code: 'acceleration', message: /without.*self-test.*bpf: Invalid argument/ },
  ]);
  for (const [change, message] of [
    [
      failing,
      /gateway\.yaml: dataplane\.acceleration: segment does not work here: .*Invalid argument\. Set .*auto\.$/,
    ],
    [fixed, /eth2 cannot switch tx-tcp-segmentation/],
  ] as const) {
    t.match(await find({ acceleration: 'segment' }, change), [
      { severity: 'error', code: 'acceleration-unavailable', key: 'dataplane.acceleration', message },
    ]);
  }
  t.match(await find({ acceleration: 'segment', offloads: 'leave' }, tso), [
    {
      severity: 'error',
      message: /Run ethtool -K eth2 tx-tcp-segmentation off, or set dataplane\.offloads: manage\.$/,
    },
  ]);
  t.same(
    (await find({ acceleration: 'full' })).filter(({ severity }) => severity === 'error'),
    [],
  );
});

t.test("a large underlay MTU and XDP; a gateway's own taps", async (t) => {
  const { probes } = fitting((machine) => machine.change(3, { mtu: 9001 }));
  t.match(
    (await preflight(settings(), probes)).filter(({ code }) => code === 'mtu-xdp'),
    [{ severity: 'info', message: /9001/, remedy: /ip link set eth2 mtu 3502/ }],
  );
  const taps = fitting((machine) => {
    machine.linkRows.push({ ...OVERLAY, ifindex: 8, name: 'vpcc0', kind: 'tun' });
    machine.remove(2);
  });
  t.match(await preflight(plain(), taps.probes), [{ code: 'no-interface', message: /Use one of eth2\./ }]);
});

t.test('errors come first', async (t) => {
  const { probes } = fitting((machine) => machine.change(2, { up: false }));
  const findings = await preflight(settings(), { ...probes, capabilities: () => 0n });
  t.same(
    findings.map((finding) => finding.severity),
    ['error', 'warning', 'info'],
  );
});

t.test('without netlink the rest is still told', async (t) => {
  const findings = await preflight(settings(), {
    ...fitting().probes,
    capabilities: () => 0n,
    openNetlink: () => {
      throw new VpcConnError('addon-missing', 'The native part is not built. Run: npm run build');
    },
  });
  t.match(
    findings.map((finding) => finding.code),
    ['no-privileges', 'addon-missing', 'guard-not-probed'],
  );
});

t.test('capabilities', async (t) => {
  t.same(missingCapabilities(0n), ['CAP_NET_ADMIN', 'CAP_NET_RAW']);
  t.same(missingCapabilities(1n << 12n), ['CAP_NET_RAW']);
  t.same(missingCapabilities(0x3000n), []);
  t.type(effectiveCapabilities(), 'bigint');
});
