/** Round trips between the hosts of a lab. */
import { VpcConnError } from '../../src/errors.js';
import type { BenchLab } from '../lab/bench-lab.js';

export interface RoundTrips {
  /** Microseconds. */
  p50: number;
  p99: number;
  /** Share of requests without an answer. */
  lost: number;
}

/** ping from a1 to b1, every 10 ms. */
export async function roundTrips(lab: BenchLab, count: number): Promise<RoundTrips> {
  const argv = ['ping', '-n', '-c', `${count}`, '-i', '0.01', '-W', '1', lab.address('b1')];
  const { stdout } = await lab.exec('a1', argv, { timeoutMs: count * 50 + 15_000 });
  return parsePings(stdout, count);
}

export function parsePings(output: string, count: number): RoundTrips {
  const times = [...output.matchAll(/ time=([\d.]+) ms/g)].map(([, time]) => Number(time) * 1000);
  if (times.length === 0) throw new VpcConnError('bench-ping', 'No ping was answered.');
  times.sort((a, b) => a - b);
  const at = (share: number) => times[Math.min(times.length - 1, Math.floor(share * times.length))] ?? 0;
  return { p50: at(0.5), p99: at(0.99), lost: Math.max(0, 1 - times.length / count) };
}
