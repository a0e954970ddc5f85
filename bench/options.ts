/** The bench's command line. */
import { parseArgs } from 'node:util';
import { SettingsError } from '../src/errors.js';

export interface Options {
  quick: boolean;
  peers: boolean;
  micro: boolean;
  list: boolean;
  help: boolean;
  rounds: number;
  only: RegExp | undefined;
  seed: number;
  out: string;
  compare: string | undefined;
  /** Seconds of each TCP run, if given. */
  seconds: number | undefined;
}

export const USAGE = `npm run bench -- [options]         as root; without options about an hour
  --quick              the main figures in less than five minutes
  --rounds N           interleaved rounds (default 5; with --quick as many as fit, at most 3)
  --only PATTERN       only cases whose VARIANT/CONTENDER/TEST matches, and their references
  --peers              also tunnels that are installed: wireguard-go, OpenVPN, tinc, socat, SoftEther
  --micro              only the micro benchmarks (nanoseconds per frame, no root needed)
  --seconds S          length of each TCP run
  --compare OLD.json   say what changed beyond noise since that run
  --out DIR            where to write the report (default bench/results/TIME)
  --seed N             repeat the order of an earlier run
  --list               say what would run, and how long it takes
`;

export function parseOptions(argv: readonly string[]): Options {
  let values: Record<string, string | boolean | undefined>;
  try {
    ({ values } = parseArgs({
      args: [...argv],
      options: {
        quick: { type: 'boolean' },
        peers: { type: 'boolean' },
        micro: { type: 'boolean' },
        list: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
        rounds: { type: 'string' },
        only: { type: 'string' },
        seed: { type: 'string' },
        out: { type: 'string' },
        compare: { type: 'string' },
        seconds: { type: 'string' },
      },
    }));
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new SettingsError('bench-usage', `${message}\n${USAGE}`, { cause });
  }
  const quick = values.quick === true;
  const text = (name: string) => (typeof values[name] === 'string' ? values[name] : undefined);
  return {
    quick,
    peers: values.peers === true,
    micro: values.micro === true,
    list: values.list === true,
    help: values.help === true,
    rounds: number('rounds', text('rounds'), 1) ?? (quick ? 3 : 5),
    only: pattern(text('only')),
    seed: number('seed', text('seed'), 0) ?? Date.now() % 1_000_000,
    out: text('out') ?? `bench/results/${new Date().toISOString().slice(0, 19).replaceAll(':', '')}`,
    compare: text('compare'),
    seconds: number('seconds', text('seconds'), 1),
  };
}

function number(name: string, text: string | undefined, least: number): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (Number.isInteger(value) && value >= least) return value;
  throw new SettingsError('bench-usage', `--${name} wants a whole number from ${least} on, not "${text}".`);
}

function pattern(text: string | undefined): RegExp | undefined {
  if (text === undefined) return undefined;
  try {
    return new RegExp(text);
  } catch (cause) {
    throw new SettingsError('bench-usage', `--only wants a regular expression, not "${text}".`, { cause });
  }
}
