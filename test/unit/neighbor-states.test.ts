import t from 'tap';
import { BROADCAST_MAC } from '../../src/net/arp.js';
import {
  HOST,
  HOST_MAC,
  NeighborCase,
  OTHER_MAC,
  OVERLAY_ADDRESS,
  OVERLAY_MAC,
  PEER_ADDRESS,
  PEER_MAC,
  UNDERLAY_ADDRESS,
} from '../helpers/neighbor-case.js';

/** Advances, the workers using HOST every second. */
function busy(c: NeighborCase, seconds: number): void {
  for (let second = 0; second < seconds; second += 1) {
    if (c.published(HOST)?.mac !== undefined) c.use(HOST);
    c.clock.advance(1000);
  }
}

t.test(
  'an unknown destination is asked for at once, by broadcast, in our own name (checklist 48)',
  async (t) => {
    const c = new NeighborCase();
    c.ask(HOST);
    t.match(c.sent, [
      {
        scope: 'overlay',
        at: c.clock.now(),
        operation: 'request',
        destination: BROADCAST_MAC,
        source: OVERLAY_MAC,
        senderMac: OVERLAY_MAC,
        senderAddress: OVERLAY_ADDRESS,
        targetAddress: HOST,
      },
    ]);
    t.equal(c.state(HOST), 'incomplete');
    t.equal(c.published(HOST), undefined, 'incomplete is not published: the workers hold the frame');
  },
);

t.test('RFC 1122 2.3.2.1: at most one request a second per target (checklist 49)', async (t) => {
  const c = new NeighborCase();
  for (let step = 0; step < 100; step += 1) {
    c.ask(HOST);
    c.clock.advance(100);
  }
  const times = c.requests().map(({ at }) => at);
  t.ok(times.length >= 6, 'it keeps trying as long as somebody asks');
  for (const [index, at] of times.entries()) {
    if (index > 0) t.ok(at - (times[index - 1] ?? 0) >= 1000, `request ${index}`);
  }
});

t.test(
  'RFC 1122 2.3.2.1: also when the entry went and came again within that second (checklist 49)',
  async (t) => {
    let nextHop = HOST;
    const c = new NeighborCase({ nextHopFor: () => nextHop });
    c.ask('10.9.0.1');
    c.clock.advance(300);
    nextHop = '10.0.0.11';
    c.neighbors.routesChanged();
    t.equal(c.state('10.9.0.1'), 'incomplete');
    c.clock.advance(300);
    nextHop = HOST;
    c.neighbors.routesChanged();
    c.clock.advance(350);
    t.equal(c.requests(HOST).length, 1);
    c.clock.advance(100);
    t.equal(c.requests(HOST).length, 2);
  },
);

t.test('three tries, then failed for at most a second, then nothing is left', async (t) => {
  const c = new NeighborCase();
  c.ask(HOST);
  c.clock.advance(2999);
  t.equal(c.requests().length, 3);
  t.equal(c.state(HOST), 'incomplete');
  c.clock.advance(1);
  t.equal(c.state(HOST), 'failed');
  t.same(c.published(HOST), { scope: 'overlay', address: HOST, slot: 0 }, 'published without a MAC');
  c.clock.advance(1000);
  t.equal(c.state(HOST), undefined);
  t.equal(c.published(HOST), undefined);
  t.equal(c.requests().length, 3);
});

t.test('traffic from a failed target clears the failure at once', async (t) => {
  const c = new NeighborCase();
  c.ask(HOST);
  c.clock.advance(3000);
  t.equal(c.state(HOST), 'failed');
  c.heard(HOST);
  c.clock.turn();
  t.equal(c.state(HOST), 'incomplete');
  t.equal(c.published(HOST), undefined);
  t.equal(c.requests().length, 4);
});

t.test('traffic from a target that has not failed changes nothing', async (t) => {
  const c = new NeighborCase();
  c.heard(HOST);
  t.same(c.neighbors.rows(), []);
  c.resolved();
  c.clock.advance(5000);
  c.heard(HOST);
  t.equal(c.state(HOST), 'reachable');
  t.equal(c.requests().length, 1);
});

t.test('any ARP packet from a failed target resolves it', async (t) => {
  const c = new NeighborCase();
  c.ask(HOST);
  c.clock.advance(3000);
  c.request('10.0.0.77');
  c.clock.turn();
  t.equal(c.state(HOST), 'stale');
  t.equal(c.published(HOST)?.mac, HOST_MAC);
});

t.test('an answer is published at once', async (t) => {
  const c = new NeighborCase();
  c.ask(HOST);
  c.arp();
  t.same(c.published(HOST), { scope: 'overlay', address: HOST, mac: HOST_MAC, slot: 0 });
  t.equal(c.state(HOST), 'reachable');
});

t.test('RFC 4861 6.3.2: the reachable time is 0.5 to 1.5 times its base', async (t) => {
  for (const [random, seconds] of [
    [0, 15],
    [0.5, 30],
    [0.999, 44.97],
  ] as const) {
    const c = new NeighborCase({ random: () => random });
    c.resolved();
    c.clock.advance(seconds * 1000 - 100);
    t.equal(c.state(HOST), 'reachable', `${random}`);
    c.clock.advance(200);
    t.equal(c.state(HOST), 'stale', `${random}`);
  }
});

t.test('RFC 4861 7.3: an unused entry goes stale, unasked, and stays published', async (t) => {
  const c = new NeighborCase();
  c.resolved();
  c.clock.advance(120_000);
  t.equal(c.state(HOST), 'stale');
  t.equal(c.published(HOST)?.mac, HOST_MAC);
  t.equal(c.requests().length, 1);
});

t.test('a busy entry is re-probed by unicast before it expires and never leaves the table', async (t) => {
  const c = new NeighborCase();
  c.resolved();
  for (let second = 0; second < 100; second += 1) {
    c.use(HOST);
    c.clock.advance(1000);
    if (c.state(HOST) === 'probe') c.arp();
  }
  const [first, ...probes] = c.requests();
  t.equal(first?.destination, BROADCAST_MAC);
  t.equal(probes.length, 4, 'every 24 s');
  for (const probe of probes) t.equal(probe.destination, HOST_MAC);
  t.ok((probes[0]?.at ?? 0) - (first?.at ?? 0) <= 24_100);
  for (const set of c.dataPlane.neighborSets) t.equal(set.at(0)?.mac, HOST_MAC);
});

t.test(
  'three unicast probes a second apart, one broadcast, then failed; published to the last',
  async (t) => {
    const c = new NeighborCase();
    c.resolved();
    busy(c, 24);
    t.equal(c.state(HOST), 'probe');
    const start = c.clock.now();
    c.clock.advance(3999);
    t.equal(c.published(HOST)?.mac, HOST_MAC);
    t.same(
      c
        .requests()
        .slice(1)
        .map(({ destination, at }) => [destination, at - start]),
      [
        [HOST_MAC, 0],
        [HOST_MAC, 1000],
        [HOST_MAC, 2000],
        [BROADCAST_MAC, 3000],
      ],
    );
    c.clock.advance(1);
    t.equal(c.state(HOST), 'failed');
    t.equal(c.published(HOST)?.mac, undefined);
  },
);

t.test('the broadcast round finds a host that moved to another MAC', async (t) => {
  const c = new NeighborCase();
  c.resolved();
  busy(c, 24);
  c.clock.advance(3000);
  c.arp({ senderMac: OTHER_MAC });
  c.clock.turn();
  t.equal(c.state(HOST), 'reachable');
  t.equal(c.published(HOST)?.mac, OTHER_MAC);
});

t.test('a stale entry that is used again is verified by unicast: delay, then probe', async (t) => {
  const c = new NeighborCase();
  c.resolved();
  c.clock.advance(60_000);
  t.equal(c.state(HOST), 'stale');
  c.use(HOST);
  c.clock.advance(1000);
  t.equal(c.state(HOST), 'delay');
  c.clock.advance(1000);
  t.equal(c.state(HOST), 'probe');
  t.equal(c.requests().at(-1)?.destination, HOST_MAC);
  t.equal(c.published(HOST)?.mac, HOST_MAC);
  c.arp();
  t.equal(c.state(HOST), 'reachable');
});

t.test('an unused entry is forgotten after gcStale; a used one is not (checklist 49)', async (t) => {
  const c = new NeighborCase({ limits: { gcStale: 60_000 } });
  c.resolved();
  c.clock.advance(50_000);
  c.use(HOST);
  c.clock.advance(2000);
  c.arp();
  c.clock.advance(50_000);
  t.equal(c.published(HOST)?.mac, HOST_MAC);
  c.clock.advance(30_000);
  t.equal(c.state(HOST), undefined);
  t.equal(c.published(HOST), undefined);
  t.equal(c.requests().length, 2);
});

t.test('a pinned destination is re-probed unused and retried for ever', async (t) => {
  const c = new NeighborCase();
  c.neighbors.pin('underlay', [PEER_ADDRESS]);
  t.equal(c.requests(PEER_ADDRESS)[0]?.senderAddress, UNDERLAY_ADDRESS);
  c.clock.advance(3500);
  t.equal(c.state(PEER_ADDRESS), 'failed');
  c.clock.advance(600);
  t.equal(c.state(PEER_ADDRESS), 'incomplete', 'a failure lasts a second at most');
  c.clock.advance(20_000);
  t.ok(c.requests(PEER_ADDRESS).length > 12);

  c.arp({ senderAddress: PEER_ADDRESS, senderMac: PEER_MAC, targetAddress: UNDERLAY_ADDRESS }, 'underlay');
  c.clock.turn();
  t.equal(c.published(PEER_ADDRESS, 'underlay')?.mac, PEER_MAC);
  c.clock.advance(24_100);
  t.equal(c.state(PEER_ADDRESS), 'probe');
  t.equal(c.requests(PEER_ADDRESS).at(-1)?.destination, PEER_MAC);
});

t.test('what is no longer pinned ages like anything else', async (t) => {
  const c = new NeighborCase();
  c.neighbors.pin('underlay', [PEER_ADDRESS]);
  c.neighbors.pin('underlay', ['198.18.0.3']);
  c.clock.advance(4000);
  t.equal(c.state(PEER_ADDRESS), undefined);
  t.not(c.state('198.18.0.3'), undefined);
});

t.test('a static entry is never asked for, aged or overridden', async (t) => {
  const c = new NeighborCase({ limits: { gcStale: 60_000 } });
  c.neighbors.setStatic('overlay', HOST, HOST_MAC);
  c.arp({ senderMac: OTHER_MAC });
  c.neighbors.linkChanged('overlay', true);
  c.neighbors.routesChanged();
  c.clock.advance(200_000);
  t.equal(c.state(HOST), 'static');
  t.equal(c.published(HOST)?.mac, HOST_MAC);
  t.same(c.sent, []);
});

t.test(
  'a link that comes up again has what is used verified, pinned at once; what is unused stays',
  async (t) => {
    const c = new NeighborCase();
    c.resolved();
    c.use(HOST);
    c.ask('10.0.0.11');
    c.arp({ senderAddress: '10.0.0.11', senderMac: OTHER_MAC });
    c.clock.advance(10_000);
    c.neighbors.linkChanged('overlay', false);
    c.clock.advance(1000);
    t.equal(c.state(HOST), 'reachable', 'nobody could answer while it is down');
    c.neighbors.linkChanged('overlay', true);
    c.clock.advance(1000);
    t.equal(c.state(HOST), 'probe');
    t.equal(c.published(HOST)?.mac, HOST_MAC);
    t.equal(c.state('10.0.0.11'), 'stale');
    t.equal(c.requests('10.0.0.11').length, 1);
  },
);

t.test('a link change clears a failure', async (t) => {
  const c = new NeighborCase();
  c.ask(HOST);
  c.clock.advance(3000);
  t.equal(c.state(HOST), 'failed');
  c.neighbors.linkChanged('overlay', true);
  t.equal(c.state(HOST), 'incomplete');
  t.equal(c.requests().length, 4);
});

t.test('after close() there are no timers, requests or publications', async (t) => {
  const c = new NeighborCase();
  c.resolved();
  c.ask('10.0.0.11');
  c.neighbors.pin('underlay', [PEER_ADDRESS]);
  c.clock.turn();
  const { sent, dataPlane } = c;
  const before = [sent.length, dataPlane.neighborSets.length];
  c.neighbors.close();
  c.ask('10.0.0.12');
  c.heard(HOST);
  c.arp();
  c.neighbors.routesChanged();
  c.neighbors.pin('underlay', ['198.18.0.9']);
  c.clock.advance(100_000);
  t.same([sent.length, dataPlane.neighborSets.length], before);
  t.equal(c.clock.pending, 0);
});
