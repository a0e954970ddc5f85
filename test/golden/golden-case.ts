/**
 * What a golden case is, and how it stands in its case.json. Frames are hexadecimal; "...+1424@7" at the end
 * stands for 1424 bytes that count up from 7 (helpers/frames.ts, counting), so that large ones stay readable.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { NeighborText, TableText } from '../helpers/forwarding.js';
import { type Bytes, counting, type VirtioFields } from '../helpers/frames.js';

export interface GoldenStep {
  what: string;
  direction: 'encap' | 'decap';
  frame: Bytes;
  virtio?: VirtioFields;
  /** The pipeline's clock from here on, seconds. */
  time?: number;
  /** Published before. */
  neighbors?: NeighborText[];
  /** "forwarded", "punted", "held" or a drop reason. */
  verdict: string;
  out?: Bytes[];
  /** ICMP errors, sent back out of where the frame came in. */
  replies?: Bytes[];
  events?: string[];
}

export interface GoldenCase {
  name: string;
  sentence: string;
  table: TableText;
  neighbors: NeighborText[];
  steps: GoldenStep[];
  /** Besides those that follow from the verdicts. */
  counters?: Record<string, number>;
}

export interface StepJson extends Omit<GoldenStep, 'frame' | 'out' | 'replies' | 'events'> {
  frame: string;
  out: string[];
  replies?: string[];
  events: string[];
}

export interface CaseJson extends Omit<GoldenCase, 'name' | 'steps' | 'counters'> {
  steps: StepJson[];
  counters: Record<string, number>;
}

const SHORTEST_RUN = 64;
const PERIOD = 251;

/** Bytes as text; a long counting tail is told by its length and start. */
export function toText(frame: Bytes): string {
  let from = frame.length - 1;
  while (from > 0 && frame[from] === ((frame[from - 1] ?? 0) + 1) % PERIOD && (frame[from - 1] ?? 0) < PERIOD)
    from--;
  if (frame.length - from < SHORTEST_RUN) return Buffer.from(frame).toString('hex');
  return `${Buffer.from(frame.subarray(0, from)).toString('hex')}+${frame.length - from}@${frame[from]}`;
}

export function fromText(text: string): Uint8Array<ArrayBuffer> {
  const [, hex = '', length, start] = /^([0-9a-f]*)(?:\+(\d+)@(\d+))?$/.exec(text) ?? [];
  const tail = length === undefined ? [] : counting(Number(length), Number(start));
  return Uint8Array.from([...Buffer.from(hex, 'hex'), ...tail]);
}

/** For messages: what cannot be told in a line. */
export function digest(frame: Bytes): string {
  return createHash('sha256').update(frame).digest('hex').slice(0, 16);
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

/** The counters that follow from what was received, said and sent; those that are zero are left out. */
function countersOf({ steps, counters }: GoldenCase): Record<string, number> {
  const replies = steps.flatMap((step) => step.replies ?? []);
  const out = [...steps.flatMap((step) => step.out ?? []), ...replies];
  const all: Record<string, number> = {
    rx_frames: steps.length,
    rx_bytes: sum(steps.map(({ frame }) => frame.length)),
    tx_frames: out.length,
    tx_bytes: sum(out.map((frame) => frame.length)),
    icmp_errors: replies.length,
  };
  for (const { verdict } of steps) {
    const name = ['forwarded', 'punted', 'held'].includes(verdict) ? verdict : `drop_${verdict}`;
    all[name] = (all[name] ?? 0) + 1;
  }
  for (const [name, value] of Object.entries(counters ?? {})) all[name] = (all[name] ?? 0) + value;
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== 0));
}

export function toJson(golden: GoldenCase): CaseJson {
  const { sentence, table, neighbors } = golden;
  const steps = golden.steps.map(({ frame, out = [], replies, events = [], ...rest }) => ({
    ...rest,
    frame: toText(frame),
    out: out.map(toText),
    ...(replies && { replies: replies.map(toText) }),
    events,
  }));
  return { sentence, table, neighbors, steps, counters: countersOf(golden) };
}

/** Where the cases lie, one directory each. */
export const GOLDEN = fileURLToPath(new URL('.', import.meta.url));
export const caseFile = (name: string): string => join(GOLDEN, name, 'case.json');

export function caseNames(): string[] {
  return readdirSync(GOLDEN, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
    .sort();
}

export function readCase(name: string): CaseJson {
  return JSON.parse(readFileSync(caseFile(name), 'utf8')) as CaseJson;
}
