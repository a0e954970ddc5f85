// The lab's VPC is only worth something if it drops what a VPC drops. No gateway runs here.
import t from 'tap';
import { createLab, type Lab, whyNoLab } from '../../src/lab/index.js';

const skip = await whyNoLab();

const vpc = {
  name: 'a',
  cidr: '10.0.0.0/24',
  hosts: [
    { name: 'a1', address: '10.0.0.10' },
    { name: 'a2', address: '10.0.0.11' },
  ],
} as const;

const gateway = { address: '10.0.0.5', secondary: ['10.0.0.20'], underlayAddress: '198.18.0.1' };

async function pings(lab: Lab, from: string, address: string, ...options: string[]): Promise<boolean> {
  const result = await lab.exec(from, ['ping', '-n', '-c', '1', '-W', '1', ...options, address]);
  return result.code === 0;
}

/** The MAC that `from` has learned for an address by ARP; undefined: nobody answered. */
async function resolves(lab: Lab, from: string, address: string): Promise<string | undefined> {
  await lab.must(from, ['ip', 'neigh', 'flush', 'all']);
  await pings(lab, from, address);
  const rows: unknown = JSON.parse(await lab.must(from, ['ip', '-j', 'neigh', 'show', 'to', address]));
  return (rows as { lladdr?: string }[])[0]?.lladdr;
}

t.test('a VPC with its mapping service', { skip }, async (t) => {
  const lab = await createLab({ vpcs: [{ ...vpc, gateway }], underlay: { mtu: 1500 } });
  t.teardown(() => lab.close());

  t.ok(await pings(lab, 'a1', '10.0.0.11'), 'registered hosts reach each other');
  t.ok(await pings(lab, 'a1', '10.0.0.5'), 'and the gateway');
  t.same(await lab.mappingDrops('a'), { spoofed: 0, unregistered: 0 }, 'nothing was dropped so far');

  t.equal(await resolves(lab, 'a1', '10.0.0.11'), lab.mac('a2'), 'ARP for a host is answered with its MAC');
  t.equal(
    await resolves(lab, 'a1', '10.0.0.20'),
    lab.mac('gw-a'),
    'for a secondary address with the NIC it is on',
  );
  t.equal(await resolves(lab, 'a1', '10.0.0.99'), undefined, 'for an unregistered address it is not');

  await t.test('an unregistered source address is dropped', async (t) => {
    await lab.must('a1', ['ip', 'addr', 'add', '10.0.0.66/32', 'dev', 'eth0']);
    // The neighbor is known, so that the one frame is the echo request and not ARP.
    t.ok(await pings(lab, 'a1', '10.0.0.11'));
    const before = await lab.mappingDrops('a');
    t.notOk(await pings(lab, 'a1', '10.0.0.11', '-I', '10.0.0.66'));
    const after = await lab.mappingDrops('a');
    t.equal(after.spoofed, before.spoofed + 1, 'and counted');
    await lab.register('a1', '10.0.0.66');
    t.ok(await pings(lab, 'a1', '10.0.0.11', '-I', '10.0.0.66'), 'until it is registered');
  });

  await t.test("another NIC's address is dropped", async (t) => {
    await lab.must('a1', ['ip', 'addr', 'add', '10.0.0.20/32', 'dev', 'eth0']);
    t.notOk(await pings(lab, 'a1', '10.0.0.11', '-I', '10.0.0.20'));
    await lab.register('a1', '10.0.0.20');
    t.ok(await pings(lab, 'a1', '10.0.0.11', '-I', '10.0.0.20'), 'until it moves here');
    t.equal(await resolves(lab, 'a2', '10.0.0.20'), lab.mac('a1'), 'and ARP says so');
  });

  await t.test('an unregistered destination is dropped even at the right MAC', async (t) => {
    const before = await lab.mappingDrops('a');
    await lab.must('a1', ['ip', 'neigh', 'replace', '10.0.0.77', 'lladdr', lab.mac('a2'), 'dev', 'eth0']);
    await lab.must('a2', ['ip', 'addr', 'add', '10.0.0.77/32', 'dev', 'eth0']);
    t.notOk(await pings(lab, 'a1', '10.0.0.77'));
    t.equal((await lab.mappingDrops('a')).unregistered, before.unregistered + 1);
  });

  await t.test('an unregistered source MAC is dropped', async (t) => {
    t.ok(await pings(lab, 'a2', '10.0.0.5'));
    await lab.must('a2', ['ip', 'link', 'set', 'eth0', 'address', '02:00:00:66:66:66']);
    const before = await lab.mappingDrops('a');
    t.notOk(await pings(lab, 'a2', '10.0.0.5'));
    t.ok((await lab.mappingDrops('a')).spoofed > before.spoofed);
  });

  await t.test('broadcast goes nowhere', async (t) => {
    const before = await lab.counters('gw-a', 'eth1');
    await lab.exec('a1', ['ping', '-b', '-c', '2', '-i', '0.2', '-W', '1', '10.0.0.255']);
    t.equal((await lab.counters('gw-a', 'eth1')).rxPackets, before.rxPackets);
  });
});

t.test('a plain LAN floods and resolves by ARP', { skip }, async (t) => {
  const lab = await createLab({ vpcs: [{ ...vpc, kind: 'lan' }] });
  t.teardown(() => lab.close());
  t.equal(await resolves(lab, 'a1', '10.0.0.11'), lab.mac('a2'));
  await lab.must('a1', ['ip', 'addr', 'add', '10.0.0.66/32', 'dev', 'eth0']);
  t.ok(await pings(lab, 'a1', '10.0.0.11', '-I', '10.0.0.66'), 'any address passes');
});

t.test('two VPCs with the same addresses stay apart', { skip }, async (t) => {
  const twins = [
    { ...vpc, gateway },
    {
      name: 'b',
      cidr: '10.0.0.0/24',
      hosts: [{ name: 'b1', address: '10.0.0.20' }],
      gateway: { address: '10.0.0.5', secondary: ['10.0.0.10'], underlayAddress: '198.18.0.2' },
    },
  ];
  const lab = await createLab({ vpcs: twins, underlay: { mtu: 1400 } });
  t.teardown(() => lab.close());
  t.ok(await pings(lab, 'gw-a', '198.18.0.2'), 'the gateways reach each other over the underlay');
  t.notOk(
    await pings(lab, 'gw-a', '198.18.0.2', '-M', 'do', '-s', '1373'),
    'which carries its MTU and not more',
  );
  t.ok(await pings(lab, 'gw-a', '198.18.0.2', '-M', 'do', '-s', '1372'));
  t.notOk(await pings(lab, 'a1', '10.0.0.20'), 'without gateways nothing gets through');
});
