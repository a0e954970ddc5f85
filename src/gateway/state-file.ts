/** Files that a gateway leaves for the next one: written whole or not at all, and read only where they can be trusted. */
import {
  closeSync,
  constants,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';

const GROUP_AND_OTHERS_WRITE = 0o022;

/** Appears whole or not at all. Throws what the file system throws. */
export function writeWhole(file: string, content: string | Uint8Array): void {
  mkdirSync(dirname(file), { recursive: true, mode: 0o755 });
  const draft = `${file}.${process.pid}`;
  rmSync(draft, { force: true });
  writeFileSync(draft, content, { mode: 0o600, flag: 'wx' });
  renameSync(draft, file);
}

/**
 * Only this user (or root) may have written it: what it says is done with this process's privileges. Throws Error
 * with the reason otherwise.
 */
export function readTrusted(file: string, maximumBytes: number): Buffer {
  const descriptor = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const { size, uid, mode, nlink } = fstatSync(descriptor);
    if ((mode & constants.S_IFMT) !== constants.S_IFREG) throw new Error('it is no regular file');
    if (size > maximumBytes) throw new Error(`it has more than ${maximumBytes} bytes`);
    if (nlink !== 1 || (uid !== 0 && uid !== process.geteuid?.())) throw new Error('another user wrote it');
    if ((mode & GROUP_AND_OTHERS_WRITE) !== 0) throw new Error('other users may write it');
    return readFileSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
