// TCP both ways at once over an underlay that loses, repeats, reorders and marks frames, through each rung: not a byte
// is lost, added or changed. VPC_CONN_SOAK: MiB for each way of each kind (npm run soak: some gigabytes in all).
import t, { type Test } from 'tap';
import { createLab, type GatewayProcess, type Lab, whyNoLab } from '../../src/lab/index.js';
import { drops, statusOf, twinConfig, twinVpcs } from '../helpers/lab.js';
import { makeBad, mishaps } from '../helpers/rungs/bad-underlay.js';

const skip = await whyNoLab();
const STREAM = new URL('../helpers/rungs/stream.py', import.meta.url).pathname;
const MIB = 1024 * 1024;
const PER_WAY = Number(process.env.VPC_CONN_SOAK ?? 1.5) * MIB;
const TIMEOUT_MS = 180_000 + PER_WAY / 500;

interface Kind {
  /** Switches of both hosts' TCP. */
  tcp: Record<string, number>;
  stream: Record<string, number>;
}

const KINDS: Record<string, Kind> = {
  'as Linux does it': { tcp: {}, stream: {} },
  'explicit congestion notification, MSS 1337': { tcp: { tcp_ecn: 1 }, stream: { mss: 1337 } },
  // Small pieces that are lost are sent again together: retransmissions overlap what came before.
  'application-limited writes, MSS 1001': { tcp: {}, stream: { write: 7000, mss: 1001 } },
  'no timestamps': { tcp: { tcp_timestamps: 0, tcp_ecn: 1 }, stream: {} },
  'no SACK, no timestamps, MSS 536': {
    tcp: { tcp_sack: 0, tcp_dsack: 0, tcp_timestamps: 0 },
    stream: { mss: 536 },
  },
  'zero windows and their probes': { tcp: {}, stream: { window: 32 * 1024, stalls: 2 } },
};
const DEFAULTS = { tcp_ecn: 2, tcp_sack: 1, tcp_dsack: 1, tcp_timestamps: 1 };

const RUNGS = {
  off: { encap: 'off', decap: 'off' },
  segment: { encap: 'segment', decap: 'off' },
  full: { encap: 'full', decap: 'full' },
} as const;

interface End {
  bytes: number;
  sha256: string;
}

let port = 5000;

/** What each end sent and received. */
async function carry(lab: Lab, { tcp, stream }: Kind): Promise<Record<'sent' | 'received', End>[]> {
  const settings = Object.entries({ ...DEFAULTS, ...tcp }).map(([key, value]) => `net.ipv4.${key}=${value}`);
  for (const host of ['a1', 'b1']) await lab.must(host, ['sysctl', '-qw', ...settings]);
  port += 1;
  const words = [
    lab.address('b1'),
    `${port}`,
    JSON.stringify({ bytes: Math.ceil(PER_WAY) + port, ...stream }),
  ];
  const server = lab.spawn('b1', ['python3', STREAM, 'serve', ...words]);
  await server.until(({ stdout }) => stdout.includes('listening'), 'listening');
  const client = lab.spawn('a1', ['python3', STREAM, 'connect', ...words]);
  return await Promise.all(
    [client, server].map(async (end) => {
      await end.until(({ stdout }) => stdout.includes('"done"'), 'the stream coming to its end', TIMEOUT_MS);
      const line = end.stdout.trim().split('\n').at(-1) ?? '';
      return JSON.parse(line) as Record<'sent' | 'received', End>;
    }),
  );
}

/** Both gateways on this rung, or why that does not work here. */
async function start(lab: Lab, acceleration: string): Promise<GatewayProcess[] | string> {
  const config = (vpc: 'a' | 'b') => ({ ...twinConfig(vpc), dataplane: { acceleration } });
  try {
    return await Promise.all(
      (['a', 'b'] as const).map((vpc) => lab.startGateway(vpc, { config: config(vpc) })),
    );
  } catch (error) {
    const { message } = error as Error;
    if (/does not work here/.test(message)) return message;
    throw error;
  }
}

async function rungOf(
  t: Test,
  gateway: GatewayProcess,
  rungs: { encap: string; decap: string },
): Promise<void> {
  const { acceleration } = await statusOf(gateway);
  t.match(acceleration, { encap: { rung: rungs.encap }, decap: { rung: rungs.decap } });
}

for (const [acceleration, rungs] of Object.entries(RUNGS)) {
  t.test(`rung ${acceleration}`, { skip }, async (t) => {
    const lab = await createLab(twinVpcs({}));
    t.teardown(() => lab.close());
    const gateways = await start(lab, acceleration);
    if (typeof gateways === 'string') {
      t.pass(`rung ${acceleration}`, { skip: gateways });
      return;
    }
    await makeBad(lab);
    for (const [kind, how] of Object.entries(KINDS)) {
      const [client, server] = await carry(lab, how);
      t.same([client?.received, server?.received], [server?.sent, client?.sent], kind);
    }
    const { lost, repeated, marked, late } = await mishaps(lab);
    t.ok(
      lost > 0 && repeated > 0 && marked > 0 && late > 0,
      `${lost} lost, ${repeated} repeated, ${marked} marked, ${late} late`,
    );
    for (const gateway of gateways) {
      await rungOf(t, gateway, rungs);
      t.same(await drops(gateway), {}, 'a gateway drops nothing');
    }
  });
}
