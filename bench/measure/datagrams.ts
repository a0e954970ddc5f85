/** UDP between the hosts of a lab, by bench/generator/datagrams. */
import { VpcConnError } from '../../src/errors.js';
import type { BenchLab } from '../lab/bench-lab.js';
import { product } from '../product.js';

const PORT = '5301';

export interface Trial {
  offered: number;
  delivered: number;
  deliveredBytes: number;
  reordered: number;
  /** Lost in the receiving host's own socket: the gateways delivered them. */
  socketDrops: number;
  /** Datagrams a second. */
  offeredRate: number;
  deliveredRate: number;
}

let runs = 0;

/** Sends from a1 to b1. `sizes`: UDP payload bytes, in turn. `rate`: datagrams a second, 0 = flat out. */
export async function blast(
  lab: BenchLab,
  { sizes, rate, seconds }: { sizes: readonly number[]; rate: number; seconds: number },
): Promise<Trial> {
  runs += 1;
  const run = `${runs}`;
  const generator = product().datagrams;
  const receiver = lab.spawn('b1', [generator, 'receive', lab.address('b1'), PORT, run]);
  try {
    await receiver.until(({ stdout }) => stdout.includes('listening'), 'listening');
    const argv = [generator, 'send', lab.address('b1'), PORT, run, sizes.join(','), `${rate}`, `${seconds}`];
    const sent = parseReport(await lab.must('a1', argv, { timeoutMs: (seconds + 10) * 1000 }));
    receiver.closeInput();
    const finished = ({ stdout }: { stdout: string }) => stdout.includes('}');
    await receiver.until(finished, 'counting', 15_000);
    return trial(sent, parseReport(receiver.stdout.slice('listening'.length)));
  } finally {
    receiver.kill();
    await receiver.exited;
  }
}

function trial(sent: Record<string, number>, received: Record<string, number>): Trial {
  const offered = (sent.sent ?? 0) + (sent.refused ?? 0);
  const delivered = received.packets ?? 0;
  const seconds = sent.seconds ?? 0;
  // What sat in queues when the sender ended arrives later: it counts, over the longer time.
  const arriving = Math.max(seconds, received.seconds ?? 0);
  return {
    offered,
    delivered,
    deliveredBytes: received.bytes ?? 0,
    reordered: received.reordered ?? 0,
    socketDrops: received.socketDrops ?? 0,
    offeredRate: offered / seconds,
    deliveredRate: delivered / arriving,
  };
}

function parseReport(text: string): Record<string, number> {
  try {
    return JSON.parse(text) as Record<string, number>;
  } catch (cause) {
    throw new VpcConnError('bench-generator', `The datagram generator said: ${text.trim()}`, { cause });
  }
}

export interface SearchOptions {
  /** Where to begin to look, datagrams a second: more is not expected to pass. */
  ceiling: number;
  trials: number;
  /** Ends when both bounds are this near, as a share of the upper one. */
  precision: number;
}

/**
 * The highest rate without loss, by bisection (RFC 2544 26.1). `passes` is asked again before a rate is given
 * up: on a shared machine a single hiccup says nothing about the contender. 0: no rate that was tried passes.
 */
export async function highestRate(
  passes: (rate: number) => Promise<boolean>,
  { ceiling, trials, precision }: SearchOptions,
): Promise<number> {
  let low = 0;
  let high = ceiling;
  for (let count = 0; count < trials && high - low > precision * high; count += 1) {
    const rate = (low + high) / 2;
    if ((await passes(rate)) || (await passes(rate))) low = rate;
    else high = rate;
  }
  return low;
}
