/** Dependencies point one way (ARCHITECTURE.md); this test holds them. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');

function files(folder: string, endings: string[]): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => endings.some((ending) => file.endsWith(ending)))
    .map((file) => join(folder, file));
}

/** folder -> folders it may include from. */
const NATIVE: Record<string, string[]> = {
  wire: ['wire'],
  forward: ['wire', 'forward'],
  io: ['wire', 'forward', 'bpf', 'io'],
  runtime: ['wire', 'forward', 'io', 'runtime'],
  binding: ['wire', 'forward', 'io', 'runtime', 'binding'],
};

/** folder (or file) of src -> folders it may import from, besides itself. */
const TYPESCRIPT: Record<string, string[]> = {
  net: ['native', 'errors.ts'],
  native: ['errors.ts'],
  config: ['net', 'errors.ts'],
  aws: ['net', 'errors.ts'],
  dataplane: ['native', 'net', 'errors.ts'],
  // protocol.ts is types only: what the gateway reports is what the socket carries.
  neighbor: ['dataplane', 'net', 'control/protocol.ts', 'errors.ts'],
  peering: ['dataplane', 'neighbor/clock.ts', 'net'],
  stats: ['control/protocol.ts', 'errors.ts'],
  metrics: ['control/protocol.ts', 'errors.ts', 'log.ts'],
  gateway: [
    'aws',
    'dataplane',
    'config',
    'neighbor',
    'peering',
    'stats',
    'net',
    'native',
    'control/protocol.ts',
    'errors.ts',
    'log.ts',
    'version.ts',
  ],
  control: ['gateway', 'config', 'net', 'errors.ts', 'log.ts', 'version.ts'],
};

const LOADS_ADDON = ['src/dataplane/native-data-plane.ts', 'src/net/netlink.ts', 'src/gateway/guard.ts'];

t.test('C++ includes point one way', async (t) => {
  for (const [folder, allowed] of Object.entries(NATIVE)) {
    for (const file of files(`native/${folder}`, ['.h', '.cc'])) {
      const text = readFileSync(join(root, file), 'utf8');
      for (const [, include] of text.matchAll(/^#include "([^"]+)"/gm)) {
        const from = String(include).split('/')[0] ?? '';
        t.ok(allowed.includes(from), `${file} includes ${include}`);
      }
      for (const [, include] of text.matchAll(/^#include <([^>]+)>/gm)) {
        const header = String(include);
        if (header === 'napi.h') t.equal(folder, 'binding', `${file}: only binding/ includes napi.h`);
        if (/^(linux|sys|net|arpa|poll)/.test(header)) {
          t.notMatch(folder, /^(wire|forward)$/, `${file}: ${folder}/ includes no Linux header`);
        }
      }
      if (/tp_status/.test(text.replaceAll(/\/\/.*$/gm, ''))) {
        t.match(file, /io\/rx_ring\./, `${file}: only the rings touch tp_status`);
      }
    }
  }
});

t.test('TypeScript imports point one way', async (t) => {
  for (const [folder, allowed] of Object.entries(TYPESCRIPT)) {
    for (const file of files(`src/${folder}`, ['.ts'])) {
      const text = readFileSync(join(root, file), 'utf8');
      for (const [, specifier] of text.matchAll(/\bfrom '(\.[^']+)'/g)) {
        const target = relative('src', normalize(join(dirname(file), String(specifier)))).replace(
          /\.js$/,
          '.ts',
        );
        const fine =
          target.startsWith(`${folder}/`) || allowed.some((a) => target === a || target.startsWith(`${a}/`));
        t.ok(fine, `${file} imports ${target}`);
      }
    }
  }
});

t.test('only three files load the addon', async (t) => {
  for (const file of files('src', ['.ts'])) {
    const text = readFileSync(join(root, file), 'utf8');
    if (/from '[^']*native\/binding\.js'/.test(text)) {
      t.ok(LOADS_ADDON.includes(file), `${file} loads the addon`);
    }
  }
});
