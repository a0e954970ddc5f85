// Packets larger than the tunnel, between the hosts' own stacks: told, cut, put together again.
import t, { type Test } from 'tap';
import {
  createLab,
  type Lab,
  type LabSpec,
  ping,
  tcpTransfer,
  udpEcho,
  whyNoLab,
} from '../../src/lab/index.js';
import { ALL_ECHOED, drops, peerOf, startTwins, totals, twinConfig, twinVpcs } from '../helpers/lab.js';
import { judgeFrames } from '../helpers/second-opinion.js';

const skip = await whyNoLab();

/** The path MTU that a host has learned towards an address; undefined: none. */
async function learned(lab: Lab, host: string, address: string): Promise<number | undefined> {
  const route = await lab.must(host, ['ip', 'route', 'get', address]);
  const mtu = / mtu (\d+)/.exec(route)?.[1];
  return mtu === undefined ? undefined : Number(mtu);
}

/** The ICMP error that tells of it may come after ping has given up. */
async function learns(lab: Lab, host: string, address: string, mtu: number): Promise<void> {
  await lab.waitFor(async () => (await learned(lab, host, address)) === mtu, {
    what: `${host} to learn that ${mtu} bytes fit on the way to ${address}`,
  });
}

async function same(t: Test, lab: Lab, from: string, to: string, bytes = 8_000_000): Promise<void> {
  const result = await tcpTransfer(lab, { from, to, bytes });
  t.same(result.received, { bytes, sha256: result.sha256 }, `TCP from ${from} to ${to}`);
}

/** Both hosts learn what fits: Linux sets DF on whatever fits its own interface, and the first packet is lost. */
async function teach(
  t: Test,
  lab: Lab,
  one: string,
  other: string,
  size: number,
  mtu: number,
): Promise<void> {
  for (const [from, to] of [
    [one, other],
    [other, one],
  ] as const) {
    const tooBig = await ping(lab, from, lab.address(to), { count: 2, size, dontFragment: true, wait: 1 });
    t.match(tooBig, { received: 0 });
    await learns(lab, from, lab.address(to), mtu);
  }
}

/** An ICMP "fragmentation needed" to gw-a about an outer packet of 1500 bytes, from gw-b's address. */
function reportToA(lab: Lab, mtu: number, quotedPeer = '198.18.0.2'): Promise<string> {
  const script = `
import socket, struct, sys
def total(b):
    s = sum(struct.unpack('!%dH' % (len(b) // 2), b))
    while s >> 16: s = (s & 0xffff) + (s >> 16)
    return s ^ 0xffff
def outer(checksum):
    return struct.pack('!BBHHHBBH4s4s', 0x45, 0, 1500, 0, 0x4000, 63, 97, checksum,
                       socket.inet_aton('198.18.0.1'), socket.inet_aton(sys.argv[2]))
quoted = outer(total(outer(0))) + b'\\x30\\x00' + bytes(6)
body = struct.pack('!HH', 0, int(sys.argv[1])) + quoted
icmp = struct.pack('!BBH', 3, 4, total(b'\\x03\\x04\\0\\0' + body)) + body
socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).sendto(icmp, ('198.18.0.1', 0))
`;
  return lab.must('gw-b', ['python3', '-c', script, `${mtu}`, quotedPeer]);
}

t.test('hosts whose packets are larger than the tunnel', { skip }, async (t) => {
  const { lab, a, b } = await startTwins(t);
  t.match(await peerOf(a), { innerMtu: 1464, innerMtuWhy: 'eth2 1500' });

  await t.test('checklist 23, 24, 42: what may be cut arrives whole', async (t) => {
    t.match(await ping(lab, 'a1', '10.0.0.20', { size: 4000 }), { received: 5, duplicates: 0 }, 'ping');
    t.ok(((await totals(a)).fragmented ?? 0) > 0, 'cut here');
    await teach(t, lab, 'a1', 'b1', 1472, 1464);
    const sizes = [1437, 1472, 1473, 4000, 8000, 30_000];
    const result = await udpEcho(lab, { from: 'b1', to: 'a1', sizes });
    t.same(result, { sent: 6, received: 6, ...ALL_ECHOED }, 'UDP');
  });

  await t.test('checklist 34, 35: what must not be cut is told, and the sender learns', async (t) => {
    const tooBig = await ping(lab, 'a2', '10.0.0.21', { count: 2, size: 1472, dontFragment: true, wait: 1 });
    t.match(tooBig, { received: 0 });
    await learns(lab, 'a2', '10.0.0.21', 1464);
    t.ok(((await totals(a)).icmp_errors ?? 0) > 0);
    t.equal((await lab.mappingDrops('a')).spoofed, 0, 'from an address that the VPC lets the gateway use');
  });

  await t.test('checklist 38: a router on the way says that the path is smaller', async (t) => {
    await reportToA(lab, 500);
    await reportToA(lab, 1400, '198.18.0.7');
    await reportToA(lab, 1400);
    await lab.waitFor(async () => (await peerOf(a)).innerMtu === 1364, { what: 'the tunnel to shrink' });
    t.match(await peerOf(a), { innerMtuWhy: 'ICMP from 198.18.0.2' });
    t.match(await peerOf(b), { innerMtu: 1464 }, 'the way back is another one');
    t.match(await ping(lab, 'a1', '10.0.0.21', { count: 2, size: 1437, dontFragment: true, wait: 1 }), {
      received: 0,
    });
    await learns(lab, 'a1', '10.0.0.21', 1364);
    t.match(await ping(lab, 'a1', '10.0.0.20', { size: 4000 }), { received: 5 });
    await same(t, lab, 'a1', 'b1');
    t.equal((await drops(a)).drop_icmp_quote_unknown, 1, 'the forged one');
  });
});

t.test('jumbo hosts, an underlay of 1500', { skip }, async (t) => {
  const { lab, a } = await startTwins(t, { nic: { mtu: 9001 } });
  await Promise.all([same(t, lab, 'a1', 'b1', 20_000_000), same(t, lab, 'b2', 'a2', 20_000_000)]);
  await teach(t, lab, 'a1', 'b2', 8000, 1464);
  t.match(await ping(lab, 'a1', '10.0.0.21', { size: 8000 }), { received: 5, duplicates: 0 });
  const result = await udpEcho(lab, { from: 'a1', to: 'b2', sizes: [8000, 8001, 8900, 20_000] });
  t.same(result, { sent: 4, received: 4, ...ALL_ECHOED }, 'UDP');
  const wire = await lab.counters('gw-a', 'eth2');
  t.ok(wire.txBytes / wire.txPackets <= 1514, 'the underlay carried no frame above its MTU');
  t.same(
    Object.keys(await drops(a)).filter((name) => name !== 'drop_too_big'),
    [],
  );
});

t.test('hosts of 1500, a jumbo underlay; then one VPC with jumbo hosts', { skip }, async (t) => {
  const spec: LabSpec = twinVpcs({ underlay: { mtu: 9001 } });
  const vpcs = spec.vpcs.map((vpc) =>
    vpc.name !== 'a' || !vpc.gateway
      ? vpc
      : {
          ...vpc,
          hosts: vpc.hosts.map((host) => (host.name === 'a2' ? { ...host, nic: { mtu: 9001 } } : host)),
          gateway: { ...vpc.gateway, nic: { mtu: 9001 } },
        },
  );
  const lab = await createLab({ ...spec, vpcs });
  t.teardown(() => lab.close());
  await judgeFrames(t, lab);
  const [a, b] = await Promise.all([
    lab.startGateway('a', { config: twinConfig('a') }),
    lab.startGateway('b', { config: twinConfig('b') }),
  ]);
  t.match(await peerOf(a), { innerMtu: 8965 });
  await Promise.all([same(t, lab, 'a1', 'b1', 20_000_000), same(t, lab, 'b1', 'a1', 20_000_000)]);
  t.same(await drops(a), {}, 'nothing was too big');
  await Promise.all([same(t, lab, 'a2', 'b2'), same(t, lab, 'b2', 'a2')]);

  await t.test(
    'checklist 23: what the overlay cannot carry is told through the tunnel, or cut',
    async (t) => {
      const tooBig = await ping(lab, 'a2', '10.0.0.20', {
        count: 2,
        size: 4000,
        dontFragment: true,
        wait: 1,
      });
      t.match(tooBig, { received: 0 });
      // The MTU of the far VPC.
      await learns(lab, 'a2', '10.0.0.20', 1500);
      t.ok(((await totals(b)).icmp_errors ?? 0) > 0, 'the far gateway said so');
      const argv = ['ping', '-n', '-q', '-c', '3', '-i', '0.05', '-M', 'dont', '-s', '4000', '10.0.0.21'];
      t.match(await lab.must('a2', argv), /3 received/, 'cut by the far gateway');
    },
  );
});

t.test('checklist 24: fragments of masqueraded hosts', { skip }, async (t) => {
  const { vpcs, underlay = {} } = twinVpcs();
  const masquerading = vpcs.map((vpc) =>
    vpc.name === 'b' && vpc.gateway ? { ...vpc, gateway: { ...vpc.gateway, secondary: [] } } : vpc,
  );
  const lab = await createLab({ vpcs: masquerading, underlay });
  t.teardown(() => lab.close());
  await judgeFrames(t, lab);
  const gateways = await Promise.all([
    lab.startGateway('a', { config: twinConfig('a') }),
    lab.startGateway('b', { config: twinConfig('b', { proxied: [], unlisted: 'masquerade' }) }),
  ]);
  await Promise.all(
    [
      ['a1', 'b1'],
      ['a2', 'b1'],
      ['a1', 'b2'],
    ].map(async ([from = '', to = '']) => {
      t.match(await ping(lab, from, lab.address(to), { size: 4000 }), { received: 5, duplicates: 0 });
      const result = await udpEcho(lab, { from, to, sizes: [8000, 1473, 3000, 20_000] });
      t.same(result, { sent: 4, received: 4, ...ALL_ECHOED }, `UDP from ${from} to ${to} and back`);
    }),
  );
  for (const gateway of gateways) t.same(await drops(gateway), {}, `${gateway.name} dropped nothing`);
});
