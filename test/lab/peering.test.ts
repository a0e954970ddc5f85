// What gateways say to each other: whether they live, how large packets may be, and whether their lists agree.
import t from 'tap';
import {
  createLab,
  type GatewayProcess,
  type Lab,
  ping,
  tcpTransfer,
  whyNoLab,
} from '../../src/lab/index.js';
import { type Peer, peerOf, twinConfig, twinVpcs } from '../helpers/lab.js';
import { judgeFrames } from '../helpers/second-opinion.js';

const skip = await whyNoLab();

function until(
  lab: Lab,
  gateway: GatewayProcess,
  what: string,
  is: (peer: Peer) => boolean,
): Promise<boolean> {
  return lab.waitFor(async () => is(await peerOf(gateway)), { what, timeoutMs: 90_000, intervalMs: 250 });
}

/** The underlay swallows what the rule matches, and tells nobody. */
async function swallow(lab: Lab, rule: string): Promise<void> {
  const input = [
    'table bridge hole {',
    '  chain forward {',
    '    type filter hook forward priority 0;',
    '  }',
    '}',
    'flush chain bridge hole forward',
    `add rule bridge hole forward ${rule} drop`,
  ];
  await lab.must('underlay', ['nft', '-f', '-'], { input: `${input.join('\n')}\n` });
}

const CARRIED = 1300;
const OVERHEAD = 36;

t.test('a black hole, and lists that do not agree', { skip }, async (t) => {
  const lab = await createLab(twinVpcs());
  t.teardown(() => lab.close());
  await judgeFrames(t, lab);
  await swallow(lab, `ip protocol 97 ip length > ${CARRIED}`);
  const [a, b] = await Promise.all([
    lab.startGateway('a', { config: twinConfig('a') }),
    lab.startGateway('b', { config: twinConfig('b', { proxied: ['10.0.0.10'] }) }),
  ]);
  await until(lab, a, 'an answer', ({ roundTripMs }) => roundTripMs !== null);

  await t.test('a host that the far gateway does not list is told by name, at both ends', async (t) => {
    await ping(lab, 'a2', '10.0.0.20', { count: 1, wait: 1 });
    await until(lab, a, 'the finding', ({ findings }) => findings.length > 0);
    t.match(await peerOf(a), {
      state: 'misconfigured',
      findings: [/^vpc-b drops what 10\.0\.0\.11 sends, because 10\.0\.0\.11 has no proxied address there/],
    });
    t.same((await peerOf(b)).refusedHosts, ['10.0.0.11']);
    b.writeConfig(twinConfig('b'));
    t.equal((await b.client('reload')).code, 0);
    await until(lab, a, 'the remedy to be noticed', ({ findings }) => findings.length === 0);
    t.equal((await ping(lab, 'a2', '10.0.0.20', { count: 1 })).received, 1, 'it helped');
  });

  await t.test('a plan of one side only is told by name', async (t) => {
    b.writeConfig(twinConfig('b', { proxied: [] }));
    t.equal((await b.client('reload')).code, 0);
    await until(lab, a, 'the finding', ({ findings }) => findings.length > 0);
    t.match((await peerOf(a)).findings, [/^vpc-b lists none of the hosts here/]);
    b.writeConfig(twinConfig('b'));
    t.equal((await b.client('reload')).code, 0);
    await until(lab, a, 'agreement', ({ findings }) => findings.length === 0);
    const said = a.log().filter(({ msg }) => msg?.startsWith('vpc-b lists none'));
    await lab.waitFor(() => a.log().some(({ msg }) => msg?.startsWith('settled: vpc-b lists none')), {
      what: 'the log to say that it is settled',
    });
    t.equal(said.length, 1, 'logged once');
  });

  await t.test('checklist 39: the black hole is found, and TCP goes through', async (t) => {
    const found = ({ innerMtu }: Peer) => {
      const outer = innerMtu + OVERHEAD;
      return outer <= CARRIED && outer > CARRIED - 4;
    };
    await Promise.all([a, b].map((gateway) => until(lab, gateway, 'the search to end', found)));
    t.match(await peerOf(a), { state: 'mtu-limited', innerMtuWhy: 'probe', loss: 0 });
    const result = await tcpTransfer(lab, { from: 'a1', to: 'b1', bytes: 2_000_000 });
    t.same(result.received, { bytes: 2_000_000, sha256: result.sha256 });
    const states = a.log().filter(({ msg }) => msg?.startsWith('peer vpc-b is mtu-limited'));
    t.ok(states.length >= 1, 'and the log says so');
  });

  await t.test('checklist 39: a path that carries what its route says is proven, and used', async (t) => {
    await lab.must('gw-a', ['ip', 'link', 'set', 'eth2', 'mtu', '1290']);
    await until(lab, a, 'the smaller route', ({ state, innerMtu }) => state === 'up' && innerMtu === 1254);
    await swallow(lab, 'ip length > 9000');
    await lab.must('gw-a', ['ip', 'link', 'set', 'eth2', 'mtu', '1500']);
    await until(lab, a, 'the whole path', ({ state, innerMtu }) => state === 'up' && innerMtu === 1464);
    t.equal((await tcpTransfer(lab, { from: 'a1', to: 'b1', bytes: 500_000 })).received.bytes, 500_000);
  });
});

t.test('loss, and a far gateway that dies', { skip }, async (t) => {
  const began = Date.now();
  const lab = await createLab(twinVpcs());
  t.teardown(() => lab.close());
  await judgeFrames(t, lab);
  const [a, b] = await Promise.all([
    lab.startGateway('a', { config: twinConfig('a') }),
    lab.startGateway('b', { config: twinConfig('b') }),
  ]);
  await until(lab, a, 'the peer', ({ state }) => state === 'up');
  const { roundTripMs, loss, counters } = await peerOf(a);
  t.ok(roundTripMs !== null && roundTripMs > 0 && roundTripMs < Date.now() - began, `${roundTripMs} ms`);
  t.equal(loss, 0);
  t.ok((counters.rx_packets ?? 0) > 0);

  // Every second EtherIP packet towards b.
  await swallow(lab, 'ip daddr 198.18.0.2 ip protocol 97 numgen inc mod 2 0');
  await until(lab, a, 'the loss', (peer) => (peer.loss ?? 0) > 0);
  await swallow(lab, 'ip length > 9000');

  await b.kill();
  await until(lab, a, 'the silence', ({ state }) => state === 'silent');
  t.match((await peerOf(a)).stateWhy, /no longer answers keepalives/);
  await lab.waitFor(() => a.log().some(({ msg }) => msg?.startsWith('peer vpc-b is silent')), {
    what: 'the log to say so',
  });
  t.equal(a.log().filter(({ msg }) => msg === 'peer vpc-b is up').length, 1, 'once per change');
  await lab.startGateway('b', { config: twinConfig('b', { keepalive: false }) });
  await until(lab, a, 'the peer again', ({ state }) => state === 'up');
});
