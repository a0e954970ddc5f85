/** What `vpc-conn status` prints. */
import type { StatusResult } from '../control/protocol.js';
import { formatBytes, formatCount, formatDuration, formatMilliseconds, plural } from './format.js';
import { list, table } from './table.js';

type Peer = StatusResult['peers'][number];

export function renderStatus(status: StatusResult): string {
  const parts = [
    `${headline(status)}\n${origin(status)}`,
    list([...machineRows(status), ...tunnelRows(status.peers)]),
    table(
      [
        { head: 'peer' },
        { head: 'state' },
        { head: 'address' },
        { head: 'next hop' },
        { head: 'heard', align: 'right' },
        { head: 'rtt', align: 'right' },
        { head: 'loss', align: 'right' },
        { head: 'mtu', align: 'right' },
        { head: 'proxied', align: 'right' },
        { head: 'received', align: 'right' },
        { head: 'sent', align: 'right' },
      ],
      status.peers.map(peerRow),
    ),
  ];
  const told = status.peers.flatMap(sentencesAbout);
  if (told.length > 0) parts.push(['Peers', ...told.map((sentence) => `- ${sentence}`)].join('\n'));
  if (status.notices.length > 0) {
    parts.push(['Notices', ...status.notices.map((notice) => `- ${notice}`)].join('\n'));
  }
  return `${parts.join('\n\n')}\n`;
}

/** One sentence: does it work, and if not, what stands in the way first. */
export function headline(status: StatusResult): string {
  const name = `Gateway ${status.name}`;
  if (status.state === 'stopping') return `${name} is stopping.`;
  for (const [side, { interface: device, up }] of [
    ['overlay', status.overlay],
    ['underlay', status.underlay],
  ] as const) {
    if (!up) {
      return `${name} is not working: the ${side} interface ${device} is down. Bring it up: ip link set dev ${device} up`;
    }
  }
  if (status.guard.state === 'down') {
    return `${name} is not safe: the kernel guard is down, so the kernel may answer for proxied addresses. Restart it.`;
  }
  const { peers } = status;
  if (peers.length === 0) return `${name} is running without any peer: add one under peers.`;
  const up = peers.filter(({ state }) => state === 'up' || state === 'mtu-limited');
  const troubles = troublesOf(peers);
  if (troubles !== '') {
    const verdict =
      up.length === 0 ? 'has no peer up' : `has ${up.length} of ${plural(peers.length, 'peer')} up`;
    return `${name} ${verdict}: ${troubles}.`;
  }
  const degraded = status.state === 'degraded' ? ', but degraded (see the notices)' : '';
  const who = peers.length === 1 ? `peer ${names(peers)} is up` : `all ${peers.length} peers are up`;
  return `${name} is working${degraded}: ${who}.`;
}

/** In the order in which they have to be mended. A lowered MTU is none: everything works. */
const TROUBLES = {
  unresolved: (who: string) => `no answer yet to ARP for the next hop to ${who}`,
  silent: (who: string) => `no answer from ${who} (see below)`,
  misconfigured: (who: string) => `settings do not agree with those of ${who} (see below)`,
  unknown: (who: string) => `nothing heard lately from ${who} (normal while no host sends)`,
} as const;

function troublesOf(peers: readonly Peer[]): string {
  return (Object.keys(TROUBLES) as (keyof typeof TROUBLES)[])
    .map((state) => ({ state, who: peers.filter((peer) => peer.state === state) }))
    .filter(({ who }) => who.length > 0)
    .map(({ state, who }) => TROUBLES[state](names(who)))
    .join('; ');
}

function names(peers: readonly Peer[]): string {
  const shown = peers.slice(0, 3).map(({ name }) => name);
  const more = peers.length - shown.length;
  return more > 0 ? `${shown.join(', ')} and ${more} more` : shown.join(', ');
}

function origin(status: StatusResult): string {
  const { published, acknowledged } = status.generation;
  const table =
    published === acknowledged ? `table ${published}` : `table ${published} (in use: ${acknowledged})`;
  return (
    `version ${status.version}, process ${status.pid}, up ${formatDuration(status.uptimeSeconds)}, ` +
    `settings from ${status.source}, ${table}`
  );
}

function machineRows({ overlay, underlay, guard, acceleration, offloads = [] }: StatusResult): string[][] {
  const side = (end: StatusResult['underlay'] & { address6?: string | null }) =>
    `${end.interface}  ${end.address}${end.address6 ? `  ${end.address6}` : ''}  ${end.mac}  mtu ${end.mtu}  ${end.up ? 'up' : 'DOWN'}`;
  const rung = ({ rung, why }: { rung: string; why: string }) => (why === '' ? rung : `${rung}: ${why}`);
  const rows = [
    ['overlay', `${side(overlay)}  arp ${overlay.arp}`],
    ['underlay', side(underlay)],
    ['kernel guard', `${guard.state}, ${guard.method}`],
  ];
  const { encap, decap } = acceleration;
  if (encap.rung === decap.rung && encap.why === decap.why) rows.push(['acceleration', rung(encap)]);
  else rows.push(['encap', rung(encap)], ['decap', rung(decap)]);
  for (const { interface: device, feature, was, now } of offloads) {
    rows.push([
      'offload',
      `${device} ${feature} ${now ? 'on' : 'off'} while this gateway runs (was ${was ? 'on' : 'off'})`,
    ]);
  }
  return rows;
}

/** What the tunnels carry and why: "1364 (ICMP from 198.18.0.9) to vpc-b". */
function tunnelRows(peers: readonly Peer[]): string[][] {
  const bySize = new Map<string, Peer[]>();
  for (const peer of peers) {
    const size = `${peer.innerMtu} (${peer.innerMtuWhy})`;
    bySize.set(size, [...(bySize.get(size) ?? []), peer]);
  }
  return [...bySize].map(([size, alike]) => ['tunnel MTU', `${size} to ${names(alike)}`]);
}

/** What a person should know about a peer: why it is in its state, what does not agree, whom we refuse. */
function sentencesAbout({ name, stateWhy, findings, refusedHosts }: Peer): string[] {
  const sentences = [...findings];
  if (stateWhy !== '' && !findings.includes(stateWhy)) sentences.unshift(`${name}: ${stateWhy}.`);
  if (refusedHosts.length > 0) {
    const hosts = refusedHosts.join(', ');
    sentences.push(
      `${name}: ${hosts} sent here lately and were dropped, having no proxied address here.\n  List them under proxied, if they should be reachable.`,
    );
  }
  return sentences;
}

function peerRow(peer: Peer): string[] {
  const traffic = (direction: 'rx' | 'tx') => {
    const bytes = peer.counters[`${direction}_bytes`];
    return bytes === undefined ? '-' : formatBytes(bytes);
  };
  return [
    peer.name,
    peer.state,
    peer.address,
    peer.nextHop ?? '-',
    peer.lastSeenSeconds === null ? 'never' : `${formatDuration(peer.lastSeenSeconds)} ago`,
    peer.roundTripMs === null ? '-' : formatMilliseconds(peer.roundTripMs),
    peer.loss === null ? '-' : `${Math.round(peer.loss * 100)}%`,
    String(peer.innerMtu),
    formatCount(peer.proxied),
    traffic('rx'),
    traffic('tx'),
  ];
}
