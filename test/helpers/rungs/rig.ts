/**
 * A data plane between two real interfaces, and whoever sends and receives at their far ends:
 *
 *      wire: o1 --------- o0 :gateway: u0 --------- u1 :wire
 *
 * The underlay is honest: no frame on it is larger than its MTU. The namespaces have no addresses, so that what
 * arrives is what the data plane sent.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { claimLabId, removeLab } from '../../../src/lab/cleanup.js';
import { inNamespace, must } from '../../../src/lab/command.js';
import { honestCommand } from '../../../src/lab/lab.js';
import type {
  NativeDataPlaneOptions,
  NativeEvent,
  NativeForwardingTable,
} from '../../../src/native/addon.js';
import { arp, type Bytes, ethernet } from '../frames.js';
import { Exchange } from './exchange.js';

export type Direction = 'encap' | 'decap';

/** What the data plane is asked for on each rung, lowest first; the first one is the reference. */
export const RUNGS: Record<string, Partial<NativeDataPlaneOptions>> = {
  off: {},
  segment: { kernelSegmentation: true },
  full: { kernelSegmentation: true, knownEncap: true, xdpStrip: true },
};

const PLANE = fileURLToPath(new URL('./plane.mjs', import.meta.url));
/** Generous, because other suites run meanwhile; whoever waits in vain says so. */
export const PATIENCE = 20_000;

export interface Reading {
  totals: Record<string, number>;
  peers: Record<string, number>[];
  /** Frames whose outer headers came off in the driver. */
  stripped: number;
}

/** The far end of the interface on which frames of this direction arrive, and of the one on which they leave. */
export const enters = (direction: Direction): string => (direction === 'encap' ? 'o1' : 'u1');
export const leaves = (direction: Direction): string => (direction === 'encap' ? 'u1' : 'o1');

export class Rig {
  readonly namespace: string;
  readonly wire: Exchange;
  readonly #plane: ChildProcess;
  readonly #waiting = new Map<number, { resolve(value: never): void; reject(error: Error): void }>();
  #calls = 0;
  #markers = 0;

  private constructor(namespace: string, wire: Exchange) {
    this.namespace = namespace;
    this.wire = wire;
    const [program = '', ...args] = inNamespace(namespace, [process.execPath, PLANE]);
    this.#plane = spawn(program, args, {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      serialization: 'advanced',
    });
    this.#plane.on('message', ({ id, value, error }: { id: number; value: never; error?: string }) => {
      const caller = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) caller?.resolve(value);
      else caller?.reject(new Error(error));
    });
    this.#plane.once('exit', (code, signal) => {
      for (const { reject } of this.#waiting.values())
        reject(new Error(`the plane ended: ${signal ?? code}`));
    });
  }

  /** With these MACs at the gateway. Gone with the test. */
  static async create(
    t: { teardown(undo: () => void | Promise<void>): void },
    macs: { overlay: string; underlay: string },
  ): Promise<Rig> {
    const id = claimLabId();
    t.teardown(() => removeLab(id));
    const [gateway, wire] = [`${id}-gateway`, `${id}-wire`];
    for (const namespace of [gateway, wire]) {
      await must(undefined, ['ip', 'netns', 'add', namespace]);
      await must(namespace, [
        'sysctl',
        '-qw',
        'net.ipv6.conf.all.disable_ipv6=1',
        'net.ipv6.conf.default.disable_ipv6=1',
      ]);
    }
    const pair = (near: string, mac: string, far: string) =>
      `link add ${near} netns ${gateway} address ${mac} type veth peer name ${far} netns ${wire}`;
    const input = [pair('o0', macs.overlay, 'o1'), pair('u0', macs.underlay, 'u1')].join('\n');
    await must(undefined, ['ip', '-batch', '-'], { input });
    await must(gateway, honestCommand('u0'));
    await must(wire, honestCommand('u1'));
    await must(gateway, ['ip', '-batch', '-'], { input: 'link set o0 up\nlink set u0 up' });
    await must(wire, ['ip', '-batch', '-'], { input: 'link set o1 up\nlink set u1 up' });
    const rig = new Rig(gateway, await Exchange.start(wire, ['o1', 'u1']));
    t.teardown(async () => {
      rig.#plane.kill('SIGKILL');
      await rig.wire.stop();
    });
    return rig;
  }

  /** Why this rung does not work here, or undefined: it runs, with `table`. */
  start(rung: Partial<NativeDataPlaneOptions>, table: NativeForwardingTable): Promise<string | undefined> {
    return this.#call('start', rung, table);
  }
  stop(): Promise<void> {
    return this.#call('stop');
  }
  /** Both resolve when the workers have taken it up. */
  publish(table: NativeForwardingTable, neighbors: Bytes): Promise<void> {
    return this.#call('publish', table, neighbors);
  }
  publishNeighbors(neighbors: Bytes): Promise<void> {
    return this.#call('publishNeighbors', neighbors);
  }
  /** All counters, added up; those of the first `peers` peers of the table one by one. */
  read(peers = 0): Promise<Reading> {
    return this.#call('read', peers);
  }
  /** Waits until each counter has this value or more. False: it did not come to that. */
  reach(goal: Record<string, number>, milliseconds = PATIENCE): Promise<boolean> {
    return this.#call('reach', goal, milliseconds);
  }
  takeEvents(): Promise<NativeEvent[]> {
    return this.#call('takeEvents');
  }
  segmentation(): Promise<string> {
    return this.#call('segmentation');
  }

  /**
   * Sends an ARP frame and waits until the worker has passed it on: it has come to everything that was sent before.
   * Counted like any other frame.
   */
  async mark(direction: Direction): Promise<Uint8Array> {
    this.#markers += 1;
    const mac = '02:00:00:00:aa:aa';
    const sender = `192.0.2.${this.#markers % 250}`;
    const question = arp({ operation: 1, senderMac: mac, sender, target: '192.0.2.251' });
    const frame = ethernet({ to: 'ff:ff:ff:ff:ff:ff', from: mac, type: 0x0806 }, question);
    this.wire.send(enters(direction), frame);
    if (!(await this.#call('heard', frame, PATIENCE))) throw new Error(`${direction} passed no marker on`);
    return frame;
  }

  #call<T>(call: string, ...argv: unknown[]): Promise<T> {
    this.#calls += 1;
    const id = this.#calls;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#plane.send({ id, call, argv });
    });
  }
}
