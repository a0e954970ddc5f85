/**
 * User space and the kernel cut and merge alike, frame by frame, on real interfaces: any TCP super-frame through
 * rungs `off` and `segment`, any TCP stream from a peer through `off` and `full`. What is expected is built from
 * the fields, with no code of the product.
 */
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { must } from '../../src/lab/command.js';
import { whyNoLab } from '../../src/lab/index.js';
import { ipv4ToBytes } from '../../src/net/address.js';
import { toText } from '../golden/golden-case.js';
import {
  B,
  FAR,
  fromLocal,
  fromPeer,
  LOCAL,
  MAC,
  NEIGHBORS,
  TABLE,
  TWIN,
  TWIN_HERE,
  toLocal,
  toPeer,
} from '../golden/world.js';
import { toNeighbors, toTable } from '../helpers/forwarding.js';
import {
  ACK,
  type Bytes,
  be16,
  be32,
  bytes,
  CWR,
  counting,
  FIN,
  ipv4,
  onesSum,
  PSH,
  SYN,
  tcp,
} from '../helpers/frames.js';
import { enters, leaves, PATIENCE, Rig, RUNGS } from '../helpers/rungs/rig.js';
import { wireFrames } from '../helpers/rungs/wire-frames.js';

const skip = await whyNoLab();
const INNER_MTU = 1464;
/** A veth queues 256 frames. */
const MOST_FRAMES = 128;

/** A far host with the same address here, and the twin. */
const FARS = [FAR, TWIN];
const FARS_HERE = [FAR, TWIN_HERE];
const PEERS = TABLE.peers.length;
const WORK = ['rx_super_frames', 'tx_super_frames', 'coalesced'];

interface Running {
  rung: string;
  rig: Rig;
}

/** Rigs side by side, each on its rung; those that do not work here are left out, loudly. */
async function start(t: Test, ...rungs: string[]): Promise<Running[]> {
  const running: Running[] = [];
  for (const rung of rungs) {
    const rig = await Rig.create(t, { overlay: MAC.overlay, underlay: MAC.underlay });
    const why = await rig.start(RUNGS[rung] ?? {}, toTable(TABLE));
    if (why !== undefined) {
      t.pass(`rung ${rung}`, { skip: `it does not work here: ${why}` });
      continue;
    }
    await rig.publish(toTable(TABLE), toNeighbors(NEIGHBORS));
    running.push({ rung, rig });
  }
  return running;
}

/** Throws for fast-check, with what differs first. */
function compare(rung: string, seen: readonly string[], expected: readonly string[]): void {
  const at = expected.findIndex((frame, index) => frame !== seen[index]);
  if (at === -1 && seen.length === expected.length) return;
  const place = at === -1 ? expected.length : at;
  throw new Error(
    `rung ${rung}: ${seen.length} frames for ${expected.length}; frame ${place} is\n${seen[place]}, expected\n${expected[place]}`,
  );
}

/** Every rung has counted the same, but for how it did its work. */
async function sameCounters(t: Test, running: readonly Running[]): Promise<Record<string, number>[]> {
  const readings = await Promise.all(running.map(({ rig }) => rig.read(PEERS)));
  const [first] = readings;
  for (const [index, { rung }] of running.entries()) {
    const reading = readings[index];
    const peers = reading?.peers.map(({ last_rx_seconds: _, ...peer }) => peer);
    const there = first?.peers.map(({ last_rx_seconds: _, ...peer }) => peer);
    t.same(peers, there, `${rung}: what was counted of each peer`);
    t.equal(reading?.totals.rx_bytes, first?.totals.rx_bytes, `${rung}: bytes received`);
    const drops = Object.entries(reading?.totals ?? {}).filter(
      ([name, value]) => /^drop_|_lost$/.test(name) && value > 0,
    );
    t.same(drops, [], `${rung}: nothing was dropped or lost`);
  }
  return readings.map(({ totals }) => Object.fromEntries(WORK.map((name) => [name, totals[name] ?? 0])));
}

const word = fc.integer({ min: 0, max: 0xffff });
const long = fc.integer({ min: 0, max: 0xffffffff });
/** No-operations, or timestamps behind two of them. */
const options = fc.oneof(
  fc.integer({ min: 0, max: 10 }).map((words) => Array.from({ length: words * 4 }, () => 1)),
  fc.tuple(long, long).map(([mine, yours]) => [1, 1, 8, 10, ...be32(mine), ...be32(yours)]),
);
/** Every combination of the others; a SYN is not data, and offers an MSS. */
const flags = fc.integer({ min: 0, max: 255 }).map((value) => value & ~SYN);
const headers = fc.record({
  tos: fc.integer({ min: 0, max: 255 }),
  id: word,
  df: fc.boolean(),
  ttl: fc.integer({ min: 1, max: 255 }),
});

const superFrames = fc
  .record({
    ip: headers,
    tcp: fc.record({
      from: word,
      to: word,
      sequence: long,
      acknowledgment: long,
      flags,
      window: word,
      urgent: word,
      options,
    }),
    twin: fc.boolean(),
    /** Whether the sender's kernel marks CWR in the virtio header, as Linux does. */
    marksCwr: fc.boolean(),
    gsoSize: fc.oneof(fc.integer({ min: 1, max: 1460 }), fc.constantFrom(1424, 1412, 1448, 536)),
    segments: fc.integer({ min: 1, max: 46 }),
    rest: fc.double({ min: 0, max: 1, noNaN: true }),
  })
  .map(({ gsoSize, segments, rest, ...fields }) => ({
    ...fields,
    gsoSize,
    // Often whole segments, mostly not.
    length: Math.min(63_000, gsoSize * segments + (rest < 0.3 ? 0 : Math.floor(rest * gsoSize))),
  }))
  // Less than two segments is no super-frame to the kernel.
  .filter(({ gsoSize, length }) => length > gsoSize && length / gsoSize <= MOST_FRAMES);

type SuperFrame = typeof superFrames extends fc.Arbitrary<infer T> ? T : never;

function sentBy({ ip, tcp: fields, twin, length }: SuperFrame): Bytes {
  const whole = tcp({ ...fields, payload: counting(length), checksum: 'partial' });
  return fromLocal(ipv4({ ...ip, from: LOCAL, to: twin ? TWIN_HERE : FAR }, whole));
}

function virtioOf({ gsoSize, tcp: fields, marksCwr }: SuperFrame): Bytes {
  const ecn = marksCwr && (fields.flags & CWR) !== 0 ? 0x80 : 0;
  return Uint8Array.of(1, 1 | ecn, 0, 0, gsoSize & 255, gsoSize >> 8, 34, 0, 16, 0);
}

function expectedOf({ ip, tcp: fields, twin, gsoSize, length }: SuperFrame): string[] {
  const size = Math.min(gsoSize, INNER_MTU - 40 - fields.options.length);
  return Array.from({ length: Math.ceil(length / size) }, (_, index) => {
    const from = index * size;
    const part = Math.min(size, length - from);
    const last = from + part === length;
    const segment = tcp({
      ...fields,
      sequence: (fields.sequence + from) >>> 0,
      flags: fields.flags & (index === 0 ? 0xff : ~CWR) & (last ? 0xff : ~(FIN | PSH)),
      payload: counting(part, from),
    });
    const packet = ipv4({ ...ip, id: (ip.id + index) & 0xffff, from: LOCAL, to: twin ? TWIN : FAR }, segment);
    return toText(toPeer(B, packet, { tos: ip.tos }));
  });
}

/** What one end of a connection may send next to what it sent before, and what may become of it on the way. */
const pieces = fc.record({
  /** Of two connections. */
  flow: fc.integer({ min: 0, max: 1 }),
  /** Of the usual size, or any. */
  length: fc.oneof({ weight: 6, arbitrary: fc.constant(700) }, fc.integer({ min: 0, max: 1384 })),
  flags: fc.oneof({ weight: 8, arbitrary: fc.constant(ACK) }, flags),
  /** Segments lost before, or (below zero) sent again. */
  gap: fc.oneof({ weight: 10, arbitrary: fc.constant(0) }, fc.integer({ min: -3, max: 3 })),
  acknowledges: fc.oneof({ weight: 10, arbitrary: fc.constant(0) }, fc.integer({ min: 0, max: 3000 })),
  window: fc.oneof({ weight: 10, arbitrary: fc.constant(502) }, word),
  options: fc.oneof({ weight: 10, arbitrary: fc.constant(undefined) }, options),
  tos: fc.oneof({ weight: 10, arbitrary: fc.constant(undefined) }, fc.integer({ min: 0, max: 255 })),
  ttl: fc.oneof({ weight: 12, arbitrary: fc.constant(63) }, fc.integer({ min: 1, max: 255 })),
  idStep: fc.oneof({ weight: 10, arbitrary: fc.constant(1) }, fc.integer({ min: 0, max: 300 })),
  /** Congestion that the underlay marked. */
  marked: fc.oneof({ weight: 12, arbitrary: fc.constant(false) }, fc.boolean()),
  spoiled: fc.oneof({ weight: 15, arbitrary: fc.constant(false) }, fc.boolean()),
});

const streams = fc.record({
  flows: fc.tuple(
    ...[0, 1].map((flow) =>
      fc.record({
        from: fc.constant(FARS[flow] ?? FAR),
        here: fc.constant(FARS_HERE[flow] ?? FAR),
        port: fc.integer({ min: 1, max: 3 }),
        sequence: long,
        id: word,
        df: fc.boolean(),
        tos: fc.constantFrom(0, 1, 2, 3, 0xb9),
        options,
      }),
    ),
  ),
  pieces: fc.array(pieces, { minLength: 1, maxLength: 40 }),
});

type Stream = typeof streams extends fc.Arbitrary<infer T> ? T : never;

interface Expected {
  inOrder: string[];
  /** No receiver takes them; the kernel does not keep them back until what came before has been merged. */
  spoiled: string[];
}

/** The frames from the peer, and what comes of them, by flow. */
function framesOf({ flows, pieces }: Stream): { sent: Bytes[]; expected: Expected[] } {
  const sent: Bytes[] = [];
  const expected: Expected[] = flows.map(() => ({ inOrder: [], spoiled: [] }));
  const state = flows.map(({ sequence, id }) => ({ sequence, id, acknowledgment: 77 }));
  for (const piece of pieces) {
    const flow = flows[piece.flow];
    const now = state[piece.flow];
    if (flow === undefined || now === undefined) continue;
    now.sequence = (now.sequence + piece.gap * 700) >>> 0;
    now.acknowledgment += piece.acknowledges;
    const tos = piece.tos ?? flow.tos;
    const fields = {
      from: flow.port,
      to: 443,
      sequence: now.sequence,
      acknowledgment: now.acknowledgment,
      flags: piece.flags,
      window: piece.window,
      options: piece.options ?? flow.options,
      payload: counting(piece.length, now.sequence % 251),
    };
    const packet = (from: string, ecn: number) => {
      const made = ipv4(
        { from, to: LOCAL, id: now.id, df: flow.df, ttl: piece.ttl, tos: (tos & 0xfc) | ecn },
        tcp(fields),
      );
      // The last byte: of the payload, or of the header.
      if (piece.spoiled) made.set([(made.at(-1) ?? 0) ^ 1], made.length - 1);
      return made;
    };
    // RFC 6040: what does not understand congestion marks is not marked here.
    const outer = piece.marked && (tos & 3) !== 0 ? tos | 3 : tos;
    sent.push(fromPeer(B, packet(flow.from, tos & 3), { tos: outer }));
    const kind = piece.spoiled ? 'spoiled' : 'inOrder';
    expected[piece.flow]?.[kind].push(comparable(toLocal(packet(flow.here, outer & 3))));
    now.sequence = (now.sequence + fields.payload.length) >>> 0;
    now.id = (now.id + piece.idStep) & 0xffff;
  }
  return { sent, expected };
}

/** With DF the identification means nothing (RFC 6864 4.1): merging may renumber. */
function comparable(frame: Bytes): string {
  const copy = bytes(frame);
  const ip = copy.subarray(14, 34);
  if (((ip[6] ?? 0) & 0x40) !== 0) {
    ip.set([0, 0], 4);
    ip.set([0, 0], 10);
    ip.set(be16(~onesSum(ip) & 0xffff), 10);
  }
  return toText(copy);
}

t.test('a stream from a peer arrives in the same segments, whoever merges it', { skip }, async (t) => {
  const running = await start(t, 'off', 'full');
  // The kernel waits for more to merge, since no two sends here are one batch.
  const wait = 'echo 2000000 > /sys/class/net/u0/gro_flush_timeout';
  for (const { rig } of running) await must(rig.namespace, ['sh', '-c', wait]);
  const through = async ({ rig }: Running, sent: readonly Bytes[]): Promise<string[][]> => {
    for (const frame of sent) rig.wire.send(enters('decap'), frame);
    const out = leaves('decap');
    const arrived = () => seen.flatMap(({ frame, virtio }) => wireFrames(frame, virtio));
    let seen = rig.wire.take();
    await rig.wire.until((all) => {
      seen = all.filter(({ on }) => on === out);
      return arrived().length >= sent.length;
    }, PATIENCE);
    rig.wire.take();
    const from = (address: string) => Buffer.from(ipv4ToBytes(address));
    return FARS_HERE.map((address) =>
      arrived()
        .filter((frame) => from(address).equals(frame.subarray(26, 30)))
        .map(comparable),
    );
  };
  await fc.assert(
    fc.asyncProperty(streams, async (sample) => {
      const { sent, expected } = framesOf(sample);
      const seen = await Promise.all(running.map((one) => through(one, sent)));
      for (const [index, { rung }] of running.entries()) {
        for (const [flow, { inOrder, spoiled }] of expected.entries()) {
          const rest = [...(seen[index]?.[flow] ?? [])];
          const found = spoiled.filter(
            (frame) => rest.includes(frame) && rest.splice(rest.indexOf(frame), 1),
          );
          compare(rung, found, spoiled);
          compare(rung, rest, inOrder);
        }
      }
    }),
    { numRuns: 150 },
  );
  const work = await sameCounters(t, running);
  for (const [index, { rung }] of running.entries()) {
    const { rx_super_frames = 0, coalesced = 0 } = work[index] ?? {};
    t.equal(rx_super_frames > 0, rung === 'full', `${rung}: the kernel merged, or did not`);
    if (rung === 'off') t.ok(coalesced > 0, 'user space merged');
  }
});

t.test('a super-frame leaves in the same segments, whoever cuts it', { skip }, async (t) => {
  const running = await start(t, 'off', 'segment');
  const through = async ({ rig }: Running, sample: SuperFrame, count: number): Promise<string[]> => {
    rig.wire.send(enters('encap'), sentBy(sample), virtioOf(sample));
    const out = leaves('encap');
    await rig.wire.until((all) => all.filter(({ on }) => on === out).length >= count, PATIENCE);
    return rig.wire.take().flatMap(({ frame, virtio }) => wireFrames(frame, virtio).map(toText));
  };
  await fc.assert(
    fc.asyncProperty(superFrames, async (sample) => {
      const expected = expectedOf(sample);
      const seen = await Promise.all(running.map((one) => through(one, sample, expected.length)));
      for (const [index, { rung }] of running.entries()) compare(rung, seen[index] ?? [], expected);
    }),
    { numRuns: 150 },
  );
  const work = await sameCounters(t, running);
  for (const [index, { rung }] of running.entries()) {
    t.equal(
      (work[index]?.tx_super_frames ?? 0) > 0,
      rung === 'segment',
      `${rung}: the kernel cut, or did not`,
    );
  }
});
