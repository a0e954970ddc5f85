/**
 * Offload features of the underlay interface that a rung of acceleration needs otherwise than they are: switched
 * for as long as the gateway runs, noted in a file before, set back afterwards. Several gateways may hold
 * features of one interface; the last one sets them back.
 */
import { dirname } from 'node:path';
import type { StatusResult } from '../control/protocol.js';
import type { Features, KernelOffloads } from '../dataplane/port.js';
import {
  isRunning,
  type OffloadNote,
  type Owner,
  offloadFileFor,
  readNotes,
  removeNote,
  thisProcess,
  writeNote,
} from './offload-files.js';
import type { Plan } from './plan.js';

export type OffloadChange = NonNullable<StatusResult['offloads']>[number];

export interface OffloadsOptions {
  readonly kernel: Pick<KernelOffloads, 'readFeatures' | 'setFeatures'>;
  readonly interface: { readonly name: string; readonly ifindex: number };
  /** This gateway's note; those of others lie beside it. */
  readonly file: string;
  readonly links: () => readonly { readonly name: string; readonly ifindex: number }[];
  readonly logger: { info(fields: object, message: string): void; warn(message: string): void };
  /** Tests play other processes. */
  readonly owner?: Owner;
  readonly isRunning?: (owner: Owner) => boolean;
}

type Held = OffloadNote['held'];

export interface Offloads {
  /** Sets back what gateways that are gone left switched in this network namespace. Never throws. */
  recover(): void;
  /** What recover() would set back. */
  leftovers(): OffloadChange[];
  /**
   * Switches features to what is needed and holds them, until release(). Returns those that the driver did not
   * switch. Throws when note or features cannot be written; nothing new is held then.
   */
  hold(needs: Readonly<Record<string, boolean>>): string[];
  /** What is held. */
  changes(): OffloadChange[];
  /** Sets back what is held, save what another gateway still needs. Idempotent, never throws. */
  release(): void;
}

export function createOffloads(options: OffloadsOptions): Offloads {
  return new NotedOffloads(options);
}

/** Those of a plan's underlay interface. */
export function offloadsOf(
  { settings, underlay }: Plan,
  links: OffloadsOptions['links'],
  kernel: OffloadsOptions['kernel'],
  logger: OffloadsOptions['logger'],
): Offloads {
  return createOffloads({
    kernel,
    interface: { name: underlay.interface, ifindex: underlay.ifindex },
    file: offloadFileFor(settings.control.socket),
    links,
    logger,
  });
}

/** "ethtool -K eth2 tx-tcp-segmentation off": what a person would type. */
export function ethtoolCommand(interfaceName: string, wanted: Readonly<Record<string, boolean>>): string {
  const words = Object.entries(wanted).map(([feature, on]) => `${feature} ${onOff(on)}`);
  return `ethtool -K ${interfaceName} ${words.join(' ')}`;
}

export function onOff(on: boolean): 'on' | 'off' {
  return on ? 'on' : 'off';
}

/** Those of `wanted` that are otherwise; features that the interface does not have are as wanted. */
export function otherwise(
  features: Features,
  wanted: Readonly<Record<string, boolean>>,
): Record<string, boolean> {
  return Object.fromEntries(
    Object.entries(wanted).filter(
      ([name, on]) => features[name] !== undefined && features[name].active !== on,
    ),
  );
}

class NotedOffloads implements Offloads {
  readonly #options: OffloadsOptions;
  readonly #owner: Owner;
  readonly #isRunning: (owner: Owner) => boolean;
  /** process.exit() and an uncaught error come by here; after SIGKILL the next start sets back. */
  readonly #onExit = () => this.release();
  #held: Held = {};

  constructor(options: OffloadsOptions) {
    this.#options = options;
    this.#owner = options.owner ?? thisProcess();
    this.#isRunning = options.isRunning ?? isRunning;
  }

  recover(): void {
    const { logger } = this.#options;
    for (const { file, note } of this.#abandoned()) {
      const back = this.#toSetBack(note);
      if (Object.keys(back).length > 0 && this.#set(note.interface, back)) {
        logger.info(
          { interface: note.interface, ...back },
          `the gateway with process ${note.owner.pid} ended without setting back offloads of ${note.interface}; done now`,
        );
      }
      remove(file);
    }
  }

  leftovers(): OffloadChange[] {
    return this.#abandoned().flatMap(({ note }) => {
      const back = this.#toSetBack(note);
      return changesOf({ ...note, held: pick(note.held, Object.keys(back)) });
    });
  }

  hold(needs: Readonly<Record<string, boolean>>): string[] {
    const { kernel, interface: device } = this.#options;
    const wrong = otherwise(kernel.readFeatures(device.name), needs);
    const before = this.#held;
    // Features first, notes second: whoever switched one in between has written his note before that.
    this.#held = { ...this.#inherited(needs), ...before, ...mapValues(wrong, (now) => ({ was: !now, now })) };
    if (Object.keys(this.#held).length === 0) return [];
    if (Object.keys(before).length === 0) process.once('exit', this.#onExit);
    try {
      this.#note(false);
      if (Object.keys(wrong).length === 0) return [];
      kernel.setFeatures(device.name, wrong);
    } catch (error) {
      this.#keep(before);
      throw error;
    }
    const kept = Object.keys(otherwise(kernel.readFeatures(device.name), wrong));
    // Not switched, so not to be set back.
    if (kept.length > 0) this.#keep(without(this.#held, kept));
    return kept;
  }

  changes(): OffloadChange[] {
    return changesOf({ interface: this.#options.interface.name, held: this.#held });
  }

  release(): void {
    const { interface: device, file, logger } = this.#options;
    const held = this.#held;
    if (Object.keys(held).length === 0) return;
    try {
      // Said before others are asked: of two that leave together, each sees the other leaving, and both set back.
      this.#note(true);
    } catch {
      // At worst the other leaves it to us, and we to nobody.
    }
    this.#held = {};
    process.off('exit', this.#onExit);
    const back = this.#toSetBack({ ...this.#asNote(true), held });
    if (Object.keys(back).length > 0 && this.#set(device.name, back)) {
      logger.info({ interface: device.name, ...back }, `offloads of ${device.name} are as they were`);
    }
    remove(file);
  }

  /** Values for what nobody else holds, where the feature still is what its holder made of it. */
  #toSetBack({ interface: name, ifindex, held }: OffloadNote): Record<string, boolean> {
    try {
      if (!this.#options.links().some((link) => link.name === name && link.ifindex === ifindex)) return {};
      const needed = this.#others(ifindex).flatMap((note) => (note.leaving ? [] : Object.keys(note.held)));
      const wanted = mapValues(without(held, needed), ({ was }) => was);
      return otherwise(this.#options.kernel.readFeatures(name), wanted);
    } catch {
      return {}; // the interface has just gone
    }
  }

  #set(interfaceName: string, wanted: Readonly<Record<string, boolean>>): boolean {
    const { kernel, logger } = this.#options;
    let reason = 'the driver does not switch them';
    try {
      kernel.setFeatures(interfaceName, wanted);
      if (Object.keys(otherwise(kernel.readFeatures(interfaceName), wanted)).length === 0) return true;
    } catch (error) {
      reason = error instanceof Error ? error.message : String(error);
    }
    logger.warn(
      `Offloads of ${interfaceName} could not be set back: ${reason}. Do it by hand: ${ethtoolCommand(interfaceName, wanted)}`,
    );
    return false;
  }

  /** What others switched and we need, too: whoever leaves last sets it back. */
  #inherited(needs: Readonly<Record<string, boolean>>): Held {
    const notes = this.#others(this.#options.interface.ifindex);
    const all: Held = Object.assign({}, ...notes.map((note) => note.held));
    return pick(
      all,
      Object.keys(needs).filter((feature) => all[feature]?.now === needs[feature]),
    );
  }

  #others(ifindex: number): OffloadNote[] {
    return this.#notes()
      .filter(({ file, note }) => file !== this.#options.file && note.ifindex === ifindex)
      .filter(({ note }) => this.#isRunning(note.owner))
      .map(({ note }) => note);
  }

  #abandoned(): { file: string; note: OffloadNote }[] {
    return this.#notes((file, why) =>
      this.#options.logger.warn(`${file} is not used, because ${why}. Remove it if no gateway writes it.`),
    ).filter(({ note }) => !this.#isRunning(note.owner));
  }

  /** Those of this network namespace, and those of an earlier boot, whose namespaces are all gone. */
  #notes(refused: (file: string, why: string) => void = () => {}): { file: string; note: OffloadNote }[] {
    const { boot, namespace } = this.#owner;
    return readNotes(dirname(this.#options.file), refused).flatMap(({ file, note }) => {
      if (note.owner.boot !== boot) return [{ file, note: { ...note, held: {} } }];
      return note.owner.namespace === namespace ? [{ file, note }] : [];
    });
  }

  #keep(held: Held): void {
    this.#held = held;
    if (Object.keys(held).length > 0) return void attempt(() => this.#note(false));
    process.off('exit', this.#onExit);
    remove(this.#options.file);
  }

  #note(leaving: boolean): void {
    writeNote(this.#options.file, this.#asNote(leaving));
  }

  #asNote(leaving: boolean): OffloadNote {
    const { name, ifindex } = this.#options.interface;
    return { owner: this.#owner, interface: name, ifindex, held: this.#held, leaving };
  }
}

function changesOf({ interface: name, held }: Pick<OffloadNote, 'interface' | 'held'>): OffloadChange[] {
  return Object.entries(held).map(([feature, { was, now }]) => ({ interface: name, feature, was, now }));
}

function remove(file: string): void {
  attempt(() => removeNote(file));
}

/** A note that cannot be written or removed is read and understood by the next start. */
function attempt(work: () => void): void {
  try {
    work();
  } catch {
    // Nothing that a running gateway could do about it.
  }
}

function mapValues<A, B>(record: Readonly<Record<string, A>>, to: (value: A) => B): Record<string, B> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, to(value)]));
}

function pick<A>(record: Readonly<Record<string, A>>, keys: readonly string[]): Record<string, A> {
  return Object.fromEntries(Object.entries(record).filter(([key]) => keys.includes(key)));
}

function without<A>(record: Readonly<Record<string, A>>, keys: readonly string[]): Record<string, A> {
  return Object.fromEntries(Object.entries(record).filter(([key]) => !keys.includes(key)));
}
