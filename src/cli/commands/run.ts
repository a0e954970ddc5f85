import type { Command } from 'commander';
import type { Context } from '../io.js';
import { addSettingsOptions, chooseSettings, type SettingsOptions } from '../settings-options.js';

export function addRunCommand(program: Command, context: Context): void {
  addSettingsOptions(program.command('run', { isDefault: true }))
    .description('run a gateway in the foreground until SIGINT or SIGTERM; SIGHUP reads the file again')
    .action(async (options: SettingsOptions) => {
      const chosen = await chooseSettings(options);
      const { createGateway } = await import('../../gateway/gateway.js');
      const { surroundings } = await import('../../gateway/preflight.js');
      const { runGateway } = await import('../run-gateway.js');
      context.exitCode = await runGateway({ ...chosen, createGateway, surroundings, io: context.io });
    });
}
