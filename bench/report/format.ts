/** Figures as people read them. */
import type { Spread } from './statistics.js';

/** Three significant digits, no exponent. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return '-';
  const magnitude = Math.abs(value);
  if (magnitude >= 100) return value.toFixed(0);
  if (magnitude >= 10) return value.toFixed(1);
  return value.toFixed(2);
}

/** "3.91 (3.43..4.21)"; a single value stands alone. */
export function withSpread(spread: Spread | undefined): string {
  if (spread === undefined) return '';
  if (spread.count === 1) return figure(spread.median);
  return `${figure(spread.median)} (${figure(spread.min)}..${figure(spread.max)})`;
}

export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes}:${`${whole % 60}`.padStart(2, '0')}`;
  return `${Math.floor(minutes / 60)}:${`${minutes % 60}`.padStart(2, '0')}:${`${whole % 60}`.padStart(2, '0')}`;
}

/** A Markdown table; with `aligned` also one for the terminal. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = header.map((title, column) =>
    Math.max(title.length, 3, ...rows.map((row) => (row[column] ?? '').length)),
  );
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`;
  return [line(header), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n');
}
