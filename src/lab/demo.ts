/**
 * `vpc-conn demo`: two VPCs with the same CIDR, each behind a mapping service that drops whatever is not
 * registered, two gateways, and hosts of both VPCs that talk in both directions.
 */
import { type ControlClient, connect } from '../control/client.js';
import type { StatsResult } from '../control/protocol.js';
import { VpcConnError } from '../errors.js';
import {
  DRAWING,
  type FlowView,
  type GatewayView,
  INTRODUCTION,
  paint,
  renderLive,
  soFar,
} from './demo-view.js';
import type { GatewayProcess } from './gateway-process.js';
import { createLab, type Lab, whyNoLab } from './lab.js';
import type { LabSpec } from './spec.js';
import { ping, startPing, startTransfer, startUdpEcho, tcpTransfer, udpEcho } from './traffic.js';

export interface DemoOptions {
  /** Every step once, no terminal needed; otherwise the traffic goes on until Ctrl-C. */
  once: boolean;
}

const hosts = { a1: '10.0.0.10', a2: '10.0.0.11', b1: '10.0.0.20', b2: '10.0.0.21' } as const;
const sides = {
  a: { own: ['a1', 'a2'], far: ['b1', 'b2'], underlay: '198.18.0.1', peer: 'b', peerUnderlay: '198.18.0.2' },
  b: { own: ['b1', 'b2'], far: ['a1', 'a2'], underlay: '198.18.0.2', peer: 'a', peerUnderlay: '198.18.0.1' },
} as const;

const MEGABYTE = 1_000_000;
const REFRESH_MS = 1000;

/** Resolves with the exit code: 0 only if every step worked. Needs root; cleans up whatever happens. */
export async function runDemo(options: DemoOptions): Promise<number> {
  const obstacle = await whyNoLab();
  if (obstacle) {
    process.stderr.write(`The demo cannot run here. ${obstacle}\n`);
    return 1;
  }
  const demo = new Demo(options);
  // The lab itself goes at a signal, too; this only ends the waiting.
  const stop = () => demo.stop();
  process.on('SIGINT', stop).on('SIGTERM', stop);
  try {
    return await demo.run();
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop);
  }
}

class Demo {
  private readonly once: boolean;
  private readonly terminal = process.stdout.isTTY === true;
  private readonly paint = paint(this.terminal);
  private readonly stopping = new AbortController();
  private steps = 0;
  private failed = 0;

  constructor({ once }: DemoOptions) {
    this.once = once;
  }

  stop(): void {
    this.stopping.abort();
  }

  async run(): Promise<number> {
    this.print(DRAWING);
    this.print(`${INTRODUCTION}\n`);
    let lab: Lab | undefined;
    try {
      lab = await createLab(demoSpec());
      await this.prove(lab);
    } catch (error) {
      if (!this.stopping.signal.aborted) this.complain(error);
    }
    await lab?.close();
    if (this.stopping.signal.aborted) this.print('Stopped; the lab is removed.');
    else if (this.failed === 0)
      this.print(this.paint.good(`All ${this.steps} steps worked; the lab is removed.`));
    else this.print(this.paint.bad(`${this.failed} of ${this.steps} steps failed; the lab is removed.`));
    return this.failed === 0 && (!this.once || !this.stopping.signal.aborted) ? 0 : 1;
  }

  private async prove(lab: Lab): Promise<void> {
    await this.step('Without gateways nothing gets through', `a1$ ping ${hosts.b1}`, async () => {
      const { sent, received } = await ping(lab, 'a1', hosts.b1, { count: 2, wait: 1 });
      expect(received === 0, 'somebody answered');
      return `0 of ${sent} answered, as it must be`;
    });
    const gateways: GatewayProcess[] = [];
    const started = await this.step(
      'One gateway in each VPC',
      'gw-a# vpc-conn run -c gw-a.yaml      gw-b# vpc-conn run -c gw-b.yaml',
      async () => {
        const start = (vpc: 'a' | 'b') => lab.startGateway(vpc, { config: gatewayConfig(vpc) });
        gateways.push(...(await Promise.all([start('a'), start('b')])));
        return 'both ready';
      },
    );
    if (!started) return;
    await this.pings(lab);
    await this.transfers(lab);
    await this.datagrams(lab);
    await this.together(lab, gateways);
    await this.step('What the VPCs have dropped meanwhile', 'vpc-a# nft list counters', async () => {
      const drops = await Promise.all([lab.mappingDrops('a'), lab.mappingDrops('b')]);
      const spoofed = drops.reduce((sum, drop) => sum + drop.spoofed, 0);
      expect(spoofed === 0, `${spoofed} frames with addresses that are not their sender's`);
      return 'no frame of a gateway carried an address that is not its own';
    });
  }

  private async pings(lab: Lab): Promise<void> {
    for (const [from, to] of [
      ['a1', 'b1'],
      ['b2', 'a2'],
    ] as const) {
      await this.step(`ping, ${from} to ${to}`, `${from}$ ping ${hosts[to]}`, async () => {
        const { sent, received, duplicates, averageMs } = await ping(lab, from, hosts[to], { count: 5 });
        expect(received === sent && duplicates === 0, `${received} of ${sent} answered, ${duplicates} twice`);
        return `${received} of ${sent} answered, ${averageMs} ms on average`;
      });
    }
  }

  private async transfers(lab: Lab): Promise<void> {
    for (const [from, to] of [
      ['a1', 'b1'],
      ['b1', 'a1'],
    ] as const) {
      await this.step(`TCP, ${from} to ${to}`, `${from}$ send 64 MB to ${hosts[to]}`, async () => {
        const { bytes, sha256, received } = await tcpTransfer(lab, {
          from,
          to,
          bytes: 64 * MEGABYTE,
        });
        expect(received.bytes === bytes && received.sha256 === sha256, 'what arrived is not what was sent');
        return `${soFar(received.bytes)} arrived, SHA-256 equal at both ends (${sha256.slice(0, 12)}...)`;
      });
    }
  }

  private async datagrams(lab: Lab): Promise<void> {
    for (const [from, to] of [
      ['a2', 'b2'],
      ['b2', 'a1'],
    ] as const) {
      await this.step(`UDP, ${from} to ${to} and back`, `${from}$ echo with ${hosts[to]}`, async () => {
        const sizes = [...Array.from({ length: 30 }, (_, index) => index * 48), 1435, 1436];
        const result = await udpEcho(lab, { from, to, sizes });
        const whole = result.corrupt.length === 0 && result.duplicated.length === 0;
        expect(result.received === result.sent && whole, `lost sizes: ${result.lost.join(' ') || 'none'}`);
        return `${result.received} of ${result.sent} datagrams of 0 to 1436 bytes came back whole`;
      });
    }
  }

  /** All hosts at once, with the live table: for some megabytes, or until Ctrl-C. */
  private async together(lab: Lab, gateways: readonly GatewayProcess[]): Promise<void> {
    const until = this.once ? '' : ' (Ctrl-C ends it)';
    await this.step(`Four hosts at once, both directions${until}`, 'status of both gateways', async () => {
      const flows = await startFlows(lab);
      const clients = await Promise.all(gateways.map(({ socket }) => connect({ socket })));
      try {
        const live = new LiveTable(flows, clients, this.terminal);
        do {
          await live.show();
          await this.pause(REFRESH_MS);
        } while (!this.stopping.signal.aborted && !(this.once && flows.enough()));
        if (this.stopping.signal.aborted) return 'stopped';
        await live.show();
        return await flows.finish();
      } finally {
        for (const client of clients) client.close();
      }
    });
  }

  /** Runs one step and says what it does, how, and what came out; false: it failed. */
  private async step(title: string, command: string, action: () => Promise<string>): Promise<boolean> {
    if (this.stopping.signal.aborted) return false;
    this.steps += 1;
    this.print(this.paint.bold(`${String(this.steps).padStart(2)}  ${title}`));
    this.print(this.paint.dim(`    ${command}`));
    try {
      this.print(`    ${this.paint.good('ok')}  ${await action()}`);
      return true;
    } catch (error) {
      if (this.stopping.signal.aborted) return false;
      this.complain(error);
      return false;
    }
  }

  private complain(error: unknown): void {
    this.failed += 1;
    const message = error instanceof Error ? error.message : String(error);
    this.print(`    ${this.paint.bad('failed')}  ${message.replaceAll('\n', '\n            ')}`);
  }

  private print(text: string): void {
    process.stdout.write(`${text}\n`);
  }

  private pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.stopping.signal.addEventListener(
        'abort',
        () => {
          clearTimeout(timer);
          resolve();
        },
        { once: true },
      );
    });
  }
}

function demoSpec(): LabSpec {
  const vpc = (name: 'a' | 'b') => ({
    name,
    cidr: '10.0.0.0/24',
    hosts: sides[name].own.map((host) => ({ name: host, address: hosts[host] })),
    gateway: {
      address: '10.0.0.5',
      secondary: sides[name].far.map((host) => hosts[host]),
      underlayAddress: sides[name].underlay,
    },
  });
  return { vpcs: [vpc('a'), vpc('b')], underlay: { mtu: 1500, honest: true } };
}

function gatewayConfig(vpc: 'a' | 'b'): Record<string, unknown> {
  const { underlay, peer, peerUnderlay, far } = sides[vpc];
  return {
    name: `vpc-${vpc}`,
    overlay: { interface: 'eth1', address: '10.0.0.5' },
    underlay: { interface: 'eth2', address: underlay },
    peers: [{ name: `vpc-${peer}`, address: peerUnderlay, proxied: far.map((host) => hosts[host]) }],
  };
}

interface Flows {
  /** What each flow has carried so far. */
  look(): { what: string; from: string; to: string; bytes: number | null; total: string }[];
  /** Each has carried a good deal. */
  enough(): boolean;
  /** Ends them, checks what arrived, and says so in a sentence. */
  finish(): Promise<string>;
}

async function startFlows(lab: Lab): Promise<Flows> {
  const there = await startTransfer(lab, { from: 'a1', to: 'b1' });
  const back = await startTransfer(lab, { from: 'b2', to: 'a2' });
  const sizes = Array.from({ length: 40 }, (_, index) => (index + 1) * 35);
  const echo = await startUdpEcho(lab, { from: 'a2', to: 'b1', sizes });
  const echoes = startPing(lab, 'b2', hosts.a1);
  return {
    look() {
      const { sent, received, bytes } = echo.progress();
      const pinged = echoes.progress();
      const address = (name: keyof typeof hosts) => `${name} ${hosts[name]}`;
      const tcp = (from: keyof typeof hosts, to: keyof typeof hosts, moved: number) => ({
        what: 'TCP',
        from: address(from),
        to: address(to),
        bytes: moved,
        total: soFar(moved),
      });
      return [
        tcp('a1', 'b1', there.arrived()),
        tcp('b2', 'a2', back.arrived()),
        { what: 'UDP echo', from: address('a2'), to: address('b1'), bytes, total: `${received} of ${sent}` },
        {
          what: 'ping',
          from: address('b2'),
          to: address('a1'),
          bytes: null,
          total: `${pinged.received} answers, ${pinged.lastMs ?? '-'} ms`,
        },
      ];
    },
    enough() {
      const moved = Math.min(there.arrived(), back.arrived());
      return moved >= 20 * MEGABYTE && echo.progress().received >= 40 && echoes.progress().received >= 5;
    },
    async finish() {
      const [first, second, datagrams] = await Promise.all([there.finish(), back.finish(), echo.finish()]);
      for (const { bytes, sha256, received } of [first, second]) {
        expect(received.bytes === bytes && received.sha256 === sha256, 'what arrived is not what was sent');
      }
      const { sent, received, lost } = datagrams;
      expect(received === sent, `lost datagrams of ${lost.join(' ')} bytes`);
      return `${soFar(first.bytes + second.bytes)} by TCP with equal digests, ${received} of ${sent} datagrams`;
    },
  };
}

/** Redrawn in place on a terminal; printed again and again elsewhere. */
class LiveTable {
  private drawn = 0;
  private before: { time: number; bytes: (number | null)[]; stats: StatsResult[] } | undefined;

  constructor(
    private readonly flows: Flows,
    private readonly clients: readonly ControlClient[],
    private readonly terminal: boolean,
  ) {}

  async show(): Promise<void> {
    const time = performance.now();
    const looks = this.flows.look();
    const statuses = await Promise.all(this.clients.map((client) => client.status()));
    const stats = await Promise.all(this.clients.map((client) => client.stats()));
    const seconds = this.before ? (time - this.before.time) / 1000 : 0;
    const perSecond = (now: number, before: number | undefined) =>
      before === undefined || seconds <= 0 ? 0 : Math.max(0, (now - before) / seconds);
    const rows: FlowView[] = looks.map(({ bytes, ...flow }, index) => ({
      ...flow,
      bytesPerSecond: this.before && bytes !== null ? perSecond(bytes, this.before.bytes[index] ?? 0) : null,
    }));
    const gateways: GatewayView[] = statuses.map((status, index) => {
      const now = stats[index];
      const before = this.before?.stats[index];
      const frames = (direction: string) =>
        perSecond(sent(now, direction), before && sent(before, direction));
      return {
        name: status.name,
        state: status.state,
        peer: status.peers.map(({ name, state }) => `${name} ${state}`).join(' '),
        guard: status.guard.state,
        encapPerSecond: frames('encap'),
        decapPerSecond: frames('decap'),
        drops: now?.drops.reduce((sum, { count }) => sum + count, 0) ?? 0,
      };
    });
    this.before = { time, bytes: looks.map(({ bytes }) => bytes), stats };
    this.draw(renderLive(rows, gateways));
  }

  private draw(text: string): void {
    const up = this.terminal && this.drawn > 0 ? `\x1b[${this.drawn}A\x1b[J` : '';
    const lines = text.split('\n').map((line) => (line === '' ? '' : `    ${line}`));
    process.stdout.write(`${up}${lines.join('\n')}\n${this.terminal ? '' : '\n'}`);
    this.drawn = lines.length;
  }
}

/** Frames that the workers of a direction have sent. */
function sent(stats: StatsResult | undefined, direction: string): number {
  const workers = stats?.workers.filter(({ worker }) => worker.startsWith(`${direction}/`)) ?? [];
  return workers.reduce((sum, { values }) => sum + (values.tx_frames ?? 0), 0);
}

function expect(condition: boolean, message: string): void {
  if (!condition) throw new VpcConnError('demo-step', message);
}
