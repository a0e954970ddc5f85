// scripts/list-golden.mjs (npm run golden): every golden case is listed, with what is in its directory.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { caseNames, readCase } from '../golden/golden-case.js';

const SCRIPT = fileURLToPath(new URL('../../scripts/list-golden.mjs', import.meta.url));

function listed(...words: string[]): { lines: string[]; status: number | null } {
  const { stdout, status } = spawnSync(process.execPath, [SCRIPT, ...words], { encoding: 'utf8' });
  return { lines: stdout.trimEnd().split('\n'), status };
}

t.test('every case with its sentence, frames and counters', async (t) => {
  const { lines, status } = listed();
  t.equal(status, 0);
  const names = caseNames();
  t.equal(lines.length, 2 * names.length + 1);
  for (const [index, name] of names.entries()) {
    const { sentence, steps, counters } = readCase(name);
    t.equal(lines[2 * index], sentence);
    const about = lines[2 * index + 1] ?? '';
    t.ok(about.startsWith(`  test/golden/${name}: ${steps.length} frame`), name);
    for (const [counter, value] of Object.entries(counters)) {
      t.ok(about.includes(`${counter} ${value}`), `${name}: ${counter}`);
    }
  }
  t.ok(lines.at(-1)?.startsWith(`${names.length} cases, `), 'and how many there are');
});

t.test('words choose', async (t) => {
  t.same(listed('drop-icmp-redirect').lines.length, 3);
  t.equal(listed('no such sentence').status, 1);
});
