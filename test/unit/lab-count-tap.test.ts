// The last line of `npm test` is only worth something if it counts right.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const program = fileURLToPath(new URL('../../scripts/count-tap.mjs', import.meta.url));

function count(tap: string): unknown {
  const { stdout } = spawnSync(process.execPath, [program], { input: tap, encoding: 'utf8' });
  return JSON.parse(stdout);
}

t.test('assertions count once, whatever they are nested in', async (t) => {
  const tap = `TAP version 14
1..2
# Subtest: test/unit/a.test.ts
    # Subtest: group
        ok 1 - first
        not ok 2 - second
          ---
          diff: |
            ok 1 - this is only quoted
          ...
        
        1..2
    not ok 1 - group # time=2ms
      ---
      at:
        lineNumber: 1
      ...
    
    ok 2 - alone
    1..2
not ok 1 - test/unit/a.test.ts # time=3ms
# Subtest: test/unit/b.test.ts
    ok 1 - only one
    1..1
ok 2 - test/unit/b.test.ts # time=3ms
`;
  t.same(count(tap), { passed: 3, failed: 1, skips: [] });
});

t.test('skips have their reasons, and are neither passed nor failed', async (t) => {
  const tap = `TAP version 14
# Subtest: test/lab/a.test.ts
    ok 1 - two VPCs # SKIP Network namespaces need root
    not ok 2 - later # TODO
    1..2
ok 1 - test/lab/a.test.ts # time=3ms
ok 2 - test/lab/b.test.ts # SKIP no tests found
1..2
`;
  const skips = [
    'two VPCs: Network namespaces need root',
    'later: TODO',
    'test/lab/b.test.ts: no tests found',
  ];
  t.same(count(tap), { passed: 0, failed: 0, skips });
});

t.test('a file that dies fails once', async (t) => {
  const tap = `TAP version 14
# Subtest: test/unit/a.test.ts
    ok 1 - before it died
not ok 1 - test/unit/a.test.ts # time=3ms
  ---
  exitCode: 1
  ...
# Subtest: test/unit/b.test.ts
    1..0 # no tests found
not ok 2 - test/unit/b.test.ts # time=3ms
1..2
`;
  t.same(count(tap), { passed: 1, failed: 2, skips: [] });
});
