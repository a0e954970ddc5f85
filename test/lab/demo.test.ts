// The first thing a new user runs.
import { readdirSync } from 'node:fs';
import t from 'tap';
import { exec } from '../../src/lab/command.js';
import { compiled } from '../../src/lab/gateway-process.js';
import { createLab, whyNoLab } from '../../src/lab/index.js';

const skip = await whyNoLab();

function leftBy(pid: number): string[] {
  return readdirSync('/run/netns').filter((name) => name.startsWith(`vc${pid}-`));
}

t.test('demo --once', { skip }, async (t) => {
  const { code, stdout, stderr } = await exec(
    undefined,
    [process.execPath, compiled('cli/main.js'), 'demo', '--once'],
    {
      timeoutMs: 120_000,
    },
  );
  t.equal(code, 0, stderr);
  t.match(stdout, /0 of 2 answered, as it must be/);
  t.match(stdout, /All 10 steps worked/);
  t.notMatch(stdout, /failed/);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what must not be there
  t.notMatch(stdout, /\x1b/, 'no terminal, no colours');
  for (const line of stdout.split('\n')) if (line.length > 80) t.fail(`wider than a terminal: ${line}`);
});

t.test('Ctrl-C ends the demo and removes its lab', { skip }, async (t) => {
  const lab = await createLab({
    vpcs: [{ name: 'a', cidr: '10.0.0.0/24', hosts: [{ name: 'a1', address: '10.0.0.10' }] }],
  });
  t.teardown(() => lab.close());
  // Inside a namespace of this test, so that it dies with it whatever happens.
  const demo = lab.spawn('a1', [process.execPath, compiled('cli/main.js'), 'demo']);
  await demo.until(({ stdout }) => (stdout.match(/GATEWAY/g) ?? []).length >= 2, 'two live tables', 90_000);
  t.not(leftBy(demo.pid).length, 0, 'there is a lab');
  demo.kill('SIGINT');
  t.equal((await demo.exited).code, 0);
  t.same(leftBy(demo.pid), []);
});
