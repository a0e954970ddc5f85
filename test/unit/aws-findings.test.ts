// What check says about the addresses that AWS has assigned to the overlay interface.
import t from 'tap';
import { readEni } from '../../src/aws/metadata.js';
import { awsFindings } from '../../src/gateway/checks/aws.js';
import { makePlan, readMachine } from '../../src/gateway/plan.js';
import { MachineDouble, peer, proxied, settings } from '../helpers/machine-double.js';
import { type Answers, ENI, MetadataService, WHOLE } from '../helpers/metadata-service.js';

type Answer = Awaited<ReturnType<typeof readEni>>;
type Whole = Extract<Answer, { kind: 'interface' }>;

const ENI_ADDRESSES: Whole = {
  kind: 'interface',
  interfaceId: 'eni-1',
  addresses: ['10.0.0.5', '10.0.0.20'],
  prefixes: [],
  answersWithoutToken: false,
};

async function find(
  answer: Answer | undefined,
  entries = [proxied('10.0.0.20')],
  sysctl: Record<string, string> = {},
) {
  const wanted = settings({ peers: [peer({ proxied: entries })] });
  const plan = makePlan(wanted, readMachine(new MachineDouble(), wanted));
  const asked: string[] = [];
  const found = await awsFindings(
    plan,
    async (mac) => {
      asked.push(mac);
      return answer;
    },
    (path) => sysctl[path],
  );
  t.same(asked, ['02:00:00:00:00:01'], 'the overlay interface');
  return found;
}

t.test('nothing to say: not on AWS, or all is assigned', async (t) => {
  t.same(await find(undefined), []);
  t.same(await find(ENI_ADDRESSES), []);
  const prefixes = [{ address: '10.0.0.64', prefixLength: 28 }];
  const eni = { ...ENI_ADDRESSES, prefixes };
  t.same(
    await find(eni, [proxied('10.0.0.70'), proxied('10.0.0.64/28'), proxied('10.0.0.64/30')]),
    [],
    'a prefix',
  );
  const halves = [...prefixes, { address: '10.0.0.80', prefixLength: 28 }];
  t.same(await find({ ...eni, prefixes: halves }, [proxied('10.0.0.64/27')]), [], 'a prefix of several');
  const singles = ['10.0.0.5', '10.0.0.30', '10.0.0.31'];
  t.same(await find({ ...eni, addresses: singles }, [proxied('10.0.0.30/31')]), [], 'a prefix of addresses');
});

t.test('what is not assigned is named, with the command that assigns it', async (t) => {
  const found = await find(ENI_ADDRESSES, [proxied('10.0.0.20'), proxied('10.0.0.21'), proxied('10.0.0.22')]);
  t.match(found, [
    {
      severity: 'warning',
      code: 'proxied-not-on-eni',
      key: 'peers[0].proxied',
      message: /^10\.0\.0\.21, 10\.0\.0\.22, proxied for peer vpc-b, are not assigned to eni-1 \(eth1\)/,
      remedy:
        /aws ec2 assign-private-ip-addresses --network-interface-id eni-1 --private-ip-addresses 10\.0\.0\.21 10\.0\.0\.22\. .*lags/,
    },
  ]);
  t.equal(found.length, 1);
  const many = await find(
    ENI_ADDRESSES,
    Array.from({ length: 100 }, (_, i) => proxied(`10.0.0.${30 + i}`)),
  );
  t.match(many, [{ message: /10\.0\.0\.37 and 92 more, proxied/ }]);
  t.match(await find(ENI_ADDRESSES, [proxied('10.0.0.64/28')]), [
    { message: /^10\.0\.0\.64\/28, .* is not/, remedy: /--ipv4-prefixes/ },
  ]);
  const most = { ...ENI_ADDRESSES, prefixes: [{ address: '10.0.0.64', prefixLength: 28 }] };
  t.equal((await find(most, [proxied('10.0.0.64/27')])).length, 1, 'half a prefix is not enough');
});

t.test('an answer that cannot be whole is never read as "no addresses"', async (t) => {
  t.match(await find({ kind: 'unknown', why: 'it lists no address at all' }), [
    { severity: 'info', code: 'metadata-unclear', message: /lists no address at all.*not checked/ },
  ]);
  // A list that lacks even the address that is in use.
  const old = await find({ ...ENI_ADDRESSES, addresses: ['10.0.0.99'] });
  t.match(old, [{ severity: 'warning', code: 'overlay-address-not-on-eni', key: 'overlay.address' }]);
  t.equal(old.length, 1, 'nothing is said of the proxied ones');
  t.match(await find({ kind: 'no-interface' }), [{ severity: 'warning', code: 'overlay-no-eni' }]);

  for (const changes of [
    { [`${ENI}/local-ipv4s`]: '' },
    { [`${ENI}/local-ipv4s`]: 500 },
    { [`${ENI}/ipv4-prefix`]: 500 },
    { [`${ENI}/local-ipv4s`]: '10.0.0.5\n10.' },
  ] as Answers[]) {
    const service = await new MetadataService({ ...WHOLE, ...changes }).start(t.teardown);
    const answer = await readEni('02:00:00:00:00:01', service.endpoint);
    t.match(await find(answer, [proxied('10.0.0.21')]), [{ severity: 'info', code: 'metadata-unclear' }]);
  }
});

t.test('what is open', async (t) => {
  t.match(await find(ENI_ADDRESSES, undefined, { 'net/ipv4/ip_forward': '1\n' }), [
    { severity: 'warning', code: 'metadata-forwarded', remedy: /ip_forward=0/ },
  ]);
  t.match(await find({ ...ENI_ADDRESSES, answersWithoutToken: true }), [
    { severity: 'warning', code: 'metadata-without-token', remedy: /--http-tokens required/ },
  ]);
});
