// ICMP errors across the gateways, as real hosts and a real router send and take them: traceroute and path MTU
// discovery towards a host behind a router whose far link is smaller than the tunnel.
import t from 'tap';
import { createLab, type Lab, ping, tcpTransfer, whyNoLab } from '../../src/lab/index.js';
import { drops, totals, twinConfig, twinVpcs } from '../helpers/lab.js';
import { judgeFrames } from '../helpers/second-opinion.js';
import { forgetPaths, learnedMtu, tracepath, traceroute } from '../helpers/traceroute.js';

const skip = await whyNoLab();

/** b3's link: less than the tunnel carries. */
const FAR_MTU = 1200;
const GATEWAY = '10.0.0.5';

/** How gateway b knows a1, and so what stands in the quotes that its hosts and its router send. */
const MODES = [
  { mode: 'same address', peer: { proxied: ['10.0.0.10'] } },
  { mode: 'one to one', peer: { proxied: [{ address: '10.0.0.99', host: '10.0.0.10' }] } },
  { mode: 'masquerade', peer: { proxied: [], unlisted: 'masquerade' } },
];

/** b3 as a1 knows it. */
const ONE_TO_ONE = '10.0.0.21';
const SAME_ADDRESS = '10.0.1.51';

/** VPC b's subnet has a router, the bridge's own 10.0.0.1, and b3 behind it. */
async function build(t: { teardown(action: () => Promise<void>): void }): Promise<Lab> {
  const { vpcs } = twinVpcs({ kind: 'lan' });
  const [vpcA, vpcB] = vpcs;
  if (!vpcA || !vpcB) throw new Error('there are no twins');
  const hosts = [...vpcB.hosts, { name: 'b3', address: '10.0.1.50' }];
  const lab = await createLab({ vpcs: [vpcA, { ...vpcB, hosts }] });
  t.teardown(() => lab.close());
  for (const address of ['10.0.0.1/24', '10.0.1.1/24'])
    await lab.must('vpc-b', ['ip', 'address', 'add', address, 'dev', 'br0']);
  const quiet = ['net.ipv4.conf.all.send_redirects=0', 'net.ipv4.conf.br0.send_redirects=0'];
  const unlimited = ['net.ipv4.icmp_ratelimit=0', 'net.ipv4.icmp_msgs_per_sec=10000'];
  await lab.must('vpc-b', ['sysctl', '-qw', 'net.ipv4.ip_forward=1', ...quiet, unlimited[0] ?? '']);
  await lab.must('b3', ['sysctl', '-qw', unlimited[0] ?? '']);
  const small = ['10.0.1.0/24', 'dev', 'br0', 'src', '10.0.1.1', 'mtu', `${FAR_MTU}`];
  await lab.must('vpc-b', ['ip', 'route', 'replace', ...small]);
  await lab.must('b3', ['ip', 'address', 'add', '10.0.1.51/32', 'dev', 'eth0']);
  await lab.must('b3', ['ip', 'route', 'add', 'default', 'via', '10.0.1.1']);
  await lab.must('gw-b', ['ip', 'route', 'add', '10.0.1.0/24', 'via', '10.0.0.1']);
  await lab.must('a1', ['ip', 'route', 'add', '10.0.1.51/32', 'dev', 'eth0']);
  return lab;
}

const pathMtu = (lab: Lab, address: string) => learnedMtu(lab, 'a1', address);

t.test('traceroute and path MTU discovery (checklist 30, 31, 43)', { skip }, async (t) => {
  const lab = await build(t);
  await judgeFrames(t, lab);
  const a = await lab.startGateway('a', {
    config: twinConfig('a', { proxied: [SAME_ADDRESS, { address: ONE_TO_ONE, host: '10.0.1.50' }] }),
  });
  const b = await lab.startGateway('b', { config: twinConfig('b', MODES[0]?.peer) });

  for (const { mode, peer } of MODES) {
    b.writeConfig(twinConfig('b', peer));
    t.equal((await b.client('reload')).code, 0, mode);
    for (const target of [SAME_ADDRESS, ONE_TO_ONE]) {
      await t.test(`${mode}: ${target}`, async (t) => {
        // The router is the kernel's own; what it loses while it resolves is not the gateways' doing.
        await lab.waitFor(async () => (await ping(lab, 'a1', target, { count: 1 })).received === 1, {
          what: `${target} to answer`,
        });
        const hops = [GATEWAY, target];
        t.same(await traceroute(lab, 'a1', target), hops, 'UDP: time exceeded, port unreachable');
        await lab.must('a1', ['ip', 'route', 'flush', 'cache']);
        const big = await ping(lab, 'a1', target, { count: 2, wait: 0.3, size: 1300, dontFragment: true });
        t.match(big, { received: 0 }, 'a packet larger than the far link does not get through');
        await lab.waitFor(async () => (await pathMtu(lab, target)) === FAR_MTU, {
          what: 'its sender to learn the size',
        });

        await forgetPaths(lab, 'a1');
        t.equal(await tracepath(lab, 'a1', target), `pmtu ${FAR_MTU} hops 2`, 'tracepath');

        if (target !== ONE_TO_ONE) return;
        t.same(await traceroute(lab, 'a1', target, '-I'), hops, 'ICMP');
        t.same(await traceroute(lab, 'a1', target, '-T', '-p', '9'), hops, 'TCP');
        await lab.must('a1', ['ip', 'route', 'flush', 'cache']);
        const route = { from: 'a1', to: 'b3', address: target, bytes: 300_000 };
        const { received, sha256 } = await tcpTransfer(lab, route);
        t.same(received, { bytes: 300_000, sha256 }, 'TCP finds its way');
        t.equal(await pathMtu(lab, target), FAR_MTU, 'at that size');
      });
    }
  }
  // tracepath begins with packets of the host's own MTU.
  const { drop_too_big: told, ...rest } = await drops(a);
  t.same(rest, {}, 'nothing was dropped at one end');
  t.equal(told, (await totals(a)).icmp_errors, 'but what was too big for the tunnel, and told');
  t.same(await drops(b), {}, 'nor at the other');
});
