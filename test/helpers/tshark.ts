/** A second opinion on frames: tshark, which shares no code with this project, decodes captures and judges them. */
import { execFile, execFileSync } from 'node:child_process';
import { promisify } from 'node:util';

/** Why it cannot be asked here, with the remedy; false: it can. */
export function whyNoTshark(): string | false {
  try {
    execFileSync('tshark', ['--version'], { stdio: 'ignore' });
    return false;
  } catch {
    return 'tshark is missing: run "npm run setup"';
  }
}

/** What is wrong with a frame, in tshark's words. */
const FAULTS = [
  '_ws.malformed',
  '_ws.short',
  '_ws.expert.severity == "Error"',
  ...['ip', 'tcp', 'udp', 'icmp', 'icmpv6'].map((protocol) => `${protocol}.checksum.status == "Bad"`),
  'udp.length.bad || ip.bogus_ip_length || ip.bogus_header_length || tcp.bogus_header_length',
].join(' || ');

const FIELDS = [
  ...['frame.number', 'frame.protocols', 'ip.src', 'ip.dst', '_ws.expert.message'],
  ...['ip.checksum.status', 'icmp.checksum.status', 'icmpv6.checksum.status'],
  ...['ip.len', 'ip.hdr_len', 'ipv6.plen'],
];
const IPV6_HEADER = 40;
const ICMP_HEADER = 8;
/** Of a checksum, as fields print it. */
const GOOD = '1';

const ARGUMENTS = [
  // Checksums are not judged unless asked for.
  ...['ip', 'tcp', 'udp'].flatMap((protocol) => ['-o', `${protocol}.check_checksum:TRUE`]),
  // Payloads are no DNS and the like, whatever their ports say.
  ...['tcp', 'udp'].flatMap((protocol) => ['-d', `${protocol}.port==1-65535,data`]),
  ...['-n', '-T', 'fields', ...FIELDS.flatMap((field) => ['-e', field])],
];

/** One line per frame of a capture file that matches a display filter; frames are numbered from 1. */
export async function decode(capture: string, filter: string): Promise<string[]> {
  const argv = ['-r', capture, '-Y', filter, ...ARGUMENTS];
  const { stdout } = await promisify(execFile)('tshark', argv, { maxBuffer: 64 << 20 });
  return stdout.split('\n').filter((line) => line !== '');
}

/** The frames of a capture file with a bad checksum or length, or that cannot be decoded. */
export async function faultsIn(capture: string): Promise<string[]> {
  return (await decode(capture, FAULTS)).filter((line) => !isCutQuote(line));
}

/**
 * An ICMP error of Linux quotes 548 bytes of a longer packet (an ICMPv6 error is up to 1280 long), and tshark makes
 * the quoted TCP or UDP checksum over these; also inside a quoted EtherIP packet, which a gateway's kernel answers
 * while vpc-conn does not run. Its other checksums are right.
 */
function isCutQuote(line: string): boolean {
  const [, protocols = '', , , , ip, icmp, icmp6, ...lengths] = line.split('\t');
  const others = [ip, icmp, icmp6].join(',').split(',');
  return (
    quoteIsCut(protocols.split(':'), lengths) &&
    others.every((status) => status === '' || status === GOOD) &&
    line.includes('Bad checksum')
  );
}

/** Whether a quoted packet says that it is longer than the ICMP error has room for. */
function quoteIsCut(protocols: readonly string[], [lengths, headers, payloads]: readonly string[]): boolean {
  const numbers = (text = '') => text.split(',').map(Number);
  const [v4, v4Headers, v6] = [numbers(lengths), numbers(headers), numbers(payloads)];
  let room = Number.POSITIVE_INFINITY;
  let payload = 0;
  for (const protocol of protocols) {
    if (protocol === 'ip' || protocol === 'ipv6') {
      const header = protocol === 'ip' ? (v4Headers.shift() ?? 0) : IPV6_HEADER;
      payload = protocol === 'ip' ? (v4.shift() ?? 0) - header : (v6.shift() ?? 0);
      if (header + payload > room) return true;
    } else if (protocol === 'icmp' || protocol === 'icmpv6') {
      room = payload - ICMP_HEADER;
    }
  }
  return false;
}
