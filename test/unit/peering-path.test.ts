import fc from 'fast-check';
import t from 'tap';
import {
  BASE_PLPMTU,
  CONFIRM_EVERY,
  MAX_PROBES,
  PathSearch,
  RAISE_AFTER,
} from '../../src/peering/path-search.js';

/** A path that carries `carries` bytes; each probe takes a second to be lost, nothing to be answered. */
class Path {
  now = 1000;
  probes: number[] = [];
  constructor(
    readonly search: PathSearch,
    public carries: number,
    public alive = true,
  ) {}

  /** One probe, at the time when it is due. */
  step(): number {
    this.now = Math.max(this.now, this.search.nextAt);
    const size = this.search.next(this.now);
    this.probes.push(size);
    if (size <= this.carries) this.search.answered(size, this.now);
    else {
      this.now += 1000;
      this.search.unanswered(size, this.alive, this.now);
    }
    return size;
  }

  /** Until it rests, at most so many probes. */
  settle(most = 100): void {
    for (let count = 0; count < most; count += 1) {
      this.step();
      if (!this.search.searching && this.search.lost === 0 && this.search.nextAt > this.now) return;
    }
    throw new Error('the search does not end');
  }
}

t.test('checklist 39: probing starts at the route MTU and rests there when it passes', async (t) => {
  const path = new Path(new PathSearch(1500, 576), 1500);
  t.equal(path.search.mtu, 1500, 'believed before the first answer');
  path.settle();
  t.same(path.probes, [1500]);
  t.match(path.search, { mtu: 1500, limited: false, proven: true });
  t.equal(path.search.nextAt, path.now + CONFIRM_EVERY, 'confirmed again');
});

t.test('checklist 39: a peer that answers nothing is no evidence of a black hole', async (t) => {
  const path = new Path(new PathSearch(1500, 576), 0, false);
  for (let count = 0; count < 10 * MAX_PROBES; count += 1) path.step();
  t.match(path.search, { mtu: 1500, limited: false, proven: false });
  t.same([...new Set(path.probes)], [1500]);
});

t.test(
  'checklist 39: MAX_PROBES lost while the peer answers: BASE, then what the path carries',
  async (t) => {
    const path = new Path(new PathSearch(1500, 576), 1400);
    for (let count = 1; count < MAX_PROBES; count += 1) {
      path.step();
      t.equal(path.search.mtu, 1500, `${count} lost is chance`);
    }
    path.step();
    t.equal(path.search.mtu, BASE_PLPMTU);
    t.equal(path.step(), BASE_PLPMTU, 'the base is probed first');
    path.settle();
    t.ok(path.search.mtu <= 1400 && path.search.mtu > 1400 - 4, `found ${path.search.mtu}`);
    t.match(path.search, { limited: true, proven: true });
  },
);

t.test('checklist 39: a path below BASE is found, too', async (t) => {
  const path = new Path(new PathSearch(9001, 576), 900);
  path.settle();
  t.ok(path.search.mtu <= 900 && path.search.mtu > 896, `found ${path.search.mtu}`);
  const narrow = new Path(new PathSearch(1000, 576), 800);
  narrow.settle();
  t.ok(narrow.search.mtu <= 800 && narrow.search.mtu > 796, `found ${narrow.search.mtu}`);
});

t.test('checklist 39: the raise timer tries the route MTU again after 600 s', async (t) => {
  const path = new Path(new PathSearch(1500, 576), 1400);
  path.settle();
  const found = path.search.mtu;
  const start = path.now;
  while (path.search.next(Math.max(path.now, path.search.nextAt)) <= found) path.step();
  t.ok(path.search.nextAt - start >= RAISE_AFTER - CONFIRM_EVERY, 'not before');
  path.settle();
  t.equal(path.search.mtu, found, 'still a black hole: what is in use stays in use');
  path.carries = 1500;
  while (path.search.limited) path.step();
  t.match(path.search, { mtu: 1500, limited: false, proven: true });
  t.ok(path.now - start < 2.1 * RAISE_AFTER);
});

t.test('checklist 39: a black hole that comes later is noticed by the confirmation', async (t) => {
  const path = new Path(new PathSearch(1500, 576), 1500);
  path.settle();
  path.carries = 1300;
  const start = path.now;
  for (let count = 0; count < MAX_PROBES; count += 1) path.step();
  t.equal(path.search.mtu, BASE_PLPMTU);
  t.ok(path.now - start <= CONFIRM_EVERY + MAX_PROBES * 1000);
  path.settle();
  t.ok(path.search.mtu <= 1300 && path.search.mtu > 1296, `found ${path.search.mtu}`);
});

t.test('checklist 39: probes lost by chance cost one probe, not ten minutes', async (t) => {
  const path = new Path(new PathSearch(1500, 576), 1500);
  path.settle();
  path.carries = 1499;
  for (let count = 0; count < MAX_PROBES; count += 1) path.step();
  t.equal(path.search.mtu, BASE_PLPMTU);
  path.carries = 1500;
  t.equal(path.step(), BASE_PLPMTU);
  t.equal(path.step(), 1500, 'what passed before is tried first');
  t.match(path.search, { mtu: 1500, limited: false });
});

t.test('another limit begins anew', async (t) => {
  const path = new Path(new PathSearch(1500, 576), 1400);
  path.settle();
  path.search.setLimit(1300, path.now);
  t.match(path.search, { mtu: 1300, limited: false, proven: false });
  path.settle();
  t.match(path.search, { mtu: 1300, limited: false, proven: true });
  path.search.setLimit(9001, path.now);
  path.carries = 9001;
  path.settle();
  t.match(path.search, { mtu: 9001, limited: false, proven: true });
});

t.test('checklist 39: for any path the search ends, within 4 bytes, never above what passes', async () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 600, max: 9216 }),
      fc.integer({ min: 576, max: 9216 }),
      (limit, carries) => {
        const path = new Path(new PathSearch(limit, 576), carries);
        path.settle(60);
        const best = Math.min(limit, carries);
        if (path.search.mtu > best) throw new Error(`${path.search.mtu} of ${best}`);
        if (best - path.search.mtu > 3) throw new Error(`only ${path.search.mtu} of ${best}`);
        if (path.probes.some((size) => size > limit)) throw new Error('larger than the route takes');
      },
    ),
  );
});
