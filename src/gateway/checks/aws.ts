/** What AWS must have assigned so that a gateway works, and what an instance should not leave open. */
import { type MetadataAnswer, metadataEndpoint, readEni } from '../../aws/metadata.js';
import { addressBits, contains, formatPrefix, isSingle, type Prefix } from '../../net/address.js';
import type { Plan } from '../plan.js';
import { type Finding, info, warning } from './finding.js';
import type { Sysctl } from './kernel.js';

/** What the metadata service says of the interface with this MAC; undefined: this machine is no EC2 instance. */
export type AskEni = (mac: string) => Promise<MetadataAnswer | undefined>;

export const askEni: AskEni = async (mac) => {
  const endpoint = metadataEndpoint();
  return endpoint === undefined ? undefined : await readEni(mac, endpoint);
};

/** So many are named; the rest is counted. */
const NAMED = 8;

export async function awsFindings(plan: Plan, ask: AskEni, sysctl: Sysctl): Promise<Finding[]> {
  const answer = await ask(plan.overlay.mac);
  if (answer === undefined) return [];
  const name = plan.overlay.interface;
  if (answer.kind === 'unknown') {
    const message = `The instance metadata service does not tell which addresses ${name} has: ${answer.why}. Whether AWS knows the proxied addresses was not checked.`;
    return [info('metadata-unclear', message, 'Run check again in a minute.')];
  }
  if (answer.kind === 'no-interface') {
    const message = `${name} (${plan.overlay.mac}) is no network interface of this instance, says the metadata service. A VPC delivers only what is addressed to one.`;
    return [
      warning(
        'overlay-no-eni',
        message,
        'Set overlay.interface to the interface in the VPC.',
        'overlay.interface',
      ),
    ];
  }
  return [...addressFindings(plan, answer), ...openFindings(answer, sysctl)];
}

type Eni = Extract<MetadataAnswer, { kind: 'interface' }>;

function addressFindings(plan: Plan, eni: Eni): Finding[] {
  const { overlay, peers, table } = plan;
  // A list without the address that evidently works is an old one: nothing follows from what else it lacks.
  if (!eni.addresses.includes(overlay.address)) {
    const message = `The metadata service lists addresses of ${eni.interfaceId} (${overlay.interface}), but not ${overlay.address}, which this gateway uses there. Whether AWS knows the proxied addresses was not checked.`;
    const remedy = `If check says so again in a minute, assign ${overlay.address} to ${eni.interfaceId}, or set overlay.address.`;
    return [warning('overlay-address-not-on-eni', message, remedy, 'overlay.address')];
  }
  return peers.flatMap((peer, place) => {
    const entries = table.proxied.filter((entry) => entry.peer === place);
    const missing = entries.filter((entry) => !isAssigned(entry, eni));
    if (missing.length === 0) return [];
    const one = missing.length === 1;
    const named = missing.slice(0, NAMED).map(formatPrefix).join(', ');
    const more = missing.length > NAMED ? ` and ${missing.length - NAMED} more` : '';
    const message = `${named}${more}, proxied for peer ${peer.name}, ${one ? 'is' : 'are'} not assigned to ${eni.interfaceId} (${overlay.interface}), so the VPC does not deliver packets for ${one ? 'it' : 'them'} here.`;
    return [
      warning(
        'proxied-not-on-eni',
        message,
        assignRemedy(missing, eni.interfaceId),
        `peers[${place}].proxied`,
      ),
    ];
  });
}

function assignRemedy(missing: readonly Prefix[], eni: string): string {
  const singles = missing.filter(isSingle);
  const [first] = singles;
  const lag = 'The service lags behind changes by up to a minute';
  if (first === undefined) {
    return `Delegate prefixes to it (aws ec2 assign-private-ip-addresses --network-interface-id ${eni} --ipv4-prefixes PREFIX). ${lag}.`;
  }
  if (addressBits(first.address) === 128) {
    return `Assign: aws ec2 assign-ipv6-addresses --network-interface-id ${eni} --ipv6-addresses ${listed(singles)}. ${lag}.`;
  }
  return `Assign: aws ec2 assign-private-ip-addresses --network-interface-id ${eni} --private-ip-addresses ${listed(singles)}. ${lag}.`;
}

function listed(entries: readonly Prefix[]): string {
  const named = entries.slice(0, NAMED).map(({ address }) => address);
  return entries.length > NAMED ? `${named.join(' ')} ...` : named.join(' ');
}

/** Prefixes do not overlap with each other, nor with single addresses: so sizes add up. */
function isAssigned(entry: Prefix, { addresses, prefixes }: Eni): boolean {
  if (
    prefixes.some((prefix) => prefix.prefixLength <= entry.prefixLength && contains(prefix, entry.address))
  ) {
    return true;
  }
  const inside = prefixes.filter(
    (prefix) => prefix.prefixLength > entry.prefixLength && contains(entry, prefix.address),
  );
  const singles = addresses.filter((address) => contains(entry, address));
  const covered = inside.reduce((sum, prefix) => sum + sizeOf(prefix), BigInt(new Set(singles).size));
  return covered >= sizeOf(entry);
}

function sizeOf({ address, prefixLength }: Prefix): bigint {
  return 1n << BigInt(addressBits(address) - prefixLength);
}

function openFindings({ answersWithoutToken }: Eni, sysctl: Sysctl): Finding[] {
  const findings: Finding[] = [];
  if (sysctl('net/ipv4/ip_forward')?.trim() === '1') {
    const message =
      'This machine forwards packets (net.ipv4.ip_forward = 1), so hosts that route through it may reach the instance metadata at 169.254.169.254 and with it the credentials of this instance. The tunnel itself never carries link-local addresses.';
    const remedy =
      'Switch forwarding off (sysctl -w net.ipv4.ip_forward=0), or drop forwarded packets to 169.254.169.254.';
    findings.push(warning('metadata-forwarded', message, remedy));
  }
  if (answersWithoutToken) {
    const message = 'The instance metadata service answers without a token (IMDSv1).';
    const remedy =
      'Ask for tokens: aws ec2 modify-instance-metadata-options --instance-id ID --http-tokens required.';
    findings.push(warning('metadata-without-token', message, remedy));
  }
  return findings;
}
