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
  PEER_MAC,
  PROXIED,
  UNDERLAY_ADDRESS,
  UNDERLAY_MAC,
} from '../helpers/neighbor-case.js';

t.test('RFC 826: a sender updates its entry whatever the target (checklist 45)', async (t) => {
  const c = new NeighborCase();
  c.resolved();
  c.request('10.0.0.77', { senderMac: OTHER_MAC });
  c.clock.turn();
  t.equal(c.published(HOST)?.mac, OTHER_MAC);
});

t.test('RFC 826: no entry is added for a sender who means somebody else (checklist 45)', async (t) => {
  const c = new NeighborCase();
  c.request('10.0.0.77');
  c.arp({ targetAddress: '10.0.0.77' });
  t.same(c.neighbors.rows(), []);
});

t.test(
  'RFC 826: who asks for us is added, published, and verified at its first use (checklist 45)',
  async (t) => {
    for (const target of [OVERLAY_ADDRESS, PROXIED, '10.0.0.130']) {
      const c = new NeighborCase();
      c.request(target);
      t.equal(c.state(HOST), 'stale', target);
      t.equal(c.published(HOST)?.mac, HOST_MAC, target);
      t.same(c.requests(), [], 'not asked for while nobody uses it');
      c.use(HOST);
      c.clock.advance(2000);
      t.equal(c.requests()[0]?.destination, HOST_MAC);
      t.equal(c.neighbors.counters().learned, 1);
    }
  },
);

t.test('a reply that nobody asked for adds nothing', async (t) => {
  const c = new NeighborCase();
  c.arp();
  t.same(c.neighbors.rows(), []);
});

t.test('who asks for us from another subnet is not added', async (t) => {
  const c = new NeighborCase();
  c.request(OVERLAY_ADDRESS, { senderAddress: '192.0.2.7' });
  t.same(c.neighbors.rows(), []);
});

t.test('RFC 5227 1.1: a probe (sender 0.0.0.0) enters nothing (checklist 47)', async (t) => {
  const c = new NeighborCase();
  c.request(OVERLAY_ADDRESS, { senderAddress: UNSPECIFIED_ADDRESS });
  t.same(c.neighbors.rows(), []);
  t.same(c.conflicts, []);
});

t.test('group and zero MACs enter nothing', async (t) => {
  const c = new NeighborCase();
  c.ask(HOST);
  for (const senderMac of [BROADCAST_MAC, '01:00:5e:00:00:01', ZERO_MAC]) {
    c.arp({ senderMac, source: HOST_MAC });
    c.request(OVERLAY_ADDRESS, { senderMac, source: HOST_MAC, senderAddress: '10.0.0.11' });
  }
  t.same(
    c.neighbors.rows().map(({ address, state }) => [address, state]),
    [[HOST, 'incomplete']],
  );
  t.equal(c.neighbors.counters().senderRefused, 6);
});

t.test('impossible sender addresses enter nothing', async (t) => {
  const c = new NeighborCase();
  for (const senderAddress of ['0.1.2.3', '127.0.0.1', '224.0.0.1', '255.255.255.255']) {
    c.request(OVERLAY_ADDRESS, { senderAddress });
  }
  t.same(c.neighbors.rows(), []);
  t.equal(c.neighbors.counters().senderRefused, 4);
});

t.test("our own packets, seen again, are nobody's", async (t) => {
  const c = new NeighborCase();
  c.request(PROXIED, { senderMac: OVERLAY_MAC, senderAddress: OVERLAY_ADDRESS });
  c.request(PROXIED, { senderMac: UNDERLAY_MAC, senderAddress: UNDERLAY_ADDRESS });
  t.same(c.sent, []);
  t.same(c.conflicts, []);
  t.same(c.neighbors.rows(), []);
});

t.test(
  'RFC 5227 2.4: our own or a proxied sender address is a conflict, noticed once a minute',
  async (t) => {
    const c = new NeighborCase();
    for (let second = 0; second < 60; second += 1) {
      c.request('10.0.0.77', { senderAddress: OVERLAY_ADDRESS });
      c.request('10.0.0.77', { senderAddress: PROXIED });
      c.clock.advance(1000);
    }
    t.same(c.conflicts, [
      { scope: 'overlay', address: OVERLAY_ADDRESS, mac: HOST_MAC },
      { scope: 'overlay', address: PROXIED, mac: HOST_MAC },
    ]);
    c.request('10.0.0.77', { senderAddress: PROXIED });
    t.equal(c.conflicts.length, 3);
    t.equal(c.neighbors.counters().conflicts, 121);
    t.same(c.neighbors.rows(), [], 'and never enters');
  },
);

t.test('a reply to our request that comes late is still an answer; much later it is not', async (t) => {
  for (const [after, state] of [
    [3500, 'reachable'],
    [3950, undefined],
  ] as const) {
    const c = new NeighborCase();
    c.ask(HOST);
    c.clock.advance(after);
    c.arp();
    t.equal(c.state(HOST), state, `${after} ms`);
  }
});

t.test(
  'another MAC from nowhere is taken over (RFC 826), told once a minute, and verified at once',
  async (t) => {
    const c = new NeighborCase();
    c.resolved();
    c.clock.advance(5000);
    c.arp({ senderMac: OTHER_MAC });
    c.clock.turn();
    t.equal(c.state(HOST), 'probe', 'unverified');
    t.equal(c.published(HOST)?.mac, OTHER_MAC);
    t.equal(c.requests().at(-1)?.destination, OTHER_MAC);
    t.same(c.macChanges, [{ scope: 'overlay', address: HOST, oldMac: HOST_MAC, newMac: OTHER_MAC }]);
    for (let flip = 0; flip < 50; flip += 1) {
      c.arp({ senderMac: flip % 2 === 0 ? HOST_MAC : OTHER_MAC });
      c.clock.advance(20);
    }
    t.equal(c.macChanges.length, 1);
    t.ok(c.neighbors.counters().macChanges > 40);
    t.ok(c.requests().length <= 3, 'and flapping does not make us ask more often');
  },
);

t.test('a request has one answer: what comes after it is unasked', async (t) => {
  const c = new NeighborCase();
  c.resolved();
  c.clock.advance(100);
  c.arp({ senderMac: OTHER_MAC });
  t.equal(c.state(HOST), 'probe');
});

t.test('a usurper that does not answer loses the address to who does', async (t) => {
  const c = new NeighborCase();
  c.resolved();
  c.clock.advance(5000);
  c.arp({ senderMac: OTHER_MAC });
  c.clock.advance(3000);
  t.equal(c.requests().at(-1)?.destination, BROADCAST_MAC);
  c.arp();
  c.clock.turn();
  t.equal(c.state(HOST), 'reachable');
  t.equal(c.published(HOST)?.mac, HOST_MAC);
});

t.test('what a host says unasked does not prove that frames reach it', async (t) => {
  const c = new NeighborCase();
  c.resolved();
  for (let second = 0; second < 40; second += 1) {
    c.clock.advance(1000);
    c.request('10.0.0.77');
  }
  t.equal(c.state(HOST), 'stale');
});

t.test('the underlay learns from answers only', async (t) => {
  const c = new NeighborCase();
  const peer = { senderAddress: PEER_ADDRESS, senderMac: PEER_MAC, targetAddress: UNDERLAY_ADDRESS };
  c.request(UNDERLAY_ADDRESS, peer, 'underlay');
  t.same(c.neighbors.rows(), []);
  c.neighbors.pin('underlay', [PEER_ADDRESS]);
  c.arp(peer, 'underlay');
  c.clock.turn();
  t.equal(c.published(PEER_ADDRESS, 'underlay')?.mac, PEER_MAC);
  t.same(c.replies(), [], 'the kernel answers for its own addresses');
});

t.test('scopes are apart: an overlay host says nothing about its twin behind a peer', async (t) => {
  const c = new NeighborCase();
  const scope = { peer: 0 };
  c.ask(HOST);
  c.ask(HOST, scope);
  c.arp();
  c.clock.turn();
  t.equal(c.published(HOST, scope), undefined);
  c.arp({ senderMac: OTHER_MAC }, scope);
  c.clock.turn();
  t.equal(c.published(HOST)?.mac, HOST_MAC);
  t.equal(c.published(HOST, scope)?.mac, OTHER_MAC);
});

t.test('malformed frames and unknown peers are counted or ignored, never thrown', async (t) => {
  const c = new NeighborCase();
  c.dataPlane.emit({ kind: 'arp', scope: 'overlay', frame: new Uint8Array(41) });
  c.request(OVERLAY_ADDRESS, {}, { peer: 7 });
  c.dataPlane.emit({ kind: 'worker-failed', worker: 'encap/0', code: 'ENETDOWN', message: '' });
  t.equal(c.neighbors.counters().malformed, 1);
  t.same(c.neighbors.rows(), []);
  t.same(c.sent, []);
});
