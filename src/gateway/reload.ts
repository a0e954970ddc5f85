/** From one plan to the next: what a reload may change, what changed in words, what is guarded meanwhile. Pure. */
import { tunnelFamily } from '../config/machine.js';
import type { PeerSettings, ProxiedSetting, Settings } from '../config/settings.js';
import { SettingsError } from '../errors.js';
import { formatPrefix } from '../net/address.js';
import type { GuardPlan } from './guard.js';
import type { Plan } from './plan.js';

/** Keys whose value is bound to what was opened at the start: sockets, threads, the guard's table. */
const FIXED: readonly (readonly [key: string, value: (settings: Settings) => unknown])[] = [
  ['name', (settings) => settings.name],
  ['overlay.interface', (settings) => settings.overlay.interface],
  ['underlay.interface', (settings) => settings.underlay.interface],
  ['the kind of underlay.address (IPv4 or IPv6)', tunnelFamily],
  ['dataplane.acceleration', (settings) => settings.dataplane.acceleration],
  ['dataplane.workers', (settings) => settings.dataplane.workers],
  ['dataplane.offloads', (settings) => settings.dataplane.offloads],
  ['dataplane.spin', (settings) => settings.dataplane.spin],
  ['masquerade.flows', (settings) => settings.masquerade.flows],
  ['masquerade.state', (settings) => settings.masquerade.state],
  ['control.socket', (settings) => settings.control.socket],
  ['metrics.listen', ({ metrics }) => metrics && `${metrics.host} ${metrics.port}`],
  ['control.mode', (settings) => settings.control.mode],
  ['control.owner', (settings) => settings.control.owner],
  ['control.group', (settings) => settings.control.group],
  ['metrics.listen', ({ metrics }) => metrics && `${metrics.host} ${metrics.port}`],
  ['log.format', (settings) => settings.log.format],
];

/** The keys with another value that only a restart can put in force. */
export function keysForRestart(before: Settings, after: Settings): string[] {
  return FIXED.filter(([, value]) => value(before) !== value(after)).map(([key]) => key);
}

/** Throws SettingsError that names every key which only a restart can change. */
export function refuseRestart(before: Settings, after: Settings): void {
  const changed = keysForRestart(before, after);
  if (changed.length === 0) return;
  throw new SettingsError(
    'restart-needed',
    `${changed.join(', ')} cannot change while the gateway runs, so nothing was changed. ` +
      'Stop it and run it again with the new settings.',
  );
}

/** One line for each difference that a reload puts in force; empty when there is none. */
export function describeChanges(before: Settings, after: Settings): string[] {
  return [
    ...changed('overlay.address', before.overlay.address, after.overlay.address),
    ...changed('overlay.address6', before.overlay.address6, after.overlay.address6),
    ...changed('overlay.arp', before.overlay.arp, after.overlay.arp),
    ...changed('underlay.address', before.underlay.address, after.underlay.address),
    ...changed('underlay.dscp', dscp(before), dscp(after)),
    ...changed('masquerade ports', ports(before), ports(after)),
    ...changed('masquerade addresses', pool(before), pool(after)),
    ...changed('compat.reversed', before.compat?.reversed ?? false, after.compat?.reversed ?? false),
    ...changed('dataplane.icmp', before.dataplane.icmpErrors, after.dataplane.icmpErrors),
    ...changed('log.level', before.log.level, after.log.level),
    ...peerChanges(before.peers, after.peers),
  ];
}

/** One line for each difference that the machine brought about, interfaces first. */
export function describeMachineChanges(before: Plan, after: Plan): string[] {
  const interfaces = (['overlay', 'underlay'] as const).flatMap((side) => {
    const [old, now] = [before[side], after[side]];
    return [
      ...(old.up === now.up ? [] : [now.up ? 'is up again' : 'is down, so nothing passes']),
      ...changed('MAC', old.mac, now.mac),
      ...changed('MTU', old.mtu, now.mtu),
      ...changed('address', old.address, now.address),
      ...changed('IPv6 address', old.address6, now.address6),
    ].map((change) => `interface ${now.interface}: ${change}`);
  });
  const peers = after.peers.flatMap((peer) => {
    const old = before.peers.find((one) => one.name === peer.name);
    if (old === undefined) return [];
    return changed(`peer ${peer.name}: inner MTU`, old.innerMtu, peer.innerMtu).map(
      (change) => `${change} (${peer.innerMtuWhy})`,
    );
  });
  const known = new Set(before.notices.map((notice) => notice.message));
  const notices = after.notices.filter(
    ({ code, message }) => (code === 'address-lost' || code === 'mtu-below-ipv6') && !known.has(message),
  );
  return [...interfaces, ...peers, ...notices.map((notice) => notice.message)];
}

/** Guards what either plan needs: in force while the workers go from one to the other. */
export function bothGuards(before: GuardPlan, after: GuardPlan): GuardPlan {
  return {
    ...after,
    proxied: [...before.proxied, ...after.proxied],
    peers: [...before.peers, ...after.peers],
    masquerade: bothRanges(before.masquerade, after.masquerade),
  };
}

function bothRanges(
  before: GuardPlan['masquerade'],
  after: GuardPlan['masquerade'],
): GuardPlan['masquerade'] {
  if (!before || !after) return before ?? after;
  if (before.address !== after.address) return after;
  return {
    address: after.address,
    firstPort: Math.min(before.firstPort, after.firstPort),
    lastPort: Math.max(before.lastPort, after.lastPort),
  };
}

function peerChanges(before: readonly PeerSettings[], after: readonly PeerSettings[]): string[] {
  const earlier = new Map(before.map((peer) => [peer.name, peer]));
  const later = new Set(after.map((peer) => peer.name));
  return [
    ...before.filter((peer) => !later.has(peer.name)).map((peer) => `peer ${peer.name} removed`),
    ...after.flatMap((peer) => {
      const old = earlier.get(peer.name);
      if (old === undefined)
        return [`peer ${peer.name} added: ${peer.address}, proxied: ${listed(peer.proxied)}`];
      return onePeerChanges(old, peer).map((change) => `peer ${peer.name}: ${change}`);
    }),
  ];
}

function onePeerChanges(before: PeerSettings, after: PeerSettings): string[] {
  const earlier = new Map(before.proxied.map((entry) => [addressOf(entry), entry]));
  const later = new Set(after.proxied.map(addressOf));
  return [
    ...changed('address', before.address, after.address),
    ...changed('unlisted', before.unlisted, after.unlisted),
    ...changed('resolve', before.resolve, after.resolve),
    ...changed('keepalive', before.keepalive, after.keepalive),
    ...before.proxied
      .filter((entry) => !later.has(addressOf(entry)))
      .map((entry) => `proxied ${addressOf(entry)} removed`),
    ...after.proxied.flatMap((entry) => {
      const old = earlier.get(addressOf(entry));
      if (old === undefined) return [`proxied ${wholeEntry(entry)} added`];
      return changed(`proxied ${addressOf(entry)}: host`, old.host, entry.host);
    }),
  ];
}

function changed(what: string, before: unknown, after: unknown): string[] {
  if (before === after) return [];
  return [`${what} ${before ?? 'default'} -> ${after ?? 'default'}`];
}

function dscp({ underlay }: Settings): string {
  return `${underlay.dscp ?? 'copy'}`;
}

function ports({ masquerade }: Settings): string {
  return `${masquerade.firstPort}-${masquerade.lastPort}`;
}

function pool({ masquerade }: Settings): string {
  return masquerade.addresses.join(', ') || 'overlay.address';
}

function addressOf(entry: ProxiedSetting): string {
  return formatPrefix(entry);
}

/** "10.0.0.20", or "10.0.0.99 for host 10.0.0.10" where the addresses differ. */
function wholeEntry(entry: ProxiedSetting): string {
  const same = entry.address === entry.host;
  return same
    ? addressOf(entry)
    : `${addressOf(entry)} for host ${formatPrefix({ address: entry.host, prefixLength: entry.prefixLength })}`;
}

function listed(entries: readonly ProxiedSetting[]): string {
  return entries.length === 0 ? 'none' : entries.map(wholeEntry).join(', ');
}
