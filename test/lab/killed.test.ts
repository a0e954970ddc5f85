// SIGKILL in the middle of a transfer, on each rung: nothing that was attached to the kernel outlives the process, and
// the next start sets back what a crash has to leave. The transfer goes on and loses no byte.
import { existsSync, readdirSync } from 'node:fs';
import t from 'tap';
import { createLab, type Lab, startTransfer, whyNoLab } from '../../src/lab/index.js';
import { twinConfig, twinVpcs } from '../helpers/lab.js';

const skip = await whyNoLab();
const ATTACHED = new URL('../helpers/rungs/attached.py', import.meta.url).pathname;
const MIB = 1024 * 1024;

/** Everything of a gateway's that the kernel knows of, in its namespace. */
async function traces(lab: Lab) {
  const links = JSON.parse(await lab.must('gw-a', ['ip', '-j', '-d', 'link', 'show'])) as {
    ifname: string;
    xdp?: unknown;
  }[];
  const sockets = await lab.must('gw-a', ['cat', '/proc/net/packet']);
  const filters = await Promise.all(
    ['eth1', 'eth2'].map((device) => lab.must('gw-a', ['tc', 'filter', 'show', 'dev', device, 'ingress'])),
  );
  return {
    devices: links.map(({ ifname }) => ifname).filter((name) => name.startsWith('vpc')).length,
    xdp: links.filter(({ xdp }) => xdp !== undefined).length,
    programs: JSON.parse(await lab.must('gw-a', ['python3', ATTACHED, 'eth1', 'eth2'])) as object,
    filters: filters.join(''),
    tables: await lab.must('gw-a', ['nft', 'list', 'tables']),
    sockets: sockets.trim().split('\n').length - 1,
  };
}

async function features(lab: Lab): Promise<string> {
  const text = await lab.must('gw-a', ['ethtool', '-k', 'eth2']);
  return text.replaceAll(/ \[requested on\]/g, '');
}

const notes = (lab: Lab) =>
  readdirSync(lab.directory).filter((name) => name.includes('gw-a') && name.includes('.offloads.'));

for (const acceleration of ['off', 'segment', 'full']) {
  t.test(`killed on rung ${acceleration}`, { skip }, async (t) => {
    const lab = await createLab(twinVpcs({ underlay: { honest: false } }));
    t.teardown(() => lab.close());
    const [untouched, asBuilt] = [await traces(lab), await features(lab)];
    const start = (vpc: 'a' | 'b') =>
      lab.startGateway(vpc, { config: { ...twinConfig(vpc), dataplane: { acceleration } } });
    let started: Awaited<ReturnType<typeof start>>[];
    try {
      started = await Promise.all([start('a'), start('b')]);
    } catch (error) {
      if (!/does not work here/.test((error as Error).message)) throw error;
      t.pass(`rung ${acceleration}`, { skip: (error as Error).message });
      return;
    }
    const [a] = started;
    const transfer = await startTransfer(lab, { from: 'a1', to: 'b1' });
    await transfer.moves(MIB);
    const running = await traces(lab);
    t.match(running, { devices: acceleration === 'off' ? 0 : 1, xdp: acceleration === 'full' ? 1 : 0 });
    t.ok(running.sockets > 0 && running.tables !== '', 'it can be told that a gateway runs');

    await a?.kill();
    t.same(await traces(lab), untouched, 'nothing of it is left');
    t.equal(notes(lab).length, acceleration === 'off' ? 0 : 1, 'but what it had switched is noted');
    t.ok(existsSync(a?.socket ?? ''), 'and its socket lies there');

    const again = await start('a');
    await transfer.moves(MIB);
    const { bytes, sha256, received } = await transfer.finish();
    t.same(received, { bytes, sha256 }, 'the connection survived');
    t.equal(await again.stop(), 0);
    t.same(await traces(lab), untouched, 'nothing of the next one is left');
    t.equal(await features(lab), asBuilt, 'offloads are as they were before the first');
    t.same(notes(lab), []);
  });
}
