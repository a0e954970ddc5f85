/** Neighbors on a fake clock and the in-memory data plane: 10.0.0.0/24 is the overlay, 198.18.0.0/24 the underlay. */
import { MemoryDataPlane } from '../../src/dataplane/memory-data-plane.js';
import type { Scope } from '../../src/dataplane/port.js';
import {
  type AddressConflict,
  createNeighbors,
  type MacChange,
  type NeighborLimits,
  type NeighborsOptions,
  type NeighborView,
} from '../../src/neighbor/neighbors.js';
import { type ArpFrame, BROADCAST_MAC, buildArp, parseArp, ZERO_MAC } from '../../src/net/arp.js';
import { FakeClock } from './fake-clock.js';

export const OVERLAY_MAC = '02:00:00:00:00:05';
export const OVERLAY_ADDRESS = '10.0.0.5';
export const UNDERLAY_MAC = '02:00:00:00:01:01';
export const UNDERLAY_ADDRESS = '198.18.0.1';
export const PEER_ADDRESS = '198.18.0.2';
export const PEER_MAC = '02:00:00:00:01:02';
export const HOST = '10.0.0.10';
export const HOST_MAC = '02:00:00:00:00:10';
export const OTHER_MAC = '02:00:00:00:00:99';
/** Proxied here. */
export const PROXIED = '10.0.0.20';

export const VIEW: NeighborView = {
  table: {
    overlayMac: OVERLAY_MAC,
    overlayAddress: OVERLAY_ADDRESS,
    underlayMac: UNDERLAY_MAC,
    peers: [
      {
        name: 'vpc-b',
        localAddress: UNDERLAY_ADDRESS,
        address: PEER_ADDRESS,
        innerMtu: 1464,
        unlisted: 'drop',
        resolve: 'tunnel',
      },
      {
        name: 'vpc-c',
        localAddress: UNDERLAY_ADDRESS,
        address: '198.18.0.3',
        innerMtu: 1464,
        unlisted: 'drop',
        resolve: 'peer',
      },
    ],
    proxied: [
      { address: PROXIED, host: PROXIED, prefixLength: 32, peer: 0 },
      { address: '10.0.0.128', host: '10.0.1.128', prefixLength: 26, peer: 1 },
    ],
    reserved: ['10.0.0.0', '10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.255'],
  },
  onLink: [{ address: '10.0.0.0', prefixLength: 24 }],
  ownAddresses: [OVERLAY_ADDRESS, UNDERLAY_ADDRESS, PROXIED],
  arp: 'respond',
};

export interface SentArp extends ArpFrame {
  readonly scope: Scope;
  readonly at: number;
}

export interface CaseOptions {
  readonly view?: NeighborView;
  readonly limits?: Partial<NeighborLimits>;
  readonly neighborSlots?: number;
  readonly nextHopFor?: NeighborsOptions['nextHopFor'];
  readonly random?: () => number;
}

export class NeighborCase {
  readonly clock = new FakeClock();
  readonly dataPlane: MemoryDataPlane;
  readonly neighbors;
  readonly conflicts: AddressConflict[] = [];
  readonly macChanges: MacChange[] = [];
  /** Every ARP frame sent, with its time. */
  readonly sent: SentArp[] = [];

  constructor(options: CaseOptions = {}) {
    this.dataPlane = new MemoryDataPlane(
      {
        overlay: { ifindex: 2, name: 'overlay0' },
        underlay: { ifindex: 3, name: 'underlay0' },
        workers: 1,
        spinMicroseconds: 0,
        onEvent: (event) => this.neighbors.handle(event),
      },
      { neighborSlots: options.neighborSlots ?? 1024 },
    );
    const send = this.dataPlane.send.bind(this.dataPlane);
    this.dataPlane.send = (scope, frame) => {
      const arp = parseArp(frame);
      if (!arp) throw new Error('what was sent is no ARP frame');
      this.sent.push({ ...arp, scope, at: this.clock.now() });
      return send(scope, frame);
    };
    this.neighbors = createNeighbors({
      dataPlane: this.dataPlane,
      view: options.view ?? VIEW,
      nextHopFor: options.nextHopFor ?? ((_scope, destination) => destination),
      onConflict: (conflict) => this.conflicts.push(conflict),
      onMacChange: (change) => this.macChanges.push(change),
      limits: options.limits ?? {},
      clock: this.clock,
      // Reachable time exactly its base: 30 s, re-probed at 24 s.
      random: options.random ?? (() => 0.5),
    });
  }

  /** A worker asks. */
  ask(address: string, scope: Scope = 'overlay'): void {
    this.dataPlane.emit({ kind: 'unresolved', scope, address });
  }

  heard(address: string, scope: Scope = 'overlay'): void {
    this.dataPlane.emit({ kind: 'heard', scope, address });
  }

  /** An ARP frame comes in; what is not given is a reply of HOST to us on the overlay. */
  arp(fields: Partial<ArpFrame> = {}, scope: Scope = 'overlay'): void {
    const senderMac = fields.senderMac ?? HOST_MAC;
    this.dataPlane.emit({
      kind: 'arp',
      scope,
      frame: buildArp({
        destination: OVERLAY_MAC,
        source: senderMac,
        operation: 'reply',
        senderMac,
        senderAddress: HOST,
        targetMac: OVERLAY_MAC,
        targetAddress: OVERLAY_ADDRESS,
        ...fields,
      }),
    });
  }

  /** A request of HOST for `targetAddress`. */
  request(targetAddress: string, fields: Partial<ArpFrame> = {}, scope: Scope = 'overlay'): void {
    this.arp(
      { operation: 'request', destination: BROADCAST_MAC, targetMac: ZERO_MAC, targetAddress, ...fields },
      scope,
    );
  }

  /** HOST, resolved. */
  resolved(): void {
    this.ask(HOST);
    this.arp();
    this.clock.turn();
  }

  /** The workers use the destination now. */
  use(address: string, scope: Scope = 'overlay'): void {
    const adjacency = this.published(address, scope);
    if (!adjacency) throw new Error(`${address} is not published`);
    this.dataPlane.markUsed(adjacency.slot, Math.floor(this.clock.now() / 1000));
  }

  published(address: string, scope: Scope = 'overlay') {
    return this.dataPlane.neighbors.find(
      (adjacency) =>
        adjacency.address === address && JSON.stringify(adjacency.scope) === JSON.stringify(scope),
    );
  }

  state(address: string): string | undefined {
    return this.neighbors.rows().find((row) => row.address === address)?.state;
  }

  requests(address = HOST): SentArp[] {
    return this.sent.filter(
      ({ operation, targetAddress }) => operation === 'request' && targetAddress === address,
    );
  }

  replies(): SentArp[] {
    return this.sent.filter(({ operation }) => operation === 'reply');
  }
}
