/** The live view of `vpc-conn stats --watch`: lines for a terminal of any size, from one poll after the other. */
import type { StatsResult, StatusResult } from '../control/protocol.js';
import { formatBitRate, formatCount, formatDuration, formatMilliseconds } from './format.js';
import { bucketsSince, formatBound, quantile } from './latency.js';
import { sparkline } from './sparkline.js';
import { byDirection, cpuShare, dropped, formatShare } from './stats.js';
import { headline } from './status.js';

export interface Moment {
  /** Seconds on any clock that goes forward steadily. */
  readonly at: number;
  readonly status: StatusResult;
  readonly stats: StatsResult;
}

export interface Size {
  readonly columns: number;
  readonly rows: number;
}

/** Figures that a sparkline may show: a minute of them. */
const REMEMBERED = 60;

type Values = Readonly<Record<string, number>>;

export class LiveView {
  readonly #ascii: boolean;
  #now: Moment | undefined;
  #before: Moment | undefined;
  #trouble = '';
  /** Bytes per second, oldest first, by direction ("encap") and by peer ("peer vpc-b"). */
  #history = new Map<string, number[]>();

  /** @param ascii draw with nothing but ASCII. */
  constructor(ascii = false) {
    this.#ascii = ascii;
  }

  push(moment: Moment): void {
    this.#trouble = '';
    // Of a gateway that was started anew nothing can be compared with the one before.
    this.#before = this.#now?.status.pid === moment.status.pid ? this.#now : undefined;
    this.#now = moment;
    const kept = new Map<string, number[]>();
    const remember = (key: string, bytesPerSecond: number) => {
      kept.set(key, [...(this.#history.get(key) ?? []), bytesPerSecond].slice(-REMEMBERED));
    };
    for (const { name, values, before } of this.#directions())
      remember(name, this.#rate(values, before, 'rx_bytes'));
    for (const { name, received, sent } of this.#peers()) remember(`peer ${name}`, received + sent);
    this.#history = kept;
  }

  /** What to say until the next push: the gateway does not answer. */
  fail(message: string): void {
    this.#trouble = message;
  }

  /** At most `rows` lines of at most `columns` characters. */
  lines({ columns, rows }: Size): string[] {
    const now = this.#now;
    if (now === undefined) return [];
    const sections = [this.#directionSection(), this.#peerSection(), this.#dropSection()];
    const top = [this.#trouble === '' ? headline(now.status) : this.#trouble, this.#subtitle(now)];
    const foot = 'q ends this. Rates: since the last poll. Lines at the right: the last minute.';
    const room = rows - top.length - 2;
    const body = fit(
      sections.map((section) => section(columns)),
      room,
    );
    const lines = [...top, '', ...body];
    while (lines.length < rows - 1) lines.push('');
    return [...lines.slice(0, Math.max(0, rows - 1)), foot].map((line) => cut(line, columns).trimEnd());
  }

  #subtitle({ stats, status }: Moment): string {
    const masqueraded =
      stats.bindings > 0
        ? `, ${formatCount(stats.flows)} masqueraded flows over ${formatCount(stats.bindings)} bindings`
        : '';
    const { encap, decap } = status.acceleration;
    return `up ${formatDuration(status.uptimeSeconds)}, encap on rung ${encap.rung}, decap on ${decap.rung}${masqueraded}`;
  }

  #directions(): { name: string; values: Values; before: Values | undefined }[] {
    const { stats } = this.#now ?? { stats: undefined };
    if (stats === undefined) return [];
    const before = this.#before && byDirection(this.#before.stats);
    return [...byDirection(stats)].map(([name, values]) => ({ name, values, before: before?.get(name) }));
  }

  #peers(): { name: string; received: number; sent: number; row: StatusResult['peers'][number] }[] {
    const known = new Map(this.#before?.status.peers.map((peer) => [peer.name, peer.counters]));
    return (this.#now?.status.peers ?? []).map((row) => {
      const before = known.get(row.name);
      return {
        name: row.name,
        received: this.#rate(row.counters, before, 'rx_bytes'),
        sent: this.#rate(row.counters, before, 'tx_bytes'),
        row,
      };
    });
  }

  /** Per second; 0 where there is nothing to compare with. */
  #rate(now: Values, before: Values | undefined, name: string): number {
    return this.#perSecond(now[name] ?? 0, before?.[name]);
  }

  #perSecond(now: number, before: number | undefined): number {
    const seconds = (this.#now?.at ?? 0) - (this.#before?.at ?? 0);
    if (before === undefined || before > now || this.#before === undefined || seconds <= 0) return 0;
    return (now - before) / seconds;
  }

  #line(key: string, width: number): string {
    return sparkline(this.#history.get(key) ?? [], Math.max(0, width), this.#ascii);
  }

  #directionSection(): (columns: number) => Section {
    const earlier = this.#before && {
      result: this.#before.stats,
      seconds: (this.#now?.at ?? 0) - this.#before.at,
    };
    const rows = this.#directions();
    return (columns) => {
      const { make, rest } = grid(columns, [-9, 12, 9, 6, 9, 7, 9]);
      return {
        title: make(['', 'rate', 'frames/s', 'cpu', '99%', 'lost/s', 'dropped/s'], 'LAST MINUTE'),
        rows: rows.flatMap(({ name, values, before }) => {
          const kernel = name === 'slow-path';
          const rate = this.#rate(values, before, 'rx_bytes');
          // Idle in most gateways: below the top rungs no frame is the kernel's.
          if (kernel && (values.carried_by_kernel ?? 0) === 0) return [];
          const stats = this.#now?.stats;
          const cpu = stats?.workers
            .filter(({ worker }) => worker.startsWith(`${name}/`))
            .map(({ worker }) => cpuShare(stats, worker, earlier) ?? 0);
          const all = stats?.latency?.find((row) => row.direction === name)?.buckets ?? [];
          const past = this.#before?.stats.latency?.find((row) => row.direction === name)?.buckets;
          return make(
            [
              kernel ? 'kernel' : name,
              formatBitRate(rate),
              formatCount(this.#rate(values, before, 'rx_frames')),
              kernel ? '-' : formatShare(cpu?.reduce((sum, share) => sum + share, 0)),
              formatBound(quantile(bucketsSince(all, past), 0.99)),
              formatCount(this.#rate(values, before, 'ring_lost')),
              formatCount(this.#perSecond(dropped(values), before && dropped(before))),
            ],
            this.#line(name, rest),
          );
        }),
      };
    };
  }

  /** Who talks most comes first. */
  #peerSection(): (columns: number) => Section {
    const peers = this.#peers().sort((one, other) => other.received + other.sent - (one.received + one.sent));
    return (columns) => {
      const { make, rest } = grid(columns, [-14, -13, 11, 11, 9, 5]);
      return {
        title: make(['PEER', 'STATE', 'received', 'sent', 'rtt', 'loss'], 'LAST MINUTE'),
        rows: peers.map(({ name, received, sent, row }) =>
          make(
            [
              name,
              row.state,
              formatBitRate(received),
              formatBitRate(sent),
              row.roundTripMs === null ? '-' : formatMilliseconds(row.roundTripMs),
              row.loss === null ? '-' : `${Math.round(row.loss * 100)}%`,
            ],
            this.#line(`peer ${name}`, rest),
          ),
        ),
      };
    };
  }

  /** What is dropped now comes first. */
  #dropSection(): (columns: number) => Section {
    const before = new Map(this.#before?.stats.drops.map(({ reason, count }) => [reason, count]));
    const drops = (this.#now?.stats.drops ?? [])
      .filter(({ count }) => count > 0)
      .map((drop) => ({
        ...drop,
        rate: this.#perSecond(drop.count, this.#before && (before.get(drop.reason) ?? 0)),
      }))
      .sort((one, other) => other.rate - one.rate || other.count - one.count);
    return (columns) => {
      const { make } = grid(columns, [-22, 8, 8]);
      if (drops.length === 0) return { title: 'No frame was dropped.', rows: [] };
      return {
        title: make(['DROP REASON', 'now/s', 'in all'], 'WHAT TO DO ("vpc-conn stats" says more)'),
        rows: drops.map(({ reason, count, rate, meaning, remedy }) =>
          make([reason, formatCount(rate), formatCount(count)], remedy === '' ? meaning : remedy),
        ),
      };
    };
  }
}

interface Section {
  readonly title: string;
  readonly rows: readonly string[];
}

/** All sections with a blank line between them; what does not fit is left out at the ends of the longest. */
function fit(sections: readonly Section[], room: number): string[] {
  let left = room - sections.length * 2 + 1;
  const shown = sections.map(() => 0);
  for (let given = true; given && left > 0; ) {
    given = false;
    for (const [place, { rows }] of sections.entries()) {
      const count = shown[place] ?? 0;
      if (left === 0 || count >= rows.length) continue;
      shown[place] = count + 1;
      left -= 1;
      given = true;
    }
  }
  return sections.flatMap(({ title, rows }, place) => {
    const count = shown[place] ?? 0;
    const fitting = rows.slice(0, count);
    if (count > 0 && count < rows.length) fitting[count - 1] = `... and ${rows.length - count + 1} more`;
    return [...(place === 0 ? [] : ['']), title, ...fitting];
  });
}

/** Lines of cells as wide as `widths` (negative: aligned left), and what is left of the line, `rest`, behind them. */
function grid(columns: number, widths: readonly number[]) {
  const used = widths.reduce((sum, width) => sum + Math.abs(width) + 1, 0);
  return {
    rest: Math.max(0, columns - used),
    make: (cells: readonly string[], behind: string): string => {
      const parts = widths.map((width, place) => {
        const text = cut(cells[place] ?? '', Math.abs(width));
        return width < 0 ? text.padEnd(-width) : text.padStart(width);
      });
      return [...parts, behind].join(' ');
    },
  };
}

function cut(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, Math.max(0, width - 3))}...`.slice(0, width);
}
