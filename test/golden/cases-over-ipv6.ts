/** Golden cases of tunnels over IPv6: what stands outside is another header, all else is as over IPv4. */
import {
  ACK,
  be16,
  bytes,
  counting,
  DESTINATION_OPTIONS,
  type Extension,
  echo,
  echo6,
  etherIp,
  ethernet,
  fragment6,
  fragments,
  HOP_BY_HOP,
  type Ipv6Fields,
  icmp6,
  ipv4,
  ipv6,
  PSH,
  packetTooBig,
  padded,
  raw,
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
  GATEWAY,
  LOCAL,
  MAC,
  ORIGINAL,
  TWIN,
  TWIN_HERE,
  toLocal,
  tooBig,
} from './world.js';
import {
  B6,
  C6,
  D6,
  flowLabelOf,
  fromPeerOver6,
  HERE6,
  MTU6,
  type OuterOver6,
  OVER_IPV6,
  toPeerOver6,
} from './world-over-ipv6.js';
import { FAR6, fromLocal6, LOCAL6, TWIN6, TWIN6_HERE, toLocal6 } from './world6.js';

const PAYLOAD = counting(100);
const PLAIN = udp({ from: 1, to: 2 });

const KINDS: readonly (readonly [string, Transport])[] = [
  ['TCP', tcp({ from: 40001, to: 443, payload: PAYLOAD })],
  ['UDP', udp({ from: 40001, to: 53, payload: PAYLOAD })],
];
const KINDS4 = [...KINDS, ['ICMP', echo({ id: 77 })] as const];
const KINDS6 = [...KINDS, ['ICMPv6', echo6({ id: 77 })] as const];

const encap4 = (what: string, to: string, far: string, transport: Transport): GoldenStep => ({
  what,
  direction: 'encap',
  frame: fromLocal(ipv4({ from: LOCAL, to }, transport)),
  verdict: 'forwarded',
  out: [toPeerOver6(B6, ipv4({ from: LOCAL, to: far }, transport))],
});
const encap6 = (what: string, to: string, far: string, transport: Transport): GoldenStep => ({
  what,
  direction: 'encap',
  frame: fromLocal6(ipv6({ from: LOCAL6, to }, transport)),
  verdict: 'forwarded',
  out: [toPeerOver6(B6, ipv6({ from: LOCAL6, to: far }, transport))],
});
const decap4 = (what: string, from: string, near: string, transport: Transport): GoldenStep => ({
  what,
  direction: 'decap',
  frame: fromPeerOver6(B6, ipv4({ from, to: LOCAL }, transport)),
  verdict: 'forwarded',
  out: [toLocal(ipv4({ from: near, to: LOCAL }, transport))],
});
const decap6 = (what: string, from: string, near: string, transport: Transport): GoldenStep => ({
  what,
  direction: 'decap',
  frame: fromPeerOver6(B6, ipv6({ from, to: LOCAL6 }, transport)),
  verdict: 'forwarded',
  out: [toLocal6(ipv6({ from: near, to: LOCAL6 }, transport))],
});

const models: GoldenCase[] = [
  {
    name: 'over-ipv6-encap',
    sentence:
      'Over IPv6 the outer header has 40 bytes, next header 97, hop limit 64, and one flow label for each inner flow (RFC 6438; checklist 1, 4, 41).',
    ...OVER_IPV6,
    steps: [
      ...KINDS4.flatMap(([kind, transport]) => [
        encap4(`${kind} over IPv4, same address`, FAR, FAR, transport),
        encap4(`${kind} over IPv4, twin`, TWIN_HERE, TWIN, transport),
      ]),
      ...KINDS6.flatMap(([kind, transport]) => [
        encap6(`${kind} over IPv6, same address`, FAR6, FAR6, transport),
        encap6(`${kind} over IPv6, twin`, TWIN6_HERE, TWIN6, transport),
      ]),
    ],
  },
  {
    name: 'over-ipv6-decap',
    sentence: 'What a peer sends over IPv6 is delivered as if it had come over IPv4 (checklist 4).',
    ...OVER_IPV6,
    steps: [
      ...KINDS4.flatMap(([kind, transport]) => [
        decap4(`${kind} over IPv4, same address`, FAR, FAR, transport),
        decap4(`${kind} over IPv4, twin`, TWIN, TWIN_HERE, transport),
      ]),
      ...KINDS6.flatMap(([kind, transport]) => [
        decap6(`${kind} over IPv6, same address`, FAR6, FAR6, transport),
        decap6(`${kind} over IPv6, twin`, TWIN6, TWIN6_HERE, transport),
      ]),
      {
        ...decap4('behind Ethernet padding', FAR, FAR, echo({ id: 1, payload: bytes() })),
        frame: padded(
          fromPeerOver6(B6, ipv4({ from: FAR, to: LOCAL }, echo({ id: 1, payload: bytes() }))),
          140,
        ),
      },
    ],
  },
  {
    name: 'over-ipv6-original',
    sentence: 'Towards a peer whose hosts are asked for through the tunnel the inner MAC is the far host’s.',
    ...OVER_IPV6,
    steps: [
      {
        what: 'to a host behind it',
        direction: 'encap',
        frame: fromLocal(ipv4({ from: LOCAL, to: ORIGINAL }, PLAIN)),
        verdict: 'forwarded',
        out: [toPeerOver6(D6, ipv4({ from: LOCAL, to: ORIGINAL }, PLAIN), { innerTo: '02:00:00:00:0d:40' })],
      },
    ],
  },
  {
    name: 'over-ipv6-extension-headers',
    sentence:
      'Hop-by-hop and destination options before EtherIP are skipped, eight extension headers at most; a routing header that is used up, too (checklist 8).',
    ...OVER_IPV6,
    steps: [
      [HOP_BY_HOP],
      [DESTINATION_OPTIONS],
      [HOP_BY_HOP, DESTINATION_OPTIONS],
      [routing(0)],
      [fragment6()],
      Array.from({ length: 8 }, () => DESTINATION_OPTIONS),
    ].map((extensions, index): GoldenStep => {
      const packet = ipv4({ from: FAR, to: LOCAL }, PLAIN);
      const what =
        index === 4 ? 'an atomic fragment (RFC 6946)' : `headers ${extensions.map(({ type }) => type)}`;
      const frame = fromPeerOver6(B6, packet, { extensions });
      return { what, direction: 'decap', frame, verdict: 'forwarded', out: [toLocal(packet)] };
    }),
  },
];

/** A routing header of type 4 with an empty list. */
function routing(segmentsLeft: number): Extension {
  return { type: 43, rest: [0, 4, segmentsLeft, 0, 0, 0, 0] };
}

const NAMES = ['Not-ECT', 'ECT(1)', 'ECT(0)', 'CE'];
/** RFC 6040, figure 4. Rows: inner Not-ECT, ECT(1), ECT(0), CE; columns the same, outer. -1: drop. */
const MERGED = [
  [0, 0, 0, -1],
  [1, 1, 1, 3],
  [2, 1, 2, 3],
  [3, 3, 3, 3],
];

const marks: GoldenCase[] = [
  {
    name: 'over-ipv6-traffic-class',
    sentence:
      'DSCP and ECN of the inner packet stand in the outer traffic class, too (RFC 2983, RFC 6040 normal mode, checklist 44).',
    ...OVER_IPV6,
    steps: [0, 1, 2, 3, 0xb8, 0xff].flatMap((tos): GoldenStep[] => {
      const packet = ipv4({ from: LOCAL, to: FAR, tos }, PLAIN);
      const packet6 = ipv6({ from: LOCAL6, to: FAR6, trafficClass: tos }, PLAIN);
      const outer = { trafficClass: tos };
      return [
        {
          what: `TOS ${tos}`,
          direction: 'encap',
          frame: fromLocal(packet),
          verdict: 'forwarded',
          out: [toPeerOver6(B6, packet, outer)],
        },
        {
          what: `traffic class ${tos}`,
          direction: 'encap',
          frame: fromLocal6(packet6),
          verdict: 'forwarded',
          out: [toPeerOver6(B6, packet6, outer)],
        },
      ];
    }),
  },
  {
    name: 'over-ipv6-dscp-fixed',
    sentence:
      'With underlay.dscp the tunnel has one DSCP outside; ECN is copied all the same (checklist 44).',
    table: { ...OVER_IPV6.table, dscp: 10 },
    neighbors: OVER_IPV6.neighbors,
    steps: [0, 2, 0xff].map((tos): GoldenStep => {
      const packet = ipv4({ from: LOCAL, to: FAR, tos }, PLAIN);
      return {
        what: `TOS ${tos}`,
        direction: 'encap',
        frame: fromLocal(packet),
        verdict: 'forwarded',
        out: [toPeerOver6(B6, packet, { trafficClass: (10 << 2) | (tos & 3) })],
      };
    }),
  },
  {
    name: 'over-ipv6-ecn-merged',
    sentence:
      'The ECN field of the outer traffic class joins the inner one as in RFC 6040, figure 4 (checklist 44).',
    ...OVER_IPV6,
    counters: { ecn_unexpected: 8 },
    steps: [0, 1, 2, 3].flatMap((inner) =>
      [0, 1, 2, 3].flatMap((outer): GoldenStep[] => {
        const merged = MERGED[inner]?.[outer] as number;
        const packet = (tos: number) => ipv4({ from: FAR, to: LOCAL, tos }, PLAIN);
        const packet6 = (trafficClass: number) => ipv6({ from: FAR6, to: LOCAL6, trafficClass }, PLAIN);
        const what = `inner ${NAMES[inner]}, outer ${NAMES[outer]}`;
        const fields = { trafficClass: 0xb8 | outer };
        const [four, six] = [
          fromPeerOver6(B6, packet(0x48 | inner), fields),
          fromPeerOver6(B6, packet6(0x48 | inner), fields),
        ];
        const step = { direction: 'decap' as const, verdict: merged < 0 ? 'ecn_not_ect_ce' : 'forwarded' };
        const out = (frame: Uint8Array) => (merged < 0 ? {} : { out: [frame] });
        return [
          { what: `${what}, IPv4`, ...step, frame: four, ...out(toLocal(packet(0x48 | merged))) },
          { what: `${what}, IPv6`, ...step, frame: six, ...out(toLocal6(packet6(0x48 | merged))) },
        ];
      }),
    ),
  },
];

const TCP_FIELDS = { from: 40001, to: 443, sequence: 7, flags: ACK | PSH };
const segment = (start: number, end: number, total: number) =>
  tcp({
    ...TCP_FIELDS,
    sequence: 7 + start,
    flags: end === total ? ACK | PSH : ACK,
    payload: counting(end - start, start),
  });

const CUT_FIELDS = { from: LOCAL, to: FAR, df: false, id: 3 };
const CUT_DATAGRAM = udp({ from: 1, to: 2, payload: counting(MTU6 - 28 + 1) });
const CUT = ipv4(CUT_FIELDS, CUT_DATAGRAM);

const sizes: GoldenCase[] = [
  {
    name: 'over-ipv6-super-frames',
    sentence:
      'Every packet of a super-frame has the outer header with its own length and the label of the flow.',
    ...OVER_IPV6,
    counters: { rx_super_frames: 3 },
    steps: [
      {
        what: 'TCP over IPv4, cut to what the tunnel carries',
        direction: 'encap',
        frame: fromLocal(
          ipv4(
            { from: LOCAL, to: TWIN_HERE, id: 5, tos: 2 },
            tcp({ ...TCP_FIELDS, payload: counting(3500), checksum: 'partial' }),
          ),
        ),
        virtio: { partial: { start: 34, offset: 16 }, gso: 'tcp', gsoSize: 1460 },
        verdict: 'forwarded',
        out: [0, 1404, 2808].map((at, index) =>
          toPeerOver6(
            B6,
            ipv4(
              { from: LOCAL, to: TWIN, id: 5 + index, tos: 2 },
              segment(at, Math.min(at + 1404, 3500), 3500),
            ),
            { trafficClass: 2 },
          ),
        ),
      },
      {
        what: 'UDP over IPv4',
        direction: 'encap',
        frame: fromLocal(
          ipv4(
            { from: LOCAL, to: FAR, id: 9 },
            udp({ from: 1, to: 2, payload: counting(250), checksum: 'partial' }),
          ),
        ),
        virtio: { gso: 'udp', gsoSize: 100 },
        verdict: 'forwarded',
        out: [0, 100, 200].map((at, index) =>
          toPeerOver6(
            B6,
            ipv4(
              { from: LOCAL, to: FAR, id: 9 + index },
              udp({ from: 1, to: 2, payload: counting(Math.min(100, 250 - at), at) }),
            ),
          ),
        ),
      },
      {
        what: 'TCP over IPv6',
        direction: 'encap',
        frame: fromLocal6(
          ipv6(
            { from: LOCAL6, to: TWIN6_HERE },
            tcp({ ...TCP_FIELDS, payload: counting(3000), checksum: 'partial' }),
          ),
        ),
        virtio: { partial: { start: 54, offset: 16 }, gso: 'tcp6', gsoSize: 1460 },
        verdict: 'forwarded',
        out: [0, 1384, 2768].map((at) =>
          toPeerOver6(B6, ipv6({ from: LOCAL6, to: TWIN6 }, segment(at, Math.min(at + 1384, 3000), 3000))),
        ),
      },
    ],
  },
  {
    name: 'over-ipv6-largest',
    sentence:
      'A packet of the tunnel MTU passes whole; one byte more is cut inside, or its sender is told (checklist 34, 42).',
    ...OVER_IPV6,
    counters: { fragmented: 1 },
    steps: [
      encap4('1444 bytes', FAR, FAR, udp({ from: 1, to: 2, payload: counting(MTU6 - 28) })),
      {
        what: '1445 bytes that may be cut: fragments inside, the label of the flow outside',
        direction: 'encap',
        frame: fromLocal(CUT),
        verdict: 'forwarded',
        out: fragments(CUT_FIELDS, CUT_DATAGRAM, MTU6).map((fragment) =>
          toPeerOver6(B6, fragment, { flowLabel: flowLabelOf(CUT) }),
        ),
      },
      tooBigStep(),
      {
        what: '1445 bytes over IPv6',
        direction: 'encap',
        frame: fromLocal6(ipv6({ from: LOCAL6, to: FAR6 }, raw(59, counting(MTU6 - 40 + 1)))),
        verdict: 'too_big',
        replies: [tooBig6(ipv6({ from: LOCAL6, to: FAR6 }, raw(59, counting(MTU6 - 40 + 1))))],
      },
      encap6('1444 bytes over IPv6', FAR6, FAR6, udp({ from: 1, to: 2, payload: counting(MTU6 - 48) })),
    ],
  },
  {
    name: 'over-ipv6-far-host-told',
    sentence:
      'A far host whose packet is too big for the overlay is told through the tunnel, over IPv6, too (checklist 35).',
    table: { ...OVER_IPV6.table, overlayMtu: 1300 },
    neighbors: OVER_IPV6.neighbors,
    steps: [
      {
        what: '1301 bytes with DF',
        direction: 'decap',
        frame: fromPeerOver6(B6, ipv4({ from: FAR, to: LOCAL }, raw(132, counting(1281)))),
        verdict: 'too_big',
        replies: [
          toPeerOver6(
            B6,
            ipv4(
              { from: GATEWAY, to: FAR, tos: 0xc0, id: 0 },
              unreachable(ipv4({ from: FAR, to: LOCAL }, raw(132, counting(1281))).subarray(0, 548), {
                mtu: 1300,
              }),
            ),
            { innerTo: MAC.farHost, innerFrom: MAC.overlay, trafficClass: 0xc0, flowLabel: 0 },
          ),
        ],
      },
    ],
  },
];

function tooBigStep(): GoldenStep {
  const packet = ipv4({ from: LOCAL, to: FAR }, raw(132, counting(MTU6 - 20 + 1)));
  return {
    what: '1445 bytes with DF',
    direction: 'encap',
    frame: fromLocal(packet),
    verdict: 'too_big',
    replies: [toLocal(tooBig(LOCAL, packet, MTU6))],
  };
}

function tooBig6(packet: Uint8Array): Uint8Array {
  const told = ipv6(
    { from: '2001:db8::5', to: LOCAL6, trafficClass: 0xc0 },
    packetTooBig(packet.subarray(0, 1280 - 48), MTU6),
  );
  return toLocal6(told);
}

const refused =
  (verdict: string) =>
  (what: string, frame: Uint8Array, more: Partial<GoldenStep> = {}) => ({
    what,
    direction: 'decap' as const,
    frame,
    verdict,
    ...more,
  });
const malformed = refused('outer_malformed');
const unknown = refused('unknown_peer');
const forUs = refused('to_gateway');

const FROM_FAR = ipv4({ from: FAR, to: LOCAL }, PLAIN);
const outer = (fields: OuterOver6, carried?: Transport) => fromPeerOver6(B6, FROM_FAR, fields, carried);
const nested = raw(97, bytes(be16(0x3000), counting(40)));

const refusals: GoldenCase[] = [
  {
    name: 'over-ipv6-outer-malformed',
    sentence: 'An outer IPv6 header or chain of extension headers that is wrong is nothing.',
    ...OVER_IPV6,
    steps: [
      malformed('version 4', outer({ version: 4 })),
      malformed('longer than the frame', outer({ payloadLength: 400 })),
      malformed('cut in the header', outer({}).subarray(0, 53)),
      malformed(
        'a chain that ends in the air',
        outer({ payloadLength: 4, extensions: [DESTINATION_OPTIONS] }),
      ),
      malformed('nine headers', outer({ extensions: Array.from({ length: 9 }, () => DESTINATION_OPTIONS) })),
      malformed(
        'hop-by-hop options that come second',
        outer({ extensions: [DESTINATION_OPTIONS, HOP_BY_HOP] }),
      ),
      malformed('a route that goes on elsewhere', outer({ extensions: [routing(1)] })),
    ],
  },
  {
    name: 'over-ipv6-outer-fragment',
    sentence: 'Outer fragments are not reassembled over IPv6 either (checklist 8).',
    ...OVER_IPV6,
    steps: [
      refused('outer_fragment')('the first', outer({ extensions: [fragment6({ more: true })] })),
      refused('outer_fragment')('a later one', outer({ extensions: [fragment6({ offset: 64 })] })),
    ],
  },
  {
    name: 'over-ipv6-unknown-peer',
    sentence: 'Only a configured pair of addresses is a peer; over IPv4 none of these is (checklist 7).',
    ...OVER_IPV6,
    steps: [
      unknown('a foreign source', fromPeerOver6('2001:db8:ffff::9', FROM_FAR)),
      unknown('another address of ours', outer({ to: '2001:db8:ffff::7' })),
      unknown('from nobody to nobody', outer({ from: '::', to: '::' })),
      unknown('mirrored', outer({ from: HERE6, to: B6 })),
      unknown('half of an address right', outer({ from: '2001:db8:fffe::2' })),
      unknown('over IPv4', fromPeer(B, FROM_FAR)),
    ],
  },
  {
    name: 'over-ipv6-etherip-wrong',
    sentence: 'The EtherIP header is judged as over IPv4 (checklist 2, 3, 5).',
    ...OVER_IPV6,
    steps: [
      refused('etherip_version')('version 4', outer({}, etherIp(counting(60), 0x4000))),
      refused('etherip_reserved')('reserved bits', outer({}, etherIp(counting(60), 0x3001))),
      refused('inner_truncated')('nothing', outer({}, raw(97, []))),
      refused('inner_truncated')('13 bytes of a frame', outer({}, etherIp(counting(13)))),
    ],
  },
  {
    name: 'over-ipv6-not-etherip',
    sentence: 'What is no EtherIP is left to the kernel, and groups are nobody to deliver to.',
    ...OVER_IPV6,
    steps: [
      forUs('TCP to the gateway itself', outer({}, tcp({ from: 1, to: 22 }))),
      forUs('a ping', outer({}, echo6({ id: 1 }))),
      forUs('another ICMPv6 error', outer({}, icmp6({ type: 1, payload: counting(60) }))),
      refused('multicast')('to a group', withMac(outer({}), '33:33:00:00:00:01')),
      refused('own_frame')('our own', withSource(outer({}), MAC.underlay)),
    ],
  },
  {
    name: 'over-ipv6-nested',
    sentence: 'EtherIP to an end of the tunnel is not carried inside it (checklist 6).',
    table: {
      ...OVER_IPV6.table,
      proxied: [
        ...OVER_IPV6.table.proxied,
        { address: '2001:db8::ee', host: B6, prefixLength: 128, peer: 0 },
      ],
    },
    neighbors: OVER_IPV6.neighbors,
    steps: [
      {
        what: 'to the peer',
        direction: 'encap',
        frame: fromLocal6(ipv6({ from: LOCAL6, to: '2001:db8::ee' }, nested)),
        verdict: 'etherip_nested',
      },
      refused('etherip_nested')('to this end', fromPeerOver6(B6, ipv6({ from: FAR6, to: HERE6 }, nested))),
    ],
  },
  {
    name: 'over-ipv6-held',
    sentence: 'Without a next hop to the peer frames wait, and it is asked for by its IPv6 address.',
    table: OVER_IPV6.table,
    neighbors: OVER_IPV6.neighbors.slice(1),
    steps: [
      {
        what: 'IPv4',
        direction: 'encap',
        frame: fromLocal(ipv4({ from: LOCAL, to: FAR }, PLAIN)),
        verdict: 'held',
        events: [`unresolved 1 ${B6}`],
      },
      {
        what: 'IPv6',
        direction: 'encap',
        frame: fromLocal6(ipv6({ from: LOCAL6, to: FAR6 }, PLAIN)),
        verdict: 'held',
      },
      {
        what: 'it does not answer',
        direction: 'encap',
        neighbors: [{ scope: 1, address: B6 }],
        frame: fromLocal6(ipv6({ from: LOCAL6, to: FAR6 }, PLAIN)),
        verdict: 'neighbor_failed',
      },
    ],
    counters: { drop_neighbor_failed: 2 },
  },
];

function withMac(frame: Uint8Array, mac: string): Uint8Array {
  return bytes(ethernet({ to: mac, from: MAC.nextHop, type: 0x86dd }, frame.subarray(14)));
}
function withSource(frame: Uint8Array, mac: string): Uint8Array {
  return bytes(ethernet({ to: MAC.underlay, from: mac, type: 0x86dd }, frame.subarray(14)));
}

const ROUTER = '2001:db8:ffff::99';

/** What a router on the underlay says about an outer packet of ours. */
function report(
  quoted: Uint8Array,
  fields: { to?: string; mtu?: number; error?: Transport; extensions?: readonly Extension[] } = {},
): Uint8Array {
  const { to = HERE6, mtu = 1400, error, extensions = [] } = fields;
  const packet = ipv6({ from: ROUTER, to, hopLimit: 250, extensions }, error ?? packetTooBig(quoted, mtu));
  return ethernet({ to: MAC.underlay, from: MAC.nextHop, type: 0x86dd }, packet);
}

/** An outer packet of 1500 bytes as a router quotes it. */
function sentOuter(fields: Partial<Ipv6Fields> & { word?: number; protocol?: number } = {}): Uint8Array {
  const { word = 0x3000, protocol = 97, ...ip } = fields;
  const inner = bytes(be16(word), counting(200));
  return ipv6(
    { from: HERE6, to: B6, hopLimit: 62, flowLabel: 0x12345, payloadLength: 1460, ...ip },
    raw(protocol, inner),
  );
}

const heard = (what: string, frame: Uint8Array, event: string): GoldenStep => ({
  what,
  direction: 'decap',
  frame,
  verdict: 'punted',
  events: [event],
});
const forged = refused('icmp_quote_unknown');

const reports: GoldenCase[] = [
  {
    name: 'over-ipv6-path-report-heard',
    sentence:
      'checklist 38: ICMPv6 "packet too big" about an outer packet that this gateway sends is told to the control plane.',
    ...OVER_IPV6,
    steps: [
      heard('', report(sentOuter()), `path-report 2 ${ROUTER} 1400 1500`),
      heard(
        'about another peer',
        report(sentOuter({ to: C6 }), { mtu: 1300 }),
        `path-report 3 ${ROUTER} 1300 1500`,
      ),
      heard('an absurd MTU', report(sentOuter(), { mtu: 0x10001 }), `path-report 2 ${ROUTER} 65535 1500`),
      heard('no MTU', report(sentOuter(), { mtu: 0 }), `path-report 2 ${ROUTER} 0 1500`),
      heard(
        'behind an extension header',
        report(sentOuter(), { extensions: [DESTINATION_OPTIONS] }),
        `path-report 2 ${ROUTER} 1400 1500`,
      ),
    ],
  },
  {
    name: 'over-ipv6-path-report-forged',
    sentence:
      'checklist 38: ICMPv6 "packet too big" about anything that this gateway does not send is not believed.',
    ...OVER_IPV6,
    steps: [
      forged('another source quoted', report(sentOuter({ from: '2001:db8:ffff::7' }))),
      forged('another destination quoted', report(sentOuter({ to: '2001:db8:ffff::7' }))),
      forged('another protocol quoted', report(sentOuter({ protocol: 4 }))),
      forged('extension headers are not ours', report(sentOuter({ extensions: [DESTINATION_OPTIONS] }))),
      forged('no EtherIP', report(sentOuter({ word: 0x4000 }))),
      forged('cut short', report(sentOuter().subarray(0, 41))),
      forged('nothing quoted', report(new Uint8Array())),
      forged('IPv4 quoted', report(ipv4({ from: LOCAL, to: FAR }, PLAIN))),
      forged('not to whom it is about', report(sentOuter(), { to: '2001:db8:ffff::50' })),
      refused('bad_icmp_checksum')(
        'a wrong checksum',
        report(sentOuter(), { error: packetTooBig(sentOuter(), 1400, 0x1234) }),
      ),
    ],
  },
  {
    name: 'over-ipv6-neighbor-discovery',
    sentence: 'Neighbor solicitations and advertisements on the underlay are the control plane’s.',
    ...OVER_IPV6,
    steps: [135, 136].map((type): GoldenStep => {
      const message = icmp6({ type, payload: bytes([0x20, 1, 0x0d, 0xb8], counting(12)) });
      const packet = ipv6({ from: B6, to: HERE6, hopLimit: 255 }, message);
      const frame = ethernet({ to: MAC.underlay, from: MAC.nextHop, type: 0x86dd }, packet);
      return heard(`type ${type}`, frame, `neighbor-discovery 1 ${Buffer.from(frame).toString('hex')}`);
    }),
  },
];

export const OVER_IPV6_CASES: readonly GoldenCase[] = [
  ...models,
  ...marks,
  ...sizes,
  ...refusals,
  ...reports,
];
