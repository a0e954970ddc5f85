/**
 * The port between the control plane and a data plane. `native-data-plane.ts` runs the C++ workers,
 * `memory-data-plane.ts` is the in-process double. Addresses (IPv4 and IPv6) are canonical strings and MACs are
 * "02:00:00:00:00:01" on this side; the native implementation turns them into bytes.
 */

/** Where an address is a neighbor. */
export type Scope = 'overlay' | 'underlay' | { readonly peer: number };

export interface TablePeer {
  readonly name: string;
  readonly localAddress: string;
  readonly address: string;
  readonly innerMtu: number;
  readonly unlisted: 'drop' | 'masquerade';
  readonly resolve: 'peer' | 'tunnel';
}

export interface TableEntry {
  readonly address: string;
  readonly host: string;
  readonly prefixLength: number;
  /** Index into `peers`. */
  readonly peer: number;
}

/** The immutable forwarding table, as published to the workers. */
export interface ForwardingTable {
  readonly overlayMac: string;
  readonly overlayAddress: string;
  /** Present: IPv6 is carried between hosts. */
  readonly overlayAddress6?: string;
  readonly overlayMtu: number;
  readonly underlayMac: string;
  readonly peers: readonly TablePeer[];
  readonly proxied: readonly TableEntry[];
  readonly reserved: readonly string[];
  readonly masquerade: MasqueradeTable;
  /** DSCP of outer headers; absent: copied from the inner header. */
  readonly dscp?: number | undefined;
  /** Take EtherIP with its version nibble in the wrong half, too. */
  readonly acceptReversed?: boolean;
  /** That one worker sends at most; 0: none. */
  readonly icmpErrorsPerSecond: number;
}

export interface MasqueradeTable {
  readonly firstPort: number;
  readonly lastPort: number;
  /** What far hosts are masqueraded behind; the overlay's own address may be one. */
  readonly addresses: readonly string[];
  /** Flows at once; the first table's value holds. */
  readonly flows: number;
}

/** What the workers know of a destination: the MAC to send to, or that resolution failed just now. */
export interface Adjacency {
  readonly scope: Scope;
  readonly address: string;
  /** Absent: failed. */
  readonly mac?: string;
  /** Index of its usage mark, 0..neighborSlots-1; stays with the address. */
  readonly slot: number;
}

export type DataPlaneEvent =
  | { readonly kind: 'unresolved'; readonly scope: Scope; readonly address: string }
  | { readonly kind: 'heard'; readonly scope: Scope; readonly address: string }
  | { readonly kind: 'arp'; readonly scope: Scope; readonly frame: Uint8Array }
  | { readonly kind: 'neighbor-discovery'; readonly scope: Scope; readonly frame: Uint8Array }
  /** An ICMP error says that an outer packet of `sent` bytes was too big; `mtu` 0: not what would fit. */
  | {
      readonly kind: 'path-report';
      /** Index into the table's peers. */
      readonly peer: number;
      readonly router: string;
      readonly mtu: number;
      readonly sent: number;
    }
  | {
      /** A message of a peer's gateway: the frame's beginning, and the length of the whole frame. */
      readonly kind: 'keepalive';
      readonly scope: Scope;
      readonly frame: Uint8Array;
      readonly length: number;
      /** When a worker took it up, milliseconds of CLOCK_MONOTONIC. */
      readonly receivedAt: number;
    }
  /** A packet from this far address was dropped, because it has no proxied address. */
  | { readonly kind: 'unlisted'; readonly scope: Scope; readonly address: string }
  | {
      readonly kind: 'worker-failed';
      readonly worker: string;
      readonly code: string;
      readonly message: string;
    };

export interface WorkerCounters {
  /** "encap/0", "decap/0", ..., "slow-path". */
  readonly worker: string;
  /** By counter name; drop reasons as drop_<reason>. */
  readonly values: Readonly<Record<string, bigint>>;
}

/** How hard a worker works. */
export interface WorkerLoad {
  readonly worker: string;
  /** CPU time of its thread so far, nanoseconds. */
  readonly cpuNanoseconds: number;
  /**
   * Batches by the time from the kernel's receiving the oldest frame to the last one's being sent, estimated from
   * samples. Bucket n: below 1.024 us times 2 to the power of n; the last one: all others.
   */
  readonly latency: readonly number[];
}

export interface PeerCounters {
  readonly peer: string;
  readonly values: Readonly<Record<string, bigint>>;
}

/** A masqueraded flow: a binding, and a local host's endpoint that its far host has spoken to. */
export interface Flow {
  readonly protocol: 'tcp' | 'udp' | 'icmp';
  /** Index into the table's peers. */
  readonly peer: number;
  readonly farAddress: string;
  /** ICMP: the identifier. */
  readonly farPort: number;
  /** What stands for the far endpoint here. */
  readonly address: string;
  readonly port: number;
  readonly nearAddress: string;
  /** ICMP: 0. */
  readonly nearPort: number;
  readonly state: 'transitory' | 'established' | 'closing' | 'active';
  readonly idleSeconds: number;
}

export interface FlowPage {
  readonly flows: readonly Flow[];
  /** Where the next page starts; 0: this was the last. */
  readonly next: number;
}

export interface FlowRecords {
  readonly records: Uint8Array;
  /** As in FlowPage. */
  readonly next: number;
}

export interface MasqueradeUse {
  readonly bindings: number;
  readonly flows: number;
}

/** Why frames are dropped: one sentence each on what the frame was and what to do. */
export interface DropReason {
  readonly name: string;
  readonly meaning: string;
  readonly remedy: string;
}

export interface DataPlane {
  /** Neighbor slots that exist. */
  readonly neighborSlots: number;
  /** What the counters drop_<name> mean. */
  readonly dropReasons: readonly DropReason[];
  publishTable(table: ForwardingTable): number;
  publishNeighbors(adjacencies: readonly Adjacency[]): number;
  start(): void;
  acknowledgedGeneration(): number;
  /** Seconds (process monotonic clock) at which each slot was last used; 0 = never. */
  neighborUse(): Uint32Array;
  /** Sends an Ethernet frame; to a peer scope it travels inside EtherIP. */
  send(scope: Scope, frame: Uint8Array): boolean;
  counters(): WorkerCounters[];
  peerCounters(): PeerCounters[];
  /** Of the workers, without the slow path. */
  loads(): WorkerLoad[];
  /** Ends flows that were idle for too long, and bindings without flows; tells what is in use. */
  sweepBindings(): MasqueradeUse;
  /** At most `most` flows from place `from` (0: the first) on; a short page need not be the last. */
  flows(from: number, most: number): FlowPage;
  /** The same as records of FLOW_RECORD_BYTES (native/addon.ts), to be kept for a later process. */
  flowRecords(from: number, most: number): FlowRecords;
  /** After the first publishTable: takes up flows of an earlier process; tells how many were valid and fit. */
  restoreFlows(records: Uint8Array): number;
  /**
   * Whether the kernel takes part in encapsulation (TCP super-frames, known pairs) or user space does all of it;
   * nothing is lost in between. Only where `kernelSegmentation` was asked for.
   */
  useKernelSegmentation(use: boolean): void;
  /** "broken": the kernel's part stopped working, and the workers segment in user space by themselves. */
  segmentation(): Segmentation;
  decapsulation(): Decapsulation;
  encapsulation(): Encapsulation;
  close(): void;
}

export type Segmentation = 'user-space' | 'kernel' | 'broken';

/** Whether the kernel carries plain packets of known pairs of hosts; `why` not is empty where nothing failed. */
export interface Encapsulation {
  readonly carried: boolean;
  readonly why: string;
}

/** How far the kernel decapsulates. */
export interface Decapsulation {
  /** stripped: the driver takes the outer headers off; carried: and known flows need no worker. */
  readonly part: 'none' | 'stripped' | 'carried';
  /** Why no further; empty: nothing failed. */
  readonly why: string;
  /** The errno's name that goes with it ("EBUSY"), or empty. */
  readonly code: string;
}

export interface DataPlaneOptions {
  readonly overlay: { readonly ifindex: number; readonly name: string };
  readonly underlay: { readonly ifindex: number; readonly name: string };
  readonly workers: number;
  readonly spinMicroseconds: number;
  /** Encap workers give TCP super-frames to the kernel whole; start() throws where that fails. Default: false. */
  readonly kernelSegmentation?: boolean;
  /**
   * Beside kernelSegmentation: the kernel carries plain packets of pairs of hosts that the workers have decided
   * about, if that works here (encapsulation() tells). Default: false.
   */
  readonly knownEncap?: boolean;
  /**
   * XDP takes the outer headers off in the underlay's driver, and the kernel carries known flows, as far as that
   * works here (decapsulation() tells). Default: false.
   */
  readonly xdpStrip?: boolean;
  readonly onEvent: (event: DataPlaneEvent) => void;
}

export type DataPlaneFactory = (options: DataPlaneOptions) => DataPlane;

/** An interface's offload features by their ethtool names ("tx-tcp-segmentation"). */
export type Features = Readonly<Record<string, { readonly active: boolean; readonly changeable: boolean }>>;

/** What the rungs of acceleration ask of the kernel before and beside the workers. */
export interface KernelOffloads {
  /** Throws where there is no such interface. */
  readFeatures(interfaceName: string): Features;
  /** Throws when the kernel refuses; a feature that the driver keeps shows in the next readFeatures. */
  setFeatures(interfaceName: string, wanted: Readonly<Record<string, boolean>>): void;
  /** Sends a test super-frame through private taps, gone afterwards. undefined: it works; else why not. */
  probeSegmentation(): string | undefined;
}
