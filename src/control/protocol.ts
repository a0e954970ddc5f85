/**
 * The control socket's protocol, version 1: one JSON object per line. Request {"v":1,"id":n,"method":...},
 * response {"id":n,"ok":true,"result":...} or {"id":n,"ok":false,"error":{code,message,exitCode}}.
 */
import type { Settings } from '../config/settings.js';

export const PROTOCOL_VERSION = 1;

/**
 * up; silent (no answer, nothing heard); unresolved (no next hop); mtu-limited (less gets through than the route
 * says); misconfigured (it cannot deliver, or drops, what is listed here); unknown (not asked, nothing heard).
 */
export type PeerState = 'up' | 'silent' | 'unresolved' | 'mtu-limited' | 'misconfigured' | 'unknown';

export interface StatusResult {
  name: string;
  version: string;
  pid: number;
  state: 'running' | 'degraded' | 'stopping';
  uptimeSeconds: number;
  source: string;
  generation: { published: number; acknowledged: number };
  overlay: {
    interface: string;
    address: string;
    /** null or absent: IPv6 is not carried between hosts. */
    address6?: string | null;
    mac: string;
    mtu: number;
    up: boolean;
    arp: string;
  };
  underlay: { interface: string; address: string; mac: string; mtu: number; up: boolean };
  /** Which rung each direction runs on, and why not a higher one. */
  acceleration: { encap: { rung: string; why: string }; decap: { rung: string; why: string } };
  /** Offload features that are switched as long as this gateway runs; absent or empty: none. */
  offloads?: { interface: string; feature: string; was: boolean; now: boolean }[];
  guard: { state: 'up' | 'down'; method: string };
  peers: {
    name: string;
    address: string;
    localAddress: string;
    state: PeerState;
    /** Why it is in that state; empty when there is nothing to say. */
    stateWhy: string;
    /** Seconds since the last valid frame of this peer; null = never. */
    lastSeenSeconds: number | null;
    nextHop: string | null;
    nextHopMac: string | null;
    innerMtu: number;
    innerMtuWhy: string;
    proxied: number;
    unlisted: string;
    resolve: string;
    /** This gateway initiates keepalives. */
    keepalive: boolean;
    /** Between the gateways, smoothed, without the time that the far one takes to answer; null: not measured. */
    roundTripMs: number | null;
    /** Share of the last 100 keepalives that were not answered, 0..1; null: not measured. */
    loss: number | null;
    /** What the peer cannot deliver, and whom it refuses, with the remedy. */
    findings: string[];
    /** Far hosts that sent within the last five minutes and were dropped, because they have no proxied address here. */
    refusedHosts: string[];
    counters: Record<string, number>;
  }[];
  /** What a person should know: conflicts found, degraded parts, each with its remedy. */
  notices: string[];
}

/** How long frames waited for a direction's workers; estimated from samples, batch by batch. */
export interface LatencyResult {
  direction: string;
  /**
   * Batches by the time from the kernel's receiving the oldest frame to the last one's being sent: each bucket holds
   * those below its bound, microseconds, and not below the one before; null: no bound.
   */
  buckets: { belowMicroseconds: number | null; batches: number }[];
}

export interface StatsResult {
  /** Of the gateway; absent in answers of earlier releases. */
  uptimeSeconds?: number;
  /** cpuSeconds: of the worker's thread since the start; the slow path has none of its own. */
  workers: { worker: string; cpuSeconds?: number; values: Record<string, number> }[];
  /** Absent in answers of earlier releases. */
  latency?: LatencyResult[];
  totals: Record<string, number>;
  drops: { reason: string; count: number; meaning: string; remedy: string }[];
  peers: { peer: string; values: Record<string, number> }[];
  /** Masqueraded: ports in use, and connections over them. */
  bindings: number;
  flows: number;
}

export interface NeighborRow {
  scope: string;
  address: string;
  nextHop: string;
  state: 'incomplete' | 'reachable' | 'stale' | 'delay' | 'probe' | 'failed' | 'static';
  mac: string | null;
  ageSeconds: number;
  usedSecondsAgo: number | null;
}

export interface FlowRow {
  protocol: string;
  peer: string;
  far: string;
  masqueradedAs: string;
  /** The local host that it is with. */
  near: string;
  state: string;
  idleSeconds: number;
}

export interface FlowsRequest {
  /** Default: the start. */
  from?: number;
  /** Default: 1000, which is also the most. */
  most?: number;
}

export interface FlowsResult {
  flows: FlowRow[];
  /** Where the next page starts; 0: this was the last. A short or empty page need not be. */
  next: number;
  /** In use, listed or not. */
  total: number;
}

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error';

export interface Methods {
  status: { params: Record<string, never>; result: StatusResult };
  stats: { params: Record<string, never>; result: StatsResult };
  neighbors: { params: Record<string, never>; result: NeighborRow[] };
  flows: { params: FlowsRequest; result: FlowsResult };
  reload: { params: Record<string, never>; result: { generation: number; changes: string[] } };
  /** Without a level it only tells; a reload sets the one of the file again. */
  logLevel: { params: { level?: LogLevel }; result: { level: LogLevel } };
  /** Those in force: what a reload of another file would be compared with. */
  settings: { params: Record<string, never>; result: Settings };
  stop: { params: Record<string, never>; result: { stopped: true } };
}

export type Method = keyof Methods;
