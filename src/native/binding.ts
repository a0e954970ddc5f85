/**
 * Loads the C++ addon, at first use and not before: what only reads settings runs without it.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { arch, platform } from 'node:process';
import { fileURLToPath } from 'node:url';
import { VpcConnError } from '../errors.js';
import type { NativeAddon } from './addon.js';

/** This file is src/native/binding.ts or dist/native/binding.js: the package is two folders up from both. */
const BUILT = fileURLToPath(new URL('../../build/Release/vpc_conn.node', import.meta.url));

const require = createRequire(import.meta.url);
let loaded: NativeAddon | undefined;

/**
 * The addon, the same object each time. VPC_CONN_ADDON names another build (a sanitizer's, say).
 * @throws VpcConnError 'addon-missing' (not built) or 'addon-unusable' (built for something else).
 */
export function loadAddon(): NativeAddon {
  loaded ??= load(process.env.VPC_CONN_ADDON || BUILT);
  return loaded;
}

function load(path: string): NativeAddon {
  if (!existsSync(path)) {
    throw new VpcConnError('addon-missing', `The native part is not built (${path}). Run: npm run build`);
  }
  try {
    return require(path) as NativeAddon;
  } catch (cause) {
    throw new VpcConnError('addon-unusable', explain(path, cause instanceof Error ? cause.message : ''), {
      cause,
    });
  }
}

/** dlopen's message in plain words; its own wording follows only when it is none of the usual ones. */
function explain(path: string, message: string): string {
  const rebuild = 'Run on this machine: npm run build';
  const library = /version `((?:GLIBC|GLIBCXX|CXXABI)_[0-9.]+)' not found/.exec(message)?.[1];
  if (library !== undefined) {
    return `The native part was built on a newer system than this one: it needs ${library}. ${rebuild}`;
  }
  // The file exists: glibc says "cannot open" of it, too, when it is for another processor.
  const otherMachine = message.startsWith(`${path}: cannot open shared object file`);
  if (otherMachine || /wrong ELF class|invalid ELF header|file too short/.test(message)) {
    return `The native part (${path}) is damaged or was built for another kind of machine than ${platform} ${arch}. ${rebuild}`;
  }
  if (
    /NODE_MODULE_VERSION|undefined symbol: (napi|node_api|uv)_|Module did not self-register/.test(message)
  ) {
    return `The native part was built for another Node.js than ${process.version}. ${rebuild}`;
  }
  if (message.includes('undefined symbol')) return `The native part is only partly built. ${rebuild}`;
  const missing = /^([^:/ ]+\.so[^:]*): cannot open shared object file/.exec(message)?.[1];
  if (missing !== undefined) {
    return `The native part needs the library ${missing}, which this machine does not have. ${rebuild}, or install the library.`;
  }
  return `The native part (${path}) cannot be loaded: ${message} ${rebuild}`;
}
