/**
 * Tunnels in user space that people would otherwise use. Each carries the same hosts, by the same policy routes
 * as the kernel recipe, at its most favourable setting; encryption is off where it can be.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { exec, type LabProcess } from '../../src/lab/command.js';
import { type BenchLab, GATEWAYS, type Gateway, UNDERLAY } from '../lab/bench-lab.js';
import { type Contender, farHosts } from './contender.js';
import { routeThrough } from './routed.js';

/** The ends' addresses on the tunnel device. */
const ENDS = { 'gw-a': '198.19.0.1', 'gw-b': '198.19.0.2' } as const;
const PORT = '5400';

interface Recipe {
  name: string;
  title: string;
  programs: readonly string[];
  packages: string;
  detail: string;
  /** Command that tells the version in its first line. */
  version: readonly string[];
  /** Largest packet that fits once, bytes; undefined: the program sets it. */
  mtu?: number;
  /** Name of the tunnel device. */
  device(lab: BenchLab, gateway: Gateway): string;
  /** Once for the lab, before the gateways start. */
  prepare?(lab: BenchLab): Promise<void>;
  /** Starts the program; the device may come up later. */
  start(lab: BenchLab, gateway: Gateway): Promise<LabProcess> | LabProcess;
  /** When the device is there. */
  configure?(lab: BenchLab, gateway: Gateway): Promise<void>;
}

function peer(recipe: Recipe): Contender {
  const contender: Contender = {
    name: recipe.name,
    title: recipe.title,
    kind: 'peer',
    async missing() {
      for (const program of recipe.programs) {
        const found = await exec(undefined, ['sh', '-c', `command -v ${program}`]);
        if (found.code !== 0)
          return `${program} is missing (Debian, Ubuntu: apt-get install ${recipe.packages}).`;
      }
      return false;
    },
    async setUp(lab) {
      await recipe.prepare?.(lab);
      const processes = new Map<Gateway, LabProcess>();
      for (const gateway of GATEWAYS) processes.set(gateway, await recipe.start(lab, gateway));
      for (const gateway of GATEWAYS) {
        const device = recipe.device(lab, gateway);
        const exists = async () =>
          (await lab.exec(gateway, ['ip', 'link', 'show', 'dev', device])).code === 0;
        await lab.waitFor(exists, `${recipe.name} to make ${device}`);
        await recipe.configure?.(lab, gateway);
        const mtu = recipe.mtu === undefined ? '' : ` mtu ${recipe.mtu}`;
        await lab.ip(gateway, [
          `addr replace ${ENDS[gateway]}/24 dev ${device}`,
          `link set ${device} up${mtu}`,
        ]);
        await routeThrough(lab, gateway, device, ENDS[lab.sides(gateway).farGateway]);
      }
      return {
        lab,
        contender,
        processes: () => [...processes].map(([gateway, { pid }]) => ({ gateway, pid })),
        detail: `${await versionOf(recipe.version)}, ${recipe.detail}`,
      };
    },
  };
  return contender;
}

/** Such as "1.7.4.4"; how far a tunnel gets depends on it. */
async function versionOf(argv: readonly string[]): Promise<string> {
  const { stdout, stderr } = await exec(undefined, argv);
  return /\d+(\.\d+)+/.exec(stdout || stderr)?.[0] ?? 'version unknown';
}

const socat = peer({
  name: 'socat',
  title: 'socat, TAP over UDP',
  programs: ['socat'],
  packages: 'socat',
  version: ['socat', '-V'],
  detail: 'no encryption',
  mtu: 1450,
  device: () => 'tap0',
  start(lab, gateway) {
    const { farGateway } = lab.sides(gateway);
    const tap = 'TUN,tun-type=tap,tun-name=tap0,iff-no-pi,iff-up';
    const udp = `UDP4-DATAGRAM:${UNDERLAY[farGateway]}:${PORT},bind=${UNDERLAY[gateway]}:${PORT}`;
    return lab.spawn(gateway, ['socat', '-b', '65536', tap, udp]);
  },
});

/** Its control socket lies beside those of every other WireGuard of the machine: names are unique. */
function wireguardDevice(lab: BenchLab, gateway: Gateway): string {
  return `${lab.id}${gateway === 'gw-a' ? 'a' : 'b'}`.slice(-15);
}

const wireguard = peer({
  name: 'wireguard-go',
  title: 'wireguard-go',
  programs: ['wireguard-go', 'wg'],
  packages: 'wireguard-go wireguard-tools',
  version: ['wireguard-go', '--version'],
  detail: 'ChaCha20-Poly1305, always on',
  mtu: 1420,
  device: wireguardDevice,
  async prepare(lab) {
    const keys = new Map<Gateway, { secret: string; open: string }>();
    for (const gateway of GATEWAYS) {
      const secret = (await lab.must(gateway, ['wg', 'genkey'])).trim();
      const open = (await lab.must(gateway, ['wg', 'pubkey'], { input: `${secret}\n` })).trim();
      keys.set(gateway, { secret, open });
    }
    for (const gateway of GATEWAYS) {
      const { farGateway } = lab.sides(gateway);
      const allowed = [ENDS[farGateway], ...farHosts(lab, gateway)].map((address) => `${address}/32`);
      const text = [
        '[Interface]',
        `PrivateKey = ${keys.get(gateway)?.secret}`,
        `ListenPort = ${PORT}`,
        '[Peer]',
        `PublicKey = ${keys.get(farGateway)?.open}`,
        `Endpoint = ${UNDERLAY[farGateway]}:${PORT}`,
        `AllowedIPs = ${allowed.join(', ')}`,
        '',
      ];
      writeFileSync(join(lab.directory, `${gateway}.wg`), text.join('\n'), { mode: 0o600 });
    }
    lab.onClose(() => {
      for (const gateway of GATEWAYS) {
        rmSync(`/var/run/wireguard/${wireguardDevice(lab, gateway)}.sock`, { force: true });
      }
    });
  },
  start: (lab, gateway) => lab.spawn(gateway, ['wireguard-go', '-f', wireguardDevice(lab, gateway)]),
  async configure(lab, gateway) {
    const file = join(lab.directory, `${gateway}.wg`);
    const argv = ['wg', 'setconf', wireguardDevice(lab, gateway), file];
    // The device is there a moment before its control socket is.
    await lab.waitFor(async () => (await lab.exec(gateway, argv)).code === 0, 'wg to configure its device');
  },
});

const openvpn = peer({
  name: 'openvpn',
  title: 'OpenVPN, plain',
  programs: ['openvpn'],
  packages: 'openvpn',
  version: ['openvpn', '--version'],
  detail: 'no encryption, no authentication',
  mtu: 1450,
  device: () => 'tap0',
  start(lab, gateway) {
    const { farGateway } = lab.sides(gateway);
    const ends = ['--local', UNDERLAY[gateway], '--remote', UNDERLAY[farGateway], '--port', PORT];
    const clear = ['--cipher', 'none', '--auth', 'none', '--data-ciphers', 'none', '--disable-dco'];
    const size = ['--tun-mtu', '1450', '--mssfix', '0', '--txqueuelen', '1000'];
    return lab.spawn(gateway, ['openvpn', '--dev', 'tap0', '--proto', 'udp', ...ends, ...clear, ...size]);
  },
});

const tinc = peer({
  name: 'tinc',
  title: 'tinc, plain',
  programs: ['tincd'],
  packages: 'tinc',
  version: ['tincd', '--version'],
  detail: 'no encryption, no authentication',
  mtu: 1400,
  device: () => 'tap0',
  async prepare(lab) {
    const name = (gateway: Gateway) => gateway.replace('-', '');
    const home = (gateway: Gateway) => join(lab.directory, `tinc-${gateway}`);
    for (const gateway of GATEWAYS) {
      const { farGateway } = lab.sides(gateway);
      const hosts = join(home(gateway), 'hosts');
      mkdirSync(hosts, { recursive: true });
      for (const each of GATEWAYS) {
        const lines = [
          `Address = ${UNDERLAY[each]}`,
          'Cipher = none',
          'Digest = none',
          'Compression = 0',
          '',
        ];
        writeFileSync(join(hosts, name(each)), lines.join('\n'));
      }
      const settings = [
        `Name = ${name(gateway)}`,
        ...(gateway === 'gw-a' ? [`ConnectTo = ${name(farGateway)}`] : []),
        'Mode = switch',
        'DeviceType = tap',
        'Interface = tap0',
        '',
      ];
      writeFileSync(join(home(gateway), 'tinc.conf'), settings.join('\n'));
    }
    for (const gateway of GATEWAYS) {
      const { farGateway } = lab.sides(gateway);
      // It appends the open key to its own host file, which the other side needs to have.
      await lab.must(gateway, ['tincd', '-c', home(gateway), '-K', '2048'], { input: '\n\n' });
      const open = join(home(gateway), 'hosts', name(gateway));
      await lab.must(gateway, ['cp', open, join(home(farGateway), 'hosts', name(gateway))]);
    }
  },
  start(lab, gateway) {
    const home = join(lab.directory, `tinc-${gateway}`);
    return lab.spawn(gateway, ['tincd', '-c', home, '-D', '--pidfile', join(home, 'pid')]);
  },
});

export const PEERS: readonly Contender[] = [wireguard, openvpn, tinc, socat];

/** What issue it is that a well-known one is not among them. */
export const PEERS_NOT_COVERED =
  'SoftEther is not driven by this bench: it is configured through a server of its own.';
