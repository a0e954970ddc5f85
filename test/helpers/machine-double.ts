/** A machine that a test can change: links, addresses, routes, and a guard that remembers what it was given. */
import type { Settings } from '../../src/config/settings.js';
import type { Features, KernelOffloads } from '../../src/dataplane/port.js';
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

/** An interface's features, and a kernel that passes its self-test. */
export class OffloadsDouble implements KernelOffloads {
  /** All interfaces have these. */
  features: Record<string, { active: boolean; changeable: boolean }> = {
    'tx-checksum-ip-generic': { active: true, changeable: true },
    'tx-checksum-ipv4': { active: false, changeable: false },
    'tx-tcp-segmentation': { active: false, changeable: true },
    'tx-tcp-ecn-segmentation': { active: false, changeable: true },
    'tx-tcp-mangleid-segmentation': { active: false, changeable: true },
    'tx-tcp6-segmentation': { active: true, changeable: true },
  };
  /** The driver leaves these as they are. */
  unswitchable: string[] = [];
  probed: string | undefined;
  probes = 0;
  /** Thrown by both. */
  readError: Error | undefined;
  setError: Error | undefined;
  set: [name: string, wanted: Record<string, boolean>][] = [];
  onSet: () => void = () => {};

  readFeatures(_name: string): Features {
    if (this.readError) throw this.readError;
    return structuredClone(this.features);
  }

  setFeatures(name: string, wanted: Readonly<Record<string, boolean>>): void {
    this.onSet();
    if (this.setError) throw this.setError;
    this.set.push([name, { ...wanted }]);
    for (const [feature, on] of Object.entries(wanted))
      if (!this.unswitchable.includes(feature)) this.turn(feature, on);
  }

  probeSegmentation(): string | undefined {
    this.probes += 1;
    return this.probed;
  }

  /** As ethtool would. */
  turn(feature: string, on: boolean): void {
    const known = this.features[feature];
    if (known) this.features[feature] = { ...known, active: on };
  }

  is(feature: string): boolean | undefined {
    return this.features[feature]?.active;
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

/** In a directory that does not exist: nothing of this machine's real gateways is read or written. */
const NO_SOCKET = `/run/vpc-conn-test-${process.pid}/vpc-a.sock`;

export function settings(changes: Partial<Settings> = {}): Settings {
  return {
    source: 'gateway.yaml',
    name: 'vpc-a',
    overlay: { interface: 'eth1', arp: 'respond' },
    underlay: { interface: 'eth2', address: '198.18.0.1' },
    peers: [peer()],
    dataplane: { acceleration: 'auto', workers: 1, offloads: 'manage', spin: 50, icmpErrors: 100 },
    masquerade: { firstPort: 61000, lastPort: 65535, addresses: [], flows: 262_144 },
    control: { socket: NO_SOCKET },
    log: { level: 'info', format: 'json' },
    ...changes,
  };
}
