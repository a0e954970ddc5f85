// Namespaces outlive processes. A lab's do not, whatever ends the process that made it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { compiled } from '../../src/lab/gateway-process.js';
import { createLab, whyNoLab } from '../../src/lab/index.js';

const skip = await whyNoLab();

/** Makes a lab with a program in it, says its id and the program's pid, and then ends as told. */
const script = `
const { createLab } = await import(process.argv[1]);
const lab = await createLab({ vpcs: [{ name: 'a', cidr: '10.0.0.0/24', hosts: [{ name: 'a1', address: '10.0.0.10' }] }] });
const sleeper = lab.spawn('a1', ['sleep', '1000']);
console.log(lab.id, sleeper.pid);
process.stdin.resume().once('data', (how) => {
  if (String(how) === 'exit') process.exit(3);
  setTimeout(() => { throw new Error('uncaught'); });
});
`;

function namespaces(id: string): string[] {
  return readdirSync('/run/netns').filter((name) => name.startsWith(`${id}-`));
}

/** Running, and not only waiting to be reaped. */
function isRunning(pid: number): boolean {
  return existsSync(`/proc/${pid}/root/bin`);
}

async function endedBy(t: { teardown(action: () => void): void }, how: 'exit' | 'throw' | NodeJS.Signals) {
  const child = spawn(process.execPath, ['--input-type=module', '-e', script, compiled('lab/index.js')], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  const [id = '', pid = ''] = String(line).trim().split(' ');
  const before = namespaces(id).length;
  const ended = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
  if (how === 'exit' || how === 'throw') child.stdin.write(how);
  else child.kill(how);
  const [code, signal] = await ended;
  return { id, pid: Number(pid), before, code, signal };
}

for (const how of ['exit', 'throw', 'SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  t.test(`a process that ends by ${how}`, { skip }, async (t) => {
    const { id, pid, before, code, signal } = await endedBy(t, how);
    t.equal(before, 2, 'there was a lab');
    t.same(namespaces(id), [], 'its namespaces are gone');
    t.notOk(isRunning(pid), 'so is what ran inside');
    t.notOk(existsSync(join(tmpdir(), id)), 'and its directory');
    if (how === 'exit') t.equal(code, 3, 'the exit code is its own');
    else if (how === 'throw') t.equal(code, 1);
    else t.equal(signal, how, 'the signal ended it all the same');
  });
}

t.test('a process that ends by SIGKILL', { skip }, async (t) => {
  const { id, pid } = await endedBy(t, 'SIGKILL');
  const lab = await createLab({ vpcs: [] });
  t.teardown(() => lab.close());
  t.same(namespaces(id), [], 'the next lab removes its namespaces');
  await lab.waitFor(() => !isRunning(pid), { what: 'the program inside to end' });
  t.notOk(existsSync(join(tmpdir(), id)), 'and its directory');
});

t.test('a lab that cannot be built leaves nothing', { skip }, async (t) => {
  const host = { name: 'a1', address: 'not-an-address' };
  await t.rejects(createLab({ vpcs: [{ name: 'a', cidr: '10.0.0.0/24', hosts: [host] }] }));
  t.same(
    readdirSync('/run/netns').filter((name) => name.startsWith(`vc${process.pid}-`)),
    [],
  );
  const twice = { name: 'a1', address: '10.0.0.10' };
  const rejected = createLab({ vpcs: [{ name: 'a', cidr: '10.0.0.0/24', hosts: [twice, twice] }] });
  await t.rejects(rejected, { code: 'lab-name' });
});
