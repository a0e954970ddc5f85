import t from 'tap';
import { parseSettings } from '../../src/config/load.js';
import { type MachineFacts, type MachineLink, validateAgainstMachine } from '../../src/config/machine.js';

const link = (ifindex: number, name: string, more: Partial<MachineLink> = {}): MachineLink => {
  return { ifindex, name, mac: `02:00:00:00:00:0${ifindex}`, mtu: 1500, up: true, type: 1, ...more };
};

const MACHINE: MachineFacts = {
  links: [link(1, 'lo', { type: 772 }), link(2, 'ens5'), link(3, 'ens6')],
  addresses: [
    { ifindex: 1, address: '127.0.0.1', prefixLength: 8 },
    { ifindex: 2, address: '10.0.0.5', prefixLength: 24 },
    { ifindex: 2, address: '10.0.0.20', prefixLength: 32 },
    { ifindex: 2, address: 'fe80::5', prefixLength: 64 },
    { ifindex: 3, address: '198.18.0.1', prefixLength: 24 },
  ],
  ipLocalPortRange: [32768, 60999],
};

interface Change {
  overlay?: string;
  underlay?: string;
  peer?: string;
  unlisted?: string;
  ports?: string;
  pool?: string;
  proxied?: string;
}

/** Proxied entries are on line 6, from column 15. */
function settings(change: Change = {}) {
  return parseSettings(
    `overlay: { ${change.overlay ?? 'interface: ens5, address: 10.0.0.5'} }
underlay: { ${change.underlay ?? 'interface: ens6, address: 198.18.0.1'} }
peers:
  - name: vpc-b
    address: ${change.peer ?? '198.18.0.2'}
    proxied: [${change.proxied ?? '10.0.0.21'}]
    unlisted: ${change.unlisted ?? 'drop'}
masquerade: { ports: ${change.ports ?? '61000-65535'}, addresses: [${change.pool ?? ''}] }
`,
    'gateway.yaml',
  );
}

function sentences(change: Change, machine: Partial<MachineFacts> = {}): string[] {
  return validateAgainstMachine(settings(change), { ...MACHINE, ...machine }).map(
    ({ severity, code, message }) => `${severity} ${code} ${message}`,
  );
}

t.test('a machine that fits, also with an address that the system has configured already', async (t) => {
  t.same(sentences({}), []);
  t.same(sentences({ proxied: '10.0.0.20, { address: 10.0.0.99, host: 10.0.0.5 }' }), []);
  t.same(sentences({ overlay: 'interface: ens5' }), [], 'the first address by default');
});

t.test('findings have key and origin', async (t) => {
  const [finding] = validateAgainstMachine(settings({ overlay: 'interface: eth9' }), MACHINE);
  t.same(finding, {
    severity: 'error',
    code: 'no-interface',
    key: 'overlay.interface',
    origin: 'gateway.yaml:1:23',
    message:
      'gateway.yaml:1:23: overlay.interface: this machine has no interface eth9. Use one of ens5, ens6.',
  });
});

const TABLE: readonly (readonly [what: string, Change, Partial<MachineFacts>, string])[] = [
  [
    'loopback',
    { overlay: 'interface: lo' },
    {},
    'error not-ethernet gateway.yaml:1:23: overlay.interface: lo is not an Ethernet interface. Use one that is: frames have to be rewritten.',
  ],
  [
    'down',
    {},
    { links: [link(2, 'ens5'), link(3, 'ens6', { up: false })] },
    'warning interface-down gateway.yaml:2:24: underlay.interface: ens6 is down. Set it up: ip link set ens6 up.',
  ],
  [
    'no address',
    { overlay: 'interface: ens5' },
    { addresses: MACHINE.addresses.filter((at) => at.ifindex !== 2 || at.address.includes(':')) },
    'error no-address gateway.yaml:1:23: overlay.interface: ens5 has no IPv4 address. Give it one: ip address add ADDRESS/LENGTH dev ens5.',
  ],
  [
    'an address that is not there',
    { overlay: 'interface: ens5, address: 10.0.0.6' },
    {},
    'error address-not-here gateway.yaml:1:38: overlay.address: 10.0.0.6 is not an address of ens5, which has 10.0.0.5, 10.0.0.20. Write one of its addresses, or give it this one: ip address add 10.0.0.6/24 dev ens5.',
  ],
  [
    "the other interface's address",
    { underlay: 'interface: ens6, address: 10.0.0.5' },
    {},
    'error address-not-here gateway.yaml:2:39: underlay.address: 10.0.0.5 is not an address of ens6, which has 198.18.0.1. Write one of its addresses, or give it this one: ip address add 10.0.0.5/24 dev ens6.',
  ],
  [
    'own address proxied',
    { proxied: '10.0.0.5' },
    {},
    "error proxied-own-address gateway.yaml:6:15: peers[0].proxied[0]: 10.0.0.5 is this gateway's own address (overlay.address at gateway.yaml:1:38). Proxy another address, one that only stands for the far host.",
  ],
  [
    'own default address proxied',
    { overlay: 'interface: ens5', proxied: '10.0.0.5' },
    {},
    "error proxied-own-address gateway.yaml:6:15: peers[0].proxied[0]: 10.0.0.5 is this gateway's own address (the first of ens5). Proxy another address, one that only stands for the far host.",
  ],
  [
    'a prefix that swallows the own address',
    { proxied: '10.0.0.0/28' },
    {},
    "error proxied-own-address gateway.yaml:6:15: peers[0].proxied[0]: 10.0.0.0/28 holds this gateway's own address 10.0.0.5 (overlay.address at gateway.yaml:1:38). Proxy a prefix without it, or list single addresses.",
  ],
  [
    'the tunnel source proxied',
    { proxied: '198.18.0.1' },
    {},
    "error proxied-own-address gateway.yaml:6:15: peers[0].proxied[0]: 198.18.0.1 is this gateway's own address (underlay.address at gateway.yaml:2:39). Proxy another address, one that only stands for the far host.",
  ],
  ...['10.0.0.0', '10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.255'].map(
    (address) =>
      [
        `reserved ${address}`,
        { proxied: address },
        {},
        `error proxied-reserved gateway.yaml:6:15: peers[0].proxied[0]: ${address} is reserved in the subnet 10.0.0.0/24 (AWS reserves the first four addresses and the last). Proxy another address, and map it to the far host with { address: ..., host: ${address} }.`,
      ] as const,
  ),
  [
    'a prefix with reserved addresses',
    { proxied: '10.0.0.240/28' },
    {},
    'warning proxied-reserved gateway.yaml:6:15: peers[0].proxied[0]: 10.0.0.240/28 holds 10.0.0.255, reserved in the subnet 10.0.0.0/24 (AWS reserves the first four addresses and the last): these will not be proxied. Where a far host has one, map another address to it with { address: ..., host: ... }.',
  ],
  [
    'a prefix of nothing else',
    { proxied: '10.0.0.0/30' },
    {},
    'error proxied-reserved gateway.yaml:6:15: peers[0].proxied[0]: 10.0.0.0/30 holds 10.0.0.0, 10.0.0.1, 10.0.0.2, 10.0.0.3, reserved in the subnet 10.0.0.0/24 (AWS reserves the first four addresses and the last), and no other address. Proxy addresses that hosts can have.',
  ],
  [
    'outside the subnet',
    { proxied: '10.0.1.20' },
    {},
    'warning proxied-off-subnet gateway.yaml:6:15: peers[0].proxied[0]: 10.0.1.20 is outside the subnets of ens5 (10.0.0.0/24, 10.0.0.20): AWS cannot assign it there, and hosts reach it only by a route to this gateway. Choose a free address of the subnet where you can.',
  ],
  [
    'larger than the subnet',
    { proxied: '10.0.0.128/25', overlay: 'interface: ens5, address: 10.0.0.130' },
    { addresses: [{ ifindex: 2, address: '10.0.0.130', prefixLength: 28 }, ...MACHINE.addresses.slice(4)] },
    "error proxied-own-address gateway.yaml:6:15: peers[0].proxied[0]: 10.0.0.128/25 holds this gateway's own address 10.0.0.130 (overlay.address at gateway.yaml:1:38). Proxy a prefix without it, or list single addresses.",
  ],
  [
    'one address for both sides',
    { overlay: 'interface: ens6', underlay: 'interface: ens6, address: 198.18.0.1', proxied: '198.18.0.20' },
    {},
    'error same-address gateway.yaml:2:39: underlay.address: overlay and underlay both use 198.18.0.1. Give the tunnel an address of its own.',
  ],
  [
    'one interface for both sides',
    { underlay: 'interface: ens5, address: 10.0.0.20' },
    {},
    'warning same-interface gateway.yaml:2:24: underlay.interface: overlay and underlay are both ens5, so every frame passes it twice. Use an interface each where speed counts.',
  ],
  [
    'this machine as peer',
    { peer: '10.0.0.5' },
    {},
    "error peer-is-this-machine gateway.yaml:5:14: peers[0].address: 10.0.0.5 is an address of this machine, so frames would loop. Write the far gateway's address.",
  ],
  [
    'nothing to do',
    { proxied: '' },
    {},
    'warning peer-without-hosts gateway.yaml:4:5: peers[0]: peer vpc-b has no proxied addresses and drops unlisted hosts, so nothing can pass. List proxied addresses, or set "unlisted: masquerade".',
  ],
  [
    'ports of programs',
    { unlisted: 'masquerade', ports: '60999-61999' },
    {},
    'warning masquerade-ports-overlap gateway.yaml:8:22: masquerade.ports: ports 60999-61999 of masquerade overlap those that the kernel gives out to programs here (32768-60999), whose answers would be taken away. Narrow one of the two: masquerade.ports, or net.ipv4.ip_local_port_range.',
  ],
];

t.test('bad fits: the exact sentence, alone', async (t) => {
  for (const [what, change, machine, sentence] of TABLE) t.same(sentences(change, machine), [sentence], what);
});

t.test('a pool of masquerade addresses has to be of the overlay, and nobody else has it', async (t) => {
  const pool = (addresses: string) => sentences({ unlisted: 'masquerade', pool: addresses });
  t.same(pool('10.0.0.5, 10.0.0.6, 10.0.0.7'), []);
  t.same(sentences({ pool: '10.9.9.9' }), [], 'not used');
  t.match(pool('198.18.0.1'), [
    /^error pool-own-address gateway\.yaml:8:47: masquerade\.addresses\[0\]: .*only\.$/,
  ]);
  t.match(pool('10.0.0.2'), [/^error pool-reserved .*Choose another address\.$/]);
  t.match(pool('10.9.9.9'), [/^warning pool-off-subnet .*where you can\.$/]);
});

t.test('ports overlap only where masquerade gives them out, and where the range is known', async (t) => {
  t.same(sentences({ ports: '40000-41000' }), []);
  t.same(sentences({ unlisted: 'masquerade', ports: '40000-41000' }, { ipLocalPortRange: undefined }), []);
  t.same(sentences({ unlisted: 'masquerade', ports: '20000-32767' }), []);
});

t.test('a small subnet has no AWS addresses, a point-to-point one has none at all', async (t) => {
  const on = (prefixLength: number) => ({
    addresses: [{ ifindex: 2, address: '10.0.0.5', prefixLength }, ...MACHINE.addresses.slice(4)],
  });
  t.same(sentences({ proxied: '10.0.0.6' }, on(29)), []);
  t.match(sentences({ proxied: '10.0.0.7' }, on(29)), [/its first address and its last are no hosts/]);
  t.same(sentences({ proxied: '10.0.0.4' }, on(31)), []);
});

t.test('both sides are told, errors first', async (t) => {
  const found = sentences(
    { overlay: 'interface: a', underlay: 'interface: ens6, address: 198.18.0.9', peer: '10.0.0.5' },
    { links: [link(3, 'ens6', { up: false })] },
  );
  t.same(
    found.map((sentence) => sentence.split(' ').slice(0, 2).join(' ')),
    ['error no-interface', 'error address-not-here', 'error peer-is-this-machine', 'warning interface-down'],
  );
});
