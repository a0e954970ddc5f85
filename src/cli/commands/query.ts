/** status, stats, neighbors, flows: ask, print, and with --watch ask again. */
import { setTimeout as delay } from 'node:timers/promises';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { ControlClient } from '../../control/client.js';
import type { StatsResult } from '../../control/protocol.js';
import { addClientOptions, type ClientOptions, withClient } from '../client-options.js';
import type { Context, Io } from '../io.js';
import { isAscii, isScreen, openScreen } from '../live.js';

interface QueryOptions extends ClientOptions {
  watch?: boolean;
  limit?: number;
}

const EVERY = 1000;

interface Query<T> {
  name: string;
  description: string;
  ask(client: ControlClient, options: QueryOptions): Promise<T>;
  /** What --json prints; default: the answer. */
  json?(answer: T): unknown;
  /** Called once per command; what it returns renders each answer in turn. */
  renderer(): Promise<(answer: T) => string>;
  /** --watch on a terminal; default: the rendered answers, one over the other. */
  live?(io: Io, client: ControlClient): Promise<void>;
}

export function addQueryCommands(program: Command, context: Context): void {
  addQuery(program, context, {
    name: 'status',
    description: 'say whether the gateway works: interfaces, peers, what to mend',
    ask: (client) => client.status(),
    renderer: async () => (await import('../../stats/status.js')).renderStatus,
  });
  addQuery(program, context, {
    name: 'stats',
    description:
      'print traffic by direction and peer, and every drop with its reason; with --watch also rates',
    ask: (client) => client.stats(),
    renderer: statsRenderer,
    live: watchStats,
  });
  addQuery(program, context, {
    name: 'neighbors',
    description: 'print what is known of next hops: state, MAC, age',
    ask: (client) => client.neighbors(),
    renderer: async () => (await import('../../stats/rows.js')).renderNeighbors,
  });
  addQuery(program, context, {
    name: 'flows',
    description: 'print masqueraded flows',
    ask: (client, { limit }) => client.flows(limit),
    json: ({ flows }) => flows,
    renderer: async () => (await import('../../stats/rows.js')).renderFlows,
  }).addOption(
    new Option('--limit <number>', 'print so many of them at most').default(1000).argParser(limitOf),
  );
}

function limitOf(text: string): number {
  const limit = Number(text);
  if (Number.isInteger(limit) && limit >= 1 && limit <= 1_000_000) return limit;
  throw new InvalidArgumentError('Write a whole number from 1 to 1000000.');
}

/** Rates come from the difference to the answer before. */
async function statsRenderer(): Promise<(answer: StatsResult) => string> {
  const { renderStats } = await import('../../stats/stats.js');
  let before: { result: StatsResult; at: number } | undefined;
  return (result) => {
    const at = performance.now();
    const earlier = before && { result: before.result, seconds: (at - before.at) / 1000 };
    before = { result, at };
    return renderStats(result, earlier);
  };
}

function addQuery<T>(program: Command, { io }: Context, query: Query<T>): Command {
  return addClientOptions(program.command(query.name))
    .description(query.description)
    .option('--watch', 'repeat every second')
    .action(async (options: QueryOptions) => {
      const render = options.json ? jsonRenderer(options, query.json) : await query.renderer();
      await withClient(io, options, async (client) => {
        if (options.watch && !options.json && query.live && isScreen(io)) return query.live(io, client);
        const print = async () => render(await query.ask(client, options));
        if (options.watch) await watch(io, print, options.json === true);
        else io.stdout.write(await print());
      });
    });
}

/** Until q, or a signal. A gateway that stops answering, because it restarts, is waited for. */
async function watchStats(io: Io, client: ControlClient): Promise<void> {
  const { LiveView } = await import('../../stats/live.js');
  const view = new LiveView(isAscii(io.env));
  const poll = async () => {
    const [status, stats] = await Promise.all([client.status(), client.stats()]);
    view.push({ at: performance.now() / 1000, status, stats });
  };
  await poll(); // what is wrong from the start is said without a picture
  const ended = new AbortController();
  const stop = () => ended.abort();
  io.signals.on('SIGINT', stop).on('SIGTERM', stop);
  const screen = openScreen(io, { quit: stop, resized: () => draw() });
  const draw = () => screen.draw(view.lines(screen.size));
  try {
    for (;;) {
      draw();
      await delay(EVERY, undefined, { signal: ended.signal }).catch(() => {});
      if (ended.signal.aborted) return;
      await poll().catch((error: unknown) => {
        view.fail(error instanceof Error ? error.message : String(error));
      });
    }
  } finally {
    screen.close();
    io.signals.off('SIGINT', stop).off('SIGTERM', stop);
  }
}

/** With --watch one object per line, for programs that read on. */
function jsonRenderer<T>(
  { watch = false }: QueryOptions,
  chosen: (answer: T) => unknown = (answer) => answer,
): (answer: T) => string {
  return (answer) => `${JSON.stringify(chosen(answer), null, watch ? 0 : 2)}\n`;
}

/** Until a signal comes. On a terminal each answer is drawn over the one before. */
async function watch(io: Io, print: () => Promise<string>, json: boolean): Promise<void> {
  const ended = new AbortController();
  const stop = () => ended.abort();
  io.signals.on('SIGINT', stop).on('SIGTERM', stop);
  try {
    let separator = '';
    while (!ended.signal.aborted) {
      const text = await print();
      if (isScreen(io) && !json) io.stdout.write(overdraw(text));
      else io.stdout.write(separator + text);
      separator = json ? '' : '\n';
      await delay(EVERY, undefined, { signal: ended.signal }).catch(() => {});
    }
  } finally {
    io.signals.off('SIGINT', stop).off('SIGTERM', stop);
  }
}

/** Home, each line cleared behind its end, the rest cleared: no flicker. */
function overdraw(text: string): string {
  return `\x1b[H${text.replaceAll('\n', '\x1b[K\n')}\x1b[J`;
}
