// Super-frames and half-made checksums: whatever the NICs leave to each other must be right on the wire.
import t from 'tap';
import { tcpTransfer, udpEcho, whyNoLab } from '../../src/lab/index.js';
import { ALL_ECHOED, drops, range, startTwins, totals } from '../helpers/lab.js';

const skip = await whyNoLab();
const bytes = 24_000_001;

const cases = [
  { segmentationOffload: true, checksumOffload: true, honest: true },
  { segmentationOffload: true, checksumOffload: true, honest: false },
  { segmentationOffload: false, checksumOffload: true, honest: true },
  { segmentationOffload: false, checksumOffload: false, honest: true },
  { segmentationOffload: false, checksumOffload: false, honest: false },
];

for (const { honest, ...nic } of cases) {
  const on = (feature: boolean) => (feature ? 'on' : 'off');
  const name =
    `super-frames ${on(nic.segmentationOffload)}, checksum offload ${on(nic.checksumOffload)}, ` +
    `offloads of the underlay ${on(!honest)}`;
  t.test(name, { skip }, async (t) => {
    const { lab, a, b } = await startTwins(t, { nic, underlay: { honest }, judged: false });
    for (const [from, to] of [
      ['a1', 'b1'],
      ['b2', 'a2'],
    ] as const) {
      const result = await tcpTransfer(lab, { from, to, bytes });
      t.same(result.received, { bytes, sha256: result.sha256 }, `TCP from ${from} to ${to}`);
      const echoed = await udpEcho(lab, { from, to, sizes: [0, 1, 2, 3, 100, ...range(1430, 1436)] });
      t.match(echoed, { received: 12, ...ALL_ECHOED }, `UDP from ${from} to ${to}`);
    }
    // Otherwise the case would not test what its name says.
    const superFrames = (await totals(a)).rx_super_frames ?? 0;
    if (nic.segmentationOffload) t.ok(superFrames > 0, 'super-frames did reach the gateway');
    else t.equal(superFrames, 0, 'no super-frame reached the gateway');
    t.same({ ...(await drops(a)), ...(await drops(b)) }, {}, 'nothing was dropped');
    const wire = await lab.counters('gw-a', 'eth2');
    if (honest) t.ok(wire.txBytes / wire.txPackets <= 1514, 'the underlay carried no frame above its MTU');
  });
}

t.test('a small underlay MTU', { skip }, async (t) => {
  const { lab } = await startTwins(t, { underlay: { mtu: 1280 } });
  const result = await tcpTransfer(lab, { from: 'a1', to: 'b1', bytes });
  t.same(result.received, { bytes, sha256: result.sha256 });
  // 1280 - 36 of the tunnel - 28 of IP and UDP
  const echoed = await udpEcho(lab, { from: 'b1', to: 'a2', sizes: [1, ...range(1200, 1216)] });
  t.match(echoed, { received: 18, ...ALL_ECHOED });
});
