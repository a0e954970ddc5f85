/**
 * Plan: what will be installed. A pure function of the settings and of what the machine looks like now, so
 * that a link change and a reload take the same way as a start: plan again, compare, publish.
 */
import { availableParallelism } from 'node:os';
import { carriesIpv6, chooseAddress6, reservedIn, tunnelFamily } from '../config/machine.js';
import type { PeerSettings, Settings } from '../config/settings.js';
import type { ForwardingTable, TableEntry, TablePeer } from '../dataplane/port.js';
import { SettingsError, VpcConnError } from '../errors.js';
import type { NeighborView } from '../neighbor/neighbors.js';
import {
  addressBits,
  contains,
  type Family,
  formatPrefix,
  isIpv4,
  isLinkLocal6,
  isSingle,
  networkOf,
  type Prefix,
} from '../net/address.js';
import type { Address, Link, Netlink, Route } from '../net/netlink.js';
import type { GuardPlan } from './guard.js';
import type { PathLimit } from './path-mtu.js';
import { routeFrom } from './routes.js';

/** Outer IPv4 (20) or IPv6 (40) + EtherIP (2, RFC 3378) + inner Ethernet header (14). */
export function tunnelOverhead(peerAddress: string): 36 | 56 {
  return isIpv4(peerAddress) ? 36 : 56;
}
/** RFC 8200 section 5: what every link must carry that IPv6 runs over. */
const SMALLEST_IPV6_MTU = 1280;
/** RFC 791: every IPv4 host takes 68 bytes; nothing can be planned below. */
const SMALLEST_INNER_MTU = 68;

const MOST_WORKERS = 4;

export const INTERFACE_GONE = 'interface-gone';

/** What the machine looks like, read in one go. */
export interface Machine {
  readonly overlay: Link;
  readonly underlay: Link;
  /** Of all interfaces. */
  readonly addresses: readonly Address[];
  /** The kernel's route to a peer's address, from the underlay's; undefined: it has none. */
  readonly peerRoute: (peerAddress: string, underlay: PlannedInterface) => Route | undefined;
  /** What was learned of the path behind that route (gateway/path-mtu.ts); undefined: nothing. */
  readonly pathLimit: PathLimitOf;
}

export type PathLimitOf = (peerAddress: string) => PathLimit | undefined;
const NOTHING_LEARNED: PathLimitOf = () => undefined;

export interface PlannedPeer extends TablePeer {
  readonly keepalive: boolean;
  /** Number of proxied addresses, prefixes counted by their size. */
  readonly proxiedCount: number;
  /** Largest outer IP packet that the route takes, and the one in force; bytes. */
  readonly routeMtu: number;
  readonly outerMtu: number;
  /** What the inner MTU comes from, for people: "route 1400", "eth2 1500", "ICMP from 198.18.0.9". */
  readonly innerMtuWhy: string;
}

export interface PlannedInterface {
  readonly interface: string;
  readonly ifindex: number;
  readonly address: string;
  /** Overlay, where IPv6 is carried between hosts. */
  readonly address6?: string;
  readonly mac: string;
  readonly mtu: number;
  readonly up: boolean;
}

export interface Plan {
  readonly settings: Settings;
  readonly overlay: PlannedInterface;
  readonly underlay: PlannedInterface;
  /** On-link on the overlay, whatever the kernel's routes say. */
  readonly overlaySubnets: readonly Prefix[];
  /** Every address of this machine but the loopback ones. */
  readonly ownAddresses: readonly string[];
  /** Threads per direction. */
  readonly workers: number;
  readonly peers: readonly PlannedPeer[];
  readonly table: ForwardingTable;
  readonly guard: GuardPlan;
  readonly notices: readonly Notice[];
}

/** What a person should know about a plan, with the remedy. */
export interface Notice {
  /** Stable. */
  readonly code: 'link-down' | 'address-lost' | 'proxied-configured' | 'mtu-below-ipv6';
  readonly message: string;
}

/** Finds both interfaces by name. Throws SettingsError when this machine has no such interface. */
export function readMachine(netlink: Netlink, settings: Settings, pathLimit = NOTHING_LEARNED): Machine {
  const links = netlink.links();
  const named = (name: string): Link => {
    const link = links.find((one) => one.name === name);
    if (link) return link;
    throw new SettingsError('no-interface', `This machine has no interface ${name}. Write one that it has.`);
  };
  return machineOf(netlink, named(settings.overlay.interface), named(settings.underlay.interface), pathLimit);
}

export function machineOf(
  netlink: Netlink,
  overlay: Link,
  underlay: Link,
  pathLimit = NOTHING_LEARNED,
): Machine {
  return {
    overlay,
    underlay,
    addresses: netlink.addresses(),
    peerRoute: (peerAddress, from) => routeFrom(netlink, peerAddress, from),
    pathLimit,
  };
}

/** The machine with the interfaces of a plan in force. Throws VpcConnError when one of them is gone. */
export function readMachineAgain(
  netlink: Netlink,
  { overlay, underlay }: Plan,
  pathLimit = NOTHING_LEARNED,
): Machine {
  const links = netlink.links();
  // By index: sockets and rings are bound to it, and one that comes back under its old name has another.
  const again = ({ ifindex, interface: name }: PlannedInterface): Link => {
    const link = links.find((one) => one.ifindex === ifindex);
    if (link) return link;
    throw new VpcConnError(
      INTERFACE_GONE,
      `Interface ${name} has disappeared. Attach it again, then start vpc-conn again.`,
    );
  };
  return machineOf(netlink, again(overlay), again(underlay), pathLimit);
}

/**
 * @param previous the plan in force: an interface address that the machine has lost since stays planned, with
 *   a notice, because the tunnel may still work and an address often comes back (DHCP).
 * @throws SettingsError when an interface has no address to start with.
 */
export function makePlan(settings: Settings, machine: Machine, previous?: Plan): Plan {
  const overlay = planInterface('overlay', settings, machine, previous);
  const underlay = planInterface('underlay', settings, machine, previous);
  const peers = settings.peers.map((peer) => planPeer(peer, machine, underlay));
  const subnets = subnetsOf(machine.addresses, overlay.ifindex);
  const proxied = settings.peers.flatMap((peer, index) =>
    peer.proxied.map(
      ({ address, host, prefixLength }): TableEntry => ({ address, host, prefixLength, peer: index }),
    ),
  );
  return {
    settings,
    overlay,
    underlay,
    overlaySubnets: subnets,
    ownAddresses: machine.addresses
      // Every machine has the loopback addresses: another one that speaks of them takes none of ours.
      .filter(({ address }) => !address.startsWith('127.') && address !== '::1')
      .map((held) => held.address),
    workers: workersFor(settings.dataplane.workers),
    peers,
    table: {
      overlayMac: overlay.mac,
      overlayAddress: overlay.address,
      ...(overlay.address6 !== undefined && { overlayAddress6: overlay.address6 }),
      overlayMtu: overlay.mtu,
      underlayMac: underlay.mac,
      peers: peers.map(({ name, localAddress, address, innerMtu, unlisted, resolve }) => ({
        name,
        localAddress,
        address,
        innerMtu,
        unlisted,
        resolve,
      })),
      proxied,
      reserved: reservedAddresses(subnets, machine.addresses),
      masquerade: { ...settings.masquerade, addresses: masqueradeAddresses(settings, overlay) },
      dscp: settings.underlay.dscp,
      acceptReversed: settings.compat?.reversed ?? false,
      icmpErrorsPerSecond: settings.dataplane.icmpErrors,
    },
    guard: planGuard(settings, overlay, underlay, peers, proxied),
    notices: [
      ...linkNotices(overlay),
      ...linkNotices(underlay),
      ...addressNotices(settings, 'overlay', overlay, machine),
      ...addressNotices(settings, 'underlay', underlay, machine),
      ...configuredNotices(proxied, peers, overlay, machine),
      ...ipv6MtuNotices(settings, peers, underlay),
    ],
  };
}

/** Protocol 97 is ours only from a peer; ports only while somebody masquerades behind them. */
function planGuard(
  settings: Settings,
  overlay: PlannedInterface,
  underlay: PlannedInterface,
  peers: readonly PlannedPeer[],
  proxied: readonly TableEntry[],
): GuardPlan {
  const { firstPort, lastPort } = settings.masquerade;
  const pool = masquerades(settings) ? masqueradeAddresses(settings, overlay) : [];
  // Addresses that only masquerade uses are guarded like proxied ones, wholly.
  const others = pool.filter((address) => address !== overlay.address);
  return {
    overlay: { interface: overlay.interface, address: overlay.address },
    underlay: { interface: underlay.interface },
    proxied: [
      ...proxied.map(({ address, prefixLength }) => ({ address, prefixLength })),
      ...others.map((address) => ({ address, prefixLength: 32 })),
    ],
    peers: peers.map(({ localAddress, address }) => ({ localAddress, address })),
    ...(pool.includes(overlay.address) && { masquerade: { address: overlay.address, firstPort, lastPort } }),
  };
}

function masquerades(settings: Settings): boolean {
  return settings.peers.some((peer) => peer.unlisted === 'masquerade');
}

/** What far hosts without a proxied address appear as. */
function masqueradeAddresses({ masquerade }: Settings, overlay: PlannedInterface): readonly string[] {
  return masquerade.addresses.length > 0 ? masquerade.addresses : [overlay.address];
}

/** Half of the processors for each direction, at least one: more do not pay for one tunnel's address pair. */
function workersFor(wanted: Settings['dataplane']['workers']): number {
  if (wanted !== 'auto') return wanted;
  return Math.min(MOST_WORKERS, Math.max(1, Math.floor(availableParallelism() / 2)));
}

function planInterface(
  side: 'overlay' | 'underlay',
  settings: Settings,
  machine: Machine,
  previous: Plan | undefined,
): PlannedInterface {
  const link = machine[side];
  const family = side === 'underlay' ? tunnelFamily(settings) : 4;
  const address =
    settings[side].address ??
    firstAddressOf(family, machine.addresses, link.ifindex) ??
    previous?.[side].address;
  if (address === undefined) {
    throw new SettingsError(
      'no-address',
      `Interface ${link.name} has no IPv${family} address. Give it one (ip address add ADDRESS/LENGTH dev ${link.name}), or set ${side}.address.`,
    );
  }
  const address6 = side === 'overlay' ? planAddress6(settings, machine, previous) : undefined;
  return {
    interface: settings[side].interface,
    ifindex: link.ifindex,
    address,
    ...(address6 !== undefined && { address6 }),
    mac: link.mac,
    mtu: link.mtu,
    up: link.up && link.running,
  };
}

function planAddress6(settings: Settings, machine: Machine, previous: Plan | undefined): string | undefined {
  if (!carriesIpv6(settings)) return undefined;
  const { ifindex, name } = machine.overlay;
  const held = machine.addresses.filter((one) => one.ifindex === ifindex);
  // With several the kernel's order may change at any moment; the one in use stays while it is there.
  const inUse = previous?.overlay.address6;
  if (settings.overlay.address6 === undefined && held.some(({ address }) => address === inUse)) return inUse;
  const address6 = chooseAddress6(settings, held) ?? inUse;
  if (address6 !== undefined) return address6;
  throw new SettingsError(
    'no-address',
    `Interface ${name} has no IPv6 address for this gateway itself. Give it one (ip address add ADDRESS/LENGTH dev ${name}), or set overlay.address6.`,
  );
}

/**
 * In the kernel's order the primary address comes first: what the kernel itself would send from. Of IPv6, neither
 * a link-local address nor a temporary one.
 */
function firstAddressOf(family: Family, addresses: readonly Address[], ifindex: number): string | undefined {
  const ours = addresses.filter((held) => held.ifindex === ifindex && held.family === family);
  if (family === 4) return ours[0]?.address;
  return ours.find(({ address, secondary }) => !secondary && !isLinkLocal6(address))?.address;
}

function planPeer(peer: PeerSettings, machine: Machine, underlay: PlannedInterface): PlannedPeer {
  const routeMtu = machine.peerRoute(peer.address, underlay)?.mtu;
  const byRoute = routeMtu !== undefined && routeMtu < underlay.mtu;
  const known = byRoute ? routeMtu : underlay.mtu;
  const limit = machine.pathLimit(peer.address);
  const limited = limit !== undefined && limit.outerMtu < known;
  const outerMtu = limited ? limit.outerMtu : known;
  const hop = byRoute ? 'route' : underlay.interface;
  return {
    name: peer.name,
    localAddress: underlay.address,
    address: peer.address,
    routeMtu: known,
    outerMtu,
    innerMtu: Math.max(SMALLEST_INNER_MTU, outerMtu - tunnelOverhead(peer.address)),
    innerMtuWhy: limited ? limit.why : `${hop} ${known}`,
    unlisted: peer.unlisted,
    resolve: peer.resolve,
    keepalive: peer.keepalive,
    proxiedCount: peer.proxied.reduce(
      (sum, { address, prefixLength }) => sum + 2 ** (addressBits(address) - prefixLength),
      0,
    ),
  };
}

function subnetsOf(addresses: readonly Address[], ifindex: number): Prefix[] {
  const subnets = new Map<string, Prefix>();
  for (const held of addresses) {
    if (held.ifindex !== ifindex || isSingle(held) || isLinkLocal6(held.address)) continue;
    const subnet = networkOf(held);
    subnets.set(formatPrefix(subnet), subnet);
  }
  return [...subnets.values()];
}

/** An address that this machine itself holds is evidently not the VPC's. */
function reservedAddresses(subnets: readonly Prefix[], own: readonly Address[]): string[] {
  const held = new Set(own.map((address) => address.address));
  const reserved = new Set(subnets.flatMap(reservedIn));
  return [...reserved].filter((address) => !held.has(address));
}

function linkNotices({ interface: name, up }: PlannedInterface): Notice[] {
  if (up) return [];
  const message = `Interface ${name} is down, so nothing passes. Set it up (ip link set ${name} up), or look at what it is attached to.`;
  return [{ code: 'link-down', message }];
}

function addressNotices(
  settings: Settings,
  side: 'overlay' | 'underlay',
  plan: PlannedInterface,
  machine: Machine,
): Notice[] {
  const { address, address6, interface: name, ifindex } = plan;
  const written = [
    { key: 'address', value: address },
    { key: 'address6', value: address6 },
  ];
  return written.flatMap(({ key, value }) => {
    const lost = !machine.addresses.some((held) => held.ifindex === ifindex && held.address === value);
    if (value === undefined || !lost) return [];
    const message = `${value} is no longer an address of ${name}. Add it again (ip address add ${value}/LENGTH dev ${name}), or set ${side}.${key} in ${settings.source} and reload.`;
    return [{ code: 'address-lost', message } as const];
  });
}

/** Amazon Linux configures every secondary address of an interface within a minute. */
function configuredNotices(
  proxied: readonly TableEntry[],
  peers: readonly PlannedPeer[],
  overlay: PlannedInterface,
  machine: Machine,
): Notice[] {
  return machine.addresses.flatMap((held) => {
    const entry = proxied.find((one) => contains(one, held.address));
    if (entry === undefined || held.address === overlay.address || held.address === overlay.address6)
      return [];
    const message = `${held.address}, proxied for peer ${peers[entry.peer]?.name}, is also configured in the operating system. The kernel guard keeps the kernel from answering for it; nothing needs to be done.`;
    return [{ code: 'proxied-configured', message } as const];
  });
}

/** IPv6 senders never go below 1280, and nobody but they may cut: what is larger than the tunnel is lost for good. */
function ipv6MtuNotices(
  settings: Settings,
  peers: readonly PlannedPeer[],
  underlay: PlannedInterface,
): Notice[] {
  return peers.flatMap(({ name, address, innerMtu, innerMtuWhy }, index) => {
    const ipv6 = settings.peers[index]?.proxied.some((entry) => !isIpv4(entry.address)) ?? false;
    if (!ipv6 || innerMtu >= SMALLEST_IPV6_MTU) return [];
    const enough = SMALLEST_IPV6_MTU + tunnelOverhead(address);
    const message = `The tunnel to ${name} carries packets of ${innerMtu} bytes (${innerMtuWhy}), and IPv6 cannot do with less than ${SMALLEST_IPV6_MTU}: larger ones are lost. Let the path to ${address} carry ${enough} bytes (ip link set dev ${underlay.interface} mtu ${enough}, the routes, and what lies between), or take the IPv6 addresses out of proxied for ${name}.`;
    return [{ code: 'mtu-below-ipv6', message } as const];
  });
}

/** What the neighbors have to know of a plan. */
export function neighborView(plan: Plan): NeighborView {
  return {
    table: plan.table,
    underlayAddress: plan.underlay.address,
    onLink: plan.overlaySubnets,
    ownAddresses: plan.ownAddresses,
    pool: masquerades(plan.settings)
      ? plan.table.masquerade.addresses.filter((address) => address !== plan.overlay.address)
      : [],
    arp: plan.settings.overlay.arp,
  };
}
