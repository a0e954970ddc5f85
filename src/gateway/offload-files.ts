/**
 * Notes of what gateways have switched, one small JSON file each beside their control sockets: a gateway reads
 * its neighbors' to share an interface with them, and what a crash left to set it back.
 */
import { readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { readTrusted, writeWhole } from './state-file.js';

export const OFFLOADS_SUFFIX = '.offloads.json';

const VERSION = 1;
const MAXIMUM_BYTES = 16 * 1024;
const MAXIMUM_FEATURES = 64;

/** A process, told apart from later ones with the same number and from those of an earlier boot. */
export interface Owner {
  readonly pid: number;
  /** Clock ticks after the boot, as /proc/PID/stat has it. */
  readonly startTime: string;
  readonly boot: string;
  /** Network namespace, "net:[4026531840]". */
  readonly namespace: string;
}

export interface OffloadNote {
  readonly owner: Owner;
  readonly interface: string;
  readonly ifindex: number;
  /** By feature: what it was before anybody switched it, and what its holder needs it to be. */
  readonly held: Readonly<Record<string, { readonly was: boolean; readonly now: boolean }>>;
  /** The holder is setting its features back: they are not needed any more. */
  readonly leaving: boolean;
}

/** .../vpc-a.sock -> .../vpc-a.offloads.json; a socket belongs to one gateway, and so does the file. */
export function offloadFileFor(socket: string): string {
  return socket.replace(/\.sock$/, '') + OFFLOADS_SUFFIX;
}

export function thisProcess(): Owner {
  return {
    pid: process.pid,
    startTime: startTimeOf(process.pid) ?? '',
    boot: bootId(),
    namespace: readlinkSync('/proc/self/ns/net'),
  };
}

export function isRunning({ pid, startTime, boot }: Owner): boolean {
  return boot === bootId() && startTimeOf(pid) === startTime;
}

/** Throws what the file system throws. */
export function writeNote(file: string, note: OffloadNote): void {
  writeWhole(file, `${JSON.stringify({ version: VERSION, ...note }, null, 2)}\n`);
}

export function removeNote(file: string): void {
  rmSync(file, { force: true });
}

/** Every note of a directory; what cannot be trusted or understood goes to `refused` with the reason. */
export function readNotes(
  directory: string,
  refused: (file: string, why: string) => void,
): { file: string; note: OffloadNote }[] {
  let names: string[];
  try {
    names = readdirSync(directory).filter((name) => name.endsWith(OFFLOADS_SUFFIX));
  } catch {
    return [];
  }
  return names.sort().flatMap((name) => {
    const file = join(directory, name);
    try {
      return [{ file, note: parseNote(readTrusted(file, MAXIMUM_BYTES).toString()) }];
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []; // its gateway has just ended
      refused(file, error instanceof Error ? error.message : String(error));
      return [];
    }
  });
}

/** Throws Error with the reason for anything that writeNote cannot have written. */
export function parseNote(text: string): OffloadNote {
  const raw = object(JSON.parse(text), 'it');
  if (raw.version !== VERSION) throw new Error('it is of another version');
  const owner = object(raw.owner, 'owner');
  const held = Object.entries(object(raw.held, 'held'));
  if (held.length > MAXIMUM_FEATURES) throw new Error(`held has more than ${MAXIMUM_FEATURES} entries`);
  return {
    owner: {
      pid: number(owner.pid, 'owner.pid'),
      startTime: text64(owner.startTime, 'owner.startTime', /^\d{1,20}$/),
      boot: text64(owner.boot, 'owner.boot', /^[\w-]*$/),
      namespace: text64(owner.namespace, 'owner.namespace', /^net:\[\d+\]$/),
    },
    interface: text64(raw.interface, 'interface', /^[^\s/]{1,15}$/),
    ifindex: number(raw.ifindex, 'ifindex'),
    held: Object.fromEntries(
      held.map(([feature, value]) => {
        text64(feature, 'a feature', /^[a-z0-9][a-z0-9-]{0,31}$/);
        const { was, now } = object(value, feature);
        return [feature, { was: flag(was, feature), now: flag(now, feature) }];
      }),
    ),
    leaving: flag(raw.leaving, 'leaving'),
  };
}

function object(value: unknown, what: string): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw new Error(`${what} is no mapping`);
}

function number(value: unknown, what: string): number {
  if (Number.isInteger(value) && Number(value) > 0 && Number(value) < 2 ** 31) return Number(value);
  throw new Error(`${what} is no number`);
}

function text64(value: unknown, what: string, pattern: RegExp): string {
  if (typeof value === 'string' && value.length <= 64 && pattern.test(value)) return value;
  throw new Error(`${what} is malformed`);
}

function flag(value: unknown, what: string): boolean {
  if (typeof value === 'boolean') return value;
  throw new Error(`${what} is neither true nor false`);
}

/** Field 22; the second field, the program's name, may hold spaces and parentheses. */
function startTimeOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // A zombie has ended, whoever has not yet taken note of it.
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

export function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return '';
  }
}
