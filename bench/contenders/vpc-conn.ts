/** The product itself, each rung of its ladder. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { StatusResult } from '../../src/control/protocol.js';
import { VpcConnError } from '../../src/errors.js';
import type { LabProcess } from '../../src/lab/command.js';
import { type BenchLab, GATEWAYS, type Gateway, UNDERLAY } from '../lab/bench-lab.js';
import { product } from '../product.js';
import { type Contender, farHosts } from './contender.js';

export type Rung = 'off' | 'segment' | 'full' | 'auto';
export const RUNGS: readonly Rung[] = ['off', 'segment', 'full', 'auto'];

/** Thrown when a gateway runs on another rung than it was told to: not an error of the bench. */
export class OtherRung extends VpcConnError {
  constructor(message: string) {
    super('bench-rung', message);
  }
}

export function vpcConn(rung: Rung): Contender {
  const contender: Contender = {
    name: rung,
    title: `vpc-conn, ${rung}`,
    kind: 'vpc-conn',
    async setUp(lab) {
      const processes = new Map<Gateway, LabProcess>();
      for (const gateway of GATEWAYS) processes.set(gateway, startGateway(lab, gateway, rung));
      for (const process of processes.values()) {
        const ready = ({ stderr }: LabProcess) => /"msg":"ready"/.test(stderr);
        await process.until(ready, 'the gateway being ready', 30_000);
      }
      const rungs = await rungsOf(lab);
      const strayed = rungs.find((each) => !fits(rung, each));
      if (strayed)
        throw new OtherRung(`${strayed.where} runs on ${strayed.rung}: ${strayed.why || 'no reason'}.`);
      const running = [...new Set(rungs.map(({ direction, rung: actual }) => `${direction} ${actual}`))];
      return {
        lab,
        contender,
        processes: () => [...processes].map(([gateway, { pid }]) => ({ gateway, pid })),
        detail: `EtherIP, ${running.join(', ')}`,
        async verify() {
          const now = await rungsOf(lab);
          const changed = now.find(({ rung: actual }, index) => actual !== rungs[index]?.rung);
          if (changed) throw new OtherRung(`${changed.where} stepped to ${changed.rung}: ${changed.why}.`);
        },
      };
    },
  };
  return contender;
}

/** segment is about what goes out and full about what comes in; the other direction may be on a lower rung. */
function fits(wanted: Rung, { direction, rung }: RungOf): boolean {
  if (wanted === 'segment') return direction === 'decap' || rung === 'segment';
  if (wanted === 'full') return direction === 'encap' || rung === 'full';
  return wanted === 'auto' || rung === wanted;
}

function startGateway(lab: BenchLab, gateway: Gateway, rung: Rung): LabProcess {
  const { farGateway } = lab.sides(gateway);
  const { masquerade } = lab.variant;
  const hidden = masquerade && gateway === 'gw-b';
  const file = join(lab.directory, `${gateway}.json`);
  const config = {
    name: gateway,
    overlay: { interface: 'eth1', address: lab.address(gateway) },
    underlay: { interface: 'eth2', address: UNDERLAY[gateway] },
    peers: [
      {
        name: farGateway,
        address: UNDERLAY[farGateway],
        proxied: hidden ? [] : farHosts(lab, gateway),
        unlisted: hidden ? 'masquerade' : 'drop',
      },
    ],
    dataplane: { acceleration: rung },
    control: { socket: socketOf(lab, gateway) },
    log: { format: 'json' },
  };
  writeFileSync(file, JSON.stringify(config));
  return lab.spawn(gateway, [process.execPath, product().main, 'run', '-c', file]);
}

function socketOf(lab: BenchLab, gateway: Gateway): string {
  return join(lab.directory, `${gateway}.sock`);
}

interface RungOf {
  where: string;
  direction: 'encap' | 'decap';
  rung: string;
  why: string;
}

async function rungsOf(lab: BenchLab): Promise<RungOf[]> {
  const rungs: RungOf[] = [];
  for (const gateway of GATEWAYS) {
    const argv = [process.execPath, product().main, 'status', '--json', '--socket', socketOf(lab, gateway)];
    const status = JSON.parse(await lab.must(gateway, argv)) as StatusResult;
    for (const direction of ['encap', 'decap'] as const) {
      rungs.push({ where: `${gateway} ${direction}`, direction, ...status.acceleration[direction] });
    }
  }
  return rungs;
}
