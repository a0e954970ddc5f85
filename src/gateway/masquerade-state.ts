/**
 * Masqueraded flows from one process to the next: what a file of them looks like, and how much of it still holds.
 *
 * One line of JSON (the header), then FLOW_RECORD_BYTES for each flow, then SHA-256 over all that. Records are as the
 * data plane gives them; a peer is an index into the header's list, because the next table may number them otherwise.
 */
import { createHash } from 'node:crypto';
import { FLOW_RECORD_BYTES } from '../native/addon.js';
import type { Plan } from './plan.js';

const FORMAT = 'vpc-conn masquerade';
const VERSION = 1;
const MAXIMUM_HEADER = 1024 * 1024;
export const DIGEST = 'sha256';
const DIGEST_BYTES = 32;

/** Where and when the flows were read. */
export interface Moment {
  /** Of the boot; the monotonic clock counts on only within one. */
  readonly boot: string;
  /** Seconds of CLOCK_MONOTONIC. */
  readonly monotonic: number;
  /** Seconds since 1970. */
  readonly wall: number;
}

interface Header {
  readonly format: string;
  readonly version: number;
  readonly saved: Moment;
  /** Tunnel ends, by the records' peer indexes. */
  readonly peers: readonly { readonly localAddress: string; readonly address: string }[];
}

export const MASQUERADE_SUFFIX = '.masquerade';

/** .../vpc-a.sock -> .../vpc-a.masquerade, unless the settings name another place. */
export function masqueradeFileFor({ settings }: Pick<Plan, 'settings'>): string {
  return settings.masquerade.state ?? settings.control.socket.replace(/\.sock$/, '') + MASQUERADE_SUFFIX;
}

/** The largest file that a gateway with these settings can have written. */
export function mostBytes({ settings }: Pick<Plan, 'settings'>): number {
  return MAXIMUM_HEADER + settings.masquerade.flows * FLOW_RECORD_BYTES + DIGEST_BYTES;
}

/** What stands before the records. */
export function headerOf({ peers }: Pick<Plan, 'peers'>, saved: Moment): Buffer {
  const header: Header = {
    format: FORMAT,
    version: VERSION,
    saved,
    peers: peers.map(({ localAddress, address }) => ({ localAddress, address })),
  };
  return Buffer.from(`${JSON.stringify(header)}\n`);
}

/** Offsets of a record, see native/addon.ts. */
const PEER_AT = 4;
const IDLE_AT = 24;

/**
 * The records as this plan's data plane takes them: peers renumbered, and idle for as long as nobody ran. Flows of
 * peers that are gone or masqueraded no more are left out; the data plane itself leaves out what lies outside its
 * ports and addresses, and what has run out. Throws Error with the reason where the file cannot be believed.
 */
export function decodeState({ peers }: Pick<Plan, 'peers'>, file: Buffer, now: Moment): Uint8Array {
  const end = file.length - DIGEST_BYTES;
  if (end < 0 || !digestOf(file.subarray(0, end)).equals(file.subarray(end))) {
    throw new Error('its checksum is wrong, so it is damaged or no such file');
  }
  const line = file.subarray(0, end).indexOf('\n');
  if (line < 0 || line > MAXIMUM_HEADER) throw new Error('it has no header');
  const header = parseHeader(file.subarray(0, line).toString());
  const downtime = secondsBetween(header.saved, now);

  const places = header.peers.map((saved) =>
    peers.findIndex(
      ({ localAddress, address, unlisted }) =>
        unlisted === 'masquerade' && localAddress === saved.localAddress && address === saved.address,
    ),
  );
  const records = Buffer.from(file.subarray(line + 1, end)); // a copy: it is edited
  if (records.length % FLOW_RECORD_BYTES !== 0) throw new Error('its last record is cut off');
  let kept = 0;
  for (let at = 0; at < records.length; at += FLOW_RECORD_BYTES) {
    const place = places[records.readUInt16BE(at + PEER_AT)] ?? -1;
    const idle = records.readUInt32BE(at + IDLE_AT) + downtime;
    if (place < 0 || idle > 0xffff_ffff) continue;
    records.copyWithin(kept, at, at + FLOW_RECORD_BYTES);
    records.writeUInt16BE(place, kept + PEER_AT);
    records.writeUInt32BE(idle, kept + IDLE_AT);
    kept += FLOW_RECORD_BYTES;
  }
  return records.subarray(0, kept);
}

/** Whole seconds, rounded up: rather a flow that ends early than one that lives for ever over many restarts. */
function secondsBetween(saved: Moment, now: Moment): number {
  const passed = saved.boot === now.boot ? now.monotonic - saved.monotonic : now.wall - saved.wall;
  if (passed < 0) throw new Error('it is from the future; see whether the clock was set back');
  return Math.ceil(passed);
}

function parseHeader(text: string): Header {
  const value = JSON.parse(text) as Partial<Header> | null;
  if (value?.format !== FORMAT) throw new Error('it is no file of masqueraded flows');
  if (value.version !== VERSION) throw new Error(`it is of version ${value.version}, not ${VERSION}`);
  const { saved, peers } = value;
  const timed =
    typeof saved?.boot === 'string' && Number.isFinite(saved.monotonic) && Number.isFinite(saved.wall);
  if (!timed || !Array.isArray(peers)) throw new Error('its header is malformed');
  return { format: FORMAT, version: VERSION, saved, peers };
}

function digestOf(content: Uint8Array): Buffer {
  return createHash(DIGEST).update(content).digest();
}
