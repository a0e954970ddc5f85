/** Frames sent and watched on the interfaces of a namespace, by exchange.py. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { inNamespace } from '../../../src/lab/command.js';
import { type Bytes, virtioHeader } from '../frames.js';

const PROGRAM = fileURLToPath(new URL('../original/exchange.py', import.meta.url));
const NO_OFFLOAD = virtioHeader({});

export interface Arrived {
  readonly on: string;
  /** A VLAN tag that the kernel took out stands in it again. */
  readonly frame: Uint8Array<ArrayBuffer>;
  /** struct virtio_net_hdr. */
  readonly virtio: Uint8Array<ArrayBuffer>;
  readonly tagged: boolean;
}

interface Line {
  event?: string;
  on?: string;
  frame?: string;
  virtio?: string;
  tagged?: boolean;
  refused?: number;
}

const fromHex = (hex = ''): Uint8Array<ArrayBuffer> => Uint8Array.from(Buffer.from(hex, 'hex'));

export class Exchange {
  readonly #process: ChildProcessWithoutNullStreams;
  readonly #refused = new Set<number>();
  #arrived: Arrived[] = [];
  #listening = false;
  #sent = 0;
  #changed = (): void => undefined;
  #errors = '';

  private constructor(namespace: string, interfaces: readonly string[]) {
    const [program = '', ...args] = inNamespace(namespace, ['python3', PROGRAM, ...interfaces]);
    this.#process = spawn(program, args);
    this.#process.stdin.on('error', () => undefined);
    this.#process.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#errors += text;
    });
    createInterface({ input: this.#process.stdout }).on('line', (line) =>
      this.#heard(JSON.parse(line) as Line),
    );
  }

  static async start(namespace: string, interfaces: readonly string[]): Promise<Exchange> {
    const exchange = new Exchange(namespace, interfaces);
    if (!(await exchange.#until(() => exchange.#listening, 30_000))) {
      throw new Error(`exchange.py does not listen: ${exchange.#errors}`);
    }
    return exchange;
  }

  /** Returns a number that tells this frame apart: see refused(). */
  send(interfaceName: string, frame: Bytes, virtio: Bytes = NO_OFFLOAD): number {
    this.#sent += 1;
    const text = `${Buffer.from(virtio).toString('hex')}${Buffer.from(frame).toString('hex')}`;
    this.#process.stdin.write(`${this.#sent} ${interfaceName} ${text}\n`);
    return this.#sent;
  }

  /** Whether the kernel would not send it. */
  refused(sent: number): boolean {
    return this.#refused.has(sent);
  }

  /** Waits until `enough` holds for what has arrived since the last take(). */
  until(enough: (arrived: readonly Arrived[]) => boolean, milliseconds: number): Promise<boolean> {
    return this.#until(() => enough(this.#arrived), milliseconds);
  }

  take(): Arrived[] {
    const taken = this.#arrived;
    this.#arrived = [];
    return taken;
  }

  async stop(): Promise<void> {
    const ended = new Promise((resolve) => this.#process.once('close', resolve));
    this.#process.stdin.end();
    await ended;
  }

  #heard({ event, on, frame, virtio, tagged, refused }: Line): void {
    if (event === 'listening') this.#listening = true;
    if (refused !== undefined) this.#refused.add(refused);
    if (on !== undefined) {
      this.#arrived.push({ on, frame: fromHex(frame), virtio: fromHex(virtio), tagged: tagged === true });
    }
    this.#changed();
  }

  #until(condition: () => boolean, milliseconds: number): Promise<boolean> {
    if (condition()) return Promise.resolve(true);
    return new Promise((resolve) => {
      const finish = (result: boolean) => {
        clearTimeout(timer);
        this.#changed = () => undefined;
        resolve(result);
      };
      const timer = setTimeout(() => finish(false), milliseconds);
      this.#changed = () => condition() && finish(true);
    });
  }
}
