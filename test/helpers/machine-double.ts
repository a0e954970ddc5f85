/** A machine that a test can change: links, addresses, routes, and a guard that remembers what it was given. */
import type { Settings } from '../../src/config/settings.js';
import type { Guard, GuardPlan } from '../../src/gateway/guard.js';
import type { Address, Link, Netlink, Route } from '../../src/net/netlink.js';

export const OVERLAY: Link = {
  ifindex: 2,
  name: 'eth1',
  mac: '02:00:00:00:00:01',
  mtu: 1500,
  up: true,
  running: true,
  type: 1,
  kind: '',
};
export const UNDERLAY: Link = { ...OVERLAY, ifindex: 3, name: 'eth2', mac: '02:00:00:00:00:02' };
const LOOPBACK: Link = {
  ...OVERLAY,
  ifindex: 1,
  name: 'lo',
  mac: '00:00:00:00:00:00',
  mtu: 65536,
  type: 772,
};

export function address(ifindex: number, text: string, secondary = false): Address {
  const [host = '', length = '32'] = text.split('/');
  return { ifindex, family: 4, address: host, prefixLength: Number(length), secondary };
}

export class MachineDouble implements Netlink {
  linkRows: Link[] = [LOOPBACK, OVERLAY, UNDERLAY];
  addressRows: Address[] = [address(2, '10.0.0.5/24'), address(3, '198.18.0.1/24')];
  /** By destination; others are on-link where asked for, as the kernel has it. */
  routes = new Map<string, Route>();
  asked: string[] = [];
  watching: (() => void) | undefined;
  closed = false;

  links = () => this.linkRows;
  addresses = () => this.addressRows;

  route(destination: string, ifindex?: number, source?: string): Route | undefined {
    this.asked.push(`${destination} ${ifindex ?? '-'} ${source ?? '-'}`);
    const known = this.routes.get(destination);
    if (known) return known;
    return ifindex === undefined ? undefined : { ifindex };
  }

  watch(onChange: () => void): void {
    this.watching = onChange;
  }

  close(): void {
    this.closed = true;
    this.watching = undefined;
  }

  change(ifindex: number, to: Partial<Link>): void {
    this.linkRows = this.linkRows.map((link) => (link.ifindex === ifindex ? { ...link, ...to } : link));
    this.watching?.();
  }

  remove(ifindex: number): void {
    this.linkRows = this.linkRows.filter((link) => link.ifindex !== ifindex);
    this.watching?.();
  }
}

export class GuardDouble implements Guard {
  applied: GuardPlan[] = [];
  closed = false;
  refuses: Error | undefined;
  onApply: (plan: GuardPlan) => void = () => {};

  apply(plan: GuardPlan): void {
    if (this.refuses) throw this.refuses;
    this.applied.push(plan);
    this.onApply(plan);
  }

  state = () =>
    ({ state: this.closed || this.applied.length === 0 ? 'down' : 'up', method: 'netdev ingress' }) as const;

  close(): void {
    this.closed = true;
  }
}

export function proxied(text: string, host = text) {
  const [first = '', length = '32'] = text.split('/');
  return {
    address: first,
    host: host.split('/')[0] ?? '',
    prefixLength: Number(length),
    origin: `gateway.yaml (${text})`,
  };
}

export function peer(changes: Partial<Settings['peers'][number]> = {}): Settings['peers'][number] {
  return {
    name: 'vpc-b',
    address: '198.18.0.2',
    proxied: [proxied('10.0.0.20')],
    unlisted: 'drop',
    keepalive: true,
    resolve: 'peer',
    origin: 'gateway.yaml:9:5',
    ...changes,
  };
}

export function settings(changes: Partial<Settings> = {}): Settings {
  return {
    source: 'gateway.yaml',
    name: 'vpc-a',
    overlay: { interface: 'eth1', arp: 'respond' },
    underlay: { interface: 'eth2', address: '198.18.0.1' },
    peers: [peer()],
    dataplane: { acceleration: 'auto', workers: 1, offloads: 'manage', spin: 50 },
    masquerade: { firstPort: 61000, lastPort: 65535 },
    control: { socket: '/run/vpc-conn/vpc-a.sock' },
    log: { level: 'info', format: 'json' },
    ...changes,
  };
}
