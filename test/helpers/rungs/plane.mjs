// A data plane on o0 and u0 of the namespace that this runs in, driven by rig.ts over IPC: calls of the addon's
// methods, and waiting for what they report. Plain JavaScript: it runs without a loader.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const built = fileURLToPath(new URL('../../../build/Release/vpc_conn.node', import.meta.url));
const addon = createRequire(import.meta.url)(process.env.VPC_CONN_ADDON || built);

let plane;
let events = [];

const interfaceIndex = (name) => Number(readFileSync(`/sys/class/net/${name}/ifindex`, 'utf8'));

async function until(condition, milliseconds) {
  const deadline = performance.now() + milliseconds;
  while (!condition()) {
    if (performance.now() > deadline) return false;
    await delay(1);
  }
  return true;
}

async function acknowledged(generation) {
  if (await until(() => plane.acknowledgedGeneration() >= generation, 10_000)) return;
  throw new Error(`the workers did not take up generation ${generation}`);
}

/** All rows added up. */
function sums() {
  const columns = addon.counterNames.length;
  const values = new BigUint64Array((plane.workerNames.length + 1) * columns);
  plane.readCounters(values);
  const totals = {};
  for (let at = 0; at < values.length; at++) {
    const name = addon.counterNames[at % columns];
    totals[name] = (totals[name] ?? 0) + Number(values[at]);
  }
  return totals;
}

function peerRows(count) {
  const columns = addon.peerCounterNames.length;
  const values = new BigUint64Array(count * columns);
  if (count > 0) plane.readPeerCounters(values);
  return Array.from({ length: count }, (_, row) =>
    Object.fromEntries(addon.peerCounterNames.map((name, at) => [name, Number(values[row * columns + at])])),
  );
}

const calls = {
  /** Why it does not start, or undefined. */
  async start(options, table) {
    plane = new addon.DataPlane({
      overlayIfindex: interfaceIndex('o0'),
      overlayName: 'o0',
      underlayIfindex: interfaceIndex('u0'),
      underlayName: 'u0',
      workers: 1,
      spinMicroseconds: 0,
      ...options,
      onEvents: (batch) => events.push(...batch),
    });
    const generation = plane.publishTable(table);
    try {
      plane.start();
    } catch (error) {
      plane = undefined;
      return error.message;
    }
    const { part, why } = plane.decapsulation();
    if (options.xdpStrip && part !== 'carried') {
      plane.close();
      return why;
    }
    await acknowledged(generation);
    return undefined;
  },
  async publish(table, neighbors) {
    plane.publishTable(table);
    await acknowledged(plane.publishNeighbors(neighbors));
  },
  async publishNeighbors(neighbors) {
    await acknowledged(plane.publishNeighbors(neighbors));
  },
  read(peers) {
    return { totals: sums(), peers: peerRows(peers), stripped: Number(plane.stripCounts()?.stripped ?? 0) };
  },
  /** Waits until each of these counters has at least this value. */
  async reach(goal, milliseconds) {
    return until(() => {
      const totals = sums();
      return Object.entries(goal).every(([name, value]) => (totals[name] ?? 0) >= value);
    }, milliseconds);
  },
  /** Waits until the workers have passed on this ARP frame. */
  async heard(frame, milliseconds) {
    const isIt = (event) => event.kind === 'arp' && event.frame.equals(frame);
    const came = await until(() => events.some(isIt), milliseconds);
    events = events.filter((event) => !isIt(event));
    return came;
  },
  takeEvents() {
    const taken = events;
    events = [];
    return taken;
  },
  segmentation() {
    return plane.segmentation();
  },
  stop() {
    plane?.close();
    plane = undefined;
    events = [];
  },
};

process.on('message', async ({ id, call, argv }) => {
  try {
    process.send({ id, value: await calls[call](...argv) });
  } catch (error) {
    process.send({ id, error: error.stack });
  }
});
process.once('disconnect', () => process.exit());
