/** The lab that most scenarios use: two VPCs with the same CIDR, two hosts and a gateway in each. */
import { connect } from '../../src/control/client.js';
import type { Method, Methods, StatusResult } from '../../src/control/protocol.js';
import {
  createLab,
  type GatewayProcess,
  type GatewaySpec,
  type Lab,
  type LabSpec,
  type NicSpec,
} from '../../src/lab/index.js';
import { judgeFrames } from './second-opinion.js';

export const CIDR = '10.0.0.0/24';
/** The underlay addresses of gw-a and gw-b, by what tunnels run over. */
export const ENDS = {
  4: { a: '198.18.0.1', b: '198.18.0.2' },
  6: { a: '2001:db8:ffff::1', b: '2001:db8:ffff::2' },
} as const;

export interface TwinOptions {
  /** Of every NIC in both VPCs. */
  nic?: NicSpec;
  underlay?: LabSpec['underlay'];
  /** What tunnels run over. Default 4. */
  over?: 4 | 6;
  kind?: 'mapping' | 'lan';
  /** On top of the defaults of both gateways. */
  gateway?: Partial<GatewaySpec>;
  /** tshark judges what the gateways send; their NICs leave nothing to be completed then. Default true. */
  judged?: boolean;
}

/** a1 .10 and a2 .11 in VPC a; b1 .20 and b2 .21 in VPC b; both gateways are .5 and own the far addresses. */
export function twinVpcs({
  nic = {},
  underlay = {},
  over = 4,
  kind = 'mapping',
  gateway = {},
}: TwinOptions = {}): LabSpec {
  const vpc = (name: string, own: readonly number[], far: readonly number[], underlayAddress: string) => ({
    name,
    cidr: CIDR,
    kind,
    hosts: own.map((last, index) => ({ name: `${name}${index + 1}`, address: `10.0.0.${last}`, nic })),
    gateway: {
      address: '10.0.0.5',
      secondary: far.map((last) => `10.0.0.${last}`),
      underlayAddress,
      nic,
      ...gateway,
    },
  });
  return {
    vpcs: [vpc('a', [10, 11], [20, 21], ENDS[over].a), vpc('b', [20, 21], [10, 11], ENDS[over].b)],
    underlay,
  };
}

/** The configuration file of a twin's gateway; `peer` goes on top of its only peer. */
export function twinConfig(
  vpc: 'a' | 'b',
  peer: Record<string, unknown> = {},
  over: 4 | 6 = 4,
): Record<string, unknown> {
  const here = vpc === 'a';
  return {
    name: `vpc-${vpc}`,
    overlay: { interface: 'eth1', address: '10.0.0.5' },
    underlay: { interface: 'eth2', address: ENDS[over][vpc] },
    peers: [
      {
        name: here ? 'vpc-b' : 'vpc-a',
        address: ENDS[over][here ? 'b' : 'a'],
        proxied: here ? ['10.0.0.20', '10.0.0.21'] : ['10.0.0.10', '10.0.0.11'],
        ...peer,
      },
    ],
  };
}

export interface Pair {
  lab: Lab;
  a: GatewayProcess;
  b: GatewayProcess;
}

/** A lab of twins with both gateways running; removed by `t`'s teardown. */
export async function startTwins(
  t: { teardown(action: () => Promise<void>): void },
  options: TwinOptions = {},
): Promise<Pair> {
  const lab = await createLab(twinVpcs(options));
  t.teardown(() => lab.close());
  if (options.judged !== false) await judgeFrames(t, lab);
  const [a, b] = await Promise.all([
    lab.startGateway('a', { config: twinConfig('a', {}, options.over) }),
    lab.startGateway('b', { config: twinConfig('b', {}, options.over) }),
  ]);
  return { lab, a, b };
}

export type Peer = StatusResult['peers'][number];

/** Asks over the control socket, as the client commands do, but starts no program for it. */
export async function ask<M extends Method>(
  gateway: GatewayProcess,
  method: M,
): Promise<Methods[M]['result']> {
  const control = await connect({ socket: gateway.socket, timeout: 30_000 });
  try {
    return await control.call(method);
  } finally {
    control.close();
  }
}

export const statusOf = (gateway: GatewayProcess): Promise<StatusResult> => ask(gateway, 'status');

/** The only peer, as `vpc-conn status` tells of it. */
export async function peerOf(gateway: GatewayProcess): Promise<Peer> {
  const [peer] = (await statusOf(gateway)).peers;
  if (peer === undefined) throw new Error('there is no peer');
  return peer;
}

/** The numbers of `vpc-conn stats`, added up over all workers. */
export async function totals(gateway: GatewayProcess): Promise<Record<string, number>> {
  return (await ask(gateway, 'stats')).totals;
}

/** Drop reasons with a count, e.g. { drop_not_ours: 3 }. */
export async function drops(gateway: GatewayProcess): Promise<Record<string, number>> {
  const all = Object.entries(await totals(gateway));
  return Object.fromEntries(all.filter(([name, count]) => name.startsWith('drop_') && count > 0));
}

/** Nothing lost, nothing twice. */
export const ALL_ECHOED = { lost: [], corrupt: [], duplicated: [] };

/** first, first + 1, ..., last. */
export function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}
