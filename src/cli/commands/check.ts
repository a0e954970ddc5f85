import type { Command } from 'commander';
import type { Settings } from '../../config/settings.js';
import { connect } from '../../control/client.js';
import type { StatusResult } from '../../control/protocol.js';
import { SettingsError } from '../../errors.js';
import { plural } from '../../stats/format.js';
import type { Context } from '../io.js';
import { addSettingsOptions, chooseSettings, type SettingsOptions } from '../settings-options.js';

/** A finding of the settings or of the machine; the message of the former already holds the remedy. */
interface Finding {
  readonly severity: 'error' | 'warning' | 'info';
  readonly code: string;
  readonly message: string;
  readonly remedy?: string;
  readonly key?: string;
}

export function addCheckCommand(program: Command, context: Context): void {
  addSettingsOptions(program.command('check'))
    .description('check configuration and machine, each finding with its remedy; changes nothing')
    .option('--json', 'print a JSON object')
    .action(async (options: SettingsOptions & { json?: boolean }) => {
      const findings = await check(options);
      const count = (severity: Finding['severity']) =>
        findings.filter((finding) => finding.severity === severity).length;
      const [errors, warnings] = [count('error'), count('warning')];
      const text = options.json
        ? JSON.stringify({ errors, warnings, findings }, null, 2)
        : [...findings.map(line), summary(errors, warnings)].join('\n');
      context.io.stdout.write(`${text}\n`);
      context.exitCode = errors > 0 ? 2 : 0;
    });
}

async function check(options: SettingsOptions): Promise<Finding[]> {
  try {
    const { settings, notes } = await chooseSettings(options);
    const { preflight } = await import('../../gateway/preflight.js');
    const read = notes.map((message): Finding => ({ severity: 'info', code: 'flags', message }));
    return [...read, ...(await preflight(settings, { running: await runningWith(settings) }))];
  } catch (error) {
    if (!(error instanceof SettingsError) || error.code === 'usage') throw error;
    const { findings } = error as { findings?: readonly Finding[] };
    return findings === undefined
      ? [{ severity: 'error', code: error.code, message: error.message }]
      : [...findings];
  }
}

/** What the gateway of these settings says, if it runs. */
async function runningWith({ control, name }: Settings): Promise<StatusResult | undefined> {
  try {
    const client = await connect({ socket: control.socket, timeout: 1000 });
    try {
      const status = await client.status();
      return status.name === name ? status : undefined;
    } finally {
      client.close();
    }
  } catch {
    return undefined;
  }
}

function line({ severity, message, remedy }: Finding): string {
  return [`${severity}: ${message}`, remedy].filter((part) => part !== undefined && part !== '').join(' ');
}

function summary(errors: number, warnings: number): string {
  const found = [
    ...(errors > 0 ? [plural(errors, 'error')] : []),
    ...(warnings > 0 ? [plural(warnings, 'warning')] : []),
  ];
  return found.length === 0 ? 'no problems found' : `${found.join(', ')} found`;
}
