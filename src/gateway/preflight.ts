/**
 * What `check` finds, and what a start insists on: whether settings, machine and kernel fit together. Reads
 * and probes; nothing that it does outlives the call.
 */
import { readFileSync } from 'node:fs';
import type { Finding as SettingsFinding } from '../config/finding.js';
import { tunnelFamily, validateAgainstMachine } from '../config/machine.js';
import type { Settings } from '../config/settings.js';
import { nativeOffloads } from '../dataplane/native-data-plane.js';
import type { KernelOffloads } from '../dataplane/port.js';
import { VpcConnError } from '../errors.js';
import { type Link, type Netlink, openNetlink } from '../net/netlink.js';
import {
  fitSegmentation,
  insistence,
  listed,
  MOST_XDP_MTU,
  obstacleText,
  probeSegmentation,
} from './acceleration.js';
import { probeGuard } from './guard.js';
import { offloadsOf, onOff } from './offloads.js';
import { makePlan, type Plan, type PlannedPeer, readMachine, tunnelOverhead } from './plan.js';
import { effectiveCapabilities, privilegeTrouble } from './privileges.js';

export interface Finding {
  readonly severity: 'error' | 'warning' | 'info';
  /** Stable. */
  readonly code: string;
  readonly message: string;
  /** What to do; empty when the message already ends with it, or nothing has to be done. */
  readonly remedy: string;
  /** Key path in the settings, "peers[0].address"; absent when it is about the machine. */
  readonly key?: string;
}

/** What preflight asks; tests bring their own. */
export interface PreflightProbes {
  readonly openNetlink?: () => Netlink;
  readonly capabilities?: () => bigint;
  /** The value of /proc/sys/PATH, undefined where there is none. */
  readonly sysctl?: (path: string) => string | undefined;
  /** Loads the guard's library and makes its kind of table for a moment; throws VpcConnError. */
  readonly probeGuard?: () => unknown;
  readonly kernelOffloads?: KernelOffloads;
}

/** Inner packets below this are refused by no host, but every application suffers (RFC 791: 576). */
const COMFORTABLE_MTU = 576;

/** Everything worth knowing before a start, errors first. Rejects only when nothing could be asked at all. */
export async function preflight(settings: Settings, probes: PreflightProbes = {}): Promise<Finding[]> {
  const { capabilities = effectiveCapabilities, sysctl = readSysctl } = probes;
  const findings: Finding[] = [];
  const privileges = privilegeTrouble(capabilities());
  if (privileges) findings.push({ severity: 'error', code: 'no-privileges', ...privileges });
  findings.push(...guardFindings(probes.probeGuard ?? probeGuard, privileges !== undefined));

  const netlink = attempt(probes.openNetlink ?? openNetlink);
  if (netlink instanceof VpcConnError) {
    findings.push({ severity: 'error', code: netlink.code, message: netlink.message, remedy: '' });
    return bySeverity(findings);
  }
  try {
    const machine = machineFindings(settings, netlink, sysctl);
    findings.push(...machine.map(withoutRemedy));
    if (!machine.some((finding) => finding.severity === 'error')) {
      const plan = makePlan(settings, readMachine(netlink, settings));
      findings.push(...planFindings(plan, netlink), ...kernelFindings(sysctl));
      const kernel = probes.kernelOffloads ?? nativeOffloads;
      if (privileges === undefined) findings.push(...accelerationFindings(plan, netlink, kernel));
    }
  } finally {
    netlink.close();
  }
  return bySeverity(findings);
}

/** Private taps of kernel segmentation and its self-test: of a gateway that runs, and none of this machine's own. */
function isOwnTap({ name, kind }: Link): boolean {
  return kind === 'tun' && /^vpc[cp]\d+$/.test(name);
}

/** Whether links and addresses fit the settings. */
export function machineFindings(
  settings: Settings,
  netlink: Netlink,
  sysctl: (path: string) => string | undefined = readSysctl,
): SettingsFinding[] {
  const range = sysctl('net/ipv4/ip_local_port_range')?.trim().split(/\s+/).map(Number);
  const [low, high] = range ?? [];
  return validateAgainstMachine(settings, {
    links: netlink.links().filter((link) => !isOwnTap(link)),
    addresses: netlink.addresses(),
    ipLocalPortRange: low === undefined || high === undefined ? undefined : [low, high],
  });
}

function guardFindings(probe: () => unknown, unprivileged: boolean): Finding[] {
  if (unprivileged) {
    const message = 'The kernel guard could not be probed without these privileges.';
    return [{ severity: 'info', code: 'guard-not-probed', message, remedy: 'Run check as root.' }];
  }
  const trouble = attempt(probe);
  if (!(trouble instanceof VpcConnError)) return [];
  return [{ severity: 'error', code: trouble.code, message: trouble.message, remedy: '' }];
}

function planFindings(plan: Plan, netlink: Netlink): Finding[] {
  // The other notices are findings of the machine already.
  const configured = plan.notices.filter((notice) => notice.code === 'proxied-configured');
  const tooSmall = plan.notices.filter((notice) => notice.code === 'mtu-below-ipv6');
  return [
    ...configured.map((notice): Finding => ({ severity: 'info', remedy: '', ...notice })),
    ...tooSmall.map((notice): Finding => ({ severity: 'warning', remedy: '', ...notice })),
    ...plan.peers.flatMap((peer, index) => [
      ...mtuFindings(plan, peer, `peers[${index}]`),
      ...routeFindings(plan, peer, `peers[${index}].address`, netlink),
    ]),
  ];
}

function mtuFindings({ overlay, underlay }: Plan, peer: PlannedPeer, key: string): Finding[] {
  const size = `The tunnel to ${peer.name} carries IP packets of ${peer.innerMtu} bytes (${peer.innerMtuWhy})`;
  if (peer.innerMtu < COMFORTABLE_MTU) {
    const remedy = `Raise the MTU of ${underlay.interface} and of the route to ${peer.address}.`;
    return [
      { severity: 'warning', code: 'mtu-small', message: `${size}, which is very little.`, remedy, key },
    ];
  }
  if (peer.innerMtu >= overlay.mtu) return [];
  const message = `${size}, ${overlay.interface} carries ${overlay.mtu}. TCP adapts by itself; larger packets of other protocols are cut into fragments, or their sender is told.`;
  const remedy = `Where that matters, raise the underlay's MTU to ${overlay.mtu + tunnelOverhead(peer.address)}, or lower the hosts' to ${peer.innerMtu}.`;
  return [{ severity: 'info', code: 'mtu-clamped', message, remedy, key }];
}

/** Asked without the interface: with it the kernel takes anything for on-link. */
function routeFindings({ underlay }: Plan, peer: PlannedPeer, key: string, netlink: Netlink): Finding[] {
  const route = netlink.route(peer.address, undefined, underlay.address);
  if (route?.ifindex === underlay.ifindex) return [];
  const remedy = `Add one: ip route add ${peer.address} via ROUTER dev ${underlay.interface}.`;
  const message =
    route === undefined
      ? `The kernel has no route to peer ${peer.name} (${peer.address}).`
      : `The kernel's route to peer ${peer.name} (${peer.address}) does not leave by ${underlay.interface}, but the tunnel does.`;
  return [
    { severity: 'warning', code: route ? 'peer-route-elsewhere' : 'peer-no-route', message, remedy, key },
  ];
}

/** As the data plane says it when it starts. */
const STRIPS_IPV4_ONLY = {
  why: 'the underlay is IPv6, and the XDP program takes off IPv4 headers only',
  remedy: '',
};

/** Which rungs a start would run on, and what it would switch. The self-test's taps are gone when this returns. */
function accelerationFindings(plan: Plan, netlink: Netlink, kernel: KernelOffloads): Finding[] {
  const { settings, underlay } = plan;
  const { acceleration, offloads } = settings.dataplane;
  const findings = leftoverFindings(plan, netlink, kernel);
  if (acceleration === 'off') return findings;
  if (acceleration === 'full' && tunnelFamily(settings) === 6) {
    return [...findings, withoutRemedy(insistence(settings, STRIPS_IPV4_ONLY))];
  }
  const device = underlay.interface;
  const { switches, obstacle: misfit } = fitSegmentation(kernel, device, offloads);
  const obstacle = probeSegmentation(kernel) ?? misfit;
  if (obstacle !== undefined && acceleration !== 'auto') {
    return [...findings, withoutRemedy(insistence(settings, obstacle))];
  }
  const encap =
    obstacle === undefined ? 'on rung segment' : `without acceleration: ${obstacleText(obstacle)}`;
  findings.push(info('acceleration', `Frames to the underlay run ${encap}`));
  if (obstacle === undefined && Object.keys(switches).length > 0) {
    const message = `A start switches offloads of ${device}: ${listed(switches)}; its end sets them back.`;
    findings.push(
      info('offloads-switched', message, 'To have nothing switched, set dataplane.offloads: leave.'),
    );
  }
  if (underlay.mtu > MOST_XDP_MTU) {
    const message = `${device} has an MTU of ${underlay.mtu}. Where a driver takes XDP programs only up to ${MOST_XDP_MTU} bytes (ENA), frames from the underlay cannot be accelerated.`;
    findings.push(info('mtu-xdp', message, `ip link set ${device} mtu ${MOST_XDP_MTU} allows it.`));
  }
  return findings;
}

function leftoverFindings(plan: Plan, netlink: Netlink, kernel: KernelOffloads): Finding[] {
  const refused: string[] = [];
  const logger = { info: () => {}, warn: (message: string) => void refused.push(message) };
  const left = offloadsOf(plan, () => netlink.links(), kernel, logger).leftovers();
  const was = left.map(({ interface: name, feature, was }) => `${name} ${feature} ${onOff(was)}`);
  const message = `A gateway ended without setting offloads back. The next start does: ${was.join(', ')}.`;
  return [
    ...(left.length > 0 ? [info('offloads-left', message)] : []),
    ...refused.map((text) => info('offloads-note', text)),
  ];
}

function info(code: string, message: string, remedy = ''): Finding {
  return { severity: 'info', code, message, remedy };
}

function kernelFindings(sysctl: (path: string) => string | undefined): Finding[] {
  if (sysctl('net/ipv4/ip_forward')?.trim() !== '1') return [];
  const message =
    'This machine forwards packets (net.ipv4.ip_forward = 1). The kernel guard keeps it from forwarding copies of what vpc-conn carries; nothing needs to be done.';
  return [{ severity: 'info', code: 'ip-forward', message, remedy: '' }];
}

/** Findings about settings end with their remedy. */
function withoutRemedy({ severity, code, key, message }: SettingsFinding): Finding {
  return { severity, code, message, remedy: '', ...(key === '' ? {} : { key }) };
}

function bySeverity(findings: readonly Finding[]): Finding[] {
  const order = ['error', 'warning', 'info'];
  return findings.toSorted((one, other) => order.indexOf(one.severity) - order.indexOf(other.severity));
}

function attempt<T>(work: () => T): T | VpcConnError {
  try {
    return work();
  } catch (error) {
    if (error instanceof VpcConnError) return error;
    throw error;
  }
}

function readSysctl(path: string): string | undefined {
  try {
    return readFileSync(`/proc/sys/${path}`, 'utf8');
  } catch {
    return undefined;
  }
}
