// The original's two commands, unchanged: the sender with -r, the receiver without, which masquerades.
import t from 'tap';
import { createLab, type Lab, ping, tcpTransfer, udpEcho, whyNoLab } from '../../src/lab/index.js';
import { ALL_ECHOED, drops, range, twinConfig, twinVpcs } from '../helpers/lab.js';
import { judgeFrames } from '../helpers/second-opinion.js';

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

/** RFC 5382 REQ-4: whether SYNs to a port that nobody masquerades on are left without RST and ICMP error for 6 s. */
async function isSilent(
  lab: Lab,
  from: string,
  addresses: readonly string[],
  port = 61_123,
): Promise<boolean> {
  const codes = await Promise.all(
    addresses.map(async (address) => {
      const connect = `exec 3<>/dev/tcp/${address}/${port}`;
      return (await lab.exec(from, ['timeout', '6.5', 'bash', '-c', connect])).code;
    }),
  );
  // Ended by timeout: an answer would have ended it before.
  return codes.every((code) => code === 124);
}

for (const { name, a, b, far } of forms) {
  t.test(`masquerade: ${name}`, { skip }, async (t) => {
    const lab = await createLab(specification());
    t.teardown(() => lab.close());
    await judgeFrames(t, lab);
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
    if (far.length > 1 && 'config' in b)
      t.ok(await isSilent(lab, 'b1', ['10.0.0.5']), 'nor a masquerade port of its own address');
  });
}

// The gateway of VPC b owns two more addresses that far hosts appear as; one of them its operating system has
// configured, so that without the guard its kernel would answer for it.
t.test(
  'masquerade behind a pool of addresses; what nobody asked for is not answered (checklist 26)',
  { skip },
  async (t) => {
    const { vpcs, underlay } = specification();
    const pool = ['10.0.0.6', '10.0.0.7'];
    const pooled = vpcs.map((vpc) =>
      vpc.name === 'b' && vpc.gateway
        ? { ...vpc, kind: 'lan' as const, gateway: { ...vpc.gateway, secondary: pool } }
        : vpc,
    );
    const lab = await createLab({ vpcs: pooled, underlay });
    t.teardown(() => lab.close());
    await judgeFrames(t, lab);
    const config = {
      ...twinConfig('b', { proxied: [], unlisted: 'masquerade' }),
      masquerade: { addresses: pool, ports: '50000-50999', flows: 4096 },
    };
    await lab.must('gw-b', ['ip', 'address', 'add', '10.0.0.6/32', 'dev', 'eth1']);
    const [, b] = await Promise.all([
      lab.startGateway('a', { config: twinConfig('a') }),
      lab.startGateway('b', { config }),
    ]);

    const silent = isSilent(lab, 'b1', pool, 50_123);
    for (const from of ['a1', 'a2']) {
      const result = await tcpTransfer(lab, { from, to: 'b1', bytes: 4_000_000 });
      t.same(result.received, { bytes: 4_000_000, sha256: result.sha256 }, `TCP from ${from}`);
      t.match(await ping(lab, from, '10.0.0.21', { count: 3 }), { received: 3 }, `ping from ${from}`);
      const echoed = await udpEcho(lab, { from, to: 'b2', sizes: range(100, 120) });
      t.match(echoed, { received: 21, ...ALL_ECHOED }, `UDP from ${from}`);
    }
    const { stdout } = await b.client('flows', '--json');
    const flows = JSON.parse(stdout) as {
      protocol: string;
      far: string;
      masqueradedAs: string;
      near: string;
    }[];
    t.same([...new Set(flows.map(({ protocol }) => protocol))].sort(), ['icmp', 'tcp', 'udp']);
    const asOf = (far: string) =>
      new Set(
        flows
          .filter((flow) => flow.far.startsWith(`${far}:`))
          .map((flow) => flow.masqueradedAs.replace(/:.*/, '')),
      );
    for (const far of ['10.0.0.10', '10.0.0.11']) {
      const [address, ...more] = asOf(far);
      t.ok(
        address !== undefined && pool.includes(address) && more.length === 0,
        `${far} keeps to ${address}`,
      );
    }
    t.ok(
      flows.some(({ near }) => near.startsWith('10.0.0.20:')),
      'flows name the local host',
    );
    const page = await b.client('flows', '--limit', '1');
    t.match(page.stdout, /\n1 of \d+ flows; --limit shows more\.\n$/);

    // RFC 5382 REQ-4, checklist 26: the gateway's own kernel says nothing to what nobody has asked for.
    t.ok(await silent, 'no RST and no error to an unsolicited SYN');
  },
);
