// Runs every suite and ends with one line alone: "N passed, N failed, N skipped", over everything: static
// checks, native tests, assertions of the tap suites. `npm test -- PATTERN` runs only the test files whose
// path contains PATTERN.
import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { TapCounter } from './count-tap.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
process.chdir(root);
const patterns = process.argv.slice(2);

/** The whole run is over by then, whatever hangs. */
const DEADLINE = Date.now() + 45 * 60_000;
/** Exit code of a check that cannot run here. */
const SKIPPED = 77;

let stopped = false;
const total = { passed: 0, failed: 0, skips: [] };
const failures = [];

function fail(name) {
  total.failed += 1;
  failures.push(name);
}

/** Runs a program to its end, each line of its output given to `onLine`. Resolves with its exit code. */
async function run(argv, onLine) {
  if (stopped) return 1;
  const [program, ...args] = argv;
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      // Its own group, so that at the deadline its children end with it.
      detached: true,
    });
    const end = () => {
      try {
        process.kill(-child.pid, 'SIGTERM');
        setTimeout(() => process.kill(-child.pid, 'SIGKILL'), 5000).unref();
      } catch {
        // It has just ended.
      }
    };
    const late = setTimeout(() => {
      fail(`stopped, since the whole run may take 45 minutes: ${argv.join(' ')}`);
      stopped = true;
      end();
    }, DEADLINE - Date.now());
    const interrupted = () => {
      if (!stopped) fail('interrupted');
      stopped = true;
      end();
    };
    process.once('SIGINT', interrupted).once('SIGTERM', interrupted);
    for (const stream of [child.stdout, child.stderr]) createInterface({ input: stream }).on('line', onLine);
    child.once('error', (error) => onLine(error.message));
    child.once('close', (code) => {
      clearTimeout(late);
      process.removeListener('SIGINT', interrupted).removeListener('SIGTERM', interrupted);
      resolve(code ?? 1);
    });
  });
}

/** A check that passes or fails as a whole. Its output is shown if it does not pass. */
async function check(name, argv) {
  const lines = [];
  const started = Date.now();
  const code = await run(argv, (line) => lines.push(line));
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  if (code === 0) total.passed += 1;
  else if (code === SKIPPED) total.skips.push(`${name}: ${lines.at(-1) ?? 'cannot run here'}`);
  else fail(name);
  const word = code === 0 ? 'ok' : code === SKIPPED ? 'skipped' : 'FAILED';
  console.log(`  ${word.padEnd(8)}${name} (${seconds} s)`);
  if (code !== 0 && code !== SKIPPED) for (const line of lines) console.log(`    ${line}`);
  return code === 0;
}

async function lint() {
  console.log('[test] static checks');
  for (const name of ['biome', 'types', 'clang-format', 'clang-tidy']) {
    await check(`lint: ${name}`, ['bash', 'scripts/lint.sh', name]);
  }
}

async function native() {
  if (!existsSync('native/CMakeLists.txt')) return;
  console.log('[test] native unit tests');
  if (!(await check('native: configure and build', ['bash', 'scripts/build-native-tests.sh']))) return;
  const lines = [];
  let counted = 0;
  const jobs = `${availableParallelism()}`;
  const argv = ['ctest', '--test-dir', 'build/dev', '--output-on-failure', '--no-tests=error', '-j', jobs];
  const code = await run(argv, (line) => {
    lines.push(line);
    //  3/12 Test  #3: checksum ......   Passed    0.01 sec
    const [, name, result] = /^\s*\d+\/\d+ Test\s+#\d+: (\S+)[ .]*(.*?)\s+[\d.]+ sec/.exec(line) ?? [];
    if (name === undefined) return;
    counted += 1;
    const word = /Passed/.test(result) ? 'ok' : /Skipped|Not Run/.test(result) ? 'skipped' : 'FAILED';
    if (word === 'ok') total.passed += 1;
    else if (word === 'skipped') total.skips.push(`native: ${name}: ${result.replaceAll('*', '')}`);
    else fail(`native: ${name}`);
    console.log(`  ${word.padEnd(8)}native: ${name}`);
  });
  if (code !== 0) for (const line of lines) console.log(`    ${line}`);
  if (counted === 0) fail('native: ctest ran nothing');
}

function testFiles(suites) {
  const files = suites.flatMap((suite) => {
    const folder = join('test', suite);
    if (!existsSync(folder)) return [];
    const names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
    return names.filter((name) => /\.test\.(ts|mts)$/.test(name)).map((name) => join(folder, name));
  });
  return files.filter((file) => patterns.length === 0 || patterns.some((part) => file.includes(part))).sort();
}

/** Runs tap over files; each file's result as it ends, what a failing one printed with it. */
async function tap(what, files, { jobs, timeoutSeconds }) {
  if (files.length === 0) return;
  console.log(`[test] ${what}: ${files.length} files, ${jobs === 1 ? 'one by one' : `${jobs} at once`}`);
  const counter = new TapCounter();
  let ended = 0;
  const options = [
    '--disable-coverage',
    '--allow-empty-coverage',
    '--reporter=tap',
    `--jobs=${jobs}`,
    `--timeout=${timeoutSeconds}`,
  ];
  const code = await run([process.execPath, 'node_modules/tap/dist/esm/run.mjs', 'run', ...options, ...files], (line) => {
    const outcome = counter.line(line);
    if (outcome === undefined) return;
    ended += 1;
    const word = outcome.failed ? 'FAILED' : 'ok';
    const seconds = outcome.seconds.toFixed(1);
    console.log(`  ${word.padEnd(8)}${outcome.name} (${seconds} s, ${ended} of ${files.length})`);
    if (!outcome.failed) return;
    failures.push(outcome.name);
    for (const text of outcome.lines) console.log(`    ${text}`);
  });
  total.passed += counter.passed;
  total.failed += counter.failed;
  total.skips.push(...counter.skips);
  if (ended < files.length) fail(`tap: ${files.length - ended} files of ${what} did not run`);
  else if (code !== 0 && counter.failed === 0) fail(`tap: exit code ${code}`);
}

function finish() {
  if (failures.length > 0) console.log(['', 'Failed:', ...failures.map((name) => `  ${name}`)].join('\n'));
  if (total.skips.length > 0) {
    console.log(['', 'SKIPPED, so not tested here:', ...total.skips.map((text) => `  ${text}`)].join('\n'));
  }
  console.log('');
  console.log(`${total.passed} passed, ${total.failed} failed, ${total.skips.length} skipped`);
  process.exitCode ||= total.failed > 0 ? 1 : 0;
}

console.log('[test] set-up');
const prepared = await run(['bash', 'scripts/setup.sh', '--dev'], (line) => console.log(`  ${line}`));
if (prepared !== 0) {
  fail('set-up');
} else {
  if (patterns.length === 0) {
    await lint();
    await native();
  }
  const jobs = Math.max(1, Math.min(4, availableParallelism()));
  const quick = testFiles(['unit', 'native', 'golden', 'types']);
  const labs = testFiles(['lab']);
  await tap('unit, native, golden, types', quick, { jobs, timeoutSeconds: 300 });
  // A lab mostly waits, and what it asserts holds on a busy machine, too. More than two would only queue up.
  await tap('lab', labs, { jobs: Math.min(2, jobs), timeoutSeconds: 600 });
  if (quick.length + labs.length === 0) fail(`no test file matches ${patterns.join(' ') || 'test/**'}`);
}
finish();
