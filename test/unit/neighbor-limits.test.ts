import fc from 'fast-check';
import t from 'tap';
import { PrefixSet } from '../../src/neighbor/addresses.js';
import { Deadlines, NOT_DUE, type Timed } from '../../src/neighbor/deadlines.js';
import { OncePer, TokenBucket } from '../../src/neighbor/limits.js';
import { Publisher } from '../../src/neighbor/publisher.js';
import { contains, formatIpv4 } from '../../src/net/address.js';
import { FakeClock } from '../helpers/fake-clock.js';

t.test('deadlines: never early, at most 20 ms late, in order; the last one set counts', async () => {
  const change = fc.tuple(fc.nat(9), fc.option(fc.nat(5000)), fc.nat(30));
  fc.assert(
    fc.property(fc.array(change, { maxLength: 60 }), (changes) => {
      const clock = new FakeClock();
      const items = Array.from(
        { length: 10 },
        (_, name) => ({ ...NOT_DUE, name }) as Timed & { name: number },
      );
      const wanted = new Map<number, number>();
      const deadlines = new Deadlines<Timed & { name: number }>(clock, ({ name }) => {
        const at = wanted.get(name);
        if (at === undefined) throw new Error(`${name} is not due at all`);
        if (clock.now() < at || clock.now() > at + 20) throw new Error(`${name}: ${clock.now()} for ${at}`);
        for (const other of wanted.values()) if (other < at) throw new Error(`${name} before an earlier one`);
        wanted.delete(name);
      });
      for (const [name, after, then] of changes) {
        const item = items[name];
        if (!item) continue;
        if (after === null) {
          deadlines.clear(item);
          wanted.delete(name);
        } else {
          // The past is due at once.
          wanted.set(name, clock.now() + after);
          deadlines.set(item, clock.now() + after);
        }
        clock.advance(then);
      }
      clock.advance(6000);
      if (wanted.size > 0) throw new Error('something was never due');
      deadlines.close();
      if (clock.pending > 0) throw new Error('a timer is left');
    }),
  );
});

t.test('deadlines: an item may set itself again', async (t) => {
  const clock = new FakeClock();
  const item = { ...NOT_DUE };
  let times = 0;
  const deadlines = new Deadlines(clock, () => {
    times += 1;
    deadlines.set(item, clock.now() + 1000);
  });
  deadlines.set(item, clock.now() + 1000);
  clock.advance(10_500);
  t.equal(times, 10);
});

t.test('token bucket: a burst of its rate, then its rate', async (t) => {
  const bucket = new TokenBucket(10, 0);
  const taken = (now: number) => {
    let count = 0;
    while (bucket.take(now)) count += 1;
    return count;
  };
  t.equal(taken(0), 10);
  t.equal(bucket.wait(0), 100);
  t.equal(taken(99), 0);
  t.equal(taken(100), 1);
  t.equal(taken(60_000), 10);
  bucket.borrow(60_000);
  t.equal(bucket.wait(60_000), 200);
});

t.test('once per interval and key; a flood of keys is refused, not remembered', async (t) => {
  const once = new OncePer(1000);
  t.equal(once.allow('a', 0), true);
  t.equal(once.allow('a', 999), false);
  t.equal(once.allow('b', 999), true);
  t.equal(once.allow('a', 1000), true);
  let allowed = 0;
  for (let key = 0; key < 5000; key += 1) if (once.allow(`${key}`, 1500)) allowed += 1;
  t.equal(allowed, 1022);
  t.equal(once.allow('c', 3000), true);
});

t.test('prefix set: the same answer as asking every prefix', async () => {
  // Few address bits, so that prefixes and addresses meet.
  const address = fc.nat(255).map((bits) => formatIpv4(((bits >> 4) << 28) | (bits & 15)));
  const prefix = fc.record({ address, prefixLength: fc.integer({ min: 0, max: 32 }) });
  fc.assert(
    fc.property(fc.array(prefix, { maxLength: 6 }), address, (prefixes, asked) => {
      const set = new PrefixSet(prefixes);
      return set.has(asked) === prefixes.some((one) => contains(one, asked));
    }),
    { numRuns: 500 },
  );
});

t.test('publisher: a batch is one publication, and now() does not wait', async (t) => {
  const clock = new FakeClock();
  let published = 0;
  let size = 1;
  const publisher = new Publisher(clock, () => {
    published += 1;
    return size;
  });
  publisher.batch(() => {
    publisher.changed();
    publisher.batch(() => publisher.changed());
    t.equal(published, 0);
  });
  t.equal(published, 1);
  publisher.changed();
  t.equal(published, 1, 'this turn has had its publication');
  clock.turn();
  t.equal(published, 2);
  clock.turn();
  size = 10_000;
  publisher.changed();
  t.equal(published, 3);
  publisher.changed();
  clock.advance(99);
  t.equal(published, 3, 'a large set rests for 100 ms');
  publisher.now();
  t.equal(published, 4);
  publisher.now();
  t.equal(published, 4, 'nothing new');
  publisher.changed();
  clock.advance(100);
  t.equal(published, 5);
});
