/** Golden cases of ICMP errors: what they quote was known by other addresses on the other side (RFC 5508). */
import {
  be16,
  bytes,
  counting,
  echo,
  icmp,
  ipv4,
  onesSum,
  raw,
  type Transport,
  tcp,
  udp,
  unreachable,
} from '../helpers/frames.js';
import { type Carried, carried, encapFirst, KINDS, WORLD, withLearnedMac } from './carried.js';
import type { GoldenCase, GoldenStep } from './golden-case.js';
import { C, FAR, GATEWAY, LOCAL, TWIN, TWIN_HERE, UNLISTED } from './world.js';

const UDP = udp({ from: 40001, to: 33434, payload: counting(12) });
/** The first address of the subnet is reserved; a router may have it. */
const ROUTER = '10.0.0.1';

const ERRORS = [
  { what: 'network unreachable', type: 3, code: 0 },
  { what: 'port unreachable', type: 3, code: 3 },
  { what: 'fragmentation needed', type: 3, code: 4, rest: [0, 0, 0x05, 0x78] },
  { what: 'administratively prohibited', type: 3, code: 13 },
  { what: 'source quench', type: 4, code: 0 },
  { what: 'time exceeded in transit', type: 11, code: 0 },
  { what: 'time exceeded in reassembly', type: 11, code: 1 },
  { what: 'parameter problem at byte 20', type: 12, code: 0, rest: [20, 0, 0, 0] },
].map((error) => ({ rest: [0, 0, 0, 0], ...error }));

/** A step in which `wrap` makes an error of the packet between LOCAL and its twin, as either side knows it. */
function aboutTwin(
  direction: Carried['direction'],
  what: string,
  wrap: (quoted: Uint8Array) => Transport,
  fields: { df?: boolean; mf?: boolean } = {},
  transport: Transport = UDP,
): GoldenStep {
  const ends = (twin: string) =>
    direction === 'encap' ? { from: twin, to: LOCAL } : { from: LOCAL, to: twin };
  const quoted = (twin: string) => wrap(ipv4({ ...ends(twin), ttl: 1, ...fields }, transport));
  return direction === 'encap'
    ? carried({
        ...{ what, direction, before: [LOCAL, TWIN_HERE], after: [LOCAL, TWIN] },
        ...{ transport: quoted(TWIN_HERE), transportAfter: quoted(TWIN) },
      })
    : carried({
        ...{ what, direction, before: [TWIN, LOCAL], after: [TWIN_HERE, LOCAL] },
        ...{ transport: quoted(TWIN), transportAfter: quoted(TWIN_HERE) },
      });
}

/** The quote padded to 128 bytes and an extension with one MPLS label stack entry (RFC 4884, RFC 4950). */
function extended(quoted: Uint8Array): Uint8Array {
  const structure = bytes([0x20, 0, 0, 0], be16(8), [1, 1], [0x01, 0x86, 0xa1, 0x01]);
  structure.set(be16(~onesSum(structure) & 0xffff), 2);
  return bytes(quoted, new Uint8Array(128 - quoted.length), structure);
}

/** An ICMP error and the packet it is about, which the other side knows by other addresses. */
const quotedHere = (transport: Transport) =>
  ipv4({ from: TWIN_HERE, to: LOCAL, ttl: 60, options: [1, 1, 1, 0] }, transport);
const quotedThere = (transport: Transport) =>
  ipv4({ from: TWIN, to: LOCAL, ttl: 60, options: [1, 1, 1, 0] }, transport);
const sentHere = (transport: Transport) => ipv4({ from: LOCAL, to: TWIN_HERE }, transport);
const sentThere = (transport: Transport) => ipv4({ from: LOCAL, to: TWIN }, transport);

export const ICMP_CASES: GoldenCase[] = [
  {
    name: 'icmp-error-encap-rewritten',
    sentence:
      'An error about a packet from a far host quotes it as that host sent it, options skipped (checklist 30, 31).',
    ...WORLD,
    steps: Object.entries(KINDS).map(([kind, transport]) =>
      carried({
        what: `port unreachable about ${kind}`,
        direction: 'encap',
        before: [LOCAL, TWIN_HERE],
        after: [LOCAL, TWIN],
        transport: unreachable(quotedHere(transport)),
        transportAfter: unreachable(quotedThere(transport)),
      }),
    ),
  },
  {
    name: 'icmp-error-decap-rewritten',
    sentence:
      'An error from the far side quotes the packet as the local host sent it; eight quoted bytes do (checklist 31).',
    ...WORLD,
    steps: Object.entries(KINDS).flatMap(([kind, transport]) => [
      carried({
        what: `port unreachable from the twin about ${kind}`,
        direction: 'decap',
        before: [TWIN, LOCAL],
        after: [TWIN_HERE, LOCAL],
        transport: unreachable(sentThere(transport)),
        transportAfter: unreachable(sentHere(transport)),
      }),
      carried({
        what: `fragmentation needed from a far router, about ${kind}: it speaks from the gateway's address`,
        direction: 'decap',
        before: [ROUTER, LOCAL],
        after: [GATEWAY, LOCAL],
        transport: unreachable(sentThere(transport).subarray(0, 28), { mtu: 1400 }),
        transportAfter: unreachable(sentHere(transport).subarray(0, 28), { mtu: 1400 }),
      }),
    ]),
  },
  {
    name: 'icmp-error-same-address',
    sentence: 'Where no address changes, an error is carried as it is.',
    ...WORLD,
    steps: (['encap', 'decap'] as const).map((direction): GoldenStep => {
      const quoted = ipv4(
        direction === 'encap' ? { from: FAR, to: LOCAL } : { from: LOCAL, to: FAR },
        udp({ from: 1, to: 2 }),
      );
      const ends: [string, string] = direction === 'encap' ? [LOCAL, FAR] : [FAR, LOCAL];
      return carried({
        what: direction,
        direction,
        before: ends,
        after: ends,
        transport: unreachable(quoted),
      });
    }),
  },
  {
    name: 'icmp-error-masqueraded',
    sentence:
      'Errors cross the masquerade both ways, addresses and ports in the quote translated back (checklist 31).',
    ...WORLD,
    steps: [
      ...(['tcp', 'udp', 'icmp'] as const).flatMap((kind) => {
        const make = (port: number): Transport =>
          kind === 'tcp'
            ? tcp({ from: port, to: 9, payload: counting(10) })
            : kind === 'udp'
              ? udp({ from: port, to: 9, payload: counting(10) })
              : echo({ id: port });
        const answer = (port: number): Transport =>
          kind === 'tcp'
            ? tcp({ from: 9, to: port })
            : kind === 'udp'
              ? udp({ from: 9, to: port })
              : echo({ id: port, reply: true });
        return [
          carried({
            what: `${kind} from the far host`,
            direction: 'decap',
            before: [UNLISTED, LOCAL],
            after: [GATEWAY, LOCAL],
            transport: make(1234),
            transportAfter: make(40234),
            peer: C,
          }),
          carried({
            what: `an error about it`,
            direction: 'encap',
            before: [LOCAL, GATEWAY],
            after: [LOCAL, UNLISTED],
            transport: unreachable(ipv4({ from: GATEWAY, to: LOCAL }, make(40234))),
            transportAfter: unreachable(ipv4({ from: UNLISTED, to: LOCAL }, make(1234))),
            peer: C,
          }),
          carried({
            what: `an error from the far side about the answer`,
            direction: 'decap',
            before: ['10.0.0.222', LOCAL],
            after: [GATEWAY, LOCAL],
            transport: unreachable(ipv4({ from: LOCAL, to: UNLISTED }, answer(1234))),
            transportAfter: unreachable(ipv4({ from: LOCAL, to: GATEWAY }, answer(40234))),
            peer: C,
          }),
        ] satisfies GoldenStep[];
      }),
    ].map(withLearnedMac),
  },
  {
    name: 'icmp-error-types',
    sentence: 'Type, code and the word behind the checksum of an error stay as they are (checklist 28, 31).',
    ...WORLD,
    steps: encapFirst(
      ERRORS.flatMap(({ what, type, code, rest }) => [
        aboutTwin('encap', `${what}, from a local host`, (quoted) =>
          icmp({ type, code, rest, payload: quoted }),
        ),
        aboutTwin('decap', `${what}, from the twin`, (quoted) => icmp({ type, code, rest, payload: quoted })),
      ]),
    ),
  },
  {
    name: 'icmp-error-from-router',
    sentence:
      "A router's error crosses from any address, the subnet's first one too; it arrives from the gateway's own (RFC 5508 REQ-5c, checklist 31).",
    ...WORLD,
    steps: [
      ...[ROUTER, '10.0.0.50'].map((router) =>
        carried({
          what: `time exceeded from local router ${router}`,
          direction: 'encap',
          before: [router, TWIN_HERE],
          after: [router, TWIN],
          transport: icmp({ type: 11, payload: quotedHere(UDP) }),
          transportAfter: icmp({ type: 11, payload: quotedThere(UDP) }),
        }),
      ),
      ...[ROUTER, '10.0.0.50'].map((router) =>
        carried({
          what: `time exceeded from far router ${router}, about a host with the same address`,
          direction: 'decap',
          before: [router, LOCAL],
          after: [GATEWAY, LOCAL],
          transport: icmp({ type: 11, payload: ipv4({ from: LOCAL, to: FAR, ttl: 1 }, UDP) }),
        }),
      ),
      carried({
        what: 'a far router that is proxied itself keeps its address',
        direction: 'decap',
        before: [FAR, LOCAL],
        after: [FAR, LOCAL],
        transport: icmp({ type: 11, payload: sentThere(UDP) }),
        transportAfter: icmp({ type: 11, payload: sentHere(UDP) }),
      }),
    ],
  },
  {
    name: 'icmp-error-quoted-checksum-not-judged',
    sentence:
      'The quoted L4 checksum is updated and not judged: a wrong one stays wrong by as much (checklist 30).',
    ...WORLD,
    steps: (['encap', 'decap'] as const).map((direction) =>
      aboutTwin(direction, direction, (quoted) => {
        const wrong = Uint8Array.from(quoted);
        wrong[wrong.length - 1] = 0x77; // payload that the checksum does not cover rightly any more
        return unreachable(wrong);
      }),
    ),
  },
  {
    name: 'icmp-error-extensions',
    sentence: 'Padding and extensions behind the quoted packet are no part of it (RFC 4884, checklist 30).',
    ...WORLD,
    steps: (['encap', 'decap'] as const).flatMap((direction) => [
      aboutTwin(direction, `${direction}: a packet shorter than 128 bytes, MPLS labels behind it`, (quoted) =>
        icmp({ type: 11, rest: [0, 32, 0, 0], payload: extended(quoted) }),
      ),
      aboutTwin(
        direction,
        `${direction}: a first fragment of 8 bytes; where its checksum would be is padding`,
        (quoted) => icmp({ type: 11, rest: [0, 32, 0, 0], payload: extended(quoted) }),
        { df: false, mf: true },
        raw(6, tcp({ from: 1, to: 2 }).bytes(new Uint8Array(4), new Uint8Array(4)).subarray(0, 8)),
      ),
    ]),
  },
];
