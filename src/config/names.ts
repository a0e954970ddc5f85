/** Defaults that are made rather than fixed. */
import os from 'node:os';
import { NAME_MAX_LENGTH } from './schema.js';
import type { MasqueradeSettings, Settings } from './settings.js';

/** HOST-OVERLAYINTERFACE, made fit for a file's name and short enough for a socket's path. */
export function defaultName(overlayInterface: string, suffix = '', host = os.hostname()): string {
  const rest = `-${safe(overlayInterface)}${suffix}`;
  const start = safe(host).replace(/^[^A-Za-z0-9]+/, '') || 'host';
  return `${start.slice(0, NAME_MAX_LENGTH - rest.length)}${rest}`;
}

export function defaultSocket(name: string): string {
  return `/run/vpc-conn/${name}.sock`;
}

/** "61000-65535" -> both ends. The schema knows the shape, `validateSettings` the bounds. */
export function parsePortRange(text: string): Pick<MasqueradeSettings, 'firstPort' | 'lastPort'> {
  const [firstPort = 0, lastPort = 0] = text.split('-').map(Number);
  return { firstPort, lastPort };
}

/** "127.0.0.1:9797", "[::1]:9797". Undefined where the schema's pattern lets through what is no port. */
export function parseListen(text: string): Settings['metrics'] {
  const at = text.lastIndexOf(':');
  const host = text.slice(0, at).replace(/^\[(.*)\]$/, '$1');
  const port = Number(text.slice(at + 1));
  return port >= 1 && port <= 65_535 ? { host, port } : undefined;
}

function safe(text: string): string {
  return text.replaceAll(/[^A-Za-z0-9._-]/g, '-');
}
