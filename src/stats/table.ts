/** Tables without lines: a head in capitals, two spaces between columns, nothing at the end of a line. */
import Table from 'cli-table3';

export interface Column {
  head: string;
  align?: 'left' | 'right';
  /** Characters; longer text is wrapped at words. */
  width?: number;
}

const NO_BORDER = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: '',
};

/** Lines without a line end after the last one. */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const made = new Table({
    head: columns.map(({ head }) => head.toUpperCase()),
    colAligns: columns.map(({ align }) => align ?? 'left'),
    colWidths: columns.map(({ width }) => (width === undefined ? null : width + 2)),
    wordWrap: true,
    chars: NO_BORDER,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 2 },
  });
  made.push(...rows.map((row) => [...row]));
  return trimLines(made.toString());
}

/** Name and value pairs without a head. */
export function list(rows: readonly (readonly string[])[]): string {
  const made = new Table({
    chars: NO_BORDER,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 2 },
  });
  made.push(...rows.map((row) => [...row]));
  return trimLines(made.toString());
}

function trimLines(text: string): string {
  return text
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n');
}
