/** npm run bench: how fast vpc-conn is, beside the kernel's own tunnel and plain forwarding. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SettingsError, VpcConnError } from '../src/errors.js';
import { whyNoLab } from '../src/lab/index.js';
import { PEERS, PEERS_NOT_COVERED } from './contenders/peers.js';
import { busyShare, describeMachine } from './machine.js';
import { type Effort, FULL, QUICK } from './measure/tests.js';
import { runMicro } from './micro.js';
import { type Options, parseOptions, USAGE } from './options.js';
import { type Case, contenders, estimateSeconds, plan, VARIANTS } from './plan.js';
import { product } from './product.js';
import { Progress } from './progress.js';
import { compareReport, parseResults } from './report/compare.js';
import { duration } from './report/format.js';
import { BUSY, busySentence, markdown, microTable, overview, targetTable } from './report/markdown.js';
import type { MicroResult, Results } from './report/results.js';
import { random } from './report/statistics.js';
import { charts } from './report/svg.js';
import { runRounds } from './rounds.js';

const MICRO_SECONDS = 10;
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
    peers: options.peers ? PEERS : [],
    ...(options.only === undefined ? {} : { only: options.only }),
  });
  if (options.list) {
    list(cases, effort);
    return 0;
  }
  // Read first: an hour later is too late to hear that the file is not there.
  const before = options.compare === undefined ? undefined : readResults(options.compare);
  const progress = new Progress();
  const traffic = options.micro ? [] : cases;
  if (!options.micro) {
    if (cases.length === 0) {
      throw new SettingsError('bench-nothing', 'Nothing matches --only; --list shows what there is.');
    }
    const obstacle = await whyNoLab();
    if (obstacle) throw new VpcConnError('bench-no-lab', `The bench cannot run here. ${obstacle}`);
    product();
  }
  const results = await measure(options, traffic, effort, progress);
  report(options, results, before);
  const useful = results.micro.length > 0 || results.samples.some(({ error }) => error === undefined);
  return useful ? 0 : 1;
}

function list(cases: readonly Case[], effort: Effort): void {
  for (const { variant, contender, test } of cases) {
    process.stdout.write(`${variant.name}/${contender.name}/${test.name}\n`);
  }
  const seconds = estimateSeconds(cases, effort);
  process.stdout.write(`${cases.length} measurements a round, about ${duration(seconds)} each round\n`);
}

async function measure(
  options: Options,
  cases: readonly Case[],
  effort: Effort,
  progress: Progress,
): Promise<Results> {
  const stopping = new AbortController();
  process.once('SIGINT', () => stopping.abort()).once('SIGTERM', () => stopping.abort());
  const started = new Date().toISOString();
  const busyBefore = await busyShare();
  if (busyBefore > BUSY) progress.say(busySentence(busyBefore));
  const { samples, details, notes } = await runRounds({
    cases,
    rounds: options.rounds,
    effort,
    deadline: options.quick ? QUICK_DEADLINE_SECONDS : Number.POSITIVE_INFINITY,
    next: random(options.seed),
    progress,
    signal: stopping.signal,
  });
  let micro: MicroResult[] = [];
  const wantsMicro = options.micro || !(options.quick || options.only);
  if (wantsMicro && !stopping.signal.aborted) {
    progress.show('micro benchmarks', MICRO_SECONDS);
    micro = await runMicro(options.rounds);
  }
  if (options.peers) notes.push(PEERS_NOT_COVERED);
  if (stopping.signal.aborted) notes.push('Interrupted: these are the figures up to then.');
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
    contenders: [...contenders(), ...PEERS]
      .filter(({ name }) => names.has(name))
      .map(({ name, title, kind }) => ({ name, title, kind, detail: details.get(name) ?? '' })),
    tests: [...new Set(cases.map(({ test }) => test))]
      .filter(({ name }) => tests.has(name))
      .map(({ name, title, metrics }) => ({ name, title, metrics })),
    samples,
    notes,
    micro,
  };
}

function report({ out }: Options, results: Results, before: Results | undefined): void {
  mkdirSync(out, { recursive: true });
  const drawn = charts(results);
  for (const { file, text } of drawn) writeFileSync(join(out, file), text);
  const comparison = before && compareReport(before, results);
  const page = markdown(results, drawn) + (comparison ? `\n## Compared\n\n${comparison}\n` : '');
  writeFileSync(join(out, 'results.json'), `${JSON.stringify(results, null, 1)}\n`);
  writeFileSync(join(out, 'report.md'), page);

  const parts = results.variants.map(({ name, title }) => `${title}\n${overview(results, name)}`);
  if (results.samples.length > 0) parts.push(targetTable(results));
  if (results.micro.length > 0) parts.push(microTable(results));
  if (comparison) parts.push(comparison);
  if (results.notes.length > 0) parts.push(results.notes.map((note) => `- ${note}`).join('\n'));
  process.stdout.write(`\n${parts.join('\n\n')}\n\nWritten to ${out}\n`);
}

function readResults(file: string): Results {
  try {
    return parseResults(readFileSync(file, 'utf8'), file);
  } catch (cause) {
    if (cause instanceof VpcConnError) throw cause;
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new SettingsError('bench-compare', `Cannot read ${file}: ${why}.`, { cause });
  }
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
