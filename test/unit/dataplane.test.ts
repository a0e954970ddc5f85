import { Buffer } from 'node:buffer';
import t from 'tap';
import { memoryDataPlaneFactory } from '../../src/dataplane/memory-data-plane.js';
import {
  nativeDataPlaneFrom,
  packNeighbors,
  scopeFromNative,
  scopeToNative,
  tableToNative,
} from '../../src/dataplane/native-data-plane.js';
import type { DataPlaneEvent, ForwardingTable, Scope } from '../../src/dataplane/port.js';
import type {
  NativeAddon,
  NativeDataPlane,
  NativeDataPlaneOptions,
  NativeForwardingTable,
} from '../../src/native/addon.js';

const table: ForwardingTable = {
  overlayMac: '02:00:00:00:00:01',
  overlayAddress: '10.0.0.5',
  overlayMtu: 1500,
  underlayMac: '02:00:00:00:00:02',
  peers: [
    {
      name: 'vpc-b',
      localAddress: '198.18.0.1',
      address: '198.18.0.2',
      innerMtu: 1464,
      unlisted: 'masquerade',
      resolve: 'tunnel',
    },
    {
      name: 'vpc-c',
      localAddress: '198.18.0.1',
      address: '198.18.0.3',
      innerMtu: 1364,
      unlisted: 'drop',
      resolve: 'peer',
    },
  ],
  proxied: [
    { address: '10.0.0.20', host: '10.0.0.20', prefixLength: 32, peer: 0 },
    { address: '10.0.2.0', host: '10.0.1.0', prefixLength: 24, peer: 1 },
  ],
  reserved: ['10.0.0.0', '10.0.0.255'],
  icmpErrorsPerSecond: 100,
  masquerade: { firstPort: 61000, lastPort: 65535, addresses: ['10.0.0.5', '10.0.0.6'], flows: 4096 },
};

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

t.test('a table in the bytes of native/addon.ts', async (t) => {
  const native = tableToNative(table);
  t.equal(hex(native.overlayMac), '020000000001');
  t.equal(hex(native.overlayAddress), '0a000005');
  t.equal(hex(native.underlayMac), '020000000002');
  t.equal(native.overlayMtu, 1500);
  t.match(native.peers, [
    { innerMtu: 1464, masqueradeUnlisted: true, resolveThroughTunnel: true },
    { innerMtu: 1364, masqueradeUnlisted: false, resolveThroughTunnel: false },
  ]);
  t.same(
    native.peers.map((peer) => [hex(peer.localAddress), hex(peer.address)]),
    [
      ['c6120001', 'c6120002'],
      ['c6120001', 'c6120003'],
    ],
  );
  // address, host, prefix length, reserved, peer index (little-endian)
  t.equal(hex(native.proxied), '0a0000140a000014' + '20000000' + '0a0002000a000100' + '18000100');
  t.equal(hex(native.reserved), '0a0000000a0000ff');
  t.same([native.masqueradeFirstPort, native.masqueradeLastPort], [61000, 65535]);
  t.equal(hex(native.masqueradeAddresses), '0a0000050a000006');
  t.equal(native.masqueradeFlows, 4096);
});

t.test('neighbors in the bytes of native/addon.ts', async (t) => {
  const records = packNeighbors([
    { scope: 'overlay', address: '10.0.0.10', mac: '02:00:00:00:00:0a', slot: 0 },
    { scope: 'underlay', address: '198.18.0.2', slot: 258 },
    { scope: { peer: 299 }, address: '10.0.0.20', mac: '02:00:00:00:00:14', slot: 16383 },
    { scope: 'overlay', address: '2001:db8::10', mac: '02:00:00:00:00:0a', slot: 1 },
  ]);
  const rest = '00'.repeat(12);
  t.equal(
    hex(records),
    `00000104${'0a00000a'}${rest}${'02000000000a'}0000` +
      `01000204${'c6120002'}${rest}${'000000000000'}0201` +
      `2d010104${'0a000014'}${rest}${'020000000014'}ff3f` +
      `00000106${'20010db8000000000000000000000010'}${'02000000000a'}0100`,
  );
});

t.test('scopes go there and back', async (t) => {
  const scopes: Scope[] = ['overlay', 'underlay', { peer: 0 }, { peer: 255 }];
  t.same(scopes.map(scopeToNative), [0, 1, 2, 257]);
  t.same(scopes.map(scopeToNative).map(scopeFromNative), scopes);
});

/** Plays the addon; remembers what reaches it. */
function addonDouble(changes: Partial<NativeDataPlane> = {}) {
  const seen: {
    options?: NativeDataPlaneOptions;
    tables: NativeForwardingTable[];
    sent: [number, string][];
    used: boolean[];
    closed: number;
  } = { tables: [], sent: [], used: [], closed: 0 };
  const native: NativeDataPlane = {
    workerNames: ['encap/0', 'decap/0'],
    publishTable: (published) => seen.tables.push(published),
    publishNeighbors: () => 7,
    start: () => {},
    acknowledgedGeneration: () => 5,
    readNeighborUse: (into) => into.set([0, 99], 0),
    send: (scope, frame) => seen.sent.push([scope, hex(frame)]) > 0,
    readCounters: (into) => into.set(into.map((_, index) => BigInt(index))),
    readPeerCounters: (into) => into.set(into.map((_, index) => BigInt(100 + index))),
    readLoads: (into) => into.set(into.map((_, index) => BigInt(1000 + index))),
    sweepBindings: () => ({ bindings: 3, flows: 4 }),
    readFlows: (from, most) => ({
      records: Buffer.from(
        '000b0100' + '0001' + '0fa0' + '0a000009' + '0a000006' + '0a00000a' + 'ee48' + '1538' + '00000007',
        'hex',
      ),
      next: from + most,
    }),
    restoreFlows: () => 0,
    useKernelSegmentation: (use) => seen.used.push(use),
    segmentation: () => 'kernel',
    stripCounts: () => undefined,
    decapsulation: () => ({ part: 'carried', why: '', code: '' }),
    encapsulation: () => ({ carried: false, why: 'no TCX' }),
    close: () => {
      seen.closed += 1;
    },
    ...changes,
  };
  const addon = {
    counterNames: ['rx_frames', 'drop_truncated'],
    peerCounterNames: ['rx_packets'],
    dropReasons: [{ name: 'truncated', meaning: 'Too long.', remedy: 'None.' }],
    DataPlane: function DataPlane(options: NativeDataPlaneOptions) {
      seen.options = options;
      return native;
    },
  } as unknown as NativeAddon;
  return { addon, seen };
}

const options = {
  overlay: { ifindex: 2, name: 'eth1' },
  underlay: { ifindex: 3, name: 'eth2' },
  workers: 2,
  spinMicroseconds: 50,
};

t.test('the adapter', async (t) => {
  const events: DataPlaneEvent[] = [];
  const { addon, seen } = addonDouble();
  const exitListeners = process.listenerCount('exit');
  const dataPlane = nativeDataPlaneFrom(addon, { ...options, onEvent: (event) => events.push(event) });
  t.equal(process.listenerCount('exit'), exitListeners + 1);
  t.match(seen.options, {
    overlayIfindex: 2,
    overlayName: 'eth1',
    underlayIfindex: 3,
    underlayName: 'eth2',
    workers: 2,
    spinMicroseconds: 50,
    kernelSegmentation: false,
  });

  t.same(dataPlane.peerCounters(), [], 'no peers before a table');
  t.equal(dataPlane.publishTable(table), 1);
  t.equal(dataPlane.publishNeighbors([]), 7);
  t.same(dataPlane.counters(), [
    { worker: 'encap/0', values: { rx_frames: 0n, drop_truncated: 1n } },
    { worker: 'decap/0', values: { rx_frames: 2n, drop_truncated: 3n } },
    { worker: 'slow-path', values: { rx_frames: 4n, drop_truncated: 5n } },
  ]);
  t.same(dataPlane.peerCounters(), [
    { peer: 'vpc-b', values: { rx_packets: 100n } },
    { peer: 'vpc-c', values: { rx_packets: 101n } },
  ]);
  t.equal(dataPlane.neighborUse()[1], 99);
  t.equal(dataPlane.neighborUse().length, dataPlane.neighborSlots);
  t.same(dataPlane.sweepBindings(), { bindings: 3, flows: 4 });
  t.same(dataPlane.flows(5, 6), {
    flows: [
      {
        protocol: 'tcp',
        peer: 1,
        farAddress: '10.0.0.9',
        farPort: 4000,
        address: '10.0.0.6',
        port: 61000,
        nearAddress: '10.0.0.10',
        nearPort: 5432,
        state: 'established',
        idleSeconds: 7,
      },
    ],
    next: 11,
  });
  t.ok(dataPlane.send({ peer: 1 }, Uint8Array.of(1, 2)));
  t.same(seen.sent, [[3, '0102']]);
  t.equal(dataPlane.dropReasons[0]?.name, 'truncated');
  dataPlane.useKernelSegmentation(false);
  t.same(seen.used, [false]);
  t.equal(dataPlane.segmentation(), 'kernel');
  t.same(dataPlane.decapsulation(), { part: 'carried', why: '', code: '' });
  t.same(dataPlane.encapsulation(), { carried: false, why: 'no TCX' });

  const frame = Buffer.from('ff', 'hex');
  seen.options?.onEvents([
    { kind: 'unresolved', scope: 0, address: Buffer.from([10, 0, 0, 10]) },
    { kind: 'heard', scope: 1, address: Buffer.from([198, 18, 0, 2]) },
    { kind: 'arp', scope: 3, frame },
    { kind: 'worker-failed', worker: 'encap/0', code: 'ENODEV', message: 'gone' },
  ]);
  t.same(events, [
    { kind: 'unresolved', scope: 'overlay', address: '10.0.0.10' },
    { kind: 'heard', scope: 'underlay', address: '198.18.0.2' },
    { kind: 'arp', scope: { peer: 1 }, frame },
    { kind: 'worker-failed', worker: 'encap/0', code: 'ENODEV', message: 'gone' },
  ]);

  dataPlane.close();
  t.equal(process.listenerCount('exit'), exitListeners, 'nothing stays registered');
  seen.options?.onEvents([{ kind: 'unresolved', scope: 0, address: Buffer.from([10, 0, 0, 11]) }]);
  t.equal(events.length, 4, 'a batch that was on its way is dropped');
});

t.test('a start that fails says what to do', async (t) => {
  const failing = (code: string) => {
    const error = Object.assign(new Error('socket: Operation not permitted'), { code });
    const { addon } = addonDouble({
      start: () => {
        throw error;
      },
    });
    const dataPlane = nativeDataPlaneFrom(addon, { ...options, onEvent: () => {} });
    t.teardown(() => dataPlane.close());
    return dataPlane;
  };
  t.throws(() => failing('EPERM').start(), { code: 'workers-start', exitCode: 1, message: /as root/ });
  t.throws(() => failing('ENOMEM').start(), { code: 'workers-start', message: /memory/ });
  t.throws(() => failing('EINVAL').start(), { code: 'workers-start', message: /packet sockets/ });
});

t.test('the in-memory double', async (t) => {
  const events: DataPlaneEvent[] = [];
  const { factory, made } = memoryDataPlaneFactory();
  const dataPlane = factory({ ...options, onEvent: (event) => events.push(event) });
  const [memory] = made;
  if (!memory) throw new Error('nothing was made');
  t.equal(dataPlane.publishTable(table), 1);
  t.equal(dataPlane.acknowledgedGeneration(), 0, 'nobody takes it up before the start');
  dataPlane.start();
  t.equal(dataPlane.acknowledgedGeneration(), 1);
  memory.emit({ kind: 'heard', scope: 'overlay', address: '10.0.0.10' });
  t.equal(events.length, 1);
  memory.setPeerCounters('vpc-c', { rx_packets: 5n });
  t.same(dataPlane.peerCounters(), [
    { peer: 'vpc-b', values: {} },
    { peer: 'vpc-c', values: { rx_packets: 5n } },
  ]);
  const frame = Uint8Array.of(1);
  t.ok(dataPlane.send('overlay', frame));
  frame[0] = 9;
  t.equal(memory.sent[0]?.frame[0], 1, 'a sent frame is a copy');
  memory.sends = false;
  t.notOk(dataPlane.send('overlay', frame));
  dataPlane.close();
  memory.emit({ kind: 'heard', scope: 'overlay', address: '10.0.0.10' });
  t.equal(events.length, 1, 'no events after close');
});
