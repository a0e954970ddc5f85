// Neighbor solicitations and advertisements: bytes, what must be discarded, and who is answered (RFC 4861).
import t from 'tap';
import { MemoryDataPlane } from '../../src/dataplane/memory-data-plane.js';
import { parseDiscovery } from '../../src/neighbor/discovery.js';
import { createNeighbors } from '../../src/neighbor/neighbors.js';
import { buildNdp, linkLocalOf, type NdpFrame, parseNdp, solicitedNode } from '../../src/net/ndp.js';
import { FakeClock } from '../helpers/fake-clock.js';

const HOST = '02:00:00:00:00:10';
const GATEWAY = '02:00:00:00:00:05';
const solicitation: NdpFrame = {
  kind: 'solicitation',
  destination: '33:33:ff:00:00:20',
  source: HOST,
  sourceAddress: '2001:db8::10',
  destinationAddress: 'ff02::1:ff00:20',
  target: '2001:db8::20',
  linkLayer: HOST,
};

t.test('there and back', async (t) => {
  const advertisement: NdpFrame = {
    kind: 'advertisement',
    destination: HOST,
    source: GATEWAY,
    sourceAddress: '2001:db8::20',
    destinationAddress: '2001:db8::10',
    target: '2001:db8::20',
    linkLayer: GATEWAY,
    solicited: true,
    override: true,
  };
  t.same(parseNdp(buildNdp(solicitation)), solicitation);
  t.same(parseNdp(buildNdp(advertisement)), advertisement);
  t.same(parseNdp(Buffer.concat([buildNdp(solicitation), Buffer.alloc(6, 0xee)])), solicitation, 'padding');
  t.equal(parseDiscovery('neighbor-discovery', buildNdp(solicitation))?.senderMac, HOST);
});

t.test('RFC 4861 7.1: what a receiver must discard', async (t) => {
  const frame = buildNdp(solicitation);
  for (let length = 0; length < frame.length; length += 1) {
    t.equal(parseNdp(frame.subarray(0, length)), undefined, `${length} bytes`);
  }
  for (let at = 12; at < frame.length; at += 1) {
    // Traffic class and flow label mean nothing here and are covered by no checksum.
    if (at >= 14 && at < 18) continue;
    const changed = frame.slice();
    changed[at] = (changed[at] ?? 0) ^ 0x11;
    t.equal(parseNdp(changed), undefined, `byte ${at} is another one`);
  }
  const probe = { ...solicitation, sourceAddress: '::' };
  t.equal(parseNdp(buildNdp(probe)), undefined, 'a probe tells no MAC');
  const { linkLayer: _, ...silent } = probe;
  t.equal(
    parseNdp(buildNdp({ ...silent, destinationAddress: '2001:db8::20' })),
    undefined,
    'nor is it unicast',
  );
  t.match(parseNdp(buildNdp(silent)), { sourceAddress: '::' });
  t.equal(parseNdp(buildNdp({ ...solicitation, target: 'ff02::1' })), undefined, 'a multicast target');
});

t.test('addresses that are made of others', async (t) => {
  t.same(solicitedNode('2001:db8::a:bcde:f012'), { address: 'ff02::1:ffde:f012', mac: '33:33:ff:de:f0:12' });
  t.equal(linkLocalOf('02:00:00:00:01:01'), 'fe80::ff:fe00:101');
});

function discovery(arp: 'respond' | 'silent' = 'respond') {
  const dataPlane = new MemoryDataPlane({
    overlay: { ifindex: 1, name: 'eth1' },
    underlay: { ifindex: 2, name: 'eth2' },
    workers: 1,
    spinMicroseconds: 0,
    onEvent: () => {},
  });
  const clock = new FakeClock();
  const conflicts: string[] = [];
  const neighbors = createNeighbors({
    dataPlane,
    clock,
    random: () => 0.5,
    nextHopFor: (_, destination) => destination,
    onConflict: ({ address }) => conflicts.push(address),
    view: {
      table: {
        overlayMac: GATEWAY,
        overlayAddress: '10.0.0.5',
        overlayAddress6: '2001:db8::5',
        underlayMac: '02:00:00:00:01:01',
        peers: [
          {
            name: 'b',
            localAddress: '198.18.0.1',
            address: '198.18.0.2',
            innerMtu: 1464,
            unlisted: 'drop',
            resolve: 'tunnel',
          },
        ],
        proxied: [{ address: '2001:db8::20', host: '2001:db8::20', prefixLength: 128, peer: 0 }],
        reserved: ['2001:db8::1'],
      },
      onLink: [{ address: '2001:db8::', prefixLength: 64 }],
      ownAddresses: ['2001:db8::5'],
      arp,
    },
  });
  t.teardown(() => neighbors.close());
  const hear = (message: NdpFrame, scope: 'overlay' | { peer: number } = 'overlay') =>
    neighbors.handle({ kind: 'neighbor-discovery', scope, frame: buildNdp(message) });
  const sent = () => dataPlane.sent.map(({ scope, frame }) => ({ scope, message: parseNdp(frame) }));
  return { dataPlane, clock, neighbors, hear, sent, conflicts };
}

t.test('a solicitation for a proxied address is answered: solicited, override, with our MAC', async (t) => {
  const { hear, sent } = discovery();
  hear(solicitation);
  hear({ ...solicitation, target: '2001:db8::11' });
  hear({ ...solicitation, target: '2001:db8::5' });
  t.same(sent(), [
    {
      scope: 'overlay',
      message: {
        kind: 'advertisement',
        destination: HOST,
        source: GATEWAY,
        sourceAddress: '2001:db8::20',
        destinationAddress: '2001:db8::10',
        target: '2001:db8::20',
        linkLayer: GATEWAY,
        solicited: true,
        override: true,
      },
    },
  ]);
  const silent = discovery('silent');
  silent.hear(solicitation);
  t.same(silent.sent(), [], 'arp: silent');
});

t.test('a duplicate address detection probe for a proxied address is told to everybody', async (t) => {
  const { hear, sent } = discovery();
  const { linkLayer: _, ...probe } = { ...solicitation, sourceAddress: '::' };
  hear(probe);
  t.match(sent(), [
    {
      message: {
        destination: '33:33:00:00:00:01',
        destinationAddress: 'ff02::1',
        solicited: false,
        override: true,
      },
    },
  ]);
});

t.test('whoever claims a proxied address is met with one announcement in ten seconds', async (t) => {
  const { hear, sent, conflicts, clock } = discovery();
  const claim: NdpFrame = {
    kind: 'advertisement',
    destination: '33:33:00:00:00:01',
    source: HOST,
    sourceAddress: '2001:db8::20',
    destinationAddress: 'ff02::1',
    target: '2001:db8::20',
    linkLayer: HOST,
    override: true,
  };
  hear(claim);
  hear(claim);
  t.same(conflicts, ['2001:db8::20']);
  t.match(sent(), [{ message: { kind: 'advertisement', target: '2001:db8::20', linkLayer: GATEWAY } }]);
  clock.advance(10_000);
  hear(claim);
  t.equal(sent().length, 2);
});

t.test('a local host is asked for by its group, and its answer is published', async (t) => {
  const { dataPlane, hear, sent, neighbors } = discovery();
  neighbors.handle({ kind: 'unresolved', scope: 'overlay', address: '2001:db8::10' });
  t.match(sent(), [
    {
      scope: 'overlay',
      message: {
        kind: 'solicitation',
        destination: '33:33:ff:00:00:10',
        sourceAddress: '2001:db8::5',
        destinationAddress: 'ff02::1:ff00:10',
        linkLayer: GATEWAY,
      },
    },
  ]);
  const answer: NdpFrame = {
    kind: 'advertisement',
    destination: GATEWAY,
    source: HOST,
    sourceAddress: '2001:db8::10',
    destinationAddress: '2001:db8::5',
    target: '2001:db8::10',
    linkLayer: HOST,
    solicited: true,
    override: true,
  };
  hear(answer);
  t.match(dataPlane.neighbors, [{ address: '2001:db8::10', mac: HOST }]);
  const other = '02:00:00:00:00:66';
  hear({ ...answer, source: other, linkLayer: other, solicited: false, override: false });
  t.match(
    neighbors.rows(),
    [{ mac: HOST, state: 'reachable' }],
    'without override another MAC is not taken over',
  );
  hear({ ...answer, source: other, linkLayer: other, solicited: false });
  t.match(neighbors.rows(), [{ mac: other }], 'with it, it is, and verified');
});

t.test('through the tunnel local hosts alone are answered for', async (t) => {
  const { hear, sent, neighbors } = discovery();
  const asked: NdpFrame = { ...solicitation, sourceAddress: 'fe80::1', target: '2001:db8::10' };
  hear(asked, { peer: 0 });
  t.match(sent(), [{ scope: 'overlay', message: { kind: 'solicitation', target: '2001:db8::10' } }]);
  hear({
    kind: 'advertisement',
    destination: GATEWAY,
    source: HOST,
    sourceAddress: '2001:db8::10',
    destinationAddress: '2001:db8::5',
    target: '2001:db8::10',
    linkLayer: HOST,
    solicited: true,
    override: true,
  });
  t.match(sent()[1], { scope: { peer: 0 }, message: { destinationAddress: 'fe80::1', linkLayer: HOST } });
  for (const target of ['2001:db8::20', '2001:db8::5', '2001:db8::1', 'fe80::1', 'fd00:ec2::254']) {
    hear({ ...asked, target }, { peer: 0 });
  }
  t.equal(sent().length, 2, 'not for proxied, own, reserved, link-local or instance service addresses');
  t.equal(neighbors.counters().tunnelRefused, 5);
  neighbors.handle({ kind: 'unresolved', scope: { peer: 0 }, address: '2001:db8::20' });
  t.match(
    sent()[2],
    { scope: { peer: 0 }, message: { sourceAddress: 'fe80::ff:fe00:101' } },
    'asked from link-local',
  );
});
