/** Settings of the kernel that decide what else happens to the packets of a gateway. */
import { readFileSync } from 'node:fs';
import type { Features } from '../../dataplane/port.js';
import type { Plan } from '../plan.js';
import { type Finding, info, warning } from './finding.js';

/** The value of /proc/sys/PATH; undefined where there is none. */
export type Sysctl = (path: string) => string | undefined;

export const readSysctl: Sysctl = (path) => {
  try {
    return readFileSync(`/proc/sys/${path}`, 'utf8');
  } catch {
    return undefined;
  }
};

export function kernelFindings({ overlay, underlay }: Plan, sysctl: Sysctl): Finding[] {
  const is = (path: string, value: string) => sysctl(path)?.trim() === value;
  /** The kernel takes the larger one of rp_filter, and either one of proxy_arp. */
  const inForce = (name: string, key: string, value: string) =>
    is(`net/ipv4/conf/${name}/${key}`, value) || is(`net/ipv4/conf/all/${key}`, value);
  const findings: Finding[] = [];
  if (is('net/ipv4/ip_forward', '1')) {
    const message =
      'This machine forwards packets (net.ipv4.ip_forward = 1). The kernel guard keeps it from forwarding copies of what vpc-conn carries; nothing needs to be done.';
    findings.push(info('ip-forward', message));
  }
  if (overlay.address6 !== undefined && is('net/ipv6/conf/all/forwarding', '1')) {
    const message =
      'This machine forwards IPv6 packets (net.ipv6.conf.all.forwarding = 1). The kernel guard keeps it from forwarding copies of what vpc-conn carries; nothing needs to be done.';
    findings.push(info('ip-forward', message));
  }
  const { interface: name } = overlay;
  if (inForce(name, 'proxy_arp', '1')) {
    const message = `The kernel itself answers ARP on ${name} for all that it has a route to elsewhere (proxy_arp), also for hosts that vpc-conn has nothing to do with.`;
    const remedy = `Switch it off: sysctl -w net.ipv4.conf.${name}.proxy_arp=0 net.ipv4.conf.all.proxy_arp=0.`;
    findings.push(warning('proxy-arp', message, remedy));
  }
  const strict = [overlay, underlay].filter((side) => inForce(side.interface, 'rp_filter', '1'));
  if (strict.length > 0) {
    const names = strict.map((side) => side.interface).join(' and ');
    const message = `Reverse path filtering is strict on ${names} (rp_filter = 1). vpc-conn sees frames before it, so the tunnel works; connections of this machine itself fail where requests and answers take different interfaces.`;
    findings.push(info('rp-filter', message, 'Where that matters, set it to 2 (loose).'));
  }
  return findings;
}

/** @param features of the interface; undefined: not known. */
export function mergeFindings(name: string, features: Features | undefined): Finding[] {
  const findings: Finding[] = [];
  if (features?.['rx-gro']?.active === false) {
    const message = `${name} does not merge received TCP segments (rx-gro is off), so each one is carried by itself, which costs most of the throughput.`;
    findings.push(info('gro-off', message, `ethtool -K ${name} gro on switches it on.`));
  }
  if (features?.['rx-lro']?.active === true) {
    const message = `${name} merges received TCP segments in a way that loses their headers (rx-lro is on). Gateways and routers must not use it.`;
    findings.push(warning('lro-on', message, `Switch it off: ethtool -K ${name} lro off.`));
  }
  return findings;
}
