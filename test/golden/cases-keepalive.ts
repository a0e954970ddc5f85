/** Golden cases of what gateways say to each other: it goes to the control plane, and no further. */
import { decodeFrame, encodeFrame } from '../../src/peering/message.js';
import { bytes, counting, etherIp, ethernet } from '../helpers/frames.js';
import type { GoldenCase, GoldenStep } from './golden-case.js';
import { B, C, fromPeer, MAC, NEIGHBORS, TABLE } from './world.js';

/** What the workers hand up of a frame. */
const HANDED_UP = 640;
/** Keepalives of a peer that are taken in one second. */
const PER_SECOND = 32;

const question = (length = 0): Uint8Array => {
  const frame = encodeFrame({ kind: 'question', instance: 0x01020304, sequence: 7 }, MAC.farGateway, length);
  if (decodeFrame(frame) === undefined) throw new Error('this is no keepalive');
  return frame;
};
const MAGIC_AT = 14;
const inTunnel = (peer: string, frame: Uint8Array): Uint8Array => fromPeer(peer, bytes(), {}, etherIp(frame));

function punted(what: string, peer: string, scope: number, frame: Uint8Array): GoldenStep {
  const head = Buffer.from(frame.subarray(0, HANDED_UP)).toString('hex');
  return {
    what,
    direction: 'decap',
    frame: inTunnel(peer, frame),
    verdict: 'punted',
    events: [`keepalive ${scope} ${frame.length} ${head}`],
  };
}

export const KEEPALIVE_CASES: GoldenCase[] = [
  {
    name: 'keepalive-punted',
    sentence: "What a peer's gateway says goes to the control plane, a probe without its padding.",
    table: TABLE,
    neighbors: NEIGHBORS,
    steps: [
      punted('a keepalive', B, 2, question()),
      punted('of another peer', C, 3, question()),
      punted('a probe of the path MTU', B, 2, question(1478)),
      {
        what: "somebody else's experiment with the same EtherType",
        direction: 'decap',
        frame: inTunnel(B, ethernet({ to: MAC.farGateway, from: MAC.farHost, type: 0x88b5 }, counting(46))),
        verdict: 'unknown_ethertype',
      },
      {
        what: 'cut short in its first word',
        direction: 'decap',
        frame: inTunnel(B, question().subarray(0, MAGIC_AT + 3)),
        verdict: 'unknown_ethertype',
      },
    ],
  },
  {
    name: 'drop-keepalive-excess',
    sentence: 'A flood of keepalives costs the control plane nothing, and other peers neither.',
    table: TABLE,
    neighbors: NEIGHBORS,
    steps: [
      ...Array.from({ length: PER_SECOND }, (_, count) => punted(`number ${count + 1}`, B, 2, question())),
      {
        what: 'one more',
        direction: 'decap',
        frame: inTunnel(B, question()),
        verdict: 'keepalive_excess',
      },
      punted('another peer', C, 3, question()),
      { ...punted('a second later', B, 2, question()), time: 2 },
    ],
  },
];
