// `check` on real interfaces: peers asked with and without a gateway that runs, and the machine as it was; metrics.
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Finding } from '../../src/gateway/preflight.js';
import { createLab, type Lab, whyNoLab } from '../../src/lab/index.js';
import { startTwins, twinConfig, twinVpcs } from '../helpers/lab.js';

const skip = await whyNoLab();

/** The file of gateway a, for a start that has not happened yet. */
function fileOf(lab: Lab, changes: Record<string, unknown> = {}): string {
  const file = join(lab.directory, 'checked.yaml');
  const socket = join(lab.directory, 'checked.sock');
  writeFileSync(file, JSON.stringify({ ...twinConfig('a'), control: { socket }, ...changes }));
  return file;
}

async function check(lab: Lab, file: string): Promise<{ code: number | null; findings: Finding[] }> {
  const { code, stdout, stderr } = await lab.exec(
    'gw-a',
    [process.execPath, 'dist/cli/main.js', 'check', '--json', '-c', file],
    { timeoutMs: 60_000 },
  );
  if (stdout === '') throw new Error(`check said nothing: ${stderr}`);
  return { code, findings: (JSON.parse(stdout) as { findings: Finding[] }).findings };
}

/** About the peer, and what ends a start. */
function telling(findings: readonly Finding[]): Finding[] {
  return findings.filter(({ severity, code }) => severity === 'error' || /^(peer|path)-/.test(code));
}

/** Whatever check could have changed. */
async function state(lab: Lab): Promise<string> {
  const commands = [
    ['ip', 'link'],
    ['ip', 'address'],
    ['ip', 'route', 'show', 'table', 'all'],
    ['nft', 'list', 'ruleset'],
    ['ethtool', '-k', 'eth1'],
    ['ethtool', '-k', 'eth2'],
    ['sysctl', 'net.ipv4.ip_forward', 'net.ipv4.conf.eth1', 'net.ipv4.conf.eth2'],
  ];
  const shown = await Promise.all(commands.map((argv) => lab.must('gw-a', argv)));
  return shown.join('\n');
}

t.test('peers are asked before a gateway runs', { skip }, async (t) => {
  const lab = await createLab(twinVpcs());
  t.teardown(() => lab.close());
  const file = fileOf(lab);

  const alone = await check(lab, file);
  t.equal(alone.code, 0, 'a warning is no error');
  t.match(telling(alone.findings), [{ severity: 'warning', code: 'peer-silent', remedy: /protocol 97/ }]);

  const b = await lab.startGateway('b', { config: twinConfig('b') });
  const before = await state(lab);
  const both = await check(lab, file);
  t.match(telling(both.findings), [
    { severity: 'info', code: 'peer-answers', message: /Packets of 1500 bytes, .* arrive/ },
  ]);
  t.equal(await state(lab), before, 'the machine is as it was');

  // The underlay swallows what is longer, and tells nobody.
  await lab.must('underlay', ['nft', '-f', '-'], {
    input:
      'table bridge hole { chain forward { type filter hook forward priority 0; ip protocol 97 ip length > 1300 drop; }; }\n',
  });
  const hole = await check(lab, file);
  t.match(telling(hole.findings), [
    {
      severity: 'warning',
      code: 'path-mtu',
      message: /packets of 1500 bytes do not reach it.* 1200 bytes do\./,
    },
  ]);
  await b.stop();
  t.equal(existsSync(join(lab.directory, 'checked.sock')), false);
});

t.test('a gateway that runs is asked; its metrics', { skip }, async (t) => {
  const { lab, a } = await startTwins(t);
  await lab.waitFor(
    async () => (await check(lab, a.configFile ?? '')).findings.some(({ code }) => code === 'peer-up'),
    { what: 'check to tell that the peer is up' },
  );
  await a.stop();

  const listen = '127.0.0.1:9797';
  const again = await lab.startGateway('a', { config: { ...twinConfig('a'), metrics: { listen } } });
  const scrape = async () => {
    const ask = `fetch('http://${listen}/metrics').then((r) => r.text()).then((text) => process.stdout.write(text))`;
    return await lab.must('gw-a', [process.execPath, '-e', ask]);
  };
  await lab.waitFor(async () => /peer_state\{peer="vpc-b",state="up"\} 1/.test(await scrape()), {
    what: 'the peer to be up in the metrics',
  });
  const text = await scrape();
  t.match(text, /^vpc_conn_interface_up\{side="underlay",interface="eth2"\} 1$/m);
  t.match(text, /^vpc_conn_dropped_frames_total\{direction="encap",reason="not_proxied"\} \d+$/m);
  t.match(text, /^vpc_conn_keepalive_answers_total [1-9]/m);
  const second = lab.startGateway('a', {
    config: { ...twinConfig('a'), name: 'other', metrics: { listen } },
  });
  await t.rejects(second, {
    message: /metrics\.listen: another program already listens at 127\.0\.0\.1:9797/,
  });
  t.equal(await again.stop(), 0);
});
