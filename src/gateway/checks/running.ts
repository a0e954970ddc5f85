/** What a gateway that runs with these settings says of its peers: better than asking them once more. */
import type { PeerState, StatusResult } from '../../control/protocol.js';
import { type Finding, info, warning } from './finding.js';

const REMEDIES: Readonly<Record<Exclude<PeerState, 'up' | 'unknown'>, string>> = {
  unresolved: 'Look whether the interface and the address of the peer are right.',
  silent:
    'Start its gateway if it does not run, and let security groups and network ACLs pass protocol 97 both ways.',
  'mtu-limited': 'Raise the MTU on the way, or set the one that it has on the route.',
  misconfigured: 'Make the two files agree.',
};

export function runningFindings({ name, pid, peers, notices }: StatusResult): Finding[] {
  return [
    info(
      'running',
      `Gateway ${name} runs with these settings (process ${pid}); it was asked about its peers.`,
    ),
    ...peers.map((peer, place) => peerFinding(peer, `peers[${place}]`)),
    ...peers.flatMap((peer, place) =>
      peer.findings.map((text) => warning('peer-disagrees', text, '', `peers[${place}]`)),
    ),
    ...notices.map((text) => info('notice', text)),
  ];
}

function peerFinding(peer: StatusResult['peers'][number], key: string): Finding {
  const { name, address, state, stateWhy, roundTripMs } = peer;
  const why = stateWhy === '' ? '' : `: ${stateWhy}`;
  if (state === 'up' || state === 'unknown') {
    const time = roundTripMs === null ? '' : ` It answers in ${roundTripMs.toFixed(1)} ms.`;
    return { ...info(`peer-${state}`, `Peer ${name} (${address}) is ${state}${why}.${time}`), key };
  }
  return warning(`peer-${state}`, `Peer ${name} (${address}) is ${state}${why}.`, REMEDIES[state], key);
}
