// Brings a data plane to a stage of its life and ends the process in one way; see data-plane-lifecycle.test.ts.
// Plain JavaScript: it runs as the main script and as a worker thread, without a loader that does more.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

const [stage, end] = isMainThread ? process.argv.slice(2) : workerData;
const built = fileURLToPath(new URL('../../build/Release/vpc_conn.node', import.meta.url));
const addon = createRequire(import.meta.url)(process.env.VPC_CONN_ADDON || built);

const OVERLAY_MAC = [2, 0, 0, 0, 0, 5];
const UNDERLAY_MAC = [2, 0, 0, 0, 1, 1];
const interfaceIndex = (name) => Number(readFileSync(`/sys/class/net/${name}/ifindex`, 'utf8'));

function makeDataPlane(overlay, underlay, rung = {}) {
  return new addon.DataPlane({
    overlayIfindex: interfaceIndex(overlay),
    overlayName: overlay,
    underlayIfindex: interfaceIndex(underlay),
    underlayName: underlay,
    workers: 2,
    spinMicroseconds: 50,
    ...rung,
    onEvents: () => undefined,
  });
}

function publish(dataPlane, overlayMac) {
  dataPlane.publishTable({
    overlayMac: Uint8Array.from(overlayMac),
    overlayAddress: Uint8Array.of(10, 0, 0, 5),
    overlayMtu: 1500,
    underlayMac: Uint8Array.from(UNDERLAY_MAC),
    peers: [
      {
        localAddress: Uint8Array.of(198, 18, 0, 1),
        address: Uint8Array.of(198, 18, 0, 2),
        innerMtu: 1464,
        masqueradeUnlisted: true,
        resolveThroughTunnel: false,
      },
    ],
    proxied: Uint8Array.of(10, 0, 0, 20, 10, 0, 0, 20, 32, 0, 0, 0),
    reserved: new Uint8Array(),
    proxied6: new Uint8Array(),
    reserved6: new Uint8Array(),
    masqueradeFirstPort: 40000,
    masqueradeLastPort: 40999,
    icmpErrorsPerSecond: 100,
    acceptReversed: false,
    masqueradeAddresses: Uint8Array.of(10, 0, 0, 5),
    masqueradeFlows: 1024,
  });
  const address = [198, 18, 0, 2, ...new Uint8Array(12)];
  dataPlane.publishNeighbors(Uint8Array.of(1, 0, 1, 4, ...address, 2, 0, 0, 0, 1, 2, 0, 0));
}

/** An Ethernet frame with a UDP packet from 10.0.0.10 to the far host 10.0.0.20. */
function frameToFarHost() {
  const ip = [0x45, 0, 0, 28, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 10, 10, 0, 0, 20];
  let sum = 0;
  for (let i = 0; i < ip.length; i += 2) sum += (ip[i] << 8) | ip[i + 1];
  sum = (sum & 0xffff) + (sum >> 16);
  ip[10] = (~sum >> 8) & 255;
  ip[11] = ~sum & 255;
  return Uint8Array.from([...OVERLAY_MAC, 2, 0, 0, 0, 0, 10, 8, 0, ...ip, 0, 7, 0, 7, 0, 8, 0, 0]);
}

function counter(dataPlane, name) {
  const columns = addon.counterNames.length;
  const values = new BigUint64Array((dataPlane.workerNames.length + 1) * columns);
  dataPlane.readCounters(values);
  const column = addon.counterNames.indexOf(name);
  let sum = 0n;
  for (let row = 0; row <= dataPlane.workerNames.length; row++) sum += values[row * columns + column];
  return sum;
}

/** Frames keep coming, from a second data plane at the other end of the overlay's cable, until stopped. */
async function runTraffic(dataPlane) {
  const source = makeDataPlane('o1', 'u1');
  publish(source, [2, 0, 0, 0, 0, 9]);
  source.start();
  const frame = frameToFarHost();
  const traffic = { source, stopped: false };
  const send = () => {
    if (traffic.stopped) return;
    for (let i = 0; i < 64; i++) source.send(0, frame);
    setImmediate(send);
  };
  send();
  while (counter(dataPlane, 'forwarded') < 1000n) await new Promise((resolve) => setImmediate(resolve));
  return traffic;
}

const RUNGS = { 'kernel-segmentation': { kernelSegmentation: true }, 'xdp-strip': { xdpStrip: true } };

async function reach() {
  const dataPlane = makeDataPlane('o0', 'u0', RUNGS[stage]);
  const reached = { dataPlane, traffic: undefined };
  if (stage === 'constructed') return reached;
  publish(dataPlane, OVERLAY_MAC);
  if (stage === 'published') return reached;
  try {
    dataPlane.start();
    const { part, why } = dataPlane.decapsulation();
    if (stage === 'xdp-strip' && part !== 'carried') throw new Error(why);
  } catch (error) {
    // A kernel may lack what a rung needs: then there is nothing to test.
    if (!(stage in RUNGS)) throw error;
    console.log(`unavailable ${error.message}`);
    process.exit(77);
  }
  if (stage === 'started') return reached;
  reached.traffic = await runTraffic(dataPlane);
  if (stage === 'closed' || stage === 'closed-twice') {
    dataPlane.close();
    if (stage === 'closed-twice') dataPlane.close();
    reached.traffic.stopped = true;
    reached.traffic.source.close();
  }
  return reached;
}

/** Nothing refers to the data planes any more: they are collected, and their sockets with them. */
async function collect(reached) {
  let left = reached.traffic === undefined ? 1 : 2;
  const registry = new FinalizationRegistry(() => {
    left -= 1;
  });
  registry.register(reached.dataPlane);
  if (reached.traffic !== undefined) {
    reached.traffic.stopped = true;
    registry.register(reached.traffic.source);
    reached.traffic.source = undefined;
  }
  reached.dataPlane = undefined;
  reached.traffic = undefined;
  const sockets = () => readFileSync('/proc/net/packet', 'utf8').trim().split('\n').length - 1;
  const deadline = Date.now() + 10_000;
  while (left > 0 || sockets() > 0) {
    if (Date.now() > deadline) throw new Error(`not collected: ${left} objects, ${sockets()} sockets`);
    globalThis.gc();
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

if (isMainThread && end === 'worker') {
  const worker = new Worker(new URL(import.meta.url), { workerData: [stage, end] });
  worker.on('error', (error) => {
    throw error;
  });
  worker.once('message', async () => {
    await worker.terminate();
    console.log('terminated');
  });
} else {
  // Only what is put in here lives on: an object on the stack of a waiting function is not collected.
  const kept = await reach();
  if (!isMainThread) {
    parentPort.postMessage('reached');
    setInterval(() => kept, 1000);
  } else {
    console.log('reached');
    if (end === 'return') {
      if (kept.traffic) kept.traffic.stopped = true;
    } else if (end === 'exit') process.exit(3);
    else if (end === 'throw') {
      setImmediate(() => {
        throw new Error('thrown on purpose');
      });
    } else if (end === 'gc') await collect(kept);
    else setInterval(() => kept, 1000);
  }
}
