/** The command line: from arguments to an exit code. Commands load what they need when they run. */
import { Command, CommanderError } from 'commander';
import { SettingsError, VpcConnError } from '../errors.js';
import { VERSION } from '../version.js';
import { addCheckCommand } from './commands/check.js';
import { addControlCommands } from './commands/control.js';
import { addDemoCommand } from './commands/demo.js';
import { addQueryCommands } from './commands/query.js';
import { addRunCommand } from './commands/run.js';
import type { Context, Io } from './io.js';

const EXAMPLES = `
Examples:
  vpc-conn -c /etc/vpc-conn/vpc-a.yaml
  vpc-conn -o eth1 -t eth2 -d 198.18.0.2 -s 198.18.0.1 -r 10.0.0.20,10.0.0.21
  vpc-conn -o eth1 -t eth2 -d 198.18.0.1 -s 198.18.0.2
  vpc-conn stats --watch

"run" may be left out; its options: vpc-conn run --help
Exit codes: 0 done; 1 failed at run time; 2 wrong usage or configuration.`;

/**
 * Runs one command line (without the program's name) and returns the exit code. Never throws: errors are
 * written to `io.stderr` as plain sentences.
 */
export async function main(argv: readonly string[], io: Io): Promise<number> {
  const context: Context = { io, exitCode: 0 };
  try {
    const program = createProgram(context);
    const words = normalise(argv);
    refuseUnknownCommand(program, words);
    await program.parseAsync(words, { from: 'user' });
    return context.exitCode;
  } catch (error) {
    return reportError(error, argv, io);
  }
}

/** Writes `vpc-conn: sentence` for each line of the message and returns the exit code. */
export function reportError(error: unknown, argv: readonly string[], io: Pick<Io, 'stderr'>): number {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return 0; // help and version
    complain(
      io,
      `${error.message.replace(/^error: /, '')}. See "vpc-conn --help".`.replace(/\.\. See/, '. See'),
    );
    return 2;
  }
  const known = error instanceof VpcConnError;
  const message = error instanceof Error ? error.message : String(error);
  complain(io, known ? message : `unexpected failure: ${message}. Add --verbose for details, and report it.`);
  if (argv.includes('--verbose') && error instanceof Error) {
    io.stderr.write(`${error.stack ?? ''}\n`);
    for (let cause = error.cause; cause instanceof Error; cause = cause.cause) {
      io.stderr.write(`caused by ${cause.stack ?? cause.message}\n`);
    }
  }
  return known ? error.exitCode : 1;
}

function complain(io: Pick<Io, 'stderr'>, message: string): void {
  for (const line of message.trimEnd().split('\n')) io.stderr.write(`vpc-conn: ${line}\n`);
}

function createProgram(context: Context): Command {
  const { io } = context;
  const program = new Command('vpc-conn')
    .description('Joins VPCs that use the same addresses, through EtherIP gateways.')
    .version(VERSION, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .option('--verbose', 'print details of errors')
    .addHelpText('after', EXAMPLES)
    // Inherited by the commands, so they come before them.
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
      outputError: () => {}, // main() does
    });
  addRunCommand(program, context);
  addCheckCommand(program, context);
  addQueryCommands(program, context);
  addControlCommands(program, context);
  addDemoCommand(program, context);
  for (const command of program.commands) command.option('--verbose', 'print details of errors');
  return program;
}

/** The original tool's spellings: --outside_interface is --outside-interface. */
function normalise(argv: readonly string[]): string[] {
  const end = argv.indexOf('--');
  return argv.map((word, index) => {
    if (!word.startsWith('--') || (end >= 0 && index >= end)) return word;
    const [name = word] = word.split('=', 1);
    return name.replaceAll('_', '-') + word.slice(name.length);
  });
}

/** With a default command, commander would take an unknown one for an argument of that. */
function refuseUnknownCommand(program: Command, [first]: readonly string[]): void {
  if (first === undefined || first.startsWith('-') || first === 'help') return;
  const names = program.commands.map((command) => command.name());
  if (names.includes(first)) return;
  throw new SettingsError('usage', `unknown command "${first}". The commands are ${names.join(', ')}.`);
}
