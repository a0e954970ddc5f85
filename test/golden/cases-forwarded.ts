/** Golden cases of what is carried: both address modes, checksums, super-frames, ICMP errors, ECN. */
import {
  ACK,
  arp,
  bytes,
  CWR,
  counting,
  echo,
  ethernet,
  FIN,
  ipv4,
  mssOption,
  onesSum,
  PSH,
  padded,
  raw,
  SYN,
  type Transport,
  tcp,
  udp,
} from '../helpers/frames.js';
import { carried, encapFirst, KINDS, PAYLOAD, WORLD, withLearnedMac } from './carried.js';
import type { GoldenCase, GoldenStep } from './golden-case.js';
import {
  B,
  C,
  D,
  FAR,
  fromLocal,
  fromPeer,
  GATEWAY,
  LOCAL,
  MAC,
  NEIGHBORS,
  NEXT_HOPS,
  ORIGINAL,
  TABLE,
  TWIN,
  TWIN_HERE,
  toLocal,
  toPeer,
  UNLISTED,
} from './world.js';

const sameAddress: GoldenCase[] = Object.entries(KINDS).flatMap(([kind, transport]) => [
  {
    name: `encap-same-address-${kind}`,
    sentence: `A ${kind.toUpperCase()} packet to a far host with the same address here goes into EtherIP (protocol 97, 0x3000, DF, TTL 64) as it is (checklist 1, 4, 41).`,
    ...WORLD,
    steps: [
      carried({
        what: `${LOCAL} to ${FAR}`,
        direction: 'encap',
        before: [LOCAL, FAR],
        after: [LOCAL, FAR],
        transport,
      }),
    ],
  },
  {
    name: `decap-same-address-${kind}`,
    sentence: `A ${kind.toUpperCase()} packet from a far host with the same address here is delivered with new MACs and nothing else.`,
    ...WORLD,
    steps: [
      carried({
        what: `${FAR} to ${LOCAL}`,
        direction: 'decap',
        before: [FAR, LOCAL],
        after: [FAR, LOCAL],
        transport,
      }),
    ],
  },
]);

const rewritten: GoldenCase[] = [
  {
    name: 'encap-twins',
    sentence:
      'Twins: to 10.0.0.99 here is to 10.0.0.10 there; source and destination are equal on the wire (checklist 10, 18).',
    ...WORLD,
    steps: Object.values(KINDS).map((transport) =>
      carried({
        what: `${LOCAL} to ${TWIN_HERE}`,
        direction: 'encap',
        before: [LOCAL, TWIN_HERE],
        after: [LOCAL, TWIN],
        transport,
      }),
    ),
  },
  {
    name: 'decap-twins',
    sentence: 'Twins: from 10.0.0.10 there is from 10.0.0.99 here (checklist 10, 18).',
    ...WORLD,
    steps: Object.values(KINDS).map((transport) =>
      carried({
        what: `${TWIN} of the far VPC to ${LOCAL}`,
        direction: 'decap',
        before: [TWIN, LOCAL],
        after: [TWIN_HERE, LOCAL],
        transport,
      }),
    ),
  },
  {
    name: 'prefix-mapping',
    sentence: 'A prefix stands for a prefix, host bits kept, in both directions.',
    ...WORLD,
    steps: encapFirst(
      ['1', '77', '254'].flatMap((host) =>
        Object.values(KINDS).flatMap((transport) => [
          carried({
            what: `to 10.0.2.${host}`,
            direction: 'encap',
            before: [LOCAL, `10.0.2.${host}`],
            after: [LOCAL, `10.0.1.${host}`],
            transport,
          }),
          carried({
            what: `from 10.0.1.${host}`,
            direction: 'decap',
            before: [`10.0.1.${host}`, LOCAL],
            after: [`10.0.2.${host}`, LOCAL],
            transport,
          }),
        ]),
      ),
    ),
  },
];

const masqueraded: GoldenCase[] = [
  {
    name: 'masquerade-tcp',
    sentence:
      'An unlisted far host speaks from the gateway, from its own port where that is free; answers find it.',
    ...WORLD,
    steps: [
      carried({
        what: 'SYN from port 40500, which is in the range and free',
        direction: 'decap',
        before: [UNLISTED, LOCAL],
        after: [GATEWAY, LOCAL],
        transport: tcp({ from: 40500, to: 443, flags: SYN }),
        peer: C,
      }),
      carried({
        what: 'SYN from the same port of another far host: the next free port of the same parity',
        direction: 'decap',
        before: ['10.0.0.78', LOCAL],
        after: [GATEWAY, LOCAL],
        transport: tcp({ from: 40500, to: 443, flags: SYN }),
        transportAfter: tcp({ from: 40502, to: 443, flags: SYN }),
        peer: C,
      }),
      carried({
        what: 'the answer to the second one',
        direction: 'encap',
        before: [LOCAL, GATEWAY],
        after: [LOCAL, '10.0.0.78'],
        transport: tcp({ from: 443, to: 40502, flags: SYN | ACK }),
        transportAfter: tcp({ from: 443, to: 40500, flags: SYN | ACK }),
        peer: C,
      }),
      carried({
        what: 'the answer to the first one',
        direction: 'encap',
        before: [LOCAL, GATEWAY],
        after: [LOCAL, UNLISTED],
        transport: tcp({ from: 443, to: 40500, flags: SYN | ACK }),
        peer: C,
      }),
    ].map(withLearnedMac),
  },
  {
    name: 'masquerade-udp',
    sentence: 'The same port stands for a far endpoint whomever it speaks to (RFC 4787 REQ-1, checklist 15).',
    table: TABLE,
    neighbors: [...NEIGHBORS, { scope: 0, address: '10.0.0.11', mac: MAC.local }],
    steps: [
      carried({
        what: 'to one host, from a port outside the range',
        direction: 'decap',
        before: [UNLISTED, LOCAL],
        after: [GATEWAY, LOCAL],
        transport: udp({ from: 5353, to: 53, payload: PAYLOAD }),
        transportAfter: udp({ from: 40353, to: 53, payload: PAYLOAD }),
        peer: C,
      }),
      carried({
        what: 'to another host',
        direction: 'decap',
        before: [UNLISTED, '10.0.0.11'],
        after: [GATEWAY, '10.0.0.11'],
        transport: udp({ from: 5353, to: 54, payload: PAYLOAD }),
        transportAfter: udp({ from: 40353, to: 54, payload: PAYLOAD }),
        peer: C,
      }),
      carried({
        what: 'an answer without a checksum stays without',
        direction: 'encap',
        before: [LOCAL, GATEWAY],
        after: [LOCAL, UNLISTED],
        transport: udp({ from: 53, to: 40353, payload: PAYLOAD, checksum: 0 }),
        transportAfter: udp({ from: 53, to: 5353, payload: PAYLOAD, checksum: 0 }),
        peer: C,
      }),
    ].map(withLearnedMac),
  },
  {
    name: 'masquerade-icmp-echo',
    sentence: 'The identifier of an ICMP echo is translated like a port (RFC 5508 REQ-1, checklist 29).',
    ...WORLD,
    steps: [
      carried({
        what: 'echo request',
        direction: 'decap',
        before: [UNLISTED, LOCAL],
        after: [GATEWAY, LOCAL],
        transport: echo({ id: 9 }),
        transportAfter: echo({ id: 40009 }),
        peer: C,
      }),
      carried({
        what: 'echo reply',
        direction: 'encap',
        before: [LOCAL, GATEWAY],
        after: [LOCAL, UNLISTED],
        transport: echo({ id: 40009, reply: true }),
        transportAfter: echo({ id: 9, reply: true }),
        peer: C,
      }),
    ].map(withLearnedMac),
  },
];

/** A UDP payload that makes the checksum of `from`-`to` come out as zero. */
function zeroSumPayload(from: string, to: string): Uint8Array {
  const probe = ipv4({ from, to }, udp({ from: 7, to: 7, payload: bytes([0, 0]), checksum: 0 }));
  const sum = onesSum(probe.subarray(12, 20), bytes([0, 17, 0, 10]), probe.subarray(20));
  return bytes([(~sum >> 8) & 255, ~sum & 255]);
}

const zeroThere = udp({ from: 7, to: 7, payload: zeroSumPayload(LOCAL, TWIN) });

const checksums: GoldenCase[] = [
  {
    name: 'udp-checksum-zero-stays',
    sentence: 'A UDP packet without a checksum has none after a rewrite either (checklist 11).',
    ...WORLD,
    steps: [
      carried({
        what: 'to a twin',
        direction: 'encap',
        before: [LOCAL, TWIN_HERE],
        after: [LOCAL, TWIN],
        transport: udp({ from: 7, to: 7, payload: PAYLOAD, checksum: 0 }),
      }),
      carried({
        what: 'from a twin',
        direction: 'decap',
        before: [TWIN, LOCAL],
        after: [TWIN_HERE, LOCAL],
        transport: udp({ from: 7, to: 7, payload: PAYLOAD, checksum: 0 }),
      }),
    ],
  },
  {
    name: 'udp-computed-zero-becomes-ones',
    sentence:
      'A UDP checksum that comes out as zero is sent as 0xffff, updated or completed (RFC 768, checklist 11).',
    ...WORLD,
    steps: [
      carried({
        what: 'the rewrite makes it zero',
        direction: 'encap',
        before: [LOCAL, TWIN_HERE],
        after: [LOCAL, TWIN],
        transport: zeroThere,
      }),
      {
        what: 'completing makes it zero',
        direction: 'encap',
        frame: fromLocal(
          ipv4(
            { from: LOCAL, to: FAR },
            udp({ from: 7, to: 7, payload: zeroSumPayload(LOCAL, FAR), checksum: 'partial' }),
          ),
        ),
        virtio: { partial: { start: 34, offset: 6 } },
        verdict: 'forwarded',
        out: [
          toPeer(
            B,
            ipv4({ from: LOCAL, to: FAR }, udp({ from: 7, to: 7, payload: zeroSumPayload(LOCAL, FAR) })),
          ),
        ],
      },
    ],
  },
  {
    name: 'partial-checksum-completed',
    sentence:
      'A checksum that the sender left to its NIC is completed, whether or not addresses change (checklist 14).',
    ...WORLD,
    steps: [FAR, TWIN_HERE].flatMap((to) =>
      (['tcp', 'udp'] as const).map((kind): GoldenStep => {
        const make = kind === 'tcp' ? tcp : udp;
        const fields = { from: 9, to: 9, payload: counting(33) };
        return {
          what: `${kind} to ${to}`,
          direction: 'encap',
          frame: padded(fromLocal(ipv4({ from: LOCAL, to }, make({ ...fields, checksum: 'partial' }))), 120),
          virtio: { partial: { start: 34, offset: kind === 'tcp' ? 16 : 6 } },
          verdict: 'forwarded',
          out: [toPeer(B, ipv4({ from: LOCAL, to: to === FAR ? FAR : TWIN }, make(fields)))],
        };
      }),
    ),
  },
  {
    name: 'resolve-tunnel-mends-checksum',
    sentence: 'From a peer in resolve: tunnel mode a wrong inner header checksum is made right, not dropped.',
    ...WORLD,
    counters: { checksums_mended: 1 },
    steps: [
      {
        what: 'the original rewrote an address and left the checksum',
        direction: 'decap',
        frame: fromPeer(
          D,
          ipv4(
            { from: ORIGINAL, to: LOCAL, checksum: 0xbad },
            tcp({ from: 80, to: 40001, payload: PAYLOAD }),
          ),
        ),
        verdict: 'forwarded',
        out: [toLocal(ipv4({ from: ORIGINAL, to: LOCAL }, tcp({ from: 80, to: 40001, payload: PAYLOAD })))],
      },
    ],
  },
];

const SUPER = 64_000;

function superFrame(segment: number, payload: number): Uint8Array[] {
  const starts = Array.from({ length: Math.ceil(payload / segment) }, (_, index) => index * segment);
  return starts.map((start, index) => {
    const length = Math.min(segment, payload - start);
    const last = start + length === payload;
    const flags = ACK | (index === 0 ? CWR : 0) | (last ? FIN | PSH : 0);
    const fields = {
      from: 40001,
      to: 443,
      sequence: 0xffffff00 + start,
      flags,
      options: [1, 1, 8, 10, 0, 1, 2, 3, 4, 5, 6, 7],
    };
    return toPeer(
      B,
      ipv4(
        { from: LOCAL, to: TWIN, id: (0xfff0 + index) & 0xffff, tos: 2 },
        tcp({ ...fields, payload: counting(length, start) }),
      ),
      { tos: 2 },
    );
  });
}

function superFrameStep(what: string, gsoSize: number, segment: number, payload: number): GoldenStep {
  const options = [1, 1, 8, 10, 0, 1, 2, 3, 4, 5, 6, 7];
  const segmentFields = { from: 40001, to: 443, sequence: 0xffffff00, flags: ACK | CWR | FIN | PSH, options };
  return {
    what,
    direction: 'encap',
    frame: fromLocal(
      ipv4(
        { from: LOCAL, to: TWIN_HERE, id: 0xfff0, tos: 2 },
        tcp({ ...segmentFields, payload: counting(payload), checksum: 'partial' }),
      ),
    ),
    virtio: { partial: { start: 34, offset: 16 }, gso: 'tcp', gsoSize },
    verdict: 'forwarded',
    out: superFrame(segment, payload),
  };
}

const superFrames: GoldenCase[] = [
  {
    name: 'super-frame-tcp-64k',
    sentence:
      'A 64 KB TCP super-frame leaves in segments of the sender: sequence and identification go on, CWR first, FIN and PSH last.',
    ...WORLD,
    counters: { rx_super_frames: 1 },
    steps: [superFrameStep('45 segments of 1400 bytes and one of 1000', 1400, 1400, SUPER)],
  },
  {
    name: 'super-frame-tcp-cut-smaller',
    sentence: 'Segments that the tunnel cannot carry are cut smaller: 1464 less 20 and 32 of headers.',
    ...WORLD,
    counters: { rx_super_frames: 1 },
    steps: [superFrameStep('segments of 1448 bytes become 1412', 1448, 1412, 5000)],
  },
  {
    name: 'super-frame-udp',
    sentence: 'A UDP super-frame becomes datagrams of the size that the sender asked for.',
    ...WORLD,
    counters: { rx_super_frames: 1 },
    steps: [
      {
        what: '3 datagrams of 1000 bytes and one of 500',
        direction: 'encap',
        frame: fromLocal(
          ipv4(
            { from: LOCAL, to: TWIN_HERE, df: false },
            udp({ from: 5000, to: 6000, payload: counting(3500), checksum: 'partial' }),
          ),
        ),
        virtio: { partial: { start: 34, offset: 6 }, gso: 'udp', gsoSize: 1000 },
        verdict: 'forwarded',
        out: [0, 1000, 2000, 3000].map((start, index) =>
          toPeer(
            B,
            ipv4(
              { from: LOCAL, to: TWIN, df: false, id: 0x1234 + index },
              udp({ from: 5000, to: 6000, payload: counting(Math.min(1000, 3500 - start), start) }),
            ),
          ),
        ),
      },
    ],
  },
  {
    name: 'super-frame-without-payload',
    sentence: 'What is called a super-frame and has nothing to cut leaves as it is.',
    ...WORLD,
    counters: { rx_super_frames: 1 },
    steps: [
      {
        what: 'a bare ACK',
        direction: 'encap',
        frame: fromLocal(ipv4({ from: LOCAL, to: FAR }, tcp({ from: 1, to: 2, checksum: 'partial' }))),
        virtio: { partial: { start: 34, offset: 16 }, gso: 'tcp', gsoSize: 1000 },
        verdict: 'forwarded',
        out: [toPeer(B, ipv4({ from: LOCAL, to: FAR }, tcp({ from: 1, to: 2 })))],
      },
    ],
  },
];

const syn = (mss: number, flags = SYN): Transport =>
  tcp({ from: 40001, to: 443, flags, options: [1, ...mssOption(mss), 1, 1, 1] });

const mss: GoldenCase[] = [
  {
    name: 'mss-clamped',
    sentence:
      'The MSS of SYN and SYN-ACK is lowered to the tunnel MTU less 40 in both directions, never raised.',
    ...WORLD,
    counters: { mss_clamped: 4 },
    steps: [
      ...encapFirst(
        [SYN, SYN | ACK].flatMap((flags) => [
          carried({
            what: 'a local host offers 1460, at an odd offset',
            direction: 'encap',
            before: [LOCAL, TWIN_HERE],
            after: [LOCAL, TWIN],
            transport: syn(1460, flags),
            transportAfter: syn(1424, flags),
          }),
          carried({
            what: 'a far host offers 8961',
            direction: 'decap',
            before: [TWIN, LOCAL],
            after: [TWIN_HERE, LOCAL],
            transport: syn(8961, flags),
            transportAfter: syn(1424, flags),
          }),
        ]),
      ),
      carried({
        what: '536 stays',
        direction: 'encap',
        before: [LOCAL, FAR],
        after: [LOCAL, FAR],
        transport: syn(536),
      }),
      carried({
        what: 'without SYN it is no MSS',
        direction: 'encap',
        before: [LOCAL, FAR],
        after: [LOCAL, FAR],
        transport: syn(1460, ACK),
      }),
    ],
  },
];

function fragments(from: string, to: string): Uint8Array[] {
  const whole = ipv4({ from, to, df: false, id: 7 }, udp({ from: 5, to: 6, payload: counting(200) }));
  const first = raw(17, whole.subarray(20, 124));
  const later = raw(17, whole.subarray(124));
  return [
    ipv4({ from, to, df: false, id: 7, mf: true }, first),
    ipv4({ from, to, df: false, id: 7, offset: 104 }, later),
  ];
}

const others: GoldenCase[] = [
  {
    name: 'inner-fragments',
    sentence:
      'Fragments cross where addresses are rewritten: the first one carries the checksum of all, later ones none (checklist 12).',
    ...WORLD,
    steps: [
      ...fragments(LOCAL, TWIN_HERE).map((fragment, index): GoldenStep => {
        const expected = fragments(LOCAL, TWIN)[index] ?? fragment;
        return {
          what: `fragment ${index}`,
          direction: 'encap',
          frame: fromLocal(fragment),
          verdict: 'forwarded',
          out: [toPeer(B, expected)],
        };
      }),
      ...fragments(TWIN, LOCAL).map((fragment, index): GoldenStep => {
        const expected = fragments(TWIN_HERE, LOCAL)[index] ?? fragment;
        return {
          what: `fragment ${index}`,
          direction: 'decap',
          frame: fromPeer(B, fragment),
          verdict: 'forwarded',
          out: [toLocal(expected)],
        };
      }),
    ],
  },
  {
    name: 'learned-mac-written-back',
    sentence:
      "What returns to a far host carries, as inner destination, the MAC that the host's frames came with.",
    ...WORLD,
    steps: [
      {
        ...carried({
          what: 'from the far host',
          direction: 'decap',
          before: [FAR, LOCAL],
          after: [FAR, LOCAL],
          transport: echo({ id: 1 }),
        }),
        frame: fromPeer(B, ipv4({ from: FAR, to: LOCAL }, echo({ id: 1 })), {
          innerFrom: '02:00:00:00:77:77',
        }),
      },
      {
        ...carried({
          what: 'back to it',
          direction: 'encap',
          before: [LOCAL, FAR],
          after: [LOCAL, FAR],
          transport: echo({ id: 1, reply: true }),
        }),
        out: [
          toPeer(B, ipv4({ from: LOCAL, to: FAR }, echo({ id: 1, reply: true })), {
            innerTo: '02:00:00:00:77:77',
          }),
        ],
      },
    ],
  },
  {
    name: 'resolve-tunnel-asks',
    sentence:
      'Towards the original the inner destination MAC is resolved through the tunnel first; the frame waits.',
    table: TABLE,
    neighbors: NEXT_HOPS,
    counters: { hold_released: 1 },
    steps: [
      {
        what: 'not known yet',
        direction: 'encap',
        frame: fromLocal(ipv4({ from: LOCAL, to: ORIGINAL }, echo({ id: 1 }))),
        verdict: 'held',
        events: [`unresolved 4 ${ORIGINAL}`],
      },
      {
        what: 'known now: the frame that waited comes first',
        direction: 'encap',
        neighbors: NEIGHBORS,
        frame: fromLocal(ipv4({ from: LOCAL, to: ORIGINAL }, echo({ id: 2 }))),
        verdict: 'forwarded',
        out: [1, 2].map((id) =>
          toPeer(D, ipv4({ from: LOCAL, to: ORIGINAL }, echo({ id })), { innerTo: '02:00:00:00:0d:40' }),
        ),
      },
    ],
  },
  {
    name: 'held-for-local-host',
    sentence: 'A frame waits for the MAC of the local host that it is for (checklist 50).',
    table: TABLE,
    neighbors: NEXT_HOPS,
    counters: { hold_released: 1 },
    steps: [
      {
        what: 'not known yet',
        direction: 'decap',
        frame: fromPeer(B, ipv4({ from: TWIN, to: LOCAL }, KINDS.tcp ?? echo({ id: 1 }))),
        verdict: 'held',
        events: [`unresolved 0 ${LOCAL}`],
      },
      {
        ...carried({
          what: 'known now',
          direction: 'decap',
          before: [TWIN, LOCAL],
          after: [TWIN_HERE, LOCAL],
          transport: echo({ id: 2 }),
        }),
        neighbors: NEIGHBORS,
        out: [KINDS.tcp ?? echo({ id: 1 }), echo({ id: 2 })].map((transport) =>
          toLocal(ipv4({ from: TWIN_HERE, to: LOCAL }, transport)),
        ),
      },
    ],
  },
  {
    name: 'ethernet-padding-ignored',
    sentence:
      "What follows the packet in a frame is the link's and is not carried, in either direction (checklist 4, 8).",
    ...WORLD,
    steps: [
      {
        ...carried({
          what: 'encap',
          direction: 'encap',
          before: [LOCAL, FAR],
          after: [LOCAL, FAR],
          transport: udp({ from: 1, to: 2 }),
        }),
        frame: padded(fromLocal(ipv4({ from: LOCAL, to: FAR }, udp({ from: 1, to: 2 })))),
      },
      {
        ...carried({
          what: 'decap: behind the inner packet',
          direction: 'decap',
          before: [FAR, LOCAL],
          after: [FAR, LOCAL],
          transport: udp({ from: 1, to: 2 }),
        }),
        frame: fromPeer(B, padded(ipv4({ from: FAR, to: LOCAL }, udp({ from: 1, to: 2 })), 46)),
      },
      {
        ...carried({
          what: 'decap: behind the outer packet',
          direction: 'decap',
          before: [FAR, LOCAL],
          after: [FAR, LOCAL],
          transport: udp({ from: 1, to: 2 }),
        }),
        frame: padded(fromPeer(B, ipv4({ from: FAR, to: LOCAL }, udp({ from: 1, to: 2 }))), 99),
      },
    ],
  },
  {
    name: 'outer-options-skipped',
    sentence: 'An outer header with options is understood (checklist 8).',
    ...WORLD,
    steps: [
      {
        ...carried({
          what: 'router alert',
          direction: 'decap',
          before: [FAR, LOCAL],
          after: [FAR, LOCAL],
          transport: echo({ id: 1 }),
        }),
        frame: fromPeer(B, ipv4({ from: FAR, to: LOCAL }, echo({ id: 1 })), { options: [0x94, 4, 0, 0] }),
      },
    ],
  },
  {
    name: 'inner-options-carried',
    sentence: 'Options of the inner header are carried as they are.',
    ...WORLD,
    steps: (['encap', 'decap'] as const).map((direction): GoldenStep => {
      const options = [7, 7, 4, 0, 0, 0, 0, 0];
      const packet = (from: string, to: string) => ipv4({ from, to, options }, KINDS.tcp ?? echo({ id: 1 }));
      return direction === 'encap'
        ? {
            what: direction,
            direction,
            frame: fromLocal(packet(LOCAL, TWIN_HERE)),
            verdict: 'forwarded',
            out: [toPeer(B, packet(LOCAL, TWIN))],
          }
        : {
            what: direction,
            direction,
            frame: fromPeer(B, packet(TWIN, LOCAL)),
            verdict: 'forwarded',
            out: [toLocal(packet(TWIN_HERE, LOCAL))],
          };
    }),
  },
  {
    name: 'arp-punted',
    sentence: 'ARP goes to the control plane with the place where it was heard, and nothing is forwarded.',
    ...WORLD,
    steps: [
      punted(
        'on the overlay',
        'encap',
        0,
        ethernet({ to: 'ff:ff:ff:ff:ff:ff', from: MAC.local, type: 0x0806 }, ask(MAC.local)),
      ),
      punted(
        'on the underlay',
        'decap',
        1,
        ethernet({ to: 'ff:ff:ff:ff:ff:ff', from: MAC.nextHop, type: 0x0806 }, ask(MAC.nextHop)),
      ),
      inTunnel(),
    ],
  },
  {
    name: 'failed-neighbor-heard',
    sentence: 'A frame from a local host that did not answer ARP tells the control plane that it lives.',
    table: TABLE,
    neighbors: [...NEXT_HOPS, { scope: 0, address: LOCAL }],
    steps: [
      {
        ...carried({
          what: 'from it',
          direction: 'encap',
          before: [LOCAL, FAR],
          after: [LOCAL, FAR],
          transport: echo({ id: 1 }),
        }),
        events: [`heard 0 ${LOCAL}`],
      },
    ],
  },
];

function ask(senderMac: string): Uint8Array {
  return arp({ operation: 1, senderMac, sender: LOCAL, target: FAR });
}

function punted(
  what: string,
  direction: 'encap' | 'decap',
  scope: number,
  frame: Uint8Array,
  heard = frame,
): GoldenStep {
  return {
    what,
    direction,
    frame,
    verdict: 'punted',
    events: [`arp ${scope} ${Buffer.from(heard).toString('hex')}`],
  };
}

function inTunnel(): GoldenStep {
  const request = ask(MAC.farHost);
  const inner = ethernet({ to: 'ff:ff:ff:ff:ff:ff', from: MAC.farHost, type: 0x0806 }, request);
  const carrier = raw(97, bytes([0x30, 0], inner));
  return punted('inside the tunnel of the third peer', 'decap', 4, fromPeer(D, request, {}, carrier), inner);
}

export const FORWARDED_CASES: GoldenCase[] = [
  ...sameAddress,
  ...rewritten,
  ...masqueraded,
  ...checksums,
  ...superFrames,
  ...mss,
  ...others,
];
