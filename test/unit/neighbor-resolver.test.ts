import t from 'tap';
import { BROADCAST_MAC } from '../../src/net/arp.js';
import {
  HOST,
  HOST_MAC,
  NeighborCase,
  OTHER_MAC,
  OVERLAY_ADDRESS,
  PEER_ADDRESS,
  PROXIED,
  UNDERLAY_ADDRESS,
  UNDERLAY_MAC,
  VIEW,
} from '../helpers/neighbor-case.js';

const ROUTER = '10.0.0.1';
const ROUTER_MAC = '02:00:00:00:00:01';

t.test('an off-link destination is published with the MAC of its next hop', async (t) => {
  const c = new NeighborCase({ nextHopFor: () => ROUTER });
  c.ask('10.9.0.1');
  c.ask('10.9.0.2');
  t.equal(c.requests(ROUTER).length, 1, 'one request for both');
  c.arp({ senderAddress: ROUTER, senderMac: ROUTER_MAC });
  c.clock.turn();
  t.same(c.dataPlane.neighbors, [
    { scope: 'overlay', address: '10.9.0.1', mac: ROUTER_MAC, slot: 0 },
    { scope: 'overlay', address: '10.9.0.2', mac: ROUTER_MAC, slot: 1 },
  ]);
  t.match(c.neighbors.rows()[0], { address: '10.9.0.1', nextHop: ROUTER, mac: ROUTER_MAC, scope: 'overlay' });
});

t.test('use of any destination keeps its next hop fresh', async (t) => {
  const c = new NeighborCase({ nextHopFor: () => ROUTER });
  c.ask('10.9.0.1');
  c.ask('10.9.0.2');
  c.arp({ senderAddress: ROUTER, senderMac: ROUTER_MAC });
  c.clock.advance(10_000);
  c.use('10.9.0.2');
  c.clock.advance(14_100);
  t.equal(c.requests(ROUTER).at(-1)?.destination, ROUTER_MAC);
});

t.test('no route: failed for at most a second, counted', async (t) => {
  let asked = 0;
  const c = new NeighborCase({
    nextHopFor: () => {
      asked += 1;
      return undefined;
    },
  });
  c.ask(HOST);
  t.same(c.published(HOST), { scope: 'overlay', address: HOST, slot: 0 });
  t.equal(c.state(HOST), 'failed');
  c.ask(HOST);
  t.equal(asked, 1);
  c.clock.advance(1000);
  t.equal(c.published(HOST), undefined);
  t.equal(c.neighbors.counters().noRoute, 1);
  t.same(c.sent, []);
});

t.test('one second of failure, also when the reason changes meanwhile', async (t) => {
  let nextHop: string | undefined = ROUTER;
  const c = new NeighborCase({ nextHopFor: () => nextHop });
  c.ask('10.9.0.1');
  c.clock.advance(3600);
  t.equal(c.state('10.9.0.1'), 'failed');
  nextHop = undefined;
  c.neighbors.routesChanged();
  c.neighbors.routesChanged();
  c.clock.advance(0);
  t.equal(c.published('10.9.0.1')?.mac, undefined);
  c.clock.advance(400);
  t.equal(c.published('10.9.0.1'), undefined);
});

t.test('the bound: a failed pinned destination is not evicted either', async (t) => {
  const c = new NeighborCase({ limits: { destinations: 2 } });
  c.neighbors.pin('underlay', [PEER_ADDRESS]);
  c.clock.advance(3500);
  t.equal(c.state(PEER_ADDRESS), 'failed');
  c.ask('10.0.0.11');
  c.ask('10.0.0.12');
  t.not(c.state(PEER_ADDRESS), undefined);
  t.equal(c.neighbors.counters().refused, 1);
});

t.test('no route to a pinned destination: asked again every second until there is one', async (t) => {
  let nextHop: string | undefined;
  const c = new NeighborCase({ nextHopFor: () => nextHop });
  c.neighbors.pin('underlay', [PEER_ADDRESS]);
  c.clock.advance(5000);
  t.same(c.sent, []);
  nextHop = '198.18.0.254';
  c.clock.advance(1000);
  t.equal(c.requests('198.18.0.254').length, 1);
});

t.test('routes changed: new next hops for all, the old MAC is not kept', async (t) => {
  let nextHop = ROUTER;
  const c = new NeighborCase({ nextHopFor: () => nextHop });
  c.ask('10.9.0.1');
  c.arp({ senderAddress: ROUTER, senderMac: ROUTER_MAC });
  c.clock.turn();
  nextHop = '10.0.0.254';
  c.neighbors.routesChanged();
  c.clock.turn();
  t.equal(c.published('10.9.0.1'), undefined);
  c.arp({ senderAddress: '10.0.0.254', senderMac: OTHER_MAC });
  c.clock.turn();
  t.equal(c.published('10.9.0.1')?.mac, OTHER_MAC);
  t.equal(c.published('10.9.0.1')?.slot, 0, 'the slot stays with the address');
});

t.test('routes changed: thousands of destinations are asked in turns, pinned ones at once', async (t) => {
  let asked: string[] = [];
  const c = new NeighborCase({
    neighborSlots: 4096,
    nextHopFor: (_scope, destination) => {
      asked.push(destination);
      return ROUTER;
    },
  });
  for (let index = 0; index < 2000; index += 1) c.ask(`10.9.${index >> 8}.${index & 255}`);
  c.neighbors.pin('overlay', [HOST]);
  asked = [];
  c.neighbors.routesChanged();
  t.equal(asked[0], HOST);
  t.ok(asked.length < 300);
  c.clock.advance(0);
  t.equal(asked.length, 2001);
});

t.test('at most one publication a turn, the first at once', async (t) => {
  const c = new NeighborCase();
  const hosts = [11, 12, 13, 14].map((last) => `10.0.0.${last}`);
  for (const host of hosts) c.ask(host);
  for (const [index, host] of hosts.entries()) {
    c.arp({ senderAddress: host, senderMac: `02:00:00:00:02:0${index}` });
  }
  t.equal(c.dataPlane.neighborSets.length, 1);
  t.equal(c.dataPlane.neighbors.length, 1);
  c.clock.turn();
  t.equal(c.dataPlane.neighborSets.length, 2);
  t.equal(c.dataPlane.neighbors.length, 4);
  c.clock.advance(1000);
  t.equal(c.dataPlane.neighborSets.length, 2, 'nothing new, nothing published');
});

t.test('large sets are published less often', async (t) => {
  const c = new NeighborCase({
    nextHopFor: () => ROUTER,
    neighborSlots: 16_384,
    limits: { gcStale: 3_600_000 },
  });
  c.ask('10.8.0.1');
  c.arp({ senderAddress: ROUTER, senderMac: ROUTER_MAC });
  c.clock.advance(10);
  let before = 0;
  for (let index = 0; index < 10_000; index += 1) {
    if (index === 5000) before = c.dataPlane.neighborSets.length;
    c.ask(`10.9.${index >> 8}.${index & 255}`);
    if (index % 10 === 9) c.clock.advance(1);
  }
  const published = c.dataPlane.neighborSets.length - before;
  t.ok(published <= 12, `${published} publications in half a second`);
  t.ok(published >= 5, `${published} publications in half a second`);
  c.clock.advance(100);
  t.equal(c.dataPlane.neighbors.length, 10_001);
});

t.test('own, proxied and impossible addresses are never resolved (checklist 51)', async (t) => {
  const c = new NeighborCase();
  for (const address of [
    OVERLAY_ADDRESS,
    UNDERLAY_ADDRESS,
    PROXIED,
    '10.0.0.130',
    '127.0.0.1',
    '224.0.0.5',
  ]) {
    c.ask(address);
  }
  t.same(c.sent, []);
  t.same(c.neighbors.rows(), []);
  t.equal(c.neighbors.counters().refused, 6);
});

t.test('a next hop that is ourselves counts as no route', async (t) => {
  const c = new NeighborCase({ nextHopFor: () => PROXIED });
  c.ask(HOST);
  t.equal(c.state(HOST), 'failed');
  t.same(c.sent, []);
});

t.test('the bound: the least recently used stale entry makes room, a pinned one never', async (t) => {
  const c = new NeighborCase({ limits: { destinations: 4 } });
  c.neighbors.pin('overlay', ['10.0.0.50']);
  for (const last of [11, 12, 13]) {
    c.ask(`10.0.0.${last}`);
    c.arp({ senderAddress: `10.0.0.${last}`, senderMac: `02:00:00:00:02:${last}` });
  }
  c.arp({ senderAddress: '10.0.0.50', senderMac: OTHER_MAC });
  c.clock.advance(5000);
  c.use('10.0.0.11');
  c.use('10.0.0.13');
  c.clock.advance(19_100);
  for (const last of [11, 13]) {
    c.arp({ senderAddress: `10.0.0.${last}`, senderMac: `02:00:00:00:02:${last}` });
  }
  c.clock.advance(36_000);
  t.equal(c.state('10.0.0.11'), 'stale');
  c.ask('10.0.0.14');
  t.equal(c.state('10.0.0.12'), undefined);
  t.not(c.state('10.0.0.50'), undefined);
  t.equal(c.neighbors.rows().length, 4);
  t.equal(c.neighbors.counters().evicted, 1);
});

t.test(
  'the bound: when everything is busy a new one is refused and counted, a pinned one is not',
  async (t) => {
    const c = new NeighborCase({ limits: { destinations: 2 } });
    c.ask('10.0.0.11');
    c.ask('10.0.0.12');
    c.ask('10.0.0.13');
    t.equal(c.state('10.0.0.13'), undefined);
    t.equal(c.neighbors.counters().refused, 1);
    c.neighbors.pin('underlay', [PEER_ADDRESS]);
    t.equal(c.state(PEER_ADDRESS), 'incomplete');
    t.equal(c.neighbors.rows().length, 2);
  },
);

t.test("the data plane's slots are the upper bound, and every slot is unique and in range", async (t) => {
  const c = new NeighborCase({ neighborSlots: 3, limits: { destinations: 100 } });
  for (const last of [11, 12, 13, 14]) c.ask(`10.0.0.${last}`);
  for (const last of [11, 12, 13, 14]) {
    c.arp({ senderAddress: `10.0.0.${last}`, senderMac: `02:00:00:00:02:${last}` });
  }
  c.clock.turn();
  t.same(c.dataPlane.neighbors.map(({ slot }) => slot).sort(), [0, 1, 2]);
});

t.test("a slot's new owner does not inherit the old one's use", async (t) => {
  const c = new NeighborCase({ limits: { destinations: 1, gcStale: 60_000 } });
  c.resolved();
  c.clock.advance(10_000);
  c.use(HOST);
  c.clock.advance(25_000);
  c.arp();
  c.clock.advance(100_000);
  t.equal(c.state(HOST), undefined);
  c.ask('10.0.0.11');
  c.arp({ senderAddress: '10.0.0.11', senderMac: OTHER_MAC });
  t.equal(c.neighbors.rows()[0]?.usedSecondsAgo, null);
  c.use('10.0.0.11');
  c.clock.advance(5000);
  t.equal(c.neighbors.rows()[0]?.usedSecondsAgo, 5);
});

t.test(
  'a scan cannot make us flood: 100 broadcasts a second, and hosts still get their turn (checklist 49)',
  async (t) => {
    const c = new NeighborCase({
      neighborSlots: 16_384,
      view: { ...VIEW, onLink: [{ address: '10.0.0.0', prefixLength: 8 }] },
    });
    const start = c.clock.now();
    for (let millisecond = 0; millisecond < 5000; millisecond += 1) {
      c.ask(`10.7.${millisecond >> 8}.${millisecond & 255}`);
      c.clock.advance(1);
    }
    for (let from = 0; from < 5000; from += 250) {
      const inSecond = c.sent.filter(({ at }) => at >= start + from && at < start + from + 1000).length;
      t.ok(inSecond <= 200, `${inSecond} in the second from ${from} ms: burst and rate`);
    }
    t.ok(c.sent.length <= 600);
    t.ok(c.sent.length >= 500, 'the limit is used');
    t.ok(c.neighbors.counters().throttled > 0);
    const asked = c.sent.length;
    c.neighbors.pin('underlay', [PEER_ADDRESS]);
    t.equal(c.sent.length, asked + 1, 'a pinned destination does not wait');
    c.clock.advance(13_000);
    t.equal(c.neighbors.counters().entries, 1, 'nothing stays behind but the pinned one');
  },
);

t.test(
  'who waits for the rate limit: pinned meanwhile, it is asked at once; learned, not at all',
  async (t) => {
    const c = new NeighborCase({ limits: { requestsPerSecond: 2 } });
    for (const last of [11, 12, 13, 14, 15]) c.ask(`10.0.0.${last}`);
    t.equal(c.sent.length, 2);
    c.neighbors.pin('overlay', ['10.0.0.15']);
    t.equal(c.sent.at(-1)?.targetAddress, '10.0.0.15');
    t.equal(c.sent.length, 3);
    c.request('10.0.0.77', { senderAddress: '10.0.0.14' });
    c.clock.advance(20_000);
    t.same(c.requests('10.0.0.14'), []);
    t.ok(c.requests('10.0.0.13').length > 0);
  },
);

t.test('through a tunnel: who-has FAR tell TUNNEL_ADDRESS, always broadcast (checklist 48)', async (t) => {
  const c = new NeighborCase();
  const scope = { peer: 0 };
  c.ask(HOST, scope);
  t.match(c.sent[0], {
    scope,
    operation: 'request',
    destination: BROADCAST_MAC,
    source: UNDERLAY_MAC,
    senderMac: UNDERLAY_MAC,
    senderAddress: UNDERLAY_ADDRESS,
    targetAddress: HOST,
  });
  c.arp({ source: '02:aa:aa:aa:aa:aa', destination: '02:bb:bb:bb:bb:bb' }, scope);
  t.equal(c.published(HOST, scope)?.mac, HOST_MAC, 'the payload counts, not the Ethernet header');
  c.use(HOST, scope);
  c.clock.advance(24_100);
  t.equal(c.state(HOST), 'probe');
  t.equal(c.requests().at(-1)?.destination, BROADCAST_MAC);
});

t.test('behind a peer a host may have the address that we have here', async (t) => {
  const c = new NeighborCase();
  c.ask(OVERLAY_ADDRESS, { peer: 0 });
  c.ask(UNDERLAY_ADDRESS, { peer: 0 });
  t.same(
    c.sent.map(({ targetAddress }) => targetAddress),
    [OVERLAY_ADDRESS],
  );
});

t.test('a peer that resolves for itself is never asked through the tunnel', async (t) => {
  const c = new NeighborCase();
  c.ask(HOST, { peer: 1 });
  c.ask(HOST, { peer: 9 });
  t.same(c.sent, []);
  t.equal(c.neighbors.counters().tunnelUnasked, 2);
});

t.test('update: what becomes ours or proxied is unpublished before it returns', async (t) => {
  const c = new NeighborCase();
  c.resolved();
  c.ask('10.0.0.11');
  c.arp({ senderAddress: '10.0.0.11', senderMac: OTHER_MAC });
  const proxied = [...VIEW.table.proxied, { address: HOST, host: HOST, prefixLength: 32, peer: 0 }];
  c.neighbors.update({ ...VIEW, table: { ...VIEW.table, proxied } });
  t.same(
    c.dataPlane.neighbors.map(({ address }) => address),
    ['10.0.0.11'],
  );
});

t.test("update: a peer in another's place does not inherit its neighbors", async (t) => {
  const c = new NeighborCase();
  const scope = { peer: 0 };
  c.ask(HOST, scope);
  c.arp({}, scope);
  c.clock.turn();
  t.ok(c.published(HOST, scope));
  const [first, ...others] = VIEW.table.peers;
  if (!first) throw new Error('the view has peers');
  c.neighbors.update({ ...VIEW, table: { ...VIEW.table, peers: [{ ...first, innerMtu: 1400 }, ...others] } });
  t.ok(c.published(HOST, scope), 'the same peer with another MTU stays the same peer');
  const moved = [{ ...first, name: 'vpc-d', address: '198.18.0.4' }, ...others];
  c.neighbors.update({ ...VIEW, table: { ...VIEW.table, peers: moved } });
  t.equal(c.published(HOST, scope), undefined);
});

t.test('update: our own new MAC has what is used verified, in its own name', async (t) => {
  const c = new NeighborCase();
  c.resolved();
  c.use(HOST);
  c.clock.advance(5000);
  c.neighbors.update({ ...VIEW, table: { ...VIEW.table, overlayMac: '02:00:00:00:00:55' } });
  c.clock.advance(1000);
  t.match(c.requests().at(-1), { destination: HOST_MAC, senderMac: '02:00:00:00:00:55' });
});

t.test('rows name scope, next hop, age and use', async (t) => {
  const c = new NeighborCase();
  c.resolved();
  c.ask(HOST, { peer: 0 });
  c.clock.advance(2500);
  t.same(c.neighbors.rows(), [
    {
      scope: 'overlay',
      address: HOST,
      nextHop: HOST,
      state: 'reachable',
      mac: HOST_MAC,
      ageSeconds: 2,
      usedSecondsAgo: null,
    },
    {
      scope: 'peer vpc-b',
      address: HOST,
      nextHop: HOST,
      state: 'incomplete',
      mac: null,
      ageSeconds: 2,
      usedSecondsAgo: null,
    },
  ]);
  t.equal(c.neighbors.macOf('overlay', HOST), HOST_MAC);
  t.equal(c.neighbors.macOf({ peer: 0 }, HOST), undefined);
});

t.test('frames that the data plane does not take are counted, and asked again', async (t) => {
  const c = new NeighborCase();
  c.dataPlane.sends = false;
  c.ask(HOST);
  c.clock.advance(1000);
  t.equal(c.neighbors.counters().notSent, 2);
  t.equal(c.state(HOST), 'incomplete');
});
