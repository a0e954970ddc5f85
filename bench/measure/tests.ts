/** Everything that is measured, and what the figures are called. */
import { VpcConnError } from '../../src/errors.js';
import type { Running } from '../contenders/contender.js';
import { blast, highestRate, type Trial } from './datagrams.js';
import { iperf } from './iperf.js';
import { roundTrips } from './rtt.js';
import { checkCarried, observe, residentMegabytes, type Window } from './window.js';

/** How long things take. */
export interface Effort {
  tcpSeconds: number;
  udpSeconds: number;
  searchSeconds: number;
  searchTrials: number;
  pings: number;
  idleSeconds: number;
}

export const FULL: Effort = {
  tcpSeconds: 4,
  udpSeconds: 2,
  searchSeconds: 1,
  searchTrials: 7,
  pings: 300,
  idleSeconds: 2,
};

export const QUICK: Effort = {
  tcpSeconds: 2,
  udpSeconds: 1,
  searchSeconds: 0.4,
  searchTrials: 5,
  pings: 100,
  idleSeconds: 0.5,
};

/** Metric -> value of one run. The metric named like the test is its main one. */
export type Values = Record<string, number>;

export interface Test {
  name: string;
  title: string;
  metrics: readonly Metric[];
  /** About how long a run takes, seconds. */
  seconds(effort: Effort): number;
  run(running: Running, effort: Effort): Promise<Values>;
}

export interface Metric {
  name: string;
  title: string;
  unit: string;
  better: 'higher' | 'lower';
  /** Whether a ratio to a reference says anything. */
  ratio: boolean;
  /** Explains other figures; by itself it is neither good nor bad. */
  aside?: true;
}

const GIGABYTE = 1e9;

function metric(
  name: string,
  title: string,
  unit: string,
  better: Metric['better'] = 'higher',
  ratio = true,
): Metric {
  return { name, title, unit, better, ratio };
}

function cpuMetrics(test: string, title: string): Metric[] {
  return [
    metric(`${test}.cpu`, `${title}: CPU of the whole machine`, 's/GB', 'lower'),
    metric(`${test}.gateway-cpu`, `${title}: CPU of the gateways' processes`, 's/GB', 'lower', false),
  ];
}

function cpuValues(
  test: string,
  running: Running,
  { machineCpu, gatewayCpu }: Window,
  bytes: number,
): Values {
  const gigabytes = bytes / GIGABYTE;
  const values: Values = { [`${test}.cpu`]: machineCpu / gigabytes };
  // What has no process of its own works in the kernel: only the whole machine's figure tells.
  if (running.processes().length > 0) values[`${test}.gateway-cpu`] = gatewayCpu / gigabytes;
  return values;
}

function tcp(name: string, title: string, args: readonly string[]): Test {
  return {
    name,
    title,
    metrics: [
      metric(name, title, 'Gbit/s'),
      ...cpuMetrics(name, title),
      {
        ...metric(`${name}.retransmits`, `${title}: retransmitted segments`, '1/GB', 'lower', false),
        aside: true,
      },
    ],
    seconds: ({ tcpSeconds }) => tcpSeconds + 0.6,
    async run(running, { tcpSeconds }) {
      const { result, window } = await observe(running, () => iperf(running.lab, tcpSeconds, args));
      if (result.bytes === 0) throw new VpcConnError('bench-tcp', 'Not a byte arrived.');
      checkCarried(window, result.bytes);
      return {
        [name]: result.bitsPerSecond / 1e9,
        ...cpuValues(name, running, window, result.bytes),
        [`${name}.retransmits`]: (result.retransmits / result.bytes) * GIGABYTE,
      };
    },
  };
}

/** UDP payloads of 64, 576 and 1400-byte packets in the usual 7:4:1; the largest fit every tunnel. */
const IMIX = [36, 548, 36, 36, 548, 36, 1372, 36, 548, 36, 548, 36];

function checkTrial(trial: Trial, window: Window): void {
  checkCarried(window, trial.deliveredBytes);
  if (trial.delivered === 0) throw new VpcConnError('bench-udp', 'Not a datagram arrived.');
}

function flatOut(name: string, title: string, sizes: readonly number[]): Test {
  return {
    name,
    title,
    metrics: [
      metric(name, `${title}: delivered`, 'kpps'),
      { ...metric(`${name}.offered`, `${title}: offered`, 'kpps', 'higher', false), aside: true },
      metric(`${name}.reordered`, `${title}: out of order`, '%', 'lower', false),
    ],
    seconds: ({ udpSeconds }) => udpSeconds + 0.4,
    async run(running, { udpSeconds }) {
      const { result, window } = await observe(running, () =>
        blast(running.lab, { sizes, rate: 0, seconds: udpSeconds }),
      );
      checkTrial(result, window);
      return {
        [name]: result.deliveredRate / 1000,
        [`${name}.offered`]: result.offeredRate / 1000,
        [`${name}.reordered`]: (result.reordered / result.delivered) * 100,
      };
    },
  };
}

/** A paced sender that was kept from its rate by the machine has not offered it. */
const OFFERED_SHARE = 0.97;

function lossless(name: string, title: string, sizes: readonly number[]): Test {
  return {
    name,
    title,
    metrics: [metric(name, title, 'kpps')],
    seconds: ({ udpSeconds, searchSeconds, searchTrials }) =>
      udpSeconds / 2 + 1.4 * searchTrials * (searchSeconds + 0.3),
    async run(running, { udpSeconds, searchSeconds, searchTrials }) {
      const { result } = await observe(running, async () => {
        const flood = await blast(running.lab, { sizes, rate: 0, seconds: udpSeconds / 2 });
        const passes = async (rate: number) => {
          const trial = await blast(running.lab, { sizes, rate, seconds: searchSeconds });
          return trial.delivered === trial.offered && trial.offeredRate >= OFFERED_SHARE * rate;
        };
        return highestRate(passes, {
          // Unpaced, a generator may starve the gateways of a small machine: they can do more than they did.
          ceiling: Math.max(flood.deliveredRate * 1.5, 10_000),
          trials: searchTrials,
          precision: 0.03,
        });
      });
      return { [name]: result / 1000 };
    },
  };
}

function rttMetrics(name: string, title: string): Metric[] {
  return [
    metric(name, `${title}: median`, 'us', 'lower'),
    metric(`${name}.p99`, `${title}: p99`, 'us', 'lower'),
    metric(`${name}.lost`, `${title}: lost`, '%', 'lower', false),
  ];
}

function rtt(
  name: string,
  title: string,
  load?: (running: Running, seconds: number) => Promise<unknown>,
): Test {
  return {
    name,
    title,
    metrics: rttMetrics(name, title),
    seconds: ({ pings }) => pings / 90 + 0.2 + (load ? 1.5 : 0),
    async run(running, { pings }) {
      const { result } = await observe(running, async () => {
        const loading = load?.(running, Math.ceil(pings / 90) + 1);
        const [trips] = await Promise.all([roundTrips(running.lab, pings), loading]);
        return trips;
      });
      return { [name]: result.p50, [`${name}.p99`]: result.p99, [`${name}.lost`]: result.lost * 100 };
    },
  };
}

const idle: Test = {
  name: 'idle',
  title: 'Idle gateways',
  metrics: [
    metric('idle', 'Idle: CPU of a gateway', '% of a core', 'lower', false),
    metric('idle.memory', 'Resident memory of a gateway', 'MB', 'lower', false),
  ],
  seconds: ({ idleSeconds }) => idleSeconds + 0.1,
  async run(running, { idleSeconds }) {
    const processes = running.processes();
    if (processes.length === 0) return {};
    const { window } = await observe(
      running,
      () => new Promise((resolve) => setTimeout(resolve, idleSeconds * 1000)),
    );
    const memory = processes.reduce((sum, { pid }) => sum + residentMegabytes(pid), 0);
    return {
      idle: (window.gatewayCpu / window.seconds / 2) * 100,
      'idle.memory': memory / 2,
    };
  },
};

const CHUNKS = ['-l', '7000', '-N'];

/** In the order in which they run; idle comes last, when everything has been used. */
export const TESTS: readonly Test[] = [
  tcp('tcp1', 'TCP, 1 flow', []),
  tcp('tcp4', 'TCP, 4 flows', ['-P', '4']),
  tcp('tcp16', 'TCP, 16 flows', ['-P', '16']),
  tcp('tcp1-reverse', 'TCP, 1 flow, reverse', ['-R']),
  tcp('tcp-both', 'TCP, both directions at once', ['--bidir']),
  tcp('tcp-chunks', 'TCP, 7000-byte writes without delay', CHUNKS),
  tcp('tcp-paced', 'TCP, 7000-byte writes paced to 300 Mbit/s', [...CHUNKS, '-b', '300M']),
  flatOut('udp64', 'UDP 64 bytes, flat out', [64]),
  flatOut('udp512', 'UDP 512 bytes, flat out', [512]),
  flatOut('udp1400', 'UDP 1400 bytes, flat out', [1400]),
  flatOut('udp-imix', 'UDP mixed sizes, flat out', IMIX),
  lossless('udp64-lossless', 'UDP 64 bytes, highest rate without loss', [64]),
  lossless('udp512-lossless', 'UDP 512 bytes, highest rate without loss', [512]),
  lossless('udp1400-lossless', 'UDP 1400 bytes, highest rate without loss', [1400]),
  lossless('udp-imix-lossless', 'UDP mixed sizes, highest rate without loss', IMIX),
  rtt('rtt', 'RTT idle'),
  rtt('rtt-tcp', 'RTT beside 1 TCP flow', ({ lab }, seconds) => iperf(lab, seconds)),
  rtt('rtt-flood', 'RTT beside 64-byte UDP flat out', ({ lab }, seconds) =>
    blast(lab, { sizes: [64], rate: 0, seconds }),
  ),
  idle,
];
