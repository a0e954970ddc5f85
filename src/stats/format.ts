/** Figures for people. Programs take --json. */

const SCALES = ['', 'k', 'M', 'G', 'T', 'P', 'E'] as const;

/** 0, 99999, 1.23 M: exact while short. */
export function formatCount(count: number): string {
  return count < 100_000 ? String(Math.round(count)) : scaled(count, '');
}

/** Decimal units: 999 B, 1.50 kB, 12.3 GB. */
export function formatBytes(bytes: number): string {
  return scaled(bytes, 'B');
}

/** Bytes per second as network people read them: 8.00 Mbit/s. */
export function formatBitRate(bytesPerSecond: number): string {
  return scaled(bytesPerSecond * 8, 'bit/s');
}

/** 0 s, 59 s, 2 min 5 s, 3 h 12 min, 4 d 2 h. */
export function formatDuration(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

/** "1 peer", "2 peers". */
export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

function scaled(value: number, unit: string): string {
  let scale = 0;
  let figure = value;
  // 999.5 would be printed as 1000: it belongs to the next scale.
  while (figure >= 999.5 && scale < SCALES.length - 1) {
    figure /= 1000;
    scale += 1;
  }
  const digits = scale === 0 ? 0 : figure < 9.995 ? 2 : figure < 99.95 ? 1 : 0;
  return `${figure.toFixed(digits)} ${SCALES[scale] ?? ''}${unit}`.trimEnd();
}

/** 0.214 ms, 12.3 ms, 215 ms. */
export function formatMilliseconds(milliseconds: number): string {
  const digits = milliseconds < 9.9995 ? 3 : milliseconds < 99.95 ? 1 : 0;
  return `${milliseconds.toFixed(digits)} ms`;
}
