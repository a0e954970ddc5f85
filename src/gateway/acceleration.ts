/**
 * The ladder of acceleration: which rung each direction runs on, decided at the start by probing and followed
 * while the gateway runs. The rung below always works, so that stepping down is never a failure, unless the
 * settings insist.
 */
import { findingAt, InvalidSettingsError, type Finding as SettingsFinding } from '../config/finding.js';
import type { Settings } from '../config/settings.js';
import type { DataPlane, Decapsulation, Features, KernelOffloads } from '../dataplane/port.js';
import type { Logger } from '../log.js';
import type { Netlink } from '../net/netlink.js';
import {
  ethtoolCommand,
  type OffloadChange,
  type Offloads,
  offloadsOf,
  onOff,
  otherwise,
} from './offloads.js';
import type { Plan } from './plan.js';

export type EncapRung = 'off' | 'segment' | 'full';
export type DecapRung = 'off' | 'full';

/** `why`: why not a higher rung; empty on the highest. */
export interface Rungs {
  encap: { rung: EncapRung; why: string };
  decap: { rung: DecapRung; why: string };
}

/** What stands in the way of a rung, and what a person can do about it (a sentence without its stop; empty: nothing). */
export interface Obstacle {
  readonly why: string;
  readonly remedy: string;
}

/** ENA's limit for XDP programs in its driver that take a frame in one piece, bytes. */
export const MOST_XDP_MTU = 3502;

const SWITCHED_OFF = 'dataplane.acceleration is off';
const NO_WORKERS = 'the workers do not run';
const USE_LESS = 'Set dataplane.acceleration: auto';

/** With any of them on the kernel leaves the work to the NIC, which knows nothing of EtherIP. */
const TCP_SEGMENTATION = ['tx-tcp-segmentation', 'tx-tcp-ecn-segmentation', 'tx-tcp-mangleid-segmentation'];
/** A NIC that completes a checksum wherever it is told to, whatever the protocol around it. */
const GENERIC_CHECKSUM = 'tx-checksum-ip-generic';
/** A NIC that looks for the TCP header itself, and finds EtherIP instead. */
const IPV4_CHECKSUM = 'tx-checksum-ipv4';

/** Another program that switches a feature again is answered once in this time, milliseconds. */
const SWITCH_AGAIN_AFTER = 60_000;

/** Features of the underlay interface that kernel segmentation relies on, and how they have to be. */
export function segmentationNeeds(features: Features): Record<string, boolean> {
  const needed = [...TCP_SEGMENTATION, ...(features[GENERIC_CHECKSUM]?.active ? [] : [IPV4_CHECKSUM])];
  return Object.fromEntries(needed.filter((name) => features[name]).map((name) => [name, false]));
}

export interface Fit {
  /** To be switched before kernel segmentation can be used. */
  readonly switches: Readonly<Record<string, boolean>>;
  /** Why it cannot be used as things are, and by settings or driver must stay. */
  readonly obstacle?: Obstacle;
}

/** Whether kernel segmentation fits an interface. Reads, changes nothing, never throws. */
export function fitSegmentation(
  kernel: Pick<KernelOffloads, 'readFeatures'>,
  interfaceName: string,
  offloads: Settings['dataplane']['offloads'],
): Fit {
  let features: Features;
  try {
    features = kernel.readFeatures(interfaceName);
  } catch (error) {
    const why = `the offload features of ${interfaceName} cannot be read: ${reasonOf(error)}`;
    return { switches: {}, obstacle: { why, remedy: '' } };
  }
  const switches = otherwise(features, segmentationNeeds(features));
  const names = Object.keys(switches);
  if (names.length === 0) return { switches };
  if (offloads === 'leave') {
    const remedy = `Run ${ethtoolCommand(interfaceName, switches)}, or set dataplane.offloads: manage`;
    return { switches, obstacle: { why: inTheWay(interfaceName, switches), remedy } };
  }
  const fixed = names.filter((name) => !features[name]?.changeable);
  if (fixed.length === 0) return { switches };
  const why = `${interfaceName} cannot switch ${fixed.join(', ')}, as kernel segmentation needs it`;
  return { switches, obstacle: { why, remedy: '' } };
}

/** The settings insist on a rung that an obstacle keeps from. */
export function insistence(settings: Settings, { why, remedy }: Obstacle): SettingsFinding {
  const { acceleration } = settings.dataplane;
  const text = `${acceleration} does not work here: ${why}. ${remedy === '' ? USE_LESS : remedy}.`;
  return findingAt(settings, 'dataplane.acceleration', 'acceleration-unavailable', text);
}

export function obstacleText({ why, remedy }: Obstacle): string {
  return remedy === '' ? why : `${why}. ${remedy}.`;
}

/** Why the driver of the underlay interface does not take the outer headers off. */
function noStrip(interfaceName: string, mtu: number, { why, code }: Decapsulation): Obstacle {
  if (code === 'EBUSY') {
    const remedy = `Take it off: ip link set dev ${interfaceName} xdp off`;
    return { why: `another XDP program is attached to ${interfaceName}`, remedy };
  }
  const remedy = mtu > MOST_XDP_MTU ? `Try ip link set dev ${interfaceName} mtu ${MOST_XDP_MTU}` : '';
  const driver = `the driver of ${interfaceName}, with its MTU of ${mtu}, does not take the XDP program: ${why}`;
  return { why: code === '' ? why : driver, remedy };
}

/** What the ladder asks of the data plane. */
export type AcceleratedDataPlane = Pick<
  DataPlane,
  'useKernelSegmentation' | 'segmentation' | 'decapsulation' | 'encapsulation'
>;

export interface AccelerationOptions {
  readonly settings: Settings;
  /** The underlay's. */
  readonly interfaceName: string;
  /** The underlay's, at the start. */
  readonly mtu: number;
  readonly kernel: KernelOffloads;
  readonly offloads: Offloads;
  readonly logger: Pick<Logger, 'info' | 'warn' | 'error'>;
  /** Milliseconds of a monotonic clock. */
  readonly now?: () => number;
}

export interface Acceleration {
  /** What to ask of the data plane. */
  readonly wanted: {
    readonly kernelSegmentation: boolean;
    readonly knownEncap: boolean;
    readonly xdpStrip: boolean;
  };
  /** The data plane did not start with what is wanted. True: less is wanted now, try again. */
  lower(cause: unknown): boolean;
  /**
   * The data plane runs.
   * @throws SettingsError when the settings insist on a rung that did not come up.
   */
  attach(dataPlane: AcceleratedDataPlane): void;
  /** Links changed, and with them features, maybe. */
  follow(): void;
  /** Call once a second: what no notification tells. */
  tick(): void;
  rungs(): Rungs;
  changes(): OffloadChange[];
  /** What a person should know: a rung that the settings insist on is not running. */
  notices(): string[];
  /** Sets the interface's features back; after the workers have ended. Idempotent. */
  close(): void;
}

/** startAcceleration for a plan, with notes beside its control socket. */
export function accelerate(
  plan: Plan,
  netlink: Pick<Netlink, 'links'>,
  kernel: KernelOffloads,
  logger: Logger,
): Acceleration {
  return startAcceleration({
    settings: plan.settings,
    interfaceName: plan.underlay.interface,
    mtu: plan.underlay.mtu,
    kernel,
    offloads: offloadsOf(plan, () => netlink.links(), kernel, logger),
    logger,
  });
}

/**
 * Probes, and switches what the settings allow to be switched.
 * @throws SettingsError when the settings insist on a rung that does not work here; nothing stays switched.
 */
export function startAcceleration(options: AccelerationOptions): Acceleration {
  return new Ladder(options);
}

class Ladder implements Acceleration {
  readonly #options: AccelerationOptions;
  readonly #now: () => number;
  #dataPlane: AcceleratedDataPlane | undefined;
  /** The kernel can segment EtherIP. */
  #segments = false;
  /** Why it does not at present; undefined: it does. */
  #obstacle: Obstacle | undefined;
  /** What the workers were told last; they begin with what was wanted. */
  #using = false;
  #switchedAt = Number.NEGATIVE_INFINITY;

  constructor(options: AccelerationOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    const { settings, offloads, kernel } = options;
    offloads.recover();
    if (settings.dataplane.acceleration === 'off') {
      this.#obstacle = { why: SWITCHED_OFF, remedy: '' };
      return;
    }
    this.#obstacle = probeSegmentation(kernel);
    this.#segments = this.#obstacle === undefined;
    this.#obstacle ??= this.#makeFit();
    if (this.#obstacle === undefined) return;
    offloads.release(); // what could be switched does not help
    if (this.#insists) throw new InvalidSettingsError([insistence(settings, this.#obstacle)]);
    options.logger.info(`encap runs without kernel segmentation: ${obstacleText(this.#obstacle)}`);
  }

  get wanted() {
    return {
      kernelSegmentation: this.#segments,
      knownEncap: this.#segments && this.#goesToFull,
      xdpStrip: this.#goesToFull,
    };
  }

  lower(cause: unknown): boolean {
    if (!this.#segments || this.#insists) return false;
    this.#giveUp({ why: `kernel segmentation does not start: ${reasonOf(cause)}`, remedy: '' });
    this.#options.offloads.release();
    return true;
  }

  attach(dataPlane: AcceleratedDataPlane): void {
    const { settings, logger } = this.#options;
    const obstacle = this.#goesToFull ? this.#decapObstacle(dataPlane) : undefined;
    if (obstacle !== undefined) {
      if (settings.dataplane.acceleration === 'full' && dataPlane.decapsulation().part === 'none') {
        throw new InvalidSettingsError([insistence(settings, obstacle)]);
      }
      logger.info(`decap does without a part of the kernel: ${obstacleText(obstacle)}`);
    }
    this.#dataPlane = dataPlane;
    this.#using = this.#segments;
    this.#use(this.#obstacle === undefined);
    const without = this.#obstacle === undefined && this.#goesToFull ? this.#whyNotCarried(dataPlane) : '';
    if (without !== '') logger.info(`encap does without a part of the kernel: ${without}`);
  }

  follow(): void {
    if (this.#dataPlane === undefined || !this.#segments) return;
    const { interfaceName, kernel, logger, settings } = this.#options;
    const { switches, obstacle } = fitSegmentation(kernel, interfaceName, settings.dataplane.offloads);
    let trouble = obstacle;
    if (trouble !== undefined || Object.keys(switches).length > 0) {
      // At once: until the features are right again, each super-frame would leave as one frame too large.
      this.#use(false);
      trouble ??= this.#switchBack(switches);
      if (trouble === undefined) {
        logger.warn(
          `somebody switched ${listed(mirrored(switches))} on ${interfaceName}; switched back for kernel segmentation`,
        );
      }
    }
    if (trouble === undefined) this.#stepUp();
    else this.#stepDown(trouble);
  }

  tick(): void {
    if (this.#dataPlane === undefined || !this.#segments) return;
    this.#notice();
    if (this.#obstacle !== undefined && this.#mayBeMended) this.follow();
  }

  rungs(): Rungs {
    this.#notice();
    return { encap: this.#encap(), decap: this.#decap() };
  }

  changes(): OffloadChange[] {
    return this.#options.offloads.changes();
  }

  notices(): string[] {
    if (!this.#insists) return [];
    const { acceleration } = this.#options.settings.dataplane;
    const decap = this.#decap();
    const without = [
      ...(this.#obstacle === undefined ? [] : [`encap runs without: ${obstacleText(this.#obstacle)}`]),
      ...(acceleration === 'full' && decap.rung === 'off' ? [`decap runs without: ${decap.why}`] : []),
    ];
    return without.map((what) => `dataplane.acceleration is ${acceleration}, but ${what}`);
  }

  close(): void {
    this.#dataPlane = undefined;
    this.#options.offloads.release();
  }

  /** Both directions go up to the highest rung. */
  get #goesToFull(): boolean {
    return ['auto', 'full'].includes(this.#options.settings.dataplane.acceleration);
  }

  #encap(): Rungs['encap'] {
    const { acceleration } = this.#options.settings.dataplane;
    if (this.#obstacle !== undefined) return { rung: 'off', why: obstacleText(this.#obstacle) };
    if (!this.#goesToFull) return { rung: 'segment', why: `dataplane.acceleration is ${acceleration}` };
    if (this.#dataPlane === undefined) return { rung: 'segment', why: NO_WORKERS };
    const why = this.#whyNotCarried(this.#dataPlane);
    return { rung: why === '' ? 'full' : 'segment', why };
  }

  /** Empty: the kernel carries known hosts' packets. */
  #whyNotCarried(dataPlane: Pick<DataPlane, 'encapsulation'>): string {
    const { carried, why } = dataPlane.encapsulation();
    return carried ? '' : `known hosts' packets take the workers, too: ${why}`;
  }

  #decap(): Rungs['decap'] {
    const { acceleration } = this.#options.settings.dataplane;
    if (!this.#goesToFull) return { rung: 'off', why: `dataplane.acceleration is ${acceleration}` };
    if (this.#dataPlane === undefined) return { rung: 'off', why: NO_WORKERS };
    const obstacle = this.#decapObstacle(this.#dataPlane);
    const why = obstacle === undefined ? '' : obstacleText(obstacle);
    return { rung: this.#dataPlane.decapsulation().part === 'none' ? 'off' : 'full', why };
  }

  /** Undefined: the kernel decapsulates all it can. */
  #decapObstacle(dataPlane: Pick<DataPlane, 'decapsulation'>): Obstacle | undefined {
    const decapsulation = dataPlane.decapsulation();
    if (decapsulation.part === 'carried') return undefined;
    const { interfaceName, mtu } = this.#options;
    if (decapsulation.part === 'none') return noStrip(interfaceName, mtu, decapsulation);
    return { why: `known flows take the workers, too: ${decapsulation.why}`, remedy: '' };
  }

  get #insists(): boolean {
    const { acceleration } = this.#options.settings.dataplane;
    return acceleration !== 'auto' && acceleration !== 'off';
  }

  /** Nobody tells when the time to switch again has come. */
  get #mayBeMended(): boolean {
    const waited = this.#now() - this.#switchedAt;
    return Number.isFinite(waited) && waited >= SWITCH_AGAIN_AFTER;
  }

  /** Switches what has to be switched; undefined: the interface fits now. */
  #makeFit(): Obstacle | undefined {
    const { interfaceName, kernel, offloads, settings } = this.#options;
    const { obstacle } = fitSegmentation(kernel, interfaceName, settings.dataplane.offloads);
    if (obstacle !== undefined || settings.dataplane.offloads === 'leave') return obstacle;
    try {
      const kept = offloads.hold(segmentationNeeds(kernel.readFeatures(interfaceName)));
      if (kept.length === 0) return undefined;
      return { why: `the driver of ${interfaceName} does not switch ${kept.join(', ')}`, remedy: '' };
    } catch (error) {
      return { why: `offloads of ${interfaceName} cannot be switched: ${reasonOf(error)}`, remedy: '' };
    }
  }

  /** No quarrel: another program that insists gets its way for a while. */
  #switchBack(switches: Readonly<Record<string, boolean>>): Obstacle | undefined {
    const now = this.#now();
    if (now - this.#switchedAt >= SWITCH_AGAIN_AFTER) {
      this.#switchedAt = now;
      return this.#makeFit();
    }
    const why = `${inTheWay(this.#options.interfaceName, switches)}; another program keeps switching it`;
    return { why, remedy: 'Find out which, or set dataplane.acceleration: off' };
  }

  #stepUp(): void {
    if (this.#obstacle !== undefined) this.#options.logger.info('encap runs with kernel segmentation again');
    this.#obstacle = undefined;
    this.#use(true);
  }

  #use(use: boolean): void {
    if (this.#using === use) return;
    this.#using = use;
    this.#dataPlane?.useKernelSegmentation(use);
  }

  #stepDown(obstacle: Obstacle): void {
    if (this.#obstacle?.why !== obstacle.why) {
      this.#options.logger.warn(`encap goes on without kernel segmentation: ${obstacleText(obstacle)}`);
    }
    this.#obstacle = obstacle;
  }

  #giveUp(obstacle: Obstacle): void {
    this.#stepDown(obstacle);
    this.#segments = false;
  }

  /** The workers find out by themselves, and have stepped down already. */
  #notice(): void {
    if (!this.#segments || this.#dataPlane?.segmentation() !== 'broken') return;
    this.#use(false);
    this.#giveUp({
      why: 'the kernel stopped taking super-frames: a vpcc interface or its program was taken away',
      remedy: 'Stop vpc-conn and start it again',
    });
  }
}

/** Undefined: the kernel segments EtherIP as user space does. */
export function probeSegmentation(kernel: Pick<KernelOffloads, 'probeSegmentation'>): Obstacle | undefined {
  const failed = kernel.probeSegmentation();
  if (failed === undefined) return undefined;
  return { why: `the self-test of kernel segmentation failed: ${failed}`, remedy: '' };
}

function inTheWay(interfaceName: string, switches: Readonly<Record<string, boolean>>): string {
  return `${interfaceName} has ${listed(mirrored(switches))}, which kernel segmentation cannot go with`;
}

/** "tx-tcp-segmentation off, ..." */
export function listed(switches: Readonly<Record<string, boolean>>): string {
  return Object.entries(switches)
    .map(([feature, on]) => `${feature} ${onOff(on)}`)
    .join(', ');
}

/** As things are, where `switches` says how they should be. */
function mirrored(switches: Readonly<Record<string, boolean>>): Record<string, boolean> {
  return Object.fromEntries(Object.entries(switches).map(([feature, on]) => [feature, !on]));
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
