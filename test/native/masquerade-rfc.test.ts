/**
 * Masquerade and one-to-one rewrite, each test named after the line of requirements that it holds ("checklist
 * 17: ..."): RFC 4787 (UDP), RFC 5382 (TCP), RFC 5508 (ICMP). Through the workers' own pipeline in memory.
 */
import t from 'tap';
import { unpackFlows } from '../../src/dataplane/native-data-plane.js';
import type { Flow } from '../../src/dataplane/port.js';
import {
  B,
  C,
  FAR,
  fromLocal,
  fromPeer,
  GATEWAY,
  LOCAL,
  NEIGHBORS,
  TABLE,
  TWIN,
  TWIN_HERE,
} from '../golden/world.js';
import { MemoryGateway, type TableText } from '../helpers/forwarding.js';
import {
  ACK,
  type Bytes,
  counting,
  echo,
  FIN,
  ipv4,
  RST,
  SYN,
  type Transport,
  tcp,
  udp,
  unreachable,
} from '../helpers/frames.js';

/** A far host without a proxied address, and another one. */
const X = '10.0.0.77';
const Y = '10.0.0.78';
const LOCAL_2 = '10.0.0.11';
const TUNNEL = 50;

/** A gateway with far hosts X and Y behind it that are masqueraded. */
class Nat {
  readonly #gateway: MemoryGateway;
  readonly #table: TableText;

  constructor(changes: Partial<TableText> = {}) {
    this.#table = { ...TABLE, ...changes };
    this.#gateway = new MemoryGateway(this.#table, this.#neighbors());
  }

  #neighbors() {
    return [...NEIGHBORS, { scope: 0, address: LOCAL_2, mac: '02:00:00:00:00:0b' }];
  }

  publish(changes: Partial<TableText>): void {
    this.#gateway.publish({ ...this.#table, ...changes }, this.#neighbors());
  }

  /** What a local host gets of this, as "address:port" of source and destination; else why nobody does. */
  fromFar(from: string, to: string, transport: Transport, peer = C): string {
    const { verdict, frames } = this.#gateway.run('decap', fromPeer(peer, ipv4({ from, to }, transport)));
    return frames[0] === undefined ? verdict : endpoints(frames[0].subarray(14));
  }

  /** What a far host gets of this; else why nobody does. */
  fromNear(from: string, to: string, transport: Transport): string {
    const { verdict, frames } = this.#gateway.run('encap', fromLocal(ipv4({ from, to }, transport)));
    return frames[0] === undefined ? verdict : endpoints(frames[0].subarray(TUNNEL));
  }

  /** Lets time pass; ends what ran out. */
  at(seconds: number): { bindings: number; flows: number } {
    this.#gateway.pipeline.setTime(seconds);
    return this.#gateway.pipeline.sweepBindings();
  }

  flows(): Flow[] {
    return unpackFlows(this.#gateway.pipeline.readFlows(0, 1000).records);
  }

  /** What was received and not carried, by reason. */
  drops(): Record<string, number> {
    return Object.fromEntries(
      Object.entries(this.#gateway.counters()).filter(([name]) => name.startsWith('drop_')),
    );
  }

  saved(): Buffer {
    return this.#gateway.pipeline.readFlows(0, 1000).records;
  }

  restore(records: Bytes): number {
    return this.#gateway.pipeline.restoreFlows(records);
  }
}

function endpoints(ip: Buffer): string {
  const l4 = ip.subarray((ip.readUInt8(0) & 15) * 4);
  const source = [...ip.subarray(12, 16)].join('.');
  const destination = [...ip.subarray(16, 20)].join('.');
  if (ip.readUInt8(9) !== 1) return `${source}:${l4.readUInt16BE(0)} ${destination}:${l4.readUInt16BE(2)}`;
  return `${source} ${destination} ${l4.readUInt16BE(4)}`;
}

t.test('checklist 15: one mapping for a far endpoint, whomever it speaks to', async (t) => {
  const nat = new Nat();
  for (const make of [tcp, udp]) {
    t.equal(nat.fromFar(X, LOCAL, make({ from: 40100, to: 1 })), `${GATEWAY}:40100 ${LOCAL}:1`);
    t.equal(nat.fromFar(X, LOCAL, make({ from: 40100, to: 2 })), `${GATEWAY}:40100 ${LOCAL}:2`);
    t.equal(nat.fromFar(X, LOCAL_2, make({ from: 40100, to: 1 })), `${GATEWAY}:40100 ${LOCAL_2}:1`);
    // RFC 4787 REQ-8, RFC 5382 REQ-3: and whoever sends there reaches it.
    t.equal(nat.fromNear('10.0.0.50', GATEWAY, make({ from: 9, to: 40100 })), `10.0.0.50:9 ${X}:40100`);
  }
  t.equal(nat.flows().length, 6, 'what comes from this side makes no state');
});

t.test('checklist 16: no two far endpoints on one port', async (t) => {
  const nat = new Nat({ masqueradePorts: [40000, 40009] });
  const ports = Array.from({ length: 12 }, (_, index) =>
    nat.fromFar(`10.0.0.${100 + index}`, LOCAL, udp({ from: 40004, to: 1 })).replace(/ .*/, ''),
  );
  const given = ports.filter((port) => port !== 'bindings_full');
  t.equal(given.length, 10);
  t.equal(new Set(given).size, 10, `${given}`);
  t.same(
    given.slice(0, 3),
    [`${GATEWAY}:40004`, `${GATEWAY}:40006`, `${GATEWAY}:40008`],
    'parity as long as it goes',
  );
});

t.test('checklist 17: a UDP mapping lives five minutes, refreshed from the far side', async (t) => {
  const nat = new Nat();
  nat.fromFar(X, LOCAL, udp({ from: 40100, to: 1 }));
  t.equal(nat.at(301).flows, 1);
  nat.fromFar(X, LOCAL, udp({ from: 40100, to: 1 }));
  t.equal(nat.at(601).flows, 1);
  t.equal(nat.at(602).flows, 0);
  t.equal(nat.fromNear(LOCAL, GATEWAY, udp({ from: 1, to: 40100 })), 'no_binding');
});

t.test('checklist 17: strangers on this side keep no mapping alive', async (t) => {
  const nat = new Nat();
  nat.fromFar(X, LOCAL, udp({ from: 40100, to: 1 }));
  for (let second = 1; second <= 301; second += 50) {
    nat.at(second);
    t.equal(nat.fromNear(LOCAL_2, GATEWAY, udp({ from: 7, to: 40100 })), `${LOCAL_2}:7 ${X}:40100`);
  }
  t.equal(nat.at(302).bindings, 0);
});

t.test(
  'checklist 18: far and near hosts may have the same addresses, as twins and masqueraded',
  async (t) => {
    const nat = new Nat();
    t.equal(nat.fromFar(TWIN, LOCAL, tcp({ from: 5, to: 6 }), B), `${TWIN_HERE}:5 ${LOCAL}:6`);
    t.equal(nat.fromNear(LOCAL, TWIN_HERE, tcp({ from: 6, to: 5 })), `${LOCAL}:6 ${TWIN}:5`);
    t.equal(nat.fromFar(LOCAL, LOCAL, udp({ from: 40100, to: 6 })), `${GATEWAY}:40100 ${LOCAL}:6`);
    t.equal(nat.fromNear(LOCAL, GATEWAY, udp({ from: 6, to: 40100 })), `${LOCAL}:6 ${LOCAL}:40100`);
    // The far host may even have the gateway's own address.
    t.equal(nat.fromFar(GATEWAY, LOCAL, udp({ from: 40101, to: 6 })), `${GATEWAY}:40101 ${LOCAL}:6`);
  },
);

t.test('checklist 19: hairpinning is out of scope: counted, never sent back into the tunnel', async (t) => {
  const nat = new Nat({ masqueradeAddresses: [GATEWAY, '10.0.0.6'] });
  nat.fromFar(X, LOCAL, udp({ from: 40100, to: 1 }));
  for (const external of [GATEWAY, '10.0.0.6']) {
    t.equal(nat.fromFar(Y, external, udp({ from: 40200, to: 40100 })), 'to_gateway');
    t.equal(
      nat.fromFar(Y, external, unreachable(ipv4({ from: external, to: Y }, udp({ from: 1, to: 2 })))),
      'to_gateway',
    );
  }
  t.equal(nat.flows().length, 1);
  t.same(nat.drops(), { drop_to_gateway: 4 });
});

t.test('checklist 20: no ALG: addresses and ports in payloads stay as they are', async (t) => {
  const gateway = new MemoryGateway(TABLE, NEIGHBORS);
  const payload = Buffer.from('PORT 10,0,0,77,156,164\r\n');
  const packet = ipv4({ from: X, to: LOCAL }, tcp({ from: 40100, to: 21, flags: ACK, payload }));
  const [frame] = gateway.run('decap', fromPeer(C, packet)).frames;
  t.same(frame?.subarray(14 + 20 + 20), payload);
});

t.test('checklist 21: neither load nor a reload of other entries changes a translation', async (t) => {
  const nat = new Nat();
  const mapped = () => [
    nat.fromFar(X, LOCAL, udp({ from: 40100, to: 1 })),
    nat.fromFar(Y, LOCAL, tcp({ from: 40100, to: 1 })),
    nat.fromFar(Y, LOCAL, echo({ id: 9 })),
  ];
  const before = mapped();
  for (let port = 0; port < 1200; port += 1) nat.fromFar('10.0.0.79', LOCAL, udp({ from: port, to: 1 }));
  t.ok(nat.drops().drop_bindings_full, 'all that may be given out was asked for');
  t.same(mapped(), before, 'under load');
  nat.publish({ masqueradePorts: [40000, 41999], masqueradeAddresses: ['10.0.0.6', GATEWAY] });
  t.same(mapped(), before, 'after a reload with more ports and addresses');
  nat.publish({ proxied: [{ address: FAR, host: FAR, prefixLength: 32, peer: 0 }] });
  t.same(mapped(), before, 'after a reload of proxied entries');
});

t.test('checklist 22: an ICMP error ends no mapping', async (t) => {
  const nat = new Nat();
  nat.fromFar(X, LOCAL, tcp({ from: 40100, to: 1, flags: SYN }));
  nat.fromFar(X, LOCAL, udp({ from: 40100, to: 1 }));
  for (const make of [tcp, udp]) {
    const about = ipv4({ from: GATEWAY, to: LOCAL }, make({ from: 40100, to: 1 }));
    t.match(nat.fromNear(LOCAL, GATEWAY, unreachable(about)), `${LOCAL} ${X}`);
    t.match(
      nat.fromFar(X, LOCAL, unreachable(ipv4({ from: LOCAL, to: X }, make({ from: 1, to: 40100 })))),
      GATEWAY,
    );
  }
  t.equal(nat.at(241).flows, 2);
  t.equal(nat.fromNear(LOCAL, GATEWAY, udp({ from: 1, to: 40100 })), `${LOCAL}:1 ${X}:40100`);
});

t.test('checklist 25: TCP from both sides, simultaneous open among it', async (t) => {
  const nat = new Nat();
  const far = (flags: number) => nat.fromFar(X, LOCAL, tcp({ from: 40100, to: 1, flags }));
  const near = (flags: number) => nat.fromNear(LOCAL, GATEWAY, tcp({ from: 1, to: 40100, flags }));
  const [out, back] = [`${GATEWAY}:40100 ${LOCAL}:1`, `${LOCAL}:1 ${X}:40100`];
  for (const [side, flags] of [
    [far, SYN],
    [near, SYN],
    [far, SYN | ACK],
    [near, SYN | ACK],
    [far, ACK],
    [far, FIN | ACK],
    [near, ACK],
    [near, FIN | ACK],
    [far, ACK],
    [far, SYN],
    [near, RST | ACK],
    [far, SYN],
    [near, SYN | ACK],
    [far, ACK],
  ] as const) {
    t.equal(side(flags), side === far ? out : back);
  }
  t.match(nat.flows(), [{ state: 'established', nearAddress: LOCAL, nearPort: 1 }]);
});

t.test('checklist 26: an unsolicited SYN has no answer from the workers, and makes no state', async (t) => {
  const nat = new Nat();
  t.equal(nat.fromNear(LOCAL, GATEWAY, tcp({ from: 1, to: 40100, flags: SYN })), 'no_binding');
  // Within six seconds the far side opens, too: what came first is forgotten, what comes now passes.
  nat.at(6);
  nat.fromFar(X, LOCAL, tcp({ from: 40100, to: 1, flags: SYN }));
  t.equal(nat.fromNear(LOCAL, GATEWAY, tcp({ from: 1, to: 40100, flags: SYN })), `${LOCAL}:1 ${X}:40100`);
});

t.test(
  'checklist 27: established connections live two hours and four minutes, others four minutes',
  async (t) => {
    const nat = new Nat();
    nat.fromFar(X, LOCAL, tcp({ from: 40100, to: 1, flags: SYN }));
    nat.fromNear(LOCAL, GATEWAY, tcp({ from: 1, to: 40100, flags: SYN | ACK }));
    nat.fromFar(X, LOCAL, tcp({ from: 40100, to: 1, flags: ACK }));
    nat.fromFar(X, LOCAL, tcp({ from: 40102, to: 1, flags: SYN }));
    t.same(nat.at(241), { bindings: 2, flows: 2 });
    t.same(nat.at(242), { bindings: 1, flows: 1 });
    t.same(nat.at(7441), { bindings: 1, flows: 1 });
    t.same(nat.at(7442), { bindings: 0, flows: 0 });
  },
);

t.test('checklist 28: destination unreachable is translated', async (t) => {
  const nat = new Nat();
  nat.fromFar(X, LOCAL, tcp({ from: 7, to: 1, flags: SYN }));
  const about = ipv4({ from: GATEWAY, to: LOCAL }, tcp({ from: 40007, to: 1, flags: SYN }));
  t.match(nat.fromNear(LOCAL, GATEWAY, unreachable(about)), `${LOCAL} ${X}`);
});

t.test('checklist 29: ICMP queries pass, their identifiers live for a minute', async (t) => {
  const nat = new Nat();
  t.equal(nat.fromFar(X, LOCAL, echo({ id: 9 })), `${GATEWAY} ${LOCAL} 40009`);
  t.equal(nat.fromFar(Y, LOCAL, echo({ id: 9 })), `${GATEWAY} ${LOCAL} 40011`);
  t.equal(nat.fromNear(LOCAL, GATEWAY, echo({ id: 40011, reply: true })), `${LOCAL} ${Y} 9`);
  t.equal(nat.at(61).flows, 2);
  t.equal(nat.at(62).flows, 0);
  // Proxied hosts are pinged from either side without any state.
  t.equal(nat.fromNear(LOCAL, FAR, echo({ id: 9 })), `${LOCAL} ${FAR} 9`);
  t.equal(nat.fromFar(FAR, LOCAL, echo({ id: 9 }), B), `${FAR} ${LOCAL} 9`);
  t.equal(nat.flows().length, 0);
});

t.test('checklist 32: an error about a query neither refreshes nor ends its mapping', async (t) => {
  const nat = new Nat();
  nat.fromFar(X, LOCAL, echo({ id: 9, payload: counting(8) }));
  nat.at(40);
  t.match(
    nat.fromNear(LOCAL, GATEWAY, unreachable(ipv4({ from: GATEWAY, to: LOCAL }, echo({ id: 40009 })))),
    X,
  );
  t.match(nat.flows(), [{ idleSeconds: 39 }]);
  t.equal(nat.fromNear(LOCAL, GATEWAY, echo({ id: 40009, reply: true })), `${LOCAL} ${X} 9`);
  t.match(nat.flows(), [{ idleSeconds: 0 }]);
});

t.test(
  'a pool of addresses: a far host keeps to one; what is for another port of one is nobody’s',
  async (t) => {
    const pool = ['10.0.0.6', '10.0.0.7', '10.0.0.8'];
    const nat = new Nat({ masqueradeAddresses: pool });
    const addressOf = (from: string, port: number) =>
      nat.fromFar(from, LOCAL, udp({ from: port, to: 1 })).replace(/:.*/, '');
    const hosts = Array.from({ length: 20 }, (_, index) => `10.0.0.${100 + index}`);
    const used = hosts.map((host) => addressOf(host, 40100));
    t.same([...new Set(used)].sort(), pool, 'all of them are used');
    t.same(
      hosts.map((host) => addressOf(host, 40200)),
      used,
      'RFC 4787 REQ-2: paired',
    );
    t.equal(nat.fromNear(LOCAL, used[3] ?? '', udp({ from: 1, to: 40200 })), `${LOCAL}:1 ${hosts[3]}:40200`);
    t.equal(
      nat.fromNear(LOCAL, GATEWAY, udp({ from: 1, to: 40200 })),
      'to_gateway',
      'the own address is not in the pool',
    );
    t.equal(nat.fromNear(LOCAL, '10.0.0.6', udp({ from: 1, to: 22 })), 'no_binding');
    t.equal(nat.fromNear(LOCAL, '10.0.0.6', echo({ id: 5 })), 'no_binding', 'and nobody is pinged there');
    t.equal(nat.fromNear('10.0.0.7', FAR, udp({ from: 1, to: 22 })), 'looped');
  },
);

t.test('what one process has told, the next takes up, and connections go on', async (t) => {
  const before = new Nat();
  for (const from of [X, Y]) {
    before.fromFar(from, LOCAL, tcp({ from: 40100, to: 1, flags: SYN }));
    before.fromFar(from, LOCAL, udp({ from: 5353, to: 53 }));
  }
  before.at(20);
  const saved = before.saved();
  const after = new Nat();
  t.equal(after.restore(saved), 4);
  const told = (nat: Nat) =>
    nat
      .flows()
      .map((flow) => JSON.stringify(flow))
      .sort();
  t.same(told(after), told(before));
  t.equal(
    after.fromNear(LOCAL, GATEWAY, tcp({ from: 1, to: 40102, flags: SYN | ACK })),
    `${LOCAL}:1 ${Y}:40100`,
  );
  t.equal(after.restore(saved), 0, 'nothing twice');
  t.throws(() => after.restore(saved.subarray(1)), 'not a whole number of records');
  const fuzzed = new Nat();
  for (let at = 0; at < saved.length; at += 1) {
    const wrong = Buffer.from(saved);
    wrong.writeUInt8(wrong.readUInt8(at) ^ 0x80, at);
    fuzzed.restore(wrong);
  }
  t.ok(
    fuzzed.at(21).flows <= 4 * 28,
    'whatever is taken up of changed records, it is bounded and consistent',
  );
});
