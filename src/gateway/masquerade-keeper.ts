/** Keeps masqueraded flows in a file: taken up at the start, saved once a minute and at the stop. */
import { createHash } from 'node:crypto';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { DataPlane } from '../dataplane/port.js';
import type { Logger } from '../log.js';
import { FLOW_RECORD_BYTES } from '../native/addon.js';
import {
  DIGEST,
  decodeState,
  headerOf,
  type Moment,
  masqueradeFileFor,
  mostBytes,
} from './masquerade-state.js';
import { bootId } from './offload-files.js';
import type { Plan } from './plan.js';
import { readTrusted } from './state-file.js';

export interface MasqueradeKeeper {
  /** Once a second. */
  tick(): void;
  /** Saves what there is; the data plane is still open. */
  close(): Promise<void>;
}

export interface MasqueradeKeeperOptions {
  readonly dataPlane: Pick<DataPlane, 'flowRecords'>;
  readonly plan: () => Plan;
  /** In use, as far as is known. */
  readonly flows: () => number;
  readonly logger: Pick<Logger, 'warn'>;
  /** Ticks from one save to the next. */
  readonly every?: number;
}

const EVERY = 60;
/** Records of one turn of the event loop: about a millisecond. */
const RECORDS_AT_ONCE = 16_384;

export function keepMasquerade(options: MasqueradeKeeperOptions): MasqueradeKeeper {
  return new Keeper(options);
}

/**
 * Gives the data plane, which has its first table and is not started, the flows of the process before. Whatever is
 * wrong with the file is logged and no reason not to start.
 */
export function takeUpFlows(
  plan: Plan,
  dataPlane: Pick<DataPlane, 'restoreFlows'>,
  logger: Pick<Logger, 'info' | 'warn'>,
): void {
  if (!masquerades(plan)) return;
  const file = masqueradeFileFor(plan);
  try {
    const records = decodeState(plan, readTrusted(file, mostBytes(plan)), thisMoment());
    const restored = dataPlane.restoreFlows(records);
    if (restored > 0) logger.info({ restored }, 'masqueraded flows of the gateway before go on');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    const why = error instanceof Error ? error.message : String(error);
    logger.warn(
      { file },
      `masqueraded flows of the gateway before are lost: ${file} was not taken up (${why}). Remove it if this is logged again.`,
    );
  }
}

function masquerades({ peers }: Plan): boolean {
  return peers.some(({ unlisted }) => unlisted === 'masquerade');
}

function thisMoment(): Moment {
  return { boot: bootId(), monotonic: Number(process.hrtime.bigint()) / 1e9, wall: Date.now() / 1000 };
}

class Keeper implements MasqueradeKeeper {
  readonly #options: MasqueradeKeeperOptions;
  #ticks = 0;
  #saving: Promise<void> | undefined;
  /** There may be a file of ours with flows in it. */
  #saved = true;
  #complained = false;

  constructor(options: MasqueradeKeeperOptions) {
    this.#options = options;
  }

  tick(): void {
    this.#ticks += 1;
    if (this.#ticks % (this.#options.every ?? EVERY) === 0) this.#save();
  }

  async close(): Promise<void> {
    await this.#saving;
    await this.#save();
  }

  /** One at a time; a slow disk makes saves rarer, never more of them. */
  #save(): Promise<void> {
    this.#saving ??= this.#saveNow()
      .then(
        () => {
          this.#complained = false;
        },
        (error: unknown) => this.#complain(error),
      )
      .finally(() => {
        this.#saving = undefined;
      });
    return this.#saving;
  }

  async #saveNow(): Promise<void> {
    const plan = this.#options.plan();
    const file = masqueradeFileFor(plan);
    if (!masquerades(plan) || this.#options.flows() === 0) {
      // Old flows must not come back.
      if (this.#saved) await rm(file, { force: true });
      this.#saved = false;
      return;
    }
    await mkdir(dirname(file), { recursive: true, mode: 0o755 });
    const draft = `${file}.${process.pid}`;
    await rm(draft, { force: true });
    if (await this.#write(draft, plan)) {
      await rename(draft, file);
      this.#saved = true;
    } else {
      await rm(draft, { force: true });
    }
  }

  /** False: the plan changed meanwhile, and with it the numbers of the peers; the next save is whole again. */
  async #write(draft: string, plan: Plan): Promise<boolean> {
    const handle = await open(draft, 'wx', 0o600);
    try {
      const digest = createHash(DIGEST);
      const write = async (content: Uint8Array) => {
        digest.update(content);
        await handle.writeFile(content);
      };
      await write(headerOf(plan, thisMoment()));
      let left = plan.settings.masquerade.flows;
      for (let from = 0; left > 0; ) {
        if (this.#options.plan() !== plan) return false;
        const { records, next } = this.#options.dataPlane.flowRecords(from, Math.min(left, RECORDS_AT_ONCE));
        left -= records.length / FLOW_RECORD_BYTES;
        if (records.length > 0) await write(records);
        else await nextTurn();
        if (next === 0) break;
        from = next;
      }
      await handle.writeFile(digest.digest());
      return true;
    } finally {
      await handle.close();
    }
  }

  #complain(error: unknown): void {
    if (this.#complained) return;
    this.#complained = true;
    const why = error instanceof Error ? error.message : String(error);
    const file = masqueradeFileFor(this.#options.plan());
    this.#options.logger.warn(
      { file },
      `masqueraded flows cannot be kept over a restart: ${why}. Make room, or set masquerade.state to another path.`,
    );
  }
}
