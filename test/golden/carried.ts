/** Steps of golden cases: a packet that crosses a gateway with other addresses and otherwise unchanged. */
import { counting, echo, ipv4, type Transport, tcp, udp } from '../helpers/frames.js';
import type { GoldenStep } from './golden-case.js';
import { B, fromLocal, fromPeer, NEIGHBORS, TABLE, toLocal, toPeer } from './world.js';

export const WORLD = { table: TABLE, neighbors: NEIGHBORS };
export const PAYLOAD = counting(100);

export const KINDS: Record<string, Transport> = {
  tcp: tcp({ from: 40001, to: 443, payload: PAYLOAD }),
  udp: udp({ from: 40001, to: 53, payload: PAYLOAD }),
  icmp: echo({ id: 77 }),
};

export interface Carried {
  what: string;
  direction: 'encap' | 'decap';
  /** Addresses of the packet before and after. */
  before: [string, string];
  after: [string, string];
  transport: Transport;
  transportAfter?: Transport;
  peer?: string;
}

/** A packet that is carried with other addresses and otherwise unchanged. */
export function carried({
  what,
  direction,
  before,
  after,
  transport,
  transportAfter,
  peer = B,
}: Carried): GoldenStep {
  const packet = ipv4({ from: before[0], to: before[1] }, transport);
  const expected = ipv4({ from: after[0], to: after[1] }, transportAfter ?? transport);
  return direction === 'encap'
    ? { what, direction, frame: fromLocal(packet), verdict: 'forwarded', out: [toPeer(peer, expected)] }
    : { what, direction, frame: fromPeer(peer, packet), verdict: 'forwarded', out: [toLocal(expected)] };
}

/** Before a MAC was learned that would be written back. */
export function encapFirst(steps: readonly GoldenStep[]): GoldenStep[] {
  return [...steps].sort(
    (one, other) => Number(other.direction === 'encap') - Number(one.direction === 'encap'),
  );
}

/** What returns to a far host has the MAC that it came with as inner destination. */
export function withLearnedMac(step: GoldenStep): GoldenStep {
  if (step.direction === 'decap') return step;
  const out = (step.out ?? []).map((frame) => {
    const learned = Uint8Array.from(frame);
    learned.set([2, 0, 0, 0, 0x0b, 0x14], 36);
    return learned;
  });
  return { ...step, out };
}
