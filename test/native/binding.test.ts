// The loader: what is wrong with the addon, in plain sentences.
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { loadAddon } from '../../src/native/binding.js';

const built =
  process.env.VPC_CONN_ADDON || fileURLToPath(new URL('../../build/Release/vpc_conn.node', import.meta.url));

function loading(path: string) {
  const before = process.env.VPC_CONN_ADDON;
  process.env.VPC_CONN_ADDON = path;
  try {
    return loadAddon();
  } finally {
    if (before === undefined) delete process.env.VPC_CONN_ADDON;
    else process.env.VPC_CONN_ADDON = before;
  }
}

t.test('the loader', async (t) => {
  const directory = t.testdir({ 'text.node': 'hello', 'empty.node': '' });
  const at = (name: string) => join(directory, name);
  t.throws(() => loading(at('none.node')), { code: 'addon-missing', exitCode: 1, message: /npm run build$/ });
  for (const name of ['text.node', 'empty.node']) {
    t.throws(() => loading(at(name)), { code: 'addon-unusable', message: /damaged .*npm run build$/ });
  }
  // e_machine of the ELF header: any but this machine's.
  const foreign = readFileSync(built);
  foreign.writeUInt16LE(process.arch === 'x64' ? 183 : 62, 18);
  writeFileSync(at('foreign.node'), foreign);
  t.throws(() => loading(at('foreign.node')), { code: 'addon-unusable', message: /another kind of machine/ });

  copyFileSync(built, at('good.node'));
  const addon = loading(at('good.node'));
  t.type(addon.Netlink, 'function');
  t.type(addon.Nftables, 'function');
  t.equal(loading(at('none.node')), addon, 'loaded once');
});
