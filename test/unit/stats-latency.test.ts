import t from 'tap';
import { bucketsSince, formatBound, quantile } from '../../src/stats/latency.js';
import { sparkline } from '../../src/stats/sparkline.js';

const buckets = (...counts: number[]) =>
  counts.map((batches, place) => ({
    belowMicroseconds: place === counts.length - 1 ? null : 1.024 * 2 ** place,
    batches,
  }));

t.test('quantiles are bounds of buckets', async (t) => {
  t.equal(quantile(buckets(0, 0, 0), 0.5), null, 'nothing was timed');
  t.equal(quantile(buckets(50, 50, 0), 0.5), 1.024);
  t.equal(quantile(buckets(50, 50, 0), 0.51), 2.048);
  t.equal(quantile(buckets(50, 49, 1), 0.999), Number.POSITIVE_INFINITY);
  t.same([null, 1.024, 32.768, 2097.152, 4_194_304, Number.POSITIVE_INFINITY].map(formatBound), [
    '-',
    '< 1 us',
    '< 33 us',
    '< 2.10 ms',
    '< 4.19 s',
    '> 4 s',
  ]);
});

t.test('what was counted since an earlier poll', async (t) => {
  t.same(bucketsSince(buckets(5, 9), buckets(2, 9)), buckets(3, 0));
  t.same(bucketsSince(buckets(1, 0), buckets(2, 9)), buckets(1, 0), 'restarted meanwhile');
  t.same(bucketsSince(buckets(1, 2), undefined), buckets(1, 2));
});

t.test('sparklines', async (t) => {
  t.equal(sparkline([0, 1, 4, 8], 4), ' ▁▄█');
  t.equal(sparkline([1, 2, 3], 2), '▅█', 'the newest, scaled to what is shown');
  t.equal(sparkline([8], 4), '   █');
  t.equal(sparkline([0, 0], 2), '  ');
  t.equal(sparkline([0.0001, 1000], 2), '▁█', 'little is not nothing');
  t.equal(sparkline([0, 4, 8], 3, true), ' =@');
});
