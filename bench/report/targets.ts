/** What each rung has to reach, as a ratio to the kernel VXLAN recipe of the same round. */
import { type Results, ratiosOf } from './results.js';
import { type Spread, spread } from './statistics.js';

interface Target {
  metric: string;
  title: string;
  better: 'higher' | 'lower';
  off: number;
  segment: number;
  full: number;
  stretch: number;
}

export const TARGETS: readonly Target[] = [
  { metric: 'tcp1', title: 'TCP 1 flow', better: 'higher', off: 0.65, segment: 1, full: 1.3, stretch: 1.5 },
  {
    metric: 'tcp4',
    title: 'TCP 4 flows',
    better: 'higher',
    off: 0.5,
    segment: 0.85,
    full: 1.1,
    stretch: 1.3,
  },
  {
    metric: 'tcp1-reverse',
    title: 'TCP 1 flow, reverse',
    better: 'higher',
    off: 0.65,
    segment: 1,
    full: 1.25,
    stretch: 1.5,
  },
  {
    metric: 'udp64',
    title: '64-byte UDP delivered, flat out',
    better: 'higher',
    off: 1.5,
    segment: 1.5,
    full: 1.5,
    stretch: 2,
  },
  {
    metric: 'udp64-lossless',
    title: '64-byte UDP, highest rate without loss',
    better: 'higher',
    off: 0.8,
    segment: 0.8,
    full: 1,
    stretch: 1.3,
  },
  { metric: 'rtt', title: 'Idle RTT', better: 'lower', off: 1.5, segment: 1.3, full: 1.2, stretch: 0.8 },
  {
    metric: 'tcp1.cpu',
    title: 'CPU s/GB of the whole machine, 1 flow',
    better: 'lower',
    off: 2.2,
    segment: 1.3,
    full: 1.1,
    stretch: 0.8,
  },
];

export const TARGET_RUNGS = ['off', 'segment', 'full'] as const;
export type TargetRung = (typeof TARGET_RUNGS)[number];

export interface Judgement {
  title: string;
  rung: TargetRung;
  better: 'higher' | 'lower';
  target: number;
  ratio: Spread | undefined;
  verdict: 'stretch reached' | 'reached' | 'missed' | 'not measured';
}

/** Medians decide, on the base variant. */
export function judge(results: Pick<Results, 'samples'>, variant = 'base'): Judgement[] {
  return TARGETS.flatMap(({ metric, title, better, stretch, ...rungs }) =>
    TARGET_RUNGS.map((rung): Judgement => {
      const ratio = spread(ratiosOf(results, variant, rung, 'vxlan', metric));
      const meets = (goal: number) =>
        ratio !== undefined && (better === 'higher' ? ratio.median >= goal : ratio.median <= goal);
      const verdict =
        ratio === undefined
          ? 'not measured'
          : meets(stretch)
            ? 'stretch reached'
            : meets(rungs[rung])
              ? 'reached'
              : 'missed';
      return { title, rung, better, target: rungs[rung], ratio, verdict };
    }),
  );
}
