// The kernel of a gateway sees every frame, too. It must keep silent about what vpc-conn handles, and only
// about that, and only as long as vpc-conn runs.
import t from 'tap';
import { ping, tcpTransfer, udpEcho, whyNoLab } from '../../src/lab/index.js';
import { ALL_ECHOED, startTwins, twinConfig } from '../helpers/lab.js';

const skip = await whyNoLab();

/** Counts, on the underlay's bridge, what no kernel should send there. */
const observer = `
table bridge observer {
  counter unreachable { }
  chain forward {
    type filter hook forward priority 0; policy accept;
    ether type ip ip protocol icmp icmp type destination-unreachable counter name unreachable
  }
}
`;

t.test('the operating system has configured the proxied addresses and forwards', { skip }, async (t) => {
  const { lab, a } = await startTwins(t, {
    gateway: { configureSecondary: true, sysctl: { 'net.ipv4.ip_forward': '1' } },
  });
  await lab.must('underlay', ['nft', '-f', '-'], { input: observer });

  for (const [from, to] of [
    ['a1', 'b1'],
    ['b2', 'a2'],
  ] as const) {
    const pinged = await ping(lab, from, lab.address(to), { count: 10 });
    t.match(pinged, { received: 10, duplicates: 0, errors: 0 }, `no second answer to a ping from ${from}`);
    const sent = await tcpTransfer(lab, { from, to, bytes: 4_000_000 });
    t.same(sent.received, { bytes: 4_000_000, sha256: sent.sha256 }, 'no connection is reset');
    const echoed = await udpEcho(lab, { from, to, sizes: [1, 2, 3, 1436] });
    t.match(echoed, { received: 4, ...ALL_ECHOED }, 'no port unreachable, no second copy');
  }
  const counted = await lab.must('underlay', [
    'nft',
    '-j',
    'list',
    'counter',
    'bridge',
    'observer',
    'unreachable',
  ]);
  t.match(counted, '"packets": 0', 'no ICMP unreachable about the tunnel');

  const own = await tcpTransfer(lab, { from: 'a1', to: 'gw-a', bytes: 1_000_000 });
  t.same(own.received, { bytes: 1_000_000, sha256: own.sha256 }, "the gateway's own services are reached");
  t.match(await ping(lab, 'gw-b', '198.18.0.1'), { received: 5 }, 'on both sides');

  await t.test('the guard dies with the process, even by SIGKILL', async (t) => {
    await a.kill();
    await lab.waitFor(async () => (await lab.must('gw-a', ['nft', 'list', 'ruleset'])) === '', {
      what: 'the rules to vanish',
    });
    const answered = await ping(lab, 'a1', '10.0.0.20', { count: 2 });
    t.match(answered, { received: 2 }, 'the kernel answers for its address again');
    await lab.startGateway('a', { config: twinConfig('a') });
    const again = await ping(lab, 'a1', '10.0.0.20', { count: 5 });
    t.match(again, { received: 5, duplicates: 0 }, 'and keeps silent again');
  });
});
