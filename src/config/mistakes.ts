/**
 * The schema's errors as sentences for people: one finding per mistake, at the place where it was made, with
 * what to write instead.
 */
import type { TSchema } from 'typebox';
import type { TLocalizedValidationError } from 'typebox/error';
import { Settings as TypeBoxSettings } from 'typebox/system';
import Value from 'typebox/value';
import type { Finding } from './finding.js';
import { FileSchema } from './schema.js';
import { formatKeyPath, type KeyPath, type YamlSource } from './yaml-source.js';

/** The parts of a schema node that messages are made of. */
interface SchemaNode {
  readonly type?: string;
  readonly title?: string;
  readonly enum?: readonly unknown[];
  readonly examples?: readonly unknown[];
  readonly pattern?: string;
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly items?: SchemaNode;
  readonly anyOf?: readonly SchemaNode[];
}

/** Everything in the source that does not fit the schema, in the order of the text. */
export function schemaFindings(source: YamlSource, value: unknown): Finding[] {
  if (value === null || value === undefined) {
    const text = 'the file is empty. Write at least overlay, underlay and peers.';
    return [findingFor(source, { path: [], part: 'value', code: 'settings-empty', text })];
  }
  const errors = relevantErrors(allErrors(FileSchema, value), value);
  const byKey = new Map<string, Mistake>();
  for (const mistake of errors.flatMap((error) => mistakesOf(value, error))) {
    const key = formatKeyPath(mistake.path);
    if (!byKey.has(key)) byKey.set(key, mistake);
  }
  return [...byKey.values()]
    .map((mistake) => ({ mistake, at: source.position(mistake.path, mistake.part) }))
    .sort((left, right) => left.at.line - right.at.line || left.at.column - right.at.column)
    .map(({ mistake }) => findingFor(source, mistake));
}

interface Mistake {
  readonly path: KeyPath;
  /** What of the path to point at. */
  readonly part: 'key' | 'value';
  readonly code: string;
  readonly text: string;
}

function mistakesOf(root: unknown, error: TLocalizedValidationError): Mistake[] {
  const path = pathOf(error.instancePath, root);
  const node = nodeAt(error.schemaPath);
  switch (error.keyword) {
    case 'additionalProperties':
      return error.params.additionalProperties.map((key) => {
        const text = `this key is unknown. ${unknownKeyRemedy(key, node)}`;
        return { path: [...path, key], part: 'key', code: 'settings-unknown-key', text };
      });
    case 'required':
      return error.params.requiredProperties.map((key) => {
        const text = `this key is missing. ${prescribe(node.properties?.[key] ?? {})}`;
        return { path: [...path, key], part: 'value', code: 'settings-missing-key', text };
      });
    case 'minItems':
      return [
        { path, part: 'value', code: 'settings-value', text: `this list is empty. ${prescribe(node)}` },
      ];
    case 'maxItems': {
      const text = `this list is too long. Write at most ${error.params.limit} entries.`;
      return [{ path, part: 'value', code: 'settings-value', text }];
    }
    default:
      return [
        { path, part: 'value', code: 'settings-value', text: valueSentence(node, valueAt(root, path)) },
      ];
  }
}

function valueSentence(node: SchemaNode, value: unknown): string {
  if (value === null) return `nothing is written here. ${prescribe(node)}`;
  if (node.type === 'string' && (typeof value === 'number' || typeof value === 'boolean')) {
    if (new RegExp(node.pattern ?? '').test(String(value))) {
      return `${value} is read as a ${typeof value}. Put it in quotes: "${value}".`;
    }
  }
  if (node.enum !== undefined) return `${show(value)} is not known here. ${prescribe(node)}`;
  if (node.properties !== undefined) return `${show(value)} is not a mapping. ${prescribe(node)}`;
  const example = node.examples?.[0];
  const remedy = example === undefined ? prescribe(node) : `Write it like ${String(example)}.`;
  return `${show(value)} is not ${node.title ?? 'right'}. ${remedy}`;
}

/** What to write instead. */
function prescribe(node: SchemaNode): string {
  const noun = node.title ?? 'a value';
  if (node.enum !== undefined) return `Write ${noun}.`;
  if (node.properties !== undefined)
    return `Write a mapping with the keys ${list(Object.keys(node.properties))}.`;
  const example = node.examples?.[0];
  return example === undefined ? `Write ${noun}.` : `Write ${noun}, for example ${String(example)}.`;
}

function unknownKeyRemedy(key: string, node: SchemaNode): string {
  const known = Object.keys(node.properties ?? {});
  const similar = mostSimilar(key, known);
  if (similar !== undefined) return `Did you mean "${similar}"?`;
  const elsewhere = pathsOf(FileSchema as SchemaNode).filter((path) => path.at(-1) === key);
  const [only] = elsewhere;
  if (elsewhere.length === 1 && only !== undefined) return `Did you mean "${only.join('.')}"?`;
  return `The keys known here are ${list(known)}.`;
}

/** The candidate with the fewest edits, if they are few enough for a slip of the finger. */
export function mostSimilar(word: string, candidates: readonly string[]): string | undefined {
  const limit = Math.max(1, Math.floor(word.length / 3));
  let best: { candidate: string; edits: number } | undefined;
  for (const candidate of candidates) {
    const edits = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (edits <= limit && edits < (best?.edits ?? Infinity)) best = { candidate, edits };
  }
  return best?.candidate;
}

/** Optimal string alignment: Levenshtein's distance, and two letters swapped count as one edit. */
function editDistance(left: string, right: string): number {
  const rows: number[][] = [Array.from({ length: right.length + 1 }, (_, index) => index)];
  const at = (i: number, j: number) => rows[i]?.[j] ?? Infinity;
  for (let i = 1; i <= left.length; i += 1) {
    rows[i] = [i];
    for (let j = 1; j <= right.length; j += 1) {
      const substitution = at(i - 1, j - 1) + (left[i - 1] === right[j - 1] ? 0 : 1);
      const swapped = left[i - 1] === right[j - 2] && left[i - 2] === right[j - 1];
      const swap = swapped ? at(i - 2, j - 2) + 1 : Infinity;
      rows[i]?.push(Math.min(substitution, at(i - 1, j) + 1, at(i, j - 1) + 1, swap));
    }
  }
  return at(left.length, right.length);
}

/** TypeBox stops at 8 errors unless told otherwise, and can be told only for the whole process. */
function allErrors(schema: TSchema, value: unknown): TLocalizedValidationError[] {
  const { maxErrors } = TypeBoxSettings.Get();
  TypeBoxSettings.Set({ maxErrors: 10_000 });
  try {
    return Value.Errors(schema, value);
  } finally {
    TypeBoxSettings.Set({ maxErrors });
  }
}

/**
 * Leaves out what would say the same thing twice: the echo of an unknown key, and the branches of a union,
 * except that a mapping is judged by the union's branch for mappings.
 */
function relevantErrors(
  errors: readonly TLocalizedValidationError[],
  root: unknown,
): TLocalizedValidationError[] {
  const unions = errors
    .filter((error) => error.keyword === 'anyOf')
    .map((error) => {
      const branch = (nodeAt(error.schemaPath).anyOf ?? []).findIndex((node) => node.type === 'object');
      const judged = branch >= 0 && isMapping(valueAt(root, pathOf(error.instancePath, root)));
      return {
        error,
        inside: `${error.schemaPath}/anyOf/`,
        mapping: judged ? `${error.schemaPath}/anyOf/${branch}` : undefined,
      };
    });
  return errors.filter((error) => {
    if (error.keyword === 'boolean') return false;
    return unions.every((union) => {
      if (error === union.error) return union.mapping === undefined;
      if (
        !error.schemaPath.startsWith(union.inside) ||
        !isUnder(error.instancePath, union.error.instancePath)
      )
        return true;
      return union.mapping !== undefined && error.schemaPath.startsWith(union.mapping);
    });
  });
}

function findingFor(source: YamlSource, { path, part, code, text }: Mistake): Finding {
  const key = formatKeyPath(path);
  const origin = source.place(path, part);
  return {
    severity: 'error',
    code,
    key,
    origin,
    message: `${origin}: ${key === '' ? '' : `${key}: `}${text}`,
  };
}

function nodeAt(schemaPath: string): SchemaNode {
  const segments = schemaPath.split('/').slice(1);
  return segments.reduce<unknown>((node, segment) => member(node, segment), FileSchema) as SchemaNode;
}

/** RFC 6901. */
function pathOf(instancePath: string, root: unknown): KeyPath {
  const path: (string | number)[] = [];
  let value = root;
  for (const escaped of instancePath.split('/').slice(1)) {
    const segment = escaped.replaceAll('~1', '/').replaceAll('~0', '~');
    path.push(Array.isArray(value) ? Number(segment) : segment);
    value = member(value, segment);
  }
  return path;
}

function valueAt(root: unknown, path: KeyPath): unknown {
  return path.reduce<unknown>((value, segment) => member(value, String(segment)), root);
}

function member(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[key] : undefined;
}

function pathsOf(node: SchemaNode): string[][] {
  return Object.entries(node.properties ?? {}).flatMap(([key, child]) => [
    [key],
    ...pathsOf(child).map((path) => [key, ...path]),
  ]);
}

function isUnder(path: string, parent: string): boolean {
  return path === parent || path.startsWith(`${parent}/`);
}

function isMapping(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function show(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  if (isMapping(value)) return 'a mapping';
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}..."` : text;
}

function list(words: readonly string[]): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`;
}
