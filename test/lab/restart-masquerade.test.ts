// Masqueraded flows are kept in a file: a gateway may stop and start again under running connections.
import { join } from 'node:path';
import t from 'tap';
import { createLab, startTransfer, whyNoLab } from '../../src/lab/index.js';
import { twinConfig, twinVpcs } from '../helpers/lab.js';
import { judgeFrames } from '../helpers/second-opinion.js';

const skip = await whyNoLab();

const POOL = '10.0.0.6';

t.test('TCP through masquerade survives a restart of the receiving gateway', { skip }, async (t) => {
  const { vpcs, underlay = {} } = twinVpcs();
  const pooled = vpcs.map((vpc) =>
    vpc.name === 'b' && vpc.gateway ? { ...vpc, gateway: { ...vpc.gateway, secondary: [POOL] } } : vpc,
  );
  const lab = await createLab({ vpcs: pooled, underlay });
  t.teardown(() => lab.close());
  await judgeFrames(t, lab);
  const config = {
    ...twinConfig('b', { proxied: [], unlisted: 'masquerade' }),
    masquerade: { addresses: [POOL], state: join(lab.directory, 'gw-b.masquerade') },
  };
  const [, before] = await Promise.all([
    lab.startGateway('a', { config: twinConfig('a') }),
    lab.startGateway('b', { config }),
  ]);
  const transfers = await Promise.all([
    startTransfer(lab, { from: 'a1', to: 'b1' }),
    startTransfer(lab, { from: 'a2', to: 'b1' }),
    startTransfer(lab, { from: 'a1', to: 'b2' }),
  ]);
  await Promise.all(transfers.map((transfer) => transfer.moves(1_000_000)));
  const flowsOf = async (gateway: typeof before) => {
    const { stdout } = await gateway.client('flows', '--json');
    return (JSON.parse(stdout) as Record<'far' | 'near' | 'masqueradedAs', string>[])
      .map(({ far, near, masqueradedAs }) => `${far} ${near} ${masqueradedAs}`)
      .sort();
  };
  const known = await flowsOf(before);
  t.equal(known.length, 3);

  t.equal(await before.stop(), 0, 'it ends cleanly');
  const after = await lab.startGateway('b', { config });
  t.same(await flowsOf(after), known, 'the same far hosts have the same ports');
  await Promise.all(transfers.map((transfer) => transfer.moves(2_000_000)));
  for (const transfer of transfers) {
    const { bytes, sha256, received } = await transfer.finish();
    t.same(received, { bytes, sha256 }, 'every byte has arrived');
  }
  t.ok(after.log().some(({ msg }) => msg === 'masqueraded flows of the gateway before go on'));
});
