/** What the machine has and this process may use, against what the workers will take; and its clock. */
import { readFileSync } from 'node:fs';
import type { Plan } from '../plan.js';
import { type Finding, info, warning } from './finding.js';

/** The text of a file under /proc, /sys or /run; undefined where there is none. */
export type ReadText = (path: string) => string | undefined;

export const readText: ReadText = (path) => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
};

const MEBIBYTE = 2 ** 20;
/** A receiving worker's ring and what may wait in its socket's own queue (native/io/rx_ring, packet_socket), bytes. */
const WORKER_BYTES = 16 * MEBIBYTE;
/** Flow and its place in the index (docs/masquerade.md), bytes. */
const FLOW_BYTES = 40;
/** Program, tables, stacks. */
const PROCESS_BYTES = 96 * MEBIBYTE;
/** Sockets, programs and maps of one worker, with room to spare; and what the rest of the process opens. */
const FILES_OF_WORKER = 12;
const FILES_OF_PROCESS = 96;

export function limitFindings(plan: Plan, read: ReadText): Finding[] {
  return [...memoryFindings(plan, read), ...fileFindings(plan, read), ...clockFindings(read)];
}

function memoryFindings({ workers, settings, table }: Plan, read: ReadText): Finding[] {
  const masquerades = table.peers.some((peer) => peer.unlisted === 'masquerade');
  const needed =
    2 * workers * WORKER_BYTES + PROCESS_BYTES + (masquerades ? settings.masquerade.flows * FLOW_BYTES : 0);
  const available = availableMemory(read);
  if (available === undefined || available >= needed) return [];
  const message = `${workers} workers per direction take up to ${inMebibytes(needed)} with their rings, but this process can get only ${inMebibytes(available)}.`;
  return [
    warning(
      'memory-short',
      message,
      'Give it more memory, or set fewer dataplane.workers.',
      'dataplane.workers',
    ),
  ];
}

/** What the machine has to give, and its control group allows. */
function availableMemory(read: ReadText): number | undefined {
  const machine = /^MemAvailable:\s+(\d+) kB$/m.exec(read('/proc/meminfo') ?? '')?.[1];
  const group = /^0::(\/.*)$/m.exec(read('/proc/self/cgroup') ?? '')?.[1];
  const ofGroup = (name: string) => {
    const value = group === undefined ? '' : (read(`/sys/fs/cgroup${group}/${name}`) ?? '').trim();
    return /^\d+$/.test(value) ? Number(value) : undefined;
  };
  const [most, used] = [ofGroup('memory.max'), ofGroup('memory.current')];
  const bounds = [
    ...(machine === undefined ? [] : [Number(machine) * 1024]),
    ...(most === undefined ? [] : [most - (used ?? 0)]),
  ];
  return bounds.length === 0 ? undefined : Math.max(0, Math.min(...bounds));
}

function inMebibytes(bytes: number): string {
  return `${Math.floor(bytes / MEBIBYTE)} MiB`;
}

function fileFindings({ workers }: Plan, read: ReadText): Finding[] {
  const limit = /^Max open files\s+(\d+)/m.exec(read('/proc/self/limits') ?? '')?.[1];
  const needed = FILES_OF_PROCESS + 2 * workers * FILES_OF_WORKER;
  if (limit === undefined || Number(limit) >= needed) return [];
  const message = `This process may open only ${limit} files; with ${workers} workers per direction it may need ${needed}.`;
  const remedy = `Raise the limit: ulimit -n ${needed}, or LimitNOFILE=${needed} in its systemd unit.`;
  return [warning('open-files', message, remedy)];
}

/** Kernels before 5.11 count the maps of BPF programs against it, unless they are told otherwise. */
const LOCKED_BYTES = 64 * MEBIBYTE;

/** What may be the reason when the kernel refuses a program that this process has the privileges for. */
export function lockedMemoryFindings(read: ReadText): Finding[] {
  const limit = /^Max locked memory\s+(\d+)/m.exec(read('/proc/self/limits') ?? '')?.[1];
  if (limit === undefined || Number(limit) >= LOCKED_BYTES) return [];
  const message = `This process may lock only ${Math.floor(Number(limit) / 1024)} KiB of memory; older kernels refuse programs that speed up the tunnel then.`;
  return [
    info('locked-memory', message, 'Try: ulimit -l unlimited, or LimitMEMLOCK=infinity in its systemd unit.'),
  ];
}

const CLOCKSOURCE = '/sys/devices/system/clocksource/clocksource0';
/** Each look at these is a system call or worse; the workers look at the clock once a batch. */
const SLOW_CLOCKS = ['hpet', 'acpi_pm', 'jiffies', 'refined-jiffies', 'xen'];

function clockFindings(read: ReadText): Finding[] {
  const findings: Finding[] = [];
  const source = read(`${CLOCKSOURCE}/current_clocksource`)?.trim() ?? '';
  if (SLOW_CLOCKS.includes(source)) {
    const others = (read(`${CLOCKSOURCE}/available_clocksource`) ?? '').trim().split(/\s+/);
    const better = others.find((other) => ['tsc', 'kvm-clock', 'arch_sys_counter'].includes(other));
    const remedy =
      better === undefined
        ? 'Look for a newer kernel or instance type.'
        : `Change it: echo ${better} > ${CLOCKSOURCE}/current_clocksource.`;
    findings.push(
      warning(
        'clock-slow',
        `The clock of this machine (${source}) is slow to read, which costs time for every batch of frames.`,
        remedy,
      ),
    );
  }
  return findings;
}

/** @param synchronized undefined: the kernel does not tell. */
export function synchronizationFindings(synchronized: boolean | undefined): Finding[] {
  if (synchronized !== false) return [];
  const message =
    'The clock of this machine is not synchronized, so that logs, captures and metrics of two gateways cannot be compared. Traffic does not depend on it.';
  return [info('clock-unsynchronized', message, 'Start systemd-timesyncd or chrony.')];
}
