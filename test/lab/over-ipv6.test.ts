// Tunnels over IPv6: an underlay without any IPv4, between the hosts' own stacks.
import t, { type Test } from 'tap';
import type { StatusResult } from '../../src/control/protocol.js';
import {
  createLab,
  type GatewayProcess,
  type Lab,
  ping,
  startTransfer,
  tcpTransfer,
  udpEcho,
  whyNoLab,
} from '../../src/lab/index.js';
import {
  ALL_ECHOED,
  drops,
  ENDS,
  peerOf,
  range,
  startTwins,
  totals,
  twinConfig,
  twinVpcs,
} from '../helpers/lab.js';
import { judgeFrames } from '../helpers/second-opinion.js';

const skip = await whyNoLab();

/** Outer IPv6 40, EtherIP 2, inner Ethernet 14. */
const INNER_MTU = 1444;
const LARGEST_UDP = INNER_MTU - 28;

const PAIRS = [
  ['a1', 'b1'],
  ['b1', 'a2'],
  ['a2', 'b2'],
  ['b2', 'a1'],
] as const;

async function status(gateway: GatewayProcess): Promise<StatusResult> {
  return JSON.parse((await gateway.client('status', '--json')).stdout) as StatusResult;
}

/**
 * What the kernel of a gateway said by itself. It must stay silent about EtherIP, from when the gateway is ready:
 * before, a peer that was up first may have had an answer.
 */
async function kernelErrors(lab: Lab, gateway: string): Promise<number> {
  const text = await lab.must(gateway, [
    'nstat',
    '-asz',
    'Icmp6OutErrors',
    'Icmp6OutParmProblems',
    'Icmp6OutDestUnreachs',
  ]);
  return [...text.matchAll(/^Icmp6\w+\s+(\d+)/gm)].reduce((sum, [, count]) => sum + Number(count), 0);
}

async function carriesEverything(t: Test, lab: Lab, gateways: readonly GatewayProcess[]): Promise<void> {
  const errors = () => Promise.all(gateways.map(({ name }) => kernelErrors(lab, name)));
  const before = await errors();
  for (const [from, to] of PAIRS) {
    const pinged = await ping(lab, from, lab.address(to), { count: 5 });
    t.match(pinged, { received: 5, duplicates: 0, errors: 0 }, `ping from ${from} to ${to}`);
  }
  for (const [from, to] of PAIRS) {
    const sent = await tcpTransfer(lab, { from, to, bytes: 8_000_001 });
    t.same(sent.received, { bytes: 8_000_001, sha256: sent.sha256 }, `TCP from ${from} to ${to}`);
  }
  const sizes = [...range(0, 40), ...range(LARGEST_UDP - 40, LARGEST_UDP)];
  for (const [from, to] of PAIRS.slice(0, 2)) {
    const echoed = await udpEcho(lab, { from, to, sizes });
    t.match(echoed, { received: sizes.length, ...ALL_ECHOED }, `UDP between ${from} and ${to}`);
  }
  for (const gateway of gateways) {
    t.same(await drops(gateway), {}, `${gateway.name} dropped nothing`);
  }
  t.same(await errors(), before, 'their kernels said nothing');
}

t.test('traffic over IPv6', { skip }, async (t) => {
  const { lab, a, b } = await startTwins(t, { over: 6 });
  await carriesEverything(t, lab, [a, b]);
  const { acceleration, peers } = await status(a);
  t.match(acceleration, {
    encap: { rung: 'segment', why: /over IPv6 only the workers encapsulate/ },
    decap: { rung: 'off', why: /the underlay is IPv6/ },
  });
  t.ok(((await totals(a)).tx_super_frames ?? 0) > 0, 'the kernel segmented');
  t.match(peers, [
    { address: ENDS[6].b, localAddress: ENDS[6].a, innerMtu: INNER_MTU, innerMtuWhy: 'eth2 1500' },
  ]);
  await lab.waitFor(async () => (await peerOf(a)).roundTripMs !== null, {
    what: 'a keepalive to be answered',
  });
  t.match(await peerOf(a), { state: 'up', loss: 0 });
  t.equal((await peerOf(a)).nextHopMac, lab.underlayMac('gw-b'), 'found by neighbor discovery');
});

t.test(
  'without acceleration, two workers, between hosts that segment and sum themselves',
  { skip },
  async (t) => {
    const nic = { checksumOffload: false, segmentationOffload: false };
    const lab = await createLab(twinVpcs({ over: 6, nic }));
    t.teardown(() => lab.close());
    await judgeFrames(t, lab);
    const dataplane = { acceleration: 'off', workers: 2 };
    const start = (vpc: 'a' | 'b') =>
      lab.startGateway(vpc, { config: { ...twinConfig(vpc, {}, 6), dataplane } });
    await carriesEverything(t, lab, await Promise.all([start('a'), start('b')]));
  },
);

/** ICMPv6 "packet too big" to gw-a about an outer packet of 1500 bytes, from gw-b's address. */
function reportToA(lab: Lab, mtu: number, quotedPeer: string = ENDS[6].b): Promise<string> {
  const script = `
import socket, struct, sys
mtu, here, peer = int(sys.argv[1]), sys.argv[2], sys.argv[3]
address = lambda text: socket.inet_pton(socket.AF_INET6, text)
quoted = struct.pack('!IHBB', 6 << 28, 1460, 97, 63) + address(here) + address(peer) + b'\\x30\\x00' + bytes(14)
message = struct.pack('!BBHI', 2, 0, 0, mtu) + quoted
socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6).sendto(message, (here, 0))
`;
  return lab.must('gw-b', ['python3', '-c', script, `${mtu}`, ENDS[6].a, quotedPeer]);
}

t.test('the path over IPv6', { skip }, async (t) => {
  const { lab, a, b } = await startTwins(t, { over: 6 });

  await t.test('checklist 34: what is too big is told, or cut', async (t) => {
    const full = { count: 2, size: LARGEST_UDP, dontFragment: true, wait: 1 };
    t.match(await ping(lab, 'a1', lab.address('b1'), full), { received: 2 });
    t.match(await ping(lab, 'a1', lab.address('b1'), { ...full, size: LARGEST_UDP + 1 }), { received: 0 });
    const route = await lab.must('a1', ['ip', 'route', 'get', lab.address('b1')]);
    t.match(route, new RegExp(` mtu ${INNER_MTU} `), 'the sender has learned it');
    t.match(await ping(lab, 'a2', lab.address('b2'), { size: 4000 }), { received: 5, duplicates: 0 });
  });

  await t.test('checklist 38: a router on the way says that the path is smaller', async (t) => {
    await reportToA(lab, 1279); // below what every IPv6 link carries
    await reportToA(lab, 1400, '2001:db8:ffff::7');
    await reportToA(lab, 1400);
    await lab.waitFor(async () => (await peerOf(a)).innerMtu === 1344, { what: 'the tunnel to shrink' });
    t.match(await peerOf(a), { innerMtuWhy: `ICMP from ${ENDS[6].b}` });
    t.match(await peerOf(b), { innerMtu: INNER_MTU }, 'the way back is another one');
    const sent = await tcpTransfer(lab, { from: 'a1', to: 'b1', bytes: 2_000_001 });
    t.same(sent.received, { bytes: 2_000_001, sha256: sent.sha256 });
    t.equal((await drops(a)).drop_icmp_quote_unknown, 1, 'the forged one');
  });

  await t.test('checklist 39: probes find a black hole, and stop at 1280', async (t) => {
    const rules = `table netdev hole {
      chain ingress { type filter hook ingress device gw-b priority 0; ether type ip6 meta length > 1340 drop; }
    }`;
    await lab.must('underlay', ['nft', '-f', '-'], { input: rules });
    const limited = async () => (await peerOf(b)).innerMtuWhy === 'probe';
    await lab.waitFor(limited, { what: 'probes to find the black hole', timeoutMs: 90_000 });
    const found = async () => (await peerOf(b)).innerMtu >= 1340 - 4 - 56;
    await lab.waitFor(found, { what: 'the search to come close', timeoutMs: 90_000 });
    const { innerMtu, state } = await peerOf(b);
    t.ok(innerMtu <= 1340 - 56, `${innerMtu} bytes fit`);
    t.equal(state, 'mtu-limited');
  });
});

t.test(
  'checklist 8: outer fragments and wrong EtherIP over IPv6 are counted, and the kernel is silent',
  { skip },
  async (t) => {
    const { lab, a } = await startTwins(t, { over: 6, judged: false });
    const before = await kernelErrors(lab, 'gw-a');
    const script = `
import socket, struct, sys
here, peer = sys.argv[1], sys.argv[2]
address = lambda text: socket.inet_pton(socket.AF_INET6, text)
raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
def send(source, next_header, payload):
    header = struct.pack('!IHBB', 6 << 28, len(payload), next_header, 64) + address(source) + address(here)
    raw.sendto(header + payload, (here, 0))
etherip = b'\\x30\\x00' + bytes(60)
for at, more in ((0, 1), (64, 0)):
    send(peer, 44, struct.pack('!BBHI', 97, 0, at | more, 7) + etherip.ljust(64, b'\\0'))
send(peer, 60, bytes((97, 0, 1, 4, 0, 0, 0, 0)) + b'\\x40\\x00' + bytes(60))
send(peer, 97, b'\\x30\\x00' + bytes(5))
`;
    await lab.must('gw-b', ['python3', '-c', script, ENDS[6].a, ENDS[6].b]);
    const expected = { drop_outer_fragment: 2, drop_etherip_version: 1, drop_inner_truncated: 1 };
    await lab.waitFor(async () => Object.keys(await drops(a)).length === 3, {
      what: 'three reasons to be counted',
    });
    t.same(await drops(a), expected);
    t.equal(await kernelErrors(lab, 'gw-a'), before);
  },
);

t.test('the gateway restarts under a TCP transfer', { skip }, async (t) => {
  const { lab, b } = await startTwins(t, { over: 6 });
  const transfer = await startTransfer(lab, { from: 'a1', to: 'b1' });
  await transfer.moves(2_000_000);
  await b.kill();
  await lab.startGateway('b', { config: twinConfig('b', {}, 6) });
  await transfer.moves(4_000_000);
  const { bytes, sha256, received } = await transfer.finish();
  t.same(received, { bytes, sha256 }, 'every byte has arrived');
});

t.test('the flag form', { skip }, async (t) => {
  const lab = await createLab(twinVpcs({ over: 6 }));
  t.teardown(() => lab.close());
  await judgeFrames(t, lab);
  const ends = (own: string, far: string) => ['-o', 'eth1', '-t', 'eth2', '-d', far, '-s', own];
  await lab.startGateway('b', { args: ends(ENDS[6].b, ENDS[6].a) });
  const a = await lab.startGateway('a', {
    args: [...ends(ENDS[6].a, ENDS[6].b), '-r', '10.0.0.20,10.0.0.21'],
  });
  t.match(await ping(lab, 'a1', '10.0.0.20'), { received: 5, duplicates: 0, errors: 0 });
  const sent = await tcpTransfer(lab, { from: 'a2', to: 'b2', bytes: 2_000_001 });
  t.same(sent.received, { bytes: 2_000_001, sha256: sent.sha256 });
  t.same(await drops(a), {});
});

t.test('what the machine has must fit', { skip }, async (t) => {
  const lab = await createLab(twinVpcs({ over: 6 }));
  t.teardown(() => lab.close());
  const config = twinConfig('a', {}, 6);
  const absent = { ...config, underlay: { interface: 'eth2', address: '2001:db8:ffff::77' } };
  await t.rejects(
    lab.startGateway('a', { config: absent }),
    /underlay\.address: 2001:db8:ffff::77 is not an address of eth2, which has 2001:db8:ffff::1\. Write one of its addresses, or give it this one: ip address add 2001:db8:ffff::77\/64 dev eth2\./,
  );
  const full = { ...config, dataplane: { acceleration: 'full' } };
  await t.rejects(lab.startGateway('a', { config: full }), /full does not work here: the underlay is IPv6/);
});
