/**
 * Every error that a person may read. `code` is stable, `exitCode` is what the
 * command line ends with (contract: 1 failed at run time, 2 wrong usage or configuration), `message` is one
 * or two plain sentences that end with the remedy.
 */
export class VpcConnError extends Error {
  readonly code: string;
  readonly exitCode: 1 | 2;

  constructor(code: string, message: string, options: { exitCode?: 1 | 2; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'VpcConnError';
    this.code = code;
    this.exitCode = options.exitCode ?? 1;
  }
}

/** Wrong usage, configuration, or a machine that does not fit the configuration: exit code 2. */
export class SettingsError extends VpcConnError {
  constructor(code: string, message: string, options: { cause?: unknown } = {}) {
    super(code, message, { ...options, exitCode: 2 });
    this.name = 'SettingsError';
  }
}
