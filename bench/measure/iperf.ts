/** iperf3 between the hosts of a lab. */
import { VpcConnError } from '../../src/errors.js';
import type { BenchLab, Node } from '../lab/bench-lab.js';

export interface IperfReport {
  /** Bytes that arrived, all streams, both directions. */
  bytes: number;
  bitsPerSecond: number;
  retransmits: number;
}

interface IperfSum {
  bytes: number;
  bits_per_second: number;
  retransmits?: number;
}

interface IperfJson {
  error?: string;
  end?: {
    sum_sent?: IperfSum;
    sum_received?: IperfSum;
    sum_sent_bidir_reverse?: IperfSum;
    sum_received_bidir_reverse?: IperfSum;
  };
}

const PORT = 5201;

/** Runs iperf3 from a1 to b1 for `seconds`; `args` go to its client. */
export async function iperf(
  lab: BenchLab,
  seconds: number,
  args: readonly string[] = [],
  [from, to]: readonly [Node, Node] = ['a1', 'b1'],
): Promise<IperfReport> {
  const server = lab.spawn(to, ['iperf3', '-s', '-1', '-p', `${PORT}`]);
  try {
    await lab.waitFor(() => lab.listens(to, PORT), 'iperf3 to listen');
    const argv = ['iperf3', '-J', '-c', lab.address(to), '-p', `${PORT}`, '-t', `${seconds}`, ...args];
    const { stdout } = await lab.exec(from, argv, { timeoutMs: (seconds + 15) * 1000 });
    return parseIperf(stdout);
  } finally {
    server.kill();
    await server.exited;
  }
}

export function parseIperf(text: string): IperfReport {
  const { error, end } = JSON.parse(text) as IperfJson;
  if (error) throw new VpcConnError('bench-iperf', `iperf3 said: ${error}.`);
  const there = end?.sum_received;
  const back = end?.sum_received_bidir_reverse;
  if (there === undefined) throw new VpcConnError('bench-iperf', 'iperf3 reported no result.');
  return {
    bytes: there.bytes + (back?.bytes ?? 0),
    bitsPerSecond: there.bits_per_second + (back?.bits_per_second ?? 0),
    retransmits: (end?.sum_sent?.retransmits ?? 0) + (end?.sum_sent_bidir_reverse?.retransmits ?? 0),
  };
}
