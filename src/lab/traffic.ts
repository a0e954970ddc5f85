/** Traffic between the lab's hosts, on the kernel's own stacks, with exact results. */
import { readFileSync } from 'node:fs';
import { VpcConnError } from '../errors.js';
import type { LabProcess } from './command.js';
import { compiled } from './gateway-process.js';
import type { Lab } from './lab.js';
import { formatSizes, type TcpReport, type UdpReport } from './traffic-report.js';

export type { TcpReport, UdpReport } from './traffic-report.js';

export interface PingResult {
  sent: number;
  received: number;
  duplicates: number;
  /** ICMP errors that came instead. */
  errors: number;
  /** Average round trip, milliseconds; null: nothing came back. */
  averageMs: number | null;
}

export interface PingOptions {
  count?: number;
  /** Seconds between requests. Default 0.05. */
  interval?: number;
  /** ICMP payload, bytes; 28 more make the IP packet. */
  size?: number;
  /** DF set, nothing fragmented here. */
  dontFragment?: boolean;
  /** Seconds to wait for the last answers. Default 2. */
  wait?: number;
}

/** From where to where. `address` is what the client connects to, IPv6 too; default: the server's own. */
export interface Route {
  from: string;
  to: string;
  address?: string;
}

export async function ping(
  lab: Lab,
  from: string,
  address: string,
  options: PingOptions = {},
): Promise<PingResult> {
  const { count = 5, interval = 0.05, wait = 2 } = options;
  const argv = ['ping', '-n', '-q', '-c', `${count}`, '-i', `${interval}`, '-W', `${wait}`];
  if (options.size !== undefined) argv.push('-s', `${options.size}`);
  if (options.dontFragment) argv.push('-M', 'do');
  const { stdout, stderr } = await lab.exec(from, [...argv, address], {
    timeoutMs: (count * interval + wait + 10) * 1000,
  });
  const result = parsePing(stdout);
  if (result === undefined) throw new VpcConnError('lab-ping', `ping from ${from} said: ${stdout}${stderr}`);
  return result;
}

/** Reads ping's summary; undefined: there is none. */
export function parsePing(output: string): PingResult | undefined {
  const summary = /(\d+) packets transmitted, (\d+) received(.*)/.exec(output);
  if (summary === null) return undefined;
  const [, sent, received, rest = ''] = summary;
  const average = /= [\d.]+\/([\d.]+)\//.exec(output)?.[1];
  return {
    sent: Number(sent),
    received: Number(received),
    duplicates: Number(/\+(\d+) duplicates/.exec(rest)?.[1] ?? 0),
    errors: Number(/\+(\d+) errors/.exec(rest)?.[1] ?? 0),
    averageMs: average === undefined ? null : Number(average),
  };
}

/** Sends `bytes` over one TCP connection; the caller compares the digests of both ends. */
export async function tcpTransfer(
  lab: Lab,
  route: Route & { bytes: number; timeoutMs?: number },
): Promise<TcpReport> {
  const server = await startServer(lab, 'tcp-server', route);
  try {
    const address = route.address ?? lab.address(route.to);
    const client = runPeer(lab, route.from, 'tcp-client', address, `${server.port}`, `${route.bytes}`);
    return await report<TcpReport>(client, route.timeoutMs ?? 180_000);
  } finally {
    await endServer(server);
  }
}

/** A TCP connection that keeps sending until it is told to finish. */
export interface RunningTransfer {
  /** Bytes that have arrived so far. */
  arrived(): number;
  /** Waits until `bytes` more have arrived than now. */
  moves(bytes: number, timeoutMs?: number): Promise<void>;
  /** Ends the stream and hands back what both ends saw. */
  finish(timeoutMs?: number): Promise<TcpReport>;
}

export async function startTransfer(lab: Lab, route: Route): Promise<RunningTransfer> {
  const server = await startServer(lab, 'tcp-server', route);
  const address = route.address ?? lab.address(route.to);
  const client = runPeer(lab, route.from, 'tcp-client', address, `${server.port}`, '-');
  await client.until(() => events(client).some(({ event }) => event === 'connected'), 'connecting');
  const arrived = () =>
    Number(events(server.process).findLast(({ event }) => event === 'progress')?.bytes ?? 0);
  return {
    arrived,
    async moves(bytes, timeoutMs = 120_000) {
      const goal = arrived() + bytes;
      await server.process.until(() => arrived() >= goal, `${bytes} more bytes arriving`, timeoutMs);
    },
    async finish(timeoutMs = 180_000) {
      client.closeInput();
      const result = await report<TcpReport>(client, timeoutMs);
      await endServer(server);
      return result;
    },
  };
}

/** One datagram of each size there and back. `sizes` are UDP payload bytes. */
export async function udpEcho(lab: Lab, route: Route & { sizes: readonly number[] }): Promise<UdpReport> {
  const server = await startServer(lab, 'udp-server', route);
  try {
    const address = route.address ?? lab.address(route.to);
    const sizes = formatSizes(route.sizes);
    const client = runPeer(lab, route.from, 'udp-client', address, `${server.port}`, sizes);
    return await report<UdpReport>(client, 180_000);
  } finally {
    await endServer(server);
  }
}

/** UDP echo over and over, paced, until the lab closes. */
export interface RunningEcho {
  progress(): { sent: number; received: number; bytes: number };
  /** Ends after the round that is running. */
  finish(timeoutMs?: number): Promise<UdpReport>;
}

export async function startUdpEcho(
  lab: Lab,
  route: Route & { sizes: readonly number[] },
): Promise<RunningEcho> {
  const server = await startServer(lab, 'udp-server', route);
  const address = route.address ?? lab.address(route.to);
  const client = runPeer(
    lab,
    route.from,
    'udp-client',
    address,
    `${server.port}`,
    formatSizes(route.sizes),
    '-',
  );
  const bytesPerRound = route.sizes.reduce((sum, size) => sum + size, 0);
  return {
    progress() {
      const seen = last(client, 'progress');
      const received = Number(seen?.received ?? 0);
      return {
        sent: Number(seen?.sent ?? 0),
        received,
        bytes: (received / route.sizes.length) * bytesPerRound,
      };
    },
    async finish(timeoutMs = 60_000) {
      client.closeInput();
      const result = await report<UdpReport>(client, timeoutMs);
      await endServer(server);
      return result;
    },
  };
}

/** ping over and over until the lab closes. */
export interface RunningPing {
  progress(): { received: number; lastMs: number | null };
}

export function startPing(lab: Lab, from: string, address: string, intervalSeconds = 0.2): RunningPing {
  const process = lab.spawn(from, ['ping', '-n', '-i', `${intervalSeconds}`, address]);
  return {
    progress() {
      const times = process.stdout.match(/ time=[\d.]+ ms/g) ?? [];
      const latest = times.at(-1)?.match(/[\d.]+/)?.[0];
      return { received: times.length, lastMs: latest === undefined ? null : Number(latest) };
    },
  };
}

/** The parts of iperf3's JSON that tests and benchmarks read. */
export interface IperfResult {
  start: Record<string, unknown>;
  end: {
    sum_sent?: { bits_per_second: number; bytes: number; retransmits?: number };
    sum_received?: { bits_per_second: number; bytes: number };
    sum?: { bits_per_second: number; packets: number; lost_packets: number; lost_percent: number };
  };
}

/** Runs iperf3 for `seconds`; `args` go to its client (-P 4, -R, -u -b 0 -l 64). */
export async function iperf(
  lab: Lab,
  route: Route & { seconds: number; args?: readonly string[] },
): Promise<IperfResult> {
  const port = nextPort();
  const server = lab.spawn(route.to, ['iperf3', '-s', '-1', '-p', `${port}`, '-B', lab.address(route.to)]);
  await lab.waitFor(() => listens(server.pid, port), { what: 'iperf3 to listen' });
  const address = route.address ?? lab.address(route.to);
  const argv = [
    'iperf3',
    '-J',
    '-c',
    address,
    '-p',
    `${port}`,
    '-t',
    `${route.seconds}`,
    ...(route.args ?? []),
  ];
  try {
    const { stdout } = await lab.exec(route.from, argv, { timeoutMs: (route.seconds + 20) * 1000 });
    const result = JSON.parse(stdout) as IperfResult & { error?: string };
    if (result.error) throw new VpcConnError('lab-iperf', `iperf3 from ${route.from} said: ${result.error}`);
    return result;
  } finally {
    server.kill();
    await server.exited;
  }
}

interface Server {
  process: LabProcess;
  port: number;
}

let ports = 20_000;

/** Below the kernel's own range, and never twice in a process. */
function nextPort(): number {
  ports = ports >= 29_999 ? 20_000 : ports + 1;
  return ports;
}

async function startServer(lab: Lab, mode: string, { to, address }: Route): Promise<Server> {
  const port = nextPort();
  const process = runPeer(lab, to, mode, address?.includes(':') ? '::' : lab.address(to), `${port}`);
  await process.until(() => events(process).some(({ event }) => event === 'listening'), 'listening');
  return { process, port };
}

async function endServer({ process }: Server): Promise<void> {
  process.kill();
  await process.exited;
}

function runPeer(lab: Lab, node: string, ...args: string[]): LabProcess {
  return lab.spawn(node, [process.execPath, compiled('lab/peer.js'), ...args]);
}

async function report<T>(client: LabProcess, timeoutMs: number): Promise<T> {
  try {
    await client.until(() => last(client, 'done') !== undefined, 'finishing', timeoutMs);
    const { event: _, ...result } = last(client, 'done') ?? { event: '' };
    return result as T;
  } finally {
    client.kill();
    await client.exited;
  }
}

type PeerEvent = { event: string; [field: string]: unknown };

function events(process: LabProcess): PeerEvent[] {
  const lines = process.stdout.split('\n').slice(0, -1);
  return lines.map((line) => JSON.parse(line) as PeerEvent);
}

function last(process: LabProcess, event: string): PeerEvent | undefined {
  return events(process).findLast((line) => line.event === event);
}

/** Whether something in the process's network namespace listens on a TCP port. */
function listens(pid: number, port: number): boolean {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  // Columns: slot, local address:port, far address:port, state; 0A is LISTEN.
  const row = new RegExp(`^\\s*\\d+: [0-9A-F]+:${hex} [0-9A-F]+:0000 0A `, 'm');
  return ['tcp', 'tcp6'].some((table) => {
    try {
      return row.test(readFileSync(`/proc/${pid}/net/${table}`, 'utf8'));
    } catch {
      return false;
    }
  });
}
