// The instance metadata service: a whole answer, and every kind of other one that says nothing about addresses.

import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import t, { type Test } from 'tap';
import { metadataEndpoint, readEni } from '../../src/aws/metadata.js';
import { type Answers, ENI, MAC, MetadataService, WHOLE } from '../helpers/metadata-service.js';

async function ask(t: Test, changes: Answers = {}, mac = MAC, patience?: number) {
  const service = await new MetadataService({ ...WHOLE, ...changes }).start(t.teardown);
  return { service, answer: await readEni(mac, service.endpoint, patience) };
}

t.test('a whole answer, asked with a token', async (t) => {
  const { service, answer } = await ask(t, { [`${ENI}/ipv6s`]: '2001:DB8:0::20' });
  t.same(answer, {
    kind: 'interface',
    interfaceId: 'eni-0123456789abcdef0',
    addresses: ['10.0.0.5', '10.0.0.20', '2001:db8::20'],
    prefixes: [{ address: '10.0.0.64', prefixLength: 28 }],
    answersWithoutToken: false,
  });
  t.equal(service.asked[0], 'PUT /latest/api/token');
  const upper = await ask(t, {}, MAC.toUpperCase());
  t.match(upper.answer, { kind: 'interface' });
});

t.test('IMDSv1 is noticed', async (t) => {
  const service = await new MetadataService().start(t.teardown);
  service.open = true;
  t.match(await readEni(MAC, service.endpoint), { kind: 'interface', answersWithoutToken: true });
});

t.test('prefixes are none when there is no such path, and only then', async (t) => {
  const { [`${ENI}/ipv4-prefix`]: _prefix, ...without } = WHOLE;
  const service = await new MetadataService(without).start(t.teardown);
  t.match(await readEni(MAC, service.endpoint), { kind: 'interface', prefixes: [] });
  t.match((await ask(t, { [`${ENI}/ipv4-prefix`]: 500 })).answer, {
    kind: 'unknown',
    why: /ipv4-prefix.*500/,
  });
});

t.test('another interface', async (t) => {
  t.same((await ask(t, {}, '02:00:00:00:00:99')).answer, { kind: 'no-interface' });
});

t.test('what is empty, failed or in part is never "no addresses"', async (t) => {
  const cut: Answers[string] = (_, response) => {
    response.setHeader('content-length', 100);
    response.write('10.0.0.5\n10.0');
    setImmediate(() => response.destroy());
  };
  const cases: [string, Answers, RegExp][] = [
    ['an empty list', { [`${ENI}/local-ipv4s`]: '' }, /lists no address/],
    ['no such list', { [`${ENI}/local-ipv4s`]: 404 }, /lists no address/],
    ['a failure', { [`${ENI}/local-ipv4s`]: 503 }, /local-ipv4s has status 503/],
    ['an answer cut short', { [`${ENI}/local-ipv4s`]: cut }, /./],
    ['a page of something else', { [`${ENI}/local-ipv4s`]: '<html>login</html>' }, /is no address: "<html>/],
    ['half an address', { [`${ENI}/local-ipv4s`]: '10.0.0.5\n10.0.0.' }, /no address: "10\.0\.0\."/],
    ['no interfaces', { '/latest/meta-data/network/interfaces/macs/': '' }, /list of interfaces is empty/],
    [
      'no list of interfaces',
      { '/latest/meta-data/network/interfaces/macs/': 404 },
      /list of interfaces is empty/,
    ],
    ['no token', { '/latest/api/token': 403 }, /no token \(status 401\)|no token \(status 403\)/],
    ['an endless answer', { [`${ENI}/local-ipv4s`]: '10.0.0.5\n'.repeat(20_000) }, /too long/],
    [
      'a redirect',
      {
        [`${ENI}/local-ipv4s`]: (_, response) => {
          response.writeHead(302, { location: '/latest/meta-data/' }).end();
        },
      },
      /./,
    ],
  ];
  for (const [name, changes, why] of cases) {
    const { answer } = await ask(t, changes);
    t.match(answer, { kind: 'unknown', why }, name);
  }
});

t.test('somebody who does not answer, or is not there, costs no more than the patience', async (t) => {
  const silent = await ask(t, { [`${ENI}/local-ipv4s`]: () => {} }, MAC, 100);
  t.same(silent.answer, { kind: 'unknown', why: 'it did not answer within 100 ms' });
  const nobody = createServer().listen(0, '127.0.0.1');
  await once(nobody, 'listening');
  const { port } = nobody.address() as AddressInfo;
  nobody.close();
  await once(nobody, 'close');
  t.match(await readEni(MAC, `http://127.0.0.1:${port}`), { kind: 'unknown', why: /ECONNREFUSED/ });
});

t.test('who is asked: on EC2 only, unless told otherwise', async (t) => {
  t.equal(
    metadataEndpoint({}, () => 'QEMU'),
    undefined,
  );
  t.equal(
    metadataEndpoint({}, () => undefined),
    undefined,
  );
  t.equal(
    metadataEndpoint({}, () => 'Amazon EC2'),
    'http://169.254.169.254',
  );
  const elsewhere = { AWS_EC2_METADATA_SERVICE_ENDPOINT: 'http://[fd00:ec2::254]' };
  t.equal(
    metadataEndpoint(elsewhere, () => undefined),
    'http://[fd00:ec2::254]',
  );
  t.equal(
    metadataEndpoint({ ...elsewhere, AWS_EC2_METADATA_DISABLED: 'TRUE' }, () => 'Amazon EC2'),
    undefined,
  );
});
