// check asks the peers' gateways: what it finds out, and that it is no gateway meanwhile.
import t from 'tap';
import { MemoryDataPlane } from '../../src/dataplane/memory-data-plane.js';
import type { DataPlaneFactory, Scope } from '../../src/dataplane/port.js';
import { VpcConnError } from '../../src/errors.js';
import { type PeerProbeOptions, peerFindings, probePeers } from '../../src/gateway/checks/peer-probe.js';
import { runningFindings } from '../../src/gateway/checks/running.js';
import { makePlan, readMachine } from '../../src/gateway/plan.js';
import { buildArp, parseArp } from '../../src/net/arp.js';
import { decodeFrame, encodeFrame } from '../../src/peering/message.js';
import { GuardDouble, MachineDouble, peer, settings } from '../helpers/machine-double.js';
import { peerWith, STATUS, statusWith } from '../helpers/results.js';

const FAR_MAC = '02:00:00:00:00:b0';

/** The network around the workers: who answers ARP, and the largest frame that reaches the far gateway. */
interface Around {
  readonly arp?: boolean;
  readonly answers?: boolean;
  readonly largest?: number;
}

class Network extends MemoryDataPlane {
  around: Required<Around> = { arp: true, answers: true, largest: 10_000 };

  override send(scope: Scope, frame: Uint8Array): boolean {
    const sent = super.send(scope, frame);
    if (scope === 'underlay') this.#answerArp(frame);
    else if (typeof scope === 'object') this.#answerQuestion(scope, frame);
    return sent;
  }

  #answerArp(frame: Uint8Array): void {
    const request = parseArp(frame);
    if (!this.around.arp || request === undefined) return;
    const { senderMac, senderAddress, targetAddress } = request;
    const reply = buildArp({
      destination: senderMac,
      source: FAR_MAC,
      operation: 'reply',
      senderMac: FAR_MAC,
      senderAddress: targetAddress,
      targetMac: senderMac,
      targetAddress: senderAddress,
    });
    setImmediate(() => this.emit({ kind: 'arp', scope: 'underlay', frame: reply }));
  }

  #answerQuestion(scope: Scope, frame: Uint8Array): void {
    const message = decodeFrame(frame);
    const { answers, largest } = this.around;
    if (!answers || message?.kind !== 'question' || frame.length > largest) return;
    const { instance, sequence } = message;
    const answer = encodeFrame(
      {
        kind: 'answer',
        instance,
        sequence,
        answerer: 7,
        revision: 1,
        acceptsNone: false,
        received: frame.length,
        dwell: 0,
      },
      FAR_MAC,
    );
    setImmediate(() => {
      const receivedAt = Number(process.hrtime.bigint()) / 1e6;
      this.emit({ kind: 'keepalive', scope, frame: answer, length: answer.length, receivedAt });
    });
  }
}

async function probe(around: Around = {}, options: PeerProbeOptions = {}, changes = {}) {
  const machine = new MachineDouble();
  const guard = new GuardDouble();
  const wanted = settings({ peers: [peer(changes)] });
  const plan = makePlan(wanted, readMachine(machine, wanted));
  const made: Network[] = [];
  const dataPlaneFactory: DataPlaneFactory = (given) => {
    const network = new Network(given);
    network.around = { ...network.around, ...around };
    made.push(network);
    return network;
  };
  const probes = await probePeers(plan, machine, { dataPlaneFactory, guardFactory: () => guard, ...options });
  return { probes, findings: peerFindings(plan, probes), network: made[0], guard, made };
}

t.test('a gateway that answers, and a path that takes what its route says', async (t) => {
  const { findings, network, guard, made } = await probe();
  t.match(findings, [
    {
      severity: 'info',
      code: 'peer-answers',
      key: 'peers[0]',
      message: /^Peer vpc-b \(198\.18\.0\.2\) answers in \d+\.\d ms\. Packets of 1500 bytes, .* arrive\.$/,
    },
  ]);
  t.ok(network?.closed && guard.closed, 'all is taken down');
  t.equal(made.length, 1);
  const [table] = network?.tables ?? [];
  t.same(
    [table?.proxied, table?.peers.map(({ unlisted }) => unlisted)],
    [[], ['drop']],
    'nothing is forwarded',
  );
  t.match(
    guard.applied,
    [{ proxied: [], masquerade: undefined }],
    'the kernel answers for whatever it did before',
  );
  const kinds = network?.sent.map(({ scope, frame }) =>
    scope === 'underlay' ? 'arp' : decodeFrame(frame)?.kind,
  );
  t.ok(kinds?.includes('question'));
  const allowed = ['arp', 'question', 'refused-question'];
  t.same(
    kinds?.filter((kind) => !allowed.includes(kind ?? '')),
    [],
    'questions, and ARP for the next hop',
  );
  t.notOk(
    network?.sent.some(({ scope }) => scope === 'overlay'),
    'the hosts hear nothing',
  );
});

t.test('masquerade is dropped meanwhile, too', async (t) => {
  const { network, guard } = await probe({}, {}, { unlisted: 'masquerade' });
  t.equal(network?.table?.peers[0]?.unlisted, 'drop');
  t.equal(guard.applied[0]?.masquerade, undefined);
});

t.test('questions of the far gateway are left to a gateway that runs', async (t) => {
  const silent: Around = { answers: false };
  const machine = new MachineDouble();
  const wanted = settings();
  const plan = makePlan(wanted, readMachine(machine, wanted));
  let network: Network | undefined;
  const probing = probePeers(plan, machine, {
    guardFactory: () => new GuardDouble(),
    answerWithin: 100,
    dataPlaneFactory: (given) => {
      network = new Network(given);
      network.around = { ...network.around, ...silent };
      return network;
    },
  });
  const question = encodeFrame({ kind: 'question', instance: 1, sequence: 1 }, FAR_MAC);
  network?.emit({
    kind: 'keepalive',
    scope: { peer: 0 },
    frame: question,
    length: question.length,
    receivedAt: 0,
  });
  const request = buildArp({
    destination: 'ff:ff:ff:ff:ff:ff',
    source: FAR_MAC,
    operation: 'request',
    senderMac: FAR_MAC,
    senderAddress: '10.0.0.77',
    targetMac: '00:00:00:00:00:00',
    targetAddress: '10.0.0.20',
  });
  network?.emit({ kind: 'arp', scope: 'overlay', frame: request });
  await probing;
  t.notOk(network?.sent.some(({ frame }) => decodeFrame(frame)?.kind === 'answer'));
  t.notOk(
    network?.sent.some(({ scope }) => scope === 'overlay'),
    'no answer for a proxied address',
  );
});

t.test('what does not answer', async (t) => {
  const quick = { answerWithin: 150 };
  t.match((await probe({ answers: false }, quick)).findings, [
    { severity: 'warning', code: 'peer-silent', remedy: /protocol 97 both ways.*198\.18\.0\.1/ },
  ]);
  t.match((await probe({ arp: false }, quick)).findings, [
    {
      severity: 'warning',
      code: 'peer-unresolved',
      message: /vpc-b \(198\.18\.0\.2\) does not answer ARP on eth2/,
    },
  ]);
  const off = await probe({}, quick, { keepalive: false });
  t.match(off.findings, [{ severity: 'info', code: 'peer-not-asked' }]);
  t.same(off.made, [], 'and nothing was attached');
});

t.test('a path that swallows what its route promises', async (t) => {
  const { findings } = await probe({ largest: 1300 });
  t.match(findings, [
    {
      severity: 'warning',
      code: 'path-mtu',
      message: /packets of 1500 bytes do not reach it though the route says so, packets of 1200 bytes do\.$/,
    },
  ]);
});

t.test('workers that cannot be attached', async (t) => {
  const failing = new VpcConnError('workers-start', 'The workers cannot be attached: no. Do this.');
  const guard = new GuardDouble();
  let network: MemoryDataPlane | undefined;
  const dataPlaneFactory: DataPlaneFactory = (given) => {
    network = new MemoryDataPlane(given, { startError: failing });
    return network;
  };
  await t.rejects(probe({}, { dataPlaneFactory, guardFactory: () => guard }), { code: 'workers-start' });
  t.ok(guard.closed && network?.closed, 'nothing is left');
});

t.test('a gateway that runs is asked instead', async (t) => {
  t.match(runningFindings(STATUS), [
    { severity: 'info', code: 'running', message: /process 4711/ },
    { severity: 'info', code: 'peer-up', message: /is up\. It answers in 0\.2 ms\./ },
  ]);
  const silent = peerWith({
    state: 'silent',
    stateWhy: 'it no longer answers keepalives',
    findings: ['They differ.'],
  });
  t.match(runningFindings(statusWith({ peers: [silent], notices: ['eth2 is down.'] })), [
    { code: 'running' },
    {
      severity: 'warning',
      code: 'peer-silent',
      message: /is silent: it no longer answers/,
      remedy: /protocol 97/,
    },
    { severity: 'warning', code: 'peer-disagrees', message: 'They differ.' },
    { severity: 'info', code: 'notice', message: 'eth2 is down.' },
  ]);
});
