/**
 * Life stages of a data plane x ways in which its process ends: the process ends soon and in that way, never by
 * a crash, and leaves no socket, ring or link behind.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { exec, inNamespace, must } from '../../src/lab/command.js';
import { whyNoLab } from '../../src/lab/index.js';
import { makeNamespaces } from './child.js';

const skip = await whyNoLab();
const CHILD = fileURLToPath(new URL('./data-plane-child.mjs', import.meta.url));

/** From the stage to the end; generous, because other suites run meanwhile. */
const BOUND_MS = 60_000;

const STAGES = [
  'constructed',
  'published',
  'started',
  'traffic',
  'kernel-segmentation',
  'xdp-strip',
  'closed',
  'closed-twice',
] as const;

/** What each end looks like from outside. */
const ENDS = {
  return: { code: 0, signal: null },
  exit: { code: 3, signal: null },
  throw: { code: 1, signal: null },
  SIGTERM: { code: null, signal: 'SIGTERM' },
  SIGKILL: { code: null, signal: 'SIGKILL' },
  worker: { code: 0, signal: null },
  gc: { code: 0, signal: null },
} as const;

type Stage = (typeof STAGES)[number];
type End = keyof typeof ENDS;

/** Ends race with the workers where frames come: once is not enough there. */
const rounds = (stage: Stage): number => (stage === 'traffic' ? 3 : 1);

interface Outcome {
  code: number | null;
  signal: NodeJS.Signals | null;
  late: boolean;
  output: string;
}

function outputOf(child: ChildProcess): { text: string } {
  const output = { text: '' };
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output.text += text;
    });
  }
  return output;
}

async function live(namespace: string, stage: Stage, end: End): Promise<Outcome> {
  const [program = '', ...args] = inNamespace(namespace, [
    process.execPath,
    '--expose-gc',
    CHILD,
    stage,
    end,
  ]);
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const output = outputOf(child);
  let late = false;
  const bound = setTimeout(() => {
    late = true;
    child.kill('SIGKILL');
  }, BOUND_MS);
  if (end === 'SIGTERM' || end === 'SIGKILL') {
    child.stdout?.on('data', () => {
      if (output.text.includes('reached')) child.kill(end);
    });
  }
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  clearTimeout(bound);
  return { code, signal, late, output: output.text };
}

async function packetSockets(namespace: string): Promise<string[]> {
  const text = await must(namespace, ['cat', '/proc/net/packet']);
  return text.trim().split('\n').slice(1);
}

const linksIn = (namespace: string): Promise<string> => must(namespace, ['ip', '-o', '-d', 'link', 'show']);

async function makeNetwork(teardown: (undo: () => void) => void): Promise<string> {
  const { gateway } = await makeNamespaces(teardown, 'gateway');
  for (const command of [
    'link add o0 address 02:00:00:00:00:05 type veth peer name o1',
    'link add u0 address 02:00:00:00:01:01 type veth peer name u1',
    ...['o0', 'o1', 'u0', 'u1'].map((name) => `link set ${name} up`),
  ]) {
    await must(gateway, ['ip', ...command.split(' ')]);
  }
  return gateway;
}

/** Counters in the listing change, attributes of links do not. */
const withoutCarrierNoise = (links: string): string => links.replaceAll(/ state (UP|DOWN|UNKNOWN)/g, '');

t.jobs = 2;
for (const end of Object.keys(ENDS) as End[]) {
  t.test(`process end: ${end}`, { skip, buffered: true }, async (t) => {
    const namespace = await makeNetwork((undo) => t.teardown(undo));
    const links = withoutCarrierNoise(await linksIn(namespace));
    for (const stage of STAGES) {
      for (let round = 0; round < rounds(stage); round++) {
        const { code, signal, late, output } = await live(namespace, stage, end);
        const unavailable = /^unavailable (.*)/m.exec(output)?.[1];
        if (unavailable !== undefined) {
          t.pass(stage, { skip: unavailable });
          continue;
        }
        t.notOk(late, `${stage}: ends within ${BOUND_MS} ms`);
        t.same({ code, signal }, ENDS[end], `${stage}: ends as it should\n${output}`);
        t.match(output, end === 'worker' ? 'terminated' : 'reached', `${stage} was reached`);
        if (end === 'throw') t.match(output, 'thrown on purpose', `${stage}: its own error is told`);
        t.same(await packetSockets(namespace), [], `${stage}: no socket is left`);
        t.equal(withoutCarrierNoise(await linksIn(namespace)), links, `${stage}: no link is left`);
      }
    }
  });
}

t.test(
  'a start that failed leaves nothing behind, and works once the interface is there',
  { skip },
  async (t) => {
    const namespace = await makeNetwork((undo) => t.teardown(undo));
    const script = `
    const addon = require(process.env.VPC_CONN_ADDON || ${JSON.stringify(fileURLToPath(new URL('../../build/Release/vpc_conn.node', import.meta.url)))});
    const { execFileSync } = require('node:child_process');
    const { readFileSync } = require('node:fs');
    const ip = (command) => execFileSync('ip', command.split(' '));
    const sockets = () => readFileSync('/proc/net/packet', 'utf8').trim().split('\\n').length - 1;
    const index = (name) => Number(readFileSync('/sys/class/net/' + name + '/ifindex', 'utf8'));
    const plane = new addon.DataPlane({ overlayIfindex: index('o0'), overlayName: 'o0', underlayIfindex: 4000,
      underlayName: 'late0', workers: 1, spinMicroseconds: 0, onEvents() {} });
    plane.publishTable({ overlayMac: new Uint8Array(6), overlayAddress: new Uint8Array(4), overlayMtu: 1500,
      underlayMac: new Uint8Array(6), peers: [], proxied: new Uint8Array(), reserved: new Uint8Array(),
      proxied6: new Uint8Array(), reserved6: new Uint8Array(),
      masqueradeFirstPort: 0, masqueradeLastPort: 0, masqueradeAddresses: new Uint8Array(), masqueradeFlows: 0,
      icmpErrorsPerSecond: 0, acceptReversed: false });
    const results = {};
    try { plane.start(); } catch (error) { results.error = { code: error.code, interface: error.interface }; }
    results.socketsAfterFailure = sockets();
    ip('link add late0 index 4000 type veth peer name late1');
    ip('link set late0 up');
    plane.start();
    const generation = plane.publishNeighbors(new Uint8Array());
    // Workers that had been told to stop would leave at once, and acknowledge nothing but that they sleep.
    const task = () => require('node:fs').readdirSync('/proc/self/task')
      .map((id) => readFileSync('/proc/self/task/' + id + '/comm', 'utf8').trim());
    const acknowledged = () => plane.acknowledgedGeneration() === generation;
    const deadline = Date.now() + 20_000;
    const look = () => {
      results.workers = task().filter((name) => name.startsWith('encap') || name.startsWith('decap')).sort();
      results.acknowledged = acknowledged();
      if (!(results.acknowledged && results.workers.length === 2) && Date.now() < deadline) {
        setImmediate(look);
        return;
      }
      plane.close();
      results.socketsAtTheEnd = sockets();
      console.log(JSON.stringify(results));
    };
    look();
  `;
    const { code, stdout, stderr } = await exec(namespace, [process.execPath, '-e', script]);
    t.equal(code, 0, stderr);
    t.match(JSON.parse(stdout), {
      error: { code: /^(ENODEV|ENXIO)$/, interface: 'late0' },
      socketsAfterFailure: 0,
      workers: ['decap/0', 'encap/0'],
      acknowledged: true,
      socketsAtTheEnd: 0,
    });
  },
);
