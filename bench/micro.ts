/** The micro benchmarks: bench/micro, built by scripts/bench.sh. */
import { VpcConnError } from '../src/errors.js';
import { exec } from '../src/lab/command.js';
import { microProgram } from './product.js';
import type { MicroResult } from './report/results.js';

export async function runMicro(rounds: number): Promise<MicroResult[]> {
  const { code, stdout, stderr } = await exec(undefined, [microProgram(), `${rounds}`], {
    timeoutMs: 120_000,
  });
  if (code !== 0) throw new VpcConnError('bench-micro', `The micro benchmarks failed: ${stderr.trim()}`);
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as MicroResult);
}
