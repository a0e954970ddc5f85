// Hosts with the same address on both sides talk to each other: each knows its twin by another address, so both
// ends of every conversation are rewritten.
import t from 'tap';
import { createLab, ping, tcpTransfer, udpEcho, whyNoLab } from '../../src/lab/index.js';
import { ALL_ECHOED, drops, range, twinConfig, twinVpcs } from '../helpers/lab.js';
import { judgeFrames } from '../helpers/second-opinion.js';

const skip = await whyNoLab();

/** 10.0.0.10 and 10.0.0.11 are hosts in both VPCs; a far .10 is .99 here, a far .11 is .107, by a prefix. */
const PROXIED = [
  { address: '10.0.0.99', host: '10.0.0.10' },
  { address: '10.0.0.107/32', host: '10.0.0.11/32' },
  { address: '10.0.0.128/26', host: '10.0.0.64/26' },
];

t.test('twins, one-to-one, both ends rewritten', { skip }, async (t) => {
  const { vpcs, underlay = {} } = twinVpcs();
  const same = vpcs.map((vpc) => ({
    ...vpc,
    hosts: ['10.0.0.10', '10.0.0.11', '10.0.0.70'].map((address, index) => ({
      name: `${vpc.name}${index + 1}`,
      address,
    })),
    ...(vpc.gateway && {
      gateway: { ...vpc.gateway, secondary: ['10.0.0.99', '10.0.0.107', '10.0.0.134'] },
    }),
  }));
  const lab = await createLab({ vpcs: same, underlay });
  t.teardown(() => lab.close());
  await judgeFrames(t, lab);
  const gateways = await Promise.all(
    (['a', 'b'] as const).map((vpc) =>
      lab.startGateway(vpc, { config: twinConfig(vpc, { proxied: PROXIED }) }),
    ),
  );

  const routes = [
    { from: 'a1', to: 'b1', address: '10.0.0.99' },
    { from: 'b1', to: 'a1', address: '10.0.0.99' },
    { from: 'a1', to: 'b2', address: '10.0.0.107' },
    { from: 'b3', to: 'a3', address: '10.0.0.134' },
  ];
  for (const route of routes) {
    const what = `${route.from} (${lab.address(route.from)}) to ${route.to} (${lab.address(route.to)}) as ${route.address}`;
    const pinged = await ping(lab, route.from, route.address, { count: 5 });
    t.match(pinged, { received: 5, duplicates: 0, errors: 0 }, `ping from ${what}`);
    const sent = await tcpTransfer(lab, { ...route, bytes: 4_000_003 });
    t.same(sent.received, { bytes: 4_000_003, sha256: sent.sha256 }, `TCP from ${what}`);
    const echoed = await udpEcho(lab, { ...route, sizes: [...range(0, 20), ...range(1400, 1436)] });
    t.match(echoed, { received: 58, ...ALL_ECHOED }, `UDP from ${what}`);
  }
  for (const vpc of ['a', 'b']) {
    t.equal((await lab.mappingDrops(vpc)).spoofed, 0, `VPC ${vpc} saw nothing but registered addresses`);
  }
  for (const gateway of gateways) t.same(await drops(gateway), {}, `${gateway.name} dropped nothing`);
});
