import type { Command } from 'commander';
import type { Context } from '../io.js';

export function addDemoCommand(program: Command, context: Context): void {
  program
    .command('demo')
    .description(
      'show two VPCs with the same addresses talking, all inside network namespaces of this machine',
    )
    .option('--once', 'run it once, without a terminal; exits 0 only if every step worked')
    .action(async ({ once = false }: { once?: boolean }) => {
      const { runDemo } = await import('../../lab/demo.js');
      context.exitCode = (await runDemo({ once })) === 0 ? 0 : 1;
    });
}
