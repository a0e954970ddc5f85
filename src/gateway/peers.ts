/** The peers as they behave: when each was heard, what the conversation with its gateway says, what is logged of it. */
import { isDeepStrictEqual } from 'node:util';
import type { DataPlane, DataPlaneEvent, PeerCounters } from '../dataplane/port.js';
import type { Logger } from '../log.js';
import type { Neighbors } from '../neighbor/neighbors.js';
import { createPeering, type Peering, type PeeringCounters, type PeeringView } from '../peering/peering.js';
import { createJudge } from './deliverable.js';
import type { PathMtus } from './path-mtu.js';
import { HEARD_LATELY, type PeerFacts, PeerLog, peeringView } from './peer-state.js';
import type { Plan } from './plan.js';
import type { NextHops } from './routes.js';
import { PeerActivity } from './status.js';

export interface PeersOptions {
  readonly dataPlane: Pick<DataPlane, 'send'>;
  readonly neighbors: Pick<Neighbors, 'macOf' | 'failed'>;
  readonly nextHops: Pick<NextHops, 'nextHopFor'>;
  readonly paths: PathMtus;
  readonly plan: Plan;
  readonly logger: Pick<Logger, 'info' | 'warn'>;
}

export interface Peers {
  /** Takes what a peer's gateway says, and far hosts that were refused; ignores other events. */
  handle(event: DataPlaneEvent): void;
  update(plan: Plan): void;
  /** Call once a second. */
  tick(counters: readonly PeerCounters[]): void;
  /** In the order of the plan's peers. */
  facts(counters: readonly PeerCounters[]): PeerFacts[];
  counters(): PeeringCounters;
  close(): void;
}

export function createPeers(options: PeersOptions): Peers {
  return new ConfiguredPeers(options);
}

class ConfiguredPeers implements Peers {
  readonly #options: PeersOptions;
  readonly #activity = new PeerActivity();
  readonly #log: PeerLog;
  readonly #peering: Peering;
  #plan: Plan;
  #view: PeeringView;

  constructor(options: PeersOptions) {
    const { dataPlane, neighbors, nextHops, paths, plan, logger } = options;
    this.#options = options;
    this.#log = new PeerLog(logger);
    this.#plan = plan;
    this.#view = this.#viewOf(plan);
    this.#peering = createPeering({
      dataPlane,
      view: this.#view,
      resolved: (address) => neighbors.macOf('underlay', address) !== undefined,
      heardLately: (peer) => {
        const silence = this.#activity.silence(peer, monotonicSeconds());
        return silence !== null && silence < HEARD_LATELY;
      },
      judge: createJudge({
        table: () => this.#plan.table,
        nextHopFor: nextHops.nextHopFor,
        failed: (address) => neighbors.failed('overlay', address),
      }),
      path: paths,
    });
  }

  handle(event: DataPlaneEvent): void {
    this.#peering.handle(event);
  }

  update(plan: Plan): void {
    const before = this.#plan;
    const view = this.#viewOf(plan);
    this.#plan = plan;
    if (isDeepStrictEqual(view, this.#view) && sameAnswers(before, plan)) return;
    this.#view = view;
    this.#peering.update(view);
  }

  tick(counters: readonly PeerCounters[]): void {
    this.#log.observe(this.facts(counters));
  }

  facts(counters: readonly PeerCounters[]): PeerFacts[] {
    const now = monotonicSeconds();
    this.#activity.observe(counters, now);
    const reports = this.#peering.reports();
    return this.#plan.peers.map((peer, place) => ({
      peer,
      resolved: this.#options.neighbors.macOf('underlay', peer.address) !== undefined,
      silence: this.#activity.silence(peer.name, now),
      report: reports[place],
      refusedHosts: this.#peering.refusedHosts(place),
    }));
  }

  counters(): PeeringCounters {
    return this.#peering.counters();
  }

  close(): void {
    this.#peering.close();
  }

  #viewOf(plan: Plan): PeeringView {
    return peeringView(plan, (address) => this.#options.paths.reportedLimit(address));
  }
}

/** What is told to peers about their lists depends on these. */
function sameAnswers({ table: before }: Plan, { table: after }: Plan): boolean {
  return (
    before.overlayAddress === after.overlayAddress &&
    isDeepStrictEqual(before.proxied, after.proxied) &&
    isDeepStrictEqual(before.reserved, after.reserved)
  );
}

/** Seconds of CLOCK_MONOTONIC, the clock of the data plane's time stamps. */
export function monotonicSeconds(): number {
  return Number(process.hrtime.bigint()) / 1e9;
}
