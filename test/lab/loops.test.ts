// What must not go round in circles, and the judge of frames judged.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { createLab, type GatewayProcess, ping, whyNoLab } from '../../src/lab/index.js';
import { drops, totals, twinConfig, twinVpcs } from '../helpers/lab.js';
import { etherip, ethernet, ipv4, TYPE, udp } from '../helpers/original/frames.js';
import { sendFrames } from '../helpers/original/wire.js';
import { SecondOpinion } from '../helpers/second-opinion.js';
import { whyNoTshark } from '../helpers/tshark.js';

const skip = (await whyNoLab()) || whyNoTshark();

t.test("two gateways proxy each other's hosts by mistake (checklist 6)", { skip }, async (t) => {
  const refused = (gateway: GatewayProcess, count: number) =>
    lab.waitFor(async () => ((await drops(gateway)).drop_looped ?? 0) >= count, { what: `${count} loops` });
  const lab = await createLab(twinVpcs({ gateway: { secondary: ['10.0.0.30', '10.0.0.31'] } }));
  t.teardown(() => lab.close());
  const opinion = await SecondOpinion.start(lab);
  // Nobody has 10.0.0.30; each gateway says that the other one does. 10.0.0.10 is a1 itself.
  // Without keepalives the underlay's counters show what hosts sent.
  const peer = { proxied: ['10.0.0.10', '10.0.0.20', '10.0.0.30'], keepalive: false };
  const a = await lab.startGateway('a', { config: twinConfig('a', peer) });
  const b = await lab.startGateway('b', { config: twinConfig('b', peer) });

  await lab.register('gw-a', '10.0.0.20');
  t.match(await ping(lab, 'a1', '10.0.0.30', { count: 3, wait: 0.3 }), { received: 0 });
  t.match(await ping(lab, 'a1', '10.0.0.20', { count: 2, wait: 0.3 }), { received: 0 });
  await refused(a, 5);
  // a1's own address is proxied by its own gateway, so what a1 sends looks like an echo of the tunnel.
  t.same(await drops(a), { drop_looped: 5 }, 'each packet is refused once, at the first gateway');
  t.same(await drops(b), {}, 'the other one saw nothing of it');

  const sane = { proxied: ['10.0.0.20', '10.0.0.30'], keepalive: false };
  a.writeConfig(twinConfig('a', sane));
  t.equal((await a.client('reload')).code, 0);
  const before = await lab.counters('gw-a', 'eth2');
  t.match(await ping(lab, 'a1', '10.0.0.30', { count: 3, wait: 0.3 }), { received: 0 });
  await refused(b, 3);
  t.equal((await drops(b)).drop_looped, 3, 'the far gateway refuses what it would send back');
  const after = await lab.counters('gw-a', 'eth2');
  t.ok(after.txPackets - before.txPackets <= 3 + 2, 'each crossed the underlay once, beside some ARP');
  t.equal((await totals(b)).forwarded ?? 0, 0, 'and nothing came back');

  await t.test('a peer at an own address is refused', async (t) => {
    const file = join(lab.directory, 'self.yaml');
    writeFileSync(file, JSON.stringify(twinConfig('a', { address: '198.18.0.1' })));
    const { code, stdout, stderr } = await a.client('check', '-c', file);
    t.equal(code, 2);
    t.match(stdout + stderr, /198\.18\.0\.1 is .* so frames would loop/);
  });

  await t.test('tshark finds a bad frame that was planted', async (t) => {
    const inner = ipv4({
      source: '10.0.0.10',
      destination: '10.0.0.99',
      protocol: 17,
      payload: Buffer.concat([udp(20).subarray(0, 6), Buffer.from([0xba, 0xad]), udp(20).subarray(8)]),
    });
    const packet = ipv4({
      source: '198.18.0.1',
      destination: '198.18.0.2',
      protocol: 97,
      payload: etherip(ethernet(lab.mac('gw-b'), lab.mac('gw-a'), TYPE.ipv4, inner)),
    });
    const frame = ethernet(lab.underlayMac('gw-b'), lab.underlayMac('gw-a'), TYPE.ipv4, packet);
    const before = opinion.seen();
    await sendFrames(lab, 'gw-a', 'eth2', [frame]);
    await lab.waitFor(() => opinion.seen() > before, { what: 'the frame to be captured' });
    const faults = await opinion.faults();
    t.equal(faults.length, 1, 'and nothing else');
    t.match(faults[0], /^gw-a in underlay, .*etherip.*udp.*198\.18\.0\.1,10\.0\.0\.10.*Bad checksum/);
  });
});
