/**
 * The kernel guard. The kernel sees every frame that the workers see; without the guard it would answer for a
 * proxied address that the operating system has configured (ping, TCP RST, ARP, neighbor advertisements), forward
 * a copy when ip_forward=1, and answer protocol 97 with ICMP protocol-unreachable. The guard drops exactly these frames
 * behind the packet sockets' tap, and nothing else: what goes to the gateway's own addresses, SSH among it,
 * and whatever carries a VLAN tag matches no rule.
 *
 * Its nf_tables table has `flags owner`: it belongs to the netlink socket of this process, nobody else can
 * change or flush it, and it vanishes with the process, however that ends.
 */
import { randomBytes } from 'node:crypto';
import { VpcConnError } from '../errors.js';
import type { NativeError, NativeNftables } from '../native/addon.js';
import { loadAddon } from '../native/binding.js';
import { formatPrefix, isIpv4, networkOf, type Prefix, rangeOf } from '../net/address.js';

export interface GuardPlan {
  readonly overlay: { readonly interface: string; readonly address: string };
  readonly underlay: { readonly interface: string };
  /** Prefixes may overlap or repeat. */
  readonly proxied: readonly Prefix[];
  /** Protocol 97 from `address` to `localAddress` is ours; any other is left to the kernel. May repeat. */
  readonly peers: readonly { readonly localAddress: string; readonly address: string }[];
  /** Only while a peer masquerades: ports and ICMP ids of `address` that are ours. */
  readonly masquerade?:
    | { readonly address: string; readonly firstPort: number; readonly lastPort: number }
    | undefined;
}

export type GuardMethod = 'netdev ingress' | 'ip prerouting';

export interface GuardState {
  readonly state: 'up' | 'down';
  /** How frames are dropped; empty before the first plan is in force. */
  readonly method: GuardMethod | '';
}

/** All methods are synchronous and run on the JS thread; 10,000 proxied addresses take about 0.1 s. */
export interface Guard {
  /**
   * Puts `plan` in force in one transaction: whatever both the old and the new plan cover is covered at every
   * moment. Throws VpcConnError; the old plan then stays in force.
   */
  apply(plan: GuardPlan): void;
  state(): GuardState;
  /** Takes the guard away. Idempotent. */
  close(): void;
}

export interface GuardOptions {
  /** Stands in for libnftables in tests. */
  readonly openNftables?: () => NativeNftables;
}

/** Nothing reaches the kernel before the first apply(). Throws VpcConnError when libnftables is missing. */
export function createGuard(options: GuardOptions = {}): Guard {
  return new NftablesGuard(options.openNftables ?? openLibrary);
}

/** Whether this machine can carry a guard: tries, and leaves nothing behind. Throws VpcConnError. */
export function probeGuard(options: GuardOptions = {}): GuardMethod {
  return chooseMethod(options.openNftables ?? openLibrary);
}

/** Before anything else on the interface; a tap (ETH_P_ALL) still comes first. */
const INGRESS_PRIORITY = -500;
/** NF_IP_PRI_RAW_BEFORE_DEFRAG: before the kernel collects fragments, and before conntrack. */
const PREROUTING_PRIORITY = -450;
/** RFC 3378: EtherIP. */
const ETHERIP = 97;

type Open = () => NativeNftables;

class NftablesGuard implements Guard {
  readonly #open: Open;
  readonly #nftables: NativeNftables;
  /** Unique also among containers that share a network namespace but not their process numbers. */
  readonly #table = `vpc_conn_${process.pid}_${randomBytes(3).toString('hex')}`;
  #method: GuardMethod | '' = '';
  #installed: Contents | undefined;
  #closed = false;

  constructor(open: Open) {
    this.#open = open;
    this.#nftables = open();
  }

  apply(plan: GuardPlan): void {
    if (this.#closed)
      throw new VpcConnError('guard-closed', 'The kernel guard is closed. Start the gateway again.');
    const wanted = contentsOf(plan);
    const method = this.#method || chooseMethod(this.#open);
    try {
      this.#change(method, this.#installed, wanted);
    } catch (cause) {
      throw explained(cause);
    }
    this.#method = method;
    this.#installed = wanted;
  }

  #change(method: GuardMethod, installed: Contents | undefined, wanted: Contents): void {
    const fresh = install(this.#table, method, wanted);
    if (!installed) return void this.#nftables.run(fresh);
    // Elements are exchanged one by one where possible. Replacing whole tables leaves an instant in which a
    // packet has passed the new chain before it is valid and meets the old one after it is not.
    if (sameShape(installed, wanted)) {
      const commands = update(this.#table, method, installed, wanted);
      if (commands !== '') this.#nftables.run(commands);
      return;
    }
    this.#nftables.run(`${remove(this.#table, method, installed)}\n${fresh}`);
  }

  state(): GuardState {
    return { state: this.#installed && !this.#closed ? 'up' : 'down', method: this.#method };
  }

  close(): void {
    this.#closed = true;
    this.#nftables.close();
  }
}

/** A plan in the words of nft. */
interface Contents {
  readonly overlay: string;
  readonly underlay: string;
  readonly proxied: ReadonlySet<string>;
  readonly tunnels: ReadonlySet<string>;
  readonly masquerade: readonly string[];
  /** Undefined where nothing is IPv6: the rules for it need more of nft. */
  readonly ipv6: Ipv6Contents | undefined;
}

interface Ipv6Contents {
  readonly proxied: ReadonlySet<string>;
  /** The same as numbers: nft has no name yet for the target of a neighbor solicitation. */
  readonly targets: ReadonlySet<string>;
  readonly tunnels: ReadonlySet<string>;
}

function contentsOf(plan: GuardPlan): Contents {
  const of = (ipv4: boolean) => ({
    proxied: disjoint(plan.proxied.filter(({ address }) => isIpv4(address) === ipv4)),
    tunnels: plan.peers
      .filter(({ address }) => isIpv4(address) === ipv4)
      .map(({ address, localAddress }) => `${address} . ${localAddress}`),
  });
  const [ipv4, ipv6] = [of(true), of(false)];
  return {
    overlay: interfaceName(plan.overlay.interface),
    underlay: interfaceName(plan.underlay.interface),
    proxied: new Set(ipv4.proxied.map(formatPrefix)),
    tunnels: new Set(ipv4.tunnels),
    masquerade: masqueradeRules(plan.masquerade),
    ipv6:
      ipv6.proxied.length + ipv6.tunnels.length === 0
        ? undefined
        : {
            proxied: new Set(ipv6.proxied.map(formatPrefix)),
            targets: new Set(ipv6.proxied.map(numbers)),
            tunnels: new Set(ipv6.tunnels),
          },
  };
}

function numbers(prefix: Prefix): string {
  const { first, last } = rangeOf(prefix);
  return first === last ? `0x${first.toString(16)}` : `0x${first.toString(16)}-0x${last.toString(16)}`;
}

/** The kernel allows nearly every character in an interface's name; nft's quoted strings do not. */
function interfaceName(name: string): string {
  if (/^[\w.:+@-]{1,15}$/.test(name)) return `"${name}"`;
  throw new VpcConnError(
    'guard-interface-name',
    `The kernel guard cannot name interface ${JSON.stringify(name)}. Rename it: ip link set NAME name NEWNAME.`,
  );
}

/** Of one family, without the prefixes that others contain: an interval set takes no overlaps. */
function disjoint(prefixes: readonly Prefix[]): Prefix[] {
  const ordered = prefixes
    .map((prefix) => ({ network: networkOf(prefix), ...rangeOf(prefix) }))
    .sort(
      (one, other) =>
        Number(one.first > other.first) - Number(one.first < other.first) ||
        one.network.prefixLength - other.network.prefixLength,
    );
  let covered = -1n;
  return ordered
    .filter(({ last }) => {
      if (last <= covered) return false;
      covered = last;
      return true;
    })
    .map(({ network }) => network);
}

/**
 * Later fragments have no ports and pass; without the first the kernel drops them in silence. ICMP errors
 * about masqueraded packets pass, too: the kernel finds no socket for what they quote, and says nothing.
 */
function masqueradeRules(masquerade: GuardPlan['masquerade']): string[] {
  if (!masquerade) return [];
  const { address, firstPort, lastPort } = masquerade;
  const range = firstPort === lastPort ? `${firstPort}` : `${firstPort}-${lastPort}`;
  return [
    `ip daddr ${address} tcp dport ${range} drop`,
    `ip daddr ${address} udp dport ${range} drop`,
    `ip daddr ${address} icmp type echo-reply icmp id ${range} drop`,
  ];
}

/** The table's family for IP packets; others beside it where one family cannot see them all. */
function familiesOf(method: GuardMethod, { ipv6 }: Contents): string[] {
  if (method === 'netdev ingress') return ['netdev'];
  return ['ip', 'arp', ...(ipv6 ? ['ip6'] : [])];
}

/** Whether the elements alone differ, so that they can be exchanged one by one. */
function sameShape(one: Contents, other: Contents): boolean {
  return (
    one.overlay === other.overlay &&
    one.underlay === other.underlay &&
    (one.ipv6 === undefined) === (other.ipv6 === undefined)
  );
}

function install(table: string, method: GuardMethod, contents: Contents): string {
  const { overlay, underlay, proxied, tunnels, masquerade, ipv6 } = contents;
  const proxiedSet = set('proxied', 'type ipv4_addr; flags interval', proxied);
  const common = [
    proxiedSet,
    set('tunnels', 'type ipv4_addr . ipv4_addr', tunnels),
    chain('masqueraded', masquerade),
  ];
  const ours = `ip protocol ${ETHERIP} ip saddr . ip daddr @tunnels drop`;
  const sets6 = ipv6 ? ipv6Sets(ipv6) : [];
  const ours6 = `meta l4proto ${ETHERIP} ip6 saddr . ip6 daddr @tunnels6 drop`;
  if (method === 'netdev ingress') {
    const ingress = (device: string) =>
      `type filter hook ingress device ${device} priority ${INGRESS_PRIORITY}; policy accept;`;
    // "ether type" looks at the frame itself: a VLAN-tagged one is not ours, whatever it carries.
    return owned('netdev', table, [
      ...common,
      ...sets6,
      chain('overlay', [
        ingress(overlay),
        'ether type ip ip daddr @proxied drop',
        'ether type arp arp operation request arp daddr ip @proxied drop',
        'ether type ip jump masqueraded',
        ...(ipv6 ? OVERLAY6.map((rule) => `ether type ip6 ${rule}`) : []),
      ]),
      chain('underlay', [
        ingress(underlay),
        `ether type ip ${ours}`,
        ...(ipv6 ? [`ether type ip6 ${ours6}`] : []),
      ]),
    ]);
  }
  return [
    owned('ip', table, [
      ...common,
      chain('prerouting', [
        `type filter hook prerouting priority ${PREROUTING_PRIORITY}; policy accept;`,
        `iifname ${overlay} ip daddr @proxied drop`,
        `iifname ${overlay} jump masqueraded`,
        `iifname ${underlay} ${ours}`,
      ]),
    ]),
    owned('arp', table, [
      proxiedSet,
      chain('input', [
        'type filter hook input priority 0; policy accept;',
        `iifname ${overlay} arp operation request arp daddr ip @proxied drop`,
      ]),
    ]),
    ...(ipv6
      ? [
          owned('ip6', table, [
            ...sets6,
            chain('prerouting', [
              `type filter hook prerouting priority ${PREROUTING_PRIORITY}; policy accept;`,
              ...OVERLAY6.map((rule) => `iifname ${overlay} ${rule}`),
              `iifname ${underlay} ${ours6}`,
            ]),
          ]),
        ]
      : []),
  ].join('\n');
}

/** The target of a neighbor solicitation stands 8 bytes into ICMPv6 (RFC 4861 4.3). */
const TARGET = '@th,64,128';
const OVERLAY6 = ['ip6 daddr @proxied6 drop', `icmpv6 type nd-neighbor-solicit ${TARGET} @targets6 drop`];

function ipv6Sets({ proxied, targets, tunnels }: Ipv6Contents): string[] {
  return [
    set('proxied6', 'type ipv6_addr; flags interval', proxied),
    set('targets6', `typeof ${TARGET}; flags interval`, targets),
    set('tunnels6', 'type ipv6_addr . ipv6_addr', tunnels),
  ];
}

function owned(family: string, table: string, parts: readonly string[]): string {
  return `table ${family} ${table} {\nflags owner;\n${parts.join('\n')}\n}`;
}

function chain(name: string, lines: readonly string[]): string {
  return `chain ${name} {\n${lines.join('\n')}\n}`;
}

function set(name: string, kind: string, elements: ReadonlySet<string>): string {
  return `set ${name} { ${kind}; ${elements.size > 0 ? `elements = ${listed(elements)};` : ''} }`;
}

function listed(elements: Iterable<string>): string {
  return `{ ${[...elements].join(', ')} }`;
}

/** From one plan to another of the same shape. */
function update(table: string, method: GuardMethod, from: Contents, to: Contents): string {
  const netdev = method === 'netdev ingress';
  const ip = netdev ? 'netdev' : 'ip';
  const ip6 = netdev ? 'netdev' : 'ip6';
  const lines = (netdev ? ['netdev'] : ['ip', 'arp']).flatMap((each) =>
    exchange(`${each} ${table} proxied`, from.proxied, to.proxied),
  );
  lines.push(...exchange(`${ip} ${table} tunnels`, from.tunnels, to.tunnels));
  if (from.ipv6 && to.ipv6) {
    for (const name of ['proxied', 'targets', 'tunnels'] as const) {
      lines.push(...exchange(`${ip6} ${table} ${name}6`, from.ipv6[name], to.ipv6[name]));
    }
  }
  if (from.masquerade.join('\n') !== to.masquerade.join('\n')) {
    lines.push(`flush chain ${ip} ${table} masqueraded`);
    lines.push(...to.masquerade.map((rule) => `add rule ${ip} ${table} masqueraded ${rule}`));
  }
  return lines.join('\n');
}

/** Deleted first, because a prefix may make room for its parts; the kernel shows only the end of it all. */
function exchange(target: string, from: ReadonlySet<string>, to: ReadonlySet<string>): string[] {
  const gone = [...from].filter((element) => !to.has(element));
  const added = [...to].filter((element) => !from.has(element));
  return [
    ...(gone.length > 0 ? [`delete element ${target} ${listed(gone)}`] : []),
    ...(added.length > 0 ? [`add element ${target} ${listed(added)}`] : []),
  ];
}

function remove(table: string, method: GuardMethod, installed: Contents): string {
  return familiesOf(method, installed)
    .map((family) => `delete table ${family} ${table}`)
    .join('\n');
}

/** By trying, on the loopback interface, with tables that end with the socket they are made on. */
function chooseMethod(open: Open): GuardMethod {
  const table = `vpc_conn_probe_${process.pid}_${randomBytes(3).toString('hex')}`;
  const none: Contents = {
    overlay: '"lo"',
    underlay: '"lo"',
    proxied: new Set(),
    tunnels: new Set(),
    masquerade: [],
    ipv6: undefined,
  };
  const refusals: unknown[] = [];
  const nftables = open();
  try {
    for (const method of ['netdev ingress', 'ip prerouting'] as const) {
      try {
        nftables.run(install(table, method, none));
        return method;
      } catch (cause) {
        refusals.push(cause);
      }
    }
    throw ownerRefused(nftables, table) ? OWNER_MISSING(refusals.at(-1)) : explained(refusals.at(-1));
  } finally {
    nftables.close();
  }
}

/** True when the kernel takes a table without `flags owner`, so that the flag is what it lacks. */
function ownerRefused(nftables: NativeNftables, table: string): boolean {
  try {
    nftables.run(`table ip ${table} {\nflags owner;\n}`);
    return false;
  } catch {
    // asked again without the flag
  }
  try {
    nftables.run(`add table ip ${table}`);
    nftables.run(`delete table ip ${table}`);
    return true;
  } catch {
    return false;
  }
}

const OWNER_MISSING = (cause: unknown) =>
  new VpcConnError(
    'guard-kernel',
    'The kernel guard needs nf_tables tables that belong to a process (flags owner, in Linux since 5.12), and this kernel refuses them. Use a newer kernel.',
    { cause },
  );

function explained(cause: unknown): VpcConnError {
  if (cause instanceof VpcConnError) return cause;
  const { code, errno, message } = cause as NativeError;
  if (errno === 1) {
    return new VpcConnError(
      'privileges',
      'The kernel guard needs the capability CAP_NET_ADMIN. Run vpc-conn as root or as a service that has it.',
      { cause },
    );
  }
  if (code === 'NFTABLES_REFUSED') {
    return new VpcConnError(
      'guard-refused',
      `The kernel guard cannot be set up: nft says "${message}". Look whether the interfaces exist and the kernel has nf_tables (modprobe nf_tables).`,
      { cause },
    );
  }
  return new VpcConnError(
    'guard-failed',
    `The kernel guard cannot be set up: ${message}. Look whether the kernel has nf_tables (modprobe nf_tables).`,
    { cause },
  );
}

function openLibrary(): NativeNftables {
  try {
    return new (loadAddon().Nftables)();
  } catch (cause) {
    if ((cause as NativeError).code === 'NFTABLES_MISSING') {
      throw new VpcConnError(
        'nftables-missing',
        'The kernel guard needs libnftables, which is missing. Install the package nftables (apt-get install nftables).',
        { cause },
      );
    }
    throw explained(cause);
  }
}
