/** What a kernel needs to carry the packets of a shared CIDR through a tunnel device, and plain forwarding. */
import { type BenchLab, DISTINCT, GATEWAYS, type Gateway, UNDERLAY, type Variant } from '../lab/bench-lab.js';
import { type Contender, farHosts } from './contender.js';

const FORWARDING = [
  'net.ipv4.ip_forward=1',
  'net.ipv4.conf.all.send_redirects=0',
  'net.ipv4.conf.default.send_redirects=0',
];

/**
 * Forwards by the interface a packet came from, so that both sides may use the same addresses and the proxied
 * ones stay unconfigured: from the LAN, far hosts go into `device`; from `device`, everything goes to the LAN.
 * `via` is the far end on `device`, if it has neighbors.
 */
export async function routeThrough(
  lab: BenchLab,
  gateway: Gateway,
  device: string,
  via?: string,
): Promise<void> {
  await lab.sysctl(gateway, ...FORWARDING);
  const hop = via === undefined ? '' : `via ${via} `;
  await lab.ip(gateway, [
    ...farHosts(lab, gateway).map((host) => `route add ${host}/32 ${hop}dev ${device} table 100`),
    'route add 10.0.0.0/16 dev eth1 scope link table 200',
    'rule add iif eth1 lookup 100 priority 100',
    `rule add iif ${device} lookup 200 priority 101`,
  ]);
}

/** gw-b hides the far hosts behind its own address. */
export async function masqueradeAt(lab: BenchLab, gateway: Gateway, device: string): Promise<void> {
  const rules = `
table ip bench {
  chain postrouting {
    type nat hook postrouting priority srcnat;
    iifname "${device}" oifname "eth1" masquerade
  }
}`;
  await lab.must(gateway, ['nft', '-f', '-'], { input: rules });
}

const noVariant = (variant: Variant) =>
  variant.masquerade || variant.addresses > 1 ? 'it knows no proxied addresses' : false;

export const vxlan: Contender = {
  name: 'vxlan',
  title: 'kernel VXLAN recipe',
  kind: 'reference',
  async setUp(lab) {
    const ends = { 'gw-a': '198.19.0.1', 'gw-b': '198.19.0.2' } as const;
    for (const gateway of GATEWAYS) {
      const { farGateway } = lab.sides(gateway);
      await lab.ip(gateway, [
        `link add vx0 type vxlan id 7 local ${UNDERLAY[gateway]} remote ${UNDERLAY[farGateway]} dstport 4789 dev eth2`,
        'link set vx0 up',
        `addr add ${ends[gateway]}/24 dev vx0`,
      ]);
      await routeThrough(lab, gateway, 'vx0', ends[farGateway]);
    }
    if (lab.variant.masquerade) await masqueradeAt(lab, 'gw-b', 'vx0');
    return {
      lab,
      contender: vxlan,
      processes: () => [],
      detail: 'policy routes, proxied addresses not configured',
    };
  },
};

export const plain: Contender = {
  name: 'plain',
  title: 'kernel forwarding, no tunnel',
  kind: 'reference',
  addressing: DISTINCT,
  skips: noVariant,
  async setUp(lab) {
    for (const gateway of GATEWAYS) {
      const { farHost, farGateway } = lab.sides(gateway);
      await lab.sysctl(gateway, ...FORWARDING);
      await lab.ip(gateway, [`route add ${lab.address(farHost)}/32 via ${UNDERLAY[farGateway]}`]);
    }
    return { lab, contender: plain, processes: () => [], detail: 'distinct subnets' };
  },
};
