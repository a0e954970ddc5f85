/** Golden cases of what is not forwarded: one case per drop reason, named after it. */
import {
  bytes,
  counting,
  echo,
  etherIp,
  ethernet,
  type Ipv4Fields,
  icmp,
  ipv4,
  padded,
  RST,
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
  C,
  FAR,
  fromLocal,
  fromPeer,
  GATEWAY,
  HERE,
  LOCAL,
  MAC,
  NEIGHBORS,
  NEXT_HOPS,
  TABLE,
  TWIN,
  TWIN_HERE,
  toLocal,
  UNLISTED,
} from './world.js';

const ANY = udp({ from: 1, to: 2, payload: counting(20) });
const TO_FAR = ipv4({ from: LOCAL, to: FAR }, ANY);
const FROM_FAR = ipv4({ from: FAR, to: LOCAL }, ANY);

type Attempt = Omit<GoldenStep, 'verdict'> & { verdict?: string };

function encap(what: string, frame: Uint8Array, more: Partial<GoldenStep> = {}): Attempt {
  return { what, direction: 'encap', frame, ...more };
}
function decap(what: string, frame: Uint8Array, more: Partial<GoldenStep> = {}): Attempt {
  return { what, direction: 'decap', frame, ...more };
}

/** A packet with these fields from the local host to a far one, or the other way round. */
function sent(
  what: string,
  fields: Partial<Ipv4Fields>,
  transport: Transport = ANY,
  more: Partial<GoldenStep> = {},
): Attempt {
  return encap(what, fromLocal(ipv4({ from: LOCAL, to: FAR, ...fields }, transport)), more);
}
function received(what: string, fields: Partial<Ipv4Fields>, transport: Transport = ANY, peer = B): Attempt {
  return decap(what, fromPeer(peer, ipv4({ from: FAR, to: LOCAL, ...fields }, transport)));
}

interface More extends Partial<Pick<GoldenCase, 'table' | 'neighbors' | 'counters'>> {}

/** Each attempt ends with `reason`, unless it says otherwise. */
function dropped(
  reason: string,
  sentence: string,
  attempts: readonly Attempt[],
  more: More = {},
): GoldenCase {
  return {
    name: `drop-${reason.replaceAll('_', '-')}`,
    sentence,
    table: TABLE,
    neighbors: NEIGHBORS,
    ...more,
    steps: attempts.map((attempt) => ({ verdict: reason, ...attempt })),
  };
}

const etherType = (type: number): Uint8Array =>
  ethernet({ to: MAC.overlay, from: MAC.local, type }, counting(46));
const innerType = (type: number): Uint8Array =>
  fromPeer(B, TO_FAR, {}, etherIp(ethernet({ to: MAC.farGateway, from: MAC.farHost, type }, counting(46))));
const outer = (fields: Partial<Ipv4Fields>, carried?: Transport): Uint8Array =>
  fromPeer(B, FROM_FAR, fields, carried);

const redirect = (quoted: Uint8Array): Transport =>
  icmp({ type: 5, code: 1, rest: [10, 0, 0, 60], payload: quoted });

export const DROPPED_CASES: GoldenCase[] = [
  dropped('vlan_tagged', 'A VLAN tag that is still in the frame is not looked behind.', [
    encap('802.1Q', etherType(0x8100)),
    encap('802.1ad', etherType(0x88a8)),
    decap('inside the tunnel', innerType(0x8100)),
    decap('inside the tunnel', innerType(0x88a8)),
  ]),
  dropped('own_frame', 'A frame with our own source MAC has come back (checklist 6).', [
    encap('overlay', ethernet({ to: MAC.overlay, from: MAC.overlay }, TO_FAR)),
    decap('underlay', ethernet({ to: MAC.underlay, from: MAC.underlay }, outer({}).subarray(14))),
  ]),
  dropped('malformed_ethernet', 'Less than 14 bytes are no frame.', [
    encap('none', bytes()),
    encap('13', counting(13)),
    decap('none', bytes()),
    decap('13', counting(13)),
  ]),
  dropped(
    'not_ethernet_ii',
    'IEEE 802.3 frames, spanning tree among them, are never tunnelled (checklist 6).',
    [
      encap('a length for a type', etherType(46)),
      encap('1535, the last one', etherType(0x05ff)),
      decap('inside the tunnel', innerType(0x05ff)),
    ],
  ),
  dropped('unknown_ethertype', 'A VPC carries IPv4, IPv6 and ARP and nothing else.', [
    encap('LLDP', etherType(0x88cc)),
    encap('0x0600, the first one', etherType(0x0600)),
    decap('on the underlay', ethernet({ to: MAC.underlay, from: MAC.nextHop, type: 0x86dd }, counting(60))),
    decap('inside the tunnel', innerType(0x88cc)),
  ]),
  dropped('ipv6', 'IPv6 is not carried where no IPv6 address is proxied.', [
    encap('overlay', etherType(0x86dd)),
    decap('inside the tunnel', innerType(0x86dd)),
  ]),
  dropped('malformed_ipv4', "An IPv4 header whose version or lengths are wrong is nobody's.", [
    sent('version 6', { version: 6 }),
    sent('four words of header', { headerWords: 4 }),
    sent('more header than packet', { headerWords: 15 }, raw(17, [1, 2, 3, 4])),
    sent('total length less than the header', { totalLength: 19 }),
    sent('total length beyond the frame', { totalLength: 49 }),
    encap('no packet at all', ethernet({ to: MAC.overlay, from: MAC.local }, bytes())),
    encap('cut in the header', fromLocal(TO_FAR.subarray(0, 19))),
    received('version 5 from a peer', { version: 5 }),
    received('total length beyond the tunnel packet', { totalLength: 49 }),
  ]),
  dropped(
    'bad_ipv4_checksum',
    'A packet with a wrong header checksum goes nowhere; only resolve: tunnel mends.',
    [sent('from a local host', { checksum: 0x1234 }), received('from a peer', { checksum: 0x1234 })],
  ),
  dropped('malformed_l4', 'An L4 header that is cut short or contradicts the packet is not touched.', [
    sent('19 bytes of TCP', {}, raw(6, counting(19))),
    sent('a TCP header of four words', {}, tcp({ from: 1, to: 2, headerWords: 4 })),
    sent('a TCP header beyond the packet', {}, tcp({ from: 1, to: 2, headerWords: 6 })),
    sent('7 bytes of UDP', {}, raw(17, counting(7))),
    sent('a UDP length of 7', {}, udp({ from: 1, to: 2, length: 7 })),
    sent('a UDP length beyond the packet', {}, udp({ from: 1, to: 2, length: 9 })),
    sent('7 bytes of ICMP', {}, raw(1, [8, 0, 0, 0, 0, 0, 0])),
    received('19 bytes of TCP from a peer', {}, raw(6, counting(19))),
    sent(
      'a quote that is no IPv4',
      { to: TWIN_HERE },
      unreachable(bytes([0x55], ipv4({ from: TWIN_HERE, to: LOCAL }, ANY).subarray(1))),
    ),
    sent('a quote of 19 bytes', {}, unreachable(ipv4({ from: FAR, to: LOCAL }, ANY).subarray(0, 19))),
    sent(
      'a quoted total length of 19',
      { to: TWIN_HERE },
      unreachable(ipv4({ from: TWIN_HERE, to: LOCAL, totalLength: 19 }, ANY)),
    ),
    sent('a partial checksum in the IPv4 header', {}, ANY, { virtio: { partial: { start: 14, offset: 2 } } }),
    sent("a partial checksum over TCP's header length", {}, tcp({ from: 1, to: 2 }), {
      virtio: { partial: { start: 34, offset: 12 } },
    }),
    sent('a partial checksum beyond the packet', {}, ANY, { virtio: { partial: { start: 62, offset: 0 } } }),
  ]),
  dropped(
    'bad_icmp_checksum',
    'An ICMP error is rewritten only if it and the quoted header are intact (RFC 5508 REQ-3, checklist 30).',
    [
      sent(
        'its own checksum',
        { to: TWIN_HERE },
        unreachable(ipv4({ from: TWIN_HERE, to: LOCAL }, ANY), { checksum: 1 }),
      ),
      sent(
        "the quoted header's",
        { to: TWIN_HERE },
        unreachable(ipv4({ from: TWIN_HERE, to: LOCAL, checksum: 1 }, ANY)),
      ),
      received('from a peer', { from: TWIN }, unreachable(ipv4({ from: LOCAL, to: TWIN, checksum: 1 }, ANY))),
    ],
  ),
  dropped('multicast', 'Multicast is neither tunnelled nor delivered (checklist 51).', [
    sent('to a group', { to: '224.0.0.251' }),
    sent('from a group', { from: '239.1.1.1' }),
    received('to a group', { to: '224.0.0.1' }),
    received('from a group', { from: '224.0.0.1' }),
    encap('to a group MAC, for one host', ethernet({ to: '01:00:5e:00:00:01', from: MAC.local }, TO_FAR)),
    decap(
      'to a group MAC, on the underlay',
      ethernet({ to: '01:00:5e:00:00:01', from: MAC.nextHop }, outer({}).subarray(14)),
    ),
  ]),
  dropped(
    'broadcast',
    'Broadcasts are neither tunnelled nor delivered, to a link address either (RFC 1812 5.3.4, checklist 51).',
    [
      sent('limited', { to: '255.255.255.255' }),
      received('limited', { to: '255.255.255.255' }),
      encap('to all MACs, for one host', ethernet({ to: 'ff:ff:ff:ff:ff:ff', from: MAC.local }, TO_FAR)),
    ],
  ),
  dropped(
    'link_local',
    'Instance metadata and other link-local addresses are out of reach through a tunnel (checklist 51).',
    [
      sent('to the metadata service', { to: '169.254.169.254' }),
      sent('from a link-local host', { from: '169.254.1.1' }),
      received('to the metadata service', { to: '169.254.169.254' }),
      received('from it', { from: '169.254.169.254' }),
    ],
  ),
  dropped('reserved_address', 'No host has such an address (checklist 51).', [
    sent('loopback', { to: '127.0.0.1' }),
    sent('this network', { to: '0.0.0.0' }),
    sent('class E', { to: '240.0.0.1' }),
    sent("the subnet's router", { to: '10.0.0.1' }),
    sent('from nobody', { from: '0.0.0.0' }),
    sent('from the directed broadcast address', { from: '10.0.0.255' }),
    received("to the subnet's DNS", { to: '10.0.0.2' }),
    received('to loopback', { to: '127.0.0.1' }),
    received('from loopback', { from: '127.0.0.1' }),
  ]),
  dropped(
    'to_gateway',
    "What is for the gateway's own address is the kernel's, and cannot be reached through the tunnel.",
    [
      sent('a port outside the masquerade range', { to: GATEWAY }, tcp({ from: 1, to: 22, flags: SYN })),
      sent('ping', { to: GATEWAY }, echo({ id: 40000 })),
      sent('another protocol', { to: GATEWAY }, raw(50, counting(20))),
      sent(
        'an error about something of its own',
        { to: GATEWAY },
        unreachable(ipv4({ from: '10.0.0.6', to: LOCAL }, ANY)),
      ),
      received('through the tunnel', { to: GATEWAY }, tcp({ from: 1, to: 22, flags: SYN })),
      decap('on the underlay, another protocol', outer({}, tcp({ from: 1, to: 22 }))),
    ],
  ),
  dropped('not_proxied', 'An address that is not in the table is not carried.', [
    sent('a local host', { to: '10.0.0.11' }),
    sent('elsewhere', { to: '192.0.2.1' }),
    sent('just outside a prefix', { to: '10.0.3.0' }),
  ]),
  dropped(
    'unlisted_source',
    'A far host without a proxied address cannot speak, unless its peer is masqueraded.',
    [
      { ...received('unlisted', { from: UNLISTED }), events: [`unlisted 2 ${UNLISTED}`] },
      { ...received("another peer's far host", { from: '10.0.0.40' }), events: ['unlisted 2 10.0.0.40'] },
      received(
        'an error of a stranger about a stranger',
        { from: UNLISTED },
        unreachable(ipv4({ from: LOCAL, to: UNLISTED }, ANY)),
      ),
    ],
  ),
  dropped('looped', 'What would come straight back is not carried (checklist 6).', [
    sent('from a proxied address', { from: TWIN_HERE }),
    sent('from the gateway', { from: GATEWAY }),
    received('to a proxied address', { to: TWIN_HERE }),
    received('to and from the same far host', { to: FAR }),
  ]),
  dropped(
    'etherip_nested',
    'The tunnel does not run through itself (checklist 6).',
    [
      sent('to a far tunnel end that is proxied', { to: '10.0.0.50' }, etherIp(counting(60))),
      received('to a tunnel end', { to: HERE }, etherIp(counting(60))),
    ],
    {
      table: {
        ...TABLE,
        proxied: [...TABLE.proxied, { address: '10.0.0.50', host: B, prefixLength: 32, peer: 0 }],
      },
    },
  ),
  dropped(
    'unsupported_gso',
    'Aggregates of other kinds, or that contradict the packet, and SCTP checksums left to the NIC are refused.',
    [
      sent('UFO', {}, ANY, { virtio: { gso: 3, gsoSize: 8 } }),
      sent('TCP over IPv6', {}, tcp({ from: 1, to: 2 }), { virtio: { gso: 4, gsoSize: 8 } }),
      sent('TCP that is UDP', {}, ANY, { virtio: { gso: 'tcp', gsoSize: 8 } }),
      sent('UDP that is TCP', {}, tcp({ from: 1, to: 2 }), { virtio: { gso: 'udp', gsoSize: 8 } }),
      sent('no segment size', {}, tcp({ from: 1, to: 2, payload: counting(9) }), { virtio: { gso: 'tcp' } }),
      sent('a fragment', { mf: true }, ANY, { virtio: { gso: 'udp', gsoSize: 8 } }),
      decap('on the underlay', outer({}), { virtio: { gso: 'udp', gsoSize: 8 } }),
      sent('SCTP', {}, raw(132, counting(40)), { virtio: { partial: { start: 34, offset: 8 } } }),
    ],
    { counters: { rx_super_frames: 6 } },
  ),
  dropped(
    'too_big',
    'What is too big for the tunnel or the overlay and must not be cut (DF) is not carried.',
    [
      sent('one byte more than the tunnel carries', {}, udp({ from: 1, to: 2, payload: counting(1437) })),
      sent('datagrams of an aggregate', {}, udp({ from: 1, to: 2, payload: counting(3000) }), {
        virtio: { gso: 'udp', gsoSize: 1437 },
      }),
      received(
        'one byte more than the overlay carries',
        {},
        udp({ from: 1, to: 2, payload: counting(1173) }),
      ),
    ],
    {
      // Whoever is told is in too-big-df-told.
      table: { ...TABLE, overlayMtu: 1200, icmpErrorsPerSecond: 0 },
      counters: { rx_super_frames: 1, icmp_errors_withheld: 3 },
    },
  ),
  dropped('fragment_without_ports', 'A fragmented ICMP error cannot be rewritten inside.', [
    sent(
      'an error that had to be rewritten',
      { to: TWIN_HERE, df: false, mf: true },
      unreachable(ipv4({ from: TWIN_HERE, to: LOCAL }, ANY)),
    ),
  ]),
  dropped('unsupported_protocol', 'A masquerade knows TCP, UDP and ICMP queries.', [
    received('ESP', { from: UNLISTED }, raw(50, counting(40)), C),
  ]),
  dropped('no_binding', 'A masquerade port that nobody has is not answered for.', [
    sent('TCP', { to: GATEWAY }, tcp({ from: 1, to: 40000, flags: RST })),
    sent('an echo reply', { to: GATEWAY }, echo({ id: 40000, reply: true })),
    received('a reply that nobody asked for', { from: UNLISTED }, echo({ id: 1, reply: true }), C),
    received('an ICMP type of another kind', { from: UNLISTED }, icmp({ type: 10 }), C),
  ]),
  dropped(
    'bindings_full',
    'When every masquerade port is taken, a new far endpoint has to wait.',
    [
      {
        ...received('takes the only port', { from: UNLISTED }, udp({ from: 7, to: 9 }), C),
        verdict: 'forwarded',
        out: [toLocal(ipv4({ from: GATEWAY, to: LOCAL }, udp({ from: 40000, to: 9 })))],
      },
      received('another endpoint', { from: UNLISTED }, udp({ from: 8, to: 9 }), C),
      {
        ...received('each protocol has its own ports', { from: UNLISTED }, tcp({ from: 8, to: 9 }), C),
        verdict: 'forwarded',
        out: [toLocal(ipv4({ from: GATEWAY, to: LOCAL }, tcp({ from: 40000, to: 9 })))],
      },
    ],
    { table: { ...TABLE, masqueradePorts: [40000, 40000] } },
  ),
  dropped(
    'flows_full',
    'When the table of flows is full, a new one has to wait until another is idle for two minutes (RFC 4787 REQ-5).',
    [
      {
        ...received('takes the only place', { from: UNLISTED }, udp({ from: 7, to: 9 }), C),
        verdict: 'forwarded',
        out: [toLocal(ipv4({ from: GATEWAY, to: LOCAL }, udp({ from: 40007, to: 9 })))],
      },
      received('to another port', { from: UNLISTED }, udp({ from: 7, to: 10 }), C),
      {
        ...received('from another port, two minutes later', { from: UNLISTED }, udp({ from: 8, to: 9 }), C),
        time: 121,
        verdict: 'forwarded',
        out: [toLocal(ipv4({ from: GATEWAY, to: LOCAL }, udp({ from: 40008, to: 9 })))],
      },
      received('the first one', { from: UNLISTED }, udp({ from: 7, to: 9 }), C),
    ],
    { table: { ...TABLE, masqueradeFlows: 1 } },
  ),
  dropped(
    'icmp_quote_unknown',
    'An error about a packet that cannot have passed here is not believed (checklist 31).',
    [
      sent(
        "about a packet from another peer's host",
        {},
        unreachable(ipv4({ from: '10.0.0.40', to: LOCAL }, ANY)),
      ),
      sent('about a packet from nobody', {}, unreachable(ipv4({ from: '192.0.2.1', to: LOCAL }, ANY))),
      sent(
        'about a packet from another host of the same peer',
        {},
        unreachable(ipv4({ from: TWIN_HERE, to: LOCAL }, ANY)),
      ),
      received(
        'about a packet that another local host sent',
        {},
        unreachable(ipv4({ from: '10.0.0.11', to: FAR }, ANY)),
      ),
      received(
        'masqueraded: about an error',
        { from: UNLISTED },
        unreachable(ipv4({ from: LOCAL, to: UNLISTED }, unreachable(FROM_FAR))),
        C,
      ),
      received(
        'about a packet to an unlisted host',
        {},
        unreachable(ipv4({ from: LOCAL, to: UNLISTED }, ANY)),
      ),
      received(
        'masqueraded: about a port that has no binding',
        { from: UNLISTED },
        unreachable(ipv4({ from: LOCAL, to: UNLISTED }, ANY)),
        C,
      ),
      received(
        'masqueraded: about a protocol without ports',
        { from: UNLISTED },
        unreachable(ipv4({ from: LOCAL, to: UNLISTED }, raw(50, counting(8)))),
        C,
      ),
      decap(
        'a quote too short to rewrite',
        fromPeer(
          C,
          ipv4(
            { from: UNLISTED, to: LOCAL },
            unreachable(ipv4({ from: LOCAL, to: UNLISTED }, ANY).subarray(0, 23)),
          ),
        ),
      ),
    ],
  ),
  dropped(
    'icmp_redirect',
    'A redirect names a router of its own network, which is another machine on the other side.',
    [
      sent('from a local router', { from: '10.0.0.50' }, redirect(ipv4({ from: FAR, to: LOCAL }, ANY))),
      received('from a far router', { from: '10.0.0.50' }, redirect(ipv4({ from: LOCAL, to: FAR }, ANY))),
      decap(
        'masqueraded',
        fromPeer(C, ipv4({ from: UNLISTED, to: LOCAL }, redirect(ipv4({ from: LOCAL, to: UNLISTED }, ANY)))),
      ),
    ],
  ),
  dropped(
    'neighbor_unresolved',
    'What has waited in vain for three seconds is dropped, and a super-frame does not wait at all.',
    [
      { ...sent('waits', {}), verdict: 'held', events: [`unresolved 1 ${B}`] },
      { ...sent('waits, too', {}), verdict: 'held', time: 2, events: [`unresolved 1 ${B}`] },
      sent('too large to wait', {}, tcp({ from: 1, to: 2, payload: counting(20_000) }), {
        virtio: { gso: 'tcp', gsoSize: 1400 },
      }),
      encap('by now the first has waited for four seconds, the second has not', bytes(), {
        time: 5,
        verdict: 'malformed_ethernet',
        events: [`unresolved 1 ${B}`],
      }),
    ],
    { neighbors: [], counters: { drop_neighbor_unresolved: 1, rx_super_frames: 1 } },
  ),
  dropped(
    'neighbor_failed',
    'To a next hop that did not answer a moment ago nothing is sent.',
    [
      sent('the next hop of the tunnel; its sender is one that did not answer', {}, ANY, {
        events: [`heard 0 ${LOCAL}`],
      }),
      received('a local host', {}),
      decap('a local host with masquerade', fromPeer(C, ipv4({ from: UNLISTED, to: LOCAL }, ANY))),
    ],
    {
      neighbors: [
        { scope: 1, address: B },
        { scope: 0, address: LOCAL },
      ],
    },
  ),
  dropped(
    'hold_full',
    '64 frames wait at most; the oldest gives way (checklist 50).',
    [
      ...Array.from(
        { length: 66 },
        (_, id): Attempt => ({
          ...sent(`frame ${id}`, { id }),
          verdict: 'held',
          events: id === 0 ? [`unresolved 1 ${B}`] : [],
        }),
      ),
    ],
    { neighbors: NEXT_HOPS.slice(1), counters: { drop_hold_full: 2 } },
  ),
  dropped('outer_malformed', 'An outer header whose version or lengths are wrong is nothing.', [
    decap('version 6', outer({ version: 6 })),
    decap('four words of header', outer({ headerWords: 4 })),
    decap('longer than the frame', outer({ totalLength: 200 })),
    decap('cut in the header', outer({}).subarray(0, 33)),
  ]),
  dropped('outer_checksum', 'An outer header with a wrong checksum is not believed.', [
    decap('', outer({ checksum: 1 })),
  ]),
  dropped('outer_fragment', 'Outer fragments are not reassembled (checklist 8).', [
    decap('the first', outer({ df: false, mf: true })),
    decap('a later one', outer({ df: false, offset: 8 })),
  ]),
  dropped('unknown_peer', 'Only a configured pair of addresses is a peer (checklist 7).', [
    decap('a foreign source', fromPeer('198.18.0.9', FROM_FAR)),
    decap('another address of ours', outer({ to: '198.18.0.7' })),
    decap('mirrored', outer({ from: HERE, to: B })),
  ]),
  dropped('etherip_version', 'A version other than 3 is discarded (RFC 3378, checklist 2).', [
    decap('4', outer({}, etherIp(counting(60), 0x4000))),
    decap('FreeBSD 6.1 wrote it reversed', outer({}, etherIp(counting(60), 0x0300))),
  ]),
  dropped('etherip_reserved', 'Reserved bits are zero, or the frame is discarded (checklist 3).', [
    decap('the first', outer({}, etherIp(counting(60), 0x3800))),
    decap('the last', outer({}, etherIp(counting(60), 0x3001))),
  ]),
  dropped(
    'inner_truncated',
    'Less than an EtherIP header and 14 bytes are no inner frame; padding is none either (checklist 5).',
    [
      decap('nothing', outer({}, raw(97, []))),
      decap('one byte', outer({}, raw(97, [0x30]))),
      decap('13 bytes of a frame', padded(outer({}, etherIp(counting(13))), 99)),
    ],
  ),
  dropped(
    'ecn_not_ect_ce',
    'Congestion marked on what does not understand it is a loss (RFC 6040, checklist 44).',
    [decap('CE outside, Not-ECT inside', outer({ tos: 3 }))],
  ),
];
