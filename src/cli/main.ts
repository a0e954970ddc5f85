#!/usr/bin/env node
/** The program `vpc-conn`. */
import { main, reportError } from './program.js';

const argv = process.argv.slice(2);

// `vpc-conn stats --watch | head` is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
});
process.stderr.on('error', () => {});

const io = {
  stdout: process.stdout,
  stderr: process.stderr,
  get stdin() {
    return process.stdin;
  },
  env: process.env,
  signals: process,
  exit: (code: number) => process.exit(code),
};
process.once('uncaughtException', (error) => {
  io.exit(reportError(error, argv, io));
});

const code = await main(argv, io);
// Whatever is left in a pipe goes out first; nothing else may keep the process.
process.stdout.write('', () => process.exit(code));
