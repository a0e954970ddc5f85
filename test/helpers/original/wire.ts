/** Python programs beside this file, run inside a lab: the emulated original, and raw frames sent and watched. */
import { fileURLToPath } from 'node:url';
import type { Lab, LabProcess } from '../../../src/lab/index.js';

const ORIGINAL = fileURLToPath(new URL('original.py', import.meta.url));
const WIRE = fileURLToPath(new URL('wire.py', import.meta.url));

type Line = { event?: string; frame?: string; [field: string]: unknown };

function lines(process: LabProcess): Line[] {
  return process.stdout
    .split('\n')
    .slice(0, -1)
    .map((text) => JSON.parse(text) as Line);
}

async function listening(process: LabProcess): Promise<void> {
  await process.until(({ stdout }) => stdout.includes('listening'), 'listening');
}

/** The original tool's behaviour at a gateway, by its own flags. */
export class Original {
  readonly process: LabProcess;

  private constructor(process: LabProcess) {
    this.process = process;
  }

  static async start(lab: Lab, gateway: string, args: readonly string[]): Promise<Original> {
    const process = lab.spawn(gateway, ['python3', ORIGINAL, ...args]);
    await listening(process);
    return new Original(process);
  }

  /** What it asked for through the tunnel, one entry per frame that it carried. */
  get asked(): string[] {
    return lines(this.process).flatMap(({ event, address }) => (event === 'asked' ? [String(address)] : []));
  }

  /** What it took for answers: the MAC it read, and whether it was an ARP packet that it read it from. */
  get took(): { mac: string; isArp: boolean }[] {
    return lines(this.process).flatMap(({ event, mac, is_arp }) =>
      event === 'took' ? [{ mac: String(mac), isArp: is_arp === true }] : [],
    );
  }
}

export interface WatchedFrame {
  readonly bytes: Buffer;
  /** Its checksum is not complete, or it is a super-frame: another offload's work is still to be done. */
  readonly partial: boolean;
}

/** Everything that arrives at a device, from the node behind it. */
export class Watch {
  readonly #process: LabProcess;
  #asked = 0;

  private constructor(process: LabProcess) {
    this.#process = process;
  }

  /** `node` may be a VPC ("vpc-a") or "underlay"; their devices are named after who is at the other end. */
  static async start(lab: Lab, node: string, device: string): Promise<Watch> {
    const process = lab.spawn(node, ['python3', WIRE, 'watch', device]);
    await listening(process);
    return new Watch(process);
  }

  /** Everything that has arrived by now. */
  async frames(): Promise<WatchedFrame[]> {
    this.#asked += 1;
    this.#process.write('\n');
    const looked = (text: string) => text.split('{"event": "looked"}').length - 1;
    await this.#process.until(({ stdout }) => looked(stdout) >= this.#asked, 'what has arrived so far');
    return lines(this.#process).flatMap(({ frame, partial }) =>
      frame === undefined ? [] : [{ bytes: Buffer.from(frame, 'hex'), partial: partial === true }],
    );
  }

  async stop(): Promise<void> {
    this.#process.kill();
    await this.#process.exited;
  }
}

/** A TCP super-frame of segments of `segment` bytes, as a host with segmentation offload sends it. */
export interface SuperFrame {
  readonly segment: number;
  readonly bytes: Buffer;
}

/** Sends each frame `times` times out of a node's device: to whoever is at the other end of its wire. */
export async function sendFrames(
  lab: Lab,
  node: string,
  device: string,
  frames: readonly (Buffer | SuperFrame)[],
  times = 1,
): Promise<void> {
  const input = frames
    .map((frame) =>
      Buffer.isBuffer(frame) ? frame.toString('hex') : `gso ${frame.segment} ${frame.bytes.toString('hex')}`,
    )
    .join('\n');
  await lab.must(node, ['python3', WIRE, 'send', device, `${times}`], { input: `${input}\n` });
}

const ETHERTYPE_ARP = 0x0806;
const ETHERTYPE_IPV4 = 0x0800;
/** Ethernet, IPv4 without options, EtherIP. */
const OUTER_BYTES = 36;

/** The inner frames of EtherIP among the frames of an underlay. */
export function innerFrames(frames: readonly WatchedFrame[]): Buffer[] {
  return frames
    .map(({ bytes }) => bytes)
    .filter(
      (bytes) => bytes.length > OUTER_BYTES && bytes.readUInt16BE(12) === ETHERTYPE_IPV4 && bytes[23] === 97,
    )
    .map((bytes) => bytes.subarray(OUTER_BYTES, 14 + bytes.readUInt16BE(16)));
}

export function isArp(frame: Buffer): boolean {
  return frame.readUInt16BE(12) === ETHERTYPE_ARP;
}

export function isArpRequest(frame: Buffer): boolean {
  return isArp(frame) && frame.length >= 42 && frame.readUInt16BE(20) === 1;
}

export function isIpv4(frame: Buffer): boolean {
  return frame.readUInt16BE(12) === ETHERTYPE_IPV4;
}

export function destinationMac(frame: Buffer): string {
  return macText(frame.subarray(0, 6));
}

export function sourceMac(frame: Buffer): string {
  return macText(frame.subarray(6, 12));
}

function macText(bytes: Buffer): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}
