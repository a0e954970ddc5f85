import type { Command } from 'commander';
import { SettingsError } from '../../errors.js';
import type { Context } from '../io.js';
import { addSettingsOptions, chooseSettings, type SettingsOptions } from '../settings-options.js';

export function addRunCommand(program: Command, context: Context): void {
  addSettingsOptions(program.command('run', { isDefault: true }))
    .description('run a gateway in the foreground until SIGINT or SIGTERM; SIGHUP reads the file again')
    .option('--reload-on-change', 'read the file again whenever it changes, as with SIGHUP; needs -c')
    .action(async (options: SettingsOptions & { reloadOnChange?: boolean }) => {
      const { config, reloadOnChange = false } = options;
      if (reloadOnChange && config === undefined) {
        throw new SettingsError('usage', '--reload-on-change needs a file. Give it with -c.');
      }
      const chosen = await chooseSettings(options);
      const watched = reloadOnChange && config !== undefined ? { watchedFile: config } : {};
      const { createGateway } = await import('../../gateway/gateway.js');
      const { surroundings } = await import('../../gateway/preflight.js');
      const { runGateway } = await import('../run-gateway.js');
      context.exitCode = await runGateway({
        ...chosen,
        ...watched,
        createGateway,
        surroundings,
        io: context.io,
      });
    });
}
