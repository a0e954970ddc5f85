// What changes on a machine under a running gateway: links, addresses, routes; and what makes it end.
import { existsSync } from 'node:fs';
import t from 'tap';
import type { StatusResult } from '../../src/control/protocol.js';
import {
  createLab,
  type GatewayProcess,
  type Lab,
  ping,
  tcpTransfer,
  whyNoLab,
} from '../../src/lab/index.js';
import { startTwins, statusOf as status, twinConfig, twinVpcs } from '../helpers/lab.js';
import { judgeFrames } from '../helpers/second-opinion.js';

const skip = await whyNoLab();

async function until(lab: Lab, gateway: GatewayProcess, what: string, is: (now: StatusResult) => boolean) {
  await lab.waitFor(async () => is(await status(gateway)), { what });
}

/** Hosts talk again: a ping that comes back, both ways. */
async function talks(lab: Lab, what: string): Promise<void> {
  for (const [from, to] of [
    ['a1', 'b1'],
    ['b1', 'a1'],
  ] as const) {
    const answered = async () => {
      const { received } = await ping(lab, from, lab.address(to), { count: 1, wait: 1 });
      return received === 1;
    };
    await lab.waitFor(answered, { what: `${from} to reach ${to} after ${what}` });
  }
}

t.test('links and addresses change', { skip }, async (t) => {
  const { lab, a, b } = await startTwins(t, { kind: 'lan' });
  await talks(lab, 'the start');

  await t.test('MTU of the underlay', async (t) => {
    await lab.must('gw-a', ['ip', 'link', 'set', 'eth2', 'mtu', '1400']);
    await until(lab, a, 'the tunnel to shrink', ({ peers }) => peers[0]?.innerMtu === 1364);
    const result = await tcpTransfer(lab, { from: 'a1', to: 'b1', bytes: 1_000_000 });
    t.same(result.received, { bytes: 1_000_000, sha256: result.sha256 }, 'TCP fits');
    await lab.must('gw-a', ['ip', 'link', 'set', 'eth2', 'mtu', '1500']);
    await until(lab, a, 'the tunnel to grow', ({ peers }) => peers[0]?.innerMtu === 1464);
  });

  for (const [device, side] of [
    ['eth1', 'overlay'],
    ['eth2', 'underlay'],
  ] as const) {
    await t.test(`${side} down and up`, async (t) => {
      await lab.must('gw-a', ['ip', 'link', 'set', device, 'down']);
      await until(lab, a, 'the link to be down', (now) => !now[side].up);
      const during = await ping(lab, 'a1', '10.0.0.20', { count: 1, wait: 1 });
      t.equal(during.received, 0, 'nothing passes');
      await lab.must('gw-a', ['ip', 'link', 'set', device, 'up']);
      await until(lab, a, 'the link to be up', (now) => now[side].up);
      await talks(lab, `${device} came up`);
    });

    await t.test(`another MAC on the ${side}`, async (t) => {
      const mac = '02:aa:00:00:00:01';
      await lab.must('gw-b', ['ip', 'link', 'set', device, 'address', mac]);
      await until(lab, b, 'the new MAC', (now) => now[side].mac === mac);
      // What the hosts remember of the old one is theirs.
      await lab.must('b1', ['ip', 'neigh', 'flush', 'all']);
      await talks(lab, `${device} had another MAC`);
      t.pass('hosts talk');
    });
  }

  await t.test('an address goes and comes back', async (t) => {
    await lab.must('gw-a', ['ip', 'address', 'del', '198.18.0.1/24', 'dev', 'eth2']);
    await until(lab, a, 'the loss to be noticed', ({ notices }) =>
      notices.some((notice) => notice.includes('198.18.0.1 is no longer an address of eth2')),
    );
    t.equal((await status(a)).state, 'degraded');
    await lab.must('gw-a', ['ip', 'address', 'add', '198.18.0.1/24', 'dev', 'eth2']);
    await until(lab, a, 'all to be well', ({ state }) => state === 'running');
    await talks(lab, 'the address came back');
  });
});

/** Between the gateways and in VPC b there are routers: the bridges' own addresses. b3 is behind the latter. */
async function routed(t: Parameters<typeof startTwins>[0], resolve: 'peer' | 'tunnel') {
  const { vpcs } = twinVpcs({ kind: 'lan' });
  const [vpcA, vpcB] = vpcs;
  if (!vpcA || !vpcB?.gateway) throw new Error('there are no twins');
  const gateway = { ...vpcB.gateway, underlayAddress: '198.18.1.2' };
  const hosts = [...vpcB.hosts, { name: 'b3', address: '10.0.1.50' }];
  const lab = await createLab({ vpcs: [vpcA, { ...vpcB, gateway, hosts }] });
  t.teardown(() => lab.close());
  await judgeFrames(t, lab);

  const router = async (node: string, addresses: readonly string[]) => {
    for (const address of addresses) await lab.must(node, ['ip', 'address', 'add', address, 'dev', 'br0']);
    const redirects = ['net.ipv4.conf.all.send_redirects=0', 'net.ipv4.conf.br0.send_redirects=0'];
    await lab.must(node, ['sysctl', '-qw', 'net.ipv4.ip_forward=1', ...redirects]);
  };
  await router('underlay', ['198.18.0.253/24', '198.18.0.254/24', '198.18.1.254/24']);
  await router('vpc-b', ['10.0.0.1/24', '10.0.1.1/24']);
  await lab.must('gw-a', ['ip', 'route', 'add', '198.18.1.0/24', 'via', '198.18.0.254']);
  await lab.must('gw-b', ['ip', 'route', 'add', '198.18.0.0/24', 'via', '198.18.1.254']);
  await lab.must('gw-b', ['ip', 'route', 'add', '10.0.1.0/24', 'via', '10.0.0.1']);
  await lab.must('b3', ['ip', 'route', 'add', 'default', 'via', '10.0.1.1']);

  const proxied = ['10.0.0.20', { address: '10.0.0.21', host: '10.0.1.50' }];
  const config = twinConfig('a', { address: '198.18.1.2', proxied, resolve });
  const a = await lab.startGateway('a', { config });
  const underlay = { interface: 'eth2', address: '198.18.1.2' };
  await lab.startGateway('b', { config: { ...twinConfig('b'), underlay } });
  return { lab, a };
}

for (const resolve of ['peer', 'tunnel'] as const) {
  t.test(`next hops by the kernel's routes, resolve: ${resolve}`, { skip }, async (t) => {
    const { lab, a } = await routed(t, resolve);
    const well = { received: 5, duplicates: 0, errors: 0 };
    // The routers between are the kernel's own; what they lose while they resolve is not the gateways' doing.
    const reach = async (from: string, address: string, what: string) => {
      const settled = async () => (await ping(lab, from, address, { count: 2 })).received === 2;
      await lab.waitFor(settled, {
        what: `routers between ${from} and ${address} that know their neighbors`,
      });
      t.match(await ping(lab, from, address), well, what);
    };
    await reach('a1', '10.0.0.20', 'the far gateway is behind a router');
    await reach('a1', '10.0.0.21', 'the far host is behind another');
    await reach('b3', '10.0.0.10', 'and begins itself');

    await lab.must('gw-a', ['ip', 'route', 'replace', '198.18.1.0/24', 'via', '198.18.0.253']);
    await until(lab, a, 'the other next hop', ({ peers }) => peers[0]?.nextHop === '198.18.0.253');
    await reach('a1', '10.0.0.20', 'another route is followed');
  });
}

t.test('an interface disappears', { skip }, async (t) => {
  for (const device of ['eth1', 'eth2']) {
    const { lab, a } = await startTwins(t);
    await lab.must('gw-a', ['ip', 'link', 'del', device]);
    t.equal((await a.process.exited).code, 1, `${device}: the gateway ends`);
    t.match(a.process.stderr, `Interface ${device} has disappeared. Attach it again`, 'and says why');
    t.notOk(existsSync(a.socket), 'no socket is left');
    t.equal(await lab.must('gw-a', ['nft', 'list', 'ruleset']), '', 'no rule is left');
  }
});
