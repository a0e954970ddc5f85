// docs/check.md names the codes of all findings: those that the sources name, and none beside them.
import { readdirSync, readFileSync } from 'node:fs';
import t from 'tap';

const root = new URL('../../', import.meta.url);
const read = (file: string) => readFileSync(new URL(file, root), 'utf8');

const checks = readdirSync(new URL('src/gateway/checks/', root)).map((file) => `src/gateway/checks/${file}`);
const FINDERS = [...checks, 'src/gateway/preflight.ts', 'src/config/machine.ts', 'src/cli/commands/check.ts'];
/** Named in ways that no pattern sees. */
const COMPOSED = [
  ...['up', 'unknown', 'silent', 'unresolved', 'mtu-limited', 'misconfigured'].map(
    (state) => `peer-${state}`,
  ),
  'peer-no-route',
  'peer-route-elsewhere',
];
/** Codes of errors that check passes on, and where they are made. */
const PASSED_ON = {
  'nftables-missing': 'src/gateway/guard.ts',
  'guard-failed': 'src/gateway/guard.ts',
  'guard-kernel': 'src/gateway/guard.ts',
  'guard-refused': 'src/gateway/guard.ts',
  'workers-start': 'src/dataplane/native-data-plane.ts',
  'acceleration-unavailable': 'src/gateway/acceleration.ts',
  'proxied-configured': 'src/gateway/plan.ts',
};

t.test('codes of findings', async (t) => {
  const documented = [...read('docs/check.md').matchAll(/^\| ([a-z0-9, -]+) \|/gm)]
    .flatMap(([, codes = '']) => codes.split(', '))
    .filter((code) => code !== 'code');
  t.equal(new Set(documented).size, documented.length, 'none twice');

  const named = FINDERS.flatMap((file) => [
    ...read(file).matchAll(
      /(?:\b(?:info|warning)\(\s*|code: |findingAt\(\s*settings,\s*[^,]+,\s*|\bcode, )'([a-z][a-z0-9-]+)'/g,
    ),
  ]).map(([, code = '']) => code);
  t.ok(named.length > 40, 'codes were found');
  for (const [code, file] of Object.entries(PASSED_ON))
    t.match(read(file), `'${code}'`, `${code} is made there`);
  const expected = new Set([...named, ...COMPOSED, ...Object.keys(PASSED_ON)]);
  t.same(documented.sort(), [...expected].sort());
});
