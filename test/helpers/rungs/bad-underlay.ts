/** An underlay that loses, repeats, reorders and marks frames, in the kernel, so that batches stay batches. */
import type { Lab } from '../../../src/lab/index.js';

const PORTS = ['gw-a', 'gw-b'] as const;
/** How often each happens to a frame, per cent. */
const PERCENT = { lost: 0.5, repeated: 1, marked: 2, late: 1 };
export type Mishap = keyof typeof PERCENT;

const sometimes = (mishap: Mishap): string =>
  `numgen random mod 1000 < ${PERCENT[mishap] * 10} counter name ${mishap}`;

/** Frames that come in at one port of the underlay's bridge, before they go on to the other. */
function chain(from: string, to: string): string {
  return `chain from_${from.replace('-', '_')} {
    type filter hook ingress device ${from} priority 0;
    ether type != ip accept
    ${sometimes('lost')} drop
    ${sometimes('repeated')} dup to "${to}"
    ip ecn != not-ect ${sometimes('marked')} ip ecn set ce
    ${sometimes('late')} meta priority set 1:20
  }`;
}

export async function makeBad(lab: Lab): Promise<void> {
  const counters = Object.keys(PERCENT).map((mishap) => `counter ${mishap} { }`);
  const chains = PORTS.map((port, index) => chain(port, PORTS[1 - index] ?? ''));
  await lab.must('underlay', ['nft', '-f', '-'], {
    input: `table netdev bad {\n${[...counters, ...chains].join('\n')}\n}\n`,
  });
  for (const port of PORTS) {
    // Late frames wait in a slow class of their own and are overtaken by the others.
    const slow = 'rate 20mbit burst 1600 cburst 1600 quantum 1600';
    for (const command of [
      `qdisc add dev ${port} root handle 1: htb default 10`,
      `class add dev ${port} parent 1: classid 1:10 htb rate 10gbit burst 1m cburst 1m quantum 60000`,
      `class add dev ${port} parent 1: classid 1:20 htb ${slow}`,
    ]) {
      await lab.must('underlay', ['tc', ...command.split(' ')]);
    }
  }
}

/** How many frames it happened to. */
export async function mishaps(lab: Lab): Promise<Record<Mishap, number>> {
  const text = await lab.must('underlay', ['nft', '-j', 'list', 'counters', 'table', 'netdev', 'bad']);
  const { nftables } = JSON.parse(text) as { nftables: { counter?: { name: string; packets: number } }[] };
  const count = (mishap: string): number =>
    nftables.find(({ counter }) => counter?.name === mishap)?.counter?.packets ?? 0;
  return { lost: count('lost'), repeated: count('repeated'), marked: count('marked'), late: count('late') };
}
