/**
 * The configuration file's shape, once: TypeBox makes the TypeScript type of it, the JSON Schema that editors
 * use, and the check at load time. Every leaf has a `title`, the noun that messages are made with ("... is not
 * an interface name"), and where one is useful an example.
 */
import Type, { type Static } from 'typebox';

/** What holds when neither file nor flags say otherwise. */
export const DEFAULTS = {
  arp: 'respond',
  dscp: 'copy',
  unlisted: 'drop',
  keepalive: true,
  resolve: 'peer',
  acceleration: 'auto',
  workers: 'auto',
  offloads: 'manage',
  spin: 50,
  icmp: 100,
  masqueradePorts: '61000-65535',
  reversed: false,
  masqueradeFlows: 262_144,
  controlMode: '0600',
  logLevel: 'info',
  logFormat: 'auto',
} as const;

/** Names become part of a socket's path, whose length the kernel limits to 107 bytes. */
export const NAME_MAX_LENGTH = 88;

const OCTET = '(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])';
const IPV4 = `${OCTET}(\\.${OCTET}){3}`;
// Loose on purpose: IPv6 is parsed, not matched.
const IPV6 = '[0-9A-Fa-f]*:[0-9A-Fa-f:.]+';

const mapping = { additionalProperties: false };

function choice<const Values extends readonly string[]>(
  values: Values,
  options: { description: string; default: Values[number] },
) {
  return Type.Enum<[...Values]>([...values], { ...options, title: oneOf(values) });
}

function interfaceName(description: string, example: string) {
  return Type.String({
    title: 'the name of a network interface',
    description,
    // The kernel's own rule (dev_valid_name): at most 15 bytes, no slash, colon or white space.
    pattern: '^[^\\s/:]{1,15}$',
    examples: [example],
  });
}

function address(description: string, example: string) {
  return Type.String({
    title: 'an IP address',
    description,
    pattern: `^(${IPV4}|${IPV6})$`,
    examples: [example],
  });
}

function prefix(description: string, example: string) {
  return Type.String({
    title: 'an IP address or prefix',
    description,
    pattern: `^(${IPV4}(/(3[0-2]|[12]?[0-9]))?|${IPV6}(/[0-9]{1,3})?)$`,
    examples: [example],
  });
}

function name(description: string, example: string) {
  return Type.String({
    title: `a name of at most ${NAME_MAX_LENGTH} letters, digits, ".", "_" and "-"`,
    description,
    pattern: `^[A-Za-z0-9][A-Za-z0-9._-]{0,${NAME_MAX_LENGTH - 1}}$`,
    examples: [example],
  });
}

function account(description: string, example: string) {
  return Type.String({
    title: 'the name or number of a user or group',
    description,
    pattern: '^([a-z_][a-z0-9_.-]{0,31}[$]?|[0-9]{1,9})$',
    examples: [example],
  });
}

const Overlay = Type.Object(
  {
    interface: interfaceName('Interface towards the hosts of this VPC.', 'ens5'),
    address: Type.Optional(
      address(
        "This gateway's own address on that interface. Default: the first IPv4 address of the interface.",
        '10.0.0.5',
      ),
    ),
    address6: Type.Optional(
      address(
        'The IPv6 counterpart of address. Default, if IPv6 addresses are proxied: the first global one of the interface that is none of them.',
        '2001:db8::5',
      ),
    ),
    arp: Type.Optional(
      choice(['respond', 'silent'], {
        description:
          'Whether ARP requests and neighbor solicitations for proxied addresses are answered: harmless in a VPC, needed on a plain LAN.',
        default: DEFAULTS.arp,
      }),
    ),
  },
  { ...mapping, title: 'a mapping', description: 'The side of the hosts of this VPC.' },
);

const Underlay = Type.Object(
  {
    interface: interfaceName('Interface that carries the tunnel.', 'ens6'),
    address: address('Outer source: an address of that interface.', '198.18.0.1'),
    dscp: Type.Optional(
      Type.Union([Type.Literal('copy'), Type.Integer({ minimum: 0, maximum: 63 })], {
        title: 'copy or a whole number from 0 to 63',
        description:
          "DSCP of outer headers: the inner packet's, or a fixed one. The inner DSCP is never changed.",
        default: DEFAULTS.dscp,
        examples: [0],
      }),
    ),
  },
  { ...mapping, title: 'a mapping', description: 'The side that carries the tunnel.' },
);

const Proxied = Type.Union(
  [
    prefix('The same address or prefix on both sides: nothing but MACs is rewritten.', '10.0.0.20'),
    Type.Object(
      {
        address: prefix('Address or prefix of this VPC that stands for the far host.', '10.0.0.99'),
        host: prefix('The far host, or a prefix of the same length: rewritten one to one.', '10.0.0.10'),
      },
      { ...mapping, title: 'a mapping with the keys address and host' },
    ),
  ],
  {
    title: 'an address, a prefix, or a mapping with the keys address and host',
    description: 'An address of this VPC, owned by this gateway, that stands for a far host.',
    examples: ['10.0.0.20', { address: '10.0.0.99', host: '10.0.0.10' }],
  },
);

const Peer = Type.Object(
  {
    name: name('Name of the peer in messages and figures.', 'vpc-b'),
    address: address("Outer destination: the far gateway's underlay address.", '198.18.0.2'),
    proxied: Type.Optional(
      Type.Array(Proxied, {
        title: 'a list',
        description: 'Addresses of this VPC that stand for far hosts. Default: none.',
        default: [],
      }),
    ),
    unlisted: Type.Optional(
      choice(['drop', 'masquerade'], {
        description:
          'What becomes of a far source without a proxied address: dropped, or masqueraded behind overlay.address.',
        default: DEFAULTS.unlisted,
      }),
    ),
    keepalive: Type.Optional(
      Type.Boolean({
        title: 'true or false',
        description:
          'Whether this gateway initiates keepalives and path probes; it answers them in any case.',
        default: DEFAULTS.keepalive,
      }),
    ),
    resolve: Type.Optional(
      choice(['peer', 'tunnel'], {
        description:
          'Who finds the MAC of a far host: the far gateway, or this one by ARP through the tunnel (for vpc_conn.rb).',
        default: DEFAULTS.resolve,
      }),
    ),
  },
  { ...mapping, title: 'a mapping', description: 'A far gateway.' },
);

const Dataplane = Type.Object(
  {
    acceleration: Type.Optional(
      choice(['auto', 'off', 'segment', 'full'], {
        description:
          'How much of the work the kernel does; auto takes the best that passes its self-test. auto stays below full in this version.',
        default: DEFAULTS.acceleration,
      }),
    ),
    workers: Type.Optional(
      Type.Union([Type.Literal('auto'), Type.Integer({ minimum: 1, maximum: 64 })], {
        title: 'auto or a whole number from 1 to 64',
        description: 'Threads per direction.',
        default: DEFAULTS.workers,
        examples: [1],
      }),
    ),
    offloads: Type.Optional(
      choice(['manage', 'leave'], {
        description:
          'Whether offloads of the underlay interface are switched as the acceleration needs, and restored at exit.',
        default: DEFAULTS.offloads,
      }),
    ),
    spin: Type.Optional(
      Type.Integer({
        title: 'a whole number from 0 to 1000',
        description: 'Microseconds that an idle worker spins before it sleeps: latency against CPU time.',
        minimum: 0,
        maximum: 1000,
        default: DEFAULTS.spin,
        examples: [DEFAULTS.spin],
      }),
    ),
    icmp: Type.Optional(
      Type.Integer({
        title: 'a whole number from 0 to 100000',
        description:
          'ICMP errors ("packet too big") that a worker sends to hosts in a second at most, a tenth of them to one host; 0: none.',
        minimum: 0,
        maximum: 100_000,
        default: DEFAULTS.icmp,
        examples: [DEFAULTS.icmp],
      }),
    ),
  },
  { ...mapping, title: 'a mapping', description: 'The fast path.' },
);

const Masquerade = Type.Object(
  {
    ports: Type.Optional(
      Type.String({
        title: 'a range of ports',
        description:
          "Ports and ICMP ids that masquerade gives out; outside the kernel's net.ipv4.ip_local_port_range.",
        pattern: '^[0-9]{1,5}-[0-9]{1,5}$',
        default: DEFAULTS.masqueradePorts,
        examples: [DEFAULTS.masqueradePorts],
      }),
    ),
    addresses: Type.Optional(
      Type.Array(
        address('Address of this VPC, owned by this gateway, that far hosts appear as.', '10.0.0.6'),
        {
          title: 'a list of at most 16 addresses',
          description:
            'What far hosts appear as, each with all the ports; a host keeps to one of them. Default: overlay.address.',
          maxItems: 16,
          default: [],
          examples: [['10.0.0.6', '10.0.0.7']],
        },
      ),
    ),
    flows: Type.Optional(
      Type.Integer({
        title: 'a whole number from 64 to 4194304',
        description:
          'Masqueraded flows at once. Each takes 40 bytes of memory, once it was used. A change needs a restart.',
        minimum: 64,
        maximum: 4_194_304,
        default: DEFAULTS.masqueradeFlows,
        examples: [DEFAULTS.masqueradeFlows],
      }),
    ),
    state: Type.Optional(
      Type.String({
        title: 'an absolute path',
        description:
          'File that keeps the flows over a restart. Default: beside the control socket, its name ending with .masquerade.',
        pattern: '^/',
        maxLength: 4000,
        examples: ['/var/lib/vpc-conn/vpc-a.masquerade'],
      }),
    ),
  },
  { ...mapping, title: 'a mapping', description: 'For peers with "unlisted: masquerade".' },
);

const Compat = Type.Object(
  {
    reversed: Type.Optional(
      Type.Boolean({
        title: 'true or false',
        description:
          'Whether EtherIP that begins with 0x03 0x00 is taken, too: FreeBSD 6.1 to 7.2 exchanged the nibbles.',
        default: DEFAULTS.reversed,
      }),
    ),
  },
  { ...mapping, title: 'a mapping', description: 'For peers that deviate from RFC 3378.' },
);

const Control = Type.Object(
  {
    socket: Type.Optional(
      Type.String({
        title: 'an absolute path of at most 107 bytes',
        description: 'Control socket. Default: /run/vpc-conn/NAME.sock.',
        pattern: '^/',
        maxLength: 107,
        examples: ['/run/vpc-conn/vpc-a.sock'],
      }),
    ),
    mode: Type.Optional(
      Type.String({
        title: 'an octal mode like "0660"',
        description:
          'Who may open the socket: its permissions. Others than its owner can stop the gateway, too.',
        pattern: '^0?[0-7]{3}$',
        default: DEFAULTS.controlMode,
        examples: ['0660'],
      }),
    ),
    owner: Type.Optional(account("The socket's owner. Default: the user that runs the gateway.", 'vpc-conn')),
    group: Type.Optional(account("The socket's group. Default: that of the user.", 'netops')),
  },
  { ...mapping, title: 'a mapping', description: 'How client commands reach this gateway.' },
);

const Metrics = Type.Object(
  {
    listen: Type.String({
      title: 'an address and a port',
      description: 'Address and port of the metrics listener, GET /metrics; none unless given.',
      pattern: '^(\\[[0-9A-Fa-f:.]+\\]|[^:]+):[0-9]{1,5}$',
      examples: ['127.0.0.1:9797'],
    }),
  },
  { ...mapping, title: 'a mapping', description: 'Metrics for Prometheus.' },
);

const Log = Type.Object(
  {
    level: Type.Optional(
      choice(['trace', 'debug', 'info', 'warn', 'error'], {
        description: 'What is logged; the line "ready" is logged at every level.',
        default: DEFAULTS.logLevel,
      }),
    ),
    format: Type.Optional(
      choice(['auto', 'pretty', 'json'], {
        description: 'auto: pretty on a terminal, JSON lines otherwise.',
        default: DEFAULTS.logFormat,
      }),
    ),
  },
  { ...mapping, title: 'a mapping', description: 'Logging, to stderr.' },
);

export const FileSchema = Type.Object(
  {
    name: Type.Optional(
      name('Name of this gateway. Default: the host\'s name, "-", the overlay interface.', 'vpc-a'),
    ),
    overlay: Overlay,
    underlay: Underlay,
    peers: Type.Array(Peer, {
      title: 'a list with at least one peer',
      description: 'The far gateways.',
      minItems: 1,
      // A scope number of 16 bits holds the peer's index.
      maxItems: 4096,
    }),
    dataplane: Type.Optional(Dataplane),
    masquerade: Type.Optional(Masquerade),
    compat: Type.Optional(Compat),
    control: Type.Optional(Control),
    metrics: Type.Optional(Metrics),
    log: Type.Optional(Log),
  },
  {
    ...mapping,
    title: 'a mapping',
    description: 'Configuration of one vpc-conn gateway.',
  },
);

/** The file's content once it fits the schema; defaults are not filled in. */
export type SettingsFile = Static<typeof FileSchema>;

/** The JSON Schema for editors, as it is written to dist/config/vpc-conn.schema.json. */
export function jsonSchema(): object {
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    ...FileSchema,
    title: 'vpc-conn gateway',
  };
}

function oneOf(values: readonly string[]): string {
  return values.length < 2 ? values.join('') : `${values.slice(0, -1).join(', ')} or ${values.at(-1)}`;
}
