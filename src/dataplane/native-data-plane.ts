/**
 * The data plane port on the C++ workers. This file alone turns the port's strings into the addon's
 * network-order bytes and back; the records are documented in native/addon.ts.
 */

import { VpcConnError } from '../errors.js';
import {
  type Bytes,
  FLOW_RECORD_BYTES,
  FLOW_STATES,
  LOAD_VALUES,
  type NativeAddon,
  type NativeDataPlane,
  type NativeError,
  type NativeEvent,
  type NativeForwardingTable,
  NEIGHBOR_FAILED,
  NEIGHBOR_RECORD_BYTES,
  NEIGHBOR_RESOLVED,
  NEIGHBOR_SLOTS,
  PROXIED_RECORD_BYTES,
  PROXIED6_RECORD_BYTES,
  SCOPE_OVERLAY,
  SCOPE_TUNNEL,
  SCOPE_UNDERLAY,
} from '../native/addon.js';
import { loadAddon } from '../native/binding.js';
import { addressToBytes, bytesToAddress, bytesToIpv4, familyOf, ipv4ToBytes } from '../net/address.js';
import { macToBytes } from '../net/mac.js';
import type {
  Adjacency,
  DataPlane,
  DataPlaneEvent,
  DataPlaneFactory,
  DataPlaneOptions,
  Decapsulation,
  DropReason,
  Flow,
  FlowPage,
  FlowRecords,
  ForwardingTable,
  KernelOffloads,
  MasqueradeUse,
  PeerCounters,
  Scope,
  Segmentation,
  TableEntry,
  WorkerCounters,
  WorkerLoad,
} from './port.js';

const SLOW_PATH = 'slow-path';

/** Loads the addon and makes its data plane; throws VpcConnError when the addon cannot be loaded. */
export const createNativeDataPlane: DataPlaneFactory = (options) => nativeDataPlaneFrom(loadAddon(), options);

/** The same on a given addon: tests bring their own. */
export function nativeDataPlaneFrom(addon: NativeAddon, options: DataPlaneOptions): DataPlane {
  return new NativeDataPlaneAdapter(addon, options);
}

/** Loads the addon at the first question; throws VpcConnError when it cannot be loaded. */
export const nativeOffloads: KernelOffloads = {
  readFeatures: (name) => loadAddon().readFeatures(name),
  setFeatures: (name, wanted) => loadAddon().setFeatures(name, wanted),
  probeSegmentation: () => loadAddon().probeKernelSegmentation(),
};

/** Statistics of an interface's driver, as `ethtool -S` shows them; empty where there are none or no such interface. */
export function driverStatistics(interfaceName: string): Readonly<Record<string, number>> {
  try {
    return loadAddon().readStatistics(interfaceName);
  } catch {
    return {};
  }
}

/** Whether something (NTP) keeps this machine's clock right; undefined: the kernel does not tell. */
export function clockSynchronized(): boolean | undefined {
  try {
    return loadAddon().clockSynchronized();
  } catch {
    return undefined;
  }
}

class NativeDataPlaneAdapter implements DataPlane {
  readonly neighborSlots = NEIGHBOR_SLOTS;
  readonly dropReasons: readonly DropReason[];
  readonly #native: NativeDataPlane;
  readonly #counterNames: readonly string[];
  readonly #peerCounterNames: readonly string[];
  readonly #neighborUse = new Uint32Array(NEIGHBOR_SLOTS);
  readonly #closeAtExit = () => this.close();
  #peers: readonly string[] = [];
  #closed = false;

  constructor(addon: NativeAddon, options: DataPlaneOptions) {
    this.dropReasons = addon.dropReasons;
    this.#counterNames = addon.counterNames;
    this.#peerCounterNames = addon.peerCounterNames;
    this.#native = new addon.DataPlane({
      overlayIfindex: options.overlay.ifindex,
      overlayName: options.overlay.name,
      underlayIfindex: options.underlay.ifindex,
      underlayName: options.underlay.name,
      workers: options.workers,
      spinMicroseconds: options.spinMicroseconds,
      kernelSegmentation: options.kernelSegmentation ?? false,
      knownEncap: options.knownEncap ?? false,
      xdpStrip: options.xdpStrip ?? false,
      onEvents: (events) => {
        for (const event of events) {
          // A batch may still be on its way while close() runs.
          if (this.#closed) return;
          options.onEvent(eventFromNative(event));
        }
      },
    });
    // process.exit(), an uncaught throw and SIGTERM run no environment clean-up hooks on the main thread.
    // Before other listeners: the workers rely on offloads that another one restores.
    process.prependOnceListener('exit', this.#closeAtExit);
  }

  publishTable(table: ForwardingTable): number {
    const generation = this.#native.publishTable(tableToNative(table));
    this.#peers = table.peers.map((peer) => peer.name);
    return generation;
  }

  publishNeighbors(adjacencies: readonly Adjacency[]): number {
    return this.#native.publishNeighbors(packNeighbors(adjacencies));
  }

  /** Throws VpcConnError. */
  start(): void {
    try {
      this.#native.start();
    } catch (cause) {
      throw startFailure(cause);
    }
  }

  acknowledgedGeneration(): number {
    return this.#native.acknowledgedGeneration();
  }

  /** The array is reused by the next call. */
  neighborUse(): Uint32Array {
    this.#native.readNeighborUse(this.#neighborUse);
    return this.#neighborUse;
  }

  send(scope: Scope, frame: Uint8Array): boolean {
    return this.#native.send(scopeToNative(scope), frame);
  }

  counters(): WorkerCounters[] {
    const rows = [...this.#native.workerNames, SLOW_PATH];
    const values = new BigUint64Array(rows.length * this.#counterNames.length);
    this.#native.readCounters(values);
    return rows.map((worker, row) => ({ worker, values: nameRow(this.#counterNames, values, row) }));
  }

  peerCounters(): PeerCounters[] {
    const values = new BigUint64Array(this.#peers.length * this.#peerCounterNames.length);
    if (values.length > 0) this.#native.readPeerCounters(values);
    return this.#peers.map((peer, row) => ({ peer, values: nameRow(this.#peerCounterNames, values, row) }));
  }

  loads(): WorkerLoad[] {
    const workers = this.#native.workerNames;
    const values = new BigUint64Array(workers.length * LOAD_VALUES);
    this.#native.readLoads(values);
    return workers.map((worker, row) => {
      const [cpu = 0, ...latency] = Array.from(
        values.subarray(row * LOAD_VALUES, (row + 1) * LOAD_VALUES),
        Number,
      );
      return { worker, cpuNanoseconds: cpu, latency };
    });
  }

  sweepBindings(): MasqueradeUse {
    return this.#native.sweepBindings();
  }

  flows(from: number, most: number): FlowPage {
    const { records, next } = this.#native.readFlows(from, most);
    return { flows: unpackFlows(records), next };
  }

  flowRecords(from: number, most: number): FlowRecords {
    return this.#native.readFlows(from, most);
  }

  restoreFlows(records: Uint8Array): number {
    return this.#native.restoreFlows(records);
  }

  useKernelSegmentation(use: boolean): void {
    this.#native.useKernelSegmentation(use);
  }

  segmentation(): Segmentation {
    return this.#native.segmentation();
  }

  decapsulation(): Decapsulation {
    return this.#native.decapsulation();
  }

  close(): void {
    this.#closed = true;
    process.removeListener('exit', this.#closeAtExit);
    this.#native.close();
  }
}

export function scopeToNative(scope: Scope): number {
  if (scope === 'overlay') return SCOPE_OVERLAY;
  if (scope === 'underlay') return SCOPE_UNDERLAY;
  return SCOPE_TUNNEL + scope.peer;
}

export function scopeFromNative(scope: number): Scope {
  if (scope === SCOPE_OVERLAY) return 'overlay';
  if (scope === SCOPE_UNDERLAY) return 'underlay';
  return { peer: scope - SCOPE_TUNNEL };
}

export function tableToNative(table: ForwardingTable): NativeForwardingTable {
  return {
    overlayMac: macToBytes(table.overlayMac),
    overlayAddress: ipv4ToBytes(table.overlayAddress),
    overlayMtu: table.overlayMtu,
    underlayMac: macToBytes(table.underlayMac),
    peers: table.peers.map((peer) => ({
      localAddress: ipv4ToBytes(peer.localAddress),
      address: ipv4ToBytes(peer.address),
      innerMtu: peer.innerMtu,
      masqueradeUnlisted: peer.unlisted === 'masquerade',
      resolveThroughTunnel: peer.resolve === 'tunnel',
    })),
    proxied: packProxied(table.proxied.filter(isOfFamily(4)), 4, PROXIED_RECORD_BYTES),
    reserved: packAddresses(table.reserved.filter((address) => familyOf(address) === 4)),
    masqueradeFirstPort: table.masquerade.firstPort,
    masqueradeLastPort: table.masquerade.lastPort,
    dscp: table.dscp,
    acceptReversed: table.acceptReversed ?? false,
    icmpErrorsPerSecond: table.icmpErrorsPerSecond,
    masqueradeAddresses: packAddresses(table.masquerade.addresses),
    masqueradeFlows: table.masquerade.flows,
    ...(table.overlayAddress6 !== undefined && { overlayAddress6: addressToBytes(table.overlayAddress6) }),
    proxied6: packProxied(table.proxied.filter(isOfFamily(6)), 16, PROXIED6_RECORD_BYTES),
    reserved6: packAddresses(table.reserved.filter((address) => familyOf(address) === 6)),
  };
}

function isOfFamily(family: 4 | 6) {
  return ({ address }: TableEntry) => familyOf(address) === family;
}

function packProxied(entries: readonly TableEntry[], addressBytes: number, recordBytes: number): Bytes {
  const records = new Uint8Array(entries.length * recordBytes);
  const view = new DataView(records.buffer);
  let at = 0;
  for (const entry of entries) {
    records.set(addressToBytes(entry.address), at);
    records.set(addressToBytes(entry.host), at + addressBytes);
    view.setUint8(at + 2 * addressBytes, entry.prefixLength);
    view.setUint16(at + 2 * addressBytes + 2, entry.peer, true);
    at += recordBytes;
  }
  return records;
}

function packAddresses(addresses: readonly string[]): Bytes {
  return Uint8Array.from(addresses.flatMap((address) => [...addressToBytes(address)]));
}

export function packNeighbors(adjacencies: readonly Adjacency[]): Bytes {
  const records = new Uint8Array(adjacencies.length * NEIGHBOR_RECORD_BYTES);
  const view = new DataView(records.buffer);
  let at = 0;
  for (const { scope, address, mac, slot } of adjacencies) {
    view.setUint16(at, scopeToNative(scope), true);
    view.setUint8(at + 2, mac === undefined ? NEIGHBOR_FAILED : NEIGHBOR_RESOLVED);
    const bytes = addressToBytes(address);
    view.setUint8(at + 3, bytes.length === 4 ? 4 : 6);
    records.set(bytes, at + 4);
    if (mac !== undefined) records.set(macToBytes(mac), at + 20);
    view.setUint16(at + 26, slot, true);
    at += NEIGHBOR_RECORD_BYTES;
  }
  return records;
}

const FLOW_PROTOCOLS = ['tcp', 'udp', 'icmp'] as const;

/** Records as they are documented in native/addon.ts. */
export function unpackFlows(records: Buffer): Flow[] {
  const flows: Flow[] = [];
  for (let at = 0; at + FLOW_RECORD_BYTES <= records.length; at += FLOW_RECORD_BYTES) {
    const addressAt = (offset: number): string => bytesToIpv4(records.subarray(at + offset, at + offset + 4));
    flows.push({
      protocol: FLOW_PROTOCOLS[records.readUInt8(at)] ?? 'icmp',
      peer: records.readUInt16BE(at + 4),
      farAddress: addressAt(8),
      farPort: records.readUInt16BE(at + 6),
      address: addressAt(12),
      port: records.readUInt16BE(at + 20),
      nearAddress: addressAt(16),
      nearPort: records.readUInt16BE(at + 22),
      state: FLOW_STATES[records.readUInt8(at + 2)] ?? 'active',
      idleSeconds: records.readUInt32BE(at + 24),
    });
  }
  return flows;
}

function eventFromNative(event: NativeEvent): DataPlaneEvent {
  switch (event.kind) {
    case 'unresolved':
    case 'heard':
    case 'unlisted':
      return {
        kind: event.kind,
        scope: scopeFromNative(event.scope),
        address: bytesToAddress(event.address),
      };
    case 'arp':
    case 'neighbor-discovery':
      return { kind: event.kind, scope: scopeFromNative(event.scope), frame: event.frame };
    case 'path-report': {
      const { scope, router, mtu, sent } = event;
      return { kind: 'path-report', peer: scope - SCOPE_TUNNEL, router: bytesToIpv4(router), mtu, sent };
    }
    case 'keepalive':
      return {
        kind: 'keepalive',
        scope: scopeFromNative(event.scope),
        frame: event.frame,
        length: event.length,
        receivedAt: event.receivedAt,
      };
    case 'worker-failed':
      return { kind: 'worker-failed', worker: event.worker, code: event.code, message: event.message };
  }
}

const START_REMEDIES: Readonly<Record<string, string>> = {
  EPERM: 'Run vpc-conn as root, or give it CAP_NET_RAW and CAP_NET_ADMIN.',
  EACCES: 'Run vpc-conn as root, or give it CAP_NET_RAW and CAP_NET_ADMIN.',
  ENODEV: 'Look whether the interface still exists.',
  ENXIO: 'Look whether the interface still exists.',
  ENOMEM: 'Free some memory, or set fewer dataplane.workers: each needs memory for its rings.',
  EMFILE: 'Raise the limit on open files (ulimit -n).',
};

function startFailure(cause: unknown): VpcConnError {
  const { code, message } = cause as NativeError;
  const remedy = START_REMEDIES[code] ?? 'See whether this kernel has packet sockets (CONFIG_PACKET).';
  return new VpcConnError('workers-start', `The workers cannot be attached: ${message}. ${remedy}`, {
    cause,
  });
}

function nameRow(names: readonly string[], values: BigUint64Array, row: number): Record<string, bigint> {
  return Object.fromEntries(
    names.map((name, column) => [name, values[row * names.length + column] ?? 0n] as const),
  );
}
