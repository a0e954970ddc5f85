/** A row of figures as one line of characters. */

const BLOCKS = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'] as const;
const ASCII = [' ', '.', ':', '-', '=', '+', '*', '#', '@'] as const;

/** The newest `width` figures, the last at the right, scaled to the greatest of them; 0 is a blank. */
export function sparkline(figures: readonly number[], width: number, ascii = false): string {
  const shown = figures.slice(-width);
  const greatest = Math.max(...shown, 0);
  const steps = ascii ? ASCII : BLOCKS;
  const line = shown.map((figure) => {
    if (figure <= 0 || greatest === 0) return steps[0];
    return steps[Math.max(1, Math.round((figure / greatest) * (steps.length - 1)))];
  });
  return line.join('').padStart(width);
}
