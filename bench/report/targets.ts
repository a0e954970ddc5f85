/** What each rung has to reach, as a ratio to the kernel VXLAN recipe of the same round. */
import { type Results, ratiosOf, valuesOf } from './results.js';
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

/** The fastest rung has to be so many times as fast as the fastest other tunnel in user space, 1 flow. */
const TO_BEST_PEER = 2.5;

type Judged = Pick<Results, 'samples' | 'contenders'>;

/** Medians decide, on the base variant. */
export function judge(results: Judged, variant = 'base'): Judgement[] {
  return [...judgeRungs(results, variant), judgePeers(results, variant)];
}

function judgePeers(results: Judged, variant: string): Judgement {
  const best = new Map<number, number>();
  for (const { name } of results.contenders.filter(({ kind }) => kind === 'peer')) {
    for (const [round, value] of valuesOf(results, variant, name, 'tcp1')) {
      best.set(round, Math.max(best.get(round) ?? 0, value));
    }
  }
  const ratios = [...valuesOf(results, variant, 'full', 'tcp1')].flatMap(([round, value]) => {
    const other = best.get(round);
    return other ? [value / other] : [];
  });
  const ratio = spread(ratios);
  const verdict = ratio === undefined ? 'not measured' : ratio.median >= TO_BEST_PEER ? 'reached' : 'missed';
  const title = 'TCP 1 flow, to the fastest other user-space tunnel';
  return { title, rung: 'full', better: 'higher', target: TO_BEST_PEER, ratio, verdict };
}

function judgeRungs(results: Judged, variant: string): Judgement[] {
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
