/** Golden cases of size: what is too big, who is told, what is cut, and what others tell the gateway. */
import { ipv4ToBytes } from '../../src/net/address.js';
import {
  ACK,
  type Bytes,
  be16,
  bytes,
  counting,
  echo,
  ethernet,
  fragments,
  type Ipv4Fields,
  icmp,
  ipv4,
  mssOption,
  raw,
  SYN,
  type Transport,
  tcp,
  udp,
  unreachable,
} from '../helpers/frames.js';
import type { GoldenCase, GoldenStep } from './golden-case.js';
import {
  B,
  FAR,
  fromLocal,
  fromPeer,
  HERE,
  LOCAL,
  MAC,
  NEIGHBORS,
  TABLE,
  TWIN,
  TWIN_HERE,
  toLocal,
  tooBig,
  toPeer,
} from './world.js';

const WORLD = { table: TABLE, neighbors: NEIGHBORS };
const SMALL_OVERLAY = { table: { ...TABLE, overlayMtu: 1200 }, neighbors: NEIGHBORS };
const MTU = 1464;
const ROUTER = '198.18.0.9';

/** Options of 12 bytes: record route (not copied), NOP, router alert (copied), padded. */
const OPTIONS = [7, 7, 4, 0, 0, 0, 0, 1, 0x94, 4, 0, 0];
const COPIED = [0x94, 4, 0, 0];

/** From LOCAL to FAR, one byte too big unless `payload` says otherwise: it must not be cut, and LOCAL is told. */
function told(what: string, transport: Transport, fields: Partial<Ipv4Fields> = {}): GoldenStep {
  const packet = ipv4({ from: LOCAL, to: FAR, ...fields }, transport);
  return {
    what,
    direction: 'encap',
    frame: fromLocal(packet),
    verdict: 'too_big',
    replies: [toLocal(tooBig(fields.from ?? LOCAL, packet, MTU))],
  };
}

/** The same, and nobody is told. */
function untold(what: string, transport: Transport, fields: Partial<Ipv4Fields> = {}): GoldenStep {
  const { replies: _, ...step } = told(what, transport, fields);
  return step;
}

const bigUdp = udp({ from: 40001, to: 53, payload: counting(1437) });
const bigEcho = echo({ id: 77, payload: counting(1437) });

const toldCases: GoldenCase[] = [
  {
    name: 'too-big-df-told',
    sentence:
      'checklist 34, 35: what is too big for the tunnel and must not be cut (DF) is answered with type 3 code 4, the tunnel MTU in it and as much of the packet as 576 bytes hold, from the overlay address to its sender.',
    ...WORLD,
    steps: [
      told('UDP', bigUdp),
      told('TCP, one segment', tcp({ from: 40001, to: 443, payload: counting(1425) })),
      told('a ping', bigEcho),
      told('to a far host with another address', bigUdp, { to: TWIN_HERE }),
      told('with IP options', udp({ from: 1, to: 2, payload: counting(1425) }), { options: OPTIONS }),
      told('a first fragment, although DF', bigUdp, { mf: true }),
      {
        what: 'datagrams of an aggregate: the first is quoted',
        direction: 'encap',
        frame: fromLocal(ipv4({ from: LOCAL, to: FAR }, udp({ from: 1, to: 2, payload: counting(3000) }))),
        virtio: { gso: 'udp', gsoSize: 1437 },
        verdict: 'too_big',
        replies: [toLocal(tooBig(LOCAL, firstOfAggregate(3000, 1437), MTU))],
      },
    ],
    counters: { rx_super_frames: 1 },
  },
  {
    name: 'too-big-df-told-far-host',
    sentence:
      'checklist 23, 34, 35: what is too big for the overlay and must not be cut (DF) is answered through the tunnel, to the far host that sent it.',
    ...SMALL_OVERLAY,
    steps: [bigUdp, bigEcho].map((transport) => {
      const packet = ipv4({ from: FAR, to: LOCAL }, transport);
      return {
        what: `${FAR} to ${LOCAL}, protocol ${transport.protocol}`,
        direction: 'decap',
        frame: fromPeer(B, packet),
        verdict: 'too_big',
        replies: [
          toPeer(B, tooBig(FAR, packet, 1200), { innerTo: MAC.farHost, innerFrom: MAC.overlay, tos: 0xc0 }),
        ],
      };
    }),
  },
  {
    name: 'too-big-not-told',
    sentence:
      'checklist 36: no ICMP error is sent about an ICMP error, a later fragment, or what was not for one host.',
    ...WORLD,
    steps: [
      untold('an ICMP error', unreachable(ipv4({ from: FAR, to: LOCAL }, bigUdp), { mtu: 1200 })),
      untold('an ICMP message of an unknown type', icmp({ type: 99, payload: counting(1437) })),
      untold('a later fragment', raw(17, counting(1445)), { offset: 1480 }),
      {
        ...untold('to everybody', bigUdp, { to: '255.255.255.255' }),
        verdict: 'broadcast',
      },
      { ...untold('to a group', bigUdp, { to: '224.0.0.251' }), verdict: 'multicast' },
      { ...untold('from nobody', bigUdp, { from: '0.0.0.0' }), verdict: 'reserved_address' },
      { ...untold('from class E', bigUdp, { from: '240.0.0.1' }), verdict: 'reserved_address' },
      {
        ...untold('in a frame that says it is from a group', bigUdp),
        frame: ethernet(
          { to: MAC.overlay, from: '03:00:00:00:00:0a' },
          ipv4({ from: LOCAL, to: FAR }, bigUdp),
        ),
      },
      {
        what: 'in a frame to all',
        direction: 'encap',
        frame: ethernet({ to: 'ff:ff:ff:ff:ff:ff', from: MAC.local }, ipv4({ from: LOCAL, to: FAR }, bigUdp)),
        verdict: 'broadcast',
      },
    ],
  },
  {
    name: 'too-big-told-at-a-rate',
    sentence:
      'checklist 37: so many ICMP errors a second are sent and no more, and one host does not use up those of the others.',
    table: { ...TABLE, icmpErrorsPerSecond: 20 },
    neighbors: NEIGHBORS,
    steps: [
      told('the first', bigUdp),
      told('the second', bigUdp),
      untold('the third of a host', bigUdp),
      told('another host', bigUdp, { from: '10.0.0.11' }),
      { ...told('a second later', bigUdp), time: 2 },
    ],
    counters: { icmp_errors_withheld: 1 },
  },
  {
    name: 'too-big-told-to-nobody',
    sentence: 'checklist 37: a rate of zero sends no ICMP errors.',
    table: { ...TABLE, icmpErrorsPerSecond: 0 },
    neighbors: NEIGHBORS,
    steps: [untold('UDP', bigUdp)],
    counters: { icmp_errors_withheld: 1 },
  },
];

/** As the aggregate's sender knows it; its checksum is still the aggregate's. */
function firstOfAggregate(payload: number, size: number): Uint8Array<ArrayBuffer> {
  const from = ipv4ToBytes(LOCAL);
  const to = ipv4ToBytes(FAR);
  const whole = udp({ from: 1, to: 2, payload: counting(payload) }).bytes(from, to);
  const first = whole.slice(0, 8 + size);
  first.set(be16(8 + size), 4);
  return ipv4({ from: LOCAL, to: FAR }, raw(17, first));
}

interface Cut {
  what: string;
  transport: Transport;
  fields?: Partial<Ipv4Fields>;
  laterOptions?: readonly number[];
}

function cutIntoTunnel({ what, transport, fields = {}, laterOptions = [] }: Cut): GoldenStep {
  const sent: Ipv4Fields = { from: LOCAL, to: FAR, df: false, ...fields };
  const tos = fields.tos ?? 0;
  return {
    what,
    direction: 'encap',
    frame: fromLocal(ipv4(sent, transport)),
    verdict: 'forwarded',
    out: fragments({ ...sent, laterOptions }, transport, MTU).map((fragment) => toPeer(B, fragment, { tos })),
  };
}

const cutCases: GoldenCase[] = [
  {
    name: 'too-big-cut',
    sentence:
      'checklist 23, 42: what is too big for the tunnel and may be cut goes in fragments, in order, with one identification and only the options that have the copy bit (RFC 791).',
    ...WORLD,
    steps: [
      cutIntoTunnel({ what: 'one byte too big', transport: bigUdp }),
      cutIntoTunnel({ what: 'six fragments', transport: udp({ from: 1, to: 2, payload: counting(8000) }) }),
      cutIntoTunnel({ what: 'a ping', transport: echo({ id: 7, payload: counting(4000) }) }),
      cutIntoTunnel({
        what: 'a TCP segment, with TOS',
        transport: tcp({ from: 1, to: 2, flags: ACK, payload: counting(2000) }),
        fields: { tos: 0xb8 },
      }),
      cutIntoTunnel({
        what: 'options: one is copied',
        transport: udp({ from: 1, to: 2, payload: counting(3000) }),
        fields: { options: OPTIONS },
        laterOptions: COPIED,
      }),
      cutIntoTunnel({
        what: 'an option whose length is wrong is not copied',
        transport: udp({ from: 1, to: 2, payload: counting(3000) }),
        fields: { options: [0x94, 4, 0, 0, 0x95, 9, 0, 0] },
        laterOptions: COPIED,
      }),
      cutIntoTunnel({
        what: 'a first fragment is cut again',
        transport: raw(17, bytes(be16(1), be16(2), be16(4008), be16(0), counting(1464))),
        fields: { mf: true },
      }),
      cutIntoTunnel({
        what: 'a fragment in the middle is cut again',
        transport: raw(17, counting(1472)),
        fields: { mf: true, offset: 1472 },
      }),
      cutIntoTunnel({
        what: 'a last fragment is cut again',
        transport: raw(17, counting(1470)),
        fields: { offset: 2944 },
      }),
    ],
    counters: { fragmented: 9 },
  },
  {
    name: 'too-big-cut-rewritten',
    sentence:
      'checklist 12, 42: what is cut and has another address on the far side carries it in every fragment, and one checksum over all of them.',
    ...WORLD,
    steps: [
      {
        what: `${LOCAL} to ${TWIN_HERE}`,
        direction: 'encap',
        frame: fromLocal(ipv4({ from: LOCAL, to: TWIN_HERE, df: false }, bigUdp)),
        verdict: 'forwarded',
        out: fragments({ from: LOCAL, to: TWIN }, bigUdp, MTU).map((fragment) => toPeer(B, fragment)),
      },
    ],
    counters: { fragmented: 1 },
  },
  {
    name: 'too-big-cut-onto-overlay',
    sentence:
      'checklist 23, 42: what a far host sends is cut where the overlay carries less than the tunnel, and rewritten before.',
    ...SMALL_OVERLAY,
    steps: [
      ...[bigUdp, bigEcho, tcp({ from: 1, to: 2, flags: ACK, payload: counting(1300) })].map(
        (transport): GoldenStep => ({
          what: `${TWIN} to ${LOCAL}, protocol ${transport.protocol}`,
          direction: 'decap',
          frame: fromPeer(B, ipv4({ from: TWIN, to: LOCAL, df: false }, transport)),
          verdict: 'forwarded',
          out: fragments({ from: TWIN_HERE, to: LOCAL }, transport, 1200).map(toLocal),
        }),
      ),
    ],
    counters: { fragmented: 3 },
  },
  {
    name: 'super-frame-udp-cut',
    sentence:
      'checklist 42: datagrams of an aggregate that are too big for the tunnel and may be cut go in fragments, each datagram with an identification of its own.',
    ...WORLD,
    steps: [
      {
        what: 'two that are too big and one that is not',
        direction: 'encap',
        frame: fromLocal(
          ipv4(
            { from: LOCAL, to: FAR, df: false, id: 0x2000 },
            udp({ from: 1, to: 2, payload: counting(3500), checksum: 'partial' }),
          ),
        ),
        virtio: { gso: 'udp', gsoSize: 1500 },
        verdict: 'forwarded',
        out: [0, 1500, 3000].flatMap((at, index) =>
          fragments(
            { from: LOCAL, to: FAR, id: 0x2000 + index },
            udp({ from: 1, to: 2, payload: counting(Math.min(1500, 3500 - at), at) }),
            MTU,
          ).map((fragment) => toPeer(B, fragment)),
        ),
      },
    ],
    counters: { rx_super_frames: 1 },
  },
];

/** What a router on the underlay says about an outer packet of ours. */
function report(
  quoted: Bytes,
  fields: { to?: string; from?: string; mtu?: number; error?: Transport } = {},
): Uint8Array<ArrayBuffer> {
  const { to = HERE, from = ROUTER, mtu = 1400, error } = fields;
  const packet = ipv4({ from, to, ttl: 250 }, error ?? unreachable(quoted, { mtu }));
  return ethernet({ to: MAC.underlay, from: MAC.nextHop }, packet);
}

/** An outer packet of 1500 bytes as a router quotes it. */
function outer(fields: Partial<Ipv4Fields> & { word?: number; protocol?: number } = {}): Uint8Array {
  const { word = 0x3000, protocol = 97, ...ip } = fields;
  const inner = bytes(be16(word), counting(26));
  return ipv4({ from: HERE, to: B, id: 0, ttl: 62, totalLength: 1500, ...ip }, raw(protocol, inner));
}

const heard = (what: string, frame: Bytes, event: string): GoldenStep => ({
  what,
  direction: 'decap',
  frame,
  verdict: 'punted',
  events: [event],
});
const forged = (what: string, frame: Bytes, verdict = 'icmp_quote_unknown'): GoldenStep => ({
  what,
  direction: 'decap',
  frame,
  verdict,
});

const reportCases: GoldenCase[] = [
  {
    name: 'path-report-heard',
    sentence:
      'checklist 38: "fragmentation needed" about an outer packet that this gateway sends is told to the control plane.',
    ...WORLD,
    steps: [
      heard('28 bytes quoted', report(outer().subarray(0, 28)), `path-report 2 ${ROUTER} 1400 1500`),
      heard('more quoted', report(outer()), `path-report 2 ${ROUTER} 1400 1500`),
      heard(
        'about another peer',
        report(outer({ to: '198.18.0.3' }), { mtu: 1300 }),
        `path-report 3 ${ROUTER} 1300 1500`,
      ),
      heard('no MTU in it', report(outer(), { mtu: 0 }), `path-report 2 ${ROUTER} 0 1500`),
      heard('marked by a bleaching router', report(outer({ tos: 3 })), `path-report 2 ${ROUTER} 1400 1500`),
    ],
  },
  {
    name: 'path-report-forged',
    sentence:
      'checklist 38: "fragmentation needed" about anything that this gateway does not send is not believed.',
    ...WORLD,
    steps: [
      forged('another source quoted', report(outer({ from: '198.18.0.7' }))),
      forged('another destination quoted', report(outer({ to: '198.18.0.7' }))),
      forged('another protocol quoted', report(outer({ protocol: 4 }))),
      forged('fragments are not ours', report(outer({ df: false, mf: true }))),
      forged('nor are identifications', report(outer({ id: 1 }))),
      forged('nor options', report(outer({ options: [1, 1, 1, 1] }))),
      forged('no EtherIP', report(outer({ word: 0x4000 }))),
      forged('cut short', report(outer().subarray(0, 21))),
      forged('nothing quoted', report(new Uint8Array())),
      forged('not to whom it is about', report(outer(), { to: '198.18.0.50' })),
      forged(
        'a wrong checksum',
        report(outer(), { error: unreachable(outer(), { mtu: 1400, checksum: 0x1234 }) }),
        'bad_icmp_checksum',
      ),
      forged('another error', report(outer(), { error: unreachable(outer()) }), 'to_gateway'),
      forged('a ping', report(outer(), { error: echo({ id: 1 }) }), 'to_gateway'),
    ],
  },
];

const NOP = [1];
/** A SYN with these options, before and after clamping; both directions. */
function syn(what: string, before: readonly number[], after: readonly number[]): GoldenStep[] {
  const segment = (options: readonly number[]) =>
    tcp({ from: 40001, to: 443, flags: SYN, options, payload: new Uint8Array() });
  return [
    {
      what: `${what}: from here`,
      direction: 'encap',
      frame: fromLocal(ipv4({ from: LOCAL, to: FAR }, segment(before))),
      verdict: 'forwarded',
      out: [toPeer(B, ipv4({ from: LOCAL, to: FAR }, segment(after)))],
    },
    {
      what: `${what}: from the far side, SYN-ACK`,
      direction: 'decap',
      frame: fromPeer(
        B,
        ipv4(
          { from: FAR, to: LOCAL },
          tcp({ from: 443, to: 40001, flags: SYN | ACK, options: before, payload: new Uint8Array() }),
        ),
      ),
      verdict: 'forwarded',
      out: [
        toLocal(
          ipv4(
            { from: FAR, to: LOCAL },
            tcp({ from: 443, to: 40001, flags: SYN | ACK, options: after, payload: new Uint8Array() }),
          ),
        ),
      ],
    },
  ];
}

const BIG = mssOption(8961);
const FITS = mssOption(1424);

/** Encap before decap: what came from a far host would be written back as its MAC. */
const ordered = (steps: GoldenStep[]): GoldenStep[] =>
  [...steps].sort((one, other) => Number(other.direction === 'encap') - Number(one.direction === 'encap'));

const mssCases: GoldenCase[] = [
  {
    name: 'mss-odd-options',
    sentence:
      'checklist 40: the MSS is lowered wherever it stands among the options, and the checksum follows.',
    ...WORLD,
    steps: ordered([
      ...syn(
        'behind NOPs',
        [...NOP, ...NOP, ...NOP, ...NOP, ...BIG],
        [...NOP, ...NOP, ...NOP, ...NOP, ...FITS],
      ),
      ...syn(
        'at an odd offset',
        [...NOP, ...BIG, ...NOP, ...NOP, ...NOP],
        [...NOP, ...FITS, ...NOP, ...NOP, ...NOP],
      ),
      ...syn(
        'behind an unknown option of odd length',
        [253, 5, 1, 2, 3, ...BIG, 3, 3, 7],
        [253, 5, 1, 2, 3, ...FITS, 3, 3, 7],
      ),
      ...syn('twice', [...BIG, ...mssOption(9000)], [...FITS, ...FITS]),
      ...syn('small, then big', [...mssOption(536), ...BIG], [...mssOption(536), ...FITS]),
      ...syn(
        'with all the others',
        [...BIG, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7],
        [...FITS, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7],
      ),
    ]),
    counters: { mss_clamped: 12 },
  },
  {
    name: 'mss-left-alone',
    sentence:
      'checklist 40: no MSS is raised or added, and nothing is read beyond options that are cut short.',
    ...WORLD,
    steps: ordered(
      [
        ['none at all', []],
        ['smaller', mssOption(536)],
        ['as large as fits', FITS],
        ['zero', mssOption(0)],
        ['behind an option of length 0', [253, 0, ...NOP, ...NOP, ...BIG]],
        ['behind an option of length 1', [253, 1, ...NOP, ...NOP, ...BIG]],
        ['behind one that is longer than the header', [253, 40, ...NOP, ...NOP, ...BIG]],
        ['cut short', [...NOP, ...NOP, 2, 4]],
        ['of length 3', [2, 3, 0x23, ...NOP]],
        ['of length 6', [2, 6, 0x23, 0x01, 0, 0, ...NOP, ...NOP]],
        ['a kind without a length at the end', [...NOP, ...NOP, ...NOP, 2]],
      ].flatMap(([what, options]) => syn(what as string, options as number[], options as number[])),
    ),
  },
];

export const MTU_CASES: readonly GoldenCase[] = [...toldCases, ...cutCases, ...reportCases, ...mssCases];
