/**
 * A second opinion on what gateways send in a lab: captures at the far ends of their wires, where every frame
 * comes by whichever way it was sent, and tshark's judgement of them.
 */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import type { Lab, LabProcess } from '../../src/lab/index.js';
import { faultsIn, whyNoTshark } from './tshark.js';

/** Bytes of a capture file without frames. */
const PCAP_HEADER = 24;
/** Frames per wire; then the capture ends, so that files stay small. */
const MOST_FRAMES = 5000;

// Of bulk TCP one segment in 32 is kept, by its identification (the low byte stands at 5 in the IPv4 header).
const BULK = 'greater 1000 and not';
const OVERLAY_FILTER = `not (${BULK} ip[5] & 31 = 0 and tcp)`;
// The inner IPv4 header begins at 50 on the underlay, at 70 behind an outer IPv6 header.
const UNDERLAY_FILTER = [
  `not (${BULK} ether[55] & 31 = 0 and ip proto 97 and ether[59] = 6)`,
  `not (${BULK} ether[75] & 31 = 0 and ip6 proto 97 and ether[79] = 6)`,
].join(' and ');

interface Capture {
  readonly wire: string;
  readonly file: string;
  readonly process: LabProcess;
}

export class SecondOpinion {
  readonly #captures: readonly Capture[];

  private constructor(captures: readonly Capture[]) {
    this.#captures = captures;
  }

  /**
   * Starts the captures; before the gateways, best. Their interfaces complete checksums and segments
   * themselves from here on: what a NIC would add later, no capture could see.
   * @param vpcs whose gateways are judged; default: all.
   */
  static async start(
    lab: Lab,
    vpcs: readonly string[] = lab.spec.vpcs.map(({ name }) => name),
  ): Promise<SecondOpinion> {
    const judged = lab.spec.vpcs.filter(({ name }) => vpcs.includes(name));
    const gateways = judged.flatMap((vpc) => (vpc.gateway ? [lab.gatewayName(vpc.name)] : []));
    const wires = judged.flatMap((vpc) => {
      if (!vpc.gateway) return [];
      const device = lab.gatewayName(vpc.name);
      return [
        { node: `vpc-${vpc.name}`, device, filter: OVERLAY_FILTER },
        { node: 'underlay', device, filter: UNDERLAY_FILTER },
      ];
    });
    await Promise.all(
      gateways.flatMap((gateway) =>
        ['eth1', 'eth2'].map((device) => lab.must(gateway, ['ethtool', '-K', device, 'tx', 'off'])),
      ),
    );
    const captures = wires.map(({ node, device, filter }): Capture => {
      const file = join(lab.directory, `${node}-${device}.pcap`);
      const argv = ['tcpdump', '-i', device, '-Q', 'in', '-c', `${MOST_FRAMES}`];
      return {
        wire: `${device} in ${node}`,
        file,
        process: lab.spawn(node, [...argv, '--immediate-mode', '-U', '-Z', 'root', '-w', file, filter]),
      };
    });
    await Promise.all(
      captures.map(({ process }) =>
        process.until(({ stderr }) => stderr.includes('listening on'), 'the capture being ready'),
      ),
    );
    return new SecondOpinion(captures);
  }

  /** Bytes of all captures so far. */
  seen(): number {
    return this.#captures.reduce((sum, { file }) => sum + statSync(file).size, 0);
  }

  /** Ends the captures. What tshark finds wrong, a line each; empty when it has nothing to say. */
  async faults(): Promise<string[]> {
    await Promise.all(
      this.#captures.map(async ({ process }) => {
        process.kill('SIGINT');
        await process.exited;
      }),
    );
    const seen = this.#captures.filter(({ file }) => statSync(file).size > PCAP_HEADER);
    if (seen.length === 0) return ['no frame was captured, so there is nothing to judge'];
    const told = await Promise.all(
      seen.map(async ({ wire, file }) =>
        (await faultsIn(file))
          .filter((fault) => !isOnesForZero(fault))
          .map((fault) => `${wire}, frame ${fault}`),
      ),
    );
    return told.flat();
  }
}

/**
 * Where Linux completes a checksum, it writes ones for a sum of zero, also into TCP (CSUM_MANGLED_0). Both mean the same
 * (RFC 1624 section 3); frames of the hosts' kernels are carried as they are.
 */
const isOnesForZero = (fault: string): boolean => fault.includes('TCP Checksum 0xffff instead of 0x0000');

/**
 * Has everything that the gateways of a lab send from here on judged when the test is over; closes the lab.
 * @param vpcs whose gateways; default: all. The original tool's frames are not ours to judge.
 */
export async function judgeFrames(
  t: { teardown(action: () => Promise<void>): void },
  lab: Lab,
  vpcs?: readonly string[],
): Promise<void> {
  const why = whyNoTshark();
  if (why) throw new Error(why);
  const opinion = await SecondOpinion.start(lab, vpcs);
  t.teardown(async () => {
    try {
      const faults = await opinion.faults();
      if (faults.length > 0) {
        throw new Error(
          `tshark finds fault with ${faults.length} frames:\n${faults.slice(0, 20).join('\n')}`,
        );
      }
    } finally {
      await lab.close();
    }
  });
}
