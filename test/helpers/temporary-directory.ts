import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';

/** A directory with a short path: a Unix socket's may have 107 bytes, and t.testdir() is longer than that. */
export function temporaryDirectory(t: Test): string {
  const directory = mkdtempSync(join(tmpdir(), 'vpc-conn-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}
