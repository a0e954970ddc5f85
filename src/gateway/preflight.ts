/**
 * What `check` finds, and what a start insists on: whether settings, machine and kernel fit together. Reads
 * and probes; nothing that it does outlives the call.
 */
import { readlinkSync } from 'node:fs';
import { basename } from 'node:path';
import type { Finding as SettingsFinding } from '../config/finding.js';
import { validateAgainstMachine } from '../config/machine.js';
import type { Settings } from '../config/settings.js';
import type { StatusResult } from '../control/protocol.js';
import { clockSynchronized, nativeOffloads } from '../dataplane/native-data-plane.js';
import type { Features, KernelOffloads } from '../dataplane/port.js';
import { VpcConnError } from '../errors.js';
import { isPublic } from '../net/address.js';
import { type Link, type Netlink, openNetlink } from '../net/netlink.js';
import {
  fitSegmentation,
  insistence,
  listed,
  MOST_XDP_MTU,
  obstacleText,
  probeSegmentation,
} from './acceleration.js';
import { type AskEni, askEni, awsFindings } from './checks/aws.js';
import { type Finding, info, warning } from './checks/finding.js';
import { kernelFindings, mergeFindings, readSysctl, type Sysctl } from './checks/kernel.js';
import {
  limitFindings,
  lockedMemoryFindings,
  type ReadText,
  readText,
  synchronizationFindings,
} from './checks/limits.js';
import { peerFindings, probePeers } from './checks/peer-probe.js';
import { runningFindings } from './checks/running.js';
import { probeGuard } from './guard.js';
import { offloadsOf, onOff } from './offloads.js';
import { makePlan, type Plan, type PlannedPeer, readMachine, TUNNEL_OVERHEAD } from './plan.js';
import { effectiveCapabilities, mayLoadPrograms, privilegeTrouble } from './privileges.js';

export type { Finding } from './checks/finding.js';

/** What preflight asks; tests bring their own. */
export interface PreflightProbes {
  readonly openNetlink?: () => Netlink;
  readonly capabilities?: () => bigint;
  readonly sysctl?: Sysctl;
  readonly readText?: ReadText;
  readonly askEni?: AskEni;
  /** Whether something keeps the clock right; undefined: the kernel does not tell. */
  readonly clockSynchronized?: () => boolean | undefined;
  /** What the gateway says that runs with these settings; absent: none does. */
  readonly running?: StatusResult | undefined;
  readonly probePeers?: typeof probePeers;
  /** The name of an interface's driver; undefined: it has none. */
  readonly driverOf?: (interfaceName: string) => string | undefined;
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
      findings.push(...planFindings(plan, netlink), ...(await environmentFindings(plan, probes)));
      if (privileges === undefined) findings.push(...accelerationFindings(plan, netlink, probes));
      const fit = findings.every(({ severity }) => severity !== 'error');
      findings.push(...(await reachabilityFindings(plan, netlink, probes, fit)));
    }
  } finally {
    netlink.close();
  }
  return bySeverity(findings);
}

/**
 * What surrounds a gateway and can be told without privileges: the kernel's settings, limits, clock, and what AWS
 * has assigned. Takes a second at most.
 */
export async function environmentFindings(plan: Plan, probes: PreflightProbes = {}): Promise<Finding[]> {
  const { sysctl = readSysctl, readText: read = readText, kernelOffloads = nativeOffloads } = probes;
  return [
    ...kernelFindings(plan, sysctl),
    ...[plan.overlay, plan.underlay].flatMap(({ interface: name }) =>
      mergeFindings(name, featuresOf(kernelOffloads, name)),
    ),
    ...limitFindings(plan, read),
    ...synchronizationFindings((probes.clockSynchronized ?? clockSynchronized)()),
    ...(await awsFindings(plan, probes.askEni ?? askEni, sysctl)),
  ];
}

/** The same for a gateway that has just started from these settings. Never rejects. */
export async function surroundings(settings: Settings, probes: PreflightProbes = {}): Promise<Finding[]> {
  const netlink = attempt(probes.openNetlink ?? openNetlink);
  if (netlink instanceof VpcConnError) return [];
  try {
    return await environmentFindings(makePlan(settings, readMachine(netlink, settings)), probes);
  } catch {
    // The machine has changed meanwhile; the gateway itself notices and tells.
    return [];
  } finally {
    netlink.close();
  }
}

/** @param fit nothing was found that ends a start: only then can peers be asked from here. */
async function reachabilityFindings(
  plan: Plan,
  netlink: Netlink,
  probes: PreflightProbes,
  fit: boolean,
): Promise<Finding[]> {
  if (probes.running !== undefined) return runningFindings(probes.running);
  if (!fit || !plan.overlay.up || !plan.underlay.up) return [];
  try {
    return peerFindings(plan, await (probes.probePeers ?? probePeers)(plan, netlink));
  } catch (error) {
    if (!(error instanceof VpcConnError)) throw error;
    return [{ severity: 'error', code: error.code, message: error.message, remedy: '' }];
  }
}

function featuresOf(kernel: Pick<KernelOffloads, 'readFeatures'>, name: string): Features | undefined {
  try {
    return kernel.readFeatures(name);
  } catch {
    return undefined;
  }
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
  return [
    ...configured.map((notice): Finding => ({ severity: 'info', remedy: '', ...notice })),
    ...plan.peers.flatMap((peer, index) => [
      ...mtuFindings(plan, peer, `peers[${index}]`),
      ...routeFindings(plan, peer, `peers[${index}].address`, netlink),
      ...exposureFindings(peer, `peers[${index}].address`),
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
  const remedy = `Where that matters, raise the underlay's MTU to ${overlay.mtu + TUNNEL_OVERHEAD}, or lower the hosts' to ${peer.innerMtu}.`;
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

function exposureFindings(peer: PlannedPeer, key: string): Finding[] {
  if (!isPublic(peer.address)) return [];
  const message = `The tunnel to peer ${peer.name} crosses public networks (${peer.address}), and EtherIP is neither encrypted nor authenticated.`;
  return [
    warning('tunnel-public', message, 'Run it inside IPsec or WireGuard, and use their addresses here.', key),
  ];
}

/** Which rungs a start would run on, and what it would switch. The self-test's taps are gone when this returns. */
function accelerationFindings(plan: Plan, netlink: Netlink, probes: PreflightProbes): Finding[] {
  const { settings, underlay } = plan;
  const { kernelOffloads: kernel = nativeOffloads, capabilities = effectiveCapabilities } = probes;
  const { acceleration, offloads } = settings.dataplane;
  const findings = leftoverFindings(plan, netlink, kernel);
  if (acceleration === 'off') return findings;
  const device = underlay.interface;
  const { switches, obstacle: misfit } = fitSegmentation(kernel, device, offloads);
  const refused = probeSegmentation(kernel);
  const obstacle = refused ?? misfit;
  if (obstacle !== undefined && acceleration !== 'auto') {
    return [...findings, withoutRemedy(insistence(settings, obstacle))];
  }
  const encap =
    obstacle === undefined ? 'on rung segment' : `without acceleration: ${obstacleText(obstacle)}`;
  findings.push(info('acceleration', `Frames to the underlay run ${encap}`));
  if (refused !== undefined && !mayLoadPrograms(capabilities())) {
    const message =
      'This process lacks CAP_BPF, without which the kernel takes no programs to speed up the tunnel.';
    findings.push(
      info('no-bpf-privileges', message, 'Run vpc-conn as root, or add CAP_BPF in its systemd unit.'),
    );
  } else if (refused !== undefined) {
    findings.push(...lockedMemoryFindings(probes.readText ?? readText));
  }
  if (obstacle === undefined && Object.keys(switches).length > 0) {
    const message = `A start switches offloads of ${device}: ${listed(switches)}; its end sets them back.`;
    findings.push(
      info('offloads-switched', message, 'To have nothing switched, set dataplane.offloads: leave.'),
    );
  }
  if (underlay.mtu > MOST_XDP_MTU) {
    const ena = (probes.driverOf ?? driverOf)(device) === 'ena';
    const limit = ena
      ? `Its driver (ENA) takes XDP programs only up to ${MOST_XDP_MTU} bytes, so frames from the underlay are not accelerated.`
      : `Where a driver takes XDP programs only up to ${MOST_XDP_MTU} bytes (ENA), frames from the underlay cannot be accelerated.`;
    const remedy = `ip link set ${device} mtu ${MOST_XDP_MTU} allows it; 9001 carries larger packets instead.`;
    findings.push(info('mtu-xdp', `${device} has an MTU of ${underlay.mtu}. ${limit}`, remedy));
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

function driverOf(interfaceName: string): string | undefined {
  try {
    return basename(readlinkSync(`/sys/class/net/${interfaceName}/device/driver`));
  } catch {
    return undefined;
  }
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
