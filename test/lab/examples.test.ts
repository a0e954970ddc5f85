// The programs under examples/, as they are printed, against whole gateways.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { createLab, ping, whyNoLab } from '../../src/lab/index.js';
import { twinConfig, twinVpcs } from '../helpers/lab.js';
import { judgeFrames } from '../helpers/second-opinion.js';

const skip = await whyNoLab();

function example(name: string): string {
  return fileURLToPath(new URL(`../../examples/${name}`, import.meta.url));
}

t.test('embed.mjs runs a gateway, status.mjs asks one', { skip }, async (t) => {
  const lab = await createLab(twinVpcs());
  t.teardown(() => lab.close());
  await judgeFrames(t, lab);
  const file = join(lab.directory, 'embedded.yaml');
  const write = (config: object) => writeFileSync(file, JSON.stringify(config));
  // The file of masqueraded flows, and notes of offloads, would lie beside the socket.
  const control = { socket: join(lab.directory, 'embedded.sock') };
  write({ ...twinConfig('a'), control });

  const embedded = lab.spawn('gw-a', [process.execPath, example('embed.mjs'), file]);
  const b = await lab.startGateway('b', { config: twinConfig('b') });
  await embedded.until(({ stdout }) => stdout.includes('running: 1 peers'), 'the gateway running', 15_000);
  t.match(await ping(lab, 'a1', lab.address('b1'), { count: 5 }), { received: 5, duplicates: 0 });

  write({ ...twinConfig('a', { proxied: ['10.0.0.20'] }), control });
  process.kill(embedded.pid, 'SIGHUP');
  await embedded.until(
    ({ stdout }) => stdout.includes('reloaded: peer vpc-b: proxied 10.0.0.21 removed'),
    'the reload',
  );
  write({ peers: [] });
  process.kill(embedded.pid, 'SIGHUP');
  await embedded.until(({ stderr }) => /^settings/m.test(stderr), 'the refusal');
  t.match(
    await ping(lab, 'b1', lab.address('a1'), { count: 5 }),
    { received: 5 },
    'a wrong file changes nothing',
  );

  const asked = await lab.exec('gw-b', [process.execPath, example('status.mjs'), b.socket]);
  t.match(asked, { code: 0, stderr: '', stdout: /^vpc-b -> vpc-a: up, round trip [\d.]+ ms, MTU 1464$/m });
  const nobody = await lab.exec('gw-b', [process.execPath, example('status.mjs'), `${b.socket}.none`]);
  t.match(nobody, { code: 1, stdout: '', stderr: /^no-gateway: .*none\. Start one/ });

  embedded.kill('SIGTERM');
  t.match(await embedded.exited, { code: 0 });
});
