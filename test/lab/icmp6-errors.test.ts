// ICMPv6 errors across the gateways, as real hosts and a real router send and take them: the IPv6 counterpart of
// icmp-errors.test.ts.
import t from 'tap';
import { createLab, type Lab, ping, tcpTransfer, whyNoLab } from '../../src/lab/index.js';
import { drops, totals, twinConfig, twinVpcs } from '../helpers/lab.js';
import { judgeFrames } from '../helpers/second-opinion.js';
import { forgetPaths, learnedMtu, tracepath, traceroute } from '../helpers/traceroute.js';

const skip = await whyNoLab();

/** b3's link: less than the tunnel carries. */
const FAR_MTU = 1300;
const A1 = '2001:db8::10';
const GATEWAY = '2001:db8::5';
const B3 = '2001:db8:1::50';

/** How gateway b knows a1, and so what stands in the quotes that its hosts and its router send. */
const MODES = [
  { mode: 'same address', proxied: [A1] },
  { mode: 'one to one', proxied: [{ address: '2001:db8::99', host: A1 }] },
];
/** b3 as a1 knows it. */
const ONE_TO_ONE = '2001:db8::21';
const SAME_ADDRESS = '2001:db8:1::51';

/** VPC b's subnet has a router, the bridge's own 2001:db8::1, and b3 behind it. */
async function build(t: { teardown(action: () => Promise<void>): void }): Promise<Lab> {
  const { vpcs } = twinVpcs({ kind: 'lan', gateway: { address6: GATEWAY } });
  const [vpcA, vpcB] = vpcs.map((vpc) => ({ ...vpc, cidr6: '2001:db8::/64' }));
  if (!vpcA || !vpcB) throw new Error('there are no twins');
  const [a1] = vpcA.hosts;
  const lab = await createLab({
    vpcs: [
      { ...vpcA, hosts: [{ ...a1, name: 'a1', address: '10.0.0.10', address6: A1 }] },
      { ...vpcB, hosts: [{ name: 'b3', address: '10.0.1.50', address6: B3 }] },
    ],
  });
  t.teardown(() => lab.close());
  const router = [
    'net.ipv6.conf.all.disable_ipv6=0',
    'net.ipv6.conf.br0.disable_ipv6=0',
    'net.ipv6.conf.all.forwarding=1',
    'net.ipv6.icmp.ratelimit=0',
  ];
  for (const setting of router) await lab.must('vpc-b', ['sysctl', '-qw', setting]);
  await lab.must('b3', ['sysctl', '-qw', 'net.ipv6.icmp.ratelimit=0']);
  const assign = ['ip', 'address', 'add', 'dev', 'br0', 'nodad'];
  await lab.must('vpc-b', [...assign, '2001:db8::1/64']);
  // The kernel's own route to that prefix would go before the small one.
  await lab.must('vpc-b', [...assign, 'noprefixroute', '2001:db8:1::1/64']);
  const small = ['2001:db8:1::/64', 'dev', 'br0', 'mtu', 'lock', `${FAR_MTU}`];
  await lab.must('vpc-b', ['ip', '-6', 'route', 'add', ...small]);
  await lab.must('b3', ['ip', 'address', 'add', `${SAME_ADDRESS}/128`, 'dev', 'eth0', 'nodad']);
  await lab.must('b3', ['ip', '-6', 'route', 'add', 'default', 'via', '2001:db8:1::1']);
  await lab.must('gw-b', ['ip', '-6', 'route', 'add', '2001:db8:1::/64', 'via', '2001:db8::1']);
  await lab.must('a1', ['ip', '-6', 'route', 'add', `${SAME_ADDRESS}/128`, 'dev', 'eth0']);
  return lab;
}

t.test('traceroute and path MTU discovery over IPv6 (checklist 43)', { skip }, async (t) => {
  const lab = await build(t);
  await judgeFrames(t, lab);
  const a = await lab.startGateway('a', {
    config: twinConfig('a', { proxied: [SAME_ADDRESS, { address: ONE_TO_ONE, host: B3 }] }),
  });
  const b = await lab.startGateway('b', { config: twinConfig('b', { proxied: MODES[0]?.proxied }) });

  for (const { mode, proxied } of MODES) {
    b.writeConfig(twinConfig('b', { proxied }));
    t.equal((await b.client('reload')).code, 0, mode);
    for (const target of [SAME_ADDRESS, ONE_TO_ONE]) {
      await t.test(`${mode}: ${target}`, async (t) => {
        // The router is the kernel's own; what it loses while it resolves is not the gateways' doing.
        await lab.waitFor(async () => (await ping(lab, 'a1', target, { count: 1 })).received === 1, {
          what: `${target} to answer`,
        });
        const hops = [GATEWAY, target];
        for (const [kind, ...options] of [['UDP'], ['ICMP', '-I'], ['TCP', '-T', '-p', '9']] as const)
          t.same(await traceroute(lab, 'a1', target, '-6', ...options), hops, kind);

        await forgetPaths(lab, 'a1');
        const big = await ping(lab, 'a1', target, { count: 2, wait: 1, size: 1352, dontFragment: true });
        t.match(big, { received: 0 }, 'a packet larger than the far link does not get through');
        await lab.waitFor(async () => (await learnedMtu(lab, 'a1', target)) === FAR_MTU, {
          what: 'its sender to learn the size',
        });
        await forgetPaths(lab, 'a1');
        t.equal(await tracepath(lab, 'a1', target), `pmtu ${FAR_MTU} hops 2`, 'tracepath');

        await forgetPaths(lab, 'a1');
        const sent = await tcpTransfer(lab, { from: 'a1', to: 'b3', address: target, bytes: 300_000 });
        t.same(sent.received, { bytes: 300_000, sha256: sent.sha256 }, 'TCP finds its way');
      });
    }
  }
  for (const gateway of [a, b]) {
    // The router sends redirects, from its link-local address: the way to b3 leaves by where it came in.
    const { drop_multicast: _, drop_link_local: __, drop_too_big: told = 0, ...rest } = await drops(gateway);
    t.same(rest, {}, `${gateway.name} dropped nothing else`);
    t.equal(told, (await totals(gateway)).icmp_errors, 'than what was too big for the tunnel, and told');
  }
});
