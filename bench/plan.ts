/** What runs: which variants, which contenders, which tests. */
import type { Contender } from './contenders/contender.js';
import { plain, vxlan } from './contenders/routed.js';
import { vpcConn } from './contenders/vpc-conn.js';
import type { Variant } from './lab/bench-lab.js';
import { type Effort, TESTS, type Test } from './measure/tests.js';

const BASE: Variant = {
  name: 'base',
  title: 'LAN and underlay MTU 1500, checksum offload on, 1 proxied address',
  lanMtu: 1500,
  underlayMtu: 1500,
  checksumOffload: true,
  addresses: 1,
  masquerade: false,
};

export const VARIANTS: readonly Variant[] = [
  BASE,
  { ...BASE, name: 'no-csum', title: 'Checksum offload off everywhere', checksumOffload: false },
  { ...BASE, name: 'lan-9001', title: 'LAN MTU 9001, underlay 1500', lanMtu: 9001 },
  { ...BASE, name: 'wire-9001', title: 'LAN MTU 1500, underlay 9001', underlayMtu: 9001 },
  { ...BASE, name: 'both-9001', title: 'LAN and underlay MTU 9001', lanMtu: 9001, underlayMtu: 9001 },
  { ...BASE, name: 'masquerade', title: 'a1 masqueraded in VPC b', masquerade: true },
  { ...BASE, name: '10k', title: '10,000 proxied addresses', addresses: 10_000 },
];

/** What a variant other than the base is worth measuring. */
const VARIANT_TESTS = ['tcp1', 'tcp4', 'tcp1-reverse', 'udp64', 'rtt', 'idle'];
const QUICK_TESTS = ['tcp1', 'tcp4', 'tcp1-reverse', 'udp64', 'udp64-lossless', 'rtt', 'idle'];
/** auto only has to show that it picks the best rung. */
const AUTO_TESTS = ['tcp1', 'rtt'];
const PEER_TESTS = ['tcp1', 'tcp4', 'tcp1-reverse', 'udp64', 'rtt', 'rtt-tcp', 'idle'];

export interface Case {
  variant: Variant;
  test: Test;
  contender: Contender;
}

export interface Choice {
  quick: boolean;
  peers: readonly Contender[];
  /** Only cases whose "variant/contender/test" matches; what they are compared with runs, too. */
  only?: RegExp;
}

export function contenders(): Contender[] {
  return [vxlan, plain, vpcConn('off'), vpcConn('segment'), vpcConn('full'), vpcConn('auto')];
}

/** In the order of variants, then tests, then contenders. */
export function plan({ quick, peers, only }: Choice): Case[] {
  const cases: Case[] = [];
  const all = [...contenders(), ...peers];
  for (const variant of quick ? [BASE] : VARIANTS) {
    const tests = TESTS.filter(({ name }) =>
      quick ? QUICK_TESTS.includes(name) : variant === BASE || VARIANT_TESTS.includes(name),
    );
    for (const test of tests) {
      for (const contender of all) {
        if (contender.skips?.(variant)) continue;
        if (contender.kind === 'peer' && (variant !== BASE || !PEER_TESTS.includes(test.name))) continue;
        if (contender.name === 'auto' && (quick || variant !== BASE || !AUTO_TESTS.includes(test.name)))
          continue;
        if (test.name === 'idle' && contender.kind === 'reference') continue;
        cases.push({ variant, test, contender });
      }
    }
  }
  if (only === undefined) return cases;
  const chosen = cases.filter(({ variant, contender, test }) =>
    only.test(`${variant.name}/${contender.name}/${test.name}`),
  );
  // A figure without its reference says little.
  const compared = new Set(chosen.map(({ variant, test }) => `${variant.name}/${test.name}`));
  return cases.filter(
    (item) =>
      chosen.includes(item) ||
      (item.contender.kind === 'reference' && compared.has(`${item.variant.name}/${item.test.name}`)),
  );
}

/** Starting the lab of a contender, about. */
export const START_SECONDS = 1.5;

export function estimateSeconds(cases: readonly Case[], effort: Effort): number {
  const started = new Set(cases.map(({ variant, contender }) => `${variant.name}/${contender.name}`));
  return cases.reduce((sum, { test }) => sum + test.seconds(effort), 0) + started.size * START_SECONDS;
}
