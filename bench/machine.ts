/** What the figures were measured on. */
import { readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { exec } from '../src/lab/command.js';
import { machineCpu } from './measure/window.js';

export async function describeMachine(): Promise<Record<string, string>> {
  const iperf = await exec(undefined, ['iperf3', '--version']).catch(() => undefined);
  return {
    cpu: `${cpus().length} x ${cpus()[0]?.model ?? 'unknown'}`,
    memory: `${Math.round(totalmem() / 1e9)} GB`,
    kernel: release(),
    'node.js': process.version,
    iperf3: iperf?.stdout.split('\n')[0]?.split(' ')[1] ?? 'missing',
    'tcp congestion control': readSetting('net/ipv4/tcp_congestion_control'),
  };
}

/** How busy the machine is by itself, share of all its cores. Takes a second. */
export async function busyShare(): Promise<number> {
  const before = machineCpu();
  const started = performance.now();
  await new Promise((resolve) => setTimeout(resolve, 1000));
  return (machineCpu() - before) / ((performance.now() - started) / 1000) / cpus().length;
}

function readSetting(path: string): string {
  try {
    return readFileSync(`/proc/sys/${path}`, 'utf8').trim();
  } catch {
    return 'unknown';
  }
}
