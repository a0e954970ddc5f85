/** The life of `vpc-conn run`: control socket first and last, the gateway in between. */
import { execFile } from 'node:child_process';
import { type Stats, unwatchFile, watchFile } from 'node:fs';
import { placeOf } from '../config/finding.js';
import type { Settings } from '../config/settings.js';
import type { Methods } from '../control/protocol.js';
import { startControlServer } from '../control/server.js';
import { driverStatistics } from '../dataplane/native-data-plane.js';
import { SettingsError, VpcConnError } from '../errors.js';
import type { Gateway } from '../gateway/gateway.js';
import type { Finding } from '../gateway/preflight.js';
import { createLogger, LOG_LEVELS, type Logger, logReady, setLogLevel } from '../log.js';
import { createMetrics } from '../metrics/metrics.js';
import { type MetricsServer, startMetricsServer } from '../metrics/server.js';
import type { Io } from './io.js';
import type { ChosenSettings } from './settings-options.js';

export interface RunGatewayOptions extends ChosenSettings {
  createGateway: (settings: Settings, options: { logger: Logger }) => Gateway;
  io: Io;
  /** What `check` finds beyond that which ends the start; logged once the gateway runs. Never rejects. */
  surroundings?: (settings: Settings) => Promise<readonly Finding[]>;
  /** Default: one made from the settings. */
  logger?: Logger;
  /** Reload whenever this file changes. */
  watchedFile?: string;
}

/**
 * Runs until a signal, `vpc-conn stop` or a failure; resolves with the exit code when everything is down.
 * Rejects with VpcConnError when the gateway does not start; nothing is left behind then.
 */
export async function runGateway(options: RunGatewayOptions): Promise<0 | 1 | 2> {
  const { settings, io, notes } = options;
  const logger = options.logger ?? createLogger(settings.log);
  const gateway = options.createGateway(settings, { logger });
  const end = new Deferred<VpcConnError | undefined>();
  gateway.on('failed', (error) => end.resolve(error));

  const reload = async (): Promise<Methods['reload']['result']> => {
    if (options.reload === undefined) {
      throw new SettingsError(
        'no-file',
        'This gateway was started with flags, so there is no file to read again. Stop it and start it with other flags.',
      );
    }
    return await gateway.reload(options.reload());
  };

  // Refuses when another gateway lives on the socket: before anything of the machine is touched.
  const server = await startControlServer({
    socket: settings.control.socket,
    access: settings.control,
    logger,
    handlers: {
      status: () => gateway.status(),
      stats: () => gateway.stats(),
      neighbors: () => gateway.neighbors(),
      flows: (request) => gateway.flows(request),
      reload,
      logLevel: ({ level }) => changeLogLevel(logger, level),
      settings: () => gateway.settings,
      stop: async () => {
        logger.info('stopping: asked to by "vpc-conn stop"');
        end.resolve(undefined);
        await gateway.stop();
        return { stopped: true };
      },
    },
  });
  const reloadAloud = () => reloadAndLog(reload, logger);
  const unlisten = listenToSignals(io, logger, { end: () => end.resolve(undefined), reload: reloadAloud });
  const unwatch = options.watchedFile === undefined ? () => {} : watch(options.watchedFile, reloadAloud);
  let metrics: MetricsServer | undefined;
  try {
    metrics = await listenForScrapes(gateway, settings, logger);
    for (const note of notes) logger.info(note);
    const starting = gateway.start();
    await Promise.race([starting, end.promise]);
    if (!end.resolved) {
      logReady(logger);
      notifySystemd(io.env, logger);
      options.surroundings?.(settings).then((findings) => logFindings(logger, findings));
    }
    const failure = await end.promise;
    if (failure === undefined) return 0;
    logger.error({ code: failure.code }, failure.message);
    return failure.exitCode;
  } finally {
    await gateway.stop();
    await metrics?.close();
    await server.close();
    unwatch();
    unlisten();
  }
}

/** Milliseconds between two looks at a watched file. */
const LOOK_EVERY = 500;

/**
 * By looking, because editors replace a file and orchestrators the directory behind a link; a notice about the old
 * file would be the last one. Returns how to stop.
 */
function watch(file: string, onChange: () => void): () => void {
  const looked = (now: Stats, before: Stats) => {
    // Not there: it is being replaced.
    const changed = now.mtimeMs !== before.mtimeMs || now.ino !== before.ino || now.size !== before.size;
    if (now.ino !== 0 && changed) onChange();
  };
  watchFile(file, { interval: LOOK_EVERY, persistent: false }, looked);
  return () => unwatchFile(file, looked);
}

function reloadAndLog(reload: () => Promise<Methods['reload']['result']>, logger: Logger): void {
  reload().then(
    ({ generation, changes }) => logger.info({ generation, changes: changes.length }, 'reloaded'),
    (error: unknown) => {
      const reason = error instanceof Error ? error.message : String(error);
      const code = error instanceof VpcConnError ? error.code : undefined;
      logger.error({ code }, `not reloaded, nothing has changed: ${reason}`);
    },
  );
}

function changeLogLevel(logger: Logger, level: unknown): Methods['logLevel']['result'] {
  const wanted = LOG_LEVELS.find((one) => one === level);
  if (level !== undefined && wanted === undefined) {
    throw new SettingsError('log-level', `There is no such level. Write one of ${LOG_LEVELS.join(', ')}.`);
  }
  if (wanted !== undefined) setLogLevel(logger, wanted);
  return { level: LOG_LEVELS.find((one) => one === logger.level) ?? 'info' };
}

function logFindings(logger: Logger, findings: readonly Finding[]): void {
  for (const { severity, code, message, remedy } of findings) {
    const level = severity === 'info' ? 'debug' : 'warn';
    logger[level]({ code }, [message, remedy].filter(Boolean).join(' '));
  }
}

/** Only where the settings ask for it. */
async function listenForScrapes(
  gateway: Gateway,
  settings: Settings,
  logger: Logger,
): Promise<MetricsServer | undefined> {
  const { metrics: listen, overlay, underlay } = settings;
  if (listen === undefined) return undefined;
  const metrics = createMetrics({
    status: () => gateway.status(),
    stats: () => gateway.stats(),
    allowances: () =>
      Object.fromEntries(
        [overlay.interface, underlay.interface].map((name) => [name, driverStatistics(name)]),
      ),
  });
  return await startMetricsServer({ listen, place: placeOf(settings, 'metrics.listen'), metrics, logger });
}

function listenToSignals(io: Io, logger: Logger, actions: { end(): void; reload(): void }): () => void {
  let asked = false;
  const stop = (signal: NodeJS.Signals) => {
    if (asked) {
      logger.warn({ signal }, 'a second signal: ending at once');
      io.exit(1);
      return;
    }
    asked = true;
    logger.info({ signal }, 'stopping');
    actions.end();
  };
  const hangUp = () => actions.reload();
  io.signals.on('SIGINT', stop).on('SIGTERM', stop).on('SIGHUP', hangUp);
  return () => {
    io.signals.off('SIGINT', stop).off('SIGTERM', stop).off('SIGHUP', hangUp);
  };
}

/** READY=1 for Type=notify units. Node has no datagram Unix sockets; systemd's own program has. */
function notifySystemd(env: NodeJS.ProcessEnv, logger: Logger): void {
  if (env.NOTIFY_SOCKET === undefined) return;
  execFile('systemd-notify', ['--ready', `--pid=${process.pid}`], { env, timeout: 5000 }, (error) => {
    if (error === null) return;
    const reason = 'code' in error && error.code === 'ENOENT' ? 'it is missing' : error.message.trim();
    logger.warn(
      `systemd was not told that this gateway is ready: systemd-notify failed (${reason}). Install it, or set Type=exec in the unit.`,
    );
  });
}

class Deferred<T> {
  resolved = false;
  readonly promise: Promise<T>;
  #resolve: (value: T) => void = () => {};

  constructor() {
    this.promise = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  resolve(value: T): void {
    this.resolved = true;
    this.#resolve(value);
  }
}
