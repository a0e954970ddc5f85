/** What is measured: a way to carry packets between gw-a and gw-b. */
import { type Addressing, BenchLab, type Gateway, TWINS, type Variant } from '../lab/bench-lab.js';

export interface Contender {
  /** Short, for tables and --only. */
  name: string;
  title: string;
  kind: 'reference' | 'vpc-conn' | 'peer';
  addressing?: Addressing;
  /** Why it cannot run here, in a sentence; false: it can. */
  missing?(): Promise<string | false>;
  /** Why it has nothing to say to a variant; false: it has. */
  skips?(variant: Variant): string | false;
  /** Sets the gateways of a fresh lab up. Traffic can flow when it resolves. */
  setUp(lab: BenchLab): Promise<Running>;
}

export interface Running {
  lab: BenchLab;
  contender: Contender;
  /** The tunnel's own processes, whose CPU time and memory count. */
  processes(): { gateway: Gateway; pid: number }[];
  /** What it runs on, for the report: the rung, the version. */
  detail: string;
  /** Throws unless its gateways are still doing what they were started for. */
  verify?(): Promise<void>;
}

/** Builds a lab for the contender and sets it up; on failure nothing is left. */
export async function start(contender: Contender, variant: Variant): Promise<Running> {
  const lab = await BenchLab.create(variant, contender.addressing ?? TWINS);
  try {
    const running = await contender.setUp(lab);
    await answers(running);
    return running;
  } catch (error) {
    await lab.close();
    throw error;
  }
}

/** a1 reaches b1. The first packets may be lost to ARP or a handshake. */
async function answers({ lab }: Running): Promise<void> {
  const ping = ['ping', '-n', '-q', '-c', '1', '-W', '1', lab.address('b1')];
  await lab.waitFor(async () => (await lab.exec('a1', ping)).code === 0, 'b1 to answer a1', 15_000);
}

/** Far hosts that a gateway knows; the used one is first. */
export function farHosts(lab: BenchLab, gateway: Gateway): string[] {
  const hosts = [lab.address(lab.sides(gateway).farHost)];
  // 10.0.16.0 onwards: clear of everything else in 10.0.0.0/16.
  for (let index = 1; index < lab.variant.addresses; index += 1) {
    const value = 16 * 256 + index + Math.floor(index / 254) * 2;
    hosts.push(`10.0.${value >> 8}.${value & 255}`);
  }
  return hosts;
}
