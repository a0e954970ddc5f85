import t from 'tap';
import { BROADCAST_MAC, UNSPECIFIED_ADDRESS, ZERO_MAC } from '../../src/net/arp.js';
import {
  HOST,
  HOST_MAC,
  NeighborCase,
  OTHER_MAC,
  OVERLAY_ADDRESS,
  OVERLAY_MAC,
  PEER_ADDRESS,
  PROXIED,
  UNDERLAY_MAC,
  VIEW,
} from '../helpers/neighbor-case.js';

/** The far gateway's address and MAC in its requests through the tunnel. */
const FAR = { senderAddress: PEER_ADDRESS, senderMac: '02:00:00:00:09:01' };
const TUNNEL = { peer: 0 };

t.test(
  'a request for a proxied address is answered to the requester alone, with our MAC (checklist 45)',
  async (t) => {
    const c = new NeighborCase();
    c.request(PROXIED);
    t.same(c.sent, [
      {
        scope: 'overlay',
        at: c.clock.now(),
        destination: HOST_MAC,
        source: OVERLAY_MAC,
        operation: 'reply',
        senderMac: OVERLAY_MAC,
        senderAddress: PROXIED,
        targetMac: HOST_MAC,
        targetAddress: HOST,
      },
    ]);
  },
);

t.test(
  'also inside a proxied prefix, and although the operating system has configured the address',
  async (t) => {
    const c = new NeighborCase();
    for (const target of ['10.0.0.128', '10.0.0.191', PROXIED]) c.request(target);
    t.same(
      c.replies().map(({ senderAddress }) => senderAddress),
      ['10.0.0.128', '10.0.0.191', PROXIED],
    );
  },
);

t.test("never for our own, for reserved or for anybody else's address", async (t) => {
  const table = {
    ...VIEW.table,
    proxied: [{ address: '10.0.0.0', host: '10.0.1.0', prefixLength: 28, peer: 0 }],
  };
  const c = new NeighborCase({ view: { ...VIEW, table } });
  for (const target of [OVERLAY_ADDRESS, '10.0.0.1', '10.0.0.0', '10.0.0.16', '10.0.0.127']) {
    c.request(target, { senderAddress: '10.0.0.77' });
  }
  t.same(c.sent, []);
});

t.test('nothing is answered in silent mode, neither requests nor conflicts', async (t) => {
  const c = new NeighborCase({ view: { ...VIEW, arp: 'silent' } });
  c.request(PROXIED);
  c.request('10.0.0.77', { senderAddress: PROXIED });
  t.same(c.sent, []);
  t.equal(c.conflicts.length, 1);
  t.equal(c.state(HOST), 'stale', 'who asked is learned nevertheless');
});

t.test('RFC 5227 2.1.1: a probe for a proxied address is answered (checklist 47)', async (t) => {
  const c = new NeighborCase();
  c.request(PROXIED, { senderAddress: UNSPECIFIED_ADDRESS });
  t.match(c.sent, [
    { operation: 'reply', destination: HOST_MAC, senderAddress: PROXIED, targetAddress: UNSPECIFIED_ADDRESS },
  ]);
});

t.test(
  'RFC 5227 2.4: a conflict is met with one announcement every 10 s, and never answered (checklist 47, 48)',
  async (t) => {
    const c = new NeighborCase();
    for (let second = 0; second < 20; second += 1) {
      // An announcement, a request for another proxied address, a reply: all claim PROXIED.
      c.request(PROXIED, { senderAddress: PROXIED });
      c.request('10.0.0.130', { senderAddress: PROXIED });
      c.arp({ senderAddress: PROXIED });
      c.clock.advance(1000);
    }
    t.match(c.sent, [
      {
        operation: 'request',
        destination: BROADCAST_MAC,
        senderMac: OVERLAY_MAC,
        senderAddress: PROXIED,
        targetMac: ZERO_MAC,
        targetAddress: PROXIED,
      },
      { at: (c.sent[0]?.at ?? 0) + 10_000 },
    ]);
    t.equal(c.sent.length, 2);
    t.equal(c.neighbors.counters().defences, 2);
  },
);

t.test("a conflict about our own address is the kernel's to defend", async (t) => {
  const c = new NeighborCase();
  c.request('10.0.0.77', { senderAddress: OVERLAY_ADDRESS });
  t.same(c.sent, []);
});

t.test('gratuitous ARP of a host: no answer, and no entry unless there is one', async (t) => {
  const c = new NeighborCase();
  c.request(HOST);
  c.arp({ targetAddress: HOST, destination: BROADCAST_MAC });
  t.same(c.sent, []);
  t.same(c.neighbors.rows(), []);
});

t.test('through the tunnel: a resolved host is answered at once, with its real MAC', async (t) => {
  const c = new NeighborCase();
  c.resolved();
  c.request(HOST, FAR, TUNNEL);
  t.same(c.sent.at(-1), {
    scope: TUNNEL,
    at: c.clock.now(),
    destination: FAR.senderMac,
    source: UNDERLAY_MAC,
    operation: 'reply',
    senderMac: HOST_MAC,
    senderAddress: HOST,
    targetMac: FAR.senderMac,
    targetAddress: FAR.senderAddress,
  });
});

t.test(
  'through the tunnel: an unknown host is resolved on the overlay first, and answered once',
  async (t) => {
    const c = new NeighborCase();
    c.request(HOST, FAR, TUNNEL);
    c.request(HOST, FAR, TUNNEL);
    t.match(c.sent, [{ scope: 'overlay', operation: 'request', targetAddress: HOST }]);
    c.clock.advance(500);
    c.arp();
    t.same(
      c.replies().map(({ scope, senderMac }) => [scope, senderMac]),
      [[TUNNEL, HOST_MAC]],
    );
    c.arp();
    t.equal(c.replies().length, 1);
  },
);

t.test('through the tunnel: every peer that asked is answered', async (t) => {
  const c = new NeighborCase();
  c.request(HOST, FAR, TUNNEL);
  c.request(HOST, FAR, { peer: 1 });
  c.arp();
  t.same(
    c.replies().map(({ scope }) => scope),
    [TUNNEL, { peer: 1 }],
  );
});

t.test('through the tunnel: an answer that comes after 3 s is for nobody', async (t) => {
  const c = new NeighborCase();
  c.request(HOST, FAR, TUNNEL);
  c.clock.advance(3001);
  c.arp();
  t.equal(c.state(HOST), 'reachable');
  t.same(c.replies(), []);
});

t.test('through the tunnel: never for proxied, own, reserved or unusable addresses', async (t) => {
  const c = new NeighborCase({ nextHopFor: () => '10.0.0.1' });
  for (const target of [
    PROXIED,
    '10.0.0.130',
    OVERLAY_ADDRESS,
    '10.0.0.1',
    '10.0.0.255',
    '169.254.169.254',
    '224.0.0.1',
  ]) {
    c.request(target, FAR, TUNNEL);
  }
  t.same(c.sent, []);
  t.equal(c.neighbors.counters().tunnelRefused, 7);
});

t.test('through the tunnel: a host behind a router is answered for with the MAC of the router', async (t) => {
  const router = '10.0.0.1';
  const c = new NeighborCase({
    nextHopFor: (scope, destination) => (scope === 'overlay' && destination !== HOST ? router : destination),
  });
  c.request('10.0.1.50', FAR, TUNNEL);
  t.match(c.sent, [{ scope: 'overlay', operation: 'request', targetAddress: router }]);
  c.arp({ senderAddress: router, senderMac: OTHER_MAC });
  c.request('10.0.1.50', FAR, TUNNEL);
  c.request('10.0.1.51', FAR, TUNNEL);
  t.same(
    c.replies().map(({ scope, senderAddress, senderMac }) => [scope, senderAddress, senderMac]),
    [
      [TUNNEL, '10.0.1.50', OTHER_MAC],
      [TUNNEL, '10.0.1.50', OTHER_MAC],
      [TUNNEL, '10.0.1.51', OTHER_MAC],
    ],
    'also for one that is asked for when the router is known already',
  );
  t.equal(c.requests(router).length, 1);
});

t.test('through the tunnel: no answer for a host without a route', async (t) => {
  const c = new NeighborCase({ nextHopFor: () => undefined });
  c.request('10.9.0.1', FAR, TUNNEL);
  c.clock.advance(3500);
  t.same(c.sent, []);
});

t.test('through the tunnel: probes and gratuitous ARP are not answered', async (t) => {
  const c = new NeighborCase();
  c.resolved();
  const before = c.sent.length;
  c.request(HOST, { ...FAR, senderAddress: UNSPECIFIED_ADDRESS }, TUNNEL);
  c.request(HOST, { ...FAR, senderAddress: HOST }, TUNNEL);
  t.equal(c.sent.length, before);
});

t.test('through the tunnel: the waiting list is bounded', async (t) => {
  const c = new NeighborCase({ view: { ...VIEW, onLink: [{ address: '10.0.0.0', prefixLength: 8 }] } });
  for (let index = 0; index < 300; index += 1) {
    c.request(`10.7.${index >> 8}.${index & 255}`, FAR, TUNNEL);
  }
  t.equal(c.neighbors.counters().tunnelRefused, 300 - 256);
});

t.test('through the tunnel: who waited before an update asks again', async (t) => {
  const c = new NeighborCase();
  c.request(HOST, FAR, TUNNEL);
  c.neighbors.update(VIEW);
  c.arp({ senderMac: OTHER_MAC });
  t.same(c.replies(), []);
});
