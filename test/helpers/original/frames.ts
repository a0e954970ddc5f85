/** Frames built byte by byte: right ones, and everything that can be wrong with one. */

export function mac(text: string): Buffer {
  return Buffer.from(text.replaceAll(':', ''), 'hex');
}

export function address(text: string): Buffer {
  return Buffer.from(text.split('.').map(Number));
}

export function be16(...values: number[]): Buffer {
  return Buffer.concat(values.map((value) => Buffer.from([(value >> 8) & 0xff, value & 0xff])));
}

/** RFC 1071, over whole or half words. */
export function internetChecksum(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum ^ 0xffff;
}

export const TYPE = {
  ipv4: 0x0800,
  arp: 0x0806,
  vlan: 0x8100,
  serviceVlan: 0x88a8,
  ipv6: 0x86dd,
  lldp: 0x88cc,
};

export function ethernet(destination: string, source: string, type: number, payload: Buffer): Buffer {
  return Buffer.concat([mac(destination), mac(source), be16(type), payload]);
}

export interface Ipv4Fields {
  source: string;
  destination: string;
  protocol: number;
  payload: Buffer;
  version?: number;
  /** In words of four bytes. */
  headerWords?: number;
  totalLength?: number;
  tos?: number;
  /** Flags and offset. */
  fragment?: number;
  /** Added to the right checksum. */
  checksumError?: number;
}

/** A header of 20 bytes, whatever its fields claim. */
export function ipv4(fields: Ipv4Fields): Buffer {
  const { version = 4, headerWords = 5, tos = 0, fragment = 0, checksumError = 0 } = fields;
  const header = Buffer.concat([
    Buffer.from([(version << 4) | headerWords, tos]),
    be16(fields.totalLength ?? 20 + fields.payload.length, 0x1234, fragment),
    Buffer.from([64, fields.protocol]),
    be16(0),
    address(fields.source),
    address(fields.destination),
  ]);
  header.writeUInt16BE((internetChecksum(header) + checksumError) & 0xffff, 10);
  return Buffer.concat([header, fields.payload]);
}

/** Without a checksum: nobody on the way checks it. */
export function udp(bytes: number, length = 8 + bytes): Buffer {
  return Buffer.concat([be16(4000, 5000, length, 0), Buffer.alloc(bytes, 0x55)]);
}

/** A SYN's header of 20 bytes and `bytes` behind it. */
export function tcp(dataOffset: number, bytes = 0): Buffer {
  const header = Buffer.concat([
    be16(4000, 5000, 0, 1, 0, 0),
    Buffer.from([dataOffset << 4, 2]),
    be16(4096, 0, 0),
  ]);
  return Buffer.concat([header, Buffer.alloc(bytes, 0x55)]);
}

export function icmp(type: number, code: number, rest: Buffer): Buffer {
  const message = Buffer.concat([Buffer.from([type, code]), be16(0), rest]);
  message.writeUInt16BE(internetChecksum(message), 2);
  return message;
}

export interface ArpFields {
  hardware?: number;
  protocol?: number;
  hardwareLength?: number;
  protocolLength?: number;
  operation?: number;
  senderMac: string;
  sender: string;
  target: string;
}

/** 28 bytes. */
export function arp(fields: ArpFields): Buffer {
  const { hardware = 1, protocol = 0x0800, hardwareLength = 6, protocolLength = 4, operation = 1 } = fields;
  return Buffer.concat([
    be16(hardware, protocol),
    Buffer.from([hardwareLength, protocolLength]),
    be16(operation),
    mac(fields.senderMac),
    address(fields.sender),
    Buffer.alloc(6),
    address(fields.target),
  ]);
}

/** The bytes after the outer IPv4 header. */
export function etherip(inner: Buffer, word = 0x3000): Buffer {
  return Buffer.concat([be16(word), inner]);
}

/** The same bytes for the same seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

export function randomBytes(random: () => number, length: number): Buffer {
  return Buffer.from(Uint8Array.from({ length }, () => Math.floor(random() * 256)));
}
