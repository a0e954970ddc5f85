/**
 * Messages between gateways: an inner Ethernet frame of the EtherType for local experiments (IEEE 802, 0x88B5)
 * inside EtherIP, to a group address that no bridge passes on. A foreign EtherIP peer ignores it.
 *
 *    0               6              12      14
 *   +---------------+---------------+-------+
 *   |01:80:c2:00:..e| own MAC       | 0x88b5|
 *   +---------------+---+---+-------+-------+
 *   | magic "vpcc"  |ver|knd|length |          14..21   length: of the message, from the magic on
 *   | instance      | sequence      |          22..29   of the asking gateway; an answer repeats them
 *   | body, by kind ...             |          30..
 *   | padding, zero                 |          up to 60 bytes, or to the size that a probe tests
 *   +-------------------------------+
 *
 * An answer is never longer than its question: nobody is flooded by answers to what another sent in his name.
 */
import { addressToBytes, bytesToAddress, type Prefix } from '../net/address.js';
import { MAC_BYTES, macToBytes } from '../net/mac.js';

/** "Nearest bridge" (IEEE 802.1Q table 8-1): never forwarded by a bridge. */
const GROUP_ADDRESS = '01:80:c2:00:00:0e';
const ETHERTYPE_EXPERIMENT = 0x88b5;
const MAGIC = 0x76706363;
const VERSION = 1;

const AT_ETHERTYPE = 12;
const ETHERNET_BYTES = 14;
const HEADER_BYTES = 16;
const ANSWER_BYTES = HEADER_BYTES + 16;
const REFUSED_HEADER_BYTES = 10;
/** Shortest Ethernet frame without FCS. */
export const MINIMUM_FRAME_BYTES = 60;
/** Most that a list takes in one frame; the workers hand up 640 bytes of it. */
const LIST_BYTES = 480;
/** Most addresses that a gateway says at once to refuse. */
export const MOST_REFUSED = 16;
/** An answer of so many IPv6 addresses, each with its length. */
const REFUSED_FRAME_BYTES = ETHERNET_BYTES + HEADER_BYTES + REFUSED_HEADER_BYTES + MOST_REFUSED * 17;

/** What a gateway says about a far host that its peer lists. `other`: a word that this version does not know. */
export const VERDICTS = [
  'deliverable',
  'proxied',
  'gateway',
  'reserved',
  'no-route',
  'silent',
  'other',
] as const;
export type Verdict = (typeof VERDICTS)[number];

interface Common {
  /** Random per start of the asking gateway. */
  readonly instance: number;
  readonly sequence: number;
}

interface Answers extends Common {
  /** Random per start of the answering gateway. */
  readonly answerer: number;
  /** Changes whenever the answerer might say something else about lists and refusals. */
  readonly revision: number;
}

/** Are you there? Padded, it is a probe of the path's MTU. */
export interface Question extends Common {
  readonly kind: 'question';
}

export interface Answer extends Answers {
  readonly kind: 'answer';
  /** The answerer drops whatever hosts of the asking side send: it lists none of them. */
  readonly acceptsNone: boolean;
  /** Length of the question's frame as it arrived, bytes. */
  readonly received: number;
  /** Between the question's arrival and this answer, microseconds. */
  readonly dwell: number;
}

/** Can you deliver to these hosts of yours? All of one family, at most prefixesPerQuestion(). */
export interface ListQuestion extends Common {
  readonly kind: 'list-question';
  readonly hosts: readonly Prefix[];
}

export interface ListAnswer extends Answers {
  readonly kind: 'list-answer';
  /** In the order of the question's hosts. */
  readonly verdicts: readonly Verdict[];
}

/** Which of my hosts tried in vain, because they have no proxied address at yours? */
export interface RefusedQuestion extends Common {
  readonly kind: 'refused-question';
}

export interface RefusedAnswer extends Answers {
  readonly kind: 'refused-answer';
  /** At most MOST_REFUSED. */
  readonly addresses: readonly string[];
}

export type Message = Question | Answer | ListQuestion | ListAnswer | RefusedQuestion | RefusedAnswer;

const KINDS = [
  'question',
  'answer',
  'list-question',
  'list-answer',
  'refused-question',
  'refused-answer',
] as const;

/** How many prefixes of a family one question takes. */
export function prefixesPerQuestion(addressBytes: number): number {
  return Math.floor(LIST_BYTES / (addressBytes + 1));
}

/**
 * The frame, owned by the caller: at least 60 bytes, at least as long as the answer, and padded to `length`.
 * Throws RangeError when a field does not fit: the caller's mistake.
 */
export function encodeFrame(message: Message, sourceMac: string, length = 0): Uint8Array<ArrayBuffer> {
  const writer = new Writer();
  writer.u32(MAGIC);
  writer.u8(VERSION);
  writer.u8(KINDS.indexOf(message.kind) + 1);
  writer.u16(0);
  writer.u32(message.instance);
  writer.u32(message.sequence);
  writeBody(writer, message);
  const body = writer.finish();
  new DataView(body.buffer).setUint16(6, body.length);
  const shortest = message.kind === 'refused-question' ? REFUSED_FRAME_BYTES : MINIMUM_FRAME_BYTES;
  const frame = new Uint8Array(Math.max(shortest, length, ETHERNET_BYTES + body.length));
  frame.set(macToBytes(GROUP_ADDRESS), 0);
  frame.set(macToBytes(sourceMac), MAC_BYTES);
  new DataView(frame.buffer).setUint16(AT_ETHERTYPE, ETHERTYPE_EXPERIMENT);
  frame.set(body, ETHERNET_BYTES);
  return frame;
}

function writeBody(writer: Writer, message: Message): void {
  switch (message.kind) {
    case 'question':
      // As long as the answer.
      writer.bytes(new Uint8Array(ANSWER_BYTES - HEADER_BYTES));
      return;
    case 'answer':
      writer.u32(message.answerer);
      writer.u32(message.revision);
      writer.u16(message.acceptsNone ? 1 : 0);
      writer.u16(message.received);
      writer.u32(message.dwell);
      return;
    case 'list-question': {
      const addresses = message.hosts.map(({ address }) => addressToBytes(address));
      writer.u8(addresses[0]?.length ?? 0);
      writer.u8(0);
      writer.u16(message.hosts.length);
      message.hosts.forEach(({ prefixLength }, index) => {
        writer.bytes(addresses[index] ?? new Uint8Array());
        writer.u8(prefixLength);
      });
      return;
    }
    case 'list-answer':
      writer.u32(message.answerer);
      writer.u32(message.revision);
      writer.u16(message.verdicts.length);
      for (const verdict of message.verdicts) writer.u8(VERDICTS.indexOf(verdict));
      return;
    case 'refused-question':
      return;
    case 'refused-answer':
      writer.u32(message.answerer);
      writer.u32(message.revision);
      writer.u16(message.addresses.length);
      for (const address of message.addresses) {
        const bytes = addressToBytes(address);
        writer.u8(bytes.length);
        writer.bytes(bytes);
      }
      return;
  }
}

/**
 * What a frame of any origin says; bytes behind the message are padding. Undefined: cut short, of another
 * version or kind, or contradicting itself.
 */
export function decodeFrame(frame: Uint8Array): Message | undefined {
  const ethernet = new Reader(frame);
  ethernet.bytes(AT_ETHERTYPE);
  if (ethernet.u16() !== ETHERTYPE_EXPERIMENT) return undefined;
  const header = new Reader(frame.subarray(ETHERNET_BYTES));
  const magic = header.u32();
  const version = header.u8();
  const kind = KINDS[header.u8() - 1];
  const length = header.u16();
  if (!header.whole || magic !== MAGIC || version !== VERSION || kind === undefined) return undefined;
  if (length < HEADER_BYTES || ETHERNET_BYTES + length > frame.length) return undefined;
  const reader = new Reader(frame.subarray(ETHERNET_BYTES, ETHERNET_BYTES + length));
  reader.bytes(8);
  const message = readBody(reader, kind);
  return reader.whole && reader.left === 0 ? message : undefined;
}

/** What it returns counts only if the reader is still whole, and has nothing left. */
function readBody(reader: Reader, kind: (typeof KINDS)[number]): Message | undefined {
  const common = { instance: reader.u32(), sequence: reader.u32() };
  switch (kind) {
    case 'question':
      reader.bytes(ANSWER_BYTES - HEADER_BYTES);
      return { kind, ...common };
    case 'answer': {
      const by = { answerer: reader.u32(), revision: reader.u32() };
      const flags = reader.u16();
      const acceptsNone = (flags & 1) !== 0;
      return { kind, ...common, ...by, acceptsNone, received: reader.u16(), dwell: reader.u32() };
    }
    case 'list-question': {
      const hosts = readPrefixes(reader);
      return hosts && { kind, ...common, hosts };
    }
    case 'list-answer': {
      const by = { answerer: reader.u32(), revision: reader.u32() };
      const verdicts = [...reader.bytes(reader.u16())].map((code) => VERDICTS[code] ?? 'other');
      return { kind, ...common, ...by, verdicts };
    }
    case 'refused-question':
      return { kind, ...common };
    case 'refused-answer': {
      const by = { answerer: reader.u32(), revision: reader.u32() };
      const addresses = readAddresses(reader);
      return addresses && { kind, ...common, ...by, addresses };
    }
  }
}

function readPrefixes(reader: Reader): Prefix[] | undefined {
  const addressBytes = reader.u8();
  reader.u8();
  const count = reader.u16();
  if (addressBytes !== 4 && addressBytes !== 16) return undefined;
  if (reader.left !== count * (addressBytes + 1)) return undefined;
  const hosts: Prefix[] = [];
  for (let index = 0; index < count; index += 1) {
    const address = bytesToAddress(reader.bytes(addressBytes));
    const prefixLength = reader.u8();
    if (prefixLength > addressBytes * 8) return undefined;
    hosts.push({ address, prefixLength });
  }
  return hosts;
}

function readAddresses(reader: Reader): string[] | undefined {
  const count = reader.u16();
  if (count > MOST_REFUSED) return undefined;
  const addresses: string[] = [];
  for (let index = 0; index < count; index += 1) {
    const length = reader.u8();
    if (length !== 4 && length !== 16) return undefined;
    const bytes = reader.bytes(length);
    if (!reader.whole) return undefined;
    addresses.push(bytesToAddress(bytes));
  }
  return addresses;
}

/** The only place that reads bytes of a peer: beyond the end it reads zeros, and is no longer whole. */
class Reader {
  readonly #view: DataView;
  #at = 0;
  whole = true;

  constructor(bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get left(): number {
    return this.#view.byteLength - this.#at;
  }

  u8(): number {
    return this.#take(1) ? this.#view.getUint8(this.#at - 1) : 0;
  }

  u16(): number {
    return this.#take(2) ? this.#view.getUint16(this.#at - 2) : 0;
  }

  u32(): number {
    return this.#take(4) ? this.#view.getUint32(this.#at - 4) : 0;
  }

  /** A view of the next bytes; as many zeros when they are not there. */
  bytes(count: number): Uint8Array {
    if (!this.#take(count)) return new Uint8Array(count);
    return new Uint8Array(this.#view.buffer, this.#view.byteOffset + this.#at - count, count);
  }

  #take(count: number): boolean {
    if (!this.whole || count > this.left) this.whole = false;
    else this.#at += count;
    return this.whole;
  }
}

class Writer {
  readonly #bytes: number[] = [];

  u8(value: number): void {
    this.#put(value, 1);
  }

  u16(value: number): void {
    this.#put(value, 2);
  }

  u32(value: number): void {
    this.#put(value, 4);
  }

  bytes(values: Uint8Array): void {
    this.#bytes.push(...values);
  }

  finish(): Uint8Array<ArrayBuffer> {
    return Uint8Array.from(this.#bytes);
  }

  #put(value: number, size: 1 | 2 | 4): void {
    if (!Number.isInteger(value) || value < 0 || value >= 256 ** size) {
      throw new RangeError(`${value} does not fit ${size} bytes`);
    }
    for (let shift = size - 1; shift >= 0; shift -= 1)
      this.#bytes.push(Math.floor(value / 256 ** shift) % 256);
  }
}
