/** reload, log-level and stop: all wait for the result. */
import { Argument, type Command } from 'commander';
import type { LogLevel } from '../../control/protocol.js';
import { addClientOptions, type ClientOptions, withClient } from '../client-options.js';
import type { Context } from '../io.js';

const LEVELS: readonly LogLevel[] = ['trace', 'debug', 'info', 'warn', 'error'];

export function addControlCommands(program: Command, { io }: Context): void {
  addClientOptions(program.command('reload'))
    .description('let the gateway read its file again; a faulty one changes nothing')
    .action(async (options: ClientOptions) => {
      const result = await withClient(io, options, (client) => client.reload());
      const { generation, changes } = result;
      const text =
        changes.length === 0
          ? `Reloaded: nothing has changed (table ${generation}).`
          : [`Reloaded (table ${generation}):`, ...changes.map((change) => `- ${change}`)].join('\n');
      io.stdout.write(options.json ? `${JSON.stringify(result, null, 2)}\n` : `${text}\n`);
    });

  addClientOptions(program.command('log-level'))
    .addArgument(new Argument('[level]', 'the new level').choices(LEVELS))
    .description('change what a running gateway logs, until its next reload; without a level, tell it')
    .action(async (level: LogLevel | undefined, options: ClientOptions) => {
      const result = await withClient(io, options, (client) => client.logLevel(level));
      const text =
        level === undefined ? `Log level: ${result.level}.` : `Log level changed to ${result.level}.`;
      io.stdout.write(options.json ? `${JSON.stringify(result, null, 2)}\n` : `${text}\n`);
    });

  addClientOptions(program.command('stop'))
    .description('stop the gateway')
    .action(async (options: ClientOptions) => {
      const result = await withClient(io, options, (client) => client.stop());
      io.stdout.write(options.json ? `${JSON.stringify(result, null, 2)}\n` : 'The gateway has stopped.\n');
    });
}
