// The measuring tools measured: on one plain segment, where every result is known beforehand.
import t from 'tap';
import {
  createLab,
  iperf,
  ping,
  startTransfer,
  tcpTransfer,
  udpEcho,
  whyNoLab,
} from '../../src/lab/index.js';

const skip = await whyNoLab();

t.test('traffic helpers', { skip }, async (t) => {
  const lab = await createLab({
    vpcs: [
      {
        name: 'a',
        cidr: '10.0.0.0/24',
        hosts: [
          { name: 'a1', address: '10.0.0.10' },
          { name: 'a2', address: '10.0.0.11' },
        ],
      },
    ],
  });
  t.teardown(() => lab.close());

  const pinged = await ping(lab, 'a1', '10.0.0.11', { count: 3 });
  t.match(pinged, { sent: 3, received: 3, duplicates: 0, errors: 0 });
  t.match(await ping(lab, 'a1', '10.0.0.99', { count: 1, wait: 1 }), {
    sent: 1,
    received: 0,
    averageMs: null,
  });

  const transfer = await tcpTransfer(lab, { from: 'a1', to: 'a2', bytes: 3_000_001 });
  t.equal(transfer.bytes, 3_000_001);
  t.same(transfer.received, { bytes: transfer.bytes, sha256: transfer.sha256 });

  const running = await startTransfer(lab, { from: 'a2', to: 'a1' });
  await running.moves(1_000_000);
  const end = await running.finish();
  t.ok(end.bytes >= 1_000_000);
  t.same(end.received, { bytes: end.bytes, sha256: end.sha256 });

  const sizes = [0, 1, 2, 3, 100, 1471, 1472, 1473, 9000];
  const echoed = await udpEcho(lab, { from: 'a1', to: 'a2', sizes });
  t.same(echoed, { sent: 9, received: 9, lost: [], corrupt: [], duplicated: [] });

  await lab.must('a2', ['nft', '-f', '-'], {
    // By the length of the datagram: the payload and 8 bytes of header.
    input: `table inet hurt { chain input {
      type filter hook input priority 0;
      udp length 108 drop
    }
    }
`,
  });
  const hurt = await udpEcho(lab, { from: 'a1', to: 'a2', sizes: [99, 100, 101] });
  t.match(hurt, { sent: 3, received: 2, lost: [100], corrupt: [] }, 'every datagram is accounted for');
  t.equal(
    hurt.sent,
    hurt.received + hurt.lost.length + hurt.corrupt.length,
    'every datagram is accounted for',
  );

  const result = await iperf(lab, { from: 'a1', to: 'a2', seconds: 1 });
  t.ok((result.end.sum_received?.bits_per_second ?? 0) > 1e6);
});
