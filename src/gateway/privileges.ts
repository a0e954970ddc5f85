/** What this process is allowed to do. */
import { readFileSync } from 'node:fs';
import { VpcConnError } from '../errors.js';

/** Bits of linux/capability.h. */
const NEEDED = [
  { name: 'CAP_NET_ADMIN', bit: 12n },
  { name: 'CAP_NET_RAW', bit: 13n },
];

/** The effective capabilities of this process, as the kernel tells them in /proc/self/status. */
export function effectiveCapabilities(): bigint {
  const line = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'));
  return BigInt(`0x${line?.[1] ?? '0'}`);
}

/** The capabilities that vpc-conn needs and `capabilities` lacks; empty: all there. */
export function missingCapabilities(capabilities: bigint): string[] {
  return NEEDED.filter(({ bit }) => ((capabilities >> bit) & 1n) === 0n).map(({ name }) => name);
}

/** CAP_BPF (39), or CAP_SYS_ADMIN (21) where the kernel does not know that one. */
export function mayLoadPrograms(capabilities: bigint): boolean {
  return ((capabilities >> 39n) & 1n) === 1n || ((capabilities >> 21n) & 1n) === 1n;
}

/** One sentence and the remedy, or undefined when nothing is missing. */
export function privilegeTrouble(capabilities: bigint): { message: string; remedy: string } | undefined {
  const missing = missingCapabilities(capabilities);
  if (missing.length === 0) return undefined;
  return {
    message: `This process lacks ${missing.join(' and ')}, without which packet sockets and the kernel guard cannot be opened.`,
    remedy:
      'Run vpc-conn as root, or give it AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW in its systemd unit.',
  };
}

export function requirePrivileges(capabilities: bigint): void {
  const trouble = privilegeTrouble(capabilities);
  if (trouble) throw new VpcConnError('no-privileges', `${trouble.message} ${trouble.remedy}`);
}
