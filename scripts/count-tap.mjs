// Counts TAP (version 14, subtests indented) as it streams by: every assertion once, never a subtest's own
// summary line beside what it sums up.

/** @typedef {{ name: string, seconds: number, failed: boolean, lines: string[] }} Outcome what ended at the top level */

export class TapCounter {
  passed = 0;
  failed = 0;
  /** @type {string[]} names and reasons */
  skips = [];
  /** Of the innermost block first seen: test points and failures inside, by indentation. */
  #blocks = new Map();
  /** Indentation of the YAML diagnostics that are being passed over; undefined: none. */
  #yaml;
  /** @type {string[]} */
  #lines = [];

  /**
   * Takes one line. Returns the outcome when a top-level test (a file) has just ended.
   * @param {string} line
   * @returns {Outcome | undefined}
   */
  line(line) {
    this.#lines.push(line);
    const [, space = '', text = ''] = /^( *)(.*)$/.exec(line) ?? [];
    const indent = space.length;
    if (this.#yaml !== undefined) {
      if (indent === this.#yaml && text === '...') this.#yaml = undefined;
      return undefined;
    }
    if (text === '---') {
      this.#yaml = indent;
      return undefined;
    }
    const point = /^(not )?ok\b(?: \d+)?(?: - )?(.*)$/.exec(text);
    if (point === null) return undefined;
    const [, not, rest = ''] = point;
    this.#point(indent, not !== undefined, rest);
    if (indent > 0) return undefined;
    const lines = this.#lines;
    this.#lines = [];
    const milliseconds = Number(/ # time=([\d.]+)ms$/.exec(rest)?.[1] ?? 0);
    const name = rest.replace(/ # time=.*$/, '');
    return { name, seconds: milliseconds / 1000, failed: not !== undefined, lines };
  }

  #point(indent, notOk, rest) {
    const directive = /\s# (skip|todo)\b\s*(.*)$/i.exec(rest);
    const inside = { points: 0, failed: 0 };
    for (const [depth, block] of this.#blocks) {
      if (depth <= indent) continue;
      inside.points += block.points;
      inside.failed += block.failed;
      this.#blocks.delete(depth);
    }
    const failed = notOk && directive === null;
    const own = this.#blocks.get(indent) ?? { points: 0, failed: 0 };
    own.points += 1;
    if (failed) own.failed += 1;
    this.#blocks.set(indent, own);
    // A summary repeats what was counted, unless it fails by itself: a plan not kept, a process that died.
    if (inside.points > 0 && (!failed || inside.failed > 0)) return;
    if (directive) this.skips.push(`${rest.slice(0, directive.index)}: ${directive[2] || directive[1]}`.trim());
    else if (failed) this.failed += 1;
    else this.passed += 1;
  }
}

// As a program: TAP on standard input, the counts as JSON on standard output.
if (process.argv[1]?.endsWith('count-tap.mjs')) {
  const { createInterface } = await import('node:readline');
  const counter = new TapCounter();
  for await (const line of createInterface({ input: process.stdin })) counter.line(line);
  console.log(JSON.stringify({ passed: counter.passed, failed: counter.failed, skips: counter.skips }));
}
