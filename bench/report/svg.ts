/** Bar charts as small SVG files, without a library. */
import { figure } from './format.js';
import type { Results } from './results.js';
import { ratiosOf, valuesOf } from './results.js';
import { type Spread, spread } from './statistics.js';

export interface Bar {
  label: string;
  kind: string;
  value: Spread;
}

export interface Group {
  title: string;
  bars: Bar[];
  /** A line across the group's bars, e.g. the reference. */
  mark?: number;
}

export interface Chart {
  title: string;
  /** What the numbers are. */
  subtitle: string;
  groups: Group[];
}

const WIDTH = 760;
const LABEL = 120;
const VALUE = 130;
const BAR = 16;
const GAP = 4;
const HEADING = 26;
const TOP = 56;
const COLORS: Record<string, string> = { reference: '#8a94a3', 'vpc-conn': '#2563c9', peer: '#c98a25' };

/** Horizontal bars from zero, with a whisker from the least to the greatest value. */
export function svg({ title, subtitle, groups }: Chart): string {
  const room = WIDTH - LABEL - VALUE;
  const parts: string[] = [];
  let y = TOP;
  for (const group of groups) {
    const most = Math.max(group.mark ?? 0, ...group.bars.map(({ value }) => value.max)) || 1;
    const x = (value: number) => round(LABEL + (value / most) * room);
    parts.push(text(12, y + 14, group.title, 'font-weight="600"'));
    y += HEADING;
    const first = y;
    for (const { label, kind, value } of group.bars) {
      const middle = y + BAR / 2;
      parts.push(
        text(LABEL - 8, middle + 4, label, 'text-anchor="end"'),
        `<rect x="${LABEL}" y="${y}" width="${round(x(value.median) - LABEL)}" height="${BAR}" fill="${COLORS[kind] ?? '#8a94a3'}"/>`,
      );
      if (value.count > 1) {
        parts.push(
          `<path d="M${x(value.min)} ${middle}H${x(value.max)}M${x(value.min)} ${middle - 4}v8M${x(value.max)} ${middle - 4}v8" stroke="#1b1f24" fill="none"/>`,
        );
      }
      const range = value.count > 1 ? ` (${figure(value.min)}..${figure(value.max)})` : '';
      parts.push(text(x(value.max) + 6, middle + 4, `${figure(value.median)}${range}`, ''));
      y += BAR + GAP;
    }
    if (group.mark !== undefined) {
      parts.push(
        `<path d="M${x(group.mark)} ${first - 3}V${y - GAP + 3}" stroke="#b3261e" stroke-dasharray="3 3"/>`,
      );
    }
    y += 12;
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${y}" viewBox="0 0 ${WIDTH} ${y}" font-family="system-ui, sans-serif" font-size="12" fill="#1b1f24">`,
    `<title>${escaped(title)}</title>`,
    `<rect width="${WIDTH}" height="${y}" fill="#ffffff"/>`,
    text(12, 22, title, 'font-size="15" font-weight="700"'),
    text(12, 40, subtitle, 'fill="#57606a"'),
    ...parts,
    '</svg>',
    '',
  ].join('\n');
}

interface ChartSpec {
  file: string;
  title: string;
  metrics: string[];
  /** Ratio to vxlan (marked at 1), or the values themselves. */
  of: 'ratio' | 'value';
}

const CHARTS: readonly ChartSpec[] = [
  {
    file: 'tcp.svg',
    title: 'TCP throughput',
    metrics: ['tcp1', 'tcp4', 'tcp16', 'tcp1-reverse', 'tcp-both'],
    of: 'ratio',
  },
  {
    file: 'udp.svg',
    title: 'UDP',
    metrics: ['udp64', 'udp64-lossless', 'udp512-lossless', 'udp1400-lossless', 'udp-imix-lossless'],
    of: 'value',
  },
  {
    file: 'rtt.svg',
    title: 'Round trips, lower is better',
    metrics: ['rtt', 'rtt.p99', 'rtt-tcp'],
    of: 'value',
  },
  {
    file: 'cpu.svg',
    title: 'CPU of the whole machine, lower is better',
    metrics: ['tcp1.cpu', 'tcp4.cpu', 'tcp-paced.cpu'],
    of: 'value',
  },
];

/** The charts of a variant for which there are figures: file name -> contents. */
export function charts(results: Results, variant = 'base'): { file: string; title: string; text: string }[] {
  const metrics = results.tests.flatMap((test) => test.metrics);
  return CHARTS.flatMap(({ file, title, metrics: names, of }) => {
    const groups = names.flatMap((name): Group[] => {
      const metric = metrics.find((each) => each.name === name);
      if (metric === undefined) return [];
      const bars = results.contenders.flatMap(({ name: contender, kind }): Bar[] => {
        const values =
          of === 'ratio'
            ? ratiosOf(results, variant, contender, 'vxlan', name)
            : [...valuesOf(results, variant, contender, name).values()];
        const value = spread(values);
        return value ? [{ label: contender, kind, value }] : [];
      });
      if (bars.length === 0) return [];
      const unit = of === 'ratio' ? '' : `, ${metric.unit}`;
      return [{ title: `${metric.title}${unit}`, bars, ...(of === 'ratio' ? { mark: 1 } : {}) }];
    });
    if (groups.length === 0) return [];
    const what = of === 'ratio' ? 'Ratio to the kernel VXLAN recipe of the same round. ' : '';
    const subtitle = `${what}Median, least and greatest of the rounds.`;
    return [{ file, title, text: svg({ title, subtitle, groups }) }];
  });
}

function text(x: number, y: number, content: string, attributes: string): string {
  return `<text x="${round(x)}" y="${round(y)}" ${attributes}>${escaped(content)}</text>`;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function escaped(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
