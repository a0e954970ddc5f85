// Lists the golden cases: per directory its sentence, the frames that go in and come out, and the counters.
//   node scripts/list-golden.mjs [WORD...]   only cases whose name or sentence holds every word
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const GOLDEN = fileURLToPath(new URL('../test/golden/', import.meta.url));
const words = process.argv.slice(2).map((word) => word.toLowerCase());
const plural = (count, noun) => `${count} ${noun}${count === 1 ? '' : 's'}`;

const cases = readdirSync(GOLDEN, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => ({ name, ...JSON.parse(readFileSync(join(GOLDEN, name, 'case.json'), 'utf8')) }))
  .filter(({ name, sentence }) => words.every((word) => `${name} ${sentence}`.toLowerCase().includes(word)))
  .sort((one, other) => (one.name < other.name ? -1 : 1));

let framesIn = 0;
let framesOut = 0;
for (const { name, sentence, steps, counters } of cases) {
  const out = steps.reduce((sum, step) => sum + step.out.length + (step.replies?.length ?? 0), 0);
  framesIn += steps.length;
  framesOut += out;
  const counted = Object.entries(counters).map(([counter, value]) => `${counter} ${value}`);
  console.log(sentence);
  console.log(`  test/golden/${name}: ${plural(steps.length, 'frame')} in, ${out} out; ${counted.join(', ')}`);
}
console.log(`${plural(cases.length, 'case')}, ${plural(framesIn, 'frame')} in, ${framesOut} out`);
if (cases.length === 0) process.exitCode = 1;
