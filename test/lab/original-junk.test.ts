// The original carries whatever its interface sees: its own kernel's frames, ARP, and, before it remembers an
// originator, frames with bytes missing. None of it may hurt.
import t, { type Test } from 'tap';
import { createLab, type Lab, ping, whyNoLab } from '../../src/lab/index.js';
import { totals } from '../helpers/lab.js';
import { RECEIVER_ARGS, senderArgs, twins } from '../helpers/original/commands.js';
import { innerFrames, isIpv4, Original, Watch } from '../helpers/original/wire.js';

const skip = await whyNoLab();

async function twinLab(t: Test): Promise<Lab> {
  const lab = await createLab(
    twins([{ name: 'a1', address: '10.0.0.10' }], [{ name: 'b1', address: '10.0.0.20' }]),
  );
  t.teardown(() => lab.close());
  return lab;
}

/** Everything that the gateway has done with frames from the tunnel. */
function handled(totals: Record<string, number>): number {
  const drops = Object.entries(totals).filter(([name]) => name.startsWith('drop_'));
  return drops.reduce((sum, [, count]) => sum + count, 0);
}

t.test("the original's receiver reflects its own frames", { skip }, async (t) => {
  const lab = await twinLab(t);
  const receiver = await Original.start(lab, 'gw-b', RECEIVER_ARGS);
  const gateway = await lab.startGateway('a', { args: senderArgs('10.0.0.20') });
  const tunnel = await Watch.start(lab, 'underlay', 'gw-b');
  const overlay = await Watch.start(lab, 'vpc-a', 'gw-a');

  await t.test('before it remembers anybody', async (t) => {
    // It takes the address fields out instead of filling them in.
    t.equal((await ping(lab, 'gw-b', '10.0.0.20', { count: 10 })).received, 10);
    // Its kernel's ARP requests are reflected, too, whenever they come: only a moment at which both ends of the
    // tunnel have counted the same says anything.
    let after: Record<string, number> = {};
    await lab.waitFor(
      async () => {
        after = await totals(gateway);
        const reflected = innerFrames(await tunnel.frames()).length;
        return reflected >= 20 && handled(after) === reflected;
      },
      { what: 'both directions of ten pings in the tunnel, every frame dropped' },
    );
    t.equal(
      (after.drop_unknown_ethertype ?? 0) + (after.drop_not_ethernet_ii ?? 0),
      handled(after),
      'all of them broken frames, and counted as such',
    );
    t.equal((await overlay.frames()).length, 0, 'none of them came out in VPC a');
  });

  t.equal((await ping(lab, 'a1', '10.0.0.20', { count: 5 })).received, 5);

  await t.test('afterwards', async (t) => {
    const before = await totals(gateway);
    const seen = innerFrames(await tunnel.frames()).length;
    t.equal((await ping(lab, 'gw-b', '10.0.0.20', { count: 10 })).received, 10);
    await lab.must('gw-b', ['ip', 'neigh', 'flush', 'all']);
    await ping(lab, 'gw-b', '10.0.0.99', { count: 1, wait: 1 });
    // Its requests come from an address that is no proxied one; the replies of the far host look as if they
    // were for a1, which never asked.
    await lab.waitFor(
      async () =>
        ((await totals(gateway)).drop_unlisted_source ?? 0) >= (before.drop_unlisted_source ?? 0) + 10,
      { what: "the original's own requests to be dropped" },
    );
    const arp = innerFrames(await tunnel.frames())
      .slice(seen)
      .filter((frame) => !isIpv4(frame));
    t.ok(arp.length > 0, 'there were ARP echoes, too');
    await lab.waitFor(
      async () => ((await totals(gateway)).punted ?? 0) >= (before.punted ?? 0) + arp.length,
      { what: 'the ARP echoes to arrive' },
    );
    t.equal((await totals(gateway)).drop_unlisted_source, (before.drop_unlisted_source ?? 0) + 10);
  });

  const after = await ping(lab, 'a1', '10.0.0.20', { count: 10 });
  t.match(after, { sent: 10, received: 10, duplicates: 0, errors: 0 }, 'and all the while it works');
  t.same(await lab.mappingDrops('a'), { spoofed: 0, unregistered: 0 }, 'VPC a saw nothing that it drops');
  t.ok(receiver.process.running);
});

t.test("the original's sender chokes on a frame of its own kernel", { skip }, async (t) => {
  const lab = await twinLab(t);
  const gateway = await lab.startGateway('b', { args: RECEIVER_ARGS });
  const overlay = await Watch.start(lab, 'vpc-b', 'gw-b');
  const first = await Original.start(lab, 'gw-a', senderArgs('10.0.0.20'));
  t.equal((await ping(lab, 'a1', '10.0.0.20', { count: 3 })).received, 3);
  const before = (await overlay.frames()).filter(({ bytes }) => isIpv4(bytes)).length;

  // It reads four bytes of an ARP packet as an address that no host has, and asks for that.
  await lab.exec('gw-a', ['ping', '-c', '1', '-W', '1', '10.0.0.99']);
  await first.process.until(() => first.asked.some((address) => address.startsWith('0.')), 'asking for junk');
  t.equal(
    (await overlay.frames()).filter(({ bytes }) => isIpv4(bytes)).length,
    before,
    'nothing of that comes out in VPC b',
  );
  first.process.kill();
  await first.process.exited;
  await Original.start(lab, 'gw-a', senderArgs('10.0.0.20'));
  const again = await ping(lab, 'a1', '10.0.0.20', { count: 5 });
  t.match(again, { sent: 5, received: 5, duplicates: 0 }, 'vpc-conn serves the next one as before');
  t.ok(gateway.process.running);
});
