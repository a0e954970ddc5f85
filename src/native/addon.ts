/**
 * Everything that crosses the boundary to C++ is declared in this file and nowhere else. Addresses and MACs
 * cross as network-order bytes. All methods run on the JS thread; none blocks for longer than a system call.
 */

/** Bytes in network order. */
export type Bytes = Uint8Array;

/** One proxied entry: 12 bytes in `NativeForwardingTable.proxied`. */
export const PROXIED_RECORD_BYTES = 12; // address[4] host[4] prefixLength[1] reserved[1] peerIndex[2, little-endian]

/** One IPv6 proxied entry: 36 bytes in `NativeForwardingTable.proxied6`. */
export const PROXIED6_RECORD_BYTES = 36; // address[16] host[16] prefixLength[1] reserved[1] peerIndex[2, little-endian]

/** One neighbor: 28 bytes in `publishNeighbors`. */
export const NEIGHBOR_RECORD_BYTES = 28; // scope[2, LE] state[1: 1 resolved, 2 failed] family[1: 4, 6] address[16, IPv4: the first 4] mac[6] slot[2, LE]

export const NEIGHBOR_RESOLVED = 1;
export const NEIGHBOR_FAILED = 2;
/** Neighbor slots (usage marks) the data plane has: slots are 0..NEIGHBOR_SLOTS-1. */
export const NEIGHBOR_SLOTS = 16384;

/**
 * One masqueraded flow: 28 bytes, integers big-endian. protocol[1: 0 tcp, 1 udp, 2 icmp] tcpSeen[1]
 * state[1: index into FLOW_STATES] reserved[1] peerIndex[2] farPort[2] farAddress[4] address[4] nearAddress[4]
 * port[2] nearPort[2] idleSeconds[4]. `address` and `port` stand for the far endpoint here; ports of ICMP are ids.
 */
export const FLOW_RECORD_BYTES = 28;
export const FLOW_STATES = ['transitory', 'established', 'closing', 'active'] as const;

/**
 * What a worker tells of its effort: CPU time in nanoseconds, then LATENCY_BUCKETS counts of batches by the time from
 * the kernel's receiving the oldest frame to the last one's being sent. Bucket 0 ends at 1.024 us, each further one at
 * twice that, the last one nowhere. Batches are timed by sampling: each that the worker was woken for, and one of 64
 * others, which counts as 64.
 */
export const LATENCY_BUCKETS = 24;
export const LOAD_VALUES = 1 + LATENCY_BUCKETS;

export interface NativeFlows {
  /** FLOW_RECORD_BYTES each. */
  records: Buffer;
  /** Where the next page starts; 0: this was the last. */
  next: number;
}

/** Scope of an address: where it is a neighbor. Peers follow: SCOPE_TUNNEL + peer index. */
export const SCOPE_OVERLAY = 0;
export const SCOPE_UNDERLAY = 1;
export const SCOPE_TUNNEL = 2;

export interface NativePeer {
  /** Outer source and destination. */
  localAddress: Bytes;
  address: Bytes;
  /** Largest inner IP packet that fits the tunnel without outer fragmentation, bytes. */
  innerMtu: number;
  masqueradeUnlisted: boolean;
  /** resolve: tunnel — the inner destination MAC must be right, and wrong inner IPv4 checksums are mended. */
  resolveThroughTunnel: boolean;
}

export interface NativeForwardingTable {
  overlayMac: Bytes;
  overlayAddress: Bytes;
  /** Largest IP packet the overlay interface carries, bytes. */
  overlayMtu: number;
  underlayMac: Bytes;
  peers: NativePeer[];
  /** PROXIED_RECORD_BYTES each. */
  proxied: Bytes;
  /** 4 bytes each: never forwarded to, nor from (reserved addresses of the overlay's subnets, broadcast). */
  reserved: Bytes;
  masqueradeFirstPort: number;
  masqueradeLastPort: number;
  /** Of outer headers, 0 to 63; undefined: copied from the inner header. */
  dscp?: number | undefined;
  /** EtherIP that begins with 0x03 0x00 is taken, too. */
  acceptReversed: boolean;
  /** ICMP errors that one worker sends at most. */
  icmpErrorsPerSecond: number;
  /** 4 bytes each, at most 16: what far hosts are masqueraded behind; overlayAddress may be one. */
  masqueradeAddresses: Bytes;
  /** Flows at once. The value of the first table holds. */
  masqueradeFlows: number;
  /** Present: IPv6 is carried between hosts. */
  overlayAddress6?: Bytes;
  /** PROXIED6_RECORD_BYTES each. */
  proxied6: Bytes;
  /** 16 bytes each. */
  reserved6: Bytes;
}

/** Rare events of the workers, delivered in batches on the JS thread; the queue is bounded, excess is counted. */
export type NativeEvent =
  /** The fast path needs the MAC for `address` (4 or 16 bytes). Repeats at most once a second per worker and address. */
  | { kind: 'unresolved'; scope: number; address: Buffer }
  /** A frame from an address that is published as failed. */
  | { kind: 'heard'; scope: number; address: Buffer }
  /** An ARP frame, Ethernet header included. scope SCOPE_TUNNEL + peer: it came inside EtherIP. */
  | { kind: 'arp'; scope: number; frame: Buffer }
  /** The same for IPv6: a neighbor solicitation or advertisement. */
  | { kind: 'neighbor-discovery'; scope: number; frame: Buffer }
  /** An ICMP error: an outer packet of `sent` bytes to a peer (scope) was too big; `mtu` 0: not said what fits. */
  | { kind: 'path-report'; scope: number; router: Buffer; mtu: number; sent: number }
  /**
   * A message of a peer's gateway (EtherType 0x88B5, magic checked): the beginning of the frame, Ethernet header
   * included, and the length of the whole. receivedAt: when a worker took it up, milliseconds of CLOCK_MONOTONIC.
   * At most 32 a second per worker and peer; the rest is dropped as keepalive_excess.
   */
  | { kind: 'keepalive'; scope: number; frame: Buffer; length: number; receivedAt: number }
  /** A packet from this far address was dropped as unlisted_source. At most once a second per worker and address. */
  | { kind: 'unlisted'; scope: number; address: Buffer }
  /** A worker lost its socket for good (interface gone), or another error that it cannot cure. */
  | { kind: 'worker-failed'; worker: string; code: string; message: string };

export interface NativeDataPlaneOptions {
  overlayIfindex: number;
  overlayName: string;
  underlayIfindex: number;
  underlayName: string;
  /** Workers per direction. */
  workers: number;
  spinMicroseconds: number;
  /** Encap workers give TCP super-frames to the kernel whole (rung "segment"); start() throws if that fails. */
  kernelSegmentation?: boolean;
  /** Encap: plain packets of pairs of hosts that the workers have decided about are carried by the kernel. */
  knownEncap?: boolean;
  /**
   * An XDP program takes the outer headers off in the underlay's driver, so that the kernel merges the inner TCP,
   * and carries known flows by itself (decap rung "full"), as far as that works here: see decapsulation().
   */
  xdpStrip?: boolean;
  onEvents: (events: NativeEvent[]) => void;
}

export interface NativeDataPlane {
  /** Publishes an immutable table to all workers; returns its generation. */
  publishTable(table: NativeForwardingTable): number;
  /** Replaces all neighbors; NEIGHBOR_RECORD_BYTES each. Returns the generation. */
  publishNeighbors(records: Bytes): number;
  /** Opens sockets, maps rings, starts threads. Throws NativeError; nothing is left behind then. */
  start(): void;
  /** Lowest generation that all workers have taken up. */
  acknowledgedGeneration(): number;
  /** Seconds of the monotonic clock (CLOCK_MONOTONIC) at which each slot was last used; 0 = never. */
  readNeighborUse(into: Uint32Array): void;
  /** Sends one Ethernet frame: on the overlay or underlay interface, or (SCOPE_TUNNEL + peer) inside EtherIP. False: not sent (unresolved peer, link down, queue full); counted. */
  send(scope: number, frame: Bytes): boolean;
  /** Number of values that readCounters fills: workers * counterNames.length + peers * peerCounterNames.length. */
  readonly workerNames: string[];
  /** One row of counterNames per worker, in the order of workerNames, then the slow path's own row. */
  readCounters(into: BigUint64Array): void;
  /** One row of peerCounterNames per peer, in table order. */
  readPeerCounters(into: BigUint64Array): void;
  /** One row of LOAD_VALUES per worker, in the order of workerNames. */
  readLoads(into: BigUint64Array): void;
  /** Drops masqueraded flows whose timers ran out, and bindings without flows; call once a second. Returns those in use. */
  sweepBindings(): { bindings: number; flows: number };
  /**
   * At most `most` masqueraded flows, from place `from` (0: the first) on. A page may be short or empty without
   * being the last.
   */
  readFlows(from: number, most: number): NativeFlows;
  /** Takes up flows that an earlier process has read; returns how many were valid and fit. */
  restoreFlows(records: Bytes): number;
  /** Steps down to segmentation in user space (false), or up again; nothing is lost. */
  useKernelSegmentation(use: boolean): void;
  /** "broken": the kernel's part stopped working; the workers segment in user space by themselves. */
  segmentation(): 'user-space' | 'kernel' | 'broken';
  /** Frames stripped by XDP, and forgeries it dropped; undefined: it is not attached. */
  stripCounts(): { stripped: bigint; spoofed: bigint } | undefined;
  /** How far the kernel decapsulates, and why no further. `code`: an errno's name, or empty. */
  decapsulation(): { part: 'none' | 'stripped' | 'carried'; why: string; code: string };
  /** Stops and joins the threads, unmaps, closes. Synchronous, bounded, idempotent. */
  close(): void;
}

export interface NativeLink {
  ifindex: number;
  name: string;
  mac: Buffer;
  mtu: number;
  up: boolean;
  /** IFF_RUNNING / lower layer up. */
  running: boolean;
  /** ARPHRD_*; 1 = Ethernet. */
  type: number;
  kind: string;
}

export interface NativeAddress {
  ifindex: number;
  family: 4 | 6;
  address: Buffer;
  prefixLength: number;
  secondary: boolean;
}

export interface NativeRoute {
  ifindex: number;
  /** Absent: on-link. */
  gateway?: Buffer;
  source?: Buffer;
  mtu?: number;
}

/** rtnetlink. Reads are synchronous dumps; the watch only says that something changed. */
export interface NativeNetlink {
  links(): NativeLink[];
  addresses(): NativeAddress[];
  /** The kernel's own answer (RTM_GETROUTE) for `destination` out of `ifindex` from `source`; undefined when it has none. */
  route(destination: Bytes, ifindex?: number, source?: Bytes): NativeRoute | undefined;
  /** Calls back (coalesced) after links, IPv4/IPv6 addresses, routes or rules changed. One watch at a time. */
  watch(onChange: () => void): void;
  close(): void;
}

/** libnftables, loaded at run time. Tables with `flags owner` live as long as this object. */
export interface NativeNftables {
  /** Runs commands in nft syntax as one transaction; throws NativeError with nft's own message. Returns its output. */
  run(commands: string): string;
  close(): void;
}

/** The workers' pipeline on frames in memory: golden tests, property tests. Same code, no sockets. */
export interface NativePipeline {
  publishTable(table: NativeForwardingTable): number;
  publishNeighbors(records: Bytes): number;
  /**
   * One frame as the ring would deliver it (`virtioHeader`: 10 bytes of struct virtio_net_hdr, or absent).
   * Returns what would be sent, each frame without virtio header unless `withVirtioHeader`.
   */
  encap(frame: Bytes, virtioHeader?: Bytes): NativeVerdict;
  decap(frame: Bytes, virtioHeader?: Bytes): NativeVerdict;
  readCounters(into: BigUint64Array): void;
  /** The clock that bindings and held frames see, seconds; starts at 1. */
  setTime(seconds: number): void;
  sweepBindings(): { bindings: number; flows: number };
  readFlows(from: number, most: number): NativeFlows;
  restoreFlows(records: Bytes): number;
}

export interface NativeVerdict {
  /** "forwarded", "punted" (ARP), "held" (neighbor being resolved) or a drop reason. */
  verdict: string;
  frames: Buffer[];
  virtioHeaders: Buffer[];
  /** ICMP errors, sent back out of where the frame came in. */
  replies: Buffer[];
  events: NativeEvent[];
}

export interface NativeAddon {
  DataPlane: new (options: NativeDataPlaneOptions) => NativeDataPlane;
  Pipeline: new () => NativePipeline;
  Netlink: new () => NativeNetlink;
  Nftables: new () => NativeNftables;
  /** Offload features of an interface by their ethtool names ("tx-tcp-segmentation"). */
  readFeatures(interfaceName: string): Record<string, { active: boolean; changeable: boolean }>;
  setFeatures(interfaceName: string, wanted: Record<string, boolean>): void;
  /** What `ethtool -S` shows of an interface: its driver's statistics, exact up to 2^53; empty where it has none. */
  readStatistics(interfaceName: string): Record<string, number>;
  /** adjtimex(2): whether something (NTP) keeps this machine's clock right. */
  clockSynchronized(): boolean;
  /** Sends a test super-frame through private taps and compares: undefined = it works, else why not. */
  probeKernelSegmentation(): string | undefined;
  /** Names in the order of the values; drop reasons are among them as "drop_<reason>". */
  counterNames: string[];
  peerCounterNames: string[];
  /** Drop reasons with one sentence each on what the frame was and what to do. */
  dropReasons: { name: string; meaning: string; remedy: string }[];
  version: string;
}

/** What C++ throws: an Error with these fields. */
export interface NativeError extends Error {
  code: string;
  errno?: number;
  syscall?: string;
  interface?: string;
}
