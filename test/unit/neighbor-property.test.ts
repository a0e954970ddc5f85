/** Whatever happens in whatever order: the promises that src/neighbor makes. */
import fc from 'fast-check';
import t from 'tap';
import type { Scope } from '../../src/dataplane/port.js';
import type { NeighborView } from '../../src/neighbor/neighbors.js';
import { BROADCAST_MAC } from '../../src/net/arp.js';
import { isUnicastMac } from '../../src/net/mac.js';
import {
  NeighborCase,
  OVERLAY_ADDRESS,
  PEER_ADDRESS,
  PROXIED,
  UNDERLAY_ADDRESS,
  VIEW,
} from '../helpers/neighbor-case.js';

const RATE = 5;
const BOUND = 6;
const HOSTS = Array.from({ length: 12 }, (_, index) => `10.0.0.${10 + index}`);
const ADDRESSES = [
  ...HOSTS,
  '10.0.0.1',
  '10.9.0.1',
  PROXIED,
  OVERLAY_ADDRESS,
  UNDERLAY_ADDRESS,
  PEER_ADDRESS,
  '0.0.0.0',
];
const SCOPES: Scope[] = ['overlay', 'underlay', { peer: 0 }, { peer: 1 }];
/** Another peer in the first place, and one of the hosts proxied. */
const OTHER_VIEW: NeighborView = {
  ...VIEW,
  table: {
    ...VIEW.table,
    underlayMac: '02:00:00:00:01:06',
    peers: VIEW.table.peers.map((peer, index) => (index === 0 ? { ...peer, name: 'vpc-x' } : peer)),
    proxied: [...VIEW.table.proxied, { address: '10.0.0.12', host: '10.0.0.12', prefixLength: 32, peer: 0 }],
  },
};

const scope = fc.constantFrom(...SCOPES);
const address = fc.constantFrom(...ADDRESSES);
const mac = fc.constantFrom(
  '02:00:00:00:00:11',
  '02:00:00:00:00:12',
  '00:00:00:00:00:00',
  '01:00:5e:00:00:01',
  VIEW.table.overlayMac,
);
const operation = fc.constantFrom<'request' | 'reply'>('request', 'reply');
/** Data, so that a counterexample can be read. */
type Step =
  | { do: 'ask' | 'heard'; at: string; where: Scope }
  | { do: 'arp'; operation: 'request' | 'reply'; sender: string; target: string; mac: string; where: Scope }
  | { do: 'use'; pick: number }
  | { do: 'advance'; milliseconds: number }
  | { do: 'reroute'; routed: boolean }
  | { do: 'link' }
  | { do: 'update'; other: boolean }
  | { do: 'bytes'; frame: Uint8Array };

const step = fc.oneof<fc.WeightedArbitrary<Step>[]>(
  {
    weight: 7,
    arbitrary: fc.record({ do: fc.constantFrom('ask', 'ask', 'heard'), at: address, where: scope }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('arp'),
      operation,
      sender: address,
      target: address,
      mac,
      where: scope,
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('use'), pick: fc.nat() }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('advance'),
      milliseconds: fc.constantFrom(1, 90, 500, 1000, 3100, 25_000),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('reroute'), routed: fc.boolean() }) },
  { weight: 1, arbitrary: fc.constant({ do: 'link' }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('update'), other: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('bytes'), frame: fc.uint8Array({ maxLength: 64 }) }) },
);

class World {
  readonly c: NeighborCase;
  view = VIEW;
  #routed = false;
  #jitter = 1;
  #publishedSets = 0;
  /** Since when a destination has been published as failed without interruption. */
  readonly #failedSince = new Map<string, number>();

  constructor() {
    this.c = new NeighborCase({
      limits: { requestsPerSecond: RATE, destinations: BOUND, gcStale: 60_000 },
      nextHopFor: (where, destination) => {
        if (typeof where === 'object' || !destination.startsWith('10.9.')) return destination;
        return this.#routed ? '10.0.0.1' : undefined;
      },
      random: () => {
        // Jitter that a counterexample repeats.
        this.#jitter = (this.#jitter * 16_807) % 2_147_483_647;
        return this.#jitter / 2_147_483_647;
      },
    });
    this.c.neighbors.pin('underlay', [PEER_ADDRESS]);
    const publish = this.c.dataPlane.publishNeighbors.bind(this.c.dataPlane);
    this.c.dataPlane.publishNeighbors = (adjacencies) => {
      const generation = publish(adjacencies);
      this.#publishedSets += 1;
      this.#checkPublished();
      return generation;
    };
  }

  run(step: Step): void {
    const { c } = this;
    switch (step.do) {
      case 'ask':
        c.ask(step.at, step.where);
        break;
      case 'heard':
        c.heard(step.at, step.where);
        break;
      case 'arp':
        c.arp(
          {
            operation: step.operation,
            senderAddress: step.sender,
            senderMac: step.mac,
            targetAddress: step.target,
          },
          step.where,
        );
        break;
      case 'use':
        this.#use(step.pick);
        break;
      case 'advance':
        c.clock.advance(step.milliseconds);
        break;
      case 'reroute':
        this.#routed = step.routed;
        c.neighbors.routesChanged();
        break;
      case 'link':
        c.neighbors.linkChanged('overlay', true);
        break;
      case 'update':
        this.#update(step.other ? OTHER_VIEW : VIEW);
        break;
      case 'bytes':
        c.dataPlane.emit({ kind: 'arp', scope: 'overlay', frame: step.frame });
        break;
    }
  }

  #use(pick: number): void {
    const { neighbors } = this.c.dataPlane;
    const adjacency = neighbors[pick % Math.max(1, neighbors.length)];
    if (adjacency) this.c.use(adjacency.address, adjacency.scope);
  }

  #update(view: NeighborView): void {
    this.view = view;
    this.c.neighbors.update(view);
    for (const { scope: where, address: at } of this.c.dataPlane.neighbors) this.#checkAddress(where, at);
  }

  #fail(what: string): never {
    throw new Error(`${what}: ${JSON.stringify(this.c.dataPlane.neighbors)}`);
  }

  #checkAddress(where: Scope, at: string): void {
    if (typeof where === 'object') {
      if (at === UNDERLAY_ADDRESS) this.#fail('the tunnel address is published behind a peer');
      return;
    }
    if (at === OVERLAY_ADDRESS || at === UNDERLAY_ADDRESS) this.#fail('an own address is published');
    const proxied = this.view.table.proxied.some((entry) => entry.address === at);
    if (where === 'overlay' && proxied) this.#fail('a proxied address is published');
  }

  #checkPublished(): void {
    const { neighbors } = this.c.dataPlane;
    const now = this.c.clock.now();
    if (neighbors.length > BOUND) this.#fail('more than the bound');
    if (new Set(neighbors.map(({ slot }) => slot)).size !== neighbors.length) this.#fail('a slot twice');
    for (const adjacency of neighbors) {
      if (adjacency.slot < 0 || adjacency.slot >= BOUND) this.#fail('a slot out of range');
      if (adjacency.mac !== undefined && !isUnicastMac(adjacency.mac)) this.#fail('no unicast MAC');
      if (adjacency.mac === VIEW.table.overlayMac) this.#fail('our own MAC');
    }
    const failed = new Set(
      neighbors.filter((one) => !one.mac).map((one) => JSON.stringify([one.scope, one.address])),
    );
    for (const known of [...this.#failedSince.keys()])
      if (!failed.has(known)) this.#failedSince.delete(known);
    for (const key of failed) if (!this.#failedSince.has(key)) this.#failedSince.set(key, now);
  }

  /** After the turn has ended. */
  check(): void {
    this.c.clock.advance(0);
    const rows = this.c.neighbors.rows();
    if (rows.length > BOUND) this.#fail('more rows than the bound');
    for (const { scope: where, address: at, mac: published } of this.c.dataPlane.neighbors) {
      this.#checkAddress(where, at);
      const name = typeof where === 'object' ? `peer ${this.view.table.peers[where.peer]?.name}` : where;
      const row = rows.find((one) => one.address === at && one.scope === name);
      if (!row) this.#fail(`${at} is published and not known`);
      if ((published ?? null) !== row.mac) this.#fail(`${at} is published with another MAC than its own`);
      if (row.state === 'failed' ? published !== undefined : published === undefined) {
        this.#fail(`${at} is ${row.state}`);
      }
    }
    for (const [key, since] of this.#failedSince) {
      if (this.c.clock.now() - since > 1000)
        this.#fail(`${key} is published as failed for more than a second`);
    }
    this.#checkRequests();
  }

  #checkRequests(): void {
    const last = new Map<string, number>();
    const broadcasts: number[] = [];
    for (const { scope: where, operation: op, targetAddress, senderAddress, destination, at } of this.c
      .sent) {
      if (op !== 'request' || targetAddress === senderAddress) continue;
      const key = JSON.stringify([where, targetAddress]);
      if (at - (last.get(key) ?? Number.NEGATIVE_INFINITY) < 1000)
        this.#fail(`two requests for ${key} in a second`);
      last.set(key, at);
      if (destination === BROADCAST_MAC && targetAddress !== PEER_ADDRESS) broadcasts.push(at);
    }
    // A bucket of RATE tokens, refilled at RATE a second.
    for (let end = 0; end < broadcasts.length; end += 1) {
      for (let start = 0; start < end; start += 1) {
        const span = ((broadcasts[end] ?? 0) - (broadcasts[start] ?? 0)) / 1000;
        if (end - start + 1 > RATE + span * RATE + 1e-6) this.#fail('the request limit is exceeded');
      }
    }
  }

  get publications(): number {
    return this.#publishedSets;
  }
}

t.test('request rates, the bound, failed entries and own addresses, in any order of events', async (t) => {
  let publications = 0;
  let requests = 0;
  fc.assert(
    fc.property(fc.array(step, { minLength: 20, maxLength: 120 }), (steps) => {
      const world = new World();
      try {
        for (const one of steps) {
          world.run(one);
          world.check();
        }
        publications += world.publications;
        requests += world.c.sent.length;
      } finally {
        world.c.neighbors.close();
      }
      if (world.c.clock.pending > 1) throw new Error('a timer is left after close()');
    }),
    { numRuns: 150 },
  );
  t.ok(publications > 1000, `${publications} publications were looked at`);
  t.ok(requests > 1000, `${requests} requests were looked at`);
});
