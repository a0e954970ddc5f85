import { chmodSync, existsSync, linkSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { memoryDataPlaneFactory } from '../../src/dataplane/memory-data-plane.js';
import { createGateway } from '../../src/gateway/gateway.js';
import { keepMasquerade } from '../../src/gateway/masquerade-keeper.js';
import { decodeState, headerOf, type Moment } from '../../src/gateway/masquerade-state.js';
import { makePlan, type Plan, readMachine } from '../../src/gateway/plan.js';
import { createLogger } from '../../src/log.js';
import { FLOW_RECORD_BYTES } from '../../src/native/addon.js';
import { GuardDouble, MachineDouble, OffloadsDouble, peer, settings } from '../helpers/machine-double.js';
import { temporaryDirectory } from '../helpers/temporary-directory.js';

const MASQUERADING = peer({ proxied: [], unlisted: 'masquerade' });
const NOW: Moment = { boot: 'boot-1', monotonic: 1000, wall: 1_700_000_000 };

function planWith(peers = [MASQUERADING]): Plan {
  const chosen = settings({ peers });
  return makePlan(chosen, readMachine(new MachineDouble(), chosen));
}

/** Flow number `n`, of a peer's index, idle for so long. */
function record(n: number, peerIndex = 0, idle = 5): Buffer {
  const bytes = Buffer.alloc(FLOW_RECORD_BYTES, n);
  bytes.writeUInt16BE(peerIndex, 4);
  bytes.writeUInt32BE(idle, 24);
  return bytes;
}

const idleOf = (records: Uint8Array, n = 0) => Buffer.from(records).readUInt32BE(n * FLOW_RECORD_BYTES + 24);

/** A gateway on doubles, its state in a directory of the test's own. */
function gatewayIn(t: Test, directory: string, flows: Uint8Array = new Uint8Array()) {
  const memory = memoryDataPlaneFactory({});
  const log: string[] = [];
  const chosen = settings({
    peers: [MASQUERADING],
    control: { socket: join(directory, 'vpc-a.sock') },
  });
  const gateway = createGateway(chosen, {
    logger: createLogger(
      { level: 'info', format: 'json' },
      { write: (line) => void log.push((JSON.parse(line) as { msg: string }).msg) },
    ),
    openNetlink: () => new MachineDouble(),
    guardFactory: () => new GuardDouble(),
    kernelOffloads: new OffloadsDouble(),
    dataPlaneFactory: (options) => {
      const made = memory.factory(options);
      return Object.assign(made, {
        records: flows,
        flowRows: Array.from({ length: flows.length / FLOW_RECORD_BYTES }, (_, port) => ({ port })),
      });
    },
    capabilities: () => 0xffffffffffn,
  });
  t.teardown(() => gateway.stop());
  return { gateway, log, made: memory.made, file: join(directory, 'vpc-a.masquerade') };
}

t.test('a gateway leaves its flows to the next one', async (t) => {
  const directory = temporaryDirectory(t);
  const flows = Buffer.concat([record(1, 0, 5), record(2, 0, 60)]);
  const first = gatewayIn(t, directory, flows);
  await first.gateway.start();
  t.notOk(existsSync(first.file), 'not before the stop');
  await first.gateway.stop();
  t.equal(statSync(first.file).mode & 0o777, 0o600);

  const second = gatewayIn(t, directory);
  await second.gateway.start();
  const taken = second.made[0]?.records ?? new Uint8Array();
  t.equal(taken.length, flows.length, 'both are taken up');
  t.ok(idleOf(taken) >= 6 && idleOf(taken) < 30, 'idle for as long as nobody ran, rounded up');
  t.ok(second.log.includes('masqueraded flows of the gateway before go on'));
});

t.test('without flows an old file goes, so that its flows cannot come back', async (t) => {
  const { gateway, file } = gatewayIn(t, temporaryDirectory(t));
  await gateway.start();
  writeFileSync(file, 'old');
  await gateway.stop();
  t.notOk(existsSync(file));
});

t.test('files that are not believed are told of, and no reason not to start', async (t) => {
  const directory = temporaryDirectory(t);
  const whole = gatewayIn(t, directory, record(1));
  await whole.gateway.start();
  await whole.gateway.stop();
  const { file } = whole;
  const good = readFileSync(file);
  const flipped = Buffer.from(good);
  flipped.writeUInt8(flipped.readUInt8(good.length - 40) ^ 1, good.length - 40);
  const cases: [why: RegExp, spoil: () => void][] = [
    [/checksum is wrong/, () => writeFileSync(file, flipped)],
    [/checksum is wrong/, () => writeFileSync(file, good.subarray(0, -7))],
    [/checksum is wrong/, () => writeFileSync(file, '')],
    [/other users may write it/, () => chmodSync(file, 0o666)],
    [/another user wrote it/, () => linkSync(file, `${file}.second`)],
  ];
  for (const [why, spoil] of cases) {
    writeFileSync(file, good);
    chmodSync(file, 0o600);
    spoil();
    const next = gatewayIn(t, directory);
    await next.gateway.start();
    t.equal(next.made[0]?.records.length, 0, 'nothing is taken up');
    t.match(
      next.log.find((line) => line.includes('was not taken up')),
      why,
    );
    await next.gateway.stop();
  }
  writeFileSync(join(directory, 'elsewhere'), good);
  symlinkSync(join(directory, 'elsewhere'), file);
  const linked = gatewayIn(t, directory);
  await linked.gateway.start();
  t.equal(linked.made[0]?.records.length, 0, 'no link is followed');
});

t.test('what a state says holds only for peers and times that fit', async (t) => {
  const { createHash } = await import('node:crypto');
  const sealed = (...parts: Uint8Array[]) => {
    const content = Buffer.concat(parts);
    return Buffer.concat([content, createHash('sha256').update(content).digest()]);
  };
  const gone = { ...MASQUERADING, name: 'gone', address: '198.18.0.9' };
  const drops = { ...MASQUERADING, name: 'drops', address: '198.18.0.8' };
  const saved = sealed(
    headerOf(planWith([gone, drops, MASQUERADING]), NOW),
    record(1, 0),
    record(2, 1),
    record(3, 2),
    record(4, 77),
  );
  const now = planWith([{ ...drops, unlisted: 'drop' }, MASQUERADING]);
  const later = { ...NOW, monotonic: NOW.monotonic + 10.2 };
  const records = Buffer.from(decodeState(now, saved, later));
  t.equal(records.length, FLOW_RECORD_BYTES, 'peers that are gone or masqueraded no more are left out');
  t.equal(records.readUInt8(0), 3);
  t.equal(records.readUInt16BE(4), 1, 'the peer has its new number');
  t.equal(idleOf(records), 16);

  const rebooted = { boot: 'boot-2', monotonic: 3, wall: NOW.wall + 100 };
  t.equal(idleOf(decodeState(now, saved, rebooted)), 105, 'over a reboot by the wall clock');
  t.throws(() => decodeState(now, saved, { ...rebooted, wall: NOW.wall - 1 }), /from the future/);
  t.throws(() => decodeState(now, sealed(Buffer.from('{"format":"x"}\n')), NOW), /no file of masqueraded/);
  t.throws(() => decodeState(now, sealed(Buffer.from('no line')), NOW), /no header/);
  const other = Buffer.from(headerOf(now, NOW).toString().replace('"version":1', '"version":2'));
  t.throws(() => decodeState(now, sealed(other), NOW), /version 2, not 1/);
  t.throws(() => decodeState(now, sealed(headerOf(now, NOW), Buffer.alloc(27)), NOW), /cut off/);
});

t.test('it is saved every so many ticks, page by page, at most as many as may be', async (t) => {
  const directory = temporaryDirectory(t);
  const chosen = settings({
    peers: [MASQUERADING],
    masquerade: {
      firstPort: 61000,
      lastPort: 65535,
      addresses: [],
      flows: 64,
      state: join(directory, 'state'),
    },
  });
  let plan = makePlan(chosen, readMachine(new MachineDouble(), chosen));
  const asked: number[] = [];
  let onPage = () => {};
  const warned: string[] = [];
  const keeper = keepMasquerade({
    dataPlane: {
      flowRecords: (from, most) => {
        asked.push(most);
        onPage();
        return {
          records: from === 0 ? Buffer.concat([record(1), record(2)]) : Buffer.alloc(62 * FLOW_RECORD_BYTES),
          next: from + 1,
        };
      },
    },
    plan: () => plan,
    flows: () => 1_000_000,
    logger: { warn: (_fields: object, message?: string) => void warned.push(message ?? '') } as never,
    every: 3,
  });
  keeper.tick();
  keeper.tick();
  t.same(asked, []);
  keeper.tick();
  await keeper.close();
  t.same(asked, [64, 62, 64, 62], 'once by the tick, once at the close');
  const bytes = readFileSync(join(directory, 'state'));
  t.equal(
    decodeState(plan, bytes, { ...NOW, boot: 'x', wall: Date.now() / 1000 + 60 }).length,
    64 * FLOW_RECORD_BYTES,
  );

  onPage = () => {
    plan = { ...plan };
  };
  writeFileSync(join(directory, 'state'), 'before');
  await keeper.close();
  t.equal(
    readFileSync(join(directory, 'state'), 'utf8'),
    'before',
    'a plan that changes meanwhile spoils nothing',
  );
  t.notOk(existsSync(join(directory, `state.${process.pid}`)), 'no draft is left');

  onPage = () => {
    throw new Error('no room');
  };
  await keeper.close();
  await keeper.close();
  t.match(warned, [/cannot be kept over a restart: no room\. Make room/], 'told once');
  t.equal(warned.length, 1);
});
