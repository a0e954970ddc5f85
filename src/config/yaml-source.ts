/** A YAML (or JSON) text whose values remember where they were written. */
import {
  type Document,
  isCollection,
  isMap,
  isPair,
  isScalar,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  visit,
  type YAMLError,
} from 'yaml';
import type { Finding } from './finding.js';

export type KeyPath = readonly (string | number)[];

export interface Position {
  readonly line: number;
  readonly column: number;
}

export class YamlSource {
  /** What the text is called in messages: its path. */
  readonly name: string;
  readonly #document: Document.Parsed;
  readonly #lines = new LineCounter();

  constructor(text: string, name: string) {
    this.name = name;
    this.#document = parseDocument(text, {
      lineCounter: this.#lines,
      prettyErrors: false,
      logLevel: 'error',
    });
  }

  /** Syntax errors, duplicate keys, unknown tags and aliases; `value()` is meaningful only without any. */
  findings(): Finding[] {
    const problems = [...this.#document.errors, ...this.#document.warnings];
    const duplicates = problems.filter((problem) => problem.code === 'DUPLICATE_KEY');
    // One slip makes several syntax errors; only the first can be trusted.
    const syntax = problems.filter((problem) => problem.code !== 'DUPLICATE_KEY').slice(0, 1);
    return [
      ...syntax.map((problem) => this.#syntaxFinding(problem)),
      ...duplicates.map((problem) => this.#duplicateFinding(problem)),
      ...this.#aliasFindings(),
    ];
  }

  /** The text as plain values. Throws when aliases multiply without bound. */
  value(): unknown {
    return this.#document.toJS();
  }

  /**
   * Where the value at `path` was written; an empty or missing one: where its key, or its parent, was; one that
   * an alias brought: where the alias is.
   */
  position(path: KeyPath, part: 'key' | 'value' = 'value'): Position {
    let node: unknown = this.#document.contents;
    let offset = startOf(node) ?? 0;
    for (const [depth, segment] of path.entries()) {
      const collection = node;
      const last = depth === path.length - 1;
      if (isMap(collection)) {
        const pair = collection.items.find((item) => keyText(item) === String(segment));
        if (pair === undefined) break;
        node = pair.value;
        const empty = isScalar(node) && node.value === null;
        const preferred = empty || (last && part === 'key') ? undefined : startOf(node);
        offset = preferred ?? startOf(pair.key) ?? offset;
      } else if (isCollection(collection)) {
        node = collection.get(Number(segment), true);
        if (node === undefined) break;
        offset = startOf(node) ?? offset;
      } else {
        break;
      }
    }
    return this.#positionAt(offset);
  }

  /** "gateway.yaml:3:14". */
  place(path: KeyPath, part: 'key' | 'value' = 'value'): string {
    const { line, column } = this.position(path, part);
    return `${this.name}:${line}:${column}`;
  }

  #positionAt(offset: number): Position {
    const { line, col } = this.#lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  }

  #placeAt(offset: number): string {
    const { line, column } = this.#positionAt(offset);
    return `${this.name}:${line}:${column}`;
  }

  #syntaxFinding(problem: YAMLError): Finding {
    const origin = this.#placeAt(problem.pos[0]);
    const text =
      problem.code === 'MULTIPLE_DOCS'
        ? 'a second document begins here. One file configures one gateway: remove the line "---" and what follows.'
        : `this is not valid YAML (${problem.message}). Correct the indentation, or put the value in quotes.`;
    return { severity: 'error', code: 'settings-syntax', key: '', origin, message: `${origin}: ${text}` };
  }

  #duplicateFinding(problem: YAMLError): Finding {
    const key = formatKeyPath(this.#pathAt(problem.pos[0]));
    const origin = this.#placeAt(problem.pos[0]);
    const message = `${origin}: ${key}: this key is written twice. Keep one of the two.`;
    return { severity: 'error', code: 'settings-duplicate-key', key, origin, message };
  }

  #aliasFindings(): Finding[] {
    const findings: Finding[] = [];
    visit(this.#document, {
      Alias: (_, alias) => {
        if (alias.resolve(this.#document) !== undefined) return;
        const origin = this.#placeAt(startOf(alias) ?? 0);
        const message = `${origin}: the alias *${alias.source} has no anchor. Write &${alias.source} before the value it stands for, or put the text in quotes.`;
        findings.push({ severity: 'error', code: 'settings-syntax', key: '', origin, message });
      },
    });
    return findings;
  }

  /** The path of the key that begins at this offset. */
  #pathAt(offset: number): KeyPath {
    let found: KeyPath = [];
    visit(this.#document, {
      Pair: (_, pair, ancestors) => {
        if (startOf(pair.key) !== offset) return undefined;
        const chain = [...ancestors, pair];
        found = chain.flatMap((node, depth): KeyPath => {
          if (isPair(node)) return [keyText(node)];
          const child = chain[depth + 1];
          if (!isCollection(node) || child === undefined || isPair(child)) return [];
          return [(node.items as readonly unknown[]).indexOf(child)];
        });
        return visit.BREAK;
      },
    });
    return found;
  }
}

/** ["peers", 0, "name"] -> "peers[0].name". */
export function formatKeyPath(path: KeyPath): string {
  return path
    .map((segment, index) => {
      if (typeof segment === 'number') return `[${segment}]`;
      return index === 0 ? segment : `.${segment}`;
    })
    .join('');
}

function keyText(pair: Pair): string {
  return isScalar(pair.key) ? String(pair.key.value ?? '') : String(pair.key);
}

function startOf(node: unknown): number | undefined {
  return (node as Node | null | undefined)?.range?.[0];
}
