/** Golden cases of IPv6 between hosts: the address model of IPv4 without masquerade. */
import {
  ACK,
  bytes,
  CWR,
  counting,
  DESTINATION_OPTIONS,
  type Extension,
  echo6,
  FIN,
  fragment6,
  HOP_BY_HOP,
  type Ipv6Fields,
  icmp6,
  ipv6,
  mssOption,
  PSH,
  packetTooBig,
  padded,
  raw,
  SYN,
  type Transport,
  tcp,
  udp,
} from '../helpers/frames.js';
import type { GoldenCase, GoldenStep } from './golden-case.js';
import { B, C, D, MAC, NEXT_HOPS } from './world.js';
import {
  ASKED6,
  FAR6,
  fromLocal6,
  fromPeer6,
  GATEWAY6,
  LOCAL6,
  NEIGHBORS6,
  TWIN6,
  TWIN6_HERE,
  toLocal6,
  toPeer6,
  UNLISTED6,
  WORLD6,
} from './world6.js';

const PAYLOAD = counting(100);
const KINDS: Record<string, Transport> = {
  TCP: tcp({ from: 40001, to: 443, payload: PAYLOAD }),
  UDP: udp({ from: 40001, to: 53, payload: PAYLOAD }),
  ICMPv6: echo6({ id: 77 }),
};

interface Carried6 {
  what: string;
  direction: 'encap' | 'decap';
  before: [string, string];
  after: [string, string];
  transport: Transport;
  transportAfter?: Transport;
  fields?: Partial<Ipv6Fields>;
}

/** A packet that is carried with other addresses and otherwise unchanged. */
function carried({
  what,
  direction,
  before,
  after,
  transport,
  transportAfter,
  fields,
}: Carried6): GoldenStep {
  const packet = ipv6({ from: before[0], to: before[1], ...fields }, transport);
  const expected = ipv6({ from: after[0], to: after[1], ...fields }, transportAfter ?? transport);
  const tos = fields?.trafficClass ?? 0;
  return direction === 'encap'
    ? {
        what,
        direction,
        frame: fromLocal6(packet),
        verdict: 'forwarded',
        out: [toPeer6(B, expected, { tos })],
      }
    : { what, direction, frame: fromPeer6(B, packet), verdict: 'forwarded', out: [toLocal6(expected)] };
}

/** One step for each kind of transport. */
function allKinds(route: Omit<Carried6, 'what' | 'transport'>): GoldenStep[] {
  return Object.entries(KINDS).map(([kind, transport]) =>
    carried({ ...route, what: `${kind}, ${route.before.join(' to ')}`, transport }),
  );
}

const ENCAP_SAME = { direction: 'encap', before: [LOCAL6, FAR6], after: [LOCAL6, FAR6] } as const;
const DECAP_SAME = { direction: 'decap', before: [FAR6, LOCAL6], after: [FAR6, LOCAL6] } as const;
const ENCAP_TWIN = { direction: 'encap', before: [LOCAL6, TWIN6_HERE], after: [LOCAL6, TWIN6] } as const;
const DECAP_TWIN = { direction: 'decap', before: [TWIN6, LOCAL6], after: [TWIN6_HERE, LOCAL6] } as const;
type Route = Omit<Carried6, 'what' | 'transport'>;
const route = (one: object): Route => one as Route;

const models: GoldenCase[] = [
  {
    name: 'ipv6-encap-same-address',
    sentence: 'An IPv6 packet to a far host with the same address here goes into EtherIP as it is.',
    ...WORLD6,
    steps: allKinds(route(ENCAP_SAME)),
  },
  {
    name: 'ipv6-decap-same-address',
    sentence: 'An IPv6 packet from a far host with the same address here gets new MACs and nothing else.',
    ...WORLD6,
    steps: allKinds(route(DECAP_SAME)),
  },
  {
    name: 'ipv6-encap-twins',
    sentence:
      'To 2001:db8::99 here is to 2001:db8::10 there; TCP, UDP and ICMPv6 checksums follow the address.',
    ...WORLD6,
    steps: allKinds(route(ENCAP_TWIN)),
  },
  {
    name: 'ipv6-decap-twins',
    sentence: 'From 2001:db8::10 there is from 2001:db8::99 here; TCP, UDP and ICMPv6 checksums follow.',
    ...WORLD6,
    steps: allKinds(route(DECAP_TWIN)),
  },
  {
    name: 'ipv6-prefix-mapping',
    sentence: 'IPv6 prefixes map bit for bit, the longest match first.',
    ...WORLD6,
    steps: [
      ...allKinds(
        route({
          ...ENCAP_SAME,
          before: [LOCAL6, '2001:db8:2::abcd:1'],
          after: [LOCAL6, '2001:db8:1::abcd:1'],
        }),
      ),
      ...allKinds(
        route({
          ...DECAP_SAME,
          before: ['2001:db8:1::abcd:1', LOCAL6],
          after: ['2001:db8:2::abcd:1', LOCAL6],
        }),
      ),
      ...allKinds(
        route({ ...ENCAP_SAME, before: [LOCAL6, '2001:db8:2::99'], after: [LOCAL6, '2001:db8:3::1'] }),
      ),
      ...allKinds(
        route({ ...DECAP_SAME, before: ['2001:db8:3::1', LOCAL6], after: ['2001:db8:2::99', LOCAL6] }),
      ),
      {
        what: 'from the host whose place the longer entry took',
        direction: 'decap',
        frame: fromPeer6(B, ipv6({ from: '2001:db8:1::99', to: LOCAL6 }, echo6({ id: 1 }))),
        verdict: 'unlisted_source',
      },
    ],
  },
];

const shortChain: Extension[] = [HOP_BY_HOP, DESTINATION_OPTIONS];
const longChain: Extension[] = [HOP_BY_HOP, ...Array.from({ length: 7 }, () => DESTINATION_OPTIONS)];
const AH: Extension = { type: 51, rest: [4, ...counting(22)] };

const headers: GoldenCase[] = [
  {
    name: 'ipv6-extension-headers-carried',
    sentence: 'Extension headers are carried unchanged, and the checksum behind them follows the address.',
    ...WORLD6,
    steps: [shortChain, longChain].flatMap((extensions) => [
      ...allKinds(route({ ...ENCAP_TWIN, fields: { extensions } })),
      ...allKinds(route({ ...DECAP_TWIN, fields: { extensions } })),
    ]),
  },
  {
    name: 'ipv6-unknown-upper-layers-carried',
    sentence: 'ESP, AH and what nobody knows are carried, with nothing changed but addresses.',
    ...WORLD6,
    steps: [raw(50, counting(40)), raw(51, [59, ...AH.rest]), raw(253, counting(24)), raw(59, [])].map(
      (transport) => carried({ ...route(ENCAP_TWIN), what: `protocol ${transport.protocol}`, transport }),
    ),
  },
  {
    name: 'ipv6-fragments-by-address-only',
    sentence:
      'Of a fragmented packet the first fragment bears the checksum, and only there it follows the address.',
    ...WORLD6,
    steps: (['encap', 'decap'] as const).flatMap((direction) => {
      const [before, after] =
        direction === 'encap' ? [ENCAP_TWIN.before, ENCAP_TWIN.after] : [DECAP_TWIN.before, DECAP_TWIN.after];
      const whole = (addresses: readonly [string, string]) =>
        ipv6(
          { from: addresses[0], to: addresses[1] },
          udp({ from: 9, to: 9, payload: counting(2000) }),
        ).subarray(40);
      const piece = (addresses: readonly [string, string], from: number, to: number, more: boolean) =>
        ipv6(
          { from: addresses[0], to: addresses[1], extensions: [fragment6({ offset: from, more })] },
          raw(17, whole(addresses).subarray(from, to)),
        );
      const step = (what: string, from: number, to: number, more: boolean): GoldenStep => {
        const packet = piece([...before], from, to, more);
        const expected = piece([...after], from, to, more);
        return direction === 'encap'
          ? { what, direction, frame: fromLocal6(packet), verdict: 'forwarded', out: [toPeer6(B, expected)] }
          : { what, direction, frame: fromPeer6(B, packet), verdict: 'forwarded', out: [toLocal6(expected)] };
      };
      return [
        step(`${direction}: the last one first`, 1200, 2008, false),
        step(`${direction}: the first one`, 0, 1200, true),
      ];
    }),
  },
  {
    name: 'ipv6-atomic-fragment',
    sentence: 'A fragment that is the whole packet (RFC 6946) counts as the whole packet.',
    ...WORLD6,
    steps: allKinds(route({ ...ENCAP_TWIN, fields: { extensions: [fragment6()] } })),
  },
  {
    name: 'ipv6-traffic-class-copied-to-outer',
    sentence:
      'The traffic class becomes the outer TOS, ECN included (RFC 2983 uniform, RFC 6040); flow label and hop limit stay.',
    ...WORLD6,
    steps: [0, 1, 2, 3, 0xb8, 0xff].map((trafficClass) =>
      carried({
        ...route(ENCAP_SAME),
        what: `traffic class ${trafficClass}`,
        transport: echo6({ id: 5 }),
        fields: { trafficClass, flowLabel: 0xabcde, hopLimit: 1 },
      }),
    ),
  },
  {
    name: 'ipv6-ecn-merged',
    sentence:
      'The outer ECN field joins the inner one (RFC 6040 figure 4), other bits of the first word stay.',
    ...WORLD6,
    counters: { ecn_unexpected: 1 },
    steps: [
      [0, 0, 0],
      [2, 3, 3],
      [1, 3, 3],
      [3, 3, 3],
      [2, 1, 1],
      [1, 2, 1],
      [3, 0, 3],
      [2, 2, 2],
    ].map(([inner = 0, outer = 0, merged = 0]): GoldenStep => {
      const packet = (ecn: number) =>
        ipv6({ from: FAR6, to: LOCAL6, trafficClass: 0xb8 | ecn, flowLabel: 0xfedcb }, echo6({ id: 5 }));
      return {
        what: `inner ${inner}, outer ${outer}`,
        direction: 'decap',
        frame: fromPeer6(B, packet(inner), { tos: 0xb8 | outer }),
        verdict: 'forwarded',
        out: [toLocal6(packet(merged))],
      };
    }),
  },
];

const mss = (value: number): Transport =>
  tcp({ from: 40001, to: 443, flags: SYN, options: mssOption(value) });
const oddMss = (value: number): Transport =>
  tcp({ from: 40001, to: 443, flags: SYN | ACK, options: [1, ...mssOption(value), 3, 3, 7] });

const transports: GoldenCase[] = [
  {
    name: 'ipv6-mss-clamped',
    sentence:
      'The MSS of SYN and SYN-ACK is lowered to the tunnel MTU less 60, in both directions; never raised.',
    ...WORLD6,
    counters: { mss_clamped: 4 },
    steps: [
      carried({ ...route(ENCAP_SAME), what: 'SYN', transport: mss(1440), transportAfter: mss(1404) }),
      carried({
        ...route(ENCAP_TWIN),
        what: 'SYN-ACK, odd',
        transport: oddMss(1440),
        transportAfter: oddMss(1404),
      }),
      carried({ ...route(DECAP_SAME), what: 'SYN', transport: mss(8940), transportAfter: mss(1404) }),
      carried({
        ...route(DECAP_TWIN),
        what: 'SYN-ACK, odd',
        transport: oddMss(1405),
        transportAfter: oddMss(1404),
      }),
      carried({ ...route(ENCAP_SAME), what: 'fits', transport: mss(1404) }),
      carried({ ...route(DECAP_SAME), what: 'small', transport: mss(1220) }),
    ],
  },
  {
    name: 'ipv6-udp-checksum-zero-stays',
    sentence: 'A UDP checksum of zero (RFC 6936) stays zero.',
    ...WORLD6,
    steps: [
      carried({
        ...route(ENCAP_TWIN),
        what: 'encap',
        transport: udp({ from: 1, to: 2, payload: PAYLOAD, checksum: 0 }),
      }),
      carried({
        ...route(DECAP_TWIN),
        what: 'decap',
        transport: udp({ from: 1, to: 2, payload: PAYLOAD, checksum: 0 }),
      }),
    ],
  },
  {
    name: 'ipv6-partial-checksum-completed',
    sentence: 'A checksum of TCP, UDP or ICMPv6 that was left to the NIC is completed before the tunnel.',
    ...WORLD6,
    steps: [FAR6, TWIN6_HERE].flatMap((to) =>
      [
        {
          kind: 'TCP',
          offset: 16,
          make: (checksum: 'partial' | 'right') => tcp({ from: 9, to: 9, payload: counting(33), checksum }),
        },
        {
          kind: 'UDP',
          offset: 6,
          make: (checksum: 'partial' | 'right') => udp({ from: 9, to: 9, payload: counting(33), checksum }),
        },
        {
          kind: 'ICMPv6',
          offset: 2,
          make: (checksum: 'partial' | 'right') => icmp6({ type: 128, payload: counting(33), checksum }),
        },
      ].map(
        ({ kind, offset, make }): GoldenStep => ({
          what: `${kind} to ${to}`,
          direction: 'encap',
          frame: padded(fromLocal6(ipv6({ from: LOCAL6, to }, make('partial'))), 140),
          virtio: { partial: { start: 54, offset } },
          verdict: 'forwarded',
          out: [toPeer6(B, ipv6({ from: LOCAL6, to: to === FAR6 ? FAR6 : TWIN6 }, make('right')))],
        }),
      ),
    ),
  },
  {
    name: 'ipv6-super-frame-tcp',
    sentence:
      'A TCP super-frame over IPv6 becomes segments with sequence, flags, lengths and checksums of their own.',
    ...WORLD6,
    counters: { rx_super_frames: 2 },
    steps: [
      { size: 1404, asked: 1404, extensions: [] },
      {
        size: 1364,
        asked: 1440,
        extensions: [
          HOP_BY_HOP,
          DESTINATION_OPTIONS,
          DESTINATION_OPTIONS,
          DESTINATION_OPTIONS,
          DESTINATION_OPTIONS,
        ],
      },
    ].map(({ size, asked, extensions }): GoldenStep => {
      const fields = { from: 40001, to: 443, sequence: 0xffffff00 };
      const payload = 10_000;
      const head: Ipv6Fields = { from: LOCAL6, to: TWIN6_HERE, extensions, trafficClass: 2, flowLabel: 7 };
      const starts = Array.from({ length: Math.ceil(payload / size) }, (_, index) => index * size);
      return {
        what: `segments of ${size} bytes, asked for ${asked}, ${extensions.length} extension headers`,
        direction: 'encap',
        frame: fromLocal6(
          ipv6(
            head,
            tcp({ ...fields, flags: ACK | CWR | FIN | PSH, payload: counting(payload), checksum: 'partial' }),
          ),
        ),
        virtio: { partial: { start: 54 + extensions.length * 8, offset: 16 }, gso: 'tcp6', gsoSize: asked },
        verdict: 'forwarded',
        out: starts.map((start) => {
          const length = Math.min(size, payload - start);
          const flags = ACK | (start === 0 ? CWR : 0) | (start + length === payload ? FIN | PSH : 0);
          const sequence = (fields.sequence + start) >>> 0;
          const segment = tcp({ ...fields, sequence, flags, payload: counting(length, start) });
          return toPeer6(B, ipv6({ ...head, to: TWIN6 }, segment), { tos: 2 });
        }),
      };
    }),
  },
  {
    name: 'ipv6-super-frame-udp',
    sentence: 'A UDP super-frame over IPv6 becomes datagrams of the size that the sender asked for.',
    ...WORLD6,
    counters: { rx_super_frames: 2 },
    steps: [
      {
        what: 'one datagram, smaller than asked for and than the tunnel',
        direction: 'encap',
        frame: fromLocal6(
          ipv6(
            { from: LOCAL6, to: FAR6 },
            udp({ from: 5000, to: 6000, payload: counting(500), checksum: 'partial' }),
          ),
        ),
        virtio: { partial: { start: 54, offset: 6 }, gso: 'udp', gsoSize: 1437 },
        verdict: 'forwarded',
        out: [
          toPeer6(B, ipv6({ from: LOCAL6, to: FAR6 }, udp({ from: 5000, to: 6000, payload: counting(500) }))),
        ],
      },
      {
        what: '3 datagrams of 1000 bytes and one of 500',
        direction: 'encap',
        frame: fromLocal6(
          ipv6(
            { from: LOCAL6, to: FAR6 },
            udp({ from: 5000, to: 6000, payload: counting(3500), checksum: 'partial' }),
          ),
        ),
        virtio: { partial: { start: 54, offset: 6 }, gso: 'udp', gsoSize: 1000 },
        verdict: 'forwarded',
        out: [0, 1000, 2000, 3000].map((start) =>
          toPeer6(
            B,
            ipv6(
              { from: LOCAL6, to: FAR6 },
              udp({ from: 5000, to: 6000, payload: counting(Math.min(1000, 3500 - start), start) }),
            ),
          ),
        ),
      },
    ],
  },
];

const quote = (from: string, to: string, transport: Transport, extensions: Extension[] = []): Uint8Array =>
  ipv6({ from, to, extensions }, transport);
const SENT = tcp({ from: 443, to: 40001, payload: counting(400) });

const errors: GoldenCase[] = [
  {
    name: 'ipv6-icmp-error-encap-rewritten',
    sentence:
      'An ICMPv6 error of a local host is rewritten outside and inside, checksums included, also where the quote is cut.',
    ...WORLD6,
    steps: [400, 100, 48].flatMap((length) =>
      [[], [DESTINATION_OPTIONS]].map((extensions) =>
        carried({
          ...route(ENCAP_TWIN),
          what: `packet too big, ${length} bytes quoted, ${extensions.length} extension headers`,
          transport: packetTooBig(quote(TWIN6_HERE, LOCAL6, SENT, extensions).subarray(0, length), 1300),
          transportAfter: packetTooBig(quote(TWIN6, LOCAL6, SENT, extensions).subarray(0, length), 1300),
        }),
      ),
    ),
  },
  {
    name: 'ipv6-icmp-error-decap-rewritten',
    sentence:
      "An ICMPv6 error from the far side is rewritten outside and inside; a far router's comes from the gateway.",
    ...WORLD6,
    steps: [
      carried({
        ...route(DECAP_TWIN),
        what: 'from the far host',
        transport: icmp6({ type: 1, code: 4, payload: quote(LOCAL6, TWIN6, SENT) }),
        transportAfter: icmp6({ type: 1, code: 4, payload: quote(LOCAL6, TWIN6_HERE, SENT) }),
      }),
      carried({
        ...route({ ...DECAP_TWIN, before: ['2001:db8:ffff::1', LOCAL6], after: [GATEWAY6, LOCAL6] }),
        what: 'from a far router',
        transport: icmp6({ type: 3, payload: quote(LOCAL6, TWIN6, SENT) }),
        transportAfter: icmp6({ type: 3, payload: quote(LOCAL6, TWIN6_HERE, SENT) }),
      }),
      carried({
        ...route(DECAP_SAME),
        what: 'nothing changes',
        transport: packetTooBig(quote(LOCAL6, FAR6, SENT), 1400),
      }),
    ],
  },
];

const tooBig = (packet: Uint8Array, mtu: number): Uint8Array =>
  ipv6({ from: GATEWAY6, to: LOCAL6, trafficClass: 0xc0 }, packetTooBig(packet.subarray(0, 1280 - 48), mtu));
const LARGE = ipv6({ from: LOCAL6, to: TWIN6_HERE }, udp({ from: 9, to: 9, payload: counting(1417) }));
const FROM_FAR = ipv6({ from: FAR6, to: LOCAL6 }, udp({ from: 9, to: 9, payload: counting(1453) }));

const sizes: GoldenCase[] = [
  {
    name: 'ipv6-too-big-told',
    sentence:
      'What is too big is dropped, and its sender told: ICMPv6 packet too big from the gateway, with the tunnel MTU.',
    ...WORLD6,
    steps: [
      {
        what: 'one byte too many',
        direction: 'encap',
        frame: fromLocal6(LARGE),
        verdict: 'too_big',
        replies: [toLocal6(tooBig(LARGE, 1464))],
      },
      {
        what: 'a fragment',
        direction: 'encap',
        frame: fromLocal6(
          ipv6(
            { from: LOCAL6, to: FAR6, extensions: [fragment6({ offset: 1448 })] },
            raw(17, counting(1417)),
          ),
        ),
        verdict: 'too_big',
        replies: [
          toLocal6(
            tooBig(
              ipv6(
                { from: LOCAL6, to: FAR6, extensions: [fragment6({ offset: 1448 })] },
                raw(17, counting(1417)),
              ),
              1464,
            ),
          ),
        ],
      },
      {
        what: 'never about an ICMPv6 error',
        direction: 'encap',
        frame: fromLocal6(
          ipv6({ from: LOCAL6, to: FAR6 }, packetTooBig(quote(FAR6, LOCAL6, raw(17, counting(1400))), 1300)),
        ),
        verdict: 'too_big',
      },
    ],
  },
  {
    name: 'ipv6-too-big-told-through-the-tunnel',
    sentence: 'What is too big for the overlay is told to the far host, through the tunnel.',
    ...WORLD6,
    steps: [
      {
        what: 'one byte too many',
        direction: 'decap',
        frame: fromPeer6(B, FROM_FAR),
        verdict: 'too_big',
        replies: [
          toPeer6(
            B,
            ipv6(
              { from: GATEWAY6, to: FAR6, trafficClass: 0xc0 },
              packetTooBig(FROM_FAR.subarray(0, 1280 - 48), 1500),
            ),
            { tos: 0xc0, innerTo: MAC.farHost, innerFrom: MAC.overlay },
          ),
        ],
      },
    ],
  },
];

const solicitation = (target: string): Transport =>
  icmp6({ type: 135, payload: bytes(quoteAddress(target), [1, 1, 2, 0, 0, 0, 0, 10]) });
function quoteAddress(address: string): Uint8Array {
  return ipv6({ from: address, to: '::' }, raw(59, [])).subarray(8, 24);
}
const hex = (frame: Uint8Array): string => Buffer.from(frame).toString('hex');
const asks = ipv6({ from: LOCAL6, to: 'ff02::1:ff00:20', hopLimit: 255 }, solicitation(FAR6));
const asksThroughTunnel = ipv6(
  { from: 'fe80::1', to: 'ff02::1:ff00:10', hopLimit: 255 },
  solicitation(LOCAL6),
);

const neighbors: GoldenCase[] = [
  {
    name: 'ipv6-neighbor-discovery-punted',
    sentence:
      'Neighbor solicitations and advertisements go to the control plane, to whomever they are sent, and never further.',
    ...WORLD6,
    steps: [
      {
        what: 'on the overlay, to the solicited-node group',
        direction: 'encap',
        frame: fromLocal6(asks),
        verdict: 'punted',
        events: [`neighbor-discovery 0 ${hex(fromLocal6(asks))}`],
      },
      {
        what: 'through the tunnel',
        direction: 'decap',
        frame: fromPeer6(B, asksThroughTunnel),
        verdict: 'punted',
        events: [`neighbor-discovery 2 ${hex(fromPeer6(B, asksThroughTunnel).subarray(36))}`],
      },
      {
        what: 'an answer to the gateway itself',
        direction: 'encap',
        frame: fromLocal6(
          ipv6({ from: LOCAL6, to: GATEWAY6, hopLimit: 255 }, icmp6({ type: 136, payload: counting(16) })),
        ),
        verdict: 'punted',
        events: [
          `neighbor-discovery 0 ${hex(fromLocal6(ipv6({ from: LOCAL6, to: GATEWAY6, hopLimit: 255 }, icmp6({ type: 136, payload: counting(16) }))))}`,
        ],
      },
    ],
  },
  {
    name: 'ipv6-held-for-local-host',
    sentence: 'A packet to a local host without a MAC waits, and leaves when the host is known.',
    ...WORLD6,
    neighbors: NEXT_HOPS,
    counters: { hold_released: 1 },
    steps: [
      {
        what: 'nobody knows the host',
        direction: 'decap',
        frame: fromPeer6(B, ipv6({ from: TWIN6, to: LOCAL6 }, echo6({ id: 1 }))),
        verdict: 'held',
        events: [`unresolved 0 ${LOCAL6}`],
      },
      {
        ...carried({ ...route(DECAP_TWIN), what: 'known now', transport: echo6({ id: 2 }) }),
        neighbors: NEIGHBORS6,
        out: [1, 2].map((id) => toLocal6(ipv6({ from: TWIN6_HERE, to: LOCAL6 }, echo6({ id })))),
      },
    ],
  },
  {
    name: 'ipv6-resolve-tunnel-asks',
    sentence: 'Towards a peer with resolve: tunnel the inner destination MAC is asked for and filled in.',
    ...WORLD6,
    steps: [
      {
        what: 'known',
        direction: 'encap',
        frame: fromLocal6(ipv6({ from: LOCAL6, to: ASKED6 }, echo6({ id: 1 }))),
        verdict: 'forwarded',
        out: [
          toPeer6(D, ipv6({ from: LOCAL6, to: ASKED6 }, echo6({ id: 1 })), { innerTo: '02:00:00:00:0d:40' }),
        ],
      },
      {
        what: 'not known',
        direction: 'encap',
        neighbors: NEXT_HOPS,
        frame: fromLocal6(ipv6({ from: LOCAL6, to: ASKED6 }, echo6({ id: 2 }))),
        verdict: 'held',
        events: [`unresolved 4 ${ASKED6}`],
      },
    ],
  },
];

const ANY = udp({ from: 1, to: 2, payload: counting(20) });
function sent(
  what: string,
  verdict: string,
  fields: Partial<Ipv6Fields>,
  transport: Transport = ANY,
): GoldenStep {
  return {
    what,
    direction: 'encap',
    frame: fromLocal6(ipv6({ from: LOCAL6, to: FAR6, ...fields }, transport)),
    verdict,
  };
}
function received(
  what: string,
  verdict: string,
  fields: Partial<Ipv6Fields>,
  transport: Transport = ANY,
  peer: string = B,
): GoldenStep {
  return {
    what,
    direction: 'decap',
    frame: fromPeer6(peer, ipv6({ from: FAR6, to: LOCAL6, ...fields }, transport)),
    verdict,
  };
}
const routing: Extension = { type: 43, rest: [2, 0, 1, 0, 0, 0, 0, ...quoteAddress('fd00:ec2::254')] };
const spent: Extension = { type: 43, rest: [2, 2, 0, 0, 0, 0, 0, ...quoteAddress(FAR6)] };
const CUT = fromLocal6(ipv6({ from: LOCAL6, to: FAR6 }, ANY));

const dropped: GoldenCase[] = [
  {
    name: 'drop-malformed-ipv6',
    sentence:
      'An IPv6 header that is cut, or extension headers that are cut, misplaced or too many, are not followed.',
    ...WORLD6,
    steps: [
      {
        what: 'cut off inside the tunnel',
        direction: 'decap',
        frame: fromPeer6(B, CUT.subarray(14, 14 + 39)),
        verdict: 'malformed_ipv6',
      },
      sent('version 4', 'malformed_ipv6', { version: 4 }),
      sent('longer than the frame', 'malformed_ipv6', { payloadLength: 29 }),
      sent('a chain of nine', 'malformed_ipv6', { extensions: [...longChain, DESTINATION_OPTIONS] }),
      sent('hop-by-hop options not in front', 'malformed_ipv6', {
        extensions: [DESTINATION_OPTIONS, HOP_BY_HOP],
      }),
      sent('an extension header that ends behind the packet', 'malformed_ipv6', {
        extensions: [{ type: 60, rest: [200, 1, 4, 0, 0, 0, 0] }],
      }),
      sent('a chain that is cut', 'malformed_ipv6', {}, raw(60, [17, 0, 1])),
      received('inside the tunnel', 'malformed_ipv6', { version: 5 }),
    ],
  },
  {
    name: 'drop-ipv6-source-routed',
    sentence: 'A routing header with segments left leads past every check of the destination.',
    ...WORLD6,
    steps: [
      sent('to instance metadata in the end', 'ipv6_source_routed', { extensions: [routing] }),
      received('from the tunnel', 'ipv6_source_routed', { extensions: [routing] }),
      {
        ...carried({
          ...route(ENCAP_SAME),
          what: 'no segment left',
          transport: ANY,
          fields: { extensions: [spent] },
        }),
      },
    ],
  },
  {
    name: 'drop-ipv6-not-masqueraded',
    sentence: 'A far IPv6 host without a proxied address is not masqueraded.',
    ...WORLD6,
    steps: [
      received('from a peer that masquerades IPv4', 'ipv6_not_masqueraded', { from: UNLISTED6 }, ANY, C),
      received('from one that does not', 'unlisted_source', { from: UNLISTED6 }),
    ],
  },
  {
    name: 'ipv6-never-forwarded',
    sentence:
      'Multicast, link-local, instance services and addresses that are no hosts are not carried, in either direction.',
    ...WORLD6,
    steps: [
      ...(
        [
          ['ff02::fb', 'multicast'],
          ['ff0e::1', 'multicast'],
          ['fe80::10', 'link_local'],
          ['febf::1', 'link_local'],
          ['fd00:ec2::254', 'link_local'],
          ['::', 'reserved_address'],
          ['::1', 'reserved_address'],
          ['::10.0.0.20', 'reserved_address'],
          ['::ffff:10.0.0.20', 'reserved_address'],
          ['2001:db8::1', 'reserved_address'],
        ] as const
      ).flatMap(([address, reason]) => [
        sent(`to ${address}`, reason, { to: address }),
        sent(`from ${address}`, reason, { from: address }),
        received(`to ${address}`, reason, { to: address }),
        received(`from ${address}`, reason, { from: address }),
      ]),
      sent('to the gateway', 'to_gateway', { to: GATEWAY6 }),
      received('to the gateway', 'to_gateway', { to: GATEWAY6 }),
      sent('to a local host', 'not_proxied', { to: '2001:db8::11' }),
      sent('from the gateway', 'looped', { from: GATEWAY6 }),
      sent('from a proxied address', 'looped', { from: TWIN6_HERE }),
      received('to a proxied address', 'looped', { to: TWIN6_HERE }),
      {
        what: 'to a group MAC',
        direction: 'encap',
        frame: bytes([0x33, 0x33, 0xff, 0, 0, 0x20], CUT.subarray(6)),
        verdict: 'multicast',
      },
    ],
  },
  {
    name: 'ipv6-faulty-upper-layers',
    sentence:
      'A TCP, UDP or ICMPv6 header that is cut short or contradicts the packet is dropped, as in IPv4.',
    ...WORLD6,
    steps: [
      sent('19 bytes of TCP', 'malformed_l4', {}, raw(6, counting(19))),
      sent('data offset 4', 'malformed_l4', {}, tcp({ from: 1, to: 2, headerWords: 4 })),
      sent('7 bytes of UDP', 'malformed_l4', {}, raw(17, counting(7))),
      sent('UDP longer than the packet', 'malformed_l4', {}, udp({ from: 1, to: 2, length: 9 })),
      sent('3 bytes of ICMPv6', 'malformed_l4', {}, raw(58, counting(3))),
      sent(
        'an error about nobody',
        'icmp_quote_unknown',
        {},
        packetTooBig(quote('2001:db8::55', LOCAL6, SENT), 1300),
      ),
      received(
        'an error about nobody',
        'icmp_quote_unknown',
        {},
        packetTooBig(quote(LOCAL6, '2001:db8::55', SENT), 1300),
      ),
      sent(
        'an error whose checksum is wrong',
        'bad_icmp_checksum',
        { to: TWIN6_HERE },
        packetTooBig(quote(TWIN6_HERE, LOCAL6, SENT), 1300, 0x1234),
      ),
      sent(
        'a first fragment of an error that must be rewritten',
        'fragment_without_ports',
        { to: TWIN6_HERE, extensions: [fragment6({ more: true })] },
        packetTooBig(quote(TWIN6_HERE, LOCAL6, SENT), 1300),
      ),
    ],
  },
];

export const IPV6_CASES: GoldenCase[] = [
  ...models,
  ...headers,
  ...transports,
  ...errors,
  ...sizes,
  ...neighbors,
  ...dropped,
];
