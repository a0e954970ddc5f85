/** What the bench reads, and what it refuses. */
import t from 'tap';
import { parseNetDev } from '../../bench/lab/bench-lab.js';
import { highestRate } from '../../bench/measure/datagrams.js';
import { parseIperf } from '../../bench/measure/iperf.js';
import { parsePings } from '../../bench/measure/rtt.js';
import { checkCarried, checkHonest, parseMachineCpu, parseProcessCpu } from '../../bench/measure/window.js';

const idle = { bytes: 0, packets: 0 };

t.test('/proc', async (t) => {
  const dev = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
  eth2: 1514000    1000    0    7    0     0          0         0   660000    9999    0    0    0     0       0          0
`;
  t.same(parseNetDev(dev, 'eth2'), { rxBytes: 1514000, rxPackets: 1000, txBytes: 660000, txPackets: 9999 });
  t.same(parseNetDev(dev, 'eth1'), { rxBytes: 0, rxPackets: 0, txBytes: 0, txPackets: 0 });
  const stat = 'cpu  100 20 300 9000 50 4 6 70 11 0\ncpu0 1 2 3 4 5 6 7 8 9 0\n';
  t.equal(parseMachineCpu(stat), 4.3, 'no idle, no waiting, no stolen time, guests counted once');
  const process = '4711 (a (strange) name) S 1 1 1 0 -1 4194560 5 0 0 0 250 150 30 20 20 0 11 0 99 1 2';
  t.equal(parseProcessCpu(process), 4.5, 'user, system, and both of ended children');
});

t.test('the wire has to be honest', async (t) => {
  const full = { bytes: 1514 * 1000, packets: 1000 };
  t.doesNotThrow(() => checkHonest(1500, { wire: { 'gw-a': full, 'gw-b': idle } }));
  const large = { bytes: 1515 * 1000, packets: 1000 };
  const refused = { code: 'bench-dishonest-wire' };
  t.throws(() => checkHonest(1500, { wire: { 'gw-a': large, 'gw-b': idle } }), refused);
  t.throws(() => checkHonest(1500, { wire: { 'gw-a': idle, 'gw-b': large } }), refused, 'either way');
  t.doesNotThrow(() => checkHonest(9001, { wire: { 'gw-a': large, 'gw-b': idle } }), 'as large as its MTU');
});

t.test('what arrived has to have gone through the gateways', async (t) => {
  const wire = { 'gw-a': { bytes: 1000, packets: 10 }, 'gw-b': { bytes: 66, packets: 1 } };
  t.doesNotThrow(() => checkCarried({ wire }, 1000));
  t.throws(() => checkCarried({ wire }, 2000), { code: 'bench-not-carried' });
});

t.test('iperf3', async (t) => {
  const sum = (bytes: number, retransmits = 0) => ({ bytes, bits_per_second: bytes * 8, retransmits });
  const one = { end: { sum_sent: sum(110, 3), sum_received: sum(100) } };
  t.same(parseIperf(JSON.stringify(one)), { bytes: 100, bitsPerSecond: 800, retransmits: 3 });
  const both = {
    end: { ...one.end, sum_sent_bidir_reverse: sum(60, 4), sum_received_bidir_reverse: sum(50) },
  };
  t.same(parseIperf(JSON.stringify(both)), { bytes: 150, bitsPerSecond: 1200, retransmits: 7 });
  t.throws(() => parseIperf('{"error":"unable to connect"}'), { message: /unable to connect/ });
  t.throws(() => parseIperf('{"end":{}}'), { code: 'bench-iperf' });
});

t.test('ping', async (t) => {
  const lines = Array.from(
    { length: 98 },
    (_, index) => `64 bytes: icmp_seq=${index} time=0.${100 + index} ms`,
  );
  const { p50, p99, lost } = parsePings(`${lines.join('\n')}\n64 bytes: time=30.5 ms\n`, 100);
  t.equal(p50, 149);
  t.equal(p99, 30500);
  t.ok(Math.abs(lost - 0.01) < 1e-9);
  t.throws(() => parsePings('0 received', 10), { code: 'bench-ping' });
});

t.test('the highest rate without loss', async (t) => {
  const search = { trials: 20, precision: 0.01 };
  const tried: number[] = [];
  const found = await highestRate(
    async (rate) => {
      tried.push(rate);
      return rate <= 73_000;
    },
    { ...search, ceiling: 100_000 },
  );
  t.ok(found <= 73_000 && found > 71_500, `${found}`);
  t.ok(tried.length < 16, 'it stops when it knows enough');
  t.equal(await highestRate(async () => false, { ...search, ceiling: 100_000 }), 0, 'nothing passes');
  let hiccups = 1;
  const shaken = await highestRate(async () => hiccups-- !== 1, { ...search, ceiling: 100_000 });
  t.ok(shaken > 98_000, 'one hiccup is forgiven');
  let count = 0;
  await highestRate(async () => count++ < 0, { ceiling: 100_000, trials: 3, precision: 0 });
  t.equal(count, 6, 'bounded, two attempts each');
});
