/**
 * The bench's lab: as few devices as possible, so that what is measured is the gateways.
 *
 *      a1 eth0 ------- eth1 gw-a eth2 ------- eth2 gw-b eth1 ------- eth0 b1
 *               LAN            underlay, an honest wire           LAN
 *
 * Every contender has one of its own, and all of a round stay up together: idle ones cost nothing.
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { claimLabId, labDirectory, removeLab, removeStaleLabs } from '../../src/lab/cleanup.js';
import { type ExecOptions, type ExecResult, exec, LabProcess, must, waitFor } from '../../src/lab/command.js';

export type Node = 'a1' | 'gw-a' | 'gw-b' | 'b1';
export type Gateway = 'gw-a' | 'gw-b';
export const NODES: readonly Node[] = ['a1', 'gw-a', 'gw-b', 'b1'];
export const GATEWAYS: readonly Gateway[] = ['gw-a', 'gw-b'];

/** What differs between labs: the wires, and how much a gateway has to know. */
export interface Variant {
  name: string;
  title: string;
  /** Bytes. */
  lanMtu: number;
  underlayMtu: number;
  checksumOffload: boolean;
  /** Far hosts that each gateway knows; one of them is used. */
  addresses: number;
  /** gw-b has no proxied address for a1: b1 sees gw-b instead. */
  masquerade: boolean;
}

/** Addresses of a lab; hosts of both sides share 10.0.0.0/16 unless a contender cannot do that. */
export interface Addressing {
  a1: string;
  b1: string;
  gwA: string;
  gwB: string;
  prefixLength: number;
  /** How hosts reach the other side: as a neighbor, whose MAC is the gateway's, or through the gateway. */
  reach: 'neighbor' | 'router';
}

export const TWINS: Addressing = {
  a1: '10.0.0.10',
  b1: '10.0.0.20',
  gwA: '10.0.0.5',
  gwB: '10.0.0.5',
  prefixLength: 16,
  reach: 'neighbor',
};

export const DISTINCT: Addressing = {
  a1: '10.0.1.10',
  b1: '10.0.2.20',
  gwA: '10.0.1.5',
  gwB: '10.0.2.5',
  prefixLength: 24,
  reach: 'router',
};

export const UNDERLAY = { 'gw-a': '198.18.0.1', 'gw-b': '198.18.0.2' } as const;

/** What an interface has carried, from its own point of view. */
export interface LinkCounters {
  rxBytes: number;
  rxPackets: number;
  txBytes: number;
  txPackets: number;
}

const MACS = {
  a1: { eth0: '02:00:00:01:00:10' },
  b1: { eth0: '02:00:00:02:00:10' },
  'gw-a': { eth1: '02:00:00:01:00:01', eth2: '02:00:00:00:00:01' },
  'gw-b': { eth1: '02:00:00:02:00:01', eth2: '02:00:00:00:00:02' },
} as const;

/** veth passes super-frames whole unless every kind of segmentation offload is off. */
const HONEST = [
  'tso',
  'gso',
  'tx-udp-segmentation',
  'tx-udp_tnl-segmentation',
  'tx-udp_tnl-csum-segmentation',
];

export class BenchLab {
  readonly variant: Variant;
  readonly addressing: Addressing;
  readonly id: string;
  /** For configurations and sockets; removed at close. */
  readonly directory: string;
  private readonly anchors = new Map<Node, LabProcess>();
  private readonly processes = new Set<LabProcess>();
  private readonly closers: (() => void)[] = [];
  private closed = false;

  private constructor(variant: Variant, addressing: Addressing) {
    this.variant = variant;
    this.addressing = addressing;
    this.id = claimLabId();
    this.directory = labDirectory(this.id);
  }

  /** Builds the lab, or throws and leaves nothing behind. Needs root. */
  static async create(variant: Variant, addressing: Addressing): Promise<BenchLab> {
    removeStaleLabs();
    const lab = new BenchLab(variant, addressing);
    try {
      mkdirSync(lab.directory, { recursive: true, mode: 0o700 });
      await lab.build();
    } catch (error) {
      await lab.close();
      throw error;
    }
    return lab;
  }

  ns(node: Node): string {
    return `${this.id}-${node}`;
  }

  exec(node: Node, argv: readonly string[], options?: ExecOptions): Promise<ExecResult> {
    return exec(this.ns(node), argv, options);
  }

  must(node: Node, argv: readonly string[], options?: ExecOptions): Promise<string> {
    return must(this.ns(node), argv, options);
  }

  /** `ip -batch` in a node. */
  async ip(node: Node, commands: readonly string[]): Promise<void> {
    await this.must(node, ['ip', '-batch', '-'], { input: `${commands.join('\n')}\n` });
  }

  async sysctl(node: Node, ...settings: string[]): Promise<void> {
    await this.must(node, ['sysctl', '-qw', ...settings]);
  }

  /** Starts a program in a node; it is killed when the lab closes. */
  spawn(node: Node, argv: readonly string[]): LabProcess {
    const process = new LabProcess(this.ns(node), argv);
    this.processes.add(process);
    process.exited.then(() => this.processes.delete(process));
    return process;
  }

  waitFor<T>(condition: () => T | Promise<T>, what: string, timeoutMs = 10_000): Promise<T> {
    return waitFor(condition, { what, timeoutMs });
  }

  /** For what lies outside the lab's namespaces and directory. Called once, after its processes have ended. */
  onClose(clean: () => void): void {
    this.closers.push(clean);
  }

  address(node: Node): string {
    const { a1, b1, gwA, gwB } = this.addressing;
    return { a1, b1, 'gw-a': gwA, 'gw-b': gwB }[node];
  }

  mac(node: Node, device: string): string {
    const macs: Readonly<Record<string, string>> = MACS[node];
    return macs[device] ?? '';
  }

  /** The local host, the far host, and the far gateway of a gateway. */
  sides(gateway: Gateway): { host: Node; farHost: Node; farGateway: Gateway } {
    return gateway === 'gw-a'
      ? { host: 'a1', farHost: 'b1', farGateway: 'gw-b' }
      : { host: 'b1', farHost: 'a1', farGateway: 'gw-a' };
  }

  /** Counters of one interface, read without starting a program: nothing disturbs what is measured. */
  counters(node: Node, device: string): LinkCounters {
    const anchor = this.anchors.get(node);
    const text = anchor ? readFileSync(`/proc/${anchor.pid}/net/dev`, 'utf8') : '';
    return parseNetDev(text, device);
  }

  /** Whether something in a node listens on a TCP port. */
  listens(node: Node, port: number): boolean {
    const anchor = this.anchors.get(node);
    if (anchor === undefined) return false;
    const hex = port.toString(16).toUpperCase().padStart(4, '0');
    const row = new RegExp(`^\\s*\\d+: [0-9A-F]+:${hex} [0-9A-F]+:0000 0A `, 'm');
    return ['tcp', 'tcp6'].some((table) => {
      try {
        return row.test(readFileSync(`/proc/${anchor.pid}/net/${table}`, 'utf8'));
      } catch {
        return false;
      }
    });
  }

  /** Kills what it started, by pid, and removes every namespace and file. Idempotent, never throws. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    const ending = [...this.processes];
    for (const process of ending) process.kill('SIGKILL');
    await Promise.all(ending.map(({ exited }) => exited));
    removeLab(this.id);
    for (const clean of this.closers) clean();
  }

  private async build(): Promise<void> {
    const { lanMtu, underlayMtu } = this.variant;
    await must(undefined, ['ip', '-batch', '-'], {
      input: [
        ...NODES.map((node) => `netns add ${this.ns(node)}`),
        this.wire('a1', 'eth0', 'gw-a', 'eth1', lanMtu),
        this.wire('b1', 'eth0', 'gw-b', 'eth1', lanMtu),
        this.wire('gw-a', 'eth2', 'gw-b', 'eth2', underlayMtu),
        '',
      ].join('\n'),
    });
    for (const node of NODES) {
      await this.sysctl(
        node,
        'net.ipv6.conf.all.disable_ipv6=1',
        'net.ipv6.conf.default.disable_ipv6=1',
        'net.ipv4.conf.all.rp_filter=0',
        'net.ipv4.conf.default.rp_filter=0',
      );
      await this.configure(node);
      this.anchors.set(node, this.spawn(node, ['sleep', 'infinity']));
    }
    // "ip netns exec" enters the namespace before it becomes the program.
    const entered = ({ pid }: LabProcess) => readFileSync(`/proc/${pid}/comm`, 'utf8') === 'sleep\n';
    await this.waitFor(() => [...this.anchors.values()].every(entered), 'the anchors of the namespaces');
  }

  private async configure(node: Node): Promise<void> {
    const { prefixLength, reach } = this.addressing;
    const isHost = node === 'a1' || node === 'b1';
    const lan = isHost ? 'eth0' : 'eth1';
    const off = this.variant.checksumOffload ? [] : ['tx', 'off'];
    if (off.length > 0) await this.must(node, ['ethtool', '-K', lan, ...off]);
    const commands = [
      'link set lo up',
      `link set ${lan} up`,
      `addr add ${this.address(node)}/${prefixLength} dev ${lan}`,
    ];
    if (isHost) {
      const gateway = node === 'a1' ? 'gw-a' : 'gw-b';
      const far = this.address(node === 'a1' ? 'b1' : 'a1');
      // A VPC answers ARP for an address with the MAC of the NIC it is registered with: the gateway's.
      const mac = this.mac(gateway, 'eth1');
      commands.push(
        reach === 'neighbor'
          ? `neigh replace ${far} lladdr ${mac} nud permanent dev eth0`
          : `route add default via ${this.address(gateway)}`,
      );
    } else {
      const honest = HONEST.flatMap((feature) => [feature, 'off']);
      await this.must(node, ['ethtool', '-K', 'eth2', ...honest, 'gro', 'on', ...off]);
      commands.push('link set eth2 up', `addr add ${UNDERLAY[node]}/24 dev eth2`);
    }
    await this.ip(node, commands);
  }

  private wire(node: Node, device: string, far: Node, farDevice: string, mtu: number): string {
    const end = (at: Node, name: string) =>
      `name ${name} netns ${this.ns(at)} mtu ${mtu} address ${this.mac(at, name)}`;
    return `link add ${end(node, device)} type veth peer ${end(far, farDevice)}`;
  }
}

/** One line of /proc/net/dev; zeros when the device is not there. */
export function parseNetDev(text: string, device: string): LinkCounters {
  for (const line of text.split('\n')) {
    const [name, rest] = line.split(':');
    if (name?.trim() !== device || rest === undefined) continue;
    // Columns: bytes packets errs drop fifo frame compressed multicast | bytes packets ...
    const values = rest.trim().split(/\s+/).map(Number);
    return {
      rxBytes: values[0] ?? 0,
      rxPackets: values[1] ?? 0,
      txBytes: values[8] ?? 0,
      txPackets: values[9] ?? 0,
    };
  }
  return { rxBytes: 0, rxPackets: 0, txBytes: 0, txPackets: 0 };
}
