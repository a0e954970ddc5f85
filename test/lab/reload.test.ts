// A reload loses nothing of what stays.
import t from 'tap';
import { startUdpEcho, waitFor, whyNoLab } from '../../src/lab/index.js';
import { ALL_ECHOED, range, startTwins, twinConfig } from '../helpers/lab.js';

const skip = await whyNoLab();

t.test('peers and addresses come and go beside streams of datagrams', { skip }, async (t) => {
  const { lab, a, b } = await startTwins(t);
  const stream = await startUdpEcho(lab, { from: 'a1', to: 'b1', sizes: range(100, 600) });
  const back = await startUdpEcho(lab, { from: 'b1', to: 'a1', sizes: range(100, 600) });
  const goesOn = async () => {
    for (const echo of [stream, back]) {
      const before = echo.progress().received;
      await waitFor(() => echo.progress().received > before, {
        what: 'the stream going on',
        timeoutMs: 20_000,
      });
    }
  };
  const second = { name: 'vpc-c', address: '198.18.0.77', proxied: ['10.0.0.40', '10.0.0.64/28'] };
  const [first = {}] = twinConfig('a').peers as Record<string, unknown>[];
  const peers = (...list: object[]) => ({ ...twinConfig('a'), peers: list });
  const steps: [config: Record<string, unknown>, said: RegExp][] = [
    [peers(first, second), /peer vpc-c added/],
    [peers(second, first), /nothing has changed/],
    [peers({ ...first, proxied: ['10.0.0.20'] }, second), /peer vpc-b: proxied 10\.0\.0\.21 removed/],
    [peers({ ...first, proxied: ['10.0.0.20', '10.0.0.22', '10.0.0.23'] }), /peer vpc-c removed/],
    [{ ...peers(first), underlay: { interface: 'eth2', address: '198.18.0.1', dscp: 46 } }, /underlay\.dscp/],
    [{ ...peers(first), log: { level: 'debug' } }, /log\.level info -> debug/],
    [peers(first), /log\.level debug -> info/],
  ];
  for (const [config, said] of steps) {
    a.writeConfig(config);
    const { code, stdout, stderr } = await a.client('reload');
    t.equal(code, 0, stderr);
    t.match(stdout, said);
    await goesOn();
  }

  // On the side that receives, by the signal.
  const [far = {}] = twinConfig('b').peers as Record<string, unknown>[];
  b.writeConfig({ ...twinConfig('b'), peers: [far, { ...second, proxied: ['10.0.0.40'] }] });
  b.process.kill('SIGHUP');
  await b.process.until(() => b.log().some(({ msg }) => msg === 'reloaded'), 'the reload');
  await goesOn();

  // What is refused changes nothing, and says why.
  const refused: [config: Record<string, unknown>, why: RegExp][] = [
    [{ ...peers(first), overlay: { interface: 'eth2' } }, /overlay\.interface cannot change while/],
    [peers(first, { ...second, proxied: ['10.0.0.20'] }), /10\.0\.0\.20/],
    [peers(first, { ...second, proxied: ['10.0.0.5'] }), /this gateway's own address/],
  ];
  for (const [config, why] of refused) {
    a.writeConfig(config);
    const { code, stderr } = await a.client('reload');
    t.equal(code, 2);
    t.match(stderr, why);
    await goesOn();
  }
  const restart = await a.client('status', '--json');
  t.match(JSON.parse(restart.stdout), { state: 'running', peers: [{ name: 'vpc-b' }] });

  for (const echo of [stream, back]) {
    const report = await echo.finish();
    t.match(report, ALL_ECHOED, `none of ${report.sent} datagrams was lost`);
  }
});
