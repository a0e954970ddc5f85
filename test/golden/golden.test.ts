/**
 * Each directory here is one sentence about the pipelines, told in frames: see its case.json. The frames that
 * are expected were built from their fields (cases-*.ts), not taken from what came out; all of them are
 * decoded by tshark, which must find nothing wrong. UPDATE_GOLDEN=1 writes the directories anew.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { loadAddon } from '../../src/native/binding.js';
import { eventText, MemoryGateway, toNeighbors } from '../helpers/forwarding.js';
import { be16, bytes, pcap, virtioHeader } from '../helpers/frames.js';
import { temporaryDirectory } from '../helpers/temporary-directory.js';
import { decode, faultsIn, whyNoTshark } from '../helpers/tshark.js';
import { DROPPED_CASES } from './cases-dropped.js';
import { FORWARDED_CASES } from './cases-forwarded.js';
import { FRAGMENT_CASES } from './cases-fragments.js';
import { ICMP_CASES } from './cases-icmp.js';
import { IPV6_CASES } from './cases-ipv6.js';
import { KEEPALIVE_CASES } from './cases-keepalive.js';
import { MARKS_CASES } from './cases-marks.js';
import { MTU_CASES } from './cases-mtu.js';
import { OVER_IPV6_CASES } from './cases-over-ipv6.js';
import {
  type CaseJson,
  caseFile,
  caseNames,
  fromText,
  GOLDEN,
  readCase,
  toJson,
  toText,
} from './golden-case.js';

const CASES = [
  ...FORWARDED_CASES,
  ...ICMP_CASES,
  ...MARKS_CASES,
  ...IPV6_CASES,
  ...OVER_IPV6_CASES,
  ...MTU_CASES,
  ...FRAGMENT_CASES,
  ...KEEPALIVE_CASES,
  ...DROPPED_CASES,
];
const CORPUS = fileURLToPath(new URL('../../native/fuzz/corpus/', import.meta.url));
const caseText = (json: CaseJson): string => `${JSON.stringify(json, null, 2)}\n`;

/** The fuzzers' first inputs: records of one byte of choices (none), two of length, the frame. */
function writeCorpus(): void {
  rmSync(CORPUS, { recursive: true, force: true });
  for (const direction of ['encap', 'decap'] as const) {
    mkdirSync(join(CORPUS, direction), { recursive: true });
    for (const { name, steps } of CASES) {
      const records = steps
        .filter(({ frame }) => frame.length <= 1600)
        .slice(0, 5)
        .map((step) => bytes([step.direction === direction ? 0 : 1], be16(step.frame.length), step.frame));
      if (steps[0]?.direction === direction && records.length > 0) {
        writeFileSync(join(CORPUS, direction, name), bytes(...records));
      }
    }
  }
}

if (process.env.UPDATE_GOLDEN === '1') {
  for (const name of caseNames()) rmSync(join(GOLDEN, name), { recursive: true });
  for (const golden of CASES) {
    mkdirSync(join(GOLDEN, golden.name));
    writeFileSync(caseFile(golden.name), caseText(toJson(golden)));
  }
  writeCorpus();
  const biome = fileURLToPath(new URL('../../node_modules/.bin/biome', import.meta.url));
  execFileSync(biome, ['format', '--write', GOLDEN], { stdio: 'ignore' });
}

const NAMES = caseNames();

/** Carries what its sender got wrong, in both directions. */
const WRONG_BY_INTENT = 'icmp-error-quoted-checksum-not-judged';

/** Reasons that only rings and the kernel have: frames in memory are whole, untagged and sent. */
const NOT_IN_MEMORY = ['truncated', 'other_host', 'tx_failed', 'tx_busy', 'interface_down', 'forged_marker'];

for (const name of NAMES) {
  const golden = readCase(name);
  t.test(`${name}: ${golden.sentence}`, async (t) => {
    const gateway = new MemoryGateway(golden.table, golden.neighbors);
    for (const [index, step] of golden.steps.entries()) {
      const what = `${index + 1}. ${step.what}`;
      if (step.time !== undefined) gateway.pipeline.setTime(step.time);
      if (step.neighbors !== undefined) gateway.pipeline.publishNeighbors(toNeighbors(step.neighbors));
      const virtio = step.virtio && virtioHeader(step.virtio);
      const { verdict, frames, virtioHeaders, replies, events } = gateway.run(
        step.direction,
        fromText(step.frame),
        virtio,
      );
      t.equal(verdict, step.verdict, `${what}: verdict`);
      t.same(frames.map(toText), step.out, `${what}: frames sent`);
      t.same(replies.map(toText), step.replies ?? [], `${what}: ICMP errors`);
      t.same(events.map(eventText), step.events, `${what}: events`);
      t.ok(
        virtioHeaders.every((header) => header.every((byte) => byte === 0)),
        `${what}: nothing is left for the NIC to do`,
      );
    }
    t.same(gateway.counters(), golden.counters, 'counters');
  });
}

t.test('the directories are what the cases say', async (t) => {
  t.same(NAMES, CASES.map(({ name }) => name).sort(), 'run with UPDATE_GOLDEN=1 after adding or renaming');
  for (const golden of CASES)
    t.same(readCase(golden.name), JSON.parse(caseText(toJson(golden))), golden.name);
});

t.test('every drop reason has a case that bears its name', async (t) => {
  const reasons = loadAddon().dropReasons.map(({ name }) => name);
  const withCase = NAMES.filter((name) => name.startsWith('drop-')).map((name) =>
    name.slice(5).replaceAll('-', '_'),
  );
  t.same([...withCase, ...NOT_IN_MEMORY].sort(), [...reasons].sort());
  for (const reason of withCase) {
    const { counters } = readCase(`drop-${reason.replaceAll('_', '-')}`);
    t.ok((counters[`drop_${reason}`] ?? 0) > 0, `${reason} is counted in its own case`);
  }
});

t.test(
  'an independent decoder finds no fault in anything that is sent',
  { skip: whyNoTshark() },
  async (t) => {
    // It knows no RFC 6936.
    const sent = NAMES.filter((name) => name !== 'ipv6-udp-checksum-zero-stays').flatMap((name) =>
      readCase(name).steps.flatMap(({ what, out, replies = [] }) =>
        [...out, ...replies].map((frame) => ({ from: `${name}: ${what}`, frame })),
      ),
    );
    const capture = join(temporaryDirectory(t), 'sent.pcap');
    writeFileSync(capture, pcap(sent.map(({ frame }) => fromText(frame))));
    const named = (line: string): string => `${sent[Number.parseInt(line, 10) - 1]?.from}: ${line}`;
    const found = (await faultsIn(capture)).map(named);
    t.same(
      found.filter((line) => !line.startsWith(`${WRONG_BY_INTENT}: `)),
      [],
    );
    // It can tell: everything was decoded, what goes into the tunnel as EtherIP, and what is wrong by intent.
    t.equal(found.length, 2);
    t.equal((await decode(capture, 'ip || ipv6')).length, sent.length);
    const tunnelled = sent.filter(({ frame }) => frame.startsWith('020000000102')).length;
    const over4 = 'ip.proto == 97 && ip.flags.df == 1 && ip.ttl == 64';
    const over6 = 'ipv6.nxt == 97 && ipv6.hlim == 64';
    const etherIp = await decode(capture, `etherip && ((${over4}) || (${over6}))`);
    t.equal(etherIp.length, tunnelled);
    t.ok(sent.length > 100);
  },
);
