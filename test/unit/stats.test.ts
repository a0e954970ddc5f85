import t, { type Test } from 'tap';
import { formatBitRate, formatBytes, formatCount, formatDuration } from '../../src/stats/format.js';
import { renderFlows, renderNeighbors } from '../../src/stats/rows.js';
import { renderStats } from '../../src/stats/stats.js';
import { headline, renderStatus } from '../../src/stats/status.js';
import { peerWith, STATUS, statsAfter, statusWith } from '../helpers/results.js';

/** Golden text: what stands between the first and the last line end. */
function golden(t: Test, actual: string, text: string): void {
  t.equal(actual, text.slice(1));
  t.ok(
    actual.split('\n').every((line) => line.length <= 100),
    'fits 100 columns',
  );
}

t.test('status', async (t) => {
  golden(
    t,
    renderStatus(
      statusWith({
        peers: [
          peerWith({}),
          peerWith({
            name: 'vpc-c',
            state: 'unresolved',
            stateWhy: 'the next hop to it does not answer ARP',
            roundTripMs: null,
            loss: null,
            refusedHosts: ['10.0.0.77', '10.0.0.78'],
            innerMtu: 1364,
            innerMtuWhy: 'ICMP from 198.18.0.9',
            lastSeenSeconds: null,
            nextHop: null,
            counters: {},
          }),
        ],
        notices: ['10.0.0.20 is also an address of this machine. Remove it from ens5.'],
      }),
    ),
    `
Gateway vpc-a has 1 of 2 peers up: no answer yet to ARP for the next hop to vpc-c.
version 0.1.0, process 4711, up 3 h 12 min, settings from /etc/vpc-conn/vpc-a.yaml, table 5

overlay       ens5  10.0.0.5  02:00:00:00:00:05  mtu 9001  up  arp respond
underlay      ens6  198.18.0.1  02:00:00:00:01:01  mtu 9001  up
kernel guard  up, nftables, owned by this process
acceleration  off: not available
tunnel MTU    8965 (eth2 9001) to vpc-b
tunnel MTU    1364 (ICMP from 198.18.0.9) to vpc-c

PEER   STATE       ADDRESS     NEXT HOP        HEARD       RTT  LOSS   MTU  PROXIED  RECEIVED   SENT
vpc-b  up          198.18.0.2  198.18.0.254  0 s ago  0.214 ms    0%  8965        3   1.46 GB  999 B
vpc-c  unresolved  198.18.0.2  -               never         -     -  1364        3         -      -

Peers
- vpc-c: the next hop to it does not answer ARP.
- vpc-c: 10.0.0.77, 10.0.0.78 sent here lately and were dropped, having no proxied address here.
  List them under proxied, if they should be reachable.

Notices
- 10.0.0.20 is also an address of this machine. Remove it from ens5.
`,
  );
});

t.test('status names the rung of each direction, and what is switched meanwhile', async (t) => {
  const text = renderStatus(
    statusWith({
      acceleration: { encap: { rung: 'segment', why: '' }, decap: { rung: 'off', why: 'no XDP' } },
      offloads: [{ interface: 'ens6', feature: 'tx-tcp-segmentation', was: true, now: false }],
    }),
  );
  t.match(text, /^encap +segment$/m);
  t.match(text, /^decap +off: no XDP$/m);
  t.match(text, /^offload +ens6 tx-tcp-segmentation off while this gateway runs \(was on\)$/m);
});

t.test('stats', async (t) => {
  golden(
    t,
    renderStats(statsAfter(1)),
    `
DIRECTION                    RX FRAMES  RX BYTES  TX FRAMES  TX BYTES  DROPPED
encap (overlay to underlay)       2000   3.00 MB       1800   2.80 MB       24
decap (underlay to overlay)          0       0 B          0       0 B        0
kernel and slow path (ARP)           0       0 B          0       0 B        0

WORKER    CPU  FRAMES    BYTES  FRAMES/BATCH  DROPPED  RING LOST
encap/0  0.5%    1000  1.50 MB           2.5       12          0
encap/1  0.0%    1000  1.50 MB             -       12          0
decap/0    0%       0      0 B             -        0          7

LATENCY IN THIS GATEWAY    HALF     99%  99.9%  1 US TO 4 S
encap                    < 2 us  < 2 us  > 4 s   █▁
decap                         -       -      -

PEER   RX PACKETS  RX BYTES  TX PACKETS  TX BYTES
vpc-b           5     500 B        2000   2.50 MB

4 TCP MSS options lowered
7 frames lost before a worker saw them: more came than it can carry (see dataplane.workers)
3 masqueraded flows over 2 bindings

DROP REASON    COUNT  WHAT IT WAS, AND WHAT TO DO
not_proxied       24  For an address that is not a proxied address of this gateway.
                      List the far host under peers[].proxied if it should be reachable.
`,
  );
});

t.test('stats with rates', async (t) => {
  golden(
    t,
    renderStats(statsAfter(3), { result: statsAfter(1), seconds: 2 }),
    `
DIRECTION                    RX FRAMES  RX/S      RX RATE  TX FRAMES  TX/S      TX RATE  DROPPED
encap (overlay to underlay)       6000  2000  24.0 Mbit/s       5400  1800  22.4 Mbit/s       24
decap (underlay to overlay)          0     0      0 bit/s          0     0      0 bit/s        0
kernel and slow path (ARP)           0     -            -          0     -            -        0

WORKER    CPU  FRAMES    BYTES  FRAMES/BATCH  DROPPED  RING LOST
encap/0   50%    3000  4.50 MB           2.5       12          0
encap/1  1.0%    3000  4.50 MB             -       12          0
decap/0    0%       0      0 B             -        0          7

LATENCY IN THIS GATEWAY    HALF     99%  99.9%  1 US TO 4 S
encap                    < 2 us  < 2 us  > 4 s   █▁
decap                         -       -      -

PEER   RX PACKETS  RX/S  RX RATE  TX PACKETS  TX/S      TX RATE
vpc-b           5     0  0 bit/s        6000  2000  20.0 Mbit/s

4 TCP MSS options lowered
7 frames lost before a worker saw them: more came than it can carry (see dataplane.workers)
3 masqueraded flows over 2 bindings

DROP REASON    COUNT  WHAT IT WAS, AND WHAT TO DO
not_proxied       24  For an address that is not a proxied address of this gateway.
                      List the far host under peers[].proxied if it should be reachable.
`,
  );
});

t.test('neighbors', async (t) => {
  golden(
    t,
    renderNeighbors([
      {
        scope: 'overlay',
        address: '10.0.0.10',
        nextHop: '10.0.0.10',
        state: 'reachable',
        mac: '02:00:00:00:00:10',
        ageSeconds: 12.5,
        usedSecondsAgo: 0,
      },
      {
        scope: 'underlay',
        address: '198.18.0.2',
        nextHop: '198.18.0.254',
        state: 'failed',
        mac: null,
        ageSeconds: 100,
        usedSecondsAgo: null,
      },
    ]),
    `
SCOPE     ADDRESS     NEXT HOP      STATE      MAC                       AGE     USED
overlay   10.0.0.10   -             reachable  02:00:00:00:00:10        12 s  0 s ago
underlay  198.18.0.2  198.18.0.254  failed     -                  1 min 40 s    never
`,
  );
});

t.test('flows', async (t) => {
  const flow = {
    protocol: 'tcp',
    peer: 'vpc-b',
    far: '10.0.0.20:4000',
    masqueradedAs: '10.0.0.5:61000',
    near: '10.0.0.10:5432',
    state: 'established',
    idleSeconds: 3,
  };
  golden(
    t,
    renderFlows({ flows: [flow], total: 1 }),
    `
PROTOCOL  PEER   FAR HOST        MASQUERADED AS  LOCAL HOST      STATE        IDLE
tcp       vpc-b  10.0.0.20:4000  10.0.0.5:61000  10.0.0.10:5432  established   3 s
`,
  );
  golden(
    t,
    renderFlows({ flows: [flow], total: 70_000 }),
    `
PROTOCOL  PEER   FAR HOST        MASQUERADED AS  LOCAL HOST      STATE        IDLE
tcp       vpc-b  10.0.0.20:4000  10.0.0.5:61000  10.0.0.10:5432  established   3 s
1 of 70000 flows; --limit shows more.
`,
  );
});

t.test('headline: does it work, and what stands in the way', async (t) => {
  const down = { ...STATUS.overlay, up: false };
  const silent = peerWith({ state: 'silent' });
  const cases: [Parameters<typeof statusWith>[0], RegExp][] = [
    [{}, /^Gateway vpc-a is working: peer vpc-b is up\.$/],
    [{ peers: [peerWith({}), peerWith({})] }, /is working: all 2 peers are up\.$/],
    [{ state: 'degraded' }, /is working, but degraded/],
    [{ state: 'stopping' }, /is stopping\.$/],
    [{ overlay: down }, /not working: the overlay interface ens5 is down\. .*ip link set dev ens5 up/],
    [{ guard: { state: 'down', method: 'nftables' } }, /kernel guard is down/],
    [{ peers: [] }, /without any peer/],
    [{ peers: [silent] }, /has no peer up: no answer from vpc-b \(see below\)/],
    [{ peers: [silent, silent, silent, silent] }, /from vpc-b, vpc-b, vpc-b and 1 more/],
  ];
  for (const [changes, expected] of cases) t.match(headline(statusWith(changes)), expected);
});

t.test('empty tables say why', async (t) => {
  t.match(renderNeighbors([]), /^No neighbors yet/);
  t.match(renderFlows({ flows: [], total: 0 }), /^No masqueraded flows/);
  const quiet = { workers: [], totals: {}, drops: [], peers: [], bindings: 0, flows: 0 };
  t.match(renderStats(quiet), /No frame was dropped\.\n$/);
});

t.test('no rate for what was restarted or is new', async (t) => {
  const restarted = renderStats(statsAfter(1), { result: statsAfter(2), seconds: 1 });
  t.match(restarted, /^encap .* 2000 +- +- +1800 +- +- /m);
  t.match(
    renderStats(statsAfter(1), { result: { ...statsAfter(1), peers: [] }, seconds: 1 }),
    /vpc-b +5 +- /,
  );
});

t.test('figures', async (t) => {
  t.same([0, 99_999, 100_000, 1_234_567, 99_950_000].map(formatCount), [
    '0',
    '99999',
    '100 k',
    '1.23 M',
    '100 M',
  ]);
  t.same([0, 999, 999.6, 1500, 12_345, 9_996_000, 1e15].map(formatBytes), [
    '0 B',
    '999 B',
    '1.00 kB',
    '1.50 kB',
    '12.3 kB',
    '10.0 MB',
    '1.00 PB',
  ]);
  t.equal(formatBitRate(1e9 / 8), '1.00 Gbit/s');
  t.same([-1, 59.9, 60, 3600, 86_400 * 4 + 7200].map(formatDuration), [
    '0 s',
    '59 s',
    '1 min 0 s',
    '1 h 0 min',
    '4 d 2 h',
  ]);
});
