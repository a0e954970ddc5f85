import t from 'tap';
import { LiveView } from '../../src/stats/live.js';
import { peerWith, STATUS, statsAfter, statusWith } from '../helpers/results.js';

/** After so many polls, one a second; vpc-b moves 1 MB/s each way, vpc-c ten times as much. */
function viewAfter(polls: number, { ascii = false, peers = 2 } = {}): LiveView {
  const view = new LiveView(ascii);
  for (let at = 1; at <= polls; at++) {
    const rows = Array.from({ length: peers }, (_, index) => {
      const bytes = at * 1_000_000 * (index === 1 ? 10 : 1);
      return peerWith({
        name: index === 0 ? 'vpc-b' : index === 1 ? 'vpc-c' : `peer-${index}`,
        counters: { rx_bytes: bytes, tx_bytes: bytes },
      });
    });
    view.push({ at, status: statusWith({ peers: rows }), stats: statsAfter(at) });
  }
  return view;
}

t.test('80x24: rates, the peer that talks most first, drops with what to do', async (t) => {
  const lines = viewAfter(3).lines({ columns: 80, rows: 24 });
  t.equal(
    lines.join('\n'),
    `Gateway vpc-a is working: all 2 peers are up.
up 3 h 12 min, encap on rung off, decap on off, 3 masqueraded flows over 2 bi...

                  rate  frames/s    cpu       99%  lost/s dropped/s LAST MINUTE
encap      24.0 Mbit/s      2000    51%    < 2 us       0         0           ██
decap          0 bit/s         0     0%         -       0         0

PEER           STATE            received        sent       rtt  loss LAST MINUTE
vpc-c          up            80.0 Mbit/s 80.0 Mbit/s  0.214 ms    0%          ██
vpc-b          up            8.00 Mbit/s 8.00 Mbit/s  0.214 ms    0%          ██

DROP REASON               now/s   in all WHAT TO DO ("vpc-conn stats" says more)
not_proxied                   0       24 List the far host under peers[].prox...










q ends this. Rates: since the last poll. Lines at the right: the last minute.`,
  );
});

t.test('it fits, whatever the size', async (t) => {
  const view = viewAfter(70, { peers: 40 });
  for (const [columns, rows] of [
    [80, 24],
    [200, 60],
    [40, 10],
    [20, 3],
    [1, 1],
  ] as const) {
    const lines = view.lines({ columns, rows });
    t.ok(lines.length <= rows, `${lines.length} lines of ${rows}`);
    t.ok(
      lines.every((line) => line.length <= columns),
      `no line is longer than ${columns}`,
    );
  }
  const lines = view.lines({ columns: 80, rows: 24 });
  t.ok(
    lines.some((line) => /^\.\.\. and \d+ more$/.test(line)),
    'what does not fit is counted',
  );
  t.match(
    lines.find((line) => line.startsWith('vpc-c')),
    /█/,
  );
});

t.test('without UTF-8 nothing but ASCII', async (t) => {
  const text = viewAfter(9, { ascii: true }).lines({ columns: 80, rows: 24 }).join('\n');
  t.match(text, /^[\n -~]*$/);
  t.match(text, /@@@/);
});

t.test('a gateway that is gone, and one that was started anew', async (t) => {
  const view = viewAfter(3);
  view.fail('No gateway answers at /run/x.sock.');
  const gone = view.lines({ columns: 80, rows: 24 });
  t.equal(gone[0], 'No gateway answers at /run/x.sock.');
  t.match(gone.join('\n'), /vpc-c .*80\.0 Mbit/, 'the last picture stays');
  view.push({ at: 9, status: { ...STATUS, pid: 1 }, stats: statsAfter(1) });
  const lines = view.lines({ columns: 80, rows: 24 });
  t.match(lines[0], /is working/);
  t.match(
    lines.find((line) => line.startsWith('encap')),
    /0 bit\/s/,
    'nothing to compare with',
  );
});

t.test('nothing to show yet', async (t) => {
  t.same(new LiveView().lines({ columns: 80, rows: 24 }), []);
});
