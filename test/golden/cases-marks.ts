/** Golden cases of what the network marks: DSCP, ECN and TTL, inside and outside. */
import { ACK, bytes, counting, echo, etherIp, ethernet, ipv4, PSH, tcp, udp } from '../helpers/frames.js';
import { carried, WORLD } from './carried.js';
import type { GoldenCase, GoldenStep } from './golden-case.js';
import { B, FAR, fromLocal, fromPeer, LOCAL, MAC, TABLE, TWIN, TWIN_HERE, toLocal, toPeer } from './world.js';

const NAMES = ['Not-ECT', 'ECT(1)', 'ECT(0)', 'CE'];
const PLAIN = udp({ from: 1, to: 2 });

export const MARKS_CASES: GoldenCase[] = [
  {
    name: 'tos-copied-to-outer',
    sentence:
      'DSCP and ECN of the inner packet stand in the outer header, too (RFC 2983, RFC 6040 normal mode, checklist 44).',
    ...WORLD,
    steps: [0, 1, 2, 3, 0xb8, 0xff].map((tos): GoldenStep => {
      const packet = ipv4({ from: LOCAL, to: FAR, tos }, PLAIN);
      return {
        what: `TOS ${tos}`,
        direction: 'encap',
        frame: fromLocal(packet),
        verdict: 'forwarded',
        out: [toPeer(B, packet, { tos })],
      };
    }),
  },
  {
    name: 'ecn-merged',
    sentence:
      'The outer ECN field joins the inner one as in RFC 6040, figure 4; the outer DSCP does not count (checklist 44).',
    ...WORLD,
    // Those that figure 4 marks as unused: (!) and (!!!), the drop aside.
    counters: { ecn_unexpected: 4 },
    steps: [0, 1, 2, 3].flatMap((inner) =>
      [0, 1, 2, 3].map((outer): GoldenStep => {
        const packet = (tos: number) => ipv4({ from: FAR, to: LOCAL, tos }, PLAIN);
        const what = `inner ${NAMES[inner]}, outer ${NAMES[outer]}`;
        // Rows: inner Not-ECT, ECT(1), ECT(0), CE; columns the same, outer. -1: drop.
        const merged = [
          [0, 0, 0, -1],
          [1, 1, 1, 3],
          [2, 1, 2, 3],
          [3, 3, 3, 3],
        ][inner]?.[outer] as number;
        const frame = fromPeer(B, packet(0x48 | inner), { tos: 0xb8 | outer });
        if (merged < 0) return { what, direction: 'decap', frame, verdict: 'ecn_not_ect_ce' };
        return {
          what,
          direction: 'decap',
          frame,
          verdict: 'forwarded',
          out: [toLocal(packet(0x48 | merged))],
        };
      }),
    ),
  },
  {
    name: 'dscp-fixed',
    sentence:
      'With underlay.dscp the tunnel has one DSCP outside; ECN is copied all the same, the inner DSCP stays (checklist 44).',
    table: { ...TABLE, dscp: 10 },
    neighbors: WORLD.neighbors,
    steps: [
      ...[0, 1, 2, 3, 0xb8, 0xff].map((tos): GoldenStep => {
        const packet = ipv4({ from: LOCAL, to: FAR, tos }, PLAIN);
        return {
          what: `TOS ${tos}`,
          direction: 'encap',
          frame: fromLocal(packet),
          verdict: 'forwarded',
          out: [toPeer(B, packet, { tos: (10 << 2) | (tos & 3) })],
        };
      }),
      {
        what: 'what comes in is delivered with its own',
        direction: 'decap',
        frame: fromPeer(B, ipv4({ from: FAR, to: LOCAL, tos: 0xb8 }, PLAIN), { tos: 10 << 2 }),
        verdict: 'forwarded',
        out: [toLocal(ipv4({ from: FAR, to: LOCAL, tos: 0xb8 }, PLAIN))],
      },
    ],
  },
  ...[undefined, 10].map((dscp): GoldenCase => {
    const payload = 3000;
    const fields = { from: 40001, to: 443, sequence: 7, flags: ACK | PSH };
    const tos = 0x4a;
    return {
      name: dscp === undefined ? 'super-frame-dscp-copied' : 'super-frame-dscp-fixed',
      sentence: `Every segment of a super-frame has ${dscp === undefined ? 'its DSCP and ECN' : 'the fixed DSCP and its ECN'} outside and inside (checklist 44).`,
      table: dscp === undefined ? TABLE : { ...TABLE, dscp },
      neighbors: WORLD.neighbors,
      counters: { rx_super_frames: 1 },
      steps: [
        {
          what: '3 segments of 1000 bytes, AF21 and ECT(0)',
          direction: 'encap',
          frame: fromLocal(
            ipv4(
              { from: LOCAL, to: TWIN_HERE, id: 5, tos },
              tcp({ ...fields, payload: counting(payload), checksum: 'partial' }),
            ),
          ),
          virtio: { partial: { start: 34, offset: 16 }, gso: 'tcp', gsoSize: 1000 },
          verdict: 'forwarded',
          out: [0, 1000, 2000].map((start, index) =>
            toPeer(
              B,
              ipv4(
                { from: LOCAL, to: TWIN, id: 5 + index, tos },
                tcp({
                  ...fields,
                  sequence: 7 + start,
                  flags: start === 2000 ? ACK | PSH : ACK,
                  payload: counting(1000, start),
                }),
              ),
              { tos: dscp === undefined ? tos : (dscp << 2) | (tos & 3) },
            ),
          ),
        },
      ],
    };
  }),
  {
    name: 'inner-ttl-untouched',
    sentence:
      'The hosts are neighbours: the inner TTL stays, 1 and 255 too; the outer one is 64 whatever it is (checklist 43).',
    ...WORLD,
    steps: [1, 2, 64, 255].flatMap((ttl): GoldenStep[] => {
      const packet = (from: string, to: string) => ipv4({ from, to, ttl }, PLAIN);
      return [
        {
          what: `encap, TTL ${ttl}`,
          direction: 'encap',
          frame: fromLocal(packet(LOCAL, TWIN_HERE)),
          verdict: 'forwarded',
          out: [toPeer(B, packet(LOCAL, TWIN), ttl === 1 ? {} : learned())],
        },
        {
          what: `decap, TTL ${ttl}`,
          direction: 'decap',
          frame: fromPeer(B, packet(TWIN, LOCAL), { ttl: 3 }),
          verdict: 'forwarded',
          out: [toLocal(packet(TWIN_HERE, LOCAL))],
        },
      ];
    }),
  },
  {
    name: 'etherip-reversed',
    sentence:
      'With compat.reversed a frame whose EtherIP version is in the wrong half is taken and counted (checklist 2).',
    table: { ...TABLE, acceptReversed: true },
    neighbors: WORLD.neighbors,
    counters: { etherip_reversed: 1 },
    steps: [
      {
        ...carried({
          what: '0x03 0x00',
          direction: 'decap',
          before: [FAR, LOCAL],
          after: [FAR, LOCAL],
          transport: echo({ id: 1 }),
        }),
        frame: reversed(0x0300),
      },
      {
        what: '0x03 0x01 is nothing',
        direction: 'decap',
        frame: reversed(0x0301),
        verdict: 'etherip_version',
      },
    ],
  },
];

/** After the first frame from the far host its MAC is written back. */
function learned() {
  return { innerTo: '02:00:00:00:0b:14' };
}

function reversed(word: number): Uint8Array {
  const inner = ethernet(
    { to: MAC.farGateway, from: MAC.farHost },
    ipv4({ from: FAR, to: LOCAL }, echo({ id: 1 })),
  );
  return fromPeer(B, bytes(), {}, etherIp(inner, word));
}
