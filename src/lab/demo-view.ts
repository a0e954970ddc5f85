/** What the demo looks like: at most 80 columns, the live part at most 20 lines. Pure functions. */
import { formatBitRate, formatBytes, formatCount } from '../stats/format.js';
import { table } from '../stats/table.js';

export const DRAWING = `
  VPC a, 10.0.0.0/24                                     VPC b, 10.0.0.0/24
   a1 .10     a2 .11                                      b1 .20     b2 .21
     |          |                                           |          |
 ====+==========+=====+====                         ====+===+==========+=====
   mapping service    |                                 |    mapping service
                 gateway a .5                      gateway b .5
                 owns .20 .21                      owns .10 .11
                 (for b1, b2)                      (for a1, a2)
                      | 198.18.0.1        198.18.0.2 |
                      +========== EtherIP ===========+
`;

export const INTRODUCTION = `Two VPCs with the SAME addresses. Each drops every frame whose MAC and IP
address are not registered with it, as a cloud does. No host knows anything
of the other VPC, and no host is configured for this.`;

export interface FlowView {
  what: string;
  from: string;
  to: string;
  /** Bytes since the last look, per second; null: not measured in bytes. */
  bytesPerSecond: number | null;
  /** How much so far, in the flow's own words. */
  total: string;
}

export interface GatewayView {
  name: string;
  state: string;
  peer: string;
  guard: string;
  encapPerSecond: number;
  decapPerSecond: number;
  drops: number;
}

/** The live table, without a line end after the last line. */
export function renderLive(flows: readonly FlowView[], gateways: readonly GatewayView[]): string {
  const flowTable = table(
    [
      { head: 'flow' },
      { head: 'from' },
      { head: 'to' },
      { head: 'rate', align: 'right' },
      { head: 'so far', align: 'right' },
    ],
    flows.map(({ what, from, to, bytesPerSecond, total }) => [
      what,
      from,
      to,
      bytesPerSecond === null ? '-' : formatBitRate(bytesPerSecond),
      total,
    ]),
  );
  const gatewayTable = table(
    [
      { head: 'gateway' },
      { head: 'state' },
      { head: 'peer' },
      { head: 'guard' },
      { head: 'encap/s', align: 'right' },
      { head: 'decap/s', align: 'right' },
      { head: 'drops', align: 'right' },
    ],
    gateways.map((gateway) => [
      gateway.name,
      gateway.state,
      gateway.peer,
      gateway.guard,
      formatCount(gateway.encapPerSecond),
      formatCount(gateway.decapPerSecond),
      formatCount(gateway.drops),
    ]),
  );
  return `${flowTable}\n\n${gatewayTable}`;
}

/** One figure for all bytes of a flow: "12.3 MB". */
export function soFar(bytes: number): string {
  return formatBytes(bytes);
}

/** Words in colours on a terminal, plain otherwise. */
export function paint(colours: boolean): Record<'bold' | 'dim' | 'good' | 'bad', (text: string) => string> {
  const style = (code: number) => (text: string) => (colours ? `\x1b[${code}m${text}\x1b[0m` : text);
  return { bold: style(1), dim: style(2), good: style(32), bad: style(31) };
}
