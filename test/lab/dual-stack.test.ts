// IPv6 between hosts beside IPv4, against the hosts' own stacks: neighbor discovery on a plain LAN, the same
// address on both sides, and two hosts that both are 2001:db8::10.
import t from 'tap';
import {
  createLab,
  type GatewayProcess,
  type Lab,
  type LabSpec,
  ping,
  tcpTransfer,
  udpEcho,
  whyNoLab,
} from '../../src/lab/index.js';
import { ALL_ECHOED, drops, range, totals } from '../helpers/lab.js';
import { judgeFrames } from '../helpers/second-opinion.js';

const skip = await whyNoLab();

const CIDR6 = '2001:db8::/64';
/** a2 and b1 are the same on both sides; a1 and b2 are twins, and each is 2001:db8::99 to the other. */
const SAME = { a2: '2001:db8::11', b1: '2001:db8::20' };
const TWIN = '2001:db8::10';
const TWIN_THERE = '2001:db8::99';

function spec(): LabSpec {
  const vpc = (name: string, hosts: readonly (readonly [number, string])[], underlay: string) => ({
    name,
    cidr: '10.0.0.0/24',
    cidr6: CIDR6,
    kind: 'lan' as const,
    hosts: hosts.map(([last, address6], index) => ({
      name: `${name}${index + 1}`,
      address: `10.0.0.${last}`,
      address6,
    })),
    gateway: {
      address: '10.0.0.5',
      address6: '2001:db8::5',
      underlayAddress: underlay,
      sysctl: { 'net.ipv6.conf.all.forwarding': '1' },
    },
  });
  const a = [[10, TWIN] as const, [11, SAME.a2] as const];
  const b = [[20, SAME.b1] as const, [21, TWIN] as const];
  return { vpcs: [vpc('a', a, '198.18.0.1'), vpc('b', b, '198.18.0.2')] };
}

function config(vpc: 'a' | 'b', peer: Record<string, unknown> = {}): Record<string, unknown> {
  const here = vpc === 'a';
  return {
    name: `vpc-${vpc}`,
    overlay: { interface: 'eth1' },
    underlay: { interface: 'eth2', address: here ? '198.18.0.1' : '198.18.0.2' },
    peers: [
      {
        name: here ? 'vpc-b' : 'vpc-a',
        address: here ? '198.18.0.2' : '198.18.0.1',
        proxied: [
          here ? '10.0.0.20' : '10.0.0.11',
          here ? SAME.b1 : SAME.a2,
          { address: TWIN_THERE, host: TWIN },
        ],
        ...peer,
      },
    ],
  };
}

const ROUTES = [
  ['a2', 'b1', SAME.b1],
  ['b1', 'a2', SAME.a2],
  ['a1', 'b2', TWIN_THERE],
  ['b2', 'a1', TWIN_THERE],
] as const;

async function neighborsOf(lab: Lab, node: string): Promise<{ dst: string; lladdr?: string }[]> {
  return JSON.parse(await lab.must(node, ['ip', '-6', '-j', 'neigh', 'show'])) as { dst: string }[];
}

/** Hosts send router solicitations and multicast reports, which concern nobody here; what is too big is told. */
async function troubles(gateway: GatewayProcess): Promise<Record<string, number>> {
  const { drop_multicast: _, drop_too_big: told, ...rest } = await drops(gateway);
  const { icmp_errors: errors = 0 } = await totals(gateway);
  return told === undefined || errors > 0 ? rest : { ...rest, drop_too_big: told };
}

t.test('IPv6 beside IPv4', { skip }, async (t) => {
  const lab = await createLab(spec());
  t.teardown(() => lab.close());
  await judgeFrames(t, lab);
  // As an operating system would that configures every address that is assigned: the guard must keep it silent.
  await lab.must('gw-a', ['ip', 'addr', 'add', `${SAME.b1}/128`, 'dev', 'eth1', 'nodad']);
  const [a, b] = await Promise.all([
    lab.startGateway('a', { config: config('a') }),
    lab.startGateway('b', { config: config('b') }),
  ]);

  await t.test('ICMPv6 in both directions', async (t) => {
    for (const [from, to, address] of ROUTES) {
      const result = await ping(lab, from, address, { count: 10 });
      t.match(result, { received: 10, duplicates: 0, errors: 0 }, `${from} to ${to}`);
    }
    const full = await ping(lab, 'a1', TWIN_THERE, { count: 3, size: 1416, dontFragment: true });
    t.match(full, { received: 3, errors: 0 }, 'a packet of the whole tunnel MTU');
    // The first is lost on each way: its sender learns of the tunnel's MTU from it (RFC 8201).
    await ping(lab, 'b2', TWIN_THERE, { count: 3, size: 4000, wait: 1 });
    const fragmented = await ping(lab, 'b2', TWIN_THERE, { count: 3, size: 4000 });
    t.match(fragmented, { received: 3, errors: 0 }, 'fragments, both ends rewritten');
    t.match(await ping(lab, 'a2', '10.0.0.20'), { received: 5 }, 'IPv4 as before');
  });

  await t.test('TCP and UDP', async (t) => {
    for (const [from, to, address] of ROUTES) {
      const sent = await tcpTransfer(lab, { from, to, address, bytes: 2_000_001 });
      t.same(sent.received, { bytes: 2_000_001, sha256: sent.sha256 }, `TCP from ${from} to ${to}`);
      const echoed = await udpEcho(lab, { from, to, address, sizes: range(1380, 1416) });
      t.match(echoed, { received: 37, ...ALL_ECHOED }, `UDP between ${from} and ${to}`);
    }
    t.ok(((await totals(a)).mss_clamped ?? 0) > 0, 'TCP was told to fit the tunnel');
  });

  await t.test('neighbor discovery', async (t) => {
    const gatewayMac = lab.mac('gw-a');
    const known = await neighborsOf(lab, 'a2');
    t.match(
      known.find(({ dst }) => dst === SAME.b1),
      { lladdr: gatewayMac },
      'a proxied address is at the gateway',
    );
    const { stdout } = await a.client('neighbors', '--json');
    const rows = JSON.parse(stdout) as { scope: string; address: string; mac: string }[];
    t.match(
      rows.find(({ scope, address }) => scope === 'overlay' && address === SAME.a2),
      { mac: lab.mac('a2') },
      'the gateway knows its hosts',
    );
    t.match(
      await ping(lab, 'a1', '2001:db8::5'),
      { received: 5 },
      "the gateway's own address is the kernel's",
    );
    await lab.must('a1', ['sysctl', '-qw', 'net.ipv6.conf.eth0.accept_dad=1']);
    await lab.must('a1', ['ip', 'addr', 'add', `${SAME.b1}/64`, 'dev', 'eth0']);
    await lab.waitFor(
      async () => (await lab.must('a1', ['ip', '-6', 'addr', 'show', 'dev', 'eth0'])).includes('dadfailed'),
      { what: 'duplicate address detection to find the proxied address taken' },
    );
  });

  await t.test('what the machines say about it', async (t) => {
    for (const gateway of [a, b]) t.same(await troubles(gateway), {}, `${gateway.name} dropped nothing`);
    const { stdout } = await a.client('status', '--json');
    t.match(JSON.parse(stdout), { state: 'running', overlay: { address6: '2001:db8::5' } });
  });

  await t.test('MACs asked for through the tunnel', async (t) => {
    await a.stop();
    const asking = await lab.startGateway('a', { config: config('a', { resolve: 'tunnel' }) });
    for (const [from, to, address] of ROUTES) {
      t.match(await ping(lab, from, address), { received: 5, errors: 0 }, `${from} to ${to}`);
    }
    const { stdout } = await asking.client('neighbors', '--json');
    const rows = JSON.parse(stdout) as { scope: string; address: string; mac: string }[];
    t.match(
      rows.find(({ scope, address }) => scope === 'peer vpc-b' && address === SAME.b1),
      { mac: lab.mac('b1') },
      'the far gateway told the MAC of its host',
    );
  });
});
