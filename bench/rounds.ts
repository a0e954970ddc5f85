/**
 * Interleaved rounds: in each round every contender of a test is measured right after the others, in random
 * order, so that a machine that is slower now than a minute ago is slower for all of them.
 */
import type { Contender, Running } from './contenders/contender.js';
import { start } from './contenders/contender.js';
import { OtherRung } from './contenders/vpc-conn.js';
import type { Variant } from './lab/bench-lab.js';
import type { Effort } from './measure/tests.js';
import { type Case, estimateSeconds, START_SECONDS } from './plan.js';
import type { Progress } from './progress.js';
import { figure } from './report/format.js';
import type { Sample } from './report/results.js';
import { shuffle } from './report/statistics.js';

export interface RoundsOptions {
  cases: readonly Case[];
  rounds: number;
  effort: Effort;
  /** No measurement starts later than this, seconds of `progress`. */
  deadline: number;
  next: () => number;
  progress: Progress;
  signal: AbortSignal;
}

export interface RoundsResult {
  samples: Sample[];
  details: Map<string, string>;
  notes: string[];
}

export async function runRounds(options: RoundsOptions): Promise<RoundsResult> {
  const runner = new Runner(options);
  await runner.run();
  return { samples: runner.samples, details: runner.details, notes: [...runner.notes] };
}

class Runner {
  readonly samples: Sample[] = [];
  readonly details = new Map<string, string>();
  readonly notes = new Set<string>();
  /** Contenders that this machine cannot run, not asked again. */
  private readonly hopeless = new Set<string>();
  private readonly failedStarts = new Map<string, number>();
  /** Planned seconds that are not behind us yet. */
  private planned: number;

  constructor(private readonly options: RoundsOptions) {
    this.planned = estimateSeconds(options.cases, options.effort) * options.rounds;
  }

  async run(): Promise<void> {
    const { cases, rounds, deadline, progress } = this.options;
    const variants = [...new Set(cases.map(({ variant }) => variant))];
    for (let round = 1; round <= rounds && !this.over(); round += 1) {
      const began = progress.elapsed();
      for (const variant of variants) {
        if (this.over()) break;
        await this.variant(round, variant);
      }
      const took = progress.elapsed() - began;
      if (round < rounds && progress.elapsed() + took > deadline) {
        this.notes.add(`Time was up after round ${round} of ${rounds}.`);
        break;
      }
    }
  }

  private over(): boolean {
    const { deadline, progress, signal } = this.options;
    return signal.aborted || progress.elapsed() > deadline;
  }

  private async variant(round: number, variant: Variant): Promise<void> {
    const { cases, effort, next } = this.options;
    const here = cases.filter((item) => item.variant === variant);
    const running = new Map<Contender, Running>();
    try {
      for (const contender of new Set(here.map((item) => item.contender))) {
        if (this.over()) return;
        const started = await this.start(round, variant, contender);
        if (started) running.set(contender, started);
      }
      for (const test of new Set(here.map((item) => item.test))) {
        const due = here.filter((item) => item.test === test).map(({ contender }) => contender);
        for (const contender of shuffle(due, next)) {
          const one = running.get(contender);
          this.planned -= test.seconds(effort);
          if (one === undefined) continue;
          if (this.over()) return;
          const where = `round ${round}, ${variant.name}/${contender.name}/${test.name}`;
          this.options.progress.show(where, this.remaining());
          const sample: Sample = {
            round,
            variant: variant.name,
            contender: contender.name,
            test: test.name,
            values: {},
          };
          try {
            sample.values = await test.run(one, effort);
            const main = test.metrics[0];
            const value = sample.values[test.name];
            if (main && value !== undefined) {
              this.options.progress.done(`${where}: ${figure(value)} ${main.unit}`, this.remaining());
            }
          } catch (error) {
            sample.error = sentence(error);
            this.notes.add(`${where}: ${sample.error}`);
            this.options.progress.done(`${where}: ${sample.error}`, this.remaining());
          }
          this.samples.push(sample);
        }
      }
      await this.verify(round, variant, running);
    } finally {
      for (const { lab } of running.values()) await lab.close();
    }
  }

  /** A gateway that left its rung meanwhile has measured something else: its round does not count. */
  private async verify(round: number, variant: Variant, running: Map<Contender, Running>): Promise<void> {
    for (const [contender, { verify }] of running) {
      try {
        await verify?.();
      } catch (error) {
        const why = sentence(error);
        this.notes.add(`round ${round}, ${variant.name}/${contender.name} does not count: ${why}`);
        for (const sample of this.samples) {
          const same = sample.round === round && sample.variant === variant.name;
          if (!same || sample.contender !== contender.name) continue;
          sample.values = {};
          sample.error = why;
        }
      }
    }
  }

  private async start(round: number, variant: Variant, contender: Contender): Promise<Running | undefined> {
    const { progress } = this.options;
    const key = `${variant.name}/${contender.name}`;
    this.planned -= START_SECONDS;
    if (this.hopeless.has(contender.name) || this.hopeless.has(key)) return undefined;
    const missing = await contender.missing?.();
    if (missing) {
      this.hopeless.add(contender.name);
      this.notes.add(`${contender.name}: ${missing}`);
      return undefined;
    }
    progress.show(`round ${round}, ${variant.name}: starting ${contender.name}`, this.remaining());
    try {
      const running = await start(contender, variant);
      this.details.set(contender.name, running.detail);
      return running;
    } catch (error) {
      // A rung that does not come up will not come up in the next round; anything else may be bad luck once.
      const failed = (this.failedStarts.get(key) ?? 0) + 1;
      this.failedStarts.set(key, failed);
      if (error instanceof OtherRung || failed === 2) this.hopeless.add(key);
      this.notes.add(`${key}: ${sentence(error)}`);
      progress.done(`round ${round}, ${key} does not start: ${sentence(error)}`, this.remaining());
      return undefined;
    }
  }

  private remaining(): number {
    const { progress, deadline } = this.options;
    return Math.max(0, Math.min(this.planned, deadline - progress.elapsed()));
  }
}

function sentence(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).trim().split('\n').slice(0, 4).join(' ');
}
