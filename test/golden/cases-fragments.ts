/** Golden cases of inner fragments: in any order, overlapping and hostile ones, in every address mode. */
import {
  type Bytes,
  counting,
  echo,
  fragments,
  type Ipv4Fields,
  ipv4,
  raw,
  type Transport,
  tcp,
  udp,
} from '../helpers/frames.js';
import type { GoldenCase, GoldenStep } from './golden-case.js';
import {
  B,
  C,
  FAR,
  fromLocal,
  fromPeer,
  GATEWAY,
  LOCAL,
  MAC,
  NEIGHBORS,
  TABLE,
  TWIN,
  TWIN_HERE,
  toLocal,
  toPeer,
  UNLISTED,
} from './world.js';

const WORLD = { table: TABLE, neighbors: NEIGHBORS };
const OTHER = '10.0.0.78';

/** Three fragments. */
const BIG = udp({ from: 40123, to: 53, payload: counting(3000) });
const cut = (fields: Ipv4Fields, transport: Transport = BIG): Bytes[] => fragments(fields, transport, 1400);
const at = <T>(list: readonly T[], index: number): T => {
  const found = list[index];
  if (found === undefined) throw new Error(`no element ${index}`);
  return found;
};

/** All orders of three. */
const ORDERS = [
  [0, 1, 2],
  [2, 1, 0],
  [1, 0, 2],
];

function inOrder(
  direction: 'encap' | 'decap',
  order: readonly number[],
  before: readonly Bytes[],
  after: readonly Bytes[],
): GoldenStep[] {
  return order.map((index) => ({
    what: `fragment ${index + 1} of ${order.map((one) => one + 1).join(', ')}`,
    direction,
    frame: direction === 'encap' ? fromLocal(at(before, index)) : fromPeer(B, at(before, index)),
    verdict: 'forwarded',
    out: [direction === 'encap' ? toPeer(B, at(after, index)) : toLocal(at(after, index))],
  }));
}

const proxiedModes: GoldenCase[] = [
  {
    name: 'fragments-same-address',
    sentence:
      'checklist 12, 24: fragments to and from a far host with the same address here pass one by one, in whatever order they come, unchanged.',
    ...WORLD,
    steps: [
      ...ORDERS.flatMap((order) =>
        inOrder('encap', order, cut({ from: LOCAL, to: FAR }), cut({ from: LOCAL, to: FAR })),
      ),
      ...ORDERS.flatMap((order) =>
        inOrder('decap', order, cut({ from: FAR, to: LOCAL }), cut({ from: FAR, to: LOCAL })),
      ),
    ],
  },
  {
    name: 'fragments-one-to-one',
    sentence:
      'checklist 12, 24: fragments to and from a far host with another address here get that address one by one; the checksum in the first follows, and later ones have none that could be touched.',
    ...WORLD,
    steps: [BIG, echo({ id: 7, payload: counting(3000) }), tcp({ from: 1, to: 2, payload: counting(3000) })]
      .flatMap((transport) =>
        ORDERS.flatMap((order) => [
          ...inOrder(
            'encap',
            order,
            cut({ from: LOCAL, to: TWIN_HERE }, transport),
            cut({ from: LOCAL, to: TWIN }, transport),
          ),
          ...inOrder(
            'decap',
            order,
            cut({ from: TWIN, to: LOCAL }, transport),
            cut({ from: TWIN_HERE, to: LOCAL }, transport),
          ),
        ]),
      )
      .sort((one, other) => Number(other.direction === 'encap') - Number(one.direction === 'encap')),
  },
  {
    name: 'fragments-hostile',
    sentence:
      'checklist 24: overlapping, tiny and repeated fragments pass for the receiver to judge; what reaches beyond 65535 bytes does not.',
    ...WORLD,
    steps: [
      { fields: { mf: true, offset: 8 }, length: 1000, verdict: 'forwarded' },
      { fields: { mf: true, offset: 504 }, length: 1000, verdict: 'forwarded' },
      { fields: { mf: true, offset: 504 }, length: 1000, verdict: 'forwarded' },
      { fields: { mf: true, offset: 1496 }, length: 8, verdict: 'forwarded' },
      { fields: { offset: 65512 }, length: 3, verdict: 'forwarded' },
      { fields: { offset: 65512 }, length: 4, verdict: 'malformed_ipv4' },
      { fields: { mf: true, offset: 65528 }, length: 1400, verdict: 'malformed_ipv4' },
    ].flatMap(({ fields, length, verdict }): GoldenStep[] => {
      const packet = ipv4({ from: LOCAL, to: FAR, df: false, ...fields }, raw(17, counting(length)));
      const what = `${length} bytes at ${fields.offset}`;
      const out = verdict === 'forwarded' ? { out: [toPeer(B, packet)] } : {};
      return [{ what, direction: 'encap', frame: fromLocal(packet), verdict, ...out }];
    }),
  },
];

/** Makes the binding of UNLISTED's port 40123, which is free here. */
const binding: GoldenStep = {
  what: 'a datagram from the far host makes a binding',
  direction: 'decap',
  frame: fromPeer(C, ipv4({ from: UNLISTED, to: LOCAL }, udp({ from: 40123, to: 53 }))),
  verdict: 'forwarded',
  out: [toLocal(ipv4({ from: GATEWAY, to: LOCAL }, udp({ from: 40123, to: 53 })))],
};

const toFar = udp({ from: 53, to: 40123, payload: counting(3000) });
const localFragments = (id: number): Bytes[] => cut({ from: LOCAL, to: GATEWAY, id }, toFar);
const farFragments = (id: number): Bytes[] =>
  cut({ from: LOCAL, to: UNLISTED, id }, toFar).map((packet) => toPeer(C, packet, { innerTo: MAC.farHost }));

const encapStep = (what: string, packet: Bytes, verdict: string, out: Bytes[] = []): GoldenStep => ({
  what,
  direction: 'encap',
  frame: fromLocal(packet),
  verdict,
  out,
});

/** A datagram of an unlisted far host, in fragments; and as the local host gets it. */
const sentBy = (host: string, id: number, port = 40123): Bytes[] =>
  cut({ from: host, to: LOCAL, id }, udp({ from: port, to: 53, payload: counting(3000) }));
const shownAs = (id: number, port = 40123): Bytes[] =>
  cut({ from: GATEWAY, to: LOCAL, id }, udp({ from: port, to: 53, payload: counting(3000) })).map(toLocal);
const decapStep = (what: string, packet: Bytes, verdict: string, out: Bytes[] = []): GoldenStep => ({
  what,
  direction: 'decap',
  frame: fromPeer(C, packet),
  verdict,
  out,
});

const masqueraded: GoldenCase[] = [
  {
    name: 'fragments-to-masqueraded',
    sentence:
      'checklist 24: fragments to a masquerade port follow the first one, and those that came before it wait for it and then go in the order in which they came.',
    ...WORLD,
    steps: [
      binding,
      ...localFragments(0x100).map((packet, index) =>
        encapStep(`in order, ${index + 1}`, packet, 'forwarded', [at(farFragments(0x100), index)]),
      ),
      encapStep('the last one first', at(localFragments(0x200), 2), 'held'),
      encapStep('then the middle', at(localFragments(0x200), 1), 'held'),
      encapStep('of another packet', at(localFragments(0x300), 0), 'forwarded', [at(farFragments(0x300), 0)]),
      encapStep(
        'then the first',
        at(localFragments(0x200), 0),
        'held',
        [2, 1, 0].map((index) => at(farFragments(0x200), index)),
      ),
      encapStep('the last one again', at(localFragments(0x200), 2), 'forwarded', [
        at(farFragments(0x200), 2),
      ]),
    ],
    counters: { hold_released: 3 },
  },
  {
    name: 'fragments-from-masqueraded',
    sentence:
      'checklist 24: fragments from a masqueraded host follow the first one, in the order in which they came, and packets of hosts behind one address have identifications of their own (RFC 6864).',
    ...WORLD,
    steps: [
      { ...decapStep('in order, 1', at(sentBy(UNLISTED, 7), 0), 'forwarded', [at(shownAs(0), 0)]), time: 1 },
      decapStep('in order, 2', at(sentBy(UNLISTED, 7), 1), 'forwarded', [at(shownAs(0), 1)]),
      decapStep(
        'another host, the same identification, its last one first',
        at(sentBy(OTHER, 7, 40200), 2),
        'held',
      ),
      decapStep('in order, 3', at(sentBy(UNLISTED, 7), 2), 'forwarded', [at(shownAs(0), 2)]),
      decapStep(
        'the first one of the other',
        at(sentBy(OTHER, 7, 40200), 0),
        'held',
        [2, 0].map((index) => at(shownAs(1, 40200), index)),
      ),
      decapStep('the middle of the other', at(sentBy(OTHER, 7, 40200), 1), 'forwarded', [
        at(shownAs(1, 40200), 1),
      ]),
    ],
    counters: { hold_released: 2 },
  },
  {
    name: 'drop-fragment-timeout',
    sentence: 'checklist 24: a fragment waits for its first one for five seconds and no longer.',
    ...WORLD,
    steps: [
      { ...decapStep('a later one', at(sentBy(UNLISTED, 7), 1), 'held'), time: 1 },
      { ...decapStep('five seconds later', at(sentBy(UNLISTED, 8), 1), 'held'), time: 6 },
      { ...decapStep('another second', at(sentBy(UNLISTED, 9), 1), 'held'), time: 7 },
      decapStep('too late for the first', at(sentBy(UNLISTED, 7), 0), 'forwarded', [at(shownAs(0), 0)]),
    ],
    counters: { drop_fragment_timeout: 1 },
  },
  {
    name: 'drop-fragments-full',
    sentence:
      'checklist 24: a host that sends fragments without beginning fills half of the places, and others still find one.',
    ...WORLD,
    steps: [
      ...Array.from({ length: 65 }, (_, index) => ({
        ...decapStep(`${index + 1}`, at(sentBy(UNLISTED, index), 1), index < 64 ? 'held' : 'fragments_full'),
        time: 1,
      })),
      decapStep('another host, out of order', at(sentBy(OTHER, 1), 1), 'held'),
      decapStep(
        'its first one',
        at(sentBy(OTHER, 1), 0),
        'held',
        [1, 0].map((index) => at(shownAs(0), index)),
      ),
    ],
    counters: { hold_released: 2 },
  },
];

export const FRAGMENT_CASES: readonly GoldenCase[] = [...proxiedModes, ...masqueraded];
