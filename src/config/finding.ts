/** What was found wrong with the settings, and the errors made of it. */
import { SettingsError } from '../errors.js';
import type { Settings } from './settings.js';

export const COMMAND_LINE = 'command line';

export interface Finding {
  readonly severity: 'error' | 'warning';
  /** Stable. */
  readonly code: string;
  /** Key path, "peers[0].proxied[2]"; empty for the file as a whole. */
  readonly key: string;
  /** For people: where, what and the remedy. */
  readonly message: string;
  /** "gateway.yaml:3:14" or "-o eth1"; absent when nobody wrote the key (a default). */
  readonly origin?: string;
}

/** One or more errors: the message has a line for each, the code is the first one's. */
export class InvalidSettingsError extends SettingsError {
  readonly findings: readonly Finding[];

  constructor(findings: readonly [Finding, ...Finding[]]) {
    super(findings[0].code, findings.map((finding) => finding.message).join('\n'));
    this.name = 'InvalidSettingsError';
    this.findings = findings;
  }
}

/** Throws InvalidSettingsError when there is any finding of severity error among them. */
export function throwOnErrors(findings: readonly Finding[]): void {
  const [first, ...rest] = findings.filter((finding) => finding.severity === 'error');
  if (first !== undefined) throw new InvalidSettingsError([first, ...rest]);
}

/** A finding about `key` of these settings; `text` is one or two sentences that end with the remedy. */
export function findingAt(
  settings: Settings,
  key: string,
  code: string,
  text: string,
  severity: Finding['severity'] = 'error',
): Finding {
  const origin = settings.origins?.[key];
  return {
    severity,
    code,
    key,
    message: `${placeOf(settings, key)}: ${text}`,
    ...(origin === undefined ? {} : { origin }),
  };
}

/** "gateway.yaml:3:14: overlay.interface" or "-o eth1": what a message about that key begins with. */
export function placeOf(settings: Settings, key: string): string {
  const origin = settings.origins?.[key];
  if (origin === undefined) return `${settings.source}: ${key}`;
  return settings.source === COMMAND_LINE ? origin : `${origin}: ${key}`;
}

/** The same without the key, for "the other one is at ...". */
export function originOf(settings: Settings, key: string): string {
  return settings.origins?.[key] ?? `${settings.source} (${key})`;
}
