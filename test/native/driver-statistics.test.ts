// What the driver of an interface counts, as `ethtool -S` shows it.
import t from 'tap';
import { exec } from '../../src/lab/command.js';
import { whyNoLab } from '../../src/lab/index.js';
import { Child, ip, makeNamespaces } from './child.js';

const skip = await whyNoLab();

t.test('statistics of a driver', { skip }, async (t) => {
  const { n } = await makeNamespaces(t.teardown, 'n');
  await ip(n, ['link add o0 type veth peer name o1']);
  const child = await Child.start(n);
  t.teardown(() => child.kill());
  const ask = (name: string) => child.run(({ loadAddon }, name) => loadAddon().readStatistics(name), name);

  const { stdout } = await exec(n, ['ethtool', '-S', 'o0']);
  const shown = [...stdout.matchAll(/^ {5}(\S+): (\d+)$/gm)].map(([, name, value]) => [name, Number(value)]);
  t.ok(shown.length > 3, 'ethtool shows some');
  t.same(await ask('o0'), Object.fromEntries(shown));
  t.same(await ask('lo'), {}, 'loopback has none');
  await t.rejects(ask('none'), { code: 'ENODEV', message: /on none/ });
});
