/** npm run bench: how fast vpc-conn is, beside the kernel's own tunnel and plain forwarding. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { VpcConnError } from '../src/errors.js';
import { whyNoLab } from '../src/lab/index.js';
import { busyShare, describeMachine } from './machine.js';
import { FULL, QUICK } from './measure/tests.js';
import { type Options, parseOptions, USAGE } from './options.js';
import { contenders, estimateSeconds, plan, VARIANTS } from './plan.js';
import { Progress } from './progress.js';
import { duration } from './report/format.js';
import { busySentence, markdown, overview, targetTable } from './report/markdown.js';
import type { Results } from './report/results.js';
import { random } from './report/statistics.js';
import { runRounds } from './rounds.js';

/** The promise of --quick is five minutes with everything. */
const QUICK_DEADLINE_SECONDS = 270;

async function main(argv: readonly string[]): Promise<number> {
  const options = parseOptions(argv);
  if (options.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const effort = { ...(options.quick ? QUICK : FULL) };
  if (options.seconds !== undefined) effort.tcpSeconds = options.seconds;
  const cases = plan({
    quick: options.quick,
    peers: [],
    ...(options.only === undefined ? {} : { only: options.only }),
  });
  if (options.list) {
    for (const { variant, contender, test } of cases) {
      process.stdout.write(`${variant.name}/${contender.name}/${test.name}\n`);
    }
    const seconds = estimateSeconds(cases, effort);
    process.stdout.write(`${cases.length} measurements a round, about ${duration(seconds)} each round\n`);
    return 0;
  }
  if (cases.length === 0) throw new VpcConnError('bench-nothing', 'Nothing matches --only; see --list.');
  const obstacle = await whyNoLab();
  if (obstacle) throw new VpcConnError('bench-no-lab', `The bench cannot run here. ${obstacle}`);

  const progress = new Progress();
  const results = await measure(options, cases, effort, progress);
  report(options, results);
  return results.samples.some(({ error }) => error === undefined) ? 0 : 1;
}

async function measure(
  options: Options,
  cases: ReturnType<typeof plan>,
  effort: typeof FULL,
  progress: Progress,
): Promise<Results> {
  const stopping = new AbortController();
  process.once('SIGINT', () => stopping.abort()).once('SIGTERM', () => stopping.abort());
  const started = new Date().toISOString();
  const busyBefore = await busyShare();
  if (busyBefore > 0.05) progress.say(busySentence(busyBefore));
  const { samples, details, notes } = await runRounds({
    cases,
    rounds: options.rounds,
    effort,
    deadline: options.quick ? QUICK_DEADLINE_SECONDS : Number.POSITIVE_INFINITY,
    next: random(options.seed),
    progress,
    signal: stopping.signal,
  });
  const measured = (key: 'variant' | 'contender' | 'test') => new Set(samples.map((sample) => sample[key]));
  const [variants, names, tests] = [measured('variant'), measured('contender'), measured('test')];
  return {
    format: 'vpc-conn bench 1',
    version: packageVersion(),
    started,
    seconds: progress.elapsed(),
    machine: await describeMachine(),
    busyBefore,
    options: { rounds: options.rounds, quick: options.quick, seed: options.seed, seconds: effort.tcpSeconds },
    variants: VARIANTS.filter(({ name }) => variants.has(name)).map(({ name, title }) => ({ name, title })),
    contenders: contenders()
      .filter(({ name }) => names.has(name))
      .map(({ name, title, kind }) => ({ name, title, kind, detail: details.get(name) ?? '' })),
    tests: [...new Set(cases.map(({ test }) => test))]
      .filter(({ name }) => tests.has(name))
      .map(({ name, title, metrics }) => ({ name, title, metrics })),
    samples,
    notes,
    micro: [],
  };
}

function report(options: Options, results: Results): void {
  mkdirSync(options.out, { recursive: true });
  writeFileSync(join(options.out, 'results.json'), `${JSON.stringify(results, null, 1)}\n`);
  writeFileSync(join(options.out, 'report.md'), markdown(results, []));
  const parts = results.variants.map(({ name, title }) => `${title}\n${overview(results, name)}`);
  parts.push(targetTable(results));
  if (results.notes.length > 0) parts.push(results.notes.map((note) => `- ${note}`).join('\n'));
  process.stdout.write(`\n${parts.join('\n\n')}\n\nWritten to ${options.out}\n`);
}

function packageVersion(): string {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  return version;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const known = error instanceof VpcConnError;
  process.stderr.write(`${known ? error.message : error instanceof Error ? error.stack : String(error)}\n`);
  process.exitCode = known ? error.exitCode : 1;
}
