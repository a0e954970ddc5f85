// The process under test of child.ts: plain JavaScript, because it runs inside a network namespace. Runs the
// functions that the test sends, on the compiled product; ends when the test does.
import { spawn, spawnSync } from 'node:child_process';
import net from 'node:net';
import { runInThisContext } from 'node:vm';
import { createGuard, probeGuard } from '../../dist/gateway/guard.js';
import { loadAddon } from '../../dist/native/binding.js';
import { openNetlink } from '../../dist/net/netlink.js';

const tools = { loadAddon, createGuard, probeGuard, openNetlink, spawn, spawnSync, net, held: {} };

process.on('message', async ({ source, argument }) => {
  try {
    const body = runInThisContext(`(${source})`);
    process.send({ value: await body(tools, argument) });
  } catch (error) {
    const { message, code, errno, syscall } = error;
    process.send({ error: { message, code, errno, syscall } });
  }
});
process.once('disconnect', () => process.exit());
process.send({ value: 'ready' });
