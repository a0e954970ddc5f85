/**
 * Namespaces outlive the process that made them, so they are removed whatever happens: at close(), at the
 * process's exit and signals, and, after a SIGKILL, by the next lab of this machine.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Everything of one lab begins with this: vc<pid>-<count>. */
export type LabId = string;

const idPattern = /^(vc(\d+)-\d+)(-|$)/;
const open = new Set<LabId>();
let hooked = false;
let count = 0;

/** Where `ip netns` keeps its names. */
const namespaceDirectory = '/run/netns';

/** Claims a fresh id; from now on its namespaces and its directory die with this process. */
export function claimLabId(): LabId {
  count += 1;
  const id = `vc${process.pid}-${count}`;
  open.add(id);
  hookProcessEnd();
  return id;
}

/** Directory for the lab's files: configurations, sockets. */
export function labDirectory(id: LabId): string {
  return join(tmpdir(), id);
}

/** Kills what runs inside the lab's namespaces, removes them and the lab's directory. Synchronous, idempotent. */
export function removeLab(id: LabId): void {
  const namespaces = listDirectory(namespaceDirectory).filter((name) => idPattern.exec(name)?.[1] === id);
  // The namespaces are this lab's own, so whatever still runs inside was started by it.
  for (const namespace of namespaces) {
    const pids = spawnSync('ip', ['netns', 'pids', namespace], { encoding: 'utf8' }).stdout ?? '';
    for (const pid of pids.split('\n').filter((text) => /^\d+$/.test(text))) {
      try {
        process.kill(Number(pid), 'SIGKILL');
      } catch {
        // It ended by itself in the meantime.
      }
    }
  }
  const commands = namespaces.map((namespace) => `netns del ${namespace}\n`).join('');
  if (commands) spawnSync('ip', ['-force', '-batch', '-'], { input: commands });
  rmSync(labDirectory(id), { recursive: true, force: true });
  open.delete(id);
}

/** Removes what labs of dead processes left behind. */
export function removeStaleLabs(): void {
  const stale = new Set<LabId>();
  for (const name of [...listDirectory(namespaceDirectory), ...listDirectory(tmpdir())]) {
    const [, id, pid] = idPattern.exec(name) ?? [];
    if (id !== undefined && pid !== undefined && !isAlive(Number(pid))) stale.add(id);
  }
  for (const id of stale) removeLab(id);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function listDirectory(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function hookProcessEnd(): void {
  if (hooked) return;
  hooked = true;
  const removeAll = () => {
    for (const id of [...open]) removeLab(id);
  };
  // An uncaught exception and process.exit() come by here, too.
  process.once('exit', removeAll);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      removeAll();
      // Again, now without this listener: the default ends the process, and exit hooks of others end it only
      // when nobody but them listens. Whoever listens in earnest (the demo) must bear the signal twice.
      process.kill(process.pid, signal);
    });
  }
}
