/** The configuration file: from text to validated settings. */
import { readFileSync } from 'node:fs';
import { SettingsError } from '../errors.js';
import { canonicalAddress, type Family, familyOf, parsePrefix } from '../net/address.js';
import { type Finding, throwOnErrors } from './finding.js';
import { schemaFindings } from './mistakes.js';
import { defaultName, defaultSocket, parseListen, parsePortRange } from './names.js';
import { DEFAULTS, type SettingsFile } from './schema.js';
import type { PeerSettings, ProxiedSetting, Settings } from './settings.js';
import { validateSettings } from './validate.js';
import { formatKeyPath, type KeyPath, YamlSource } from './yaml-source.js';

/**
 * Reads and validates a configuration file. Synchronous; nothing of the machine is looked at (see
 * `validateAgainstMachine`). Throws SettingsError, for mistakes in the file an InvalidSettingsError with a
 * line for each.
 */
export function loadSettings(path: string): Settings {
  return parseSettings(readText(path), path);
}

/** The same for a text; `source` is what messages call it. */
export function parseSettings(text: string, source: string): Settings {
  const yaml = new YamlSource(text, source);
  throwOnErrors(yaml.findings());
  const value = plainValue(yaml);
  throwOnErrors(schemaFindings(yaml, value));
  const reader = new Reader(yaml);
  const settings = reader.settings(value as SettingsFile);
  throwOnErrors(reader.findings);
  throwOnErrors(validateSettings(settings));
  return settings;
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new SettingsError('settings-unreadable', unreadable(path, cause), { cause });
  }
}

function unreadable(path: string, cause: unknown): string {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  if (code === 'ENOENT') {
    return `${path}: there is no such file. Give the path of the configuration file; examples/gateway.yaml is one to start from.`;
  }
  if (code === 'EACCES' || code === 'EPERM') {
    return `${path}: this user may not read the file. Run as root, or change the file's permissions.`;
  }
  if (code === 'EISDIR')
    return `${path}: this is a directory. Give the path of the configuration file in it.`;
  return `${path}: the file cannot be read (${cause instanceof Error ? cause.message : String(cause)}). Check the path.`;
}

function plainValue(yaml: YamlSource): unknown {
  try {
    return yaml.value();
  } catch (cause) {
    const message = `${yaml.name}: the file's aliases multiply without bound. Write the values out.`;
    throw new SettingsError('settings-syntax', message, { cause });
  }
}

/** Turns the file's content into settings, collecting what no schema can say. */
class Reader {
  readonly findings: Finding[] = [];
  readonly #yaml: YamlSource;
  readonly #origins: Record<string, string> = {};

  constructor(yaml: YamlSource) {
    this.#yaml = yaml;
  }

  settings(file: SettingsFile): Settings {
    this.#recordOrigins(file, []);
    const metrics = file.metrics && this.#listen(file.metrics.listen);
    const name = file.name ?? defaultName(file.overlay.interface);
    return {
      source: this.#yaml.name,
      origins: this.#origins,
      name,
      overlay: {
        interface: file.overlay.interface,
        ...(file.overlay.address === undefined
          ? {}
          : { address: this.#address(['overlay', 'address'], file.overlay.address) }),
        ...(file.overlay.address6 === undefined
          ? {}
          : { address6: this.#address(['overlay', 'address6'], file.overlay.address6, 6) }),
        arp: file.overlay.arp ?? DEFAULTS.arp,
      },
      underlay: {
        interface: file.underlay.interface,
        address: this.#address(['underlay', 'address'], file.underlay.address),
        ...(typeof file.underlay.dscp === 'number' && { dscp: file.underlay.dscp }),
      },
      peers: file.peers.map((peer, index) => this.#peer(peer, index)),
      dataplane: {
        acceleration: file.dataplane?.acceleration ?? DEFAULTS.acceleration,
        workers: file.dataplane?.workers ?? DEFAULTS.workers,
        offloads: file.dataplane?.offloads ?? DEFAULTS.offloads,
        spin: file.dataplane?.spin ?? DEFAULTS.spin,
        icmpErrors: file.dataplane?.icmp ?? DEFAULTS.icmp,
      },
      masquerade: {
        ...parsePortRange(file.masquerade?.ports ?? DEFAULTS.masqueradePorts),
        addresses: (file.masquerade?.addresses ?? []).map((address, index) =>
          this.#address(['masquerade', 'addresses', index], address),
        ),
        flows: file.masquerade?.flows ?? DEFAULTS.masqueradeFlows,
        ...(file.masquerade?.state !== undefined && { state: file.masquerade.state }),
      },
      ...(file.compat?.reversed && { compat: { reversed: true } }),
      ...(metrics && { metrics }),
      control: {
        socket: file.control?.socket ?? defaultSocket(name),
        ...(file.control?.mode !== undefined && { mode: Number.parseInt(file.control.mode, 8) }),
        ...(file.control?.owner !== undefined && { owner: file.control.owner }),
        ...(file.control?.group !== undefined && { group: file.control.group }),
      },
      log: { level: file.log?.level ?? DEFAULTS.logLevel, format: file.log?.format ?? DEFAULTS.logFormat },
    };
  }

  #listen(text: string): Settings['metrics'] {
    const listen = parseListen(text);
    const sentence = `"${text}" ends with no port. Write one from 1 to 65535, for example 127.0.0.1:9797.`;
    if (listen === undefined) this.#fail(['metrics', 'listen'], 'settings-value', sentence);
    return listen;
  }

  #peer(peer: SettingsFile['peers'][number], index: number): PeerSettings {
    const path = ['peers', index];
    return {
      name: peer.name,
      address: this.#address([...path, 'address'], peer.address),
      proxied: (peer.proxied ?? []).flatMap((entry, at) => this.#proxied(entry, [...path, 'proxied', at])),
      unlisted: peer.unlisted ?? DEFAULTS.unlisted,
      keepalive: peer.keepalive ?? DEFAULTS.keepalive,
      resolve: peer.resolve ?? DEFAULTS.resolve,
      origin: this.#origin(path),
    };
  }

  /** No entry when it is faulty: the finding says why. */
  #proxied(entry: string | { address: string; host: string }, path: KeyPath): ProxiedSetting[] {
    const pair = typeof entry === 'string';
    const address = this.#prefix(pair ? path : [...path, 'address'], pair ? entry : entry.address);
    const host = pair ? address : this.#prefix([...path, 'host'], entry.host);
    if (address === undefined || host === undefined) return [];
    if (familyOf(address.address) !== familyOf(host.address)) {
      this.#fail(
        path,
        'settings-families',
        'one of address and host is IPv4 and the other IPv6, and nothing here translates between them. Give both of one kind.',
      );
      return [];
    }
    if (address.prefixLength !== host.prefixLength) {
      this.#fail(
        path,
        'settings-prefix-lengths',
        `address has prefix length ${address.prefixLength} and host ${host.prefixLength}. Give both the same length, so that each address stands for one host.`,
      );
      return [];
    }
    return [
      {
        address: address.address,
        host: host.address,
        prefixLength: address.prefixLength,
        origin: this.#origin(path),
      },
    ];
  }

  #prefix(path: KeyPath, text: string) {
    const prefix = parsePrefix(text);
    if (prefix === undefined) {
      this.#fail(
        path,
        'settings-value',
        `"${text}" is not an IP address or prefix. Write one, for example 10.0.0.20.`,
      );
    }
    return prefix;
  }

  #address(path: KeyPath, text: string, family: Family = 4): string {
    const address = canonicalAddress(text);
    const example = family === 4 ? '10.0.0.5' : '2001:db8::5';
    if (address === undefined) {
      this.#fail(
        path,
        'settings-value',
        `"${text}" is not an IP address. Write one, for example ${example}.`,
      );
    } else if (family === 6 && familyOf(address) === 4) {
      const sentence = `${text} is an IPv4 address. Write an IPv6 address here, for example ${example}.`;
      this.#fail(path, 'settings-value', sentence);
    } else if (familyOf(address) !== family) {
      this.#refuseIpv6(path, text);
    }
    return address ?? text;
  }

  #refuseIpv6(path: KeyPath, text: string): undefined {
    const sentence = `${text} is an IPv6 address; IPv6 is not supported by this version. Write an IPv4 address.`;
    this.#fail(path, 'settings-unsupported', sentence);
  }

  #fail(path: KeyPath, code: string, text: string): void {
    const key = formatKeyPath(path);
    const origin = this.#yaml.place(path);
    this.findings.push({ severity: 'error', code, key, origin, message: `${origin}: ${key}: ${text}` });
  }

  /** "gateway.yaml:14:9 (peers[0].proxied[2])". */
  #origin(path: KeyPath): string {
    return `${this.#yaml.place(path)} (${formatKeyPath(path)})`;
  }

  #recordOrigins(value: unknown, path: KeyPath): void {
    if (path.length > 0) this.#origins[formatKeyPath(path)] = this.#yaml.place(path);
    if (Array.isArray(value)) {
      for (const [index, item] of value.entries()) this.#recordOrigins(item, [...path, index]);
    } else if (typeof value === 'object' && value !== null) {
      for (const [key, item] of Object.entries(value)) this.#recordOrigins(item, [...path, key]);
    }
  }
}
