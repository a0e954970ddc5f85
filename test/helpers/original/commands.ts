/** The two commands of the original's README, and VPCs to run them in. */
import type { HostSpec, LabSpec } from '../../../src/lab/index.js';

/** Who originates: names the far hosts. */
export function senderArgs(...farHosts: string[]): string[] {
  return ['-o', 'eth1', '-t', 'eth2', '-d', '198.18.0.2', '-s', '198.18.0.1', '-r', farHosts.join(',')];
}

export const RECEIVER_ARGS: readonly string[] = [
  ...['-o', 'eth1', '-t', 'eth2', '-d', '198.18.0.1', '-s', '198.18.0.2'],
];

/** Two VPCs of the same addresses; gw-a has those of the hosts of b, as the README tells. */
export function twins(hostsOfA: readonly HostSpec[], hostsOfB: readonly HostSpec[]): LabSpec {
  const cidr = '10.0.0.0/24';
  const farHosts = hostsOfB.map(({ address }) => address);
  return {
    vpcs: [
      {
        name: 'a',
        cidr,
        hosts: hostsOfA,
        gateway: { address: '10.0.0.5', secondary: farHosts, underlayAddress: '198.18.0.1' },
      },
      {
        name: 'b',
        cidr,
        hosts: hostsOfB,
        // The original asks for MACs in the name of its tunnel address; a VPC that checks the sender of ARP
        // requests has to know it.
        gateway: { address: '10.0.0.6', secondary: ['198.18.0.1'], underlayAddress: '198.18.0.2' },
      },
    ],
  };
}
