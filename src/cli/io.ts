/** What a command touches of its process; tests pass their own. */
import type { EventEmitter } from 'node:events';

export interface Output {
  readonly isTTY?: boolean;
  /** Of a terminal. */
  readonly columns?: number;
  readonly rows?: number;
  /** More has been written than was taken. */
  readonly writableNeedDrain?: boolean;
  write(text: string): unknown;
  on?(event: 'resize', listener: () => void): unknown;
  off?(event: 'resize', listener: () => void): unknown;
}

/** The keyboard. */
export interface Input {
  readonly isTTY?: boolean;
  setRawMode?(raw: boolean): unknown;
  on(event: 'data', listener: (data: unknown) => void): unknown;
  off(event: 'data', listener: (data: unknown) => void): unknown;
  resume(): unknown;
  pause(): unknown;
}

export interface Io {
  readonly stdout: Output;
  readonly stderr: Output;
  /** Absent: there is no keyboard. */
  readonly stdin?: Input;
  readonly env: NodeJS.ProcessEnv;
  /** Emits 'SIGINT', 'SIGTERM', 'SIGHUP' and 'exit'; `process` itself outside of tests. */
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
