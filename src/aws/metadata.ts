/**
 * The EC2 instance metadata service, version 2: what AWS says that a network interface has. An answer is whole or
 * none: what is empty, failed or came in part says nothing about addresses, because the service lags behind and
 * sometimes errs.
 */
import { readFileSync } from 'node:fs';
import { canonicalAddress, familyOf, type Prefix, parsePrefix } from '../net/address.js';

/** The AWS programs' own variables. */
const ENDPOINT_VARIABLE = 'AWS_EC2_METADATA_SERVICE_ENDPOINT';
const DISABLED_VARIABLE = 'AWS_EC2_METADATA_DISABLED';
const DEFAULT_ENDPOINT = 'http://169.254.169.254';
const TOKEN_SECONDS = 60;
/** For everything that is asked, milliseconds. */
const PATIENCE = 1000;
/** No list of an interface comes near it. */
const MOST_BYTES = 64 * 1024;

/** Of one interface. */
export interface EniAddresses {
  readonly interfaceId: string;
  /** The primary one comes first. */
  readonly addresses: readonly string[];
  /** Delegated prefixes. */
  readonly prefixes: readonly Prefix[];
  /** The service answers without a token, too (IMDSv1). */
  readonly answersWithoutToken: boolean;
}

export type MetadataAnswer =
  | ({ readonly kind: 'interface' } & EniAddresses)
  /** The instance has no interface with this MAC. */
  | { readonly kind: 'no-interface' }
  /** Nothing can be said; why, for people. */
  | { readonly kind: 'unknown'; readonly why: string };

export interface MetadataOptions {
  /** Default: AWS_EC2_METADATA_SERVICE_ENDPOINT, else 169.254.169.254 where the machine is an EC2 instance. */
  readonly endpoint?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Milliseconds for all of it. */
  readonly patience?: number;
}

/** Where to ask; undefined: this machine is no EC2 instance, or the service is switched off for programs. */
export function metadataEndpoint(
  env: NodeJS.ProcessEnv = process.env,
  vendor: () => string | undefined = systemVendor,
): string | undefined {
  if (env[DISABLED_VARIABLE]?.toLowerCase() === 'true') return undefined;
  const given = env[ENDPOINT_VARIABLE];
  if (given !== undefined && given !== '') return given;
  return vendor() === 'Amazon EC2' ? DEFAULT_ENDPOINT : undefined;
}

/** As the firmware tells; Xen instances tell it in the version of their BIOS. */
function systemVendor(): string | undefined {
  const read = (name: string) => {
    try {
      return readFileSync(`/sys/class/dmi/id/${name}`, 'utf8').trim();
    } catch {
      return '';
    }
  };
  return read('bios_version').endsWith('amazon') ? 'Amazon EC2' : read('sys_vendor');
}

/** Never rejects; resolves within the patience. */
export async function readEni(mac: string, endpoint: string, patience = PATIENCE): Promise<MetadataAnswer> {
  const service = new Service(endpoint, AbortSignal.timeout(patience));
  try {
    return await service.interface(mac);
  } catch (error) {
    if (error instanceof Unclear) return { kind: 'unknown', why: error.message };
    const late = error instanceof Error && error.name === 'TimeoutError';
    return { kind: 'unknown', why: late ? `it did not answer within ${patience} ms` : reasonOf(error) };
  }
}

class Unclear extends Error {}

class Service {
  readonly #endpoint: string;
  readonly #signal: AbortSignal;

  constructor(endpoint: string, signal: AbortSignal) {
    this.#endpoint = endpoint.replace(/\/+$/, '');
    this.#signal = signal;
  }

  async interface(mac: string): Promise<MetadataAnswer> {
    const token = await this.#token();
    const get = (path: string) => this.#get(`/latest/meta-data/${path}`, token);
    const macs = await get('network/interfaces/macs/');
    if (macs === undefined || macs.length === 0) throw new Unclear('its list of interfaces is empty');
    const own = macs.find((line) => line.replace(/\/$/, '').toLowerCase() === mac.toLowerCase());
    if (own === undefined) return { kind: 'no-interface' };

    const of = (name: string) => get(`network/interfaces/macs/${own.replace(/\/$/, '')}/${name}`);
    const [ids, ipv4, ipv6, prefixes4, prefixes6, answersWithoutToken] = await Promise.all([
      of('interface-id'),
      of('local-ipv4s'),
      of('ipv6s'),
      of('ipv4-prefix'),
      of('ipv6-prefix'),
      this.#answersWithoutToken(),
    ]);
    // Each interface has a primary IPv4 address, or IPv6 ones: nothing at all is no answer.
    const addresses = [...addressesOf('local-ipv4s', ipv4, 4), ...addressesOf('ipv6s', ipv6, 6)];
    if (addresses.length === 0) throw new Unclear('it lists no address at all');
    return {
      kind: 'interface',
      interfaceId: ids?.[0] ?? 'ENI',
      addresses,
      prefixes: [...prefixesOf('ipv4-prefix', prefixes4), ...prefixesOf('ipv6-prefix', prefixes6)],
      answersWithoutToken,
    };
  }

  async #token(): Promise<string> {
    const headers = { 'x-aws-ec2-metadata-token-ttl-seconds': String(TOKEN_SECONDS) };
    const response = await this.#fetch('/latest/api/token', { method: 'PUT', headers });
    const text = (await bodyOf(response)).trim();
    if (response.status !== 200) throw new Unclear(`it gave no token (status ${response.status})`);
    if (!/^[\x21-\x7e]+$/.test(text)) throw new Unclear('the token that it gave is none');
    return text;
  }

  /** The lines of an answer; undefined: there is no such thing (404). */
  async #get(path: string, token: string): Promise<string[] | undefined> {
    const response = await this.#fetch(path, { headers: { 'x-aws-ec2-metadata-token': token } });
    const text = await bodyOf(response);
    if (response.status === 404) return undefined;
    if (response.status !== 200) throw new Unclear(`${path} has status ${response.status}`);
    return text.split('\n').flatMap((line) => (line.trim() === '' ? [] : [line.trim()]));
  }

  async #answersWithoutToken(): Promise<boolean> {
    const response = await this.#fetch('/latest/meta-data/', {});
    await bodyOf(response);
    return response.status === 200;
  }

  async #fetch(
    path: string,
    request: { method?: string; headers?: Record<string, string> },
  ): Promise<Response> {
    return await fetch(`${this.#endpoint}${path}`, { ...request, signal: this.#signal, redirect: 'error' });
  }
}

/** Whoever answers there need not be AWS: no more is taken than such an answer has. */
async function bodyOf(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length > MOST_BYTES) throw new Unclear('its answer is too long');
  }
  const announced = response.headers.get('content-length');
  if (announced !== null && response.headers.get('content-encoding') === null) {
    if (Buffer.byteLength(text) < Number(announced)) throw new Unclear('its answer was cut short');
  }
  return text + decoder.decode();
}

function addressesOf(name: string, lines: readonly string[] | undefined, family: 4 | 6): string[] {
  return (lines ?? []).map((line) => {
    const address = canonicalAddress(line);
    if (address === undefined || familyOf(address) !== family) {
      throw new Unclear(`a line of ${name} is no address: "${line.slice(0, 40)}"`);
    }
    return address;
  });
}

function prefixesOf(name: string, lines: readonly string[] | undefined): Prefix[] {
  return (lines ?? []).map((line) => {
    const prefix = parsePrefix(line);
    if (prefix === undefined) throw new Unclear(`a line of ${name} is no prefix: "${line.slice(0, 40)}"`);
    return prefix;
  });
}

/** fetch() says only that it failed; what it was stands in the cause. */
function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return cause instanceof Error ? cause.message : String(cause);
}
