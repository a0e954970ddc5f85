import t from 'tap';
import { SettingsError } from '../../src/errors.js';
import { machineOf, makePlan, neighborView } from '../../src/gateway/plan.js';
import {
  bothGuards,
  describeChanges,
  describeMachineChanges,
  refuseRestart,
} from '../../src/gateway/reload.js';
import { createNextHops } from '../../src/gateway/routes.js';
import {
  address,
  MachineDouble,
  OVERLAY,
  peer,
  proxied,
  settings,
  UNDERLAY,
} from '../helpers/machine-double.js';

const planOf = (machine: MachineDouble, wanted = settings(), previous?: ReturnType<typeof makePlan>) => {
  const [, overlay = OVERLAY, underlay = UNDERLAY] = machine.links();
  return makePlan(wanted, machineOf(machine, overlay, underlay), previous);
};

t.test('the table of a simple machine', async (t) => {
  const wanted = settings({
    peers: [
      peer(),
      peer({
        name: 'vpc-c',
        address: '198.18.0.3',
        proxied: [proxied('10.0.0.99', '10.0.0.10'), proxied('10.0.2.0/24', '10.0.1.0/24')],
        unlisted: 'masquerade',
        resolve: 'tunnel',
      }),
    ],
  });
  const plan = planOf(new MachineDouble(), wanted);
  t.same(plan.table, {
    overlayMac: OVERLAY.mac,
    overlayAddress: '10.0.0.5',
    overlayMtu: 1500,
    underlayMac: UNDERLAY.mac,
    peers: [
      {
        name: 'vpc-b',
        localAddress: '198.18.0.1',
        address: '198.18.0.2',
        innerMtu: 1464,
        unlisted: 'drop',
        resolve: 'peer',
      },
      {
        name: 'vpc-c',
        localAddress: '198.18.0.1',
        address: '198.18.0.3',
        innerMtu: 1464,
        unlisted: 'masquerade',
        resolve: 'tunnel',
      },
    ],
    proxied: [
      { address: '10.0.0.20', host: '10.0.0.20', prefixLength: 32, peer: 0 },
      { address: '10.0.0.99', host: '10.0.0.10', prefixLength: 32, peer: 1 },
      { address: '10.0.2.0', host: '10.0.1.0', prefixLength: 24, peer: 1 },
    ],
    reserved: ['10.0.0.0', '10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.255'],
    icmpErrorsPerSecond: 100,
    acceptReversed: false,
    masquerade: { firstPort: 61000, lastPort: 65535, addresses: ['10.0.0.5'], flows: 262_144 },
  });
  t.same(
    plan.peers.map((one) => one.proxiedCount),
    [1, 257],
  );
  t.same(plan.guard, {
    overlay: { interface: 'eth1', address: '10.0.0.5' },
    underlay: { interface: 'eth2' },
    proxied: [
      { address: '10.0.0.20', prefixLength: 32 },
      { address: '10.0.0.99', prefixLength: 32 },
      { address: '10.0.2.0', prefixLength: 24 },
    ],
    peers: [
      { localAddress: '198.18.0.1', address: '198.18.0.2' },
      { localAddress: '198.18.0.1', address: '198.18.0.3' },
    ],
    masquerade: { address: '10.0.0.5', firstPort: 61000, lastPort: 65535 },
  });
  t.same(plan.notices, []);
});

t.test('a pool of masquerade addresses: each guarded wholly, but for the ports of the own one', async (t) => {
  const pool = (addresses: string[], unlisted: 'drop' | 'masquerade' = 'masquerade') =>
    planOf(
      new MachineDouble(),
      settings({
        peers: [peer({ unlisted })],
        masquerade: { firstPort: 61000, lastPort: 65535, addresses, flows: 64 },
      }),
    );
  const others = pool(['10.0.0.6', '10.0.0.7']);
  t.same(others.table.masquerade.addresses, ['10.0.0.6', '10.0.0.7']);
  t.same(
    others.guard.proxied.map(({ address }) => address),
    ['10.0.0.20', '10.0.0.6', '10.0.0.7'],
  );
  t.equal(others.guard.masquerade, undefined, 'no port of the own address is taken from the kernel');
  t.same(neighborView(others).pool, ['10.0.0.6', '10.0.0.7'], 'ARP is answered for them');
  const withOwn = pool(['10.0.0.5', '10.0.0.7']);
  t.match(withOwn.guard.masquerade, { address: '10.0.0.5' });
  t.same(neighborView(withOwn).pool, ['10.0.0.7']);
  t.same(neighborView(pool(['10.0.0.6'], 'drop')).pool, [], 'nobody masquerades: nothing is taken');
});

t.test('the guard leaves ports alone while nobody masquerades', async (t) => {
  t.equal(planOf(new MachineDouble()).guard.masquerade, undefined);
});

t.test('inner MTU: the smaller of link and route, less 36', async (t) => {
  const machine = new MachineDouble();
  machine.change(3, { mtu: 9001 });
  t.match(planOf(machine).peers, [{ innerMtu: 8965, innerMtuWhy: 'eth2 9001', outerMtu: 9001 }]);
  machine.routes.set('198.18.0.2', { ifindex: 3, gateway: '198.18.0.254', mtu: 1400 });
  t.match(planOf(machine).peers, [{ innerMtu: 1364, innerMtuWhy: 'route 1400', routeMtu: 1400 }]);
  machine.routes.set('198.18.0.2', { ifindex: 3, mtu: 65535 });
  t.match(planOf(machine).peers, [{ innerMtu: 8965 }], 'no route makes the link larger');
  t.match(machine.asked.at(-1), '198.18.0.2 3 198.18.0.1', 'asked as the frame will go');
});

t.test('inner MTU: what was learned of the path counts where it is less', async (t) => {
  const machine = new MachineDouble();
  const learned = (outerMtu: number) =>
    makePlan(
      settings(),
      machineOf(machine, OVERLAY, UNDERLAY, () => ({ outerMtu, why: 'ICMP from 198.18.0.9' })),
    ).peers;
  t.match(learned(1400), [
    { innerMtu: 1364, outerMtu: 1400, routeMtu: 1500, innerMtuWhy: 'ICMP from 198.18.0.9' },
  ]);
  t.match(learned(1500), [{ innerMtu: 1464, outerMtu: 1500, innerMtuWhy: 'eth2 1500' }]);
});

t.test('reserved addresses', async (t) => {
  const reserved = (...addresses: string[]) => {
    const machine = new MachineDouble();
    machine.addressRows = [...addresses.map((text) => address(2, text)), address(3, '198.18.0.1/24')];
    return planOf(machine).table.reserved;
  };
  t.same(reserved('10.0.0.21/28'), ['10.0.0.16', '10.0.0.17', '10.0.0.18', '10.0.0.19', '10.0.0.31']);
  t.same(reserved('10.0.0.2/30'), ['10.0.0.0', '10.0.0.3'], 'no VPC has a subnet smaller than /28');
  t.same(reserved('10.0.0.4/31'), []);
  t.same(reserved('10.0.0.4/32'), []);
  t.equal(reserved('10.0.0.5/24', '10.0.0.6/24', '10.0.0.20/32').length, 5, 'each subnet once');
  t.same(
    reserved('10.0.0.2/24'),
    ['10.0.0.0', '10.0.0.1', '10.0.0.3', '10.0.0.255'],
    'what this machine holds is no reserved one',
  );
});

t.test('addresses: configured, first of the interface, none', async (t) => {
  const machine = new MachineDouble();
  machine.addressRows = [
    { ...address(2, '::1/128'), family: 6, address: 'fd00::5' },
    address(2, '10.0.0.5/24'),
    address(2, '10.0.0.6/24', true),
    address(3, '198.18.0.1/24'),
    address(3, '198.18.0.9/24', true),
  ];
  t.equal(planOf(machine).overlay.address, '10.0.0.5');
  const wanted = settings({
    overlay: { interface: 'eth1', address: '10.0.0.6', arp: 'silent' },
    underlay: { interface: 'eth2' },
  });
  t.equal(planOf(machine, wanted).overlay.address, '10.0.0.6');
  t.equal(planOf(machine, wanted).underlay.address, '198.18.0.1');
  machine.addressRows = [address(3, '198.18.0.1/24')];
  t.throws(() => planOf(machine), SettingsError);
  t.throws(() => planOf(machine), { code: 'no-address', exitCode: 2 });
});

t.test('an address that is lost while running stays planned, with a notice', async (t) => {
  const machine = new MachineDouble();
  const before = planOf(machine);
  machine.addressRows = [address(3, '198.18.0.1/24')];
  const after = planOf(machine, settings(), before);
  t.equal(after.overlay.address, '10.0.0.5');
  t.match(after.notices, [{ code: 'address-lost', message: /^10\.0\.0\.5 is no longer an address of eth1/ }]);
});

t.test('notices: link down, proxied address configured by the operating system', async (t) => {
  const machine = new MachineDouble();
  machine.addressRows.push(address(2, '10.0.0.20/32'));
  machine.change(3, { running: false });
  const plan = planOf(machine);
  t.notOk(plan.underlay.up);
  t.match(plan.notices, [
    { code: 'link-down', message: /eth2 is down/ },
    { code: 'proxied-configured', message: /^10\.0\.0\.20, proxied for peer vpc-b, / },
  ]);
});

t.test('a tunnel too small for IPv6 is told, where IPv6 is carried (RFC 8200 section 5)', async (t) => {
  const machine = new MachineDouble();
  machine.addressRows.push({ ...address(2, 'fd00::5/64'), family: 6 });
  const both = settings({ peers: [peer({ proxied: [proxied('10.0.0.20'), proxied('fd00::20/128')] })] });
  const noticesAt = (mtu: number, wanted = both) => {
    machine.change(3, { mtu });
    return planOf(machine, wanted).notices;
  };
  t.same(noticesAt(1316), []);
  t.match(noticesAt(1315), [
    {
      code: 'mtu-below-ipv6',
      message:
        /tunnel to vpc-b carries packets of 1279 bytes \(eth2 1315\).*198\.18\.0\.2.*dev eth2 mtu 1316/,
    },
  ]);
  t.same(noticesAt(1315, settings()), [], 'IPv4 is cut');
  const before = planOf(machine, both);
  machine.change(3, { mtu: 1300 });
  const changes = describeMachineChanges(before, planOf(machine, both));
  t.match(changes.at(-1), /tunnel to vpc-b carries packets of 1264 bytes/, 'and logged when it changes');
});

t.test('next hops', async (t) => {
  const machine = new MachineDouble();
  const hops = createNextHops(machine, () => planOf(new MachineDouble()));
  t.equal(hops.nextHopFor({ peer: 0 }, '10.0.0.20'), '10.0.0.20', 'behind a peer');

  machine.routes.set('10.0.0.10', { ifindex: 1 });
  t.equal(hops.nextHopFor('overlay', '10.0.0.10'), '10.0.0.10', 'own subnet, whatever the kernel says');
  t.same(machine.asked, []);

  machine.routes.set('10.0.7.1', { ifindex: 2, gateway: '10.0.0.1' });
  t.equal(hops.nextHopFor('overlay', '10.0.7.1'), '10.0.0.1');
  machine.routes.set('198.18.5.2', { ifindex: 3, gateway: '198.18.0.254' });
  t.equal(hops.nextHopFor('underlay', '198.18.5.2'), '198.18.0.254');
  t.equal(hops.nextHopFor('underlay', '198.18.0.2'), '198.18.0.2', 'on-link');
  t.same(machine.asked, ['10.0.7.1 2 10.0.0.5', '198.18.5.2 3 198.18.0.1', '198.18.0.2 3 198.18.0.1']);

  machine.routes.set('10.0.7.2', { ifindex: 1 });
  t.equal(hops.nextHopFor('overlay', '10.0.7.2'), undefined, 'an address of this machine is no next hop');
  t.equal(hops.nextHopFor('overlay', '192.0.2.1'), undefined, 'on-link only because it was asked for');
});

t.test('next hops are remembered until routes change', async (t) => {
  const machine = new MachineDouble();
  const plan = planOf(machine);
  const hops = createNextHops(machine, () => plan);
  machine.asked = [];
  hops.nextHopFor('underlay', '198.18.5.2');
  hops.nextHopFor('underlay', '198.18.5.2');
  t.equal(machine.asked.length, 1);
  machine.routes.set('198.18.5.2', { ifindex: 3, gateway: '198.18.0.253' });
  hops.clear();
  t.equal(hops.nextHopFor('underlay', '198.18.5.2'), '198.18.0.253');
});

t.test('a source that the kernel refuses is left out; no answer is no next hop', async (t) => {
  const machine = new MachineDouble();
  const plan = planOf(machine);
  const refusing = {
    route: (destination: string, ifindex?: number, source?: string) => {
      if (source !== undefined || destination === '198.18.9.9') throw new Error('EINVAL');
      return { ifindex: ifindex ?? 0, gateway: '198.18.0.254' };
    },
  };
  const hops = createNextHops(refusing, () => plan);
  t.equal(hops.nextHopFor('underlay', '198.18.5.2'), '198.18.0.254');
  t.equal(hops.nextHopFor('underlay', '198.18.9.9'), undefined);
});

t.test('a reload in words', async (t) => {
  t.same(describeChanges(settings(), settings({ origins: { name: 'gateway.yaml:1:7' } })), []);
  const before = settings({
    peers: [
      peer({ proxied: [proxied('10.0.0.20'), proxied('10.0.0.21'), proxied('10.0.0.22')] }),
      peer({ name: 'vpc-c', address: '198.18.0.3' }),
    ],
  });
  const after = settings({
    overlay: { interface: 'eth1', address: '10.0.0.6', arp: 'silent' },
    masquerade: { firstPort: 62000, lastPort: 63000, addresses: ['10.0.0.6', '10.0.0.7'], flows: 262_144 },
    peers: [
      peer({
        address: '198.18.0.9',
        unlisted: 'masquerade',
        proxied: [
          proxied('10.0.0.20'),
          proxied('10.0.0.22', '10.0.0.10'),
          proxied('10.0.2.0/24', '10.0.1.0/24'),
        ],
      }),
      peer({ name: 'vpc-d', address: '198.18.0.4', proxied: [] }),
    ],
  });
  t.same(describeChanges(before, after), [
    'overlay.address default -> 10.0.0.6',
    'overlay.arp respond -> silent',
    'masquerade ports 61000-65535 -> 62000-63000',
    'masquerade addresses overlay.address -> 10.0.0.6, 10.0.0.7',
    'peer vpc-c removed',
    'peer vpc-b: address 198.18.0.2 -> 198.18.0.9',
    'peer vpc-b: unlisted drop -> masquerade',
    'peer vpc-b: proxied 10.0.0.21 removed',
    'peer vpc-b: proxied 10.0.0.22: host 10.0.0.22 -> 10.0.0.10',
    'peer vpc-b: proxied 10.0.2.0/24 for host 10.0.1.0/24 added',
    'peer vpc-d added: 198.18.0.4, proxied: none',
  ]);
});

t.test('what needs a restart is named', async (t) => {
  const before = settings();
  const after = settings({
    name: 'other',
    underlay: { interface: 'eth9', address: '198.18.0.1' },
    dataplane: { ...before.dataplane, workers: 2 },
    control: { socket: '/run/other.sock' },
  });
  t.throws(() => refuseRestart(before, after), {
    code: 'restart-needed',
    exitCode: 2,
    message: /^name, underlay\.interface, dataplane\.workers, control\.socket cannot change/,
  });
  t.doesNotThrow(() => refuseRestart(before, settings({ peers: [] })));
});

t.test('what the machine changed, in words', async (t) => {
  const machine = new MachineDouble();
  const before = planOf(machine);
  machine.change(3, { mtu: 1400, mac: '02:00:00:00:00:99' });
  machine.change(2, { up: false });
  t.same(describeMachineChanges(before, planOf(machine, settings(), before)), [
    'interface eth1: is down, so nothing passes',
    'interface eth2: MAC 02:00:00:00:00:02 -> 02:00:00:00:00:99',
    'interface eth2: MTU 1500 -> 1400',
    'peer vpc-b: inner MTU 1464 -> 1364 (eth2 1400)',
  ]);
});

t.test('between two plans both are guarded', async (t) => {
  const machine = new MachineDouble();
  const masquerading = (firstPort: number, lastPort: number) =>
    planOf(
      machine,
      settings({
        peers: [peer({ unlisted: 'masquerade' })],
        masquerade: { firstPort, lastPort, addresses: [], flows: 64 },
      }),
    ).guard;
  const other = planOf(
    machine,
    settings({ peers: [peer({ address: '198.18.0.9', proxied: [proxied('10.0.0.30')] })] }),
  ).guard;
  const both = bothGuards(masquerading(61000, 62000), other);
  t.same(
    both.proxied.map((prefix) => prefix.address),
    ['10.0.0.20', '10.0.0.30'],
  );
  t.same(
    both.peers.map((one) => one.address),
    ['198.18.0.2', '198.18.0.9'],
  );
  t.match(both.masquerade, { firstPort: 61000, lastPort: 62000 });
  t.match(bothGuards(masquerading(61000, 62000), masquerading(61500, 63000)).masquerade, {
    firstPort: 61000,
    lastPort: 63000,
  });
});
