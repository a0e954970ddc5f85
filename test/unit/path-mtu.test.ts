import t from 'tap';
import { createPathMtus, RAISE_AFTER } from '../../src/gateway/path-mtu.js';
import { FakeClock } from '../helpers/fake-clock.js';

const B = '198.18.0.2';
const ROUTER = '198.18.0.9';

function pathCase(routeMtu = 1500) {
  const clock = new FakeClock();
  let changes = 0;
  const paths = createPathMtus({
    clock,
    inForce: (address) =>
      address === B ? Math.min(routeMtu, paths.limit(B)?.outerMtu ?? routeMtu) : undefined,
    onChange: () => {
      changes += 1;
    },
  });
  const report = (mtu: number, sent = routeMtu) =>
    paths.reported({ peerAddress: B, router: ROUTER, mtu, sent });
  return { paths, clock, report, changes: () => changes };
}

t.test('checklist 38: a report that fits lowers the path, and 600 s later it is tried again', async (t) => {
  const { paths, clock, report, changes } = pathCase();
  t.equal(paths.limit(B), undefined);
  t.ok(report(1400));
  t.same(paths.limit(B), { outerMtu: 1400, why: `ICMP from ${ROUTER}` });
  t.ok(report(1300, 1400), 'further on the way it is smaller still');
  t.equal(changes(), 2);
  clock.advance(RAISE_AFTER - 1);
  t.equal(paths.limit(B)?.outerMtu, 1300);
  clock.advance(1);
  t.equal(paths.limit(B), undefined);
  t.equal(changes(), 3);
  t.equal(RAISE_AFTER, 600_000);
});

t.test('checklist 38: a report that repeats itself keeps the limit alive', async (t) => {
  const { paths, clock, report, changes } = pathCase();
  report(1400);
  clock.advance(RAISE_AFTER - 1);
  t.notOk(report(1400, 1500), 'nothing new');
  clock.advance(RAISE_AFTER - 1);
  t.equal(paths.limit(B)?.outerMtu, 1400);
  t.equal(changes(), 1);
});

t.test('checklist 38: nonsense is not believed', async (t) => {
  const { paths, report, changes } = pathCase();
  t.notOk(report(575), 'below what every host takes');
  t.notOk(report(68));
  t.notOk(report(1500), 'as large as the packet that it is about');
  t.notOk(report(9001, 9100), 'larger than what is in force');
  t.notOk(report(1400, 1300), 'the packet would have fitted');
  t.notOk(paths.reported({ peerAddress: '198.18.0.7', router: ROUTER, mtu: 1400, sent: 1500 }), 'no peer');
  t.equal(paths.limit(B), undefined);
  t.equal(changes(), 0);
  t.ok(report(576), 'the floor itself');
});

t.test('checklist 38: a router that does not say how big (RFC 1191 section 5)', async (t) => {
  const { paths, report } = pathCase(9001);
  t.ok(report(0, 9001));
  t.equal(paths.limit(B)?.outerMtu, 8166);
  t.ok(report(0, 1500));
  t.equal(paths.limit(B)?.outerMtu, 1492);
  t.notOk(report(0, 576), 'nothing is below the floor');
});

t.test('a black hole that probes found holds until a probe gets through', async (t) => {
  const { paths, clock, changes } = pathCase();
  paths.blackHole(B, 1200);
  t.same(paths.limit(B), { outerMtu: 1200, why: 'probe' });
  paths.blackHole(B, 1200);
  t.equal(changes(), 1, 'the same again is nothing new');
  clock.advance(2 * RAISE_AFTER);
  t.equal(paths.limit(B)?.outerMtu, 1200, 'the prober keeps its own time');
  paths.proven(B, 1200);
  t.equal(paths.limit(B)?.outerMtu, 1200);
  paths.blackHole(B, 1400);
  t.equal(paths.limit(B)?.outerMtu, 1400);
  paths.proven(B, 1500);
  t.equal(paths.limit(B), undefined);
  t.equal(changes(), 3);
});

t.test('the smaller one of ICMP and probe counts; a probe that arrives refutes both', async (t) => {
  const { paths, clock, report } = pathCase();
  paths.blackHole(B, 1400);
  report(1300);
  t.equal(paths.limit(B)?.why, `ICMP from ${ROUTER}`);
  paths.proven(B, 1350);
  t.same(paths.limit(B), { outerMtu: 1400, why: 'probe' });
  paths.proven(B, 1500);
  t.equal(paths.limit(B), undefined);
  paths.proven('198.18.0.7', 1500);
  t.equal(clock.pending, 0, 'its timer went with it');
});

t.test('forget and close leave no timers', async (t) => {
  const { paths, clock, report, changes } = pathCase();
  report(1400);
  paths.forget(B);
  paths.forget(B);
  t.equal(paths.limit(B), undefined);
  t.equal(changes(), 2);
  report(1400);
  paths.close();
  paths.close();
  t.equal(clock.pending, 0);
});
