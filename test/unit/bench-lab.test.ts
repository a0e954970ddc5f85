/** The bench's lab carries traffic on an honest wire, notices when it is not, and leaves nothing behind. */
import { existsSync, readdirSync } from 'node:fs';
import t from 'tap';
import { start } from '../../bench/contenders/contender.js';
import { plain, vxlan } from '../../bench/contenders/routed.js';
import { GATEWAYS } from '../../bench/lab/bench-lab.js';
import { iperf } from '../../bench/measure/iperf.js';
import { checkCarried, observe } from '../../bench/measure/window.js';
import { VARIANTS } from '../../bench/plan.js';
import { whyNoLab } from '../../src/lab/index.js';

const skip = await whyNoLab();
const [base] = VARIANTS;

const namespaces = (id: string) =>
  existsSync('/run/netns') ? readdirSync('/run/netns').filter((name) => name.startsWith(`${id}-`)) : [];

for (const contender of [vxlan, plain]) {
  t.test(contender.title, { skip: base === undefined ? 'no variant' : skip }, async (t) => {
    if (base === undefined) return;
    const running = await start(contender, base);
    const { lab } = running;
    t.teardown(() => lab.close());
    for (const args of [[], ['-R'], ['--bidir']]) {
      const { result, window } = await observe(running, () => iperf(lab, 1, args));
      t.ok(result.bytes > 0, `TCP ${args.join(' ')}`);
      t.doesNotThrow(() => checkCarried(window, result.bytes));
    }

    // What a careless lab does: super-frames pass the wire whole, and everything looks twice as fast.
    for (const gateway of GATEWAYS) {
      const on = ['gso', 'tso', 'tx-udp_tnl-segmentation', 'tx-udp_tnl-csum-segmentation'];
      await lab.must(gateway, ['ethtool', '-K', 'eth2', ...on.flatMap((feature) => [feature, 'on'])]);
    }
    await t.rejects(
      observe(running, () => iperf(lab, 1)),
      { code: 'bench-dishonest-wire' },
    );

    t.equal(namespaces(lab.id).length, 4);
    await lab.close();
    t.same(namespaces(lab.id), []);
    t.notOk(existsSync(lab.directory));
  });
}
