/**
 * The in-process double of a data plane: records what it is told and lets a test play the workers. No
 * sockets, no threads, no privileges.
 */
import { FLOW_RECORD_BYTES } from '../native/addon.js';
import type {
  Adjacency,
  DataPlane,
  DataPlaneEvent,
  DataPlaneFactory,
  DataPlaneOptions,
  Decapsulation,
  DropReason,
  Encapsulation,
  Flow,
  FlowPage,
  FlowRecords,
  ForwardingTable,
  MasqueradeUse,
  PeerCounters,
  Scope,
  Segmentation,
  WorkerCounters,
  WorkerLoad,
} from './port.js';

export interface SentFrame {
  readonly scope: Scope;
  readonly frame: Uint8Array;
}

export interface MemoryDataPlaneBehaviour {
  /** Thrown by start(), as the workers would when a socket cannot be opened. */
  readonly startError?: Error;
  /** Thrown by start() where kernel segmentation was asked for. */
  readonly segmentationError?: Error;
  /** What decapsulation() answers where the kernel's part was asked for. Default: all of it works. */
  readonly decapsulation?: Decapsulation;
  /** The same of encapsulation(). */
  readonly encapsulation?: Encapsulation;
  /** False: the workers never take up what is published. */
  readonly acknowledges?: boolean;
  readonly neighborSlots?: number;
  readonly dropReasons?: readonly DropReason[];
}

export class MemoryDataPlane implements DataPlane {
  readonly neighborSlots: number;
  readonly dropReasons: readonly DropReason[];
  readonly options: DataPlaneOptions;
  /** Everything published, oldest first. */
  readonly tables: ForwardingTable[] = [];
  readonly neighborSets: (readonly Adjacency[])[] = [];
  readonly sent: SentFrame[] = [];
  started = false;
  closed = false;
  /** What send() answers. */
  sends = true;
  sweeps = 0;
  /** What segmentation() answers; a test may set "broken". */
  segmenting: Segmentation;
  workerRows: WorkerCounters[] = [];
  loadRows: WorkerLoad[] = [];
  flowRows: Flow[] = [];
  /** What flowRecords() gives out, and restoreFlows() took in. */
  records: Uint8Array = new Uint8Array();
  readonly #behaviour: MemoryDataPlaneBehaviour;
  readonly #use: Uint32Array;
  readonly #peerValues = new Map<string, Record<string, bigint>>();
  #generation = 0;

  constructor(options: DataPlaneOptions, behaviour: MemoryDataPlaneBehaviour = {}) {
    this.options = options;
    this.#behaviour = behaviour;
    this.neighborSlots = behaviour.neighborSlots ?? 1024;
    this.dropReasons = behaviour.dropReasons ?? [];
    this.#use = new Uint32Array(this.neighborSlots);
    this.segmenting = options.kernelSegmentation ? 'kernel' : 'user-space';
  }

  /** The table in force; undefined before the first publish. */
  get table(): ForwardingTable | undefined {
    return this.tables.at(-1);
  }

  get neighbors(): readonly Adjacency[] {
    return this.neighborSets.at(-1) ?? [];
  }

  /** Plays a worker that reports `event`; nothing happens after close(), as with the real ones. */
  emit(event: DataPlaneEvent): void {
    if (!this.closed) this.options.onEvent(event);
  }

  /** Plays a worker that just used a slot, at `second` of the monotonic clock. */
  markUsed(slot: number, second: number): void {
    this.#use[slot] = second;
  }

  setPeerCounters(peer: string, values: Record<string, bigint>): void {
    this.#peerValues.set(peer, values);
  }

  publishTable(table: ForwardingTable): number {
    this.tables.push(table);
    return ++this.#generation;
  }

  publishNeighbors(adjacencies: readonly Adjacency[]): number {
    this.neighborSets.push(adjacencies);
    return ++this.#generation;
  }

  start(): void {
    if (this.#behaviour.startError) throw this.#behaviour.startError;
    if (this.options.kernelSegmentation && this.#behaviour.segmentationError) {
      throw this.#behaviour.segmentationError;
    }
    this.started = true;
  }

  acknowledgedGeneration(): number {
    return this.started && this.#behaviour.acknowledges !== false ? this.#generation : 0;
  }

  neighborUse(): Uint32Array {
    return this.#use;
  }

  send(scope: Scope, frame: Uint8Array): boolean {
    if (this.closed || !this.sends) return false;
    this.sent.push({ scope, frame: frame.slice() });
    return true;
  }

  counters(): WorkerCounters[] {
    return this.workerRows;
  }

  peerCounters(): PeerCounters[] {
    return (this.table?.peers ?? []).map(({ name }) => ({
      peer: name,
      values: this.#peerValues.get(name) ?? {},
    }));
  }

  loads(): WorkerLoad[] {
    return this.loadRows;
  }

  sweepBindings(): MasqueradeUse {
    this.sweeps += 1;
    const bindings = new Set(
      this.flowRows.map(({ protocol, address, port }) => `${protocol} ${address} ${port}`),
    );
    return { bindings: bindings.size, flows: this.flowRows.length };
  }

  flows(from: number, most: number): FlowPage {
    const next = from + most;
    return { flows: this.flowRows.slice(from, next), next: next < this.flowRows.length ? next : 0 };
  }

  flowRecords(from: number, most: number): FlowRecords {
    const end = from + most * FLOW_RECORD_BYTES;
    const next = end < this.records.length ? end : 0;
    return { records: this.records.subarray(from, end), next };
  }

  restoreFlows(records: Uint8Array): number {
    if (this.tables.length === 0) throw new Error('no table published');
    this.records = records.slice();
    return records.length / FLOW_RECORD_BYTES;
  }

  useKernelSegmentation(use: boolean): void {
    this.segmenting = use && this.options.kernelSegmentation === true ? 'kernel' : 'user-space';
  }

  encapsulation(): Encapsulation {
    if (!this.options.knownEncap) return { carried: false, why: '' };
    return this.#behaviour.encapsulation ?? { carried: true, why: '' };
  }

  decapsulation(): Decapsulation {
    if (!this.options.xdpStrip) return { part: 'none', why: '', code: '' };
    return this.#behaviour.decapsulation ?? { part: 'carried', why: '', code: '' };
  }

  segmentation(): Segmentation {
    return this.segmenting;
  }

  close(): void {
    this.closed = true;
  }
}

/** A factory that keeps what it made, so that a test can reach the data plane inside a gateway. */
export function memoryDataPlaneFactory(behaviour: MemoryDataPlaneBehaviour = {}): {
  readonly factory: DataPlaneFactory;
  readonly made: MemoryDataPlane[];
} {
  const made: MemoryDataPlane[] = [];
  return {
    made,
    factory: (options) => {
      const dataPlane = new MemoryDataPlane(options, behaviour);
      made.push(dataPlane);
      return dataPlane;
    },
  };
}
