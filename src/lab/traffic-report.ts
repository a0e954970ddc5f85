/** What peer.ts prints and traffic.ts reads. */

export interface TcpReport {
  /** What the sender wrote, and its digest. */
  bytes: number;
  sha256: string;
  seconds: number;
  /** What the receiver read. */
  received: { bytes: number; sha256: string };
}

/** Every datagram is accounted for: sent = received + lost. The lists hold payload sizes. */
export interface UdpReport {
  sent: number;
  received: number;
  lost: number[];
  /** Echoes with a wrong content (lost, too), or of a size that was never sent. */
  corrupt: number[];
  duplicated: number[];
}

/** "0,5,10-20" in; duplicates vanish. */
export function parseSizes(text: string): number[] {
  const sizes = new Set<number>();
  for (const part of text.split(',').filter(Boolean)) {
    const [first = '', last = first] = part.split('-');
    for (let size = Number(first); size <= Number(last); size += 1) sizes.add(size);
  }
  return [...sizes];
}

/** The shortest way to write sizes; the counterpart of parseSizes. */
export function formatSizes(sizes: readonly number[]): string {
  const sorted = [...new Set(sizes)].sort((a, b) => a - b);
  const parts: string[] = [];
  for (let index = 0; index < sorted.length; index += 1) {
    const first = sorted[index] ?? 0;
    let last = first;
    while (sorted[index + 1] === last + 1) {
      last += 1;
      index += 1;
    }
    parts.push(first === last ? `${first}` : `${first}-${last}`);
  }
  return parts.join(',');
}
