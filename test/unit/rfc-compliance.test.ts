// docs/rfc-compliance.md and the tests that it names: neither without the other. A test says which line of the page it
// is for by "checklist N" or "checklist N, M" in its title, a golden case in its sentence.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { caseNames, readCase } from '../golden/golden-case.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const LINES = 55;
const STATES = ['built', 'in work', 'exception', 'does not apply'];

interface Row {
  readonly line: number;
  readonly state: string;
  readonly tests: readonly string[];
  readonly choices: string;
}

function rows(): Row[] {
  const page = readFileSync(join(ROOT, 'docs/rfc-compliance.md'), 'utf8');
  return page
    .split('\n')
    .filter((line) => /^\| \d+ \|/.test(line))
    .map((line) => {
      const [number, , , state = '', tests = '', choices = ''] = line
        .split('|')
        .slice(1)
        .map((cell) => cell.trim());
      const names = [...tests.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name);
      return { line: Number(number), state, tests: names, choices };
    });
}

/** The lines that a title names. */
function linesOf(title: string): number[] {
  return [...title.matchAll(/checklist (\d+(?:, \d+)*)/g)].flatMap(([, numbers = '']) =>
    numbers.split(', ').map(Number),
  );
}

/** Test names as the page writes them -> lines that they name. */
function namedLines(): Map<string, Set<number>> {
  const found = new Map<string, Set<number>>();
  for (const name of caseNames()) found.set(name, new Set(linesOf(readCase(name).sentence)));
  const files = ['test/unit', 'test/native', 'test/lab', 'native/test'].flatMap((folder) =>
    readdirSync(join(ROOT, folder))
      .filter((name) => /(\.test\.ts|_test\.cc)$/.test(name))
      .map((name) => `${folder}/${name}`),
  );
  for (const file of files) {
    const text = readFileSync(join(ROOT, file), 'utf8');
    const titles = [...text.matchAll(/(?:t\.test|TEST_CASE)\(\s*(['"`])((?:\\.|(?!\1)[^\\])*)\1/g)];
    found.set(file, new Set(titles.flatMap(([, , title = '']) => linesOf(title))));
  }
  return found;
}

const ROWS = rows();
const NAMED = namedLines();

t.test('the page has every line, with a state', async (t) => {
  t.same(
    ROWS.map(({ line }) => line),
    Array.from({ length: LINES }, (_, index) => index + 1),
  );
  for (const { line, state, tests, choices } of ROWS) {
    t.ok(STATES.includes(state), `${line}: "${state}"`);
    if (state === 'built') t.ok(tests.length > 0, `${line}: tests are named`);
    else if (state !== 'in work') t.ok(choices.length > 0, `${line}: there is a reason`);
  }
});

t.test('every test that the page names exists and names the line', async (t) => {
  for (const { line, tests } of ROWS) {
    for (const name of tests) t.ok(NAMED.get(name)?.has(line), `${line}: ${name}`);
  }
});

t.test('a line that a test names is not said to be unbuilt', async (t) => {
  for (const [name, lines] of NAMED) {
    for (const line of lines) {
      const state = ROWS[line - 1]?.state;
      t.ok(state !== 'does not apply', `${name}: line ${line}`);
    }
  }
  t.ok(
    [...NAMED.values()].some((lines) => lines.size > 0),
    'titles were found',
  );
});
