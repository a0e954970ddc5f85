/** What a measurement cost and what went over the wire meanwhile; refuses what is not honest. */
import { readFileSync } from 'node:fs';
import { VpcConnError } from '../../src/errors.js';
import type { Running } from '../contenders/contender.js';
import { GATEWAYS, type Gateway, type LinkCounters } from '../lab/bench-lab.js';

/** /proc counts in these, whatever the kernel's own tick is (USER_HZ). */
const TICKS_PER_SECOND = 100;
const ETHERNET_HEADER = 14;

/** CPU seconds of the whole machine so far, all but idle and waiting. */
export function parseMachineCpu(stat: string): number {
  const [, ...fields] = (stat.split('\n', 1)[0] ?? '').trim().split(/\s+/);
  // user nice system idle iowait irq softirq steal; guest time is part of user, steal is not ours.
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = fields.map(Number);
  return (user + nice + system + irq + softirq) / TICKS_PER_SECOND;
}

/** CPU seconds of a process, its threads and its ended children so far. */
export function parseProcessCpu(stat: string): number {
  // The command may contain blanks and parentheses: fields are counted from behind it.
  const fields = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .map(Number);
  const [user = 0, system = 0, childUser = 0, childSystem = 0] = fields.slice(11, 15);
  return (user + system + childUser + childSystem) / TICKS_PER_SECOND;
}

export function machineCpu(): number {
  return parseMachineCpu(readFileSync('/proc/stat', 'utf8'));
}

export function processCpu(pid: number): number {
  return parseProcessCpu(readFileSync(`/proc/${pid}/stat`, 'utf8'));
}

/** Resident memory of a process, megabytes. */
export function residentMegabytes(pid: number): number {
  const kilobytes = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kilobytes ?? 0) / 1024;
}

export interface Window {
  seconds: number;
  /** CPU seconds of everything on this machine. */
  machineCpu: number;
  /** CPU seconds of the contender's own processes, in all. */
  gatewayCpu: number;
  /** What each gateway sent into the underlay. */
  wire: Record<Gateway, { bytes: number; packets: number }>;
}

/** Runs `work` and watches. Throws when a frame larger than the MTU can have been on the underlay. */
export async function observe<T>(
  running: Running,
  work: () => Promise<T>,
): Promise<{ result: T; window: Window }> {
  const before = look(running);
  const result = await work();
  const after = look(running);
  const sent = (gateway: Gateway) => ({
    bytes: after.links[gateway].txBytes - before.links[gateway].txBytes,
    packets: after.links[gateway].txPackets - before.links[gateway].txPackets,
  });
  const window: Window = {
    seconds: (after.time - before.time) / 1000,
    machineCpu: after.machine - before.machine,
    gatewayCpu: after.gateways - before.gateways,
    wire: { 'gw-a': sent('gw-a'), 'gw-b': sent('gw-b') },
  };
  checkHonest(running.lab.variant.underlayMtu, window);
  return { result, window };
}

/** Throws unless every direction's mean frame fits the wire. */
export function checkHonest(underlayMtu: number, { wire }: Pick<Window, 'wire'>): void {
  for (const gateway of GATEWAYS) {
    const { bytes, packets } = wire[gateway];
    const mean = packets === 0 ? 0 : bytes / packets;
    if (mean <= underlayMtu + ETHERNET_HEADER) continue;
    throw new VpcConnError(
      'bench-dishonest-wire',
      `${gateway} sent frames of ${Math.round(mean)} bytes on average into an underlay of MTU ${underlayMtu}: ` +
        'an offload let super-frames pass, so the figure is worth nothing.',
    );
  }
}

/** Throws unless the gateways can have carried so much: what arrived some other way is no figure of theirs. */
export function checkCarried({ wire }: Pick<Window, 'wire'>, bytes: number): void {
  const carried = wire['gw-a'].bytes + wire['gw-b'].bytes;
  if (carried >= bytes) return;
  throw new VpcConnError(
    'bench-not-carried',
    `The gateways carried ${carried} bytes, but ${bytes} arrived: the traffic did not go through them.`,
  );
}

function look({ lab, processes }: Running) {
  const links = { 'gw-a': lab.counters('gw-a', 'eth2'), 'gw-b': lab.counters('gw-b', 'eth2') };
  return {
    time: performance.now(),
    machine: machineCpu(),
    gateways: processes().reduce((sum, { pid }) => sum + processCpu(pid), 0),
    links: links satisfies Record<Gateway, LinkCounters>,
  };
}
