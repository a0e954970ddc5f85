// Proxied addresses keep no state: a gateway may go and come back under a running connection.
import t from 'tap';
import { startTransfer, whyNoLab } from '../../src/lab/index.js';
import { startTwins, twinConfig } from '../helpers/lab.js';

const skip = await whyNoLab();

for (const [end, vpc] of [
  ['stop', 'a'],
  ['kill', 'a'],
  ['stop', 'b'],
  ['kill', 'b'],
] as const) {
  const signal = end === 'stop' ? 'SIGTERM' : 'SIGKILL';
  t.test(`the gateway of VPC ${vpc} restarts after ${signal} under a TCP transfer`, { skip }, async (t) => {
    const { lab, a, b } = await startTwins(t);
    const transfer = await startTransfer(lab, { from: 'a1', to: 'b1' });
    await transfer.moves(2_000_000);

    const gateway = vpc === 'a' ? a : b;
    if (end === 'stop') t.equal(await gateway.stop(), 0, 'it ends cleanly');
    else await gateway.kill();
    const before = transfer.arrived();

    await lab.startGateway(vpc, { config: twinConfig(vpc) });
    await transfer.moves(4_000_000);
    t.ok(transfer.arrived() > before, 'the transfer goes on');
    const { bytes, sha256, received } = await transfer.finish();
    t.same(received, { bytes, sha256 }, 'and every byte has arrived');
  });
}
