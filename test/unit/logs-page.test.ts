// docs/logs.md names every field that the code gives to a log line, and no other.
import { readdirSync, readFileSync } from 'node:fs';
import t from 'tap';

const root = new URL('../../', import.meta.url);
const source = readdirSync(new URL('src/', root), { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts') && !file.startsWith('lab/'))
  .map((file) => readFileSync(new URL(`src/${file}`, root), 'utf8'))
  .join('\n');

/** pino's own, and the summaries' in src/log.ts. */
const OWN = ['level', 'time', 'msg'];

t.test('fields of log lines', async (t) => {
  const calls = [
    ...source.matchAll(/logger(?:\.\w+|\[[\w.]+\])\(\s*\{([^}]*)\}/g),
    ...source.matchAll(/(?:#repeats|complaints)\.log\([^,]+, \{([^}]*)\}/g),
    ...source.matchAll(/const fields = \{([^}]*)\}/g),
  ];
  t.ok(calls.length > 10, 'calls were found');
  const used = calls.flatMap(([, fields = '']) =>
    fields
      .split(',')
      .map((field) => field.trim().split(':')[0] ?? '')
      .filter((field) => /^\w+$/.test(field)),
  );
  const page = readFileSync(new URL('docs/logs.md', root), 'utf8');
  const rows = [...page.slice(page.indexOf('## Fields')).matchAll(/^\| ([\w, ]+) \|/gm)].slice(1);
  const documented = rows.flatMap(([, names = '']) => names.split(', '));
  t.same(documented.sort(), [...new Set([...OWN, ...used])].sort());
});
