// The original's two commands, unchanged: the sender with -r, the receiver without, which masquerades.
import t from 'tap';
import { createLab, ping, tcpTransfer, udpEcho, whyNoLab } from '../../src/lab/index.js';
import { ALL_ECHOED, drops, range, twinConfig, twinVpcs } from '../helpers/lab.js';

const skip = await whyNoLab();

/** VPC b delivers nothing but the gateway's own address to it. */
function specification() {
  const { vpcs, underlay = {} } = twinVpcs();
  const masquerading = vpcs.map((vpc) =>
    vpc.name === 'b' && vpc.gateway ? { ...vpc, gateway: { ...vpc.gateway, secondary: [] } } : vpc,
  );
  return { vpcs: masquerading, underlay };
}

const sender = '-o eth1 -t eth2 -d 198.18.0.2 -s 198.18.0.1 -r'.split(' ');
const receiver = '-o eth1 -t eth2 -d 198.18.0.1 -s 198.18.0.2'.split(' ');

const forms = [
  { name: 'one far host', a: { args: [...sender, '10.0.0.20'] }, b: { args: receiver }, far: ['b1'] },
  {
    name: 'two far hosts',
    a: { args: [...sender, '10.0.0.20,10.0.0.21'] },
    b: { args: receiver },
    far: ['b1', 'b2'],
  },
  {
    name: 'the same from files',
    a: { config: twinConfig('a') },
    b: { config: twinConfig('b', { proxied: [], unlisted: 'masquerade' }) },
    far: ['b1', 'b2'],
  },
];

for (const { name, a, b, far } of forms) {
  t.test(`masquerade: ${name}`, { skip }, async (t) => {
    const lab = await createLab(specification());
    t.teardown(() => lab.close());
    const gateways = await Promise.all([lab.startGateway('a', a), lab.startGateway('b', b)]);
    const pairs = ['a1', 'a2'].flatMap((from) => far.map((to) => [from, to] as const));

    for (const [from, to] of pairs) {
      const result = await ping(lab, from, lab.address(to), { count: 5 });
      t.match(result, { received: 5, duplicates: 0, errors: 0 }, `ping from ${from} to ${to}`);
    }
    await Promise.all(
      pairs.map(async ([from, to]) => {
        const result = await tcpTransfer(lab, { from, to, bytes: 8_000_000 });
        t.same(result.received, { bytes: 8_000_000, sha256: result.sha256 }, `TCP from ${from} to ${to}`);
      }),
    );
    await Promise.all(
      pairs.map(async ([from, to]) => {
        const result = await udpEcho(lab, { from, to, sizes: [...range(0, 20), ...range(1400, 1436)] });
        t.match(result, { received: 58, ...ALL_ECHOED }, `UDP from ${from} to ${to}`);
      }),
    );
    t.equal((await lab.mappingDrops('b')).spoofed, 0, 'VPC b saw nothing but registered addresses');
    for (const gateway of gateways) t.same(await drops(gateway), {}, `${gateway.name} dropped nothing`);
  });
}
