/** The micro benchmarks: bench/micro, built by scripts/bench.sh. */
import { join } from 'node:path';
import { VpcConnError } from '../src/errors.js';
import { exec } from '../src/lab/command.js';
import type { MicroResult } from './report/results.js';

const PROGRAM = join(process.cwd(), 'build', 'bench', 'micro');

export async function runMicro(rounds: number): Promise<MicroResult[]> {
  const { code, stdout, stderr } = await exec(undefined, [PROGRAM, `${rounds}`], { timeoutMs: 120_000 });
  if (code !== 0) throw new VpcConnError('bench-micro', `The micro benchmarks failed: ${stderr.trim()}`);
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as MicroResult);
}
