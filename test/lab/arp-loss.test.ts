// Requests and answers of ARP get lost. What waits for them must not.
import t from 'tap';
import { createLab, ping, tcpTransfer, whyNoLab } from '../../src/lab/index.js';
import { drops, twinConfig, twinVpcs } from '../helpers/lab.js';
import { judgeFrames } from '../helpers/second-opinion.js';

const skip = await whyNoLab();

/** A bridge that loses a port's ARP requests: of every three for one target the first two. */
function loss(port: string, targets: readonly string[]): string {
  const rules = targets.map(
    (target) =>
      `ether type arp iifname "${port}" arp operation request arp daddr ip ${target} numgen inc mod 3 < 2 counter name lost drop`,
  );
  return `
table bridge loss {
  counter lost { }
  chain prerouting {
    type filter hook prerouting priority -400; policy accept;
    ${rules.join('\n    ')}
  }
}
`;
}

t.test('two of three ARP requests of a gateway are lost', { skip }, async (t) => {
  const lab = await createLab(twinVpcs({ kind: 'lan' }));
  t.teardown(() => lab.close());
  await judgeFrames(t, lab);
  await lab.must('underlay', ['nft', '-f', '-'], { input: loss('gw-a', ['198.18.0.2']) });
  await lab.must('vpc-b', ['nft', '-f', '-'], { input: loss('gw-b', ['10.0.0.20', '10.0.0.21']) });
  const a = await lab.startGateway('a', { config: twinConfig('a') });
  const b = await lab.startGateway('b', { config: twinConfig('b') });

  // Frames are kept for three seconds, requests are a second apart: the third comes in time.
  const first = await ping(lab, 'a1', '10.0.0.20', { count: 3, wait: 10 });
  t.match(first, { sent: 3, received: 3, duplicates: 0, errors: 0 }, 'what came first waits and arrives');
  const sent = await tcpTransfer(lab, { from: 'a2', to: 'b2', bytes: 1_000_000 });
  t.same(sent.received, { bytes: 1_000_000, sha256: sent.sha256 }, 'TCP to a host not yet resolved');
  for (const gateway of [a, b]) t.same(await drops(gateway), {}, `${gateway.name} dropped nothing`);
  for (const bridge of ['underlay', 'vpc-b']) {
    const counter = await lab.must(bridge, ['nft', '-j', 'list', 'counter', 'bridge', 'loss', 'lost']);
    t.notMatch(counter, '"packets": 0', `${bridge} lost some`);
  }
});
