/** The tools that people look for a path with, and what they print. */
import type { Lab } from '../../src/lab/index.js';

/** Addresses that answered, hop by hop. */
export async function traceroute(
  lab: Lab,
  from: string,
  address: string,
  ...options: string[]
): Promise<string[]> {
  const argv = ['traceroute', '-n', '-q', '1', '-w', '3', '-m', '5', ...options, address];
  const text = await lab.must(from, argv);
  return text
    .split('\n')
    .slice(1, -1)
    .map((line) => /^ *\d+ +(\S+)/.exec(line)?.[1] ?? line);
}

/** What tracepath finds: the path MTU and the number of hops; its whole text if it finds nothing. */
export async function tracepath(lab: Lab, from: string, address: string): Promise<string> {
  const text = await lab.must(from, ['tracepath', '-n', '-m', '5', address]);
  return /pmtu \d+ hops \d+/.exec(text)?.[0] ?? text;
}

/** Forgets what was learned of paths, so that it is learned anew. */
export async function forgetPaths(lab: Lab, host: string): Promise<void> {
  await lab.must(host, ['ip', 'route', 'flush', 'cache']);
  await lab.must(host, ['ip', '-6', 'route', 'flush', 'cache']);
}

/** The path MTU that a host has learned towards an address; undefined: none. */
export async function learnedMtu(lab: Lab, host: string, address: string): Promise<number | undefined> {
  const text = await lab.must(host, ['ip', '-j', 'route', 'get', address]);
  return (JSON.parse(text) as [{ metrics?: [{ mtu?: number }] }])[0].metrics?.[0]?.mtu;
}
