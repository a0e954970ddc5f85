// What a gateway switches on an interface it sets back: at its end, after a crash, and only when nobody needs it.
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  isRunning,
  type OffloadNote,
  type Owner,
  offloadFileFor,
  parseNote,
  readNotes,
  thisProcess,
  writeNote,
} from '../../src/gateway/offload-files.js';
import { createOffloads, ethtoolCommand, type OffloadsOptions } from '../../src/gateway/offloads.js';
import { OffloadsDouble } from '../helpers/machine-double.js';
import { temporaryDirectory } from '../helpers/temporary-directory.js';

const TSO = 'tx-tcp-segmentation';
const MANGLE = 'tx-tcp-mangleid-segmentation';
const NEEDS = { [TSO]: false, [MANGLE]: false };

const unexpected = (file: string, why: string) => {
  throw new Error(`${file}: ${why}`);
};

/** One machine with eth2, and gateways on it as processes that a test can end. */
function machine(t: Test) {
  const directory = temporaryDirectory(t);
  const kernel = new OffloadsDouble();
  kernel.turn(TSO, true);
  const links = [{ name: 'eth2', ifindex: 3 }];
  const alive = new Set<number>();
  const log: string[] = [];
  let pids = 100;
  const file = (name: string) => join(directory, `${name}.offloads.json`);
  const gateway = (name: string, changes: Partial<OffloadsOptions & { owner: Owner }> = {}) => {
    pids += 1;
    const owner = { pid: pids, startTime: '7', boot: 'this-boot', namespace: 'net:[1]', ...changes.owner };
    alive.add(owner.pid);
    const offloads = createOffloads({
      kernel,
      interface: { name: 'eth2', ifindex: 3 },
      file: file(name),
      links: () => links,
      logger: { info: (_, message) => void log.push(message), warn: (message) => void log.push(message) },
      isRunning: ({ pid }) => alive.has(pid),
      ...changes,
      owner,
    });
    // The exit listener of a gateway that "crashed" must not run at the end of this test's process.
    const listeners = process.listeners('exit');
    t.teardown(() => {
      for (const listener of process.listeners('exit')) {
        if (!listeners.includes(listener)) process.off('exit', listener);
      }
    });
    return { ...owner, offloads, crash: () => void alive.delete(owner.pid) };
  };
  return { directory, kernel, links, log, file, gateway };
}

t.test('switched while held, noted before, as it was afterwards', async (t) => {
  const { kernel, file, gateway, log } = machine(t);
  const { offloads } = gateway('a');
  kernel.onSet = () => {
    t.same(JSON.parse(readFileSync(file('a'), 'utf8')).held, { [TSO]: { was: true, now: false } });
    t.equal(statSync(file('a')).mode & 0o777, 0o600);
  };
  t.same(offloads.hold(NEEDS), []);
  t.same(kernel.set, [['eth2', { [TSO]: false }]], 'what is right already is not touched');
  t.same(offloads.changes(), [{ interface: 'eth2', feature: TSO, was: true, now: false }]);
  kernel.onSet = () => t.ok(existsSync(file('a')), 'the note outlives the switch');
  offloads.release();
  t.equal(kernel.is(TSO), true);
  t.notOk(existsSync(file('a')));
  t.same(offloads.changes(), []);
  t.match(log, ['offloads of eth2 are as they were']);
  offloads.release();
  t.equal(kernel.set.length, 2, 'a second release does nothing');
});

t.test('nothing to switch: no note, nothing to set back', async (t) => {
  const { kernel, file, gateway } = machine(t);
  kernel.turn(TSO, false);
  const exitListeners = process.listenerCount('exit');
  const { offloads } = gateway('a');
  t.same(offloads.hold({ ...NEEDS, 'tx-no-such-feature': true }), []);
  t.notOk(existsSync(file('a')));
  offloads.release();
  t.same(kernel.set, []);
  t.equal(process.listenerCount('exit'), exitListeners);
});

t.test('switched on again and held again: what it was first is kept', async (t) => {
  const { kernel, gateway } = machine(t);
  const { offloads } = gateway('a');
  offloads.hold(NEEDS);
  kernel.turn(TSO, true);
  kernel.turn(MANGLE, true);
  offloads.hold(NEEDS);
  t.equal(offloads.changes().length, 2);
  offloads.release();
  t.same([kernel.is(TSO), kernel.is(MANGLE)], [true, true]);
});

t.test('set back by somebody else meanwhile: left alone', async (t) => {
  const { kernel, gateway, log } = machine(t);
  const { offloads } = gateway('a');
  offloads.hold(NEEDS);
  kernel.turn(TSO, true);
  offloads.release();
  t.equal(kernel.set.length, 1);
  t.same(log, []);
});

t.test('after a crash the next start sets back, under any name', async (t) => {
  for (const name of ['a', 'b']) {
    const { kernel, file, gateway, log } = machine(t);
    const first = gateway('a');
    first.offloads.hold(NEEDS);
    first.crash();
    t.equal(kernel.is(TSO), false);
    const next = gateway(name);
    t.match(next.offloads.leftovers(), [{ interface: 'eth2', feature: TSO, was: true, now: false }]);
    t.equal(kernel.is(TSO), false, 'looking changes nothing');
    next.offloads.recover();
    t.equal(kernel.is(TSO), true);
    t.notOk(existsSync(file('a')));
    t.match(log, [new RegExp(`process ${first.pid} ended without setting back offloads of eth2`)]);
    next.offloads.hold(NEEDS);
    next.offloads.release();
    t.equal(kernel.is(TSO), true, 'as it was before the first start');
  }
});

t.test('a crash between note and switch', async (t) => {
  const { kernel, file, gateway, log } = machine(t);
  const first = gateway('a');
  kernel.onSet = () => {
    throw new Error('killed');
  };
  t.throws(() => first.offloads.hold(NEEDS), { message: 'killed' });
  t.notOk(existsSync(file('a')), 'a switch that fails leaves no note');
  t.same(first.offloads.changes(), []);
  kernel.onSet = () => {};
  const { pid, startTime, boot, namespace } = first;
  writeNote(file('a'), {
    owner: { pid, startTime, boot, namespace },
    interface: 'eth2',
    ifindex: 3,
    held: { [TSO]: { was: true, now: false } },
    leaving: false,
  });
  first.crash();
  gateway('b').offloads.recover();
  t.same(kernel.set, [], 'it is as it was');
  t.same(log, []);
  t.notOk(existsSync(file('a')));
});

t.test('two gateways on one interface: the last one sets back', async (t) => {
  for (const [first, second] of [
    ['a', 'b'],
    ['b', 'a'],
  ] as const) {
    const { kernel, gateway, directory } = machine(t);
    const both = { a: gateway('a').offloads, b: gateway('b').offloads };
    both.a.hold(NEEDS);
    both.b.hold(NEEDS);
    t.match(both.b.changes(), [{ feature: TSO, was: true }], 'the second one holds it, too');
    both[first].release();
    t.equal(kernel.is(TSO), false, `${second} needs it`);
    both[second].release();
    t.equal(kernel.is(TSO), true);
    t.same(readNotes(directory, unexpected), []);
  }
});

t.test('a crash beside a gateway that lives', async (t) => {
  const { kernel, gateway } = machine(t);
  const crashing = gateway('a');
  const living = gateway('b');
  crashing.offloads.hold(NEEDS);
  living.offloads.hold(NEEDS);
  crashing.crash();
  const next = gateway('a');
  next.offloads.recover();
  t.equal(kernel.is(TSO), false, 'the living one needs it');
  next.offloads.hold(NEEDS);
  living.offloads.release();
  t.equal(kernel.is(TSO), false);
  next.offloads.release();
  t.equal(kernel.is(TSO), true);
});

t.test('of two that leave at once none waits for the other', async (t) => {
  const { kernel, gateway, file } = machine(t);
  const a = gateway('a');
  const b = gateway('b');
  a.offloads.hold(NEEDS);
  b.offloads.hold(NEEDS);
  const note = parseNote(readFileSync(file('b'), 'utf8'));
  writeNote(file('b'), { ...note, leaving: true });
  a.offloads.release();
  t.equal(kernel.is(TSO), true);
});

t.test('other interfaces, namespaces and boots are not ours', async (t) => {
  const { kernel, gateway, links, file } = machine(t);
  const far = gateway('far', {
    owner: { ...thisProcess(), namespace: 'net:[2]', boot: 'this-boot', pid: 50 },
  });
  far.offloads.hold(NEEDS);
  far.crash();
  const here = gateway('here');
  here.offloads.recover();
  t.equal(kernel.is(TSO), false, 'another namespace has its own eth2');
  t.ok(existsSync(file('far')));

  const old = gateway('old');
  old.offloads.hold({ [MANGLE]: true });
  const note = parseNote(readFileSync(file('old'), 'utf8'));
  old.crash();
  writeNote(file('old'), { ...note, owner: { ...note.owner, boot: 'last-boot' } });
  here.offloads.recover();
  t.equal(kernel.is(MANGLE), true, 'after a boot everything is as it was anyway');
  t.notOk(existsSync(file('old')));

  writeNote(file('old'), note);
  links[0] = { name: 'eth2', ifindex: 9 };
  here.offloads.recover();
  t.equal(kernel.is(MANGLE), true, 'another interface of that name');
  t.notOk(existsSync(file('old')));
});

t.test('what the driver does not switch is told, and not held', async (t) => {
  const { kernel, gateway, file } = machine(t);
  kernel.unswitchable = [TSO];
  const { offloads } = gateway('a');
  t.same(offloads.hold(NEEDS), [TSO]);
  t.same(offloads.changes(), []);
  t.notOk(existsSync(file('a')));
});

t.test('what cannot be set back is told with the command', async (t) => {
  const { kernel, gateway, log, file } = machine(t);
  const { offloads } = gateway('a');
  offloads.hold(NEEDS);
  kernel.setError = new Error('Operation not permitted');
  offloads.release();
  t.match(log, [/could not be set back: Operation not permitted.*ethtool -K eth2 tx-tcp-segmentation on$/]);
  t.notOk(existsSync(file('a')));
  kernel.setError = undefined;
  t.equal(ethtoolCommand('eth2', NEEDS), `ethtool -K eth2 ${TSO} off ${MANGLE} off`);
});

t.test('an interface that has gone', async (t) => {
  const { kernel, gateway, links, file } = machine(t);
  const { offloads } = gateway('a');
  offloads.hold(NEEDS);
  links.length = 0;
  kernel.readError = new Error('No such device');
  offloads.release();
  t.notOk(existsSync(file('a')));
});

t.test('where no note can be written nothing is switched', async (t) => {
  const { kernel, gateway, directory } = machine(t);
  writeFileSync(join(directory, 'file'), '');
  const { offloads } = gateway('a', { file: join(directory, 'file', 'a.offloads.json') });
  t.throws(() => offloads.hold(NEEDS));
  t.same(kernel.set, []);
  t.same(offloads.changes(), []);
});

t.test('the exit of the process sets back', async (t) => {
  const { kernel, gateway } = machine(t);
  const before = process.listeners('exit');
  const { offloads } = gateway('a');
  offloads.hold(NEEDS);
  const [listener, ...more] = process.listeners('exit').filter((one) => !before.includes(one));
  t.same(more, []);
  listener?.(0);
  t.equal(kernel.is(TSO), true);
  t.same(process.listeners('exit'), before);
});

const NOTE: OffloadNote = {
  owner: { pid: 9, startTime: '1', boot: 'b', namespace: 'net:[1]' },
  interface: 'eth2',
  ifindex: 3,
  held: { [TSO]: { was: true, now: false } },
  leaving: false,
};

t.test('notes that nobody of us wrote are refused', async (t) => {
  const directory = temporaryDirectory(t);
  const file = join(directory, 'a.offloads.json');
  const cases: Record<string, [content: unknown, why: RegExp]> = {
    'no JSON': ['{', /JSON/],
    'no mapping': ['[]', /no mapping/],
    'another version': [{ ...NOTE, version: 2 }, /another version/],
    'a process that cannot be': [{ ...NOTE, owner: { ...NOTE.owner, pid: -1 } }, /owner\.pid/],
    'a namespace that cannot be': [{ ...NOTE, owner: { ...NOTE.owner, namespace: 'x' } }, /namespace/],
    'no interface name': [{ ...NOTE, interface: '../eth2' }, /interface/],
    'an index too large': [{ ...NOTE, ifindex: 2 ** 40 }, /ifindex/],
    'no feature name': [{ ...NOTE, held: { 'a b': { was: true, now: true } } }, /feature/],
    'no value': [{ ...NOTE, held: { a: { was: 1, now: true } } }, /neither true nor false/],
    'too many features': [
      {
        ...NOTE,
        held: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`f${i}`, { was: true, now: false }])),
      },
      /more than 64/,
    ],
    'too large': ['x'.repeat(20_000), /more than 16384 bytes/],
  };
  for (const [name, [content, why]] of Object.entries(cases)) {
    const text =
      typeof content === 'string' ? content : JSON.stringify({ version: 1, ...(content as object) });
    writeFileSync(file, text, { mode: 0o600 });
    const refused: string[] = [];
    t.same(
      readNotes(directory, (_, reason) => refused.push(reason)),
      [],
      name,
    );
    t.match(refused, [why], name);
  }
  const whole = JSON.stringify({ version: 1, ...NOTE });
  writeFileSync(file, whole, { mode: 0o600 });
  t.same(readNotes(directory, unexpected), [{ file, note: NOTE }]);
  chmodSync(file, 0o666);
  const refused: string[] = [];
  readNotes(directory, (_, reason) => refused.push(reason));
  chmodSync(file, 0o600);
  symlinkSync(file, join(directory, 'link.offloads.json'));
  mkdirSync(join(directory, 'directory.offloads.json'));
  t.same(readNotes(directory, (_, reason) => refused.push(reason)).length, 1);
  t.match(refused, [/other users may write it/, /no regular file/, /ELOOP/]);
  t.same(readNotes(join(directory, 'nowhere'), unexpected), []);
});

t.test('refused notes are logged, and nothing is done with them', async (t) => {
  const { gateway, file, log, kernel } = machine(t);
  writeFileSync(file('x'), '{}', { mode: 0o600 });
  gateway('a').offloads.recover();
  t.match(log, [/x\.offloads\.json is not used, because it is of another version\. Remove it/]);
  t.ok(existsSync(file('x')));
  t.same(kernel.set, []);
});

t.test('processes', async (t) => {
  const self = thisProcess();
  t.ok(isRunning(self));
  t.notOk(isRunning({ ...self, startTime: '1' }), 'a number that was given out again');
  t.notOk(isRunning({ ...self, boot: 'another' }));
  t.notOk(isRunning({ ...self, pid: 2 ** 30 }));
  t.match(self.namespace, /^net:\[\d+\]$/);
  t.equal(offloadFileFor('/run/vpc-conn/vpc-a.sock'), '/run/vpc-conn/vpc-a.offloads.json');
  t.equal(offloadFileFor('/run/x'), '/run/x.offloads.json');
});
