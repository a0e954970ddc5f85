/** Rules of the settings that need no machine; the machine's own are in machine.ts. Pure functions. */
import {
  addressBits,
  contains,
  familyOf,
  formatPrefix,
  isSingle,
  networkOf,
  type Prefix,
  rangeOf,
  unusableRange,
} from '../net/address.js';
import { type Finding, findingAt, originOf } from './finding.js';
import type { ProxiedSetting, Settings } from './settings.js';

/** sizeof(sockaddr_un.sun_path) less the final zero, bytes. */
const SOCKET_PATH_MAX = 107;

/** A proxied entry with the key that it was written under. */
export interface ProxiedAt {
  readonly key: string;
  readonly entry: ProxiedSetting;
}

/** Everything wrong with the settings; empty when nothing is. */
export function validateSettings(settings: Settings): Finding[] {
  return [
    ...addressFindings(settings),
    ...peerFindings(settings),
    ...familyFindings(settings),
    ...settings.peers.flatMap((_, peer) =>
      proxiedOf(settings, peer).flatMap((at) => entryFindings(settings, at)),
    ),
    ...duplicateFindings(settings),
    ...settings.peers.flatMap((_, peer) => hostFindings(settings, peer)),
    ...poolFindings(settings),
    ...limitFindings(settings),
  ];
}

export function proxiedOf(settings: Settings, peer: number): ProxiedAt[] {
  const entries = settings.peers[peer]?.proxied ?? [];
  return entries.map((entry, index) => ({ key: `peers[${peer}].proxied[${index}]`, entry }));
}

function addressFindings(settings: Settings): Finding[] {
  const written: [string, string | undefined][] = [
    ['overlay.address', settings.overlay.address],
    ['overlay.address6', settings.overlay.address6],
    ['underlay.address', settings.underlay.address],
    ...settings.peers.map((peer, index): [string, string] => [`peers[${index}].address`, peer.address]),
  ];
  return written.flatMap(([key, address]) => {
    const range =
      address === undefined ? undefined : unusableRange({ address, prefixLength: addressBits(address) });
    if (range === undefined) return [];
    const text = `${address} is ${range}. Write an address that a host can have.`;
    return [findingAt(settings, key, 'settings-unusable-address', text)];
  });
}

function peerFindings(settings: Settings): Finding[] {
  const findings: Finding[] = [];
  const names = new Map<string, number>();
  const addresses = new Map<string, number>();
  for (const [index, peer] of settings.peers.entries()) {
    const sameName = names.get(peer.name);
    if (sameName === undefined) {
      names.set(peer.name, index);
    } else {
      const other = originOf(settings, `peers[${sameName}].name`);
      const text = `a peer named ${peer.name} is already at ${other}. Give each peer its own name.`;
      findings.push(findingAt(settings, `peers[${index}].name`, 'settings-duplicate-peer', text));
    }
    const key = `peers[${index}].address`;
    const sameAddress = addresses.get(peer.address);
    if (sameAddress === undefined) {
      addresses.set(peer.address, index);
    } else {
      const other = originOf(settings, `peers[${sameAddress}].address`);
      const text = `a peer with the address ${peer.address} is already at ${other}, and their frames could not be told apart. List all proxied addresses under one of them.`;
      findings.push(findingAt(settings, key, 'settings-duplicate-peer', text));
    }
    if (peer.address === settings.underlay.address) {
      const text = `${peer.address} is this gateway's own underlay address, so frames would loop. Write the far gateway's address.`;
      findings.push(findingAt(settings, key, 'settings-loop', text));
    }
  }
  return findings;
}

/** A gateway has one underlay address, and no packet has a source of one kind and a destination of the other. */
function familyFindings(settings: Settings): Finding[] {
  const own = settings.underlay.address;
  if (own === undefined) return [];
  return settings.peers.flatMap(({ address }, index) => {
    if (familyOf(address) === familyOf(own)) return [];
    const [theirs, ours] = [`IPv${familyOf(address)}`, `IPv${familyOf(own)}`];
    const text = `${address} is an ${theirs} address, and this gateway's underlay address ${own} (${originOf(settings, 'underlay.address')}) an ${ours} one. Give both of one kind; for peers of both kinds, run a gateway for each.`;
    return [findingAt(settings, `peers[${index}].address`, 'settings-families', text)];
  });
}

function entryFindings(settings: Settings, { key, entry }: ProxiedAt): Finding[] {
  const proxied: Prefix = { address: entry.address, prefixLength: entry.prefixLength };
  const hosts: Prefix = { address: entry.host, prefixLength: entry.prefixLength };
  const sides = entry.address === entry.host ? [proxied] : [proxied, hosts];
  return sides.flatMap((prefix) => {
    const network = networkOf(prefix);
    const written = `${prefix === hosts ? 'host ' : ''}${formatPrefix(prefix)}`;
    if (network.address !== prefix.address) {
      const text = `${written} has bits set outside its prefix. Write ${formatPrefix(network)} for the whole prefix, or ${prefix.address} for that one address.`;
      return [findingAt(settings, key, 'settings-host-bits', text)];
    }
    const range = unusableRange(prefix);
    if (range === undefined) return [];
    const text = isSingle(prefix)
      ? `${written} is ${range}. Write an address that a host can have.`
      : `${written} holds addresses that no host can have: one is ${range}. Write a prefix of hosts.`;
    return [findingAt(settings, key, 'settings-unusable-address', text)];
  });
}

/**
 * The same proxied address or prefix twice, whatever the peers. One inside a longer other is legal: the
 * longest match wins.
 */
function duplicateFindings(settings: Settings): Finding[] {
  const findings: Finding[] = [];
  const seen = new Map<string, string>();
  for (const { key, entry } of settings.peers.flatMap((_, peer) => proxiedOf(settings, peer))) {
    const prefix = formatPrefix(entry);
    const other = seen.get(prefix);
    if (other === undefined) {
      seen.set(prefix, key);
    } else {
      const text = `${prefix} is already proxied at ${originOf(settings, other)}. Remove one of the two: an address stands for one far host.`;
      findings.push(findingAt(settings, key, 'settings-duplicate-proxied', text));
    }
  }
  return findings;
}

/**
 * A far host of a peer with two proxied addresses: what it sends could bear only one of them, so answers to
 * the other would come from the wrong address.
 */
function hostFindings(settings: Settings, peer: number): Finding[] {
  const findings: Finding[] = [];
  const ranges = proxiedOf(settings, peer).map((at, order) => {
    const hosts: Prefix = { address: at.entry.host, prefixLength: at.entry.prefixLength };
    return { ...at, order, bits: addressBits(at.entry.host), ...rangeOf(hosts) };
  });
  const compare = (a: bigint, b: bigint) => (a < b ? -1 : Number(a > b));
  ranges.sort((a, b) => a.bits - b.bits || compare(a.first, b.first) || a.order - b.order);
  let widest = ranges[0];
  for (const range of ranges.slice(1)) {
    if (widest?.bits === range.bits && range.first <= widest.last) {
      const [earlier, later] = widest.order < range.order ? [widest, range] : [range, widest];
      // The very same entry twice is already a duplicate of its proxied address.
      if (formatPrefix(earlier.entry) !== formatPrefix(later.entry)) {
        const text = hostSentence(settings, earlier, later);
        findings.push(findingAt(settings, later.key, 'settings-duplicate-host', text));
      }
    }
    if (widest?.bits !== range.bits || range.last > widest.last) widest = range;
  }
  return findings;
}

function hostSentence(settings: Settings, earlier: ProxiedAt, later: ProxiedAt): string {
  const host = formatPrefix({ address: later.entry.host, prefixLength: later.entry.prefixLength });
  const what = isSingle(later.entry) ? `far host ${host} has` : `far hosts in ${host} have`;
  return `${what} a proxied address already at ${originOf(settings, earlier.key)}. Remove one of the two: what a far host sends can bear only one address.`;
}

/** An address far hosts are masqueraded behind stands for nobody else. */
function poolFindings(settings: Settings): Finding[] {
  const findings: Finding[] = [];
  const seen = new Map<string, string>();
  for (const [index, address] of settings.masquerade.addresses.entries()) {
    const key = `masquerade.addresses[${index}]`;
    const range = unusableRange({ address, prefixLength: 32 });
    if (range !== undefined) {
      const text = `${address} is ${range}. Write an address that a host can have.`;
      findings.push(findingAt(settings, key, 'settings-unusable-address', text));
    }
    const other = seen.get(address);
    if (other !== undefined) {
      const text = `${address} is already listed at ${originOf(settings, other)}. Remove one of the two.`;
      findings.push(findingAt(settings, key, 'settings-duplicate-pool', text));
    }
    seen.set(address, key);
    const proxied = settings.peers
      .flatMap((_, peer) => proxiedOf(settings, peer))
      .find(({ entry }) => contains(entry, address));
    if (proxied !== undefined) {
      const text = `${address} is also proxied, at ${originOf(settings, proxied.key)}. Masquerade behind an address that stands for no far host.`;
      findings.push(findingAt(settings, key, 'settings-pool-proxied', text));
    }
  }
  return findings;
}

function limitFindings(settings: Settings): Finding[] {
  const findings: Finding[] = [];
  const { firstPort, lastPort } = settings.masquerade;
  if (firstPort < 1024 || firstPort > lastPort || lastPort > 65535) {
    const text = `${firstPort}-${lastPort} is not a range of ports from 1024 to 65535, the smaller first. Write it like 61000-65535.`;
    findings.push(findingAt(settings, 'masquerade.ports', 'settings-ports', text));
  }
  const { socket } = settings.control;
  if (!socket.startsWith('/') || Buffer.byteLength(socket) > SOCKET_PATH_MAX) {
    const text = `"${socket}" is not an absolute path of at most ${SOCKET_PATH_MAX} bytes. Write one, for example /run/vpc-conn/vpc-a.sock.`;
    findings.push(findingAt(settings, 'control.socket', 'settings-socket', text));
  }
  return findings;
}
