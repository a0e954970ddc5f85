/** What a command touches of its process; tests pass their own. */
import type { EventEmitter } from 'node:events';

export interface Output {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

export interface Io {
  readonly stdout: Output;
  readonly stderr: Output;
  readonly env: NodeJS.ProcessEnv;
  /** Emits 'SIGINT', 'SIGTERM', 'SIGHUP'; `process` itself outside of tests. */
  readonly signals: Pick<EventEmitter, 'on' | 'off'>;
  /** Ends the process at once. */
  exit(code: number): void;
}

/** What the commands share. */
export interface Context {
  readonly io: Io;
  /** What the process will end with; a command that fails throws instead. */
  exitCode: 0 | 1 | 2;
}
