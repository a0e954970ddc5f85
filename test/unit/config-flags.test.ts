import t from 'tap';
import { InvalidSettingsError } from '../../src/config/finding.js';
import { type Flags, settingsFromFlags } from '../../src/config/flags.js';
import { validateAgainstMachine } from '../../src/config/machine.js';
import { defaultName } from '../../src/config/names.js';

const FLAGS: Flags = {
  outsideInterface: 'eth1',
  tunnelInterface: 'eth2',
  dstAddr: '198.18.0.2',
  srcAddr: '198.18.0.1',
};
const MACHINE = [
  { interface: 'eth1', address: '10.0.0.5' },
  { interface: 'eth2', address: '198.18.0.1' },
];
const PID = 4711;

function failure(flags: Flags): InvalidSettingsError {
  try {
    settingsFromFlags(flags, MACHINE, PID);
  } catch (error) {
    if (error instanceof InvalidSettingsError) return error;
    throw error;
  }
  throw new Error('accepted');
}

t.test('with -r: proxied one to one, the rest dropped, resolved through the tunnel', async (t) => {
  const flags = { ...FLAGS, remoteIpAddrs: '10.0.0.20, 10.0.0.21,10.0.2.0/24' };
  const { settings, notes } = settingsFromFlags(flags, MACHINE, PID);
  const name = defaultName('eth1', `-${PID}`);
  t.same(notes, []);
  t.same(settings, {
    source: 'command line',
    origins: {
      'overlay.interface': '-o eth1',
      'underlay.interface': '-t eth2',
      'peers[0].address': '-d 198.18.0.2',
      'underlay.address': '-s 198.18.0.1',
      'peers[0].proxied[0]': '-r 10.0.0.20',
      'peers[0].proxied[1]': '-r 10.0.0.21',
      'peers[0].proxied[2]': '-r 10.0.2.0/24',
    },
    name,
    overlay: { interface: 'eth1', arp: 'respond' },
    underlay: { interface: 'eth2', address: '198.18.0.1' },
    peers: [
      {
        name: 'peer',
        address: '198.18.0.2',
        proxied: [
          { address: '10.0.0.20', host: '10.0.0.20', prefixLength: 32, origin: '-r 10.0.0.20' },
          { address: '10.0.0.21', host: '10.0.0.21', prefixLength: 32, origin: '-r 10.0.0.21' },
          { address: '10.0.2.0', host: '10.0.2.0', prefixLength: 24, origin: '-r 10.0.2.0/24' },
        ],
        unlisted: 'drop',
        keepalive: false,
        resolve: 'tunnel',
        origin: '-d 198.18.0.2',
      },
    ],
    dataplane: { acceleration: 'auto', workers: 'auto', offloads: 'manage', spin: 50, icmpErrors: 100 },
    masquerade: { firstPort: 61000, lastPort: 65535, addresses: [], flows: 262_144 },
    control: { socket: `/run/vpc-conn/${name}.sock` },
    log: { level: 'info', format: 'auto' },
  });
  t.match(name, /-eth1-4711$/);
});

t.test('without -r: far hosts are masqueraded', async (t) => {
  const { settings } = settingsFromFlags(FLAGS, MACHINE, PID);
  t.match(settings.peers, [{ proxied: [], unlisted: 'masquerade', keepalive: false, resolve: 'peer' }]);
});

t.test('-s on the overlay interface is the overlay address', async (t) => {
  const { settings, notes } = settingsFromFlags({ ...FLAGS, srcAddr: '10.0.0.5' }, MACHINE, PID);
  t.same(settings.overlay, { interface: 'eth1', address: '10.0.0.5', arp: 'respond' });
  t.same(settings.underlay, { interface: 'eth2' }, 'its first address will do');
  t.equal(settings.origins?.['overlay.address'], '-s 10.0.0.5');
  t.notOk(settings.origins?.['underlay.address']);
  t.same(notes, [
    "-s 10.0.0.5 sits on eth1: taken as this gateway's overlay address; the tunnel's source is the first address of eth2.",
  ]);
});

t.test('-s on both interfaces, on one for both, or on none, is the tunnel source', async (t) => {
  const both = [...MACHINE, { interface: 'eth2', address: '10.0.0.5' }];
  const cases: [Flags, typeof MACHINE][] = [
    [{ ...FLAGS, srcAddr: '10.0.0.5' }, both],
    [{ ...FLAGS, srcAddr: '10.0.0.5', tunnelInterface: 'eth1' }, MACHINE],
    [{ ...FLAGS, srcAddr: '198.18.0.77' }, MACHINE],
    [FLAGS, []],
  ];
  for (const [flags, addresses] of cases) {
    const { settings, notes } = settingsFromFlags(flags, addresses, PID);
    t.equal(settings.underlay.address, flags.srcAddr);
    t.notOk('address' in settings.overlay);
    t.same(notes, []);
  }
});

t.test('bad flags: the exact sentence, alone', async (t) => {
  const table: [Flags, string, string][] = [
    [
      { ...FLAGS, outsideInterface: undefined },
      'settings-missing-key',
      '-o: this option is missing. Give the interface towards the hosts of this VPC, or a configuration file with -c.',
    ],
    [
      { ...FLAGS, tunnelInterface: '' },
      'settings-missing-key',
      '-t: this option is missing. Give the interface that carries the tunnel, or a configuration file with -c.',
    ],
    [
      { ...FLAGS, tunnelInterface: 'interface-of-16b' },
      'settings-value',
      '-t interface-of-16b: "interface-of-16b" is not the name of a network interface. Give the interface that carries the tunnel, for example eth1.',
    ],
    [
      { ...FLAGS, dstAddr: 'gateway-b' },
      'settings-value',
      '-d gateway-b: "gateway-b" is not an IP address. Give the far gateway\'s address, for example 198.18.0.1.',
    ],
    [
      { ...FLAGS, srcAddr: '2001:db8::1' },
      'settings-families',
      `-d ${FLAGS.dstAddr}: ${FLAGS.dstAddr} is an IPv4 address, and this gateway's underlay address 2001:db8::1 (-s 2001:db8::1) an IPv6 one. Give both of one kind; for peers of both kinds, run a gateway for each.`,
    ],
    [
      { ...FLAGS, remoteIpAddrs: '10.0.0.20,10.0.0' },
      'settings-value',
      '-r 10.0.0: "10.0.0" is not an IP address or prefix. Write it like 10.0.0.20 or 10.0.2.0/24.',
    ],
    [
      { ...FLAGS, remoteIpAddrs: '10.0.0.20,' },
      'settings-value',
      '-r: an address is missing in the list. Write addresses and prefixes with one comma between them.',
    ],
    [
      { ...FLAGS, remoteIpAddrs: '' },
      'settings-value',
      '-r: an address is missing in the list. Write addresses and prefixes with one comma between them.',
    ],
    [
      { ...FLAGS, remoteIpAddrs: '10.0.2.9/24' },
      'settings-host-bits',
      '-r 10.0.2.9/24: 10.0.2.9/24 has bits set outside its prefix. Write 10.0.2.0/24 for the whole prefix, or 10.0.2.9 for that one address.',
    ],
    [
      { ...FLAGS, remoteIpAddrs: '10.0.0.20,10.0.0.20' },
      'settings-duplicate-proxied',
      '-r 10.0.0.20: 10.0.0.20 is already proxied at -r 10.0.0.20. Remove one of the two: an address stands for one far host.',
    ],
    [
      { ...FLAGS, remoteIpAddrs: '127.0.0.1' },
      'settings-unusable-address',
      '-r 127.0.0.1: 127.0.0.1 is a loopback address. Write an address that a host can have.',
    ],
    [
      { ...FLAGS, dstAddr: '198.18.0.1' },
      'settings-loop',
      "-d 198.18.0.1: 198.18.0.1 is this gateway's own underlay address, so frames would loop. Write the far gateway's address.",
    ],
  ];
  for (const [flags, code, message] of table) {
    const error = failure(flags);
    t.equal(error.message, message);
    t.equal(error.code, code);
    t.equal(error.exitCode, 2);
  }
});

t.test('all that is wrong with the flags at once', async (t) => {
  t.equal(failure({ dstAddr: 'x', remoteIpAddrs: '1,2' }).findings.length, 6);
});

t.test('messages about the machine name the flag', async (t) => {
  const { settings } = settingsFromFlags(FLAGS, MACHINE, PID);
  const [finding] = validateAgainstMachine(settings, { links: [], addresses: [] });
  t.equal(
    finding?.message,
    '-o eth1: this machine has no interface eth1. It has no Ethernet interface: attach one.',
  );
  t.equal(finding?.origin, '-o eth1');
});
