/**
 * What is measured, put aside: a bench takes an hour, and whoever builds meanwhile would change what runs, or
 * take it away. The bench runs from the checkout's root (scripts/bench.sh).
 */
import { cpSync, existsSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { VpcConnError } from '../src/errors.js';
import { claimLabId, labDirectory } from '../src/lab/cleanup.js';

/** Where scripts/bench.sh builds; not in build/, which node-gyp empties. */
const BUILT = join('.cache', 'bench');

export interface Product {
  /** vpc-conn's command line. */
  main: string;
  /** The datagram generator. */
  datagrams: string;
}

let taken: Product | undefined;

/** The same copy each time; it is removed when this process ends, like a lab. */
export function product(): Product {
  taken ??= take();
  return taken;
}

/** The micro benchmarks, as built. */
export function microProgram(): string {
  return built(join(BUILT, 'micro'));
}

function take(): Product {
  const folder = labDirectory(claimLabId());
  mkdirSync(join(folder, 'build', 'Release'), { recursive: true, mode: 0o755 });
  for (const part of ['dist', 'package.json', join('build', 'Release', 'vpc_conn.node')]) {
    cpSync(built(part), join(folder, part), { recursive: true });
  }
  symlinkSync(built('node_modules'), join(folder, 'node_modules'));
  cpSync(built(join(BUILT, 'datagrams')), join(folder, 'datagrams'));
  return { main: join(folder, 'dist', 'cli', 'main.js'), datagrams: join(folder, 'datagrams') };
}

function built(path: string): string {
  const file = join(process.cwd(), path);
  if (existsSync(file)) return file;
  throw new VpcConnError('bench-not-built', `${file} does not exist. Start the bench by "npm run bench".`);
}
