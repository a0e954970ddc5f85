/** Whether a machine fits the settings. Pure: the caller reads the machine (netlink, /proc) and passes it in. */
import {
  contains,
  type Family,
  familyOf,
  formatPrefix,
  isIpv4,
  isLinkLocal6,
  isSingle,
  networkOf,
  type Prefix,
  rangeOf,
  unusableRange,
  valueToAddress,
} from '../net/address.js';
import { type Finding, findingAt, originOf } from './finding.js';
import type { Settings } from './settings.js';
import { type ProxiedAt, proxiedOf } from './validate.js';

export type { Finding } from './finding.js';

export interface MachineLink {
  readonly ifindex: number;
  readonly name: string;
  readonly mac: string;
  /** Bytes. */
  readonly mtu: number;
  readonly up: boolean;
  /** ARPHRD_*; 1 = Ethernet. */
  readonly type: number;
}

export interface MachineAddress {
  readonly ifindex: number;
  readonly address: string;
  readonly prefixLength: number;
  /** IPv6: a temporary address (RFC 8981), which nothing may be built on. */
  readonly secondary?: boolean;
}

export interface MachineFacts {
  readonly links: readonly MachineLink[];
  /** In the kernel's order: an interface's first IPv4 address is its default here, too. */
  readonly addresses: readonly MachineAddress[];
  /** net.ipv4.ip_local_port_range. */
  readonly ipLocalPortRange?: readonly [number, number] | undefined;
}

const ARPHRD_ETHER = 1;
/**
 * AWS reserves the first four addresses and the last of a subnet, of either kind; no subnet is smaller than /28, and
 * for IPv6 each is a /64.
 */
const AWS_LONGEST_SUBNET = { 4: 28, 6: 64 } as const;

/** Errors and warnings, errors first; empty when the machine fits. */
export function validateAgainstMachine(settings: Settings, machine: MachineFacts): Finding[] {
  const findings: Finding[] = [];
  const overlay = checkSide(settings, machine, 'overlay', findings);
  const underlay = checkSide(settings, machine, 'underlay', findings);
  if (overlay !== undefined && underlay !== undefined)
    findings.push(...sameInterface(settings, overlay, underlay));
  if (overlay !== undefined) {
    findings.push(...checkAddress6(settings, overlay));
    for (const [peer] of settings.peers.entries()) {
      for (const at of proxiedOf(settings, peer))
        findings.push(...checkProxied(settings, at, overlay, underlay));
    }
  }
  if (overlay !== undefined) findings.push(...checkPool(settings, machine, overlay));
  findings.push(...checkPeers(settings, machine), ...checkPorts(settings, machine));
  return [
    ...findings.filter((finding) => finding.severity === 'error'),
    ...findings.filter((finding) => finding.severity === 'warning'),
  ];
}

/** An interface as it will be used. */
interface Side {
  readonly link: MachineLink;
  readonly address: string;
  readonly address6: string | undefined;
  /** Of both kinds, without link-local ones. */
  readonly addresses: readonly MachineAddress[];
}

/**
 * This gateway's own IPv6 address on an interface: the one that is set, else the first that is global, lasting and
 * not proxied; the kernel lists the newest first, and the operating system may have configured proxied ones.
 */
export function chooseAddress6(settings: Settings, held: readonly MachineAddress[]): string | undefined {
  if (settings.overlay.address6 !== undefined) return settings.overlay.address6;
  const proxied = settings.peers.flatMap((peer) => peer.proxied);
  return held.find(
    ({ address, secondary }) =>
      familyOf(address) === 6 &&
      secondary !== true &&
      unusableRange({ address, prefixLength: 128 }) === undefined &&
      !proxied.some((entry) => contains(entry, address)),
  )?.address;
}

/** Whether IPv6 is to be carried between hosts. */
export function carriesIpv6({ overlay, peers }: Settings): boolean {
  return (
    overlay.address6 !== undefined ||
    peers.some(({ proxied }) => proxied.some(({ address }) => !isIpv4(address)))
  );
}

/** What tunnels run over. */
export function tunnelFamily({ underlay, peers }: Settings): Family {
  return familyOf(underlay.address ?? peers[0]?.address ?? '') ?? 4;
}

function checkAddress6(settings: Settings, { link, address6, addresses }: Side): Finding[] {
  if (!carriesIpv6(settings)) return [];
  const there = addresses.filter(({ address }) => !isIpv4(address)).map(({ address }) => address);
  if (address6 === undefined) {
    const text = `${link.name} has no IPv6 address for this gateway itself, and IPv6 addresses are proxied. Give it one: ip address add ADDRESS/LENGTH dev ${link.name}.`;
    return [findingAt(settings, 'overlay.interface', 'no-address', text)];
  }
  if (there.includes(address6)) return [];
  const which = there.length === 0 ? 'which has no IPv6 address' : `which has ${there.join(', ')}`;
  const text = `${address6} is not an address of ${link.name}, ${which}. Write one of its addresses, or give it this one: ip address add ${address6}/64 dev ${link.name}.`;
  return [findingAt(settings, 'overlay.address6', 'address-not-here', text)];
}

function checkSide(
  settings: Settings,
  machine: MachineFacts,
  side: 'overlay' | 'underlay',
  findings: Finding[],
): Side | undefined {
  const { interface: name, address: configured } = settings[side];
  const key = `${side}.interface`;
  const link = machine.links.find((candidate) => candidate.name === name);
  if (link === undefined) {
    const names = machine.links.filter((other) => other.type === ARPHRD_ETHER).map((other) => other.name);
    const remedy =
      names.length === 0 ? 'It has no Ethernet interface: attach one.' : `Use one of ${names.join(', ')}.`;
    findings.push(
      findingAt(settings, key, 'no-interface', `this machine has no interface ${name}. ${remedy}`),
    );
    return undefined;
  }
  if (link.type !== ARPHRD_ETHER) {
    const text = `${name} is not an Ethernet interface. Use one that is: frames have to be rewritten.`;
    findings.push(findingAt(settings, key, 'not-ethernet', text));
    return undefined;
  }
  if (!link.up) {
    const text = `${name} is down. Set it up: ip link set ${name} up.`;
    findings.push(findingAt(settings, key, 'interface-down', text, 'warning'));
  }
  const held = machine.addresses.filter((at) => at.ifindex === link.ifindex && !isLinkLocal6(at.address));
  const family = side === 'underlay' ? tunnelFamily(settings) : 4;
  const addresses = held.filter((at) => familyOf(at.address) === family);
  const [first] = addresses;
  if (first === undefined) {
    const text = `${name} has no IPv${family} address. Give it one: ip address add ADDRESS/LENGTH dev ${name}.`;
    findings.push(findingAt(settings, key, 'no-address', text));
    return undefined;
  }
  if (configured !== undefined && !addresses.some((at) => at.address === configured)) {
    const there = addresses.map((at) => at.address).join(', ');
    const text = `${configured} is not an address of ${name}, which has ${there}. Write one of its addresses, or give it this one: ip address add ${configured}/${first.prefixLength} dev ${name}.`;
    findings.push(findingAt(settings, `${side}.address`, 'address-not-here', text));
    return undefined;
  }
  const address6 = side === 'overlay' ? chooseAddress6(settings, held) : undefined;
  return { link, address: configured ?? first.address, address6, addresses: held };
}

function sameInterface(settings: Settings, overlay: Side, underlay: Side): Finding[] {
  if ([overlay.address, overlay.address6].includes(underlay.address)) {
    const text = `overlay and underlay both use ${overlay.address}. Give the tunnel an address of its own.`;
    return [findingAt(settings, 'underlay.address', 'same-address', text)];
  }
  if (overlay.link.ifindex !== underlay.link.ifindex) return [];
  const text = `overlay and underlay are both ${overlay.link.name}, so every frame passes it twice. Use an interface each where speed counts.`;
  return [findingAt(settings, 'underlay.interface', 'same-interface', text, 'warning')];
}

function checkProxied(
  settings: Settings,
  { key, entry }: ProxiedAt,
  overlay: Side,
  underlay?: Side,
): Finding[] {
  const own = [overlay, underlay]
    .flatMap((side) =>
      side === undefined
        ? []
        : [
            { at: side.address, key: 'address' as const, link: side.link, side },
            { at: side.address6, key: 'address6' as const, link: side.link, side },
          ],
    )
    .find(({ at }) => at !== undefined && contains(entry, at));
  if (own !== undefined) {
    const where = own.side === overlay ? 'overlay' : 'underlay';
    const place = ownPlace(settings, `${where}.${own.key}`, own.link);
    const text = isSingle(entry)
      ? `${entry.address} is this gateway's own address (${place}). Proxy another address, one that only stands for the far host.`
      : `${formatPrefix(entry)} holds this gateway's own address ${own.at} (${place}). Proxy a prefix without it, or list single addresses.`;
    return [findingAt(settings, key, 'proxied-own-address', text)];
  }
  const subnet = overlay.addresses.find(
    (at) => contains(at, entry.address) && at.prefixLength <= entry.prefixLength,
  );
  if (subnet === undefined) {
    const text = `${formatPrefix(entry)} is outside the subnets of ${overlay.link.name} (${subnetList(overlay, entry)}): AWS cannot assign it there, and hosts reach it only by a route to this gateway. Choose a free address of the subnet where you can.`;
    return [findingAt(settings, key, 'proxied-off-subnet', text, 'warning')];
  }
  const reserved = reservedIn(subnet).filter((address) => contains(entry, address));
  if (reserved.length === 0) return [];
  if (isSingle(entry)) {
    const text = `${entry.address} is reserved in the subnet ${formatPrefix(networkOf(subnet))} (${reservedWhat(subnet)}). Proxy another address, and map it to the far host with { address: ..., host: ${entry.host} }.`;
    return [findingAt(settings, key, 'proxied-reserved', text)];
  }
  const what = `${formatPrefix(entry)} holds ${reserved.join(', ')}, reserved in the subnet ${formatPrefix(networkOf(subnet))} (${reservedWhat(subnet)})`;
  const { first, last } = rangeOf(entry);
  if (BigInt(reserved.length) === last - first + 1n) {
    const text = `${what}, and no other address. Proxy addresses that hosts can have.`;
    return [findingAt(settings, key, 'proxied-reserved', text)];
  }
  const text = `${what}: these will not be proxied. Where a far host has one, map another address to it with { address: ..., host: ... }.`;
  return [findingAt(settings, key, 'proxied-reserved', text, 'warning')];
}

/** Where this gateway's own address comes from: the line that says so, or the interface that has it. */
function ownPlace(
  settings: Settings,
  key: 'overlay.address' | 'overlay.address6' | 'underlay.address' | 'underlay.address6',
  link: MachineLink,
): string {
  const written = {
    'overlay.address': settings.overlay.address,
    'overlay.address6': settings.overlay.address6,
    'underlay.address': settings.underlay.address,
    'underlay.address6': undefined,
  };
  return written[key] === undefined ? `the first of ${link.name}` : `${key} at ${originOf(settings, key)}`;
}

/** What far hosts appear as must reach this gateway, and be nobody else's. */
function checkPool(settings: Settings, machine: MachineFacts, overlay: Side): Finding[] {
  if (settings.peers.every((peer) => peer.unlisted !== 'masquerade')) return [];
  return settings.masquerade.addresses.flatMap((address, index) => {
    if (address === overlay.address) return [];
    const key = `masquerade.addresses[${index}]`;
    const elsewhere = machine.addresses.find(
      (at) => at.address === address && at.ifindex !== overlay.link.ifindex,
    );
    if (elsewhere !== undefined) {
      const text = `${address} is this machine's own address on another interface. Masquerade behind addresses of ${overlay.link.name} only.`;
      return [findingAt(settings, key, 'pool-own-address', text)];
    }
    const subnet = overlay.addresses.find((at) => !isSingle(at) && contains(at, address));
    if (subnet === undefined) {
      const text = `${address} is outside the subnets of ${overlay.link.name} (${subnetList(overlay, { address, prefixLength: 32 })}): AWS cannot assign it there, and answers reach it only by a route to this gateway. Choose a free address of the subnet where you can.`;
      return [findingAt(settings, key, 'pool-off-subnet', text, 'warning')];
    }
    if (!reservedIn(subnet).includes(address)) return [];
    const text = `${address} is reserved in the subnet ${formatPrefix(networkOf(subnet))} (${reservedWhat(subnet)}). Choose another address.`;
    return [findingAt(settings, key, 'pool-reserved', text)];
  });
}

/** Addresses of a subnet that no host may have: in a VPC the first four and the last. */
export function reservedIn(subnet: Prefix): string[] {
  const family = isIpv4(subnet.address) ? 4 : 6;
  const { first, last } = rangeOf(subnet);
  if (last - first < 3n) return [];
  // Without a VPC: network and broadcast address; for IPv6 the subnet-router anycast address (RFC 4291 2.6.1).
  const vpc = isVpcSubnet(subnet);
  const reserved = Array.from({ length: vpc ? 4 : 1 }, (_, index) => first + BigInt(index));
  if (vpc || family === 4) reserved.push(last);
  return reserved.map((value) => valueToAddress(value, family));
}

function isVpcSubnet({ address, prefixLength }: Prefix): boolean {
  return prefixLength <= AWS_LONGEST_SUBNET[isIpv4(address) ? 4 : 6];
}

function reservedWhat(subnet: Prefix): string {
  if (isVpcSubnet(subnet)) return 'AWS reserves the first four addresses and the last';
  return isIpv4(subnet.address)
    ? 'its first address and its last are no hosts'
    : "its first address is all routers'";
}

function subnetList(side: Side, { address }: Prefix): string {
  const subnets = side.addresses
    .filter((at) => familyOf(at.address) === familyOf(address))
    .map((at) => formatPrefix(networkOf(at)));
  return [...new Set(subnets)].join(', ') || 'none of this kind';
}

function checkPeers(settings: Settings, machine: MachineFacts): Finding[] {
  const own = new Set(machine.addresses.map((at) => at.address));
  return settings.peers.flatMap((peer, index) => {
    const findings: Finding[] = [];
    if (own.has(peer.address)) {
      const text = `${peer.address} is an address of this machine, so frames would loop. Write the far gateway's address.`;
      findings.push(findingAt(settings, `peers[${index}].address`, 'peer-is-this-machine', text));
    }
    if (peer.proxied.length === 0 && peer.unlisted === 'drop') {
      const text = `peer ${peer.name} has no proxied addresses and drops unlisted hosts, so nothing can pass. List proxied addresses, or set "unlisted: masquerade".`;
      findings.push(findingAt(settings, `peers[${index}]`, 'peer-without-hosts', text, 'warning'));
    }
    return findings;
  });
}

function checkPorts(settings: Settings, machine: MachineFacts): Finding[] {
  const range = machine.ipLocalPortRange;
  if (range === undefined || settings.peers.every((peer) => peer.unlisted !== 'masquerade')) return [];
  const { firstPort, lastPort } = settings.masquerade;
  const [low, high] = range;
  if (lastPort < low || firstPort > high) return [];
  const text = `ports ${firstPort}-${lastPort} of masquerade overlap those that the kernel gives out to programs here (${low}-${high}), whose answers would be taken away. Narrow one of the two: masquerade.ports, or net.ipv4.ip_local_port_range.`;
  return [findingAt(settings, 'masquerade.ports', 'masquerade-ports-overlap', text, 'warning')];
}
