/**
 * The program that the lab's hosts run: small servers and clients on the kernel's own TCP and UDP. It says
 * what happened as one JSON object per line on standard output.
 *
 *   peer.js tcp-server ADDRESS PORT        digests every connection, answers {bytes, sha256} at its end
 *   peer.js tcp-client ADDRESS PORT BYTES  sends BYTES, or, if that is "-", a paced stream until stdin ends
 *   peer.js udp-server ADDRESS PORT        echoes
 *   peer.js udp-client ADDRESS PORT SIZES [-]  sends one datagram of each size ("0,1,1400-1436") and awaits its
 *                                          echo; with "-" paced and over and over until stdin ends
 */
import { createHash, randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createConnection, createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { parseSizes, type TcpReport, type UdpReport } from './traffic-report.js';

const CHUNK = 64 * 1024;
/** Between chunks of a paced stream: about 30 MB/s, so that a test can watch it run. */
const PACE_MS = 2;
/** Bytes between two progress lines. */
const PROGRESS = 256 * 1024;
const UDP_WINDOW = 16;
/** An echo that is this late is lost. */
const UDP_PATIENCE_MS = 3000;

function say(event: string, fields: object = {}): void {
  process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`);
}

function tcpServer(address: string, port: number): void {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const hash = createHash('sha256');
    let bytes = 0;
    let announced = 0;
    socket.on('data', (chunk) => {
      hash.update(chunk);
      bytes += chunk.length;
      if (bytes < announced + PROGRESS) return;
      announced = bytes;
      say('progress', { bytes });
    });
    socket.on('end', () => socket.end(JSON.stringify({ bytes, sha256: hash.digest('hex') })));
    socket.on('error', (error) => say('error', { message: error.message }));
  });
  server.listen(port, address, () => say('listening'));
}

async function tcpClient(address: string, port: number, bytes: string): Promise<void> {
  const socket = createConnection({ host: address, port, allowHalfOpen: true });
  let answer = '';
  socket.setEncoding('utf8').on('data', (text: string) => {
    answer += text;
  });
  await once(socket, 'connect');
  say('connected');
  const answered = once(socket, 'end');
  const paced = bytes === '-';
  const total = paced ? Number.POSITIVE_INFINITY : Number(bytes);
  const stopped = paced ? inputEnded() : () => false;
  const hash = createHash('sha256');
  const pattern = randomBytes(CHUNK);
  const started = process.hrtime.bigint();
  let sent = 0;
  while (sent < total && !stopped()) {
    const chunk = Buffer.from(pattern.subarray(0, Math.min(CHUNK, total - sent)));
    // Every chunk differs, so that one that is lost, repeated or out of order changes the digest.
    if (chunk.length >= 8) chunk.writeDoubleBE(sent);
    hash.update(chunk);
    sent += chunk.length;
    if (!socket.write(chunk)) await once(socket, 'drain');
    if (paced) await delay(PACE_MS);
  }
  socket.end();
  await answered;
  const seconds = Number(process.hrtime.bigint() - started) / 1e9;
  const report: TcpReport = {
    bytes: sent,
    sha256: hash.digest('hex'),
    seconds,
    received: JSON.parse(answer),
  };
  say('done', report);
  socket.destroy();
  process.stdin.destroy();
}

function udpServer(address: string, port: number): void {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  socket.on('message', (message, { address: to, port: back }) => socket.send(message, back, to));
  socket.bind(port, address, () => say('listening'));
}

/** A datagram's size is its identity. */
function datagram(size: number): Buffer {
  return Buffer.from(Uint8Array.from({ length: size }, (_, index) => (size * 31 + index * 7) & 0xff));
}

async function udpClient(
  address: string,
  port: number,
  sizes: readonly number[],
  paced: boolean,
): Promise<void> {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  const waiting = new Set<number>();
  const echoed = new Set<number>();
  const report: UdpReport = { sent: 0, received: 0, lost: [], corrupt: [], duplicated: [] };
  let wake = () => {};
  socket.on('message', (message) => {
    const size = message.length;
    if (!message.equals(datagram(size))) report.corrupt.push(size);
    else if (waiting.delete(size)) {
      echoed.add(size);
      report.received += 1;
    } else if (echoed.has(size)) report.duplicated.push(size);
    else report.corrupt.push(size); // never sent in this size
    wake();
  });
  /** Until an echo comes; false: none came in time. */
  const echo = () =>
    new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => resolve(false), UDP_PATIENCE_MS);
      wake = () => {
        clearTimeout(timer);
        resolve(true);
      };
    });
  const drain = async (limit: number) => {
    while (waiting.size > limit) {
      if (await echo()) continue;
      report.lost.push(...waiting);
      waiting.clear();
    }
  };
  // An ICMP error about one datagram must not end the others; it shows as a loss.
  socket.on('error', () => undefined);
  socket.connect(port, address);
  await once(socket, 'connect');
  const stopped = paced ? inputEnded() : () => true;
  do {
    for (const size of sizes) {
      waiting.add(size);
      const error = await new Promise<Error | null>((resolve) => socket.send(datagram(size), resolve));
      if (error) {
        waiting.delete(size);
        report.lost.push(size);
      }
      report.sent += 1;
      await drain(UDP_WINDOW - 1);
      if (paced) await delay(PACE_MS);
    }
    await drain(0);
    if (paced) say('progress', { sent: report.sent, received: report.received });
  } while (!stopped());
  socket.close();
  say('done', report);
  process.stdin.destroy();
}

/** Reads standard input to its end; the function handed back says whether that has come. */
function inputEnded(): () => boolean {
  let ended = false;
  process.stdin.resume().once('end', () => {
    ended = true;
  });
  return () => ended;
}

const [mode, address = '', port = '0', argument = '', repeat] = process.argv.slice(2);
try {
  if (mode === 'tcp-server') tcpServer(address, Number(port));
  else if (mode === 'tcp-client') await tcpClient(address, Number(port), argument);
  else if (mode === 'udp-server') udpServer(address, Number(port));
  else if (mode === 'udp-client')
    await udpClient(address, Number(port), parseSizes(argument), repeat === '-');
  else throw new Error(`unknown mode ${mode}`);
} catch (error) {
  say('failed', { message: error instanceof Error ? error.message : String(error) });
  process.exit(1);
}
