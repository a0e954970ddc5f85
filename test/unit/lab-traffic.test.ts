import t from 'tap';
import { parsePing } from '../../src/lab/traffic.js';
import { formatSizes, parseSizes } from '../../src/lab/traffic-report.js';

t.test("ping's summary", async (t) => {
  const output = `PING 10.0.0.20 (10.0.0.20) 56(84) bytes of data.

--- 10.0.0.20 ping statistics ---
5 packets transmitted, 4 received, +3 duplicates, +1 errors, 20% packet loss, time 204ms
rtt min/avg/max/mdev = 0.101/0.207/0.350/0.010 ms
`;
  t.same(parsePing(output), { sent: 5, received: 4, duplicates: 3, errors: 1, averageMs: 0.207 });
  t.equal(parsePing('ping: connect: Network is unreachable\n'), undefined);
});

t.test('sizes', async (t) => {
  t.same(parseSizes('0,3,7-9,3'), [0, 3, 7, 8, 9]);
  t.equal(formatSizes([9, 7, 8, 0, 3, 3]), '0,3,7-9');
  t.same(parseSizes(formatSizes([1, 2, 3, 5])), [1, 2, 3, 5]);
});
