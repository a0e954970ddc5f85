/** Two gateways' peerings on one fake clock, and a wire between them that a test can spoil. */
import type { DataPlaneEvent, Scope } from '../../src/dataplane/port.js';
import { createPeering, type Peering, type PeeringPeer, type Verdict } from '../../src/peering/peering.js';
import { FakeClock } from './fake-clock.js';

/** Outer IPv4 and EtherIP header. */
export const OUTER_HEADERS = 22;

export interface OnWire {
  readonly from: 'a' | 'b';
  /** Of the outer packet. */
  readonly size: number;
  readonly frame: Uint8Array;
}

export function peeringPeer(changes: Partial<PeeringPeer> = {}): PeeringPeer {
  return {
    name: 'vpc-b',
    address: '198.18.0.2',
    localAddress: '198.18.0.1',
    initiates: true,
    pathLimit: 1500,
    outerHeaders: OUTER_HEADERS,
    leastPath: 576,
    hosts: [{ address: '10.0.0.20', prefixLength: 32, proxiedAs: '10.0.0.20' }],
    acceptsNone: false,
    ...changes,
  };
}

/** One end: its peering, and what it was told and found. */
export class End {
  resolved = true;
  heardLately = false;
  /** What it says of hosts of its side; others are deliverable. */
  readonly verdicts = new Map<string, Verdict>();
  readonly path: string[] = [];
  readonly peering: Peering;

  constructor(clock: FakeClock, peer: PeeringPeer, send: (frame: Uint8Array) => boolean) {
    let seed = 0.1;
    this.peering = createPeering({
      dataPlane: { send: (_scope: Scope, frame: Uint8Array) => send(frame.slice()) },
      view: { sourceMac: '02:00:00:00:00:01', peers: [peer] },
      resolved: () => this.resolved,
      heardLately: () => this.heardLately,
      judge: ({ address }) => this.verdicts.get(address) ?? 'deliverable',
      path: {
        proven: (address, mtu) => this.path.push(`proven ${address} ${mtu}`),
        blackHole: (address, mtu) => this.path.push(`black hole ${address} ${mtu}`),
        forget: (address) => this.path.push(`forget ${address}`),
      },
      clock,
      random: () => {
        seed = (seed * 7.3) % 1;
        return seed;
      },
    });
  }

  get report() {
    const [report] = this.peering.reports();
    if (report === undefined) throw new Error('there is no peer');
    return report;
  }

  handle(event: DataPlaneEvent): void {
    this.peering.handle(event);
  }
}

export class PeeringCase {
  readonly clock = new FakeClock();
  readonly wire: OnWire[] = [];
  /** One way, milliseconds. */
  delay = 5;
  /** Whether an outer packet gets through. */
  passes: (packet: OnWire) => boolean = () => true;
  sends = true;
  readonly a: End;
  readonly b: End;

  constructor(a: Partial<PeeringPeer> = {}, b: Partial<PeeringPeer> = {}) {
    this.a = new End(this.clock, peeringPeer(a), (frame) => this.#send('a', frame));
    this.b = new End(
      this.clock,
      peeringPeer({ name: 'vpc-a', address: '198.18.0.1', localAddress: '198.18.0.2', ...b }),
      (frame) => this.#send('b', frame),
    );
  }

  seconds(count: number): void {
    this.clock.advance(count * 1000);
  }

  sent(from: 'a' | 'b'): OnWire[] {
    return this.wire.filter((packet) => packet.from === from);
  }

  /** As a worker would hand it up. */
  deliver(to: End, frame: Uint8Array): void {
    to.handle({
      kind: 'keepalive',
      scope: { peer: 0 },
      frame: frame.subarray(0, 640),
      length: frame.length,
      receivedAt: this.clock.now(),
    });
  }

  close(): void {
    this.a.peering.close();
    this.b.peering.close();
  }

  #send(from: 'a' | 'b', frame: Uint8Array): boolean {
    if (!this.sends) return false;
    const packet = { from, size: frame.length + OUTER_HEADERS, frame };
    this.wire.push(packet);
    if (!this.passes(packet)) return true;
    this.clock.after(this.delay, () => this.deliver(from === 'a' ? this.b : this.a, frame));
    return true;
  }
}
