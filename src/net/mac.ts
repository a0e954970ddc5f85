/** MAC addresses: "02:00:00:00:00:01" and six bytes. */

export const MAC_BYTES = 6;

/** The canonical text (lower case, colons) of "02:00:00:00:00:01" or "02-00-..."; undefined when it is no MAC. */
export function canonicalMac(text: string): string | undefined {
  if (!/^[0-9a-f]{2}([:-])[0-9a-f]{2}(\1[0-9a-f]{2}){4}$/i.test(text)) return undefined;
  return text.toLowerCase().replaceAll('-', ':');
}

/** Six bytes, owned by the caller. Throws RangeError when the text is no MAC. */
export function macToBytes(text: string): Uint8Array<ArrayBuffer> {
  const mac = canonicalMac(text);
  if (mac === undefined) throw new RangeError(`${JSON.stringify(text)} is not a MAC address`);
  return Uint8Array.from(mac.split(':'), (byte) => Number.parseInt(byte, 16));
}

/** Canonical text of exactly six bytes (a Buffer will do); throws RangeError for any other number. */
export function bytesToMac(bytes: Uint8Array): string {
  if (bytes.length !== MAC_BYTES) throw new RangeError(`a MAC address has 6 bytes, not ${bytes.length}`);
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}

/** Whether a frame from this MAC could be answered: a unicast address other than all zeros (IEEE 802 group bit). */
export function isUnicastMac(text: string): boolean {
  const bytes = macToBytes(text);
  return ((bytes[0] ?? 1) & 1) === 0 && bytes.some((byte) => byte !== 0);
}
