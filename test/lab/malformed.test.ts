// Every kind of bad frame, at both interfaces: counted under its reason, never forwarded, never a crash.
//
// Frames go in at the gateway's own wire, past the mapping service and the bridge. What the socket filters
// leave to the kernel (too short to tell whose it is, or for the gateway's own address) is not counted: kinds
// without a reason here must only not come out.
import t, { type Test } from 'tap';
import { type ControlClient, connect } from '../../src/control/client.js';
import { createLab, type GatewayProcess, type Lab, ping, whyNoLab } from '../../src/lab/index.js';
import { twinConfig, twinVpcs } from '../helpers/lab.js';
import {
  address,
  arp,
  be16,
  etherip,
  ethernet,
  type Ipv4Fields,
  icmp,
  ipv4,
  randomBytes,
  seededRandom,
  TYPE,
  tcp,
  udp,
} from '../helpers/original/frames.js';
import { type SuperFrame, sendFrames, Watch } from '../helpers/original/wire.js';
import { judgeFrames } from '../helpers/second-opinion.js';

const skip = await whyNoLab();

/** How often each frame is sent: the counter must rise by exactly that. */
const TIMES = 3;

const UDP = 17;
const TCP = 6;
const ICMP = 1;
const ETHERIP = 97;

interface Kind {
  readonly what: string;
  readonly frame: Buffer | SuperFrame;
  /** The counter that rises; undefined: the socket filter leaves the frame to the kernel. */
  readonly counter: string | undefined;
}

/** Wrong in itself, wherever it is: a packet's fields, and the reason for which it is dropped. */
function brokenPackets(
  source: string,
  destination: string,
): { what: string; packet: Buffer; reason: string }[] {
  const packet = (fields: Partial<Ipv4Fields>) =>
    ipv4({ source, destination, protocol: UDP, payload: udp(100), ...fields });
  const malformed = (what: string, bytes: Buffer) => ({ what, packet: bytes, reason: 'malformed_ipv4' });
  const l4 = (what: string, protocol: number, payload: Buffer) => ({
    what,
    packet: packet({ protocol, payload }),
    reason: 'malformed_l4',
  });
  const to = (address: string, reason: string) => ({
    what: `to ${address}`,
    packet: packet({ destination: address }),
    reason,
  });
  const from = (address: string, reason: string) => ({
    what: `from ${address}`,
    packet: packet({ source: address }),
    reason,
  });
  return [
    malformed('IPv4 version 5', packet({ version: 5 })),
    malformed('IPv4 version 6', packet({ version: 6 })),
    malformed('IPv4 header of 16 bytes', packet({ headerWords: 4 })),
    malformed('IPv4 header of 0 bytes', packet({ headerWords: 0 })),
    malformed('IPv4 header longer than the packet', packet({ headerWords: 15, payload: udp(0) })),
    malformed('total length 0', packet({ totalLength: 0 })),
    malformed('total length 19', packet({ totalLength: 19 })),
    malformed('total length beyond the frame', packet({ totalLength: 129 })),
    malformed('total length 65535', packet({ totalLength: 65535 })),
    { what: 'wrong IPv4 checksum', packet: packet({ checksumError: 1 }), reason: 'bad_ipv4_checksum' },
    l4('TCP header cut short', TCP, tcp(5).subarray(0, 19)),
    l4('no TCP header at all', TCP, Buffer.alloc(0)),
    l4('TCP data offset 4', TCP, tcp(4)),
    l4('TCP data offset 0', TCP, tcp(0, 100)),
    l4('TCP data offset beyond the packet', TCP, tcp(15, 39)),
    l4('UDP header cut short', UDP, udp(0).subarray(0, 7)),
    l4('UDP length 7', UDP, udp(100, 7)),
    l4('UDP length beyond the packet', UDP, udp(100, 109)),
    l4('ICMP header cut short', ICMP, Buffer.alloc(7)),
    to('224.0.0.5', 'multicast'),
    to('239.255.255.250', 'multicast'),
    to('255.255.255.255', 'broadcast'),
    to('10.0.0.255', 'reserved_address'),
    to('10.0.0.0', 'reserved_address'),
    to('10.0.0.1', 'reserved_address'),
    to('169.254.169.254', 'link_local'),
    to('127.0.0.1', 'reserved_address'),
    to('0.0.0.0', 'reserved_address'),
    to('240.0.0.1', 'reserved_address'),
    from('224.0.0.5', 'multicast'),
    from('255.255.255.255', 'broadcast'),
    from('10.0.0.255', 'reserved_address'),
    from('169.254.1.1', 'link_local'),
    from('127.0.0.1', 'reserved_address'),
    from('0.0.0.0', 'reserved_address'),
    from('240.0.0.1', 'reserved_address'),
  ];
}

/** Frames that are no IPv4 at all. */
function otherFrames(destination: string, source: string): { what: string; frame: Buffer; reason: string }[] {
  const packet = ipv4({ source: '10.0.0.10', destination: '10.0.0.20', protocol: UDP, payload: udp(20) });
  const tagged = (tpid: number) =>
    ethernet(destination, source, tpid, Buffer.concat([be16(5, TYPE.ipv4), packet]));
  return [
    { what: 'a VLAN tag', frame: tagged(TYPE.vlan), reason: 'vlan_tagged' },
    { what: 'a service VLAN tag', frame: tagged(TYPE.serviceVlan), reason: 'vlan_tagged' },
    {
      what: 'two VLAN tags',
      frame: ethernet(
        destination,
        source,
        TYPE.serviceVlan,
        Buffer.concat([be16(5, TYPE.vlan, 6, TYPE.ipv4), packet]),
      ),
      reason: 'vlan_tagged',
    },
    {
      what: 'IPv6',
      frame: ethernet(destination, source, TYPE.ipv6, Buffer.concat([Buffer.from([0x60]), Buffer.alloc(59)])),
      reason: 'ipv6',
    },
    {
      what: 'a spanning tree BPDU',
      frame: ethernet(
        '01:80:c2:00:00:00',
        source,
        38,
        Buffer.concat([Buffer.from([0x42, 0x42, 3]), Buffer.alloc(43)]),
      ),
      reason: 'not_ethernet_ii',
    },
    {
      what: 'IEEE 802.3',
      frame: ethernet(destination, source, 46, Buffer.alloc(46, 0xaa)),
      reason: 'not_ethernet_ii',
    },
    {
      what: 'LLDP',
      frame: ethernet('01:80:c2:00:00:0e', source, TYPE.lldp, Buffer.alloc(46, 1)),
      reason: 'unknown_ethertype',
    },
    {
      what: 'an unassigned type',
      frame: ethernet(destination, source, 0xffff, Buffer.alloc(46, 1)),
      reason: 'unknown_ethertype',
    },
  ];
}

/** ARP packets that say nothing valid, by the counter of the slow path. */
function brokenArp(
  senderMac: string,
  sender: string,
  target: string,
): { what: string; arp: Buffer; counter: string }[] {
  const of = (fields: object) => arp({ senderMac, sender, target, ...fields });
  return [
    { what: 'hardware type 6', arp: of({ hardware: 6 }), counter: 'arp_malformed' },
    { what: 'protocol type 0x86dd', arp: of({ protocol: 0x86dd }), counter: 'arp_malformed' },
    { what: 'hardware length 8', arp: of({ hardwareLength: 8 }), counter: 'arp_malformed' },
    { what: 'protocol length 16', arp: of({ protocolLength: 16 }), counter: 'arp_malformed' },
    { what: 'operation 0', arp: of({ operation: 0 }), counter: 'arp_malformed' },
    { what: 'operation 3 (RARP)', arp: of({ operation: 3 }), counter: 'arp_malformed' },
    { what: 'cut short', arp: of({}).subarray(0, 27), counter: 'arp_malformed' },
    { what: 'nothing but its type', arp: Buffer.alloc(0), counter: 'arp_malformed' },
    {
      what: 'a group MAC as sender',
      arp: of({ senderMac: '01:00:5e:00:00:05' }),
      counter: 'arp_sender_refused',
    },
    {
      what: 'a zero MAC as sender',
      arp: of({ senderMac: '00:00:00:00:00:00' }),
      counter: 'arp_sender_refused',
    },
    { what: 'a multicast sender', arp: of({ sender: '224.0.0.5' }), counter: 'arp_sender_refused' },
    { what: 'a loopback sender', arp: of({ sender: '127.0.0.1' }), counter: 'arp_sender_refused' },
  ];
}

interface Bench {
  readonly lab: Lab;
  readonly gateway: GatewayProcess;
  readonly control: ControlClient;
  /** What comes out of gw-a at either side. */
  readonly outOfOverlay: Watch;
  readonly outOfUnderlay: Watch;
}

type Side = 'overlay' | 'underlay';

async function bench(t: Test, peer: Record<string, unknown> = {}): Promise<Bench> {
  const lab = await createLab(twinVpcs());
  t.teardown(() => lab.close());
  await judgeFrames(t, lab);
  const quiet = { keepalive: false, ...peer };
  const [gateway] = await Promise.all([
    lab.startGateway('a', { config: twinConfig('a', quiet) }),
    lab.startGateway('b', { config: twinConfig('b', { keepalive: false }) }),
  ]);
  const control = await connect({ socket: gateway.socket });
  t.teardown(() => control.close());
  await works(t, lab);
  const outOfOverlay = await Watch.start(lab, 'vpc-a', 'gw-a');
  const outOfUnderlay = await Watch.start(lab, 'underlay', 'gw-a');
  return { lab, gateway, control, outOfOverlay, outOfUnderlay };
}

/** Three echo requests and replies each way, and each comes out once. */
const PACKETS_OF_WORKS = 12;

async function works(t: Test, lab: Lab): Promise<void> {
  for (const [from, to] of [
    ['a1', '10.0.0.20'],
    ['b1', '10.0.0.10'],
  ] as const) {
    t.match(
      await ping(lab, from, to, { count: 3 }),
      { sent: 3, received: 3, duplicates: 0, errors: 0 },
      `${from} reaches ${to}`,
    );
  }
}

/** Sends out of the far end of the gateway's wire. */
function inject({ lab }: Bench, side: Side, frames: readonly (Buffer | SuperFrame)[], times = TIMES) {
  return sendFrames(lab, side === 'overlay' ? 'vpc-a' : 'underlay', 'gw-a', frames, times);
}

/** Frames seen by the gateway, without what it does with them. */
const received = (totals: Record<string, number>) => totals.rx_frames ?? 0;

/** The counters that say what became of frames; others (wakes, bytes) move by themselves. */
function fates(totals: Record<string, number>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(totals).filter(([name]) =>
      /^(drop_|arp_(malformed|sender_refused|conflicts|tunnel_refused)|forwarded|held)/.test(name),
    ),
  );
}

/** Only ARP may come out: the kernel's and our own neighbors are probed whenever they like. */
async function packetsOut({ outOfOverlay, outOfUnderlay }: Bench): Promise<Buffer[]> {
  return [...(await outOfOverlay.frames()), ...(await outOfUnderlay.frames())]
    .map(({ bytes }) => bytes)
    .filter((bytes) => bytes.readUInt16BE(12) !== TYPE.arp);
}

/** Sends every kind and compares what has risen with what should have. */
async function check(t: Test, bench: Bench, side: Side, kinds: readonly Kind[]): Promise<void> {
  const out = (await packetsOut(bench)).length;
  const all = await rises(bench, side, kinds);
  t.same(all.actual, all.expected, `${kinds.length} kinds, each counted ${TIMES} times`);
  if (JSON.stringify(all.actual) !== JSON.stringify(all.expected)) {
    // One by one, to name the culprit.
    for (const kind of kinds) {
      const one = await rises(bench, side, [kind]);
      t.same(one.actual, one.expected, kind.what);
    }
  }
  await works(t, bench.lab);
  await nothingElse(t, bench, out + PACKETS_OF_WORKS);
}

/** What came out of either side is `count` packets in all. Only after good ones that followed the bad. */
async function nothingElse(t: Test, bench: Bench, count: number): Promise<void> {
  const seen = async () => (await packetsOut(bench)).length;
  await bench.lab.waitFor(async () => (await seen()) >= count, { what: 'the good packets to be seen' });
  t.equal(await seen(), count, 'nothing came out but the pings');
}

async function rises(bench: Bench, side: Side, kinds: readonly Kind[]) {
  const expected: Record<string, number> = {};
  for (const { counter } of kinds) {
    if (counter !== undefined) expected[counter] = (expected[counter] ?? 0) + TIMES;
  }
  const before = fates((await bench.control.stats()).totals);
  await inject(
    bench,
    side,
    kinds.map(({ frame }) => frame),
  );
  const risen = async () => {
    const after = fates((await bench.control.stats()).totals);
    const changes = Object.entries(after).map(
      ([name, count]) => [name, count - (before[name] ?? 0)] as const,
    );
    return sorted(Object.fromEntries(changes.filter(([, rise]) => rise !== 0)));
  };
  const total = (counts: Record<string, number>) =>
    Object.values(counts).reduce((sum, count) => sum + count, 0);
  const patience = { what: 'every frame to be counted', timeoutMs: 15_000 };
  // What is missing then shows in the comparison.
  await bench.lab
    .waitFor(async () => total(await risen()) >= total(expected), patience)
    .catch(() => undefined);
  return { actual: await risen(), expected: sorted(expected) };
}

function sorted(counts: Record<string, number>): Record<string, number> {
  return Object.fromEntries(Object.entries(counts).sort(([one], [other]) => (one < other ? -1 : 1)));
}

t.test('on the overlay', { skip }, async (t) => {
  const rig = await bench(t);
  const { lab } = rig;
  const own = lab.mac('gw-a');
  const host = lab.mac('a1');
  const proxied = '10.0.0.20';
  const local = '10.0.0.10';
  const good = ipv4({ source: local, destination: proxied, protocol: UDP, payload: udp(100) });
  const frame = (packet: Buffer) => ethernet(own, host, TYPE.ipv4, packet);
  const from = (source: string) =>
    frame(ipv4({ source, destination: proxied, protocol: UDP, payload: udp(9) }));
  const to = (destination: string) =>
    frame(ipv4({ source: local, destination, protocol: UDP, payload: udp(9) }));

  await t.test('broken packets', async (t) => {
    await check(
      t,
      rig,
      'overlay',
      brokenPackets(local, proxied).map(({ what, packet, reason }) => ({
        what,
        frame: frame(packet),
        counter: `drop_${reason}`,
      })),
    );
  });

  await t.test('other frames', async (t) => {
    await check(t, rig, 'overlay', [
      ...otherFrames(own, host).map(({ what, frame, reason }) => ({
        what,
        frame,
        counter: `drop_${reason}`,
      })),
      { what: 'nothing behind the Ethernet header', frame: frame(Buffer.alloc(0)), counter: undefined },
      { what: 'an IPv4 header of 19 bytes', frame: frame(good.subarray(0, 19)), counter: undefined },
      {
        what: 'broadcast by its MAC, not by its address',
        frame: ethernet('ff:ff:ff:ff:ff:ff', host, TYPE.ipv4, good),
        counter: 'drop_broadcast',
      },
      {
        what: 'multicast by its MAC, not by its address',
        frame: ethernet('01:00:5e:00:00:05', host, TYPE.ipv4, good),
        counter: 'drop_multicast',
      },
      {
        what: "another machine's MAC",
        frame: ethernet(lab.mac('a2'), host, TYPE.ipv4, good),
        counter: 'drop_other_host',
      },
      {
        what: 'our own MAC as source',
        frame: ethernet(own, own, TYPE.ipv4, good),
        counter: 'drop_own_frame',
      },
      {
        // An echo reply that nobody waits for: the kernel says nothing to it.
        what: 'for the gateway itself',
        frame: frame(
          ipv4({
            source: local,
            destination: '10.0.0.5',
            protocol: ICMP,
            payload: icmp(0, 0, Buffer.alloc(4)),
          }),
        ),
        counter: undefined,
      },
      { what: 'for an address that is not proxied', frame: to('10.0.0.99'), counter: 'drop_not_proxied' },
      { what: "from the gateway's own address", frame: from('10.0.0.5'), counter: 'drop_looped' },
      { what: 'from a proxied address', frame: from('10.0.0.21'), counter: 'drop_looped' },
      {
        what: 'an ICMP error about a packet that did not come from there',
        frame: frame(
          ipv4({
            source: local,
            destination: proxied,
            protocol: ICMP,
            payload: icmp(
              3,
              1,
              Buffer.concat([
                Buffer.alloc(4),
                ipv4({ source: '10.0.0.99', destination: local, protocol: UDP, payload: udp(0) }),
              ]),
            ),
          }),
        ),
        counter: 'drop_icmp_quote_unknown',
      },
    ]);
  });

  await t.test('broken super-frames', async (t) => {
    const random = seededRandom(20261122);
    const whole = (fields: Partial<Ipv4Fields>) => ({
      segment: 1400,
      bytes: frame(
        ipv4({ source: local, destination: proxied, protocol: TCP, payload: tcp(5, 60_000), ...fields }),
      ),
    });
    const garbage = randomBytes(random, 65_000);
    // Its filter reads the destination; let it not be the gateway's own by chance.
    garbage[0] = 0x75;
    // The sending kernel itself refuses a super-frame that does not look like TCP to it.
    garbage[9] = TCP;
    garbage[32] = 0x50;
    await check(t, rig, 'overlay', [
      { what: 'version 7', frame: whole({ version: 7 }), counter: 'drop_malformed_ipv4' },
      {
        what: 'total length beyond the frame',
        frame: whole({ totalLength: 65_535 }),
        counter: 'drop_malformed_ipv4',
      },
      { what: 'a fragment', frame: whole({ fragment: 0x2000 }), counter: 'drop_unsupported_gso' },
      {
        what: '64 KB of garbage',
        frame: { segment: 1400, bytes: frame(garbage) },
        counter: 'drop_malformed_ipv4',
      },
    ]);
  });

  await t.test('ARP', async (t) => {
    const asks = ethernet.bind(undefined, 'ff:ff:ff:ff:ff:ff', host, TYPE.arp);
    await check(t, rig, 'overlay', [
      ...brokenArp(host, local, proxied).map(({ what, arp, counter }) => ({
        what,
        frame: asks(arp),
        counter,
      })),
      {
        what: "the gateway's own address as sender",
        frame: asks(arp({ senderMac: host, sender: '10.0.0.5', target: local })),
        counter: 'arp_conflicts',
      },
    ]);
    await t.test('a proxied address as sender is met with one announcement', async (t) => {
      const announced = async () =>
        (await rig.outOfOverlay.frames()).filter(
          ({ bytes }) =>
            bytes.readUInt16BE(12) === TYPE.arp && bytes.subarray(28, 32).equals(address(proxied)),
        ).length;
      const conflicts = async () => (await rig.control.stats()).totals.arp_conflicts ?? 0;
      const before = await conflicts();
      const claim = arp({ senderMac: host, sender: proxied, target: local });
      await inject(rig, 'overlay', [asks(claim)]);
      await lab.waitFor(async () => (await conflicts()) === before + TIMES && (await announced()) > 0, {
        what: 'the conflicts to be counted and answered',
      });
      t.equal(await announced(), 1);
    });
    const rows = (await rig.control.neighbors()).filter(({ scope }) => scope === 'overlay');
    t.ok(
      rows.every(({ address, mac }) => mac === null || mac === lab.mac(address === local ? 'a1' : 'a2')),
      'no neighbor has learned anything from it',
    );
  });

  await t.test('an address probe for a proxied address is answered and teaches nothing', async (t) => {
    const replies = async () =>
      (await rig.outOfOverlay.frames()).filter(
        ({ bytes }) => bytes.readUInt16BE(12) === TYPE.arp && bytes.readUInt16BE(20) === 2,
      ).length;
    const before = await replies();
    const probe = arp({ senderMac: '02:00:00:00:00:99', sender: '0.0.0.0', target: proxied });
    await inject(rig, 'overlay', [ethernet('ff:ff:ff:ff:ff:ff', host, TYPE.arp, probe)], 1);
    await lab.waitFor(async () => (await replies()) > before, { what: 'the probe to be answered' });
    t.notOk((await rig.control.neighbors()).some(({ address }) => address === '0.0.0.0'));
  });

  await t.test('every byte of the IPv4 header, changed', async (t) => {
    const frames = Array.from({ length: 20 }, (_, at) => {
      const bytes = Buffer.from(good);
      // Never the other form of zero, which the checksum cannot tell from it (RFC 1071).
      bytes.writeUInt8((bytes.readUInt8(at) + 0x31) & 0xff, at);
      return frame(bytes);
    });
    await garbage(t, rig, 'overlay', frames);
  });

  await t.test('random bytes', async (t) => {
    const random = seededRandom(1);
    const frames = Array.from({ length: 400 }, () => {
      const payload = randomBytes(random, Math.floor(random() * 1480));
      const types = [TYPE.ipv4, TYPE.ipv6, TYPE.vlan, Math.floor(random() * 0x10000)];
      const type = types[Math.floor(random() * types.length)] ?? TYPE.ipv4;
      return ethernet(own, host, type === TYPE.arp ? TYPE.lldp : type, payload);
    });
    await garbage(t, rig, 'overlay', frames);
  });
});

/** Sends what must all be dropped, whatever for: every frame that was received has a reason. */
async function garbage(t: Test, rig: Bench, side: Side, frames: readonly Buffer[]): Promise<void> {
  const { control, lab } = rig;
  const out = (await packetsOut(rig)).length;
  const sum = (totals: Record<string, number>) =>
    Object.entries(totals).reduce((all, [name, count]) => all + (name.startsWith('drop_') ? count : 0), 0);
  const before = (await control.stats()).totals;
  await inject(rig, side, frames, 1);
  // A good frame behind them: when it is answered, they have all been seen.
  t.equal((await ping(lab, 'a1', '10.0.0.20', { count: 1 })).received, 1);
  let after = before;
  const risen = (name: string) => (after[name] ?? 0) - (before[name] ?? 0);
  const counted = () => sum(after) - sum(before) + risen('forwarded') + risen('punted');
  // Workers count what they received before what became of it.
  await lab.waitFor(
    async () => {
      after = (await control.stats()).totals;
      return risen('forwarded') >= 2 && counted() >= received(after) - received(before);
    },
    { what: 'the fate of every frame to be counted' },
  );
  // The ping's two packets were received and forwarded.
  const seen = received(after) - received(before) - risen('punted') - 2;
  t.ok(seen > 0, `${seen} of ${frames.length} frames passed the socket filter`);
  t.equal(sum(after) - sum(before), seen, 'and each was dropped for a reason');
  t.equal(risen('forwarded'), 2);
  // Its request and reply at either side.
  await nothingElse(t, rig, out + 2);
  t.ok(rig.gateway.process.running);
}

t.test('on the underlay', { skip }, async (t) => {
  const rig = await bench(t);
  const { lab } = rig;
  const own = lab.underlayMac('gw-a');
  const peer = lab.underlayMac('gw-b');
  const far = '10.0.0.20';
  const local = '10.0.0.10';
  const packet = (fields: Partial<Ipv4Fields>) =>
    ipv4({ source: far, destination: local, protocol: UDP, payload: udp(100), ...fields });
  const inner = (bytes: Buffer) => ethernet(lab.mac('gw-a'), lab.mac('b1'), TYPE.ipv4, bytes);
  const outer = (fields: Partial<Ipv4Fields>) =>
    ipv4({
      source: '198.18.0.2',
      destination: '198.18.0.1',
      protocol: ETHERIP,
      payload: etherip(inner(packet({}))),
      ...fields,
    });
  const frame = (bytes: Buffer) => ethernet(own, peer, TYPE.ipv4, bytes);
  const carrying = (bytes: Buffer, word?: number) => frame(outer({ payload: etherip(bytes, word) }));

  await t.test('the outer packet', async (t) => {
    const kind = (what: string, bytes: Buffer, reason: string) => ({
      what,
      frame: frame(bytes),
      counter: `drop_${reason}`,
    });
    await check(t, rig, 'underlay', [
      { what: 'shorter than the protocol field', frame: frame(outer({}).subarray(0, 9)), counter: undefined },
      kind('an IPv4 header of 19 bytes', outer({}).subarray(0, 19), 'outer_malformed'),
      kind('version 5', outer({ version: 5 }), 'outer_malformed'),
      kind('a header of 16 bytes', outer({ headerWords: 4 }), 'outer_malformed'),
      kind(
        'a header longer than the packet',
        outer({ headerWords: 15, payload: Buffer.alloc(8) }),
        'outer_malformed',
      ),
      kind('total length 19', outer({ totalLength: 19 }), 'outer_malformed'),
      kind('total length beyond the frame', outer({ totalLength: 1500 }), 'outer_malformed'),
      kind('a wrong checksum', outer({ checksumError: 1 }), 'outer_checksum'),
      kind('the first fragment', outer({ fragment: 0x2000 }), 'outer_fragment'),
      kind('a later fragment', outer({ fragment: 0x0010 }), 'outer_fragment'),
      kind('from nobody we know', outer({ source: '198.18.0.9' }), 'unknown_peer'),
      kind('to an address that is not the tunnel', outer({ destination: '198.18.0.9' }), 'unknown_peer'),
      kind('from ourselves', outer({ source: '198.18.0.1' }), 'unknown_peer'),
      {
        what: 'to the broadcast MAC',
        frame: ethernet('ff:ff:ff:ff:ff:ff', peer, TYPE.ipv4, outer({})),
        counter: 'drop_broadcast',
      },
      {
        what: 'to a multicast MAC',
        frame: ethernet('01:00:5e:00:00:05', peer, TYPE.ipv4, outer({})),
        counter: 'drop_multicast',
      },
      {
        what: "to another machine's MAC",
        frame: ethernet('02:00:00:00:00:99', peer, TYPE.ipv4, outer({})),
        counter: 'drop_other_host',
      },
      {
        what: 'our own MAC as source',
        frame: ethernet(own, own, TYPE.ipv4, outer({})),
        counter: 'drop_own_frame',
      },
      {
        what: 'a VLAN tag',
        frame: ethernet(own, peer, TYPE.vlan, Buffer.concat([be16(7, TYPE.ipv4), outer({})])),
        counter: 'drop_vlan_tagged',
      },
      {
        what: 'congestion marked on a packet without ECN',
        frame: frame(outer({ tos: 3 })),
        counter: 'drop_ecn_not_ect_ce',
      },
    ]);
  });

  await t.test('EtherIP', async (t) => {
    const kind = (what: string, payload: Buffer, reason: string) => ({
      what,
      frame: frame(outer({ payload })),
      counter: `drop_${reason}`,
    });
    const good = inner(packet({}));
    await check(t, rig, 'underlay', [
      kind('no EtherIP header', Buffer.alloc(0), 'inner_truncated'),
      kind('half an EtherIP header', Buffer.from([0x30]), 'inner_truncated'),
      ...[0, 1, 2, 4, 15].map((version) =>
        kind(`version ${version}`, etherip(good, version << 12), 'etherip_version'),
      ),
      kind('version and reserved bits swapped', etherip(good, 0x0300), 'etherip_version'),
      ...[0x3001, 0x3080, 0x3100, 0x3800, 0x3fff].map((word) =>
        kind(`reserved bits ${word.toString(16)}`, etherip(good, word), 'etherip_reserved'),
      ),
      kind('no inner frame', etherip(Buffer.alloc(0)), 'inner_truncated'),
      kind('an inner frame of 13 bytes', etherip(good.subarray(0, 13)), 'inner_truncated'),
      kind('an inner frame of 14 bytes', etherip(good.subarray(0, 14)), 'malformed_ipv4'),
      kind('an inner IPv4 header of 19 bytes', etherip(good.subarray(0, 33)), 'malformed_ipv4'),
      kind('an inner packet cut short', etherip(good.subarray(0, -1)), 'malformed_ipv4'),
    ]);
  });

  await t.test('the inner packet', async (t) => {
    const to = (destination: string, protocol = UDP) => carrying(inner(packet({ destination, protocol })));
    await check(t, rig, 'underlay', [
      ...brokenPackets(far, local).map(({ what, packet, reason }) => ({
        what,
        frame: carrying(inner(packet)),
        counter: `drop_${reason}`,
      })),
      ...otherFrames(lab.mac('gw-a'), lab.mac('b1')).map(({ what, frame, reason }) => ({
        what,
        frame: carrying(frame),
        counter: `drop_${reason}`,
      })),
      { what: 'to the gateway itself', frame: to('10.0.0.5'), counter: 'drop_to_gateway' },
      { what: 'to a proxied address', frame: to('10.0.0.21'), counter: 'drop_looped' },
      {
        what: 'from an unlisted host',
        frame: carrying(inner(packet({ source: '10.0.0.77' }))),
        counter: 'drop_unlisted_source',
      },
      {
        what: "from the gateway's own address",
        frame: carrying(inner(packet({ source: '10.0.0.5' }))),
        counter: 'drop_unlisted_source',
      },
      { what: 'EtherIP to the tunnel', frame: to('198.18.0.1', ETHERIP), counter: 'drop_etherip_nested' },
      {
        what: 'an ICMP error without a quote',
        frame: carrying(inner(packet({ protocol: ICMP, payload: icmp(3, 1, Buffer.alloc(4)) }))),
        counter: 'drop_malformed_l4',
      },
      {
        what: 'an ICMP error about nothing that was ever sent',
        frame: carrying(
          inner(
            packet({
              protocol: ICMP,
              payload: icmp(
                3,
                1,
                Buffer.concat([Buffer.alloc(4), packet({ destination: '10.0.0.99', payload: udp(0) })]),
              ),
            }),
          ),
        ),
        counter: 'drop_icmp_quote_unknown',
      },
    ]);
  });

  await t.test('ARP through the tunnel', async (t) => {
    const asks = (bytes: Buffer) => carrying(ethernet('ff:ff:ff:ff:ff:ff', peer, TYPE.arp, bytes));
    const request = (target: string) => asks(arp({ senderMac: peer, sender: '198.18.0.2', target }));
    await check(t, rig, 'underlay', [
      ...brokenArp(peer, '198.18.0.2', local).map(({ what, arp, counter }) => ({
        what,
        frame: asks(arp),
        counter,
      })),
      { what: 'for a proxied address', frame: request(far), counter: 'arp_tunnel_refused' },
      { what: 'for the gateway itself', frame: request('10.0.0.5'), counter: 'arp_tunnel_refused' },
      { what: 'for an address elsewhere', frame: request('192.0.2.1'), counter: 'arp_tunnel_refused' },
      { what: 'for a loopback address', frame: request('127.0.0.1'), counter: 'arp_tunnel_refused' },
    ]);
  });

  await t.test('every byte of the outer header, changed', async (t) => {
    const good = outer({});
    const frames = Array.from({ length: 20 }, (_, at) => {
      const bytes = Buffer.from(good);
      bytes.writeUInt8((bytes.readUInt8(at) + 0x31) & 0xff, at);
      return frame(bytes);
    });
    await garbage(t, rig, 'underlay', frames);
  });

  await t.test('random bytes in EtherIP', async (t) => {
    const random = seededRandom(2);
    const frames = Array.from({ length: 400 }, (_, index) => {
      const bytes = randomBytes(random, Math.floor(random() * 1460));
      // Half of them come as far as the inner packet. ARP may have something to say, so it is left out.
      if (index % 2 === 0 && bytes.length > 14) bytes.writeUInt16BE(TYPE.ipv4, 12);
      return carrying(bytes);
    });
    await garbage(t, rig, 'underlay', frames);
  });
});

t.test('a wrong checksum from a peer that may be the original', { skip }, async (t) => {
  const rig = await bench(t, { resolve: 'tunnel' });
  const { lab } = rig;
  const own = lab.underlayMac('gw-a');
  const out = (await packetsOut(rig)).length;
  const wrong = ipv4({
    source: '10.0.0.20',
    destination: '10.0.0.10',
    protocol: UDP,
    payload: udp(10),
    checksumError: 1,
  });
  const packet = ipv4({
    source: '198.18.0.2',
    destination: '198.18.0.1',
    protocol: ETHERIP,
    payload: etherip(ethernet(own, lab.mac('b1'), TYPE.ipv4, wrong)),
  });
  await inject(rig, 'underlay', [ethernet(own, lab.underlayMac('gw-b'), TYPE.ipv4, packet)]);
  await lab.waitFor(async () => (await packetsOut(rig)).length >= out + TIMES, {
    what: 'the packets to be delivered',
  });
  const delivered = (await packetsOut(rig)).slice(out, out + TIMES);
  t.ok(
    delivered.every((bytes) => bytes.subarray(14, 34).equals(mended(wrong))),
    'with the checksum redone',
  );
  t.equal((await rig.control.stats()).totals.checksums_mended, TIMES);
});

function mended(packet: Buffer): Buffer {
  const right = ipv4({ source: '10.0.0.20', destination: '10.0.0.10', protocol: UDP, payload: udp(10) });
  return right.length === packet.length ? right.subarray(0, 20) : packet;
}
