// The kernel guard against a real kernel: what it would answer or forward without the guard, it does not with
// it; what is not the gateway's goes on working; the guard dies with its process. Each check is made without
// the guard, too, so that silence means something.
import t, { type Test } from 'tap';
import type { GuardMethod, GuardPlan } from '../../src/gateway/guard.js';
import { exec, LabProcess, must, waitFor } from '../../src/lab/command.js';
import { whyNoLab } from '../../src/lab/index.js';
import { Child, ip, makeNamespaces, tablesIn } from './child.js';

const skip = await whyNoLab();

const GATEWAY_MAC = '02:00:00:00:00:05';
const PEER_MAC = '02:00:00:00:01:02';
const PLAN: GuardPlan = {
  overlay: { interface: 'o0', address: '10.0.0.5' },
  underlay: { interface: 'u0' },
  proxied: [
    { address: '10.0.0.20', prefixLength: 32 },
    { address: '10.0.2.0', prefixLength: 24 },
    { address: '10.0.2.9', prefixLength: 32 },
  ],
  peers: [{ localAddress: '198.18.0.1', address: '198.18.0.2' }],
  masquerade: { address: '10.0.0.5', firstPort: 61000, lastPort: 61999 },
};

/**
 * A gateway between a host and a peer. Its operating system has configured the proxied 10.0.0.20, it forwards,
 * and routes the proxied 10.0.2.0/24 to where the peer is.
 */
async function makeSegments(teardown: (undo: () => void) => void) {
  const names = await makeNamespaces(teardown, 'gateway', 'host', 'peer');
  const { gateway, host, peer } = names;
  await ip(gateway, [
    `link add o0 address ${GATEWAY_MAC} type veth peer name o1 netns ${host}`,
    `link add u0 type veth peer name u1 address ${PEER_MAC} netns ${peer}`,
    'link set o0 up',
    'link set u0 up',
    'address add 10.0.0.5/24 dev o0',
    'address add 10.0.0.20/24 dev o0',
    'address add 198.18.0.1/24 dev u0',
    'route add 10.0.2.0/24 dev u0',
    `neighbor add 10.0.2.9 lladdr ${PEER_MAC} dev u0`,
  ]);
  // Linux limits its ICMP errors; here each must be seen.
  await must(gateway, ['sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv4.icmp_ratelimit=0']);
  await ip(host, [
    'link set o1 up',
    'address add 10.0.0.10/24 dev o1',
    'route add 10.0.2.0/24 dev o1',
    ...['10.0.0.5', '10.0.0.20', '10.0.2.9'].map((a) => `neighbor add ${a} lladdr ${GATEWAY_MAC} dev o1`),
  ]);
  await ip(peer, ['link set u1 up', 'address add 198.18.0.2/24 dev u1', 'address add 198.18.0.3/24 dev u1']);
  for (const [namespace, link] of [
    [host, 'o1'],
    [peer, 'u1'],
  ] as const) {
    await waitFor(
      async () => (await must(namespace, ['ip', '-br', 'link', 'show', link])).includes('LOWER_UP'),
      {
        what: `the carrier of ${link}`,
      },
    );
  }
  return names;
}

/** Counts the frames of VLAN 5 that are still there behind the guard's place. */
const countTagged = (gateway: string) =>
  must(gateway, ['nft', '-f', '-'], {
    input: `table netdev behind { chain c {
      type filter hook ingress device "o0" priority 0;
      vlan id 5 counter
    }; }\n`,
  });

/** One frame of VLAN 5 to a proxied address, as an Ethernet driver would see it. */
const TAGGED = `
import socket
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); raw.bind(('o1', 0))
ethernet = bytes.fromhex('020000000005' '020000000010' '81000005' '0800')
ip = bytes.fromhex('4500001c00010000400100000a00000a0a000014')
raw.send(ethernet + ip + bytes(40))
`;

async function taggedSeen(gateway: string): Promise<number> {
  const listing = await must(gateway, ['nft', 'list', 'chain', 'netdev', 'behind', 'c']);
  return Number(/counter packets (\d+)/.exec(listing)?.[1]);
}

/** What comes out of the gateway at one of its neighbors, as tcpdump prints it. */
class Observer {
  readonly #capture: LabProcess;
  readonly #namespace: string;
  readonly #gatewayAddress: string;
  #read = 0;
  #sentinel = 900;

  constructor(namespace: string, link: string, gatewayAddress: string) {
    this.#namespace = namespace;
    this.#gatewayAddress = gatewayAddress;
    this.#capture = new LabProcess(namespace, [
      ...['tcpdump', '-n', '-l', '--immediate-mode', '-Q', 'in', '-i', link, 'not ip6'],
    ]);
  }

  async ready(): Promise<void> {
    await this.#capture.until(({ stderr }) => stderr.includes('listening on'), 'tcpdump');
  }

  /**
   * Everything since the last call. A ping to the gateway's own address goes last: the kernel handles frames
   * in order, so that with its answer all earlier answers are there.
   */
  async seen(): Promise<string> {
    this.#sentinel += 1;
    await must(this.#namespace, ['ping', '-c1', '-s', `${this.#sentinel}`, this.#gatewayAddress]);
    const end = `length ${this.#sentinel + 8}\n`;
    await this.#capture.until(
      ({ stdout }) => stdout.includes(end, this.#read),
      'the answer to the last ping',
    );
    const text = this.#capture.stdout.slice(this.#read);
    this.#read = this.#capture.stdout.length;
    return text;
  }

  close(): void {
    this.#capture.kill();
  }
}

/** Sends to the gateway what its kernel answers by itself. Needs no answer to end. */
const FROM_HOST = `
import socket, struct
def tcp(address, port):
    s = socket.socket(); s.setblocking(False); s.connect_ex((address, port)); return s
def udp(address, port):
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', (address, port))
def echo_reply(address, ident):
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    raw.sendto(struct.pack('!BBHHH', 0, 0, 0xffff ^ ident, ident, 0), (address, 0))
held = [tcp('10.0.0.20', 9), tcp('10.0.0.5', 61001), tcp('10.0.0.5', 60999)]
for address, port in (('10.0.0.20', 9), ('10.0.0.5', 61002), ('10.0.0.5', 60998)): udp(address, port)
echo_reply('10.0.0.5', 61001)
`;
const FROM_PEER = `
import socket
for source in ('198.18.0.2', '198.18.0.3'):
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 97)
    raw.bind((source, 0))
    raw.sendto(bytes([0x30, 0]) + bytes(64), ('198.18.0.1', 0))
`;

/** Datagrams to a proxied address until its input ends; counts those that the kernel answered with an error. */
const FLOOD = `
import select, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('10.0.0.20', 9))
sent = answered = 0
print('sending', flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    for _ in range(20):
        try: s.send(b'x'); sent += 1
        except ConnectionRefusedError: answered += 1
print(sent, 'sent', answered, 'answered')
`;

async function provoke({ host, peer }: { host: string; peer: string }): Promise<void> {
  const quick = (...more: string[]) => exec(host, ['ping', '-c1', '-W0.05', ...more]);
  await quick('10.0.0.20');
  await quick('-s', '3000', '10.0.0.20');
  await quick('10.0.2.9');
  await must(host, ['python3', '-c', FROM_HOST]);
  await must(peer, ['python3', '-c', FROM_PEER]);
  // Unresolved again, so that the host asks.
  await ip(host, ['neighbor del 10.0.0.20 dev o1']);
  await quick('10.0.0.20');
  await ip(host, [`neighbor replace 10.0.0.20 lladdr ${GATEWAY_MAC} dev o1`]);
}

/** What the guard silences: where it shows, and as what. */
const GUARDED: Record<string, ['host' | 'peer', RegExp]> = {
  'echo replies for a proxied address': ['host', /10\.0\.0\.20 > 10\.0\.0\.10: ICMP echo reply.* length 64/],
  'echo replies to fragments': ['host', /10\.0\.0\.20 > 10\.0\.0\.10: ICMP echo reply.* length 1480/],
  'ARP replies for a proxied address': ['host', /ARP, Reply 10\.0\.0\.20 is-at/],
  'a RST from a proxied address': ['host', /10\.0\.0\.20\.9 > .* Flags \[R/],
  'port unreachable from a proxied address': ['host', /10\.0\.0\.20 udp port 9 unreachable/],
  'a forwarded copy': ['peer', /10\.0\.0\.10 > 10\.0\.2\.9: ICMP echo request/],
  'a RST from a masquerade port': ['host', /10\.0\.0\.5\.61001 > .* Flags \[R/],
  'port unreachable from a masquerade port': ['host', /10\.0\.0\.5 udp port 61002 unreachable/],
  'protocol unreachable for a peer': ['peer', /198\.18\.0\.1 > 198\.18\.0\.2: .*protocol 97 unreachable/],
};
/** What the kernel must go on answering. */
const LEFT_ALONE: Record<string, ['host' | 'peer', RegExp]> = {
  'a RST from a port below the range': ['host', /10\.0\.0\.5\.60999 > .* Flags \[R/],
  'port unreachable from a port below the range': ['host', /10\.0\.0\.5 udp port 60998 unreachable/],
  'protocol unreachable for a stranger': ['peer', /198\.18\.0\.1 > 198\.18\.0\.3: .*protocol 97 unreachable/],
};

/** ICMP echo replies that the kernel's ICMP has taken in. */
async function echoRepliesTaken(namespace: string): Promise<number> {
  const [names = '', values = ''] = (await must(namespace, ['grep', '^Icmp:', '/proc/net/snmp'])).split('\n');
  return Number(values.split(' ')[names.split(' ').indexOf('InEchoReps')]);
}

/** A guard in the child; `refused` is what the kernel is said to refuse. */
function createGuardIn(child: Child, refused = ''): Promise<void> {
  return child.run(({ createGuard, loadAddon, held }, refused) => {
    held.guard = createGuard({
      openNftables() {
        const real = new (loadAddon().Nftables)();
        return {
          run(commands) {
            if (refused === '' || !new RegExp(refused).test(commands)) return real.run(commands);
            const message = 'Could not process rule: Operation not supported';
            throw Object.assign(new Error(message), { code: 'NFTABLES_REFUSED', errno: 95 });
          },
          close: () => real.close(),
        };
      },
    });
  }, refused);
}

const guardTables = async (namespace: string) =>
  (await tablesIn(namespace)).filter((name) => name.includes('vpc_conn_'));

const apply = (child: Child, plan: GuardPlan) => child.run(({ held }, plan) => held.guard?.apply(plan), plan);

/** A listener on the gateway's own address, as sshd is: sends back what it gets. */
const listen = (child: Child) =>
  child.run(
    ({ net }) =>
      new Promise<void>((resolve) => {
        const server = net.createServer((socket) => {
          socket.on('error', () => undefined);
          socket.pipe(socket);
        });
        server.listen(22, '10.0.0.5', () => resolve());
      }),
  );

const SSH = `import socket
s = socket.create_connection(('10.0.0.5', 22), 5); s.sendall(b'hello'); print(s.recv(5).decode(), end='')`;

for (const [method, refused] of [
  ['netdev ingress', ''],
  ['ip prerouting', 'netdev'],
] satisfies [GuardMethod, string][]) {
  t.test(`the guard by ${method}`, { skip }, async (t) => {
    const names = await makeSegments(t.teardown);
    const { gateway, host, peer } = names;
    await countTagged(gateway);
    const observers = {
      host: new Observer(host, 'o1', '10.0.0.5'),
      peer: new Observer(peer, 'u1', '198.18.0.1'),
    };
    const tap = new LabProcess(gateway, [
      ...['tcpdump', '-n', '-l', '--immediate-mode', '-Q', 'in', '-i', 'o0', 'icmp or arp'],
    ]);
    t.teardown(() => {
      for (const one of [observers.host, observers.peer]) one.close();
      tap.kill();
    });
    await Promise.all([observers.host.ready(), observers.peer.ready()]);
    await tap.until(({ stderr }) => stderr.includes('listening on'), 'tcpdump');

    const look = async () => {
      const replies = await echoRepliesTaken(gateway);
      await provoke(names);
      const seen = { host: await observers.host.seen(), peer: await observers.peer.seen() };
      return { ...seen, taken: (await echoRepliesTaken(gateway)) - replies };
    };
    const answersAll = async (t: Test, when: string) => {
      const seen = await look();
      for (const [what, [where, line]] of Object.entries({ ...GUARDED, ...LEFT_ALONE })) {
        t.match(seen[where], line, `${when}: ${what}`);
      }
      t.equal(seen.taken, 1, `${when}: the kernel takes the echo reply`);
    };
    const others = async (t: Test, when: string) => {
      t.equal(await must(host, ['python3', '-c', SSH]), 'hello', `${when}: the gateway's own TCP listener`);
      const tagged = await taggedSeen(gateway);
      await must(host, ['python3', '-c', TAGGED]);
      await waitFor(async () => (await taggedSeen(gateway)) === tagged + 1, {
        what: `${when}: the VLAN frame`,
      });
    };

    const child = await Child.start(gateway);
    t.teardown(() => child.kill());
    await listen(child);
    await answersAll(t, 'without the guard');
    await others(t, 'without the guard');

    await createGuardIn(child, refused);
    t.same(await child.run(({ held }) => held.guard?.state()), { state: 'down', method: '' });
    await apply(child, PLAN);
    t.same(await child.run(({ held }) => held.guard?.state()), { state: 'up', method });
    const tapped = tap.stdout.length;
    const seen = await look();
    for (const [what, [where, line]] of Object.entries(GUARDED))
      t.notMatch(seen[where], line, `silent: ${what}`);
    for (const [what, [where, line]] of Object.entries(LEFT_ALONE)) t.match(seen[where], line, what);
    t.equal(seen.taken, 0, 'the kernel does not take the echo reply');
    await others(t, 'with the guard');
    for (const line of [/10\.0\.0\.10 > 10\.0\.0\.20: ICMP echo request/, /Request who-has 10\.0\.0\.20/]) {
      await tap.until(({ stdout }) => line.test(stdout.slice(tapped)), 'the tap sees what the guard drops');
    }

    await t.test('updates lose no protection in between', async (t) => {
      const flood = new LabProcess(host, ['python3', '-c', FLOOD]);
      t.teardown(() => flood.kill());
      await flood.until(({ stdout }) => stdout.includes('sending'), 'the flood');
      const half = (address: string) => ({ address, prefixLength: 25 });
      const plans: GuardPlan[] = [
        { ...PLAN, proxied: [...PLAN.proxied.slice(0, 1), half('10.0.2.0'), half('10.0.2.128')] },
        { ...PLAN, masquerade: undefined, peers: [] },
        { ...PLAN, proxied: [{ address: '10.0.0.16', prefixLength: 28 }] },
        {
          ...PLAN,
          proxied: ['10.0.0.19', '10.0.0.20', '10.0.0.21'].map((address) => ({ address, prefixLength: 32 })),
        },
        PLAN,
      ];
      const applied = await child.run(async ({ held }, plans) => {
        const end = performance.now() + 1000;
        let count = 0;
        // Slow or fast, there are enough of them.
        for (; performance.now() < end || count < 10; count += 1) {
          const plan = plans[count % plans.length];
          if (plan) held.guard?.apply(plan);
          await new Promise(setImmediate);
        }
        return count;
      }, plans);
      await apply(child, PLAN);
      await observers.host.seen();
      flood.closeInput();
      await flood.exited;
      const [, sent, answered] = /(\d+) sent (\d+) answered/.exec(flood.stdout) ?? [];
      t.comment(`${applied} updates under ${sent} datagrams`);
      t.ok(applied >= 10 && Number(sent) >= 1000, 'there was something to lose');
      t.equal(answered, '0');
      t.equal((await exec(host, ['ping', '-c1', '-W0.05', '10.0.0.20'])).code, 1);
    });

    await t.test('what leaves the plan is answered again, what enters is not', async (t) => {
      await apply(child, { ...PLAN, proxied: PLAN.proxied.slice(1), masquerade: undefined, peers: [] });
      const seen = await look();
      t.match(seen.host, GUARDED['echo replies for a proxied address']?.[1]);
      t.match(seen.host, GUARDED['a RST from a masquerade port']?.[1]);
      t.match(seen.peer, GUARDED['protocol unreachable for a peer']?.[1]);
      t.notMatch(seen.peer, GUARDED['a forwarded copy']?.[1]);
      await apply(child, PLAN);
      t.notMatch((await look()).host, GUARDED['echo replies for a proxied address']?.[1]);
    });

    await t.test('a plan that the kernel refuses changes nothing', async (t) => {
      await t.rejects(apply(child, { ...PLAN, peers: [{ localAddress: 'x', address: 'y' }] }), {
        code: 'guard-refused',
      });
      await t.rejects(apply(child, { ...PLAN, overlay: { interface: 'a"b', address: '10.0.0.5' } }), {
        code: 'guard-interface-name',
      });
      t.equal((await exec(host, ['ping', '-c1', '-W0.05', '10.0.0.20'])).code, 1);
      t.same(await child.run(({ held }) => held.guard?.state()), { state: 'up', method });
    });

    await t.test('two gateways on one machine', async (t) => {
      const before = await guardTables(gateway);
      const other = await Child.start(gateway);
      t.teardown(() => other.kill());
      await createGuardIn(other, refused);
      await apply(other, PLAN);
      t.equal((await guardTables(gateway)).length, 2 * before.length);
      await other.run(({ held }) => {
        held.guard?.close();
        held.guard?.close();
      });
      t.same(await guardTables(gateway), before, 'each takes away its own');
      t.same(await other.run(({ held }) => held.guard?.state().state), 'down');
      await t.rejects(apply(other, PLAN), { code: 'guard-closed' });
    });

    await child.kill();
    await waitFor(async () => (await guardTables(gateway)).length === 0, { what: 'the tables to vanish' });
    const again = await Child.start(gateway);
    t.teardown(() => again.kill());
    await answersAll(t, 'after SIGKILL');
  });
}

t.test('what a kernel lacks is said', { skip }, async (t) => {
  const { n } = await makeNamespaces(t.teardown, 'n');
  const child = await Child.start(n);
  t.teardown(() => child.kill());
  t.equal(await child.run(({ probeGuard }) => probeGuard()), 'netdev ingress');
  t.same(await tablesIn(n), [], 'the probe leaves nothing behind');
  for (const [refused, code, message] of [
    ['owner', 'guard-kernel', /flags owner, in Linux since 5\.12/],
    ['.', 'guard-refused', /Operation not supported.*modprobe nf_tables/],
  ] as const) {
    await createGuardIn(child, refused);
    await t.rejects(apply(child, { ...PLAN, overlay: { interface: 'lo', address: '10.0.0.5' } }), {
      code,
      message,
    });
    t.same(await tablesIn(n), []);
  }
  const powerless = await Child.start(n, ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups']);
  t.teardown(() => powerless.kill());
  await t.rejects(
    powerless.run(({ probeGuard }) => probeGuard()),
    { code: 'privileges', message: /CAP_NET_ADMIN/ },
  );
});
