/**
 * The supervisor: brings guard, data plane and neighbors up in order, keeps them fitting while the machine or
 * the settings change, and takes them down in reverse. Everything runs on the JS thread; start, reload and
 * stop never overlap.
 */
import { EventEmitter } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { throwOnErrors } from '../config/finding.js';
import type { Settings } from '../config/settings.js';
import type {
  FlowsRequest,
  FlowsResult,
  NeighborRow,
  StatsResult,
  StatusResult,
} from '../control/protocol.js';
import { createNativeDataPlane, nativeOffloads } from '../dataplane/native-data-plane.js';
import type {
  DataPlane,
  DataPlaneEvent,
  DataPlaneFactory,
  KernelOffloads,
  MasqueradeUse,
} from '../dataplane/port.js';
import { VpcConnError } from '../errors.js';
import { createLogger, createRepeatFilter, type Logger, type RepeatFilter, setLogLevel } from '../log.js';
import { createNeighbors, type Neighbors } from '../neighbor/neighbors.js';
import { type Netlink, openNetlink } from '../net/netlink.js';
import { VERSION } from '../version.js';
import { type Acceleration, accelerate } from './acceleration.js';
import { createGuard, type Guard } from './guard.js';
import { keepMasquerade, type MasqueradeKeeper, takeUpFlows } from './masquerade-keeper.js';
import { createPathMtus, type PathMtus } from './path-mtu.js';
import { createPeers, monotonicSeconds, type Peers } from './peers.js';
import { INTERFACE_GONE, makePlan, neighborView, type Plan, readMachine, readMachineAgain } from './plan.js';
import { machineFindings } from './preflight.js';
import { effectiveCapabilities, requirePrivileges } from './privileges.js';
import { bothGuards, describeChanges, describeMachineChanges, refuseRestart } from './reload.js';
import { createNextHops, type NextHops } from './routes.js';
import { flowsOf, statsOf, statusOf } from './status.js';

/** How long the workers may take for a table, milliseconds. They look once a batch or when woken. */
const ACKNOWLEDGE_WITHIN = 2000;
const ACKNOWLEDGE_POLL = 2;
/** Netlink reports a change in several messages; they are read together, milliseconds. */
const SETTLE = 20;
const TICK = 1000;

export interface GatewayEvents {
  /** The gateway cannot go on and has already stopped by itself; the error says why and what to do. */
  failed: [VpcConnError];
}

export interface Gateway extends EventEmitter<GatewayEvents> {
  readonly settings: Settings;
  /**
   * Resolves when the workers are attached, the kernel guard is up and the first table is acknowledged.
   * Rejects with VpcConnError and leaves nothing behind. Once per gateway.
   */
  start(): Promise<void>;
  /** Takes everything down; resolves also when there is nothing to do. Idempotent. */
  stop(): Promise<void>;
  /**
   * Puts other settings in force without interrupting the workers; says in words what changed. Rejects with
   * SettingsError, and changes nothing, when they are wrong or need a restart.
   */
  reload(settings: Settings): Promise<{ generation: number; changes: string[] }>;
  status(): StatusResult;
  stats(): StatsResult;
  neighbors(): NeighborRow[];
  /** A page of the masqueraded flows. */
  flows(request?: FlowsRequest): FlowsResult;
}

export interface GatewayOptions {
  /** Default: one made from settings.log. */
  readonly logger?: Logger;
  readonly dataPlaneFactory?: DataPlaneFactory;
  readonly kernelOffloads?: KernelOffloads;
  readonly openNetlink?: () => Netlink;
  readonly guardFactory?: () => Guard;
  readonly neighborsFactory?: typeof createNeighbors;
  /** The process's effective capabilities. */
  readonly capabilities?: () => bigint;
  /** Milliseconds that the workers may take for a table. */
  readonly acknowledgeWithin?: number;
}

export function createGateway(settings: Settings, options: GatewayOptions = {}): Gateway {
  return new Supervisor(settings, options);
}

/** What exists while the gateway runs. */
interface Parts {
  readonly netlink: Netlink;
  readonly guard: Guard;
  readonly acceleration: Acceleration;
  readonly dataPlane: DataPlane;
  readonly neighbors: Neighbors;
  readonly nextHops: NextHops;
  readonly peers: Peers;
}

type State = 'new' | 'starting' | 'running' | 'stopping' | 'stopped';

class Supervisor extends EventEmitter<GatewayEvents> implements Gateway {
  readonly #options: GatewayOptions;
  readonly #logger: Logger;
  /** For what the network or somebody at the machine can repeat at will. */
  readonly #repeats: RepeatFilter;
  readonly #paths: PathMtus;
  /** Aborted once, by stop() or by what failed; the reason is what a pending start or reload rejects with. */
  readonly #end = new AbortController();
  #settings: Settings;
  #state: State = 'new';
  #parts: Parts | undefined;
  #plan: Plan | undefined;
  #published = 0;
  #startedAt = 0;
  #masqueraded: MasqueradeUse = { bindings: 0, flows: 0 };
  /** What does not work although the gateway runs. */
  #trouble: string | undefined;
  /** Takes down what is up, last first. */
  #undo: (() => void | Promise<void>)[] = [];
  /** The tail of the queue that start, reload, follow and stop wait in. */
  #queue: Promise<unknown> = Promise.resolve();
  #settling: NodeJS.Timeout | undefined;
  #stopping: Promise<void> | undefined;

  constructor(settings: Settings, options: GatewayOptions) {
    super();
    this.#settings = settings;
    this.#options = options;
    this.#logger = options.logger ?? createLogger(settings.log);
    this.#repeats = createRepeatFilter({ logger: this.#logger });
    this.#undo.push(() => this.#repeats.close());
    this.#paths = createPathMtus({
      inForce: (address) => this.#plan?.peers.find((peer) => peer.address === address)?.outerMtu,
      onChange: () => this.#machineChanged(),
    });
    this.#undo.push(() => this.#paths.close());
  }

  get settings(): Settings {
    return this.#settings;
  }

  async start(): Promise<void> {
    if (this.#state !== 'new') {
      throw new VpcConnError('started-before', 'A gateway starts once. Create another one to start again.');
    }
    this.#state = 'starting';
    await this.#inTurn(async () => {
      try {
        await this.#bringUp();
        this.#end.signal.throwIfAborted();
        this.#state = 'running';
      } catch (error) {
        await this.#takeDown();
        throw explain(error, 'start-failed', 'The gateway could not start');
      }
    });
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async reload(settings: Settings): Promise<{ generation: number; changes: string[] }> {
    return await this.#inTurn(async () => {
      try {
        return await this.#reload(settings);
      } catch (error) {
        throw explain(error, 'reload-failed', 'The settings could not be put in force; the old ones stay');
      }
    });
  }

  status(): StatusResult {
    const { acceleration, dataPlane, guard, neighbors, peers } = this.#running();
    const plan = this.#planned();
    const peerCounters = dataPlane.peerCounters();
    const now = monotonicSeconds();
    const rungs = acceleration.rungs();
    const notices = [...(this.#trouble === undefined ? [] : [this.#trouble]), ...acceleration.notices()];
    const degraded = notices.length > 0 || plan.notices.some(({ code }) => code !== 'proxied-configured');
    return statusOf({
      plan,
      version: VERSION,
      state: degraded ? 'degraded' : 'running',
      uptimeSeconds: Math.floor(now - this.#startedAt),
      // The workers count on with the neighbors; of interest is whether they have this table.
      generation: {
        published: this.#published,
        acknowledged: Math.min(this.#published, dataPlane.acknowledgedGeneration()),
      },
      acceleration: rungs,
      offloads: acceleration.changes(),
      guard: guard.state(),
      neighbors: neighbors.rows(),
      peerCounters,
      peers: peers.facts(peerCounters),
      notices,
    });
  }

  stats(): StatsResult {
    const { dataPlane, neighbors, peers } = this.#running();
    const masqueraded = this.#sweepBindings(dataPlane);
    return statsOf({
      uptimeSeconds: monotonicSeconds() - this.#startedAt,
      workers: dataPlane.counters(),
      loads: dataPlane.loads(),
      peers: dataPlane.peerCounters(),
      dropReasons: dataPlane.dropReasons,
      masquerade: masqueraded,
      neighbors: neighbors.counters(),
      peering: peers.counters(),
    });
  }

  neighbors(): NeighborRow[] {
    return this.#running().neighbors.rows();
  }

  flows(request: FlowsRequest = {}): FlowsResult {
    const { dataPlane } = this.#running();
    return flowsOf(this.#planned(), dataPlane, request, this.#masqueraded.flows);
  }

  async #bringUp(): Promise<void> {
    const settings = this.#settings;
    const netlink = this.#holding((this.#options.openNetlink ?? openNetlink)(), (held) => held.close());
    // Watched before anything is read, so that no change slips between.
    netlink.watch(() => this.#machineChanged());
    const findings = machineFindings(settings, netlink);
    throwOnErrors(findings);
    requirePrivileges((this.#options.capabilities ?? effectiveCapabilities)());

    const plan = makePlan(settings, readMachine(netlink, settings, this.#pathLimit));
    this.#plan = plan;
    for (const { code, message } of findings) this.#logger.warn({ code }, message);
    for (const { code, message } of plan.notices) {
      if (code === 'proxied-configured') this.#logger.info({ code }, message);
    }

    const guard = this.#holding((this.#options.guardFactory ?? createGuard)(), (held) => held.close());
    guard.apply(plan.guard);

    const acceleration = this.#holding(
      accelerate(plan, netlink, this.#options.kernelOffloads ?? nativeOffloads, this.#logger),
      (held) => held.close(),
    );
    const dataPlane = this.#holding(this.#startDataPlane(plan, acceleration), (held) => held.close());
    const keeper = this.#holding(
      keepMasquerade({
        dataPlane,
        plan: () => this.#planned(),
        flows: () => this.#sweepBindings(dataPlane).flows,
        logger: this.#logger,
      }),
      (held) => held.close(),
    );
    const nextHops = createNextHops(netlink, () => this.#planned());
    const neighbors = this.#holding(
      (this.#options.neighborsFactory ?? createNeighbors)({
        dataPlane,
        view: neighborView(plan),
        nextHopFor: nextHops.nextHopFor,
        onConflict: ({ scope, address, mac }) => {
          const where =
            typeof scope === 'object' ? `behind peer ${this.#peerName(scope.peer)}` : `on the ${scope}`;
          const message = `another machine ${where} uses ${address}, too: take it from one of them`;
          this.#repeats.log(message, { address, mac }, message);
        },
        onMacChange: ({ address, oldMac, newMac }) => {
          const fields = { address, oldMac, newMac };
          this.#repeats.log(`mac ${address}`, fields, `neighbor ${address} has another MAC`, 'info');
        },
      }),
      (held) => held.close(),
    );
    this.#pinPeers(neighbors, plan);
    const peers = this.#holding(
      createPeers({ dataPlane, neighbors, nextHops, paths: this.#paths, plan, logger: this.#logger }),
      (held) => held.close(),
    );
    this.#parts = { netlink, guard, acceleration, dataPlane, neighbors, nextHops, peers };
    await this.#acknowledged(dataPlane, this.#published);
    this.#startedAt = monotonicSeconds();
    // A running gateway keeps its process alive, as a listening server does.
    const tick = setInterval(() => this.#tick(dataPlane, acceleration, peers, keeper), TICK);
    this.#undo.push(() => clearInterval(tick));
  }

  /** Attaches the workers on the highest rung that they start with. What they report waits for this turn's end. */
  #startDataPlane(plan: Plan, acceleration: Acceleration): DataPlane {
    for (;;) {
      const dataPlane = (this.#options.dataPlaneFactory ?? createNativeDataPlane)({
        overlay: { ifindex: plan.overlay.ifindex, name: plan.overlay.interface },
        underlay: { ifindex: plan.underlay.ifindex, name: plan.underlay.interface },
        workers: plan.workers,
        spinMicroseconds: plan.settings.dataplane.spin,
        ...acceleration.wanted,
        onEvent: (event) => this.#heard(event),
      });
      try {
        this.#published = dataPlane.publishTable(plan.table);
        takeUpFlows(plan, dataPlane, this.#logger);
        dataPlane.start();
        acceleration.attach(dataPlane);
        return dataPlane;
      } catch (error) {
        dataPlane.close();
        if (!acceleration.lower(error)) throw error;
      }
    }
  }

  async #reload(next: Settings): Promise<{ generation: number; changes: string[] }> {
    const parts = this.#running();
    const before = this.#planned();
    refuseRestart(this.#settings, next);
    const machine = readMachineAgain(parts.netlink, before, this.#pathLimit);
    throwOnErrors(machineFindings(next, parts.netlink));
    const after = makePlan(next, machine, before);
    const changes = describeChanges(this.#settings, next);

    try {
      // First the guard covers what is new, then the workers take it up, then the guard lets go of the rest:
      // at no moment does the kernel see an address of ours unguarded.
      parts.guard.apply(bothGuards(before.guard, after.guard));
      this.#install(parts, after);
      await this.#acknowledged(parts.dataPlane, this.#published);
      parts.guard.apply(after.guard);
    } catch (error) {
      this.#takeBack(parts, before);
      throw error;
    }
    this.#settings = next;
    this.#trouble = undefined;
    setLogLevel(this.#logger, next.log.level);
    for (const change of changes) this.#logger.info({ generation: this.#published }, change);
    return { generation: this.#published, changes };
  }

  /** Puts a plan in force for neighbors and workers; the guard is the caller's. */
  #install({ dataPlane, neighbors, nextHops, peers }: Parts, plan: Plan): void {
    const before = this.#planned();
    this.#plan = plan;
    nextHops.clear();
    const view = neighborView(plan);
    if (!isDeepStrictEqual(view, neighborView(before))) neighbors.update(view);
    if (!isDeepStrictEqual(plan.table, before.table)) this.#published = dataPlane.publishTable(plan.table);
    this.#pinPeers(neighbors, plan);
    neighbors.routesChanged();
    peers.update(plan);
  }

  /** The old plan again. A guard that cannot shrink is no reason to hide why the reload failed. */
  #takeBack(parts: Parts, before: Plan): void {
    this.#install(parts, before);
    try {
      parts.guard.apply(before.guard);
    } catch (error) {
      this.#logger.error({ err: error }, 'the kernel guard could not be taken back');
    }
  }

  /** Links, addresses, routes or rules changed. */
  #machineChanged(): void {
    this.#settling ??= setTimeout(() => {
      this.#settling = undefined;
      this.#inTurn(async () => {
        if (this.#state !== 'running') return;
        await this.#follow();
      }).catch((error: unknown) => {
        this.#logger.error({ err: error }, 'a change of the machine could not be followed');
      });
    }, SETTLE).unref();
  }

  async #follow(): Promise<void> {
    const parts = this.#running();
    // First: with other features super-frames would leave as they must not.
    parts.acceleration.follow();
    const before = this.#planned();
    let after: Plan;
    try {
      const machine = readMachineAgain(parts.netlink, before, this.#pathLimit);
      after = makePlan(this.#settings, machine, before);
    } catch (error) {
      if (error instanceof VpcConnError && error.code === INTERFACE_GONE) return this.#fail(error);
      throw error;
    }
    for (const change of describeMachineChanges(before, after)) this.#repeats.log(change, {}, change);
    const guardStays = isDeepStrictEqual(before.guard, after.guard);
    try {
      if (!guardStays) parts.guard.apply(bothGuards(before.guard, after.guard));
      this.#install(parts, after);
      if (!guardStays) parts.guard.apply(after.guard);
      this.#trouble = undefined;
    } catch (error) {
      // The gateway goes on with the guard that it has; the next change of the machine tries again.
      this.#plan = { ...after, table: this.#planned().table, guard: before.guard };
      const { message } = explain(error, 'guard-failed', 'The kernel guard cannot follow the machine');
      if (this.#trouble !== message) this.#logger.error(message);
      this.#trouble = message;
    }
    for (const side of ['overlay', 'underlay'] as const) {
      if (!isDeepStrictEqual(before[side], after[side])) parts.neighbors.linkChanged(side, after[side].up);
    }
  }

  #heard(event: DataPlaneEvent): void {
    if (event.kind === 'worker-failed') this.#fail(this.#workerFailure(event));
    else if (event.kind === 'path-report') this.#heardOfPath(event);
    else if (event.kind === 'keepalive' || event.kind === 'unlisted') this.#parts?.peers.handle(event);
    else this.#parts?.neighbors.handle(event);
  }

  #heardOfPath({ peer, router, mtu, sent }: DataPlaneEvent & { kind: 'path-report' }): void {
    const planned = this.#plan?.peers[peer];
    if (planned) this.#paths.reported({ peerAddress: planned.address, router, mtu, sent });
  }

  /** A worker that lost its socket mostly lost its interface; then that is what a person wants to read. */
  #workerFailure({ worker, code, message }: DataPlaneEvent & { kind: 'worker-failed' }): VpcConnError {
    try {
      if (this.#parts) readMachineAgain(this.#parts.netlink, this.#planned());
    } catch (error) {
      if (error instanceof VpcConnError && error.code === INTERFACE_GONE) return error;
    }
    return new VpcConnError(
      'worker-failed',
      `Worker ${worker} failed: ${message} (${code}). Start vpc-conn again; if it happens again, report it with the log.`,
    );
  }

  /** The gateway cannot go on: a pending start or reload rejects with `error`, a running one stops by itself. */
  #fail(error: VpcConnError): void {
    if (this.#end.signal.aborted) return;
    const starting = this.#state === 'starting';
    this.#end.abort(error);
    if (starting) return;
    this.stop().then(() => this.emit('failed', error));
  }

  async #stop(): Promise<void> {
    this.#end.abort(new VpcConnError('stopped', 'The gateway was stopped.'));
    if (this.#state !== 'stopped') this.#state = 'stopping';
    await this.#inTurn(() => this.#takeDown());
  }

  async #takeDown(): Promise<void> {
    clearTimeout(this.#settling);
    this.#settling = undefined;
    this.#parts = undefined;
    for (let undo = this.#undo.pop(); undo !== undefined; undo = this.#undo.pop()) {
      try {
        await undo();
      } catch (error) {
        this.#logger.error({ err: error }, 'a part of the gateway could not be taken down cleanly');
      }
    }
    this.#state = 'stopped';
  }

  readonly #pathLimit = (peerAddress: string) => this.#paths.limit(peerAddress);

  #pinPeers(neighbors: Neighbors, plan: Plan): void {
    neighbors.pin(
      'underlay',
      plan.peers.map((peer) => peer.address),
    );
  }

  #peerName(place: number): string {
    return this.#planned().peers[place]?.name ?? `${place}`;
  }

  #tick(dataPlane: DataPlane, acceleration: Acceleration, peers: Peers, keeper: MasqueradeKeeper): void {
    acceleration.tick();
    keeper.tick();
    peers.tick(dataPlane.peerCounters());
    this.#sweepBindings(dataPlane);
  }

  /** Bindings outlive a reload that ends masquerading, until their timers run out. */
  #sweepBindings(dataPlane: DataPlane): MasqueradeUse {
    const masquerades = this.#planned().peers.some((peer) => peer.unlisted === 'masquerade');
    if (masquerades || this.#masqueraded.flows > 0) this.#masqueraded = dataPlane.sweepBindings();
    return this.#masqueraded;
  }

  async #acknowledged(dataPlane: DataPlane, generation: number): Promise<void> {
    const within = this.#options.acknowledgeWithin ?? ACKNOWLEDGE_WITHIN;
    const deadline = performance.now() + within;
    while (dataPlane.acknowledgedGeneration() < generation) {
      this.#end.signal.throwIfAborted();
      if (performance.now() > deadline) {
        throw new VpcConnError(
          'workers-stuck',
          `The workers did not take up the forwarding table within ${within} ms. See whether the machine is short of CPU time, then try again.`,
        );
      }
      await delay(ACKNOWLEDGE_POLL);
    }
  }

  #holding<T>(part: T, takeDown: (part: T) => void | Promise<void>): T {
    this.#undo.push(() => takeDown(part));
    return part;
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#queue.then(work);
    this.#queue = turn.catch(() => {});
    return turn;
  }

  #running(): Parts {
    if (this.#parts === undefined || this.#state !== 'running') {
      throw new VpcConnError('not-running', 'This gateway is not running. Start it first.');
    }
    return this.#parts;
  }

  #planned(): Plan {
    if (this.#plan === undefined) throw new VpcConnError('not-running', 'This gateway was not started.');
    return this.#plan;
  }
}

function explain(error: unknown, code: string, what: string): VpcConnError {
  if (error instanceof VpcConnError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  return new VpcConnError(code, `${what}: ${reason}.`, { cause: error });
}
