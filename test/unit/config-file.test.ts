import { mkdirSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import t from 'tap';
import { InvalidSettingsError } from '../../src/config/finding.js';
import { loadSettings, parseSettings } from '../../src/config/load.js';
import { defaultName } from '../../src/config/names.js';
import { SettingsError } from '../../src/errors.js';

const HEAD = `overlay: { interface: ens5 }
underlay: { interface: ens6, address: 198.18.0.1 }
`;
const PEERS = `${HEAD}peers:
`;

/** Lines 1 to 6; proxied entries follow from line 7. */
const PROXIED = `${PEERS}  - name: vpc-b
    address: 198.18.0.2
    proxied:
`;

function failure(text: string, source = 'gateway.yaml'): InvalidSettingsError {
  try {
    parseSettings(text, source);
  } catch (error) {
    if (error instanceof InvalidSettingsError) return error;
    throw error;
  }
  throw new Error(`accepted:\n${text}`);
}

t.test('the smallest file, with all defaults', async (t) => {
  const settings = parseSettings(`${PEERS}  - { name: vpc-b, address: 198.18.0.2 }\n`, 'gateway.yaml');
  const name = `${os.hostname()}-ens5`;
  t.match(settings, {
    source: 'gateway.yaml',
    name,
    overlay: { interface: 'ens5', arp: 'respond' },
    underlay: { interface: 'ens6', address: '198.18.0.1' },
    peers: [
      {
        name: 'vpc-b',
        address: '198.18.0.2',
        proxied: [],
        unlisted: 'drop',
        keepalive: true,
        resolve: 'peer',
        origin: 'gateway.yaml:4:5 (peers[0])',
      },
    ],
    dataplane: { acceleration: 'auto', workers: 'auto', offloads: 'manage', spin: 50, icmpErrors: 100 },
    masquerade: { firstPort: 61000, lastPort: 65535, addresses: [], flows: 262_144 },
    control: { socket: `/run/vpc-conn/${name}.sock` },
    log: { level: 'info', format: 'auto' },
  });
  t.notOk('address' in settings.overlay, "the first address of the interface is the plan's business");
});

t.test('every key', async (t) => {
  const text = `name: vpc-a
overlay: { interface: ens5, address: 10.0.0.5, arp: silent }
underlay: { interface: ens6, address: 198.18.0.1 }
peers:
  - name: vpc-b
    address: 198.18.0.2
    proxied:
      - 10.0.0.20
      - { address: 10.0.0.99, host: 10.0.0.10 }
      - { address: 10.0.2.0/24, host: 10.0.1.0/24 }
    unlisted: masquerade
    keepalive: false
    resolve: tunnel
dataplane: { acceleration: off, workers: 2, offloads: leave, spin: 0, icmp: 7 }
masquerade: { ports: "50000-50999", addresses: [10.0.0.6], flows: 1000 }
control: { socket: /tmp/a.sock }
log: { level: debug, format: json }
`;
  const settings = parseSettings(text, 'gateway.yaml');
  t.match(settings, {
    name: 'vpc-a',
    overlay: { interface: 'ens5', address: '10.0.0.5', arp: 'silent' },
    peers: [{ unlisted: 'masquerade', keepalive: false, resolve: 'tunnel' }],
    dataplane: { acceleration: 'off', workers: 2, offloads: 'leave', spin: 0, icmpErrors: 7 },
    masquerade: { firstPort: 50000, lastPort: 50999, addresses: ['10.0.0.6'], flows: 1000 },
    control: { socket: '/tmp/a.sock' },
    log: { level: 'debug', format: 'json' },
  });
  t.same(settings.peers[0]?.proxied, [
    {
      address: '10.0.0.20',
      host: '10.0.0.20',
      prefixLength: 32,
      origin: 'gateway.yaml:8:9 (peers[0].proxied[0])',
    },
    {
      address: '10.0.0.99',
      host: '10.0.0.10',
      prefixLength: 32,
      origin: 'gateway.yaml:9:9 (peers[0].proxied[1])',
    },
    {
      address: '10.0.2.0',
      host: '10.0.1.0',
      prefixLength: 24,
      origin: 'gateway.yaml:10:9 (peers[0].proxied[2])',
    },
  ]);
  t.equal(settings.origins?.['overlay.interface'], 'gateway.yaml:2:23');
  t.equal(settings.origins?.['peers[0].proxied[1].host'], 'gateway.yaml:9:37');
});

t.test('JSON, anchors, comments, CRLF and a byte order mark', async (t) => {
  const json = JSON.stringify({
    overlay: { interface: 'ens5' },
    underlay: { interface: 'ens6', address: '198.18.0.1' },
    peers: [{ name: 'b', address: '198.18.0.2', proxied: ['10.0.0.20'] }],
  });
  t.equal(
    parseSettings(json, 'gateway.json').peers[0]?.proxied[0]?.origin,
    `gateway.json:1:${json.indexOf('"10.0.0.20') + 1} (peers[0].proxied[0])`,
  );
  const anchored = `${PEERS}  - { name: b, address: 198.18.0.2, proxied: &hosts [10.0.0.20] }
  - { name: c, address: 198.18.0.3, proxied: *hosts }
`;
  t.match(
    failure(anchored).message,
    /^gateway.yaml:5:46: peers\[1\].proxied\[0\]: 10.0.0.20 is already proxied at gateway.yaml:4:54\./,
  );
  t.equal(
    parseSettings(
      `\uFEFF# ours\r\n${PEERS.replaceAll('\n', '\r\n')}  - { name: b, address: 198.18.0.2 }\r\n`,
      'x',
    ).name,
    defaultName('ens5'),
  );
});

t.test('one longer prefix inside another, and one host of two peers, are legal', async (t) => {
  const settings = parseSettings(
    `${PROXIED}      - { address: 10.0.2.0/24, host: 10.0.1.0/24 }
      - { address: 10.0.2.7, host: 10.0.3.7 }
  - { name: vpc-c, address: 198.18.0.3, proxied: [{ address: 10.0.2.8/30, host: 10.0.1.8/30 }] }
`,
    'gateway.yaml',
  );
  t.equal(settings.peers.length, 2);
});

const TABLE: readonly (readonly [what: string, text: string, code: string, message: string])[] = [
  [
    'empty file',
    '',
    'settings-empty',
    'gateway.yaml:1:1: the file is empty. Write at least overlay, underlay and peers.',
  ],
  [
    'comments only',
    '# nothing\n',
    'settings-empty',
    'gateway.yaml:1:1: the file is empty. Write at least overlay, underlay and peers.',
  ],
  [
    'a list',
    '- overlay\n',
    'settings-value',
    'gateway.yaml:1:1: a list is not a mapping. Write a mapping with the keys name, overlay, underlay, peers, dataplane, masquerade, compat, control, metrics and log.',
  ],
  [
    'syntax',
    `${HEAD}peers: [1\nname: x\n`,
    'settings-syntax',
    'gateway.yaml:4:1: this is not valid YAML (Flow sequence in block collection must be sufficiently indented and end with a ]). Correct the indentation, or put the value in quotes.',
  ],
  [
    'tab',
    'overlay:\n\tinterface: ens5\n',
    'settings-syntax',
    'gateway.yaml:2:1: this is not valid YAML (Tabs are not allowed as indentation). Correct the indentation, or put the value in quotes.',
  ],
  [
    'two documents',
    `${PEERS}  - { name: b, address: 198.18.0.2 }\n---\nname: x\n`,
    'settings-syntax',
    'gateway.yaml:5:1: a second document begins here. One file configures one gateway: remove the line "---" and what follows.',
  ],
  [
    'unknown tag',
    `${HEAD}name: !!vpc a\n`,
    'settings-syntax',
    'gateway.yaml:3:7: this is not valid YAML (Unresolved tag: tag:yaml.org,2002:vpc). Correct the indentation, or put the value in quotes.',
  ],
  [
    'alias without an anchor',
    `${HEAD}name: *a\n`,
    'settings-syntax',
    'gateway.yaml:3:7: the alias *a has no anchor. Write &a before the value it stands for, or put the text in quotes.',
  ],
  [
    'duplicate key',
    `${PEERS}  - { name: b, address: 198.18.0.2 }\n  - name: c\n    address: 198.18.0.3\n    address: 198.18.0.4\n`,
    'settings-duplicate-key',
    'gateway.yaml:7:5: peers[1].address: this key is written twice. Keep one of the two.',
  ],
  [
    'slip in a key',
    `nmae: a\n${PEERS}  - { name: b, address: 198.18.0.2 }\n`,
    'settings-unknown-key',
    'gateway.yaml:1:1: nmae: this key is unknown. Did you mean "name"?',
  ],
  [
    'a key of another place',
    `spin: 5\n${PEERS}  - { name: b, address: 198.18.0.2 }\n`,
    'settings-unknown-key',
    'gateway.yaml:1:1: spin: this key is unknown. Did you mean "dataplane.spin"?',
  ],
  [
    'an unknown key',
    `log: { colour: red }\n${PEERS}  - { name: b, address: 198.18.0.2 }\n`,
    'settings-unknown-key',
    'gateway.yaml:1:8: log.colour: this key is unknown. The keys known here are level and format.',
  ],
  [
    'a missing key',
    `overlay: { arp: silent }\nunderlay: { interface: ens6, address: 198.18.0.1 }\npeers:\n  - { name: b, address: 198.18.0.2 }\n`,
    'settings-missing-key',
    'gateway.yaml:1:10: overlay.interface: this key is missing. Write the name of a network interface, for example ens5.',
  ],
  [
    'no peers',
    `${HEAD}peers: []\n`,
    'settings-value',
    'gateway.yaml:3:8: peers: this list is empty. Write a list with at least one peer.',
  ],
  [
    'an empty key',
    `${HEAD}peers:\n`,
    'settings-value',
    'gateway.yaml:3:1: peers: nothing is written here. Write a list with at least one peer.',
  ],
  [
    'a number for a name',
    `name: 7\n${PEERS}  - { name: b, address: 198.18.0.2 }\n`,
    'settings-value',
    'gateway.yaml:1:7: name: 7 is read as a number. Put it in quotes: "7".',
  ],
  [
    'a choice',
    `log: { level: loud }\n${PEERS}  - { name: b, address: 198.18.0.2 }\n`,
    'settings-value',
    'gateway.yaml:1:15: log.level: "loud" is not known here. Write trace, debug, info, warn or error.',
  ],
  [
    'a truth',
    `${PEERS}  - { name: b, address: 198.18.0.2, keepalive: yes }\n`,
    'settings-value',
    'gateway.yaml:4:48: peers[0].keepalive: "yes" is not true or false. Write true or false.',
  ],
  [
    'spin too long',
    `dataplane: { spin: 1001 }\n${PEERS}  - { name: b, address: 198.18.0.2 }\n`,
    'settings-value',
    'gateway.yaml:1:20: dataplane.spin: 1001 is not a whole number from 0 to 1000. Write it like 50.',
  ],
  [
    'no workers',
    `dataplane: { workers: 0 }\n${PEERS}  - { name: b, address: 198.18.0.2 }\n`,
    'settings-value',
    'gateway.yaml:1:23: dataplane.workers: 0 is not auto or a whole number from 1 to 64. Write it like 1.',
  ],
  [
    'an address out of range',
    `${PEERS}  - { name: b, address: 198.18.0.256 }\n`,
    'settings-value',
    'gateway.yaml:4:25: peers[0].address: "198.18.0.256" is not an IP address. Write it like 198.18.0.2.',
  ],
  [
    'an address with leading zeros',
    `${PEERS}  - { name: b, address: 198.018.0.2 }\n`,
    'settings-value',
    'gateway.yaml:4:25: peers[0].address: "198.018.0.2" is not an IP address. Write it like 198.18.0.2.',
  ],
  [
    'a prefix for an address',
    `${PEERS}  - { name: b, address: 198.18.0.2/24 }\n`,
    'settings-value',
    'gateway.yaml:4:25: peers[0].address: "198.18.0.2/24" is not an IP address. Write it like 198.18.0.2.',
  ],
  [
    'an interface with a slash',
    `${HEAD.replace('ens5', 'a/b')}peers:\n  - { name: b, address: 198.18.0.2 }\n`,
    'settings-value',
    'gateway.yaml:1:23: overlay.interface: "a/b" is not the name of a network interface. Write it like ens5.',
  ],
  [
    'an IPv6 peer',
    `${PEERS}  - { name: b, address: "2001:db8::2" }\n`,
    'settings-unsupported',
    'gateway.yaml:4:25: peers[0].address: 2001:db8::2 is an IPv6 address; IPv6 is not supported by this version. Write an IPv4 address.',
  ],
  [
    'an IPv6 prefix with bits beyond it',
    `${PROXIED}      - 2001:db8::1/64\n`,
    'settings-host-bits',
    'gateway.yaml:7:9: peers[0].proxied[0]: 2001:db8::1/64 has bits set outside its prefix. Write 2001:db8::/64 for the whole prefix, or 2001:db8::1 for that one address.',
  ],
  [
    'IPv4 for IPv6',
    `${PROXIED}      - { address: 10.0.0.20, host: "2001:db8::20" }\n`,
    'settings-families',
    'gateway.yaml:7:9: peers[0].proxied[0]: one of address and host is IPv4 and the other IPv6, and nothing here translates between them. Give both of one kind.',
  ],
  [
    'what only looks like IPv6',
    `${PEERS}  - { name: b, address: "1:2:3" }\n`,
    'settings-value',
    'gateway.yaml:4:25: peers[0].address: "1:2:3" is not an IP address. Write one, for example 10.0.0.5.',
  ],
  [
    'overlay.address6 that is none',
    `overlay: { interface: ens5, address6: 10.0.0.5 }\nunderlay: { interface: ens6, address: 198.18.0.1 }\npeers:\n  - { name: b, address: 198.18.0.2 }\n`,
    'settings-value',
    'gateway.yaml:1:39: overlay.address6: 10.0.0.5 is an IPv4 address. Write an IPv6 address here, for example 2001:db8::5.',
  ],
  [
    'a metrics listener without a port',
    `metrics: { listen: "127.0.0.1:97970" }\n${PEERS}  - { name: b, address: 198.18.0.2 }\n`,
    'settings-value',
    'gateway.yaml:1:20: metrics.listen: "127.0.0.1:97970" ends with no port. Write one from 1 to 65535, for example 127.0.0.1:9797.',
  ],
  [
    'prefixes of different length',
    `${PROXIED}      - { address: 10.0.2.0/24, host: 10.0.1.0/25 }\n`,
    'settings-prefix-lengths',
    'gateway.yaml:7:9: peers[0].proxied[0]: address has prefix length 24 and host 25. Give both the same length, so that each address stands for one host.',
  ],
  [
    'host bits',
    `${PROXIED}      - 10.0.2.5/24\n`,
    'settings-host-bits',
    'gateway.yaml:7:9: peers[0].proxied[0]: 10.0.2.5/24 has bits set outside its prefix. Write 10.0.2.0/24 for the whole prefix, or 10.0.2.5 for that one address.',
  ],
  [
    'host bits of the far side',
    `${PROXIED}      - { address: 10.0.2.0/24, host: 10.0.1.9/24 }\n`,
    'settings-host-bits',
    'gateway.yaml:7:9: peers[0].proxied[0]: host 10.0.1.9/24 has bits set outside its prefix. Write 10.0.1.0/24 for the whole prefix, or 10.0.1.9 for that one address.',
  ],
  [
    'a multicast address',
    `${PROXIED}      - 224.0.0.5\n`,
    'settings-unusable-address',
    'gateway.yaml:7:9: peers[0].proxied[0]: 224.0.0.5 is a multicast address. Write an address that a host can have.',
  ],
  [
    'the metadata service as far host',
    `${PROXIED}      - { address: 10.0.0.20, host: 169.254.169.254 }\n`,
    'settings-unusable-address',
    'gateway.yaml:7:9: peers[0].proxied[0]: host 169.254.169.254 is a link-local address. Write an address that a host can have.',
  ],
  [
    'everything',
    `${PROXIED}      - 0.0.0.0/0\n`,
    'settings-unusable-address',
    'gateway.yaml:7:9: peers[0].proxied[0]: 0.0.0.0/0 holds addresses that no host can have: one is the broadcast address. Write a prefix of hosts.',
  ],
  [
    'loopback as peer',
    `${PEERS}  - { name: b, address: 127.0.0.1 }\n`,
    'settings-unusable-address',
    'gateway.yaml:4:25: peers[0].address: 127.0.0.1 is a loopback address. Write an address that a host can have.',
  ],
  [
    'the same proxied address twice',
    `${PROXIED}      - 10.0.0.20\n      - { address: 10.0.0.20, host: 10.0.0.21 }\n`,
    'settings-duplicate-proxied',
    'gateway.yaml:8:9: peers[0].proxied[1]: 10.0.0.20 is already proxied at gateway.yaml:7:9. Remove one of the two: an address stands for one far host.',
  ],
  [
    'the same line twice: one finding',
    `${PROXIED}      - 10.0.0.20\n      - 10.0.0.20/32\n`,
    'settings-duplicate-proxied',
    'gateway.yaml:8:9: peers[0].proxied[1]: 10.0.0.20 is already proxied at gateway.yaml:7:9. Remove one of the two: an address stands for one far host.',
  ],
  [
    'the same proxied prefix for two peers',
    `${PROXIED}      - 10.0.2.0/24\n  - { name: c, address: 198.18.0.3, proxied: [10.0.2.0/24] }\n`,
    'settings-duplicate-proxied',
    'gateway.yaml:8:47: peers[1].proxied[0]: 10.0.2.0/24 is already proxied at gateway.yaml:7:9. Remove one of the two: an address stands for one far host.',
  ],
  [
    'the same far host twice',
    `${PROXIED}      - 10.0.0.20\n      - { address: 10.0.0.99, host: 10.0.0.20 }\n`,
    'settings-duplicate-host',
    'gateway.yaml:8:9: peers[0].proxied[1]: far host 10.0.0.20 has a proxied address already at gateway.yaml:7:9. Remove one of the two: what a far host sends can bear only one address.',
  ],
  [
    'a far host inside a far prefix',
    `${PROXIED}      - { address: 10.0.0.99, host: 10.0.1.7 }\n      - { address: 10.0.2.0/24, host: 10.0.1.0/24 }\n`,
    'settings-duplicate-host',
    'gateway.yaml:8:9: peers[0].proxied[1]: far hosts in 10.0.1.0/24 have a proxied address already at gateway.yaml:7:9. Remove one of the two: what a far host sends can bear only one address.',
  ],
  [
    'a masquerade address twice',
    `masquerade: { addresses: [10.0.0.6, 10.0.0.6] }\n${PEERS}  - { name: b, address: 198.18.0.2 }\n`,
    'settings-duplicate-pool',
    'gateway.yaml:1:37: masquerade.addresses[1]: 10.0.0.6 is already listed at gateway.yaml:1:27. Remove one of the two.',
  ],
  [
    'a masquerade address that is proxied',
    `masquerade: { addresses: [10.0.2.6] }\n${PEERS}  - { name: b, address: 198.18.0.2, proxied: [10.0.2.0/24] }\n`,
    'settings-pool-proxied',
    'gateway.yaml:1:27: masquerade.addresses[0]: 10.0.2.6 is also proxied, at gateway.yaml:5:47. Masquerade behind an address that stands for no far host.',
  ],
  [
    'peers of one name',
    `${PEERS}  - { name: b, address: 198.18.0.2 }\n  - { name: b, address: 198.18.0.3 }\n`,
    'settings-duplicate-peer',
    'gateway.yaml:5:13: peers[1].name: a peer named b is already at gateway.yaml:4:13. Give each peer its own name.',
  ],
  [
    'peers of one address',
    `${PEERS}  - { name: b, address: 198.18.0.2 }\n  - { name: c, address: 198.18.0.2 }\n`,
    'settings-duplicate-peer',
    'gateway.yaml:5:25: peers[1].address: a peer with the address 198.18.0.2 is already at gateway.yaml:4:25, and their frames could not be told apart. List all proxied addresses under one of them.',
  ],
  [
    'a loop',
    `${PEERS}  - { name: b, address: 198.18.0.1 }\n`,
    'settings-loop',
    "gateway.yaml:4:25: peers[0].address: 198.18.0.1 is this gateway's own underlay address, so frames would loop. Write the far gateway's address.",
  ],
  ...['80-1023', '62000-61000', '61000-65536'].map(
    (ports) =>
      [
        `ports ${ports}`,
        `masquerade: { ports: ${ports} }\n${PEERS}  - { name: b, address: 198.18.0.2 }\n`,
        'settings-ports',
        `gateway.yaml:1:22: masquerade.ports: ${ports} is not a range of ports from 1024 to 65535, the smaller first. Write it like 61000-65535.`,
      ] as const,
  ),
  [
    'one port',
    `masquerade: { ports: 61000 }\n${PEERS}  - { name: b, address: 198.18.0.2 }\n`,
    'settings-value',
    'gateway.yaml:1:22: masquerade.ports: 61000 is not a range of ports. Write it like 61000-65535.',
  ],
  [
    'a relative socket',
    `control: { socket: a.sock }\n${PEERS}  - { name: b, address: 198.18.0.2 }\n`,
    'settings-value',
    'gateway.yaml:1:20: control.socket: "a.sock" is not an absolute path of at most 107 bytes. Write it like /run/vpc-conn/vpc-a.sock.',
  ],
  [
    'a socket of too many bytes',
    `control: { socket: /${'ä'.repeat(54)} }\n${PEERS}  - { name: b, address: 198.18.0.2 }\n`,
    'settings-socket',
    `gateway.yaml:1:20: control.socket: "/${'ä'.repeat(54)}" is not an absolute path of at most 107 bytes. Write one, for example /run/vpc-conn/vpc-a.sock.`,
  ],
];

t.test('bad input: the exact sentence, alone', async (t) => {
  for (const [what, text, code, message] of TABLE) {
    const error = failure(text);
    t.equal(error.message, message, what);
    t.equal(error.code, code, `${what}: code`);
    t.equal(error.exitCode, 2);
  }
});

t.test('all mistakes are told at once, in the order of the text', async (t) => {
  const error = failure(`nmae: 5
overlay: { interface: 12, arp: loud }
underlay: { interface: ens6, address: 198.18.0.500 }
peers:
  - name: b
    proxied:
      - { adress: 10.0.0.99, host: 10.0.0.300 }
      - 7
      - [1]
  - name: a b
    address:
log: [a]
`);
  t.equal(error.code, 'settings-unknown-key');
  t.same(
    error.findings.map(({ key, origin, severity }) => [key, origin, severity].join(' ')),
    [
      'nmae gateway.yaml:1:1 error',
      'overlay.interface gateway.yaml:2:23 error',
      'overlay.arp gateway.yaml:2:32 error',
      'underlay.address gateway.yaml:3:39 error',
      'peers[0].address gateway.yaml:5:5 error',
      'peers[0].proxied[0].address gateway.yaml:7:9 error',
      'peers[0].proxied[0].adress gateway.yaml:7:11 error',
      'peers[0].proxied[0].host gateway.yaml:7:36 error',
      'peers[0].proxied[1] gateway.yaml:8:9 error',
      'peers[0].proxied[2] gateway.yaml:9:9 error',
      'peers[1].name gateway.yaml:10:11 error',
      'peers[1].address gateway.yaml:11:5 error',
      'log gateway.yaml:12:6 error',
    ],
  );
  t.equal(error.message, error.findings.map((finding) => finding.message).join('\n'));
});

t.test('aliases that multiply without bound are refused', async (t) => {
  const bomb = ['a: &a [x,x,x,x,x,x,x,x,x]'];
  for (const [index, letter] of [...'bcdefghi'].entries()) {
    const before = 'abcdefgh'[index];
    bomb.push(`${letter}: &${letter} [${Array(9).fill(`*${before}`).join(',')}]`);
  }
  t.throws(() => parseSettings(bomb.join('\n'), 'bomb.yaml'), {
    code: 'settings-syntax',
    exitCode: 2,
    message: "bomb.yaml: the file's aliases multiply without bound. Write the values out.",
  });
});

t.test('ten thousand entries load, and a duplicate among them is found', async (t) => {
  const entries = Array.from({ length: 10_000 }, (_, index) => `      - 10.1.${index >> 8}.${index & 255}`);
  t.equal(parseSettings(`${PROXIED}${entries.join('\n')}\n`, 'big.yaml').peers[0]?.proxied.length, 10_000);
  const error = failure(`${PROXIED}${[...entries, '      - 10.1.0.77'].join('\n')}\n`);
  t.equal(error.findings.length, 1);
  t.match(
    error.message,
    'gateway.yaml:10007:9: peers[0].proxied[10000]: 10.1.0.77 is already proxied at gateway.yaml:84:9.',
  );
});

t.test('files that cannot be read', async (t) => {
  const directory = t.testdir({ 'good.yaml': `${PEERS}  - { name: b, address: 198.18.0.2 }\n` });
  t.equal(loadSettings(`${directory}/good.yaml`).source, `${directory}/good.yaml`);
  const missing = `${directory}/none.yaml`;
  t.throws(() => loadSettings(missing), {
    name: 'SettingsError',
    code: 'settings-unreadable',
    exitCode: 2,
    message: `${missing}: there is no such file. Give the path of the configuration file; examples/gateway.yaml is one to start from.`,
  });
  mkdirSync(`${directory}/folder`);
  t.throws(() => loadSettings(`${directory}/folder`), { message: /: this is a directory\. / });
  t.throws(() => loadSettings(`${directory}/good.yaml/x`), SettingsError);
  writeFileSync(`${directory}/binary`, Buffer.from([0, 255, 1, 2]));
  t.throws(() => loadSettings(`${directory}/binary`), SettingsError);
});

t.test('the default name fits a file name and a socket', async (t) => {
  t.equal(defaultName('ens5', '', 'gw1.example.org'), 'gw1.example.org-ens5');
  t.equal(defaultName('ens5@x', '-77', '-we ird'), 'we-ird-ens5-x-77');
  t.equal(defaultName('ens5', '', '---'), 'host-ens5');
  const long = defaultName('a'.repeat(15), '-4194304', 'h'.repeat(64));
  t.equal(long.length, 88);
  t.match(long, /^h{64}-a{15}-4194304$/);
  t.ok(defaultName('a'.repeat(15), '-4194304', 'h'.repeat(200)).endsWith('a-4194304'));
});
