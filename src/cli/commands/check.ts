import type { Command } from 'commander';
import type { Settings } from '../../config/settings.js';
import { connect } from '../../control/client.js';
import type { StatusResult } from '../../control/protocol.js';
import { SettingsError } from '../../errors.js';
import { plural } from '../../stats/format.js';
import { withClient } from '../client-options.js';
import type { Context, Io } from '../io.js';
import { addSettingsOptions, chooseSettings, type SettingsOptions } from '../settings-options.js';

/** A finding of the settings or of the machine; the message of the former already holds the remedy. */
interface Finding {
  readonly severity: 'error' | 'warning' | 'info';
  readonly code: string;
  readonly message: string;
  readonly remedy?: string;
  readonly key?: string;
}

interface CheckOptions extends SettingsOptions {
  json?: boolean;
  againstRunning?: boolean;
}

export function addCheckCommand(program: Command, context: Context): void {
  addSettingsOptions(program.command('check'))
    .description('check configuration and machine, each finding with its remedy; changes nothing')
    .option('--json', 'print a JSON object')
    .option('--against-running', 'also say what a reload would change, and which changes need a restart')
    .action(async (options: CheckOptions) => {
      const findings = await check(options, context.io);
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

async function check(options: CheckOptions, io: Io): Promise<Finding[]> {
  try {
    const { settings, notes } = await chooseSettings(options);
    const { preflight } = await import('../../gateway/preflight.js');
    const read = notes.map((message): Finding => ({ severity: 'info', code: 'flags', message }));
    const changes = options.againstRunning === true ? await againstRunning(settings, io) : [];
    const running = await runningWith(settings);
    return [...read, ...(await preflight(settings, { running })), ...changes];
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

/** What a reload with these settings would do to the gateway that runs. */
async function againstRunning(next: Settings, io: Io): Promise<Finding[]> {
  const { describeChanges, keysForRestart } = await import('../../gateway/reload.js');
  const { probe } = await import('../../control/client.js');
  const { socket } = next.control;
  // Its own socket first: several gateways may run here. A file that names another one leaves the only gateway.
  const chosen = (await probe(socket)) === undefined ? { socket } : {};
  const running = await withClient(io, chosen, (client) => client.settings());
  const restart = keysForRestart(running, next).map(
    (key): Finding => ({
      severity: 'warning',
      code: 'restart-needed',
      key,
      message: `${key} is not what the running gateway ${running.name} has, and a reload would be refused because of it.`,
      remedy: 'Stop the gateway and run it again, or leave the key as it was.',
    }),
  );
  const changes = describeChanges(running, next).map(
    (change): Finding => ({
      severity: 'info',
      code: 'reload-change',
      message: `a reload changes: ${change}`,
    }),
  );
  if (restart.length + changes.length > 0) return [...restart, ...changes];
  return [{ severity: 'info', code: 'reload-nothing', message: 'a reload would change nothing.' }];
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
