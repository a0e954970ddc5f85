/**
 * Logging: pino to stderr, written synchronously, so that nothing is lost when the process ends. Rare lines
 * only; whatever may repeat with traffic goes through a RepeatFilter.
 */
import { type DestinationStream, type Logger, pino } from 'pino';
import { prettyFactory } from 'pino-pretty';
import type { Settings } from './config/settings.js';

export type { Logger } from 'pino';
export type LogSettings = Settings['log'];
export const LOG_LEVELS: readonly LogSettings['level'][] = ['trace', 'debug', 'info', 'warn', 'error'];

const STDERR = 2;

/** Children carry their own level in pino; they are remembered here so that setLogLevel reaches them. */
const children = new WeakMap<Logger, Set<WeakRef<Logger>>>();

/**
 * @param destination for tests and embedding; default: stderr.
 */
export function createLogger(settings: LogSettings, destination?: DestinationStream): Logger {
  const terminal = destination === undefined && process.stderr.isTTY === true;
  const pretty = settings.format === 'pretty' || (settings.format === 'auto' && terminal);
  const known = new Set<WeakRef<Logger>>();
  const options = {
    level: settings.level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    onChild: (child: Logger) => {
      for (const reference of known) {
        if (reference.deref() === undefined) known.delete(reference);
      }
      known.add(new WeakRef(child));
    },
  };
  const target = destination ?? pino.destination({ fd: STDERR, sync: true });
  const logger = pino(options, pretty ? prettyStream(target, terminal) : target);
  children.set(logger, known);
  return logger;
}

/** Changes the level of a logger made by createLogger and of all its children. */
export function setLogLevel(logger: Logger, level: LogSettings['level']): void {
  logger.level = level;
  for (const reference of children.get(logger) ?? []) {
    const child = reference.deref();
    if (child !== undefined) child.level = level;
  }
}

/**
 * The line that scripts wait for: its message is the single word `ready`, whatever the log level. A child
 * carries its own level, so the line passes and the logger's level stays.
 */
export function logReady(logger: Logger): void {
  logger.child({}, { level: 'info' }).info('ready');
}

type EventLevel = 'debug' | 'info' | 'warn' | 'error';

export interface RepeatFilter {
  /** Logs the first occurrence of `key`, counts the others. `fields` belong to that first one. */
  log(key: string, fields: object, message: string, level?: EventLevel): void;
  /** Logs what is still counted and stops the timer. */
  close(): void;
}

export interface RepeatFilterOptions {
  logger: Logger;
  /** Of events that come without one; default: warn. */
  level?: EventLevel;
  /** Milliseconds between summaries; default one minute. */
  interval?: number;
  /** Keys remembered at most; further ones share a single count. Default 256. */
  maximum?: number;
}

interface Repeated {
  readonly message: string;
  readonly level: EventLevel;
  count: number;
}

const OVERFLOW = 'further events of other kinds';

/**
 * For events that traffic can repeat at will: the first is logged, then one line per interval says how many
 * followed. A key that was quiet for a whole interval is forgotten, its next occurrence counts as a first.
 */
export function createRepeatFilter(options: RepeatFilterOptions): RepeatFilter {
  const { logger, level = 'warn', interval = 60_000, maximum = 256 } = options;
  const repeats = new Map<string, Repeated>();
  const lately = interval === 60_000 ? 'in the last minute' : `within ${interval / 1000} s`;
  let timer: NodeJS.Timeout | undefined;

  const summarise = () => {
    for (const [key, entry] of repeats) {
      if (entry.count === 0) {
        repeats.delete(key);
        continue;
      }
      logger[entry.level]({ repeated: entry.count }, `${entry.message} (${entry.count} more ${lately})`);
      entry.count = 0;
    }
    if (repeats.size === 0) stop();
  };
  const stop = () => {
    clearInterval(timer);
    timer = undefined;
  };

  return {
    log(key, fields, message, ofEvent = level) {
      const known = repeats.get(key) ?? (repeats.size >= maximum ? overflow(repeats, level) : undefined);
      if (known !== undefined) {
        known.count += 1;
        return;
      }
      repeats.set(key, { message, level: ofEvent, count: 0 });
      logger[ofEvent](fields, message);
      timer ??= setInterval(summarise, interval).unref();
    },
    close() {
      summarise();
      stop();
    },
  };
}

function overflow(repeats: Map<string, Repeated>, level: EventLevel): Repeated {
  const entry = repeats.get(OVERFLOW) ?? { message: OVERFLOW, level, count: 0 };
  repeats.set(OVERFLOW, entry);
  return entry;
}

/** Not pino-pretty's own stream: that one writes a turn later, and the last words before an exit get lost. */
function prettyStream(target: DestinationStream, terminal: boolean): DestinationStream {
  const format = prettyFactory({
    colorize: terminal && process.env.NO_COLOR === undefined,
    translateTime: 'SYS:HH:MM:ss.l',
  });
  return { write: (line) => target.write(format(line)) };
}
