/**
 * The golden cases on real interfaces, through each rung of acceleration: what leaves, frame by frame as it is on
 * a wire, and what is counted must be what the pipelines make of the same frames in memory. Each case runs
 * several times over, so that what is learned from the first frames of a flow has its say; and once more with TCP
 * instead of what a peer sends, because only TCP takes the faster paths.
 *
 * Not every frame of a case can be on a wire: the kernel sends none shorter than an Ethernet header, refuses
 * or mends some virtio headers, and no clock can be set. So it is first seen what arrives of each frame; that
 * goes into memory and, on every rung, into the gateway. Frames that cannot arrive are left out and named.
 */
import t, { type Test } from 'tap';
import { whyNoLab } from '../../src/lab/index.js';
import { type CaseJson, caseNames, fromText, readCase, toText } from '../golden/golden-case.js';
import { B, FAR, fromPeer, LOCAL, MAC, NEIGHBORS, TABLE } from '../golden/world.js';
import { eventText, MemoryGateway, type TableText, toNeighbors, toTable } from '../helpers/forwarding.js';
import { be32, counting, ethernet, ipv4, tcp, virtioHeader } from '../helpers/frames.js';
import { asTcp, isFragment } from '../helpers/rungs/as-tcp.js';
import { type Arrived, Exchange } from '../helpers/rungs/exchange.js';
import { type Direction, enters, PATIENCE, type Reading, Rig, RUNGS } from '../helpers/rungs/rig.js';
import { wireFrames } from '../helpers/rungs/wire-frames.js';

const skip = await whyNoLab();

/** How often each case runs. */
const TIMES = 3;
const TAG_BYTES = 4;
/** A data plane gives each new peer another number, of which it has this many. */
const PEER_NUMBERS = 256;

/** Verdicts on what may not even reach a worker: the socket filter leaves it to the kernel, where it ends. */
const LEFT_TO_KERNEL = ['to_gateway', 'malformed_ipv4', 'outer_malformed', 'unknown_ethertype'];
/** How a rung works, and not what becomes of a frame. */
const OWN_WAY = ['batches', 'sleeps', 'tx_super_frames', 'carried_by_kernel'];

type StepJson = CaseJson['steps'][number];
interface WireStep extends StepJson {
  /** What a gateway sees of its frame. */
  arrives: readonly Arrived[];
}
interface WireCase extends NamedCase {
  wire: WireStep[];
}

/** No peer, no proxied address: what waits is dropped, what is bound is forgotten. */
const IDLE: TableText = {
  overlayMac: MAC.overlay,
  overlayAddress: '10.0.0.5',
  overlayMtu: 1500,
  underlayMac: MAC.underlay,
  peers: [],
  proxied: [],
  reserved: [],
  masqueradePorts: [0, 0],
};

const isOverIpv6 = ({ table }: CaseJson): boolean => table.peers.some(({ address }) => address.includes(':'));

const near = (direction: Direction): string => (direction === 'encap' ? 'o0' : 'u0');

/** Sends every frame past a data plane that is not there, and sees what comes. */
async function arrivals(rig: Rig, witness: Exchange, steps: readonly StepJson[]): Promise<Arrived[][]> {
  const found: Arrived[][] = [];
  for (const [index, { direction, frame, virtio }] of steps.entries()) {
    rig.wire.send(enters(direction), fromText(frame), virtio && virtioHeader(virtio));
    // An unassigned type (IEEE 802 local experimental), to know when all has come.
    const mark = ethernet({ to: MAC.overlay, from: MAC.local, type: 0x88b5 }, Uint8Array.from(be32(index)));
    rig.wire.send(enters(direction), mark);
    const isMark = (arrived: Arrived) => Buffer.from(arrived.frame).equals(mark);
    if (!(await witness.until((all) => all.some(isMark), PATIENCE))) throw new Error('nothing arrives');
    found.push(witness.take().filter((arrived) => arrived.on === near(direction) && !isMark(arrived)));
  }
  return found;
}

interface NamedCase extends CaseJson {
  name: string;
}

/**
 * A case, and the same with TCP from its peers if that changes anything. Not where fragments belong to what would be
 * changed: which of them wait, and when they are given up, would be a matter of the clock.
 */
function withTcp(name: string): NamedCase[] {
  const golden = { name, ...readCase(name) };
  if (golden.steps.some(({ frame }) => isFragment(fromText(frame)))) return [golden];
  let changed = 0;
  const steps = golden.steps.map((step, index) => {
    const frame = fromText(step.frame);
    const other = step.direction === 'decap' && asTcp(frame, 1000 + 100 * index, counting(100, index));
    if (!other) return step;
    changed += 1;
    return { ...step, frame: toText(other) };
  });
  return changed === 0 ? [golden] : [golden, { ...golden, name: `${name}, as TCP`, steps }];
}

const EXTENSION_HEADERS = [0, 43, 44, 60];
const ETHERIP = 97;
/** RFC 8200: where the next header's number stands in an Ethernet frame, and where that of the header behind. */
const [NEXT_HEADER, BEHIND] = [20, 54];

/**
 * By choice (io/socket_filter.h) the workers get EtherIP behind one extension header at most, and ICMPv6 behind none.
 */
function isKeptFromWorkers({ direction, frame }: StepJson): boolean {
  const bytes = fromText(frame);
  const isIpv6 = bytes[12] === 0x86 && bytes[13] === 0xdd;
  const next = bytes[NEXT_HEADER] ?? 0;
  if (direction !== 'decap' || !isIpv6 || !EXTENSION_HEADERS.includes(next)) return false;
  return next === 43 || bytes[BEHIND] !== ETHERIP;
}

async function onTheWire(t: Test, rig: Rig): Promise<WireCase[]> {
  const cases: WireCase[] = [];
  const witness = await Exchange.start(rig.namespace, ['o0', 'u0']);
  for (const { name, ...golden } of caseNames().flatMap(withTcp)) {
    if (golden.steps.some(({ time }) => time !== undefined)) {
      t.comment(`${name}: left out, it sets the clock`);
      continue;
    }
    const arrived = await arrivals(rig, witness, golden.steps);
    const wire = golden.steps.map((step, index) => ({
      ...step,
      arrives: isKeptFromWorkers(step) ? [] : (arrived[index] ?? []),
    }));
    for (const { what, arrives } of wire) {
      if (arrives.length === 0) t.comment(`${name}: ${what}: left out, it does not come to a worker`);
    }
    cases.push({ ...golden, name, wire });
  }
  await witness.stop();
  return cases;
}

/** What is compared of a case; whatever differs from memory, or between rungs, is a defect. */
interface Outcome {
  frames: string[][];
  events: string[];
  counters: Record<string, number>;
}

interface Seen extends Outcome {
  /** Not to be had from memory. */
  peers: Record<string, number>[];
  leftToKernel: string[];
  /** Given to the kernel whole, stripped by the driver, carried by the kernel: what the rungs are for. */
  superFrames: number;
  stripped: number;
  carried: number;
}

const notZero = (counters: Record<string, number>): Record<string, number> =>
  Object.fromEntries(
    Object.entries(counters).filter(([name, value]) => value !== 0 && !OWN_WAY.includes(name)),
  );

const rise = (before: Record<string, number>, after: Record<string, number>): Record<string, number> =>
  Object.fromEntries(Object.entries(after).map(([name, value]) => [name, value - (before[name] ?? 0)]));

const texts = (frames: readonly Arrived[]): string[] =>
  frames.flatMap(({ frame, virtio }) => wireFrames(frame, virtio).map(toText));

/** ARP goes up frame by frame. Other events come at most once a second for one address: over all cases, once. */
const isArp = (event: string): boolean => event.startsWith('arp ');
const arpOf = ({ events }: Outcome): string[] => events.filter(isArp);
const othersOf = (outcomes: readonly Outcome[]): string[] =>
  [...new Set(outcomes.flatMap(({ events }) => events.filter((event) => !isArp(event))))].sort();

interface Subject {
  rig: Rig;
  memory: MemoryGateway;
  expected: Outcome;
  seen: Seen;
  /** Markers that were counted. */
  markers: { frames: number; bytes: number };
  before: Reading;
  /** How long to wait for each frame, milliseconds. */
  patience: number;
  /** What memory counts and a gateway does not. */
  adjusted: Record<string, number>;
}

/** What follows from the frames so far, the ones that were left to the kernel taken out. */
function countersInMemory({ memory, adjusted }: Subject): Record<string, number> {
  const counters = { ...memory.counters() };
  for (const [name, value] of Object.entries(adjusted)) add(counters, name, value);
  return notZero(counters);
}

/** The same as the gateway counts it from its start on, with the frames of markers. */
function goalOf(subject: Subject): Record<string, number> {
  const { markers, before } = subject;
  const own: Record<string, number> = { rx_frames: markers.frames, punted: markers.frames };
  // A marker is told of before it is counted: its count is waited for, too, also where nothing else is punted.
  const goal = Object.entries({ punted: 0, ...countersInMemory(subject) }).filter(
    ([name]) => name !== 'rx_bytes',
  );
  return Object.fromEntries(
    goal.map(([name, value]) => [name, value + (own[name] ?? 0) + (before.totals[name] ?? 0)]),
  );
}

/** Whether the frame that was sent last has come to a worker. */
async function isCounted(subject: Subject, direction: Direction): Promise<boolean> {
  const { rig, markers, before } = subject;
  markers.bytes += (await rig.mark(direction)).length;
  markers.frames += 1;
  const { totals } = await rig.read();
  const counted = (totals.rx_frames ?? 0) - (before.totals.rx_frames ?? 0) - markers.frames;
  return counted === countersInMemory(subject).rx_frames;
}

async function runStep(subject: Subject, step: WireStep): Promise<void> {
  const { rig, memory, expected, seen, adjusted } = subject;
  const { direction, what, neighbors, arrives } = step;
  if (neighbors !== undefined) {
    memory.pipeline.publishNeighbors(toNeighbors(neighbors));
    await rig.publishNeighbors(toNeighbors(neighbors));
  }
  for (const arrived of arrives) {
    const { verdict, frames, replies, events } = memory.run(direction, arrived.frame, arrived.virtio);
    const leaving = [...frames, ...replies];
    expected.frames.push(leaving.map(toText));
    expected.events.push(...events.map(eventText));
    // The kernel takes a tag out of the frame before anything is counted.
    if (arrived.tagged) add(adjusted, 'rx_bytes', -TAG_BYTES);
    rig.wire.send(enters(direction), arrived.frame, arrived.virtio);
    if (LEFT_TO_KERNEL.includes(verdict) && !(await isCounted(subject, direction))) {
      seen.leftToKernel.push(what);
      add(adjusted, 'rx_frames', -1);
      add(adjusted, 'rx_bytes', -arrived.frame.length);
      add(adjusted, `drop_${verdict}`, -1);
    }
    const patience = subject.patience;
    // Wherever they leave: ICMP errors go back where the packet came from.
    const enough = (all: readonly Arrived[]): boolean => texts(all).length >= leaving.length;
    const came =
      (await rig.wire.until(enough, patience)) &&
      (leaving.length > 0 || (await rig.reach(goalOf(subject), patience)));
    // Once in vain is enough: the case has failed, and says so soon.
    if (!came) subject.patience = 0;
    seen.frames.push(texts(rig.wire.take()));
  }
}

function add(counters: Record<string, number>, name: string, value: number): void {
  counters[name] = (counters[name] ?? 0) + value;
}

/** Runs a case on the rig and in memory, in step. */
async function runCase(rig: Rig, golden: WireCase): Promise<{ expected: Outcome; seen: Seen }> {
  const { table, neighbors, wire } = golden;
  await rig.publish(toTable(table), toNeighbors(neighbors));
  const before = await rig.read(table.peers.length);
  await rig.takeEvents();
  const memory = new MemoryGateway(table, neighbors);
  const expected: Outcome = { frames: [], events: [], counters: {} };
  const seen: Seen = {
    frames: [],
    events: [],
    counters: {},
    peers: [],
    leftToKernel: [],
    superFrames: 0,
    stripped: 0,
    carried: 0,
  };
  const markers = { frames: 0, bytes: 0 };
  const subject: Subject = { rig, memory, expected, seen, markers, before, patience: PATIENCE, adjusted: {} };
  for (let time = 0; time < TIMES; time++) {
    for (const step of wire) await runStep(subject, step);
  }
  expected.counters = countersInMemory(subject);
  await rig.reach(goalOf(subject), subject.patience);
  const after = await rig.read(table.peers.length);
  const counters = rise(before.totals, after.totals);
  add(counters, 'rx_frames', -markers.frames);
  add(counters, 'punted', -markers.frames);
  seen.superFrames = counters.tx_super_frames ?? 0;
  seen.carried = counters.carried_by_kernel ?? 0;
  seen.stripped = after.stripped - before.stripped;
  add(counters, 'rx_bytes', -markers.bytes);
  seen.counters = notZero(counters);
  seen.events = (await rig.takeEvents()).map(eventText);
  seen.peers = after.peers.map(({ last_rx_seconds: _, ...peer }, index) => {
    const { last_rx_seconds: __, ...start } = before.peers[index] ?? {};
    return rise(start, peer);
  });
  await rig.publish(toTable(IDLE), new Uint8Array());
  return { expected, seen };
}

/** What is counted of a right packet from a peer in a frame for another MAC: memory has no such frames. */
async function forAnotherMachine(rig: Rig): Promise<Record<string, number>> {
  await rig.publish(toTable(TABLE), toNeighbors(NEIGHBORS));
  const before = await rig.read();
  const packet = ipv4({ from: FAR, to: LOCAL }, tcp({ from: 1, to: 2, payload: counting(100) }));
  const frame = fromPeer(B, packet);
  frame.set([2, 0, 0, 0, 9, 9]);
  rig.wire.send(enters('decap'), frame);
  const marker = await rig.mark('decap');
  await rig.reach({ punted: (before.totals.punted ?? 0) + 1 });
  const counters = rise(before.totals, (await rig.read()).totals);
  add(counters, 'rx_frames', -1);
  add(counters, 'punted', -1);
  const { rx_bytes, ...rest } = notZero(counters);
  return rx_bytes === frame.length + marker.length && rig.wire.take().length === 0 ? rest : counters;
}

t.test('every golden case on every rung', { skip }, async (t) => {
  const rig = await Rig.create(t, { overlay: MAC.overlay, underlay: MAC.underlay });
  const cases = await onTheWire(t, rig);
  t.ok(cases.length > 70, `${cases.length} cases can be on a wire`);
  /** Of the first rung: what memory cannot tell is the same on all. */
  const reference = new Map<string, Seen>();

  for (const [rung, options] of Object.entries(RUNGS)) {
    await t.test(`rung ${rung}`, async (t) => {
      const why = await rig.start(options, toTable(IDLE));
      if (why !== undefined) {
        t.pass(`rung ${rung}`, { skip: `it does not work here: ${why}` });
        return;
      }
      let peers = 0;
      const used = { superFrames: 0, stripped: 0, carried: 0 };
      const outcomes: { expected: Outcome; seen: Seen }[] = [];
      for (const golden of cases) {
        if (options.xdpStrip && isOverIpv6(golden)) continue; // a gateway whose tunnels run over IPv6 does without
        peers += golden.table.peers.length;
        if (peers > PEER_NUMBERS) {
          await rig.stop();
          await rig.start(options, toTable(IDLE));
          peers = golden.table.peers.length;
        }
        const { expected, seen } = await runCase(rig, golden);
        outcomes.push({ expected, seen });
        used.superFrames += seen.superFrames;
        used.stripped += seen.stripped;
        used.carried += seen.carried;
        const compared = (outcome: Outcome) => ({
          frames: outcome.frames,
          arp: arpOf(outcome),
          counters: outcome.counters,
        });
        t.same(compared(seen), compared(expected), `${golden.name}: as in memory`);
        const { peers: perPeer, leftToKernel } = reference.get(golden.name) ?? seen;
        t.same(
          { perPeer: seen.peers, leftToKernel: seen.leftToKernel },
          { perPeer, leftToKernel },
          `${golden.name}: as on the other rungs`,
        );
        if (rung === 'off') reference.set(golden.name, seen);
      }
      t.same(await forAnotherMachine(rig), { drop_other_host: 1, rx_frames: 1 }, "another machine's frame");
      t.same(
        othersOf(outcomes.map(({ seen }) => seen)),
        othersOf(outcomes.map(({ expected }) => expected)),
        'what the control plane is told and asked',
      );
      // Otherwise the rung would not be what its name says.
      t.equal(used.superFrames > 0, options.kernelSegmentation === true, 'the kernel cut super-frames');
      t.equal(used.stripped > 0, options.xdpStrip === true, 'the driver took outer headers off');
      t.equal(used.carried > 0, options.xdpStrip === true, 'the kernel carried known flows');
      await rig.stop();
    });
  }
});
