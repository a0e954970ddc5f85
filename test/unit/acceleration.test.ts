// Which rung: decided by probing, followed while it runs.
import t, { type Test } from 'tap';
import type { Settings } from '../../src/config/settings.js';
import type { Decapsulation, Encapsulation, Segmentation } from '../../src/dataplane/port.js';
import { SettingsError } from '../../src/errors.js';
import { segmentationNeeds, startAcceleration } from '../../src/gateway/acceleration.js';
import { createOffloads } from '../../src/gateway/offloads.js';
import { OffloadsDouble, settings } from '../helpers/machine-double.js';
import { temporaryDirectory } from '../helpers/temporary-directory.js';

const TSO = 'tx-tcp-segmentation';
const GENERIC = 'tx-checksum-ip-generic';
const IPV4 = 'tx-checksum-ipv4';

type Wanted = Partial<Settings['dataplane']>;

function ladderCase(t: Test, wanted: Wanted = {}, change: (kernel: OffloadsDouble) => void = () => {}) {
  const kernel = new OffloadsDouble();
  change(kernel);
  const log: [string, string][] = [];
  const line = (level: string) => (first: object | string, second?: string) =>
    void log.push([level, second ?? String(first)]);
  const logger = { info: line('info'), warn: line('warn'), error: line('error') };
  const clock = { now: 1_000_000 };
  const start = () => {
    const offloads = createOffloads({
      kernel,
      interface: { name: 'eth2', ifindex: 3 },
      file: `${temporaryDirectory(t)}/a.offloads.json`,
      links: () => [{ name: 'eth2', ifindex: 3 }],
      logger,
    });
    const ladder = startAcceleration({
      settings: settings({ dataplane: { ...settings().dataplane, ...wanted } }),
      interfaceName: 'eth2',
      mtu: 9001,
      kernel,
      offloads,
      logger,
      now: () => clock.now,
    });
    t.teardown(() => ladder.close());
    return ladder;
  };
  return { kernel, log, clock, start };
}

const CARRIED: Encapsulation = { carried: true, why: '' };

/** Attached to a data plane that remembers what it was told. */
function running(t: Test, wanted: Wanted = {}, change?: (kernel: OffloadsDouble) => void) {
  const built = ladderCase(t, wanted, change);
  const ladder = built.start();
  const dataPlane = {
    told: [] as boolean[],
    state: 'kernel' as Segmentation,
    useKernelSegmentation: (use: boolean) => void dataPlane.told.push(use),
    segmentation: () => dataPlane.state,
    decapsulated: { part: 'carried', why: '', code: '' } as Decapsulation,
    decapsulation: () => dataPlane.decapsulated,
    encapsulated: CARRIED as Encapsulation,
    encapsulation: () => dataPlane.encapsulated,
  };
  ladder.attach(dataPlane);
  return { ...built, ladder, dataPlane };
}

const turnOn = (feature: string) => (kernel: OffloadsDouble) => kernel.turn(feature, true);
const fixOn = (feature: string) => (kernel: OffloadsDouble) => {
  kernel.features[feature] = { active: true, changeable: false };
};

t.test('what kernel segmentation needs of an interface', async (t) => {
  const on = { active: true, changeable: true };
  const off = { active: false, changeable: true };
  const tso = { [TSO]: off, 'tx-tcp-ecn-segmentation': on, 'tx-tcp-mangleid-segmentation': off };
  const noTso = { [TSO]: false, 'tx-tcp-ecn-segmentation': false, 'tx-tcp-mangleid-segmentation': false };
  t.same(segmentationNeeds({ ...tso, [GENERIC]: on, [IPV4]: off, 'tx-tcp6-segmentation': on }), noTso);
  t.same(segmentationNeeds({ ...tso, [GENERIC]: off, [IPV4]: on }), { ...noTso, [IPV4]: false });
  t.same(segmentationNeeds({ [TSO]: on }), { [TSO]: false }, 'a kernel that knows fewer features');
  t.same(segmentationNeeds({}), {});
});

t.test('off: nothing is probed, nothing switched', async (t) => {
  const { kernel, ladder, dataPlane } = running(t, { acceleration: 'off' }, turnOn(TSO));
  t.equal(kernel.probes, 0);
  t.same(ladder.wanted, { kernelSegmentation: false, knownEncap: false, xdpStrip: false });
  const why = 'dataplane.acceleration is off';
  t.same(ladder.rungs(), { encap: { rung: 'off', why }, decap: { rung: 'off', why } });
  ladder.follow();
  ladder.tick();
  t.same([kernel.set, dataPlane.told, ladder.notices(), ladder.changes()], [[], [], [], []]);
});

t.test('auto and segment on a machine that fits', async (t) => {
  for (const acceleration of ['auto', 'segment'] as const) {
    const { kernel, ladder, dataPlane } = running(t, { acceleration });
    const whole = acceleration === 'auto';
    t.same(ladder.wanted, { kernelSegmentation: true, knownEncap: whole, xdpStrip: whole });
    t.same(ladder.rungs(), {
      encap: whole
        ? { rung: 'full', why: '' }
        : { rung: 'segment', why: 'dataplane.acceleration is segment' },
      decap:
        acceleration === 'auto'
          ? { rung: 'full', why: '' }
          : { rung: 'off', why: 'dataplane.acceleration is segment' },
    });
    t.same([kernel.set, dataPlane.told, ladder.notices()], [[], [], []]);
  }
});

t.test('manage switches what is in the way, and sets it back', async (t) => {
  const { kernel, ladder } = running(t, {}, (kernel) => {
    kernel.turn(TSO, true);
    kernel.turn(GENERIC, false);
    kernel.features[IPV4] = { active: true, changeable: true };
  });
  t.match(ladder.rungs().encap, { rung: 'full', why: '' });
  t.same(kernel.set, [['eth2', { [TSO]: false, [IPV4]: false }]]);
  t.same(
    ladder
      .changes()
      .map(({ feature }) => feature)
      .sort(),
    [IPV4, TSO],
  );
  ladder.close();
  t.same([kernel.is(TSO), kernel.is(IPV4)], [true, true]);
  t.same(ladder.changes(), []);
});

t.test('what keeps from the rung: auto goes without, segment refuses with the remedy', async (t) => {
  const cases: [
    name: string,
    wanted: Wanted,
    change: (kernel: OffloadsDouble) => void,
    why: RegExp,
    remedy: RegExp,
  ][] = [
    [
      'the self-test fails',
      {},
      (kernel) => {
        kernel.probed = 'segment 1 of the test super-frame came out differently';
        kernel.turn(TSO, true);
      },
      /self-test.*segment 1 .* came out differently/,
      /acceleration: auto/,
    ],
    [
      'leave',
      { offloads: 'leave' },
      turnOn(TSO),
      /eth2 has tx-tcp-segmentation on/,
      /ethtool -K eth2 tx-tcp-segmentation off, or set dataplane\.offloads: manage/,
    ],
    ['a fixed feature', {}, fixOn(TSO), /eth2 cannot switch tx-tcp-segmentation/, /acceleration: auto/],
    [
      'a driver that does not obey',
      {},
      (kernel) => {
        kernel.turn(TSO, true);
        kernel.unswitchable = [TSO];
      },
      /driver of eth2 does not switch tx-tcp-segmentation/,
      /acceleration: auto/,
    ],
    [
      'a kernel that refuses',
      {},
      (kernel) => {
        kernel.turn(TSO, true);
        kernel.setError = new Error('Invalid argument');
      },
      /offloads of eth2 cannot be switched: Invalid argument/,
      /acceleration: auto/,
    ],
    [
      'features that cannot be read',
      {},
      (kernel) => {
        kernel.readError = new Error('Operation not supported');
      },
      /cannot be read: Operation not supported/,
      /acceleration: auto/,
    ],
  ];
  for (const [name, wanted, change, why, remedy] of cases) {
    await t.test(name, async (t) => {
      const { kernel, ladder, log } = running(t, wanted, change);
      t.match(ladder.rungs().encap, { rung: 'off', why });
      t.match(log, [['info', why]]);
      t.same([ladder.notices(), ladder.changes()], [[], []]);
      if (name !== 'features that cannot be read') t.equal(kernel.is(TSO), true, 'nothing stays switched');
      const insisting = ladderCase(t, { ...wanted, acceleration: 'segment' }, change);
      t.throws(insisting.start, { code: 'acceleration-unavailable', exitCode: 2, message: why });
      t.throws(insisting.start, { message: remedy });
      t.throws(insisting.start, SettingsError);
      if (name !== 'features that cannot be read') t.equal(insisting.kernel.is(TSO), true);
    });
  }
});

t.test('half of what is needed helps nobody: it is set back', async (t) => {
  const { kernel, ladder } = running(t, {}, (kernel) => {
    kernel.turn(TSO, true);
    kernel.turn('tx-tcp-ecn-segmentation', true);
    kernel.unswitchable = ['tx-tcp-ecn-segmentation'];
  });
  t.match(ladder.rungs().encap, { rung: 'off', why: /does not switch tx-tcp-ecn-segmentation/ });
  t.equal(kernel.is(TSO), true);
});

t.test('leave: steps down at once, and up again', async (t) => {
  const { kernel, ladder, dataPlane, log } = running(t, { offloads: 'leave' });
  kernel.turn(TSO, true);
  ladder.follow();
  t.same(dataPlane.told, [false]);
  t.match(ladder.rungs().encap, { rung: 'off', why: /tx-tcp-segmentation on.*Run ethtool -K eth2/ });
  ladder.follow();
  t.same(dataPlane.told, [false], 'told once');
  t.match(log, [['warn', /goes on without/]]);
  kernel.turn(TSO, false);
  ladder.follow();
  t.same(dataPlane.told, [false, true]);
  t.match(ladder.rungs().encap, { rung: 'full', why: '' });
  t.match(log[1], ['info', /again/]);
  t.same(kernel.set, []);
});

t.test('leave: wrong from the start, right later', async (t) => {
  const { kernel, ladder, dataPlane } = running(t, { offloads: 'leave' }, turnOn(TSO));
  t.same(ladder.wanted, { kernelSegmentation: true, knownEncap: true, xdpStrip: true }, 'set up, for later');
  t.same(dataPlane.told, [false]);
  kernel.turn(TSO, false);
  ladder.follow();
  t.same(dataPlane.told, [false, true]);
});

t.test('manage: switched back once; one that insists gets its way for a while', async (t) => {
  const { kernel, ladder, dataPlane, log, clock } = running(t);
  kernel.turn(TSO, true);
  ladder.follow();
  t.equal(kernel.is(TSO), false);
  t.same(dataPlane.told, [false, true], 'not used while it was wrong');
  t.match(log, [['warn', /somebody switched tx-tcp-segmentation on on eth2; switched back/]]);
  t.match(ladder.changes(), [{ feature: TSO, was: true, now: false }]);

  clock.now += 1000;
  kernel.turn(TSO, true);
  ladder.follow();
  t.equal(kernel.is(TSO), true);
  t.match(ladder.rungs().encap, { rung: 'off', why: /another program keeps switching it/ });
  ladder.tick();
  t.match(ladder.rungs().encap, { rung: 'off' });

  clock.now += 60_000;
  ladder.tick();
  t.equal(kernel.is(TSO), false, 'a minute later it is tried again');
  t.match(ladder.rungs().encap, { rung: 'full' });
  t.same(dataPlane.told, [false, true, false, true]);

  clock.now += 3_600_000;
  kernel.turn(TSO, true);
  ladder.follow();
  t.equal(kernel.is(TSO), false);
  ladder.close();
  t.equal(kernel.is(TSO), true, 'what somebody wanted meanwhile is what it gets');
});

t.test('manage: a switch back that fails steps down', async (t) => {
  const { kernel, ladder, dataPlane } = running(t);
  kernel.turn(TSO, true);
  kernel.setError = new Error('busy');
  ladder.follow();
  t.match(ladder.rungs().encap, { rung: 'off', why: /cannot be switched: busy/ });
  t.same(dataPlane.told, [false]);
});

t.test('an interface that has gone steps down', async (t) => {
  const { kernel, ladder, dataPlane } = running(t);
  kernel.readError = new Error('No such device');
  ladder.follow();
  t.match(ladder.rungs().encap, { rung: 'off', why: /No such device/ });
  t.same(dataPlane.told, [false]);
});

t.test('broken: told once, stays off', async (t) => {
  const { kernel, ladder, dataPlane, log } = running(t);
  dataPlane.state = 'broken';
  ladder.tick();
  ladder.tick();
  t.same(dataPlane.told, [false]);
  dataPlane.state = 'user-space';
  ladder.follow();
  t.match(ladder.rungs().encap, { rung: 'off', why: /stopped taking super-frames.*start it again/ });
  kernel.turn(TSO, true);
  ladder.follow();
  kernel.turn(TSO, false);
  ladder.follow();
  t.match(ladder.rungs().encap, { rung: 'off', why: /stopped taking super-frames/ });
  t.same(dataPlane.told, [false]);
  t.equal(log.length, 1);
});

t.test('status sees what broke before the next tick', async (t) => {
  const { ladder, dataPlane } = running(t);
  dataPlane.state = 'broken';
  t.match(ladder.rungs().encap, { rung: 'off', why: /stopped taking/ });
});

t.test('settings that insist: stepping down is worth a notice', async (t) => {
  const { kernel, ladder } = running(t, { acceleration: 'segment', offloads: 'leave' });
  t.same(ladder.notices(), []);
  kernel.turn(TSO, true);
  ladder.follow();
  t.match(ladder.notices(), [/acceleration is segment, but encap runs without: eth2 has/]);
  kernel.turn(TSO, false);
  ladder.follow();
  t.same(ladder.notices(), []);
});

t.test('workers that do not start: auto wants less, segment does not', async (t) => {
  const auto = ladderCase(t, {}, turnOn(TSO));
  const ladder = auto.start();
  t.ok(ladder.lower(new Error('ioctl(TUNSETIFF): Device or resource busy')));
  t.same(ladder.wanted, { kernelSegmentation: false, knownEncap: false, xdpStrip: true });
  t.match(ladder.rungs().encap, { rung: 'off', why: /does not start: ioctl\(TUNSETIFF\)/ });
  t.equal(auto.kernel.is(TSO), true, 'set back');
  t.notOk(ladder.lower(new Error('again')), 'nothing lower is left');
  t.notOk(ladderCase(t, { acceleration: 'segment' }).start().lower(new Error('no')));
  t.notOk(ladderCase(t, { acceleration: 'off' }).start().lower(new Error('no')));
});

const REFUSED: Decapsulation = { part: 'none', why: 'bpf(BPF_LINK_CREATE) on eth2: refused', code: 'EINVAL' };
const BUSY: Decapsulation = { ...REFUSED, code: 'EBUSY' };
const STRIPPED: Decapsulation = { part: 'stripped', why: 'no TCX', code: 'EINVAL' };

t.test('decap: what the driver does not take is said, with the MTU that it may take', async (t) => {
  const cases = [
    [
      REFUSED,
      'off',
      /eth2, with its MTU of 9001, does not take.*refused\. Try ip link set dev eth2 mtu 3502/,
    ],
    [BUSY, 'off', /another XDP program is attached to eth2\. Take it off: ip link set dev eth2 xdp off/],
    [STRIPPED, 'full', /known flows take the workers, too: no TCX/],
    [{ part: 'none', why: 'the self-test failed', code: '' }, 'off', /^the self-test failed/],
  ] as const;
  for (const [decapsulated, rung, why] of cases) {
    const built = ladderCase(t);
    const ladder = built.start();
    const attach = () =>
      ladder.attach({
        useKernelSegmentation: () => {},
        segmentation: () => 'kernel',
        decapsulation: () => decapsulated,
        encapsulation: () => CARRIED,
      });
    attach();
    t.match(ladder.rungs().decap, { rung, why });
    t.equal(built.log.filter(([level]) => level === 'info').length, 1);
    t.same(ladder.notices(), [], 'auto: nothing to complain of');
  }
});

t.test('encap: segment, where the kernel does not carry known hosts', async (t) => {
  const { ladder, dataPlane } = running(t, { acceleration: 'full' });
  dataPlane.encapsulated = { carried: false, why: 'no TCX' };
  t.same(ladder.rungs().encap, {
    rung: 'segment',
    why: "known hosts' packets take the workers, too: no TCX",
  });
  t.same(ladder.notices(), [], 'everything is carried all the same');
});

t.test('decap: full insists on the strip, not on what goes beyond it', async (t) => {
  const insisting = (decapsulated: Decapsulation) => {
    const ladder = ladderCase(t, { acceleration: 'full' }).start();
    return () =>
      ladder.attach({
        useKernelSegmentation: () => {},
        segmentation: () => 'kernel',
        decapsulation: () => decapsulated,
        encapsulation: () => CARRIED,
      });
  };
  t.throws(insisting(BUSY), {
    code: 'acceleration-unavailable',
    exitCode: 2,
    message: /another XDP program/,
  });
  t.throws(insisting(REFUSED), SettingsError);
  t.doesNotThrow(insisting(STRIPPED));
});

t.test('decap: a program that was taken off later is a notice where the settings insist', async (t) => {
  const { ladder, dataPlane } = running(t, { acceleration: 'full' });
  t.same(ladder.notices(), []);
  dataPlane.decapsulated = { part: 'none', why: 'somebody took the XDP program off eth2', code: '' };
  t.match(ladder.rungs().decap, { rung: 'off', why: /took the XDP program off/ });
  t.match(ladder.notices(), [/acceleration is full, but decap runs without: somebody/]);
});
