/** The original tool's flags, as settings. Pure: what must be known of the machine is passed in. */
import { canonicalAddress, isIpv4, parsePrefix } from '../net/address.js';
import { COMMAND_LINE, type Finding, throwOnErrors } from './finding.js';
import { defaultName, defaultSocket, parsePortRange } from './names.js';
import { DEFAULTS } from './schema.js';
import type { ProxiedSetting, Settings } from './settings.js';
import { validateSettings } from './validate.js';

/** The options as commander names them. */
export interface Flags {
  /** -o: overlay interface. */
  readonly outsideInterface?: string | undefined;
  /** -t: underlay interface. */
  readonly tunnelInterface?: string | undefined;
  /** -d: outer destination. */
  readonly dstAddr?: string | undefined;
  /** -s: outer source, or this gateway's own address on the overlay. */
  readonly srcAddr?: string | undefined;
  /** -r: far hosts, "ADDRESS[,ADDRESS|CIDR...]". */
  readonly remoteIpAddrs?: string | undefined;
}

export interface InterfaceAddress {
  readonly interface: string;
  readonly address: string;
}

export interface SettingsFromFlags {
  readonly settings: Settings;
  /** Sentences to log: how an ambiguous flag was read. */
  readonly notes: readonly string[];
}

/**
 * Settings of the flag form. With -r each address is proxied one to one, the rest dropped, and MACs are
 * resolved through the tunnel; without it far hosts are masqueraded. `addresses` are those of the machine's
 * interfaces. Throws InvalidSettingsError with a line for each mistake.
 */
export function settingsFromFlags(
  flags: Flags,
  addresses: readonly InterfaceAddress[],
  pid: number = process.pid,
): SettingsFromFlags {
  const reader = new FlagReader();
  const overlayInterface = reader.interfaceName(
    '-o',
    flags.outsideInterface,
    'the interface towards the hosts of this VPC',
  );
  const underlayInterface = reader.interfaceName(
    '-t',
    flags.tunnelInterface,
    'the interface that carries the tunnel',
  );
  const peerAddress = reader.address('-d', flags.dstAddr, "the far gateway's address");
  const ownAddress = reader.address(
    '-s',
    flags.srcAddr,
    "this gateway's own address on the tunnel interface",
  );
  const proxied = reader.proxied(flags.remoteIpAddrs);
  throwOnErrors(reader.findings);

  const onOverlay = sourceIsOnOverlay(ownAddress, overlayInterface, underlayInterface, addresses);
  const notes = onOverlay
    ? [
        `-s ${ownAddress} sits on ${overlayInterface}: taken as this gateway's overlay address; the tunnel's source is the first address of ${underlayInterface}.`,
      ]
    : [];
  const name = defaultName(overlayInterface, `-${pid}`);
  const settings: Settings = {
    source: COMMAND_LINE,
    origins: {
      'overlay.interface': `-o ${overlayInterface}`,
      'underlay.interface': `-t ${underlayInterface}`,
      'peers[0].address': `-d ${peerAddress}`,
      [onOverlay ? 'overlay.address' : 'underlay.address']: `-s ${ownAddress}`,
      ...Object.fromEntries(proxied.map((entry, index) => [`peers[0].proxied[${index}]`, entry.origin])),
    },
    name,
    overlay: {
      interface: overlayInterface,
      ...(onOverlay ? { address: ownAddress } : {}),
      arp: DEFAULTS.arp,
    },
    underlay: { interface: underlayInterface, ...(onOverlay ? {} : { address: ownAddress }) },
    peers: [
      {
        name: 'peer',
        address: peerAddress,
        proxied,
        unlisted: flags.remoteIpAddrs === undefined ? 'masquerade' : 'drop',
        keepalive: false,
        resolve: flags.remoteIpAddrs === undefined ? 'peer' : 'tunnel',
        origin: `-d ${peerAddress}`,
      },
    ],
    dataplane: {
      acceleration: DEFAULTS.acceleration,
      workers: DEFAULTS.workers,
      offloads: DEFAULTS.offloads,
      spin: DEFAULTS.spin,
      icmpErrors: DEFAULTS.icmp,
    },
    masquerade: {
      ...parsePortRange(DEFAULTS.masqueradePorts),
      addresses: [],
      flows: DEFAULTS.masqueradeFlows,
    },
    control: { socket: defaultSocket(name) },
    log: { level: DEFAULTS.logLevel, format: DEFAULTS.logFormat },
  };
  throwOnErrors(validateSettings(settings));
  return { settings, notes };
}

/**
 * The article that describes the original also reads -s as the gateway's own address on the VPC side, which is
 * IPv4. An address that the tunnel interface has, too, keeps its plain meaning.
 */
function sourceIsOnOverlay(
  address: string,
  overlayInterface: string,
  underlayInterface: string,
  addresses: readonly InterfaceAddress[],
): boolean {
  const isOn = (name: string) => addresses.some((at) => at.interface === name && at.address === address);
  return isIpv4(address) && isOn(overlayInterface) && !isOn(underlayInterface);
}

/** Reads single flags; what is wrong is collected, and the value returned then is never used. */
class FlagReader {
  readonly findings: Finding[] = [];

  interfaceName(flag: string, value: string | undefined, meaning: string): string {
    if (value === undefined || value === '') return this.#missing(flag, meaning);
    if (!/^[^\s/:]{1,15}$/.test(value)) {
      this.#fail(
        `${flag} ${value}`,
        `"${value}" is not the name of a network interface. Give ${meaning}, for example eth1.`,
      );
    }
    return value;
  }

  address(flag: string, value: string | undefined, meaning: string): string {
    if (value === undefined || value === '') return this.#missing(flag, meaning);
    const address = canonicalAddress(value);
    if (address === undefined) {
      this.#fail(
        `${flag} ${value}`,
        `"${value}" is not an IP address. Give ${meaning}, for example 198.18.0.1.`,
      );
    }
    return address ?? value;
  }

  proxied(value: string | undefined): ProxiedSetting[] {
    if (value === undefined) return [];
    return value.split(',').flatMap((part) => {
      const text = part.trim();
      const prefix = parsePrefix(text);
      const origin = `-r ${text}`;
      if (prefix === undefined) {
        const sentence =
          text === ''
            ? 'an address is missing in the list. Write addresses and prefixes with one comma between them.'
            : `"${text}" is not an IP address or prefix. Write it like 10.0.0.20 or 10.0.2.0/24.`;
        this.#fail(origin.trim(), sentence);
        return [];
      }
      return [{ address: prefix.address, host: prefix.address, prefixLength: prefix.prefixLength, origin }];
    });
  }

  #missing(flag: string, meaning: string): string {
    this.#fail(
      flag,
      `this option is missing. Give ${meaning}, or a configuration file with -c.`,
      'settings-missing-key',
    );
    return '';
  }

  #fail(origin: string, text: string, code = 'settings-value'): void {
    this.findings.push({
      severity: 'error',
      code,
      key: origin.split(' ')[0] ?? '',
      origin,
      message: `${origin}: ${text}`,
    });
  }
}
