/**
 * The lab: VPCs, hosts, gateways and the underlay between them, all in network namespaces of their own.
 *
 *      a1 ---+                                                      +--- b1
 *            |  VPC a   eth1          eth2  underlay  eth2          eth1  |   VPC b
 *      a2 ---+-- br0 ------- gw-a ------------ br0 ------------ gw-b -----+-- br0
 *
 * A host's only NIC is eth0. Every VPC may use the same addresses; nothing here is shared but the kernel.
 */
import { mkdirSync } from 'node:fs';
import { VpcConnError } from '../errors.js';
import { isIpv4 } from '../net/address.js';
import { claimLabId, type LabId, labDirectory, removeLab, removeStaleLabs } from './cleanup.js';
import { type ExecOptions, type ExecResult, exec, LabProcess, must, waitFor } from './command.js';
import { type GatewayProcess, type GatewayStart, startGatewayProcess } from './gateway-process.js';
import {
  BRIDGE,
  bridgeCommands,
  destinationElement,
  forwardingEntries,
  mappingRuleset,
  neighborEntries,
  type Registration,
  sourceElement,
} from './mapping-service.js';
import type { GatewaySpec, LabSpec, NicSpec, UnderlaySpec, VpcSpec } from './spec.js';

/** What `ip -s link` counts, from the interface's point of view. */
export interface LinkCounters {
  rxPackets: number;
  rxBytes: number;
  rxDropped: number;
  txPackets: number;
  txBytes: number;
  txDropped: number;
}

/** A NIC in a VPC: who may send and receive what. */
interface Nic {
  node: string;
  vpc: string;
  mac: string;
  addresses: string[];
}

export class Lab {
  readonly spec: LabSpec;
  readonly id: LabId;
  /** For files of the test: configurations, sockets. Removed at close. */
  readonly directory: string;
  private readonly nics = new Map<string, Nic>();
  private readonly underlayMacs = new Map<string, string>();
  private readonly processes = new Set<LabProcess>();
  private closed = false;

  private constructor(spec: LabSpec) {
    this.spec = spec;
    this.id = claimLabId();
    this.directory = labDirectory(this.id);
  }

  /** Builds the lab, or throws VpcConnError and leaves nothing behind. */
  static async create(spec: LabSpec): Promise<Lab> {
    removeStaleLabs();
    const lab = new Lab(spec);
    try {
      mkdirSync(lab.directory, { recursive: true, mode: 0o700 });
      await lab.build();
    } catch (error) {
      await lab.close();
      throw error;
    }
    return lab;
  }

  /** Name of the namespace of a host, a gateway, a VPC ("vpc-a") or the "underlay". */
  ns(node: string): string {
    return `${this.id}-${node}`;
  }

  /** Runs a program inside a node's namespace, to its end. */
  exec(node: string, argv: readonly string[], options?: ExecOptions): Promise<ExecResult> {
    return exec(this.ns(node), argv, options);
  }

  /** exec(), but a non-zero exit code throws. Returns standard output. */
  must(node: string, argv: readonly string[], options?: ExecOptions): Promise<string> {
    return must(this.ns(node), argv, options);
  }

  /** Starts a program inside a node's namespace; it is killed when the lab closes. */
  spawn(node: string, argv: readonly string[], env?: NodeJS.ProcessEnv): LabProcess {
    const process = new LabProcess(this.ns(node), argv, env);
    this.processes.add(process);
    process.exited.then(() => this.processes.delete(process));
    return process;
  }

  /** Starts the gateway of a VPC and waits until it says that it is ready. */
  startGateway(vpc: string, start: GatewayStart): Promise<GatewayProcess> {
    return startGatewayProcess(this, this.gatewayName(vpc), start);
  }

  waitFor<T>(
    condition: () => T | Promise<T>,
    options: { what: string; timeoutMs?: number; intervalMs?: number },
  ): Promise<T> {
    return waitFor(condition, options);
  }

  /** MAC of a host's eth0 or a gateway's eth1. */
  mac(node: string): string {
    return this.nic(node).mac;
  }

  /** MAC of a gateway's eth2. */
  underlayMac(gateway: string): string {
    const mac = this.underlayMacs.get(gateway);
    if (mac === undefined) throw unknownNode(gateway);
    return mac;
  }

  /** First address of a host, or of a gateway in its VPC. */
  address(node: string): string {
    return this.nic(node).addresses[0] ?? '';
  }

  gatewayName(vpc: string): string {
    const found = this.spec.vpcs.find(({ name }) => name === vpc);
    if (found?.gateway === undefined) throw unknownNode(`the gateway of VPC ${vpc}`);
    return gatewayName(found, found.gateway);
  }

  async counters(node: string, device: string): Promise<LinkCounters> {
    const links: unknown = JSON.parse(
      await this.must(node, ['ip', '-j', '-s', 'link', 'show', 'dev', device]),
    );
    const { rx, tx } = (links as [{ stats64: { rx: RawCounters; tx: RawCounters } }])[0].stats64;
    return {
      rxPackets: rx.packets,
      rxBytes: rx.bytes,
      rxDropped: rx.dropped,
      txPackets: tx.packets,
      txBytes: tx.bytes,
      txDropped: tx.dropped,
    };
  }

  /** Frames the mapping service of a VPC has dropped: by a source, or for a destination, it does not know. */
  async mappingDrops(vpc: string): Promise<{ spoofed: number; unregistered: number }> {
    const text = await this.must(`vpc-${vpc}`, ['nft', '-j', 'list', 'counters', 'table', 'bridge', 'vpc']);
    const { nftables } = JSON.parse(text) as { nftables: { counter?: { name: string; packets: number } }[] };
    const value = (name: string) =>
      nftables.find(({ counter }) => counter?.name === name)?.counter?.packets ?? 0;
    return { spoofed: value('spoofed'), unregistered: value('unregistered') };
  }

  /** Registers an address with a NIC, as AssignPrivateIpAddresses does; it moves if another NIC had it. */
  async register(node: string, address: string): Promise<void> {
    const nic = this.nic(node);
    for (const other of this.nics.values()) {
      if (other.vpc === nic.vpc && other.addresses.includes(address))
        await this.unregister(other.node, address);
    }
    const registration = { port: node, mac: nic.mac, address };
    await this.must(`vpc-${nic.vpc}`, ['nft', '-f', '-'], { input: elementCommands('add', registration) });
    await this.must(`vpc-${nic.vpc}`, ['ip', '-batch', '-'], {
      input: neighborEntries([registration]).join('\n'),
    });
    nic.addresses.push(address);
  }

  async unregister(node: string, address: string): Promise<void> {
    const nic = this.nic(node);
    const registration = { port: node, mac: nic.mac, address };
    await this.must(`vpc-${nic.vpc}`, ['nft', '-f', '-'], { input: elementCommands('delete', registration) });
    await this.must(`vpc-${nic.vpc}`, ['ip', 'neigh', 'del', address, 'dev', BRIDGE]);
    nic.addresses = nic.addresses.filter((other) => other !== address);
  }

  /** Kills what it started, by pid, and removes every namespace and file. Idempotent, never throws. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    const ending = [...this.processes];
    for (const process of ending) process.kill('SIGKILL');
    await Promise.all(ending.map(({ exited }) => exited));
    removeLab(this.id);
  }

  private nic(node: string): Nic {
    const nic = this.nics.get(node);
    if (nic === undefined) throw unknownNode(node);
    return nic;
  }

  private async build(): Promise<void> {
    const { vpcs, underlay = {} } = this.spec;
    checkNames(vpcs);
    const gateways = vpcs.flatMap((vpc) => (vpc.gateway ? [{ vpc, gateway: vpc.gateway }] : []));
    const nodes: NodeScript[] = [];
    const wires: string[] = [];

    vpcs.forEach((vpc, vpcIndex) => {
      const nics = this.claimNics(vpc, vpcIndex);
      const specs = new Map(vpc.hosts.map((host) => [host.name, host.nic ?? {}]));
      const service = new NodeScript(`vpc-${vpc.name}`);
      service.ip.push(
        ...bridgeCommands(
          nics.map(({ node }) => node),
          vpc.kind ?? 'mapping',
        ),
      );
      if (vpc.kind !== 'lan') {
        const registrations = nics.flatMap(({ node, mac, addresses }) =>
          addresses.map((address) => ({ port: node, mac, address })),
        );
        service.bridge.push(...forwardingEntries(nics.map(({ node, mac }) => ({ port: node, mac }))));
        service.ip.push(...neighborEntries(registrations));
        service.nft = mappingRuleset(registrations);
      }
      for (const nic of nics) {
        const device = specs.has(nic.node) ? 'eth0' : 'eth1';
        const spec = specs.get(nic.node) ?? vpc.gateway?.nic ?? {};
        wires.push(this.wire(nic.node, device, nic.mac, service.name, nic.node, spec.mtu));
        service.ethtool.push(...offloadCommands(nic.node, spec));
      }
      nodes.push(service);
      for (const host of vpc.hosts) {
        const script = new NodeScript(host.name);
        script.ip.push(...addressCommands('eth0', [host.address], vpc.cidr));
        if (host.address6 !== undefined) script.addIpv6('eth0', host.address6, vpc.cidr6);
        script.ethtool.push(...offloadCommands('eth0', host.nic ?? {}));
        nodes.push(script);
      }
    });

    if (gateways.length > 0) nodes.push(this.underlayScript(gateways, underlay, wires));
    for (const { vpc, gateway } of gateways) nodes.push(gatewayScript(vpc, gateway, underlay));

    await must(undefined, ['ip', '-batch', '-'], {
      input: [...nodes.map(({ name }) => `netns add ${this.ns(name)}`), ...wires].join('\n'),
    });
    await Promise.all(nodes.map((node) => node.run(this.ns(node.name))));
    await Promise.all(nodes.filter(({ isBridge }) => isBridge).map(({ name }) => this.forwarding(name)));
  }

  /** A port forwards once the kernel has noticed that both ends of its wire are up. */
  private async forwarding(bridgeNode: string): Promise<void> {
    const allForward = async () => {
      const ports: unknown = JSON.parse(await this.must(bridgeNode, ['bridge', '-j', 'link', 'show']));
      return (ports as { state: string }[]).every(({ state }) => state === 'forwarding');
    };
    await waitFor(allForward, { what: `the bridge of ${bridgeNode} to forward` });
  }

  private claimNics(vpc: VpcSpec, vpcIndex: number): Nic[] {
    const nics: Nic[] = vpc.hosts.map((host, index) => ({
      node: host.name,
      vpc: vpc.name,
      mac: mac(vpcIndex + 1, index + 0x10),
      addresses: [host.address],
    }));
    if (vpc.gateway) {
      const { address, secondary = [] } = vpc.gateway;
      const node = gatewayName(vpc, vpc.gateway);
      nics.push({ node, vpc: vpc.name, mac: mac(vpcIndex + 1, 1), addresses: [address, ...secondary] });
    }
    for (const nic of nics) this.nics.set(nic.node, nic);
    return nics;
  }

  private underlayScript(
    gateways: readonly { vpc: VpcSpec; gateway: GatewaySpec }[],
    underlay: UnderlaySpec,
    wires: string[],
  ): NodeScript {
    const script = new NodeScript('underlay');
    const names = gateways.map(({ vpc, gateway }) => gatewayName(vpc, gateway));
    names.forEach((name, index) => {
      const address = mac(0, index + 1);
      this.underlayMacs.set(name, address);
      wires.push(this.wire(name, 'eth2', address, script.name, name, underlay.mtu));
      if (underlay.honest !== false) script.ethtool.push(honestCommand(name));
    });
    script.ip.push(...bridgeCommands(names, 'lan'));
    return script;
  }

  private wire(
    node: string,
    device: string,
    macAddress: string,
    far: string,
    port: string,
    mtu = 1500,
  ): string {
    return (
      `link add name ${device} netns ${this.ns(node)} mtu ${mtu} address ${macAddress} type veth ` +
      `peer name ${port} netns ${this.ns(far)} mtu ${mtu}`
    );
  }
}

/** Builds a lab; see Lab. Needs root. */
export function createLab(spec: LabSpec): Promise<Lab> {
  return Lab.create(spec);
}

/** Why no lab can be built here, as a sentence with the remedy; false: it can. Changes nothing. */
export async function whyNoLab(): Promise<string | false> {
  if (process.getuid?.() !== 0) return 'Network namespaces need root: run it again with sudo.';
  for (const program of ['ip', 'bridge', 'nft', 'ethtool', 'ping']) {
    const found = await exec(undefined, ['sh', '-c', `command -v ${program}`]);
    if (found.code !== 0) return `The program ${program} is missing: run "npm run setup".`;
  }
  const probe = claimLabId();
  try {
    const made = await exec(undefined, ['ip', 'netns', 'add', `${probe}-probe`]);
    if (made.code !== 0) {
      return `This machine refuses to make network namespaces (${made.stderr.trim()}): use a virtual machine or a privileged container.`;
    }
    return false;
  } finally {
    removeLab(probe);
  }
}

interface RawCounters {
  packets: number;
  bytes: number;
  dropped: number;
}

/** What one namespace needs, in this order; one process per tool keeps creation quick. */
class NodeScript {
  readonly name: string;
  readonly sysctl: string[] = [
    // No router solicitations, no neighbor discovery: what the counters show is what a test sent.
    'net.ipv6.conf.all.disable_ipv6=1',
    'net.ipv6.conf.default.disable_ipv6=1',
  ];
  readonly ethtool: string[][] = [];
  readonly ip: string[] = ['link set lo up'];
  readonly bridge: string[] = [];
  nft = '';

  constructor(name: string) {
    this.name = name;
  }

  /** Switches IPv6 on for one device, without duplicate address detection and what it makes everybody wait for. */
  addIpv6(device: string, address: string, cidr: string | undefined): void {
    const length = cidr?.split('/').at(-1) ?? '64';
    for (const key of ['disable_ipv6', 'accept_dad', 'router_solicitations', 'accept_ra']) {
      this.sysctl.push(`net.ipv6.conf.${device}.${key}=0`);
    }
    this.ip.push(`addr add ${address}/${length} dev ${device} nodad`);
  }

  get isBridge(): boolean {
    return this.ip.some((command) => command.startsWith(`link add ${BRIDGE} `));
  }

  async run(namespace: string): Promise<void> {
    await must(namespace, ['sysctl', '-qw', ...this.sysctl]);
    for (const command of this.ethtool) await must(namespace, command);
    await must(namespace, ['ip', '-batch', '-'], { input: this.ip.join('\n') });
    if (this.bridge.length > 0) {
      await must(namespace, ['bridge', '-batch', '-'], { input: this.bridge.join('\n') });
    }
    if (this.nft) await must(namespace, ['nft', '-f', '-'], { input: this.nft });
  }
}

function gatewayScript(vpc: VpcSpec, gateway: GatewaySpec, underlay: UnderlaySpec): NodeScript {
  const script = new NodeScript(gatewayName(vpc, gateway));
  const configured = gateway.configureSecondary ? (gateway.secondary ?? []) : [];
  script.ip.push(...addressCommands('eth1', [gateway.address, ...configured], vpc.cidr));
  if (gateway.address6 !== undefined) script.addIpv6('eth1', gateway.address6, vpc.cidr6);
  if (isIpv4(gateway.underlayAddress)) {
    const cidr = underlay.cidr ?? '198.18.0.0/24';
    script.ip.push(...addressCommands('eth2', [gateway.underlayAddress], cidr));
  } else {
    script.ip.push('link set eth2 up');
    script.addIpv6('eth2', gateway.underlayAddress, underlay.cidr);
  }
  if (gateway.underlayAddress6 !== undefined) {
    script.addIpv6('eth2', ...(gateway.underlayAddress6.split('/') as [string, string]));
  }
  script.ethtool.push(...offloadCommands('eth1', gateway.nic ?? {}));
  if (underlay.honest !== false) script.ethtool.push(honestCommand('eth2'));
  for (const [key, value] of Object.entries(gateway.sysctl ?? {})) script.sysctl.push(`${key}=${value}`);
  return script;
}

function addressCommands(device: string, addresses: readonly string[], cidr: string): string[] {
  const length = cidr.split('/')[1] ?? '24';
  // Further addresses are /32, as Amazon Linux configures them.
  return [
    `link set ${device} up`,
    ...addresses.map((address, index) => `addr add ${address}/${index === 0 ? length : '32'} dev ${device}`),
  ];
}

function offloadCommands(device: string, nic: NicSpec): string[][] {
  const commands: string[][] = [];
  // Without checksums the kernel takes segmentation away, too; it refuses nothing.
  if (nic.checksumOffload === false) commands.push(['ethtool', '-K', device, 'tx', 'off']);
  if (nic.segmentationOffload === false) commands.push(['ethtool', '-K', device, 'tso', 'off']);
  return commands;
}

/** veth passes super-frames whole unless every kind of segmentation offload is off. */
export function honestCommand(device: string): string[] {
  const off = [
    'tso',
    'gso',
    'tx-udp-segmentation',
    'tx-udp_tnl-segmentation',
    'tx-udp_tnl-csum-segmentation',
  ];
  return ['ethtool', '-K', device, ...off.flatMap((feature) => [feature, 'off']), 'gro', 'on'];
}

function elementCommands(verb: 'add' | 'delete', registration: Registration): string {
  return (
    `${verb} element bridge vpc sources { ${sourceElement(registration)} }\n` +
    `${verb} element bridge vpc destinations { ${destinationElement(registration)} }\n`
  );
}

function gatewayName(vpc: VpcSpec, gateway: GatewaySpec): string {
  return gateway.name ?? `gw-${vpc.name}`;
}

/** Deterministic and locally administered. */
function mac(network: number, nic: number): string {
  const hex = (value: number) => value.toString(16).padStart(2, '0');
  return `02:00:00:${hex(network)}:00:${hex(nic)}`;
}

function checkNames(vpcs: readonly VpcSpec[]): void {
  const taken = new Set<string>(['underlay', BRIDGE]);
  const names = vpcs.flatMap((vpc) => [
    `vpc-${vpc.name}`,
    ...vpc.hosts.map(({ name }) => name),
    ...(vpc.gateway ? [gatewayName(vpc, vpc.gateway)] : []),
  ]);
  for (const name of names) {
    if (!/^[a-z][a-z0-9-]{0,11}$/.test(name) || taken.has(name)) {
      const why = 'A name is 1 to 12 of a-z, 0-9 and -, and used once.';
      throw new VpcConnError('lab-name', `The lab cannot have a node called "${name}". ${why}`);
    }
    taken.add(name);
  }
}

function unknownNode(what: string): VpcConnError {
  return new VpcConnError('lab-name', `The lab has no ${what}. Use a name of its specification.`);
}
