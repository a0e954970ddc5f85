/**
 * What gateway A encapsulates and gateway B decapsulates is the packet that was sent, apart from MACs and the
 * MSS: for any valid packet and any pair of one-to-one tables.
 */
import fc from 'fast-check';
import t from 'tap';
import { MemoryGateway, type NeighborText, type ProxiedText, type TableText } from '../helpers/forwarding.js';
import {
  ACK,
  counting,
  echo,
  ethernet,
  ipv4,
  mssOption,
  raw,
  SYN,
  type Transport,
  tcp,
  udp,
  unreachable,
} from '../helpers/frames.js';

const RUNS = 300;
const INNER_MTU = 1464;
const NEXT_HOP = '02:00:00:00:01:fe';
const HOST_MAC = '02:00:00:00:00:0a';

interface Side {
  underlay: string;
  far: string;
  overlayMac: string;
  proxied: ProxiedText[];
  hosts: string[];
}

function contents({ underlay, far, overlayMac, proxied, hosts }: Side): [TableText, NeighborText[]] {
  const table: TableText = {
    overlayMac,
    overlayAddress: '10.0.0.5',
    overlayMtu: 1500,
    underlayMac: '02:00:00:00:01:01',
    peers: [
      {
        localAddress: underlay,
        address: far,
        innerMtu: INNER_MTU,
        masqueradeUnlisted: false,
        resolveThroughTunnel: false,
      },
    ],
    proxied,
    reserved: ['10.0.0.0', '10.0.0.1', '10.0.0.255'],
    masqueradePorts: [0, 0],
  };
  const neighbors: NeighborText[] = [
    { scope: 1, address: far, mac: NEXT_HOP },
    ...hosts.map((address) => ({ scope: 0, address, mac: HOST_MAC })),
  ];
  return [table, neighbors];
}

/** Host numbers 10.0.0.10 to .209 are real in both VPCs; the same ones may be proxied addresses. */
const host = (number: number): string => `10.0.0.${number}`;

interface World {
  /** A packet from `sender` in VPC A to `receiver` in VPC B, which are known as these on the other side. */
  sender: string;
  senderThere: string;
  receiver: string;
  receiverHere: string;
}

/** Real numbers, and the numbers of the proxied addresses; within a VPC no proxied address is a host. */
const worlds: fc.Arbitrary<World> = fc
  .tuple(...Array.from({ length: 4 }, () => fc.integer({ min: 10, max: 209 })))
  .filter(
    ([sender, senderThere, receiver, receiverHere]) => sender !== receiverHere && receiver !== senderThere,
  )
  .map(([sender = 0, senderThere = 0, receiver = 0, receiverHere = 0]) => ({
    sender: host(sender),
    senderThere: host(senderThere),
    receiver: host(receiver),
    receiverHere: host(receiverHere),
  }));

/** The two gateways, made once: a pipeline has room for many bindings and is not made per packet. */
class Gateways {
  #a: MemoryGateway | undefined;
  #b: MemoryGateway | undefined;

  of(world: World): { a: MemoryGateway; b: MemoryGateway } {
    const entry = (address: string, other: string): ProxiedText[] => [
      { address, host: other, prefixLength: 32, peer: 0 },
    ];
    const a = contents({
      underlay: '198.18.0.1',
      far: '198.18.0.2',
      overlayMac: '02:00:00:00:0a:05',
      proxied: entry(world.receiverHere, world.receiver),
      hosts: [world.sender],
    });
    const b = contents({
      underlay: '198.18.0.2',
      far: '198.18.0.1',
      overlayMac: '02:00:00:00:0b:05',
      proxied: entry(world.senderThere, world.sender),
      hosts: [world.receiver],
    });
    this.#a ??= new MemoryGateway(...a);
    this.#b ??= new MemoryGateway(...b);
    this.#a.publish(...a);
    this.#b.publish(...b);
    return { a: this.#a, b: this.#b };
  }
}
const gateways = new Gateways();

const port = fc.integer({ min: 0, max: 0xffff });
const payload = fc.uint8Array({ maxLength: 300 });
const options = fc
  .uint8Array({ minLength: 0, maxLength: 9 })
  .map((kinds) => Array.from({ length: kinds.length * 4 }, () => 1));

/** Each as the sender makes it and as the receiver must get it. */
interface Pair {
  sent: Transport;
  got: Transport;
}
const same = (transport: Transport): Pair => ({ sent: transport, got: transport });

const transports: fc.Arbitrary<(world: World) => Pair> = fc.oneof(
  fc
    .record({
      from: port,
      to: port,
      payload,
      options,
      flags: fc.integer({ min: 0, max: 255 }),
      window: port,
      urgent: port,
    })
    .map((fields) => () => same(tcp({ ...fields, flags: fields.flags & ~SYN }))),
  fc
    .record({ from: port, to: port, mss: port, before: fc.integer({ min: 0, max: 3 }) })
    .map(({ from, to, mss, before }) => () => {
      const syn = (value: number): Transport => {
        const list = [...Array.from({ length: before }, () => 1), ...mssOption(value)];
        return tcp({
          from,
          to,
          flags: SYN,
          options: [...list, ...Array.from({ length: -list.length & 3 }, () => 0)],
        });
      };
      return { sent: syn(mss), got: syn(Math.min(mss, INNER_MTU - 40)) };
    }),
  fc.record({ from: port, to: port, payload }).map((fields) => () => same(udp(fields))),
  fc.record({ from: port, to: port, payload }).map((fields) => () => same(udp({ ...fields, checksum: 0 }))),
  fc
    .record({ id: port, sequence: port, reply: fc.boolean(), payload })
    .map((fields) => () => same(echo(fields))),
  fc.tuple(fc.constantFrom(2, 4, 47, 50, 132, 255), payload).map(
    ([protocol, bytes]) =>
      () =>
        same(raw(protocol, bytes)),
  ),
  // About a packet that came from the receiver: it quotes what each side knows.
  fc
    .record({ from: port, to: port, payload, length: fc.integer({ min: 8, max: 300 }) })
    .map(({ length, ...fields }) => (world: World) => {
      const about = (from: string, to: string): Transport =>
        unreachable(ipv4({ from, to }, udp(fields)).subarray(0, 20 + length));
      return {
        sent: about(world.receiverHere, world.sender),
        got: about(world.receiver, world.senderThere),
      };
    }),
);

const headers = fc.record({
  tos: fc.integer({ min: 0, max: 255 }),
  id: port,
  df: fc.boolean(),
  ttl: fc.integer({ min: 1, max: 255 }),
  options,
});

const overlay = (overlayMac: string, packet: Uint8Array) =>
  ethernet({ to: overlayMac, from: HOST_MAC }, packet);

t.test(
  'any packet arrives as it was sent, from the address that stands for its sender (checklist 9, 10)',
  async (t) => {
    fc.assert(
      fc.property(worlds, headers, transports, (world, header, make) => {
        const { a, b } = gateways.of(world);
        const { sent, got } = make(world);
        const here = ipv4({ ...header, from: world.sender, to: world.receiverHere }, sent);
        const there = ipv4({ ...header, from: world.senderThere, to: world.receiver }, got);
        const encapsulated = a.run('encap', overlay('02:00:00:00:0a:05', here));
        if (encapsulated.verdict !== 'forwarded') throw new Error(`encap: ${encapsulated.verdict}`);
        const [frame] = encapsulated.frames;
        if (!frame || encapsulated.frames.length !== 1) throw new Error('not one frame');
        // The underlay between them: the next hop puts in its own MAC.
        frame.set([2, 0, 0, 0, 1, 1, 2, 0, 0, 0, 1, 254]);
        const delivered = b.run('decap', frame);
        if (delivered.verdict !== 'forwarded') throw new Error(`decap: ${delivered.verdict}`);
        const expected = ethernet({ to: HOST_MAC, from: '02:00:00:00:0b:05' }, there);
        return (
          delivered.frames.length === 1 &&
          Buffer.from(expected).equals(delivered.frames[0] ?? Buffer.alloc(0))
        );
      }),
      { numRuns: RUNS },
    );
    t.pass(`${RUNS} packets`);
  },
);

t.test('a TCP super-frame arrives as segments that are together what was sent', async (t) => {
  const superFrames = fc.record({
    length: fc.integer({ min: 1, max: 60_000 }),
    gsoSize: fc.integer({ min: 400, max: 1460 }),
    sequence: fc.integer({ min: 0, max: 0xffffffff }),
    flags: fc.integer({ min: 0, max: 255 }).map((flags) => (flags | ACK) & ~SYN),
  });
  fc.assert(
    fc.property(worlds, superFrames, (world, { length, gsoSize, sequence, flags }) => {
      const { a, b } = gateways.of(world);
      const whole = tcp({ from: 1, to: 2, sequence, flags, payload: counting(length), checksum: 'partial' });
      const packet = ipv4({ from: world.sender, to: world.receiverHere }, whole);
      const virtio = new Uint8Array(10);
      virtio.set([1, 1, 0, 0, gsoSize & 255, gsoSize >> 8, 34, 0, 16, 0]);
      const { frames } = a.run('encap', overlay('02:00:00:00:0a:05', packet), virtio);
      let position = 0;
      for (const [index, frame] of frames.entries()) {
        frame.set([2, 0, 0, 0, 1, 1, 2, 0, 0, 0, 1, 254]);
        const [delivered] = b.run('decap', frame).frames;
        const size = Math.min(gsoSize, INNER_MTU - 40, length - position);
        const last = position + size === length;
        // CWR on the first segment alone, FIN and PSH on the last.
        const segmentFlags = flags & (index === 0 ? 0xff : 0x7f) & (last ? 0xff : 0xf6);
        const expected = ethernet(
          { to: HOST_MAC, from: '02:00:00:00:0b:05' },
          ipv4(
            { from: world.senderThere, to: world.receiver, id: 0x1234 + index },
            tcp({
              from: 1,
              to: 2,
              sequence: (sequence + position) >>> 0,
              flags: segmentFlags,
              payload: counting(size, position),
            }),
          ),
        );
        if (!delivered || !Buffer.from(expected).equals(delivered)) return false;
        position += size;
      }
      return position === length;
    }),
    { numRuns: 60 },
  );
  t.pass('60 super-frames');
});
