// The control plane where tunnels run over IPv6: plan, path MTU, neighbors, findings, what a reload may change.
import t from 'tap';
import { settingsFromFlags } from '../../src/config/flags.js';
import { parseSettings } from '../../src/config/load.js';
import { validateAgainstMachine } from '../../src/config/machine.js';
import type { Settings } from '../../src/config/settings.js';
import { createPathMtus } from '../../src/gateway/path-mtu.js';
import { judgePeer, peeringView } from '../../src/gateway/peer-state.js';
import { machineOf, makePlan, neighborView } from '../../src/gateway/plan.js';
import { preflight } from '../../src/gateway/preflight.js';
import { refuseRestart } from '../../src/gateway/reload.js';
import { AddressBook } from '../../src/neighbor/addresses.js';
import { PathSearch } from '../../src/peering/path-search.js';
import { FakeClock } from '../helpers/fake-clock.js';
import {
  address,
  MachineDouble,
  OffloadsDouble,
  OVERLAY,
  peer,
  settings,
  UNDERLAY,
} from '../helpers/machine-double.js';

const HERE = '2001:db8:ffff::1';
const THERE = '2001:db8:ffff::2';

const over6 = (changes: Partial<Settings> = {}) =>
  settings({ underlay: { interface: 'eth2', address: HERE }, peers: [peer({ address: THERE })], ...changes });

const address6 = (text: string, temporary = false) =>
  ({ ...address(3, text, temporary), family: 6 }) as const;

/** No IPv4 on the underlay. */
function machine6(): MachineDouble {
  const machine = new MachineDouble();
  machine.addressRows = [
    address(2, '10.0.0.5/24'),
    address6('fe80::2/64'),
    address6('2001:db8:ffff::abcd/64', true),
    address6(`${HERE}/64`),
  ];
  return machine;
}

const planOf = (wanted = over6(), machine = machine6()) =>
  makePlan(wanted, machineOf(machine, OVERLAY, UNDERLAY));

t.test('the plan: 56 bytes of overhead, guard and routes with IPv6 addresses', async (t) => {
  const machine = machine6();
  machine.routes.set(THERE, { ifindex: 3, gateway: 'fe80::9', mtu: 1480 });
  const plan = planOf(over6(), machine);
  t.match(plan.underlay, { address: HERE });
  t.match(plan.peers, [{ localAddress: HERE, address: THERE, outerMtu: 1480, innerMtu: 1424 }]);
  t.same(plan.guard.peers, [{ localAddress: HERE, address: THERE }]);
  t.ok(machine.asked.includes(`${THERE} 3 ${HERE}`));
  t.match(peeringView(plan, () => undefined).peers, [{ outerHeaders: 42, leastPath: 1280 }]);
});

t.test('the default address is global and lasting; without one it is said', async (t) => {
  const { address: _, ...underlay } = over6().underlay;
  t.equal(planOf(over6({ underlay })).underlay.address, HERE);
  const bare = machine6();
  bare.addressRows = bare.addressRows.slice(0, 3);
  t.throws(() => planOf(over6({ underlay }), bare), /eth2 has no IPv6 address.*set underlay\.address/);
});

t.test('neighbors on the underlay are asked from its own address', async (t) => {
  const book = new AddressBook(neighborView(planOf()));
  t.same(book.sender('underlay', THERE), { mac: UNDERLAY.mac, address: HERE });
  t.ok(book.isNeighborAddress('underlay', 'fe80::9'), 'a router by its link-local address');
  t.notOk(book.isNeighborAddress('underlay', HERE));
  const inside = book.sender({ peer: 0 }, '10.0.0.20');
  t.same(inside, { mac: UNDERLAY.mac, address: '10.0.0.5' }, 'ARP inside the tunnel: as the gateway itself');
  const { peers } = planOf();
  const [planned] = peers;
  if (planned === undefined) throw new Error('no peer');
  t.match(judgePeer({ peer: planned, resolved: false, silence: null, report: undefined }), {
    state: 'unresolved',
    why: /neighbor solicitations/,
  });
});

t.test('checklist 38: no path is believed to carry less than 1280', async (t) => {
  const clock = new FakeClock();
  const paths = createPathMtus({ clock, inForce: () => 1500, onChange: () => {} });
  const report = (mtu: number) => paths.reported({ peerAddress: THERE, router: 'fe80::9', mtu, sent: 1500 });
  t.notOk(report(1279));
  t.notOk(report(0), 'IPv6 routers say how big (RFC 8201 section 4)');
  t.equal(paths.limit(THERE), undefined);
  t.ok(report(1280));
  t.equal(paths.limit(THERE)?.outerMtu, 1280);
  paths.close();
});

t.test('checklist 39: probes do not go below 1280 either', async (t) => {
  const search = new PathSearch(1500, 1280);
  for (let lost = 0; lost < 3; lost += 1) search.unanswered(1500, true, lost);
  t.equal(search.next(3), 1280, 'the base');
  for (let lost = 0; lost < 3; lost += 1) search.unanswered(1280, true, 3 + lost);
  t.equal(search.mtu, 1280);
});

const FILE = (underlay: string) => `overlay: { interface: eth1 }
underlay: { interface: eth2, address: "${underlay}" }
peers: [{ name: vpc-b, address: "${THERE}", proxied: [10.0.0.20] }]
`;

t.test('what the machine has must fit', async (t) => {
  const sentences = (underlay: string, machine = machine6()) =>
    validateAgainstMachine(parseSettings(FILE(underlay), 'gateway.yaml'), {
      links: machine.links(),
      addresses: machine.addresses(),
    }).map(({ severity, code, message }) => `${severity} ${code} ${message}`);
  t.same(sentences(HERE), []);
  t.same(sentences('2001:db8:ffff::7'), [
    'error address-not-here gateway.yaml:2:39: underlay.address: 2001:db8:ffff::7 is not an address of eth2, which has 2001:db8:ffff::abcd, 2001:db8:ffff::1. Write one of its addresses, or give it this one: ip address add 2001:db8:ffff::7/64 dev eth2.',
  ]);
  t.same(sentences(HERE, new MachineDouble()), [
    'error no-address gateway.yaml:2:24: underlay.interface: eth2 has no IPv6 address. Give it one: ip address add ADDRESS/LENGTH dev eth2.',
  ]);
});

t.test('the flag form', async (t) => {
  const flags = { outsideInterface: 'eth1', tunnelInterface: 'eth2', dstAddr: THERE, srcAddr: HERE };
  const { settings: read, notes } = settingsFromFlags(flags, [{ interface: 'eth1', address: HERE }], 1);
  t.match(read, { underlay: { address: HERE }, peers: [{ address: THERE }] });
  t.same(notes, [], 'an IPv6 -s is no overlay address, wherever it sits');
});

t.test('check', async (t) => {
  const find = (wanted: Settings, changes: (machine: MachineDouble) => void = () => {}) => {
    const machine = machine6();
    machine.routes.set(THERE, { ifindex: 3 });
    changes(machine);
    return preflight(wanted, {
      openNetlink: () => machine,
      capabilities: () => 0xffffffffffn,
      sysctl: () => undefined,
      probeGuard: () => 'netdev ingress',
      readText: () => undefined,
      askEni: async () => undefined,
      clockSynchronized: () => true,
      driverOf: () => undefined,
      probePeers: async () => [],
      kernelOffloads: new OffloadsDouble(),
    });
  };
  const off = { ...over6().dataplane, acceleration: 'off' as const };
  t.match(await find(over6({ dataplane: off })), [{ code: 'mtu-clamped', remedy: /MTU to 1556/ }]);
  t.same(await find(over6({ dataplane: off }), (machine) => machine.change(3, { mtu: 1556 })), []);
  const full = { ...off, acceleration: 'full' as const };
  t.match(await find(over6({ dataplane: full })), [
    { severity: 'error', code: 'acceleration-unavailable', message: /the underlay is IPv6/ },
  ]);
});

t.test('a reload does not change what tunnels run over', async (t) => {
  t.throws(() => refuseRestart(settings(), over6()), {
    code: 'restart-needed',
    message: /the kind of underlay\.address/,
  });
  t.doesNotThrow(() =>
    refuseRestart(over6(), over6({ underlay: { interface: 'eth2', address: '2001:db8:ffff::abcd' } })),
  );
});
