/**
 * Agreement with one peer, the asking side: whether it can deliver to every far host that is listed here, and
 * whom of this side it refuses. Asked whenever the peer says that its answer may have changed, and at intervals,
 * in small pieces. Pure: it neither sends nor waits.
 */
import { familyOf, formatPrefix, type Prefix } from '../net/address.js';
import { prefixesPerQuestion, type Verdict } from './message.js';

/** Between two pieces of a list, milliseconds. */
export const PIECE_EVERY = 250;
/** Hosts come and go without the peer's settings changing. */
export const CHECK_EVERY = 60_000;
/** However often the peer's answer changes. */
const CHECK_AT_MOST_EVERY = 5_000;
const MAX_TRIES = 3;
/** Named to people; the rest is counted. */
const MOST_FINDINGS = 16;

/** A far host (or a prefix of them) that is listed here, and how it is called here. */
export interface ListedHost extends Prefix {
  /** The first proxied address that stands for it. */
  readonly proxiedAs: string;
}

export interface Finding {
  readonly code: 'accepts-none' | 'refused' | Exclude<Verdict, 'deliverable'>;
  /** The host that it is about; empty with accepts-none. */
  readonly host: string;
  /** What is wrong and what to do. */
  readonly message: string;
}

export type AgreementQuestion =
  | { readonly kind: 'list-question'; readonly hosts: readonly Prefix[] }
  | { readonly kind: 'refused-question' };

interface Round {
  readonly revision: string;
  readonly findings: Finding[];
  /** Beyond MOST_FINDINGS. */
  more: number;
  /** The next host to ask about; -1: first the refused ones. */
  at: number;
  asked: number;
  tries: number;
}

export class Agreement {
  readonly #peer: string;
  #hosts: readonly ListedHost[];
  #round: Round | undefined;
  /** What was last compared in full, and what the peer said last. */
  #checked: string | undefined;
  #current = '';
  #startAt = Number.POSITIVE_INFINITY;
  #nextAt = Number.POSITIVE_INFINITY;
  #earliest = 0;
  #found: Finding[] = [];
  #more = 0;
  #acceptsNone = false;

  /** @param peer its name, for messages. */
  constructor(peer: string, hosts: readonly ListedHost[]) {
    this.#peer = peer;
    this.#hosts = hosts;
  }

  /** When next() has something to ask. */
  get nextAt(): number {
    return this.#round ? this.#nextAt : this.#startAt;
  }

  /** What the peer said last, most important first; how many more there are. */
  get findings(): readonly Finding[] {
    return this.#acceptsNone ? [acceptsNone(this.#peer), ...this.#found] : this.#found;
  }

  get more(): number {
    return this.#more;
  }

  /** Compared anew if the list changed. */
  setHosts(hosts: readonly ListedHost[], now: number): void {
    if (sameHosts(this.#hosts, hosts)) return;
    this.#hosts = hosts;
    this.#round = undefined;
    this.#checked = undefined;
    const listed = new Set(hosts.map((host) => formatPrefix(host)));
    this.#found = this.#found.filter(({ code, host }) => code === 'refused' || listed.has(host));
    this.#more = 0;
    this.#startAt = Math.max(now, this.#earliest);
  }

  /** With every answer the peer says which revision of its own mind it is in. */
  told(answerer: number, revision: number, acceptsNone: boolean, now: number): void {
    this.#acceptsNone = acceptsNone;
    const current = `${answerer} ${revision}`;
    if (current === (this.#round?.revision ?? this.#checked)) return;
    this.#startAt = Math.max(now, this.#earliest);
    this.#checked = undefined;
    this.#current = current;
  }

  next(now: number): AgreementQuestion | undefined {
    if (now < this.nextAt) return undefined;
    if (this.#round === undefined) {
      this.#round = { revision: this.#current, findings: [], more: 0, at: -1, asked: 0, tries: 0 };
      this.#startAt = Number.POSITIVE_INFINITY;
      this.#earliest = now + CHECK_AT_MOST_EVERY;
    }
    const round = this.#round;
    round.tries += 1;
    this.#nextAt = Number.POSITIVE_INFINITY; // until this one is answered, or given up
    if (round.at < 0) return { kind: 'refused-question' };
    const hosts = this.#piece(round.at);
    round.asked = hosts.length;
    return { kind: 'list-question', hosts };
  }

  refusedAnswered(addresses: readonly string[], now: number): void {
    const round = this.#round;
    if (round === undefined) return;
    if (round.at >= 0) {
      this.unanswered(now);
      return;
    }
    for (const address of addresses) this.#find(round, refused(this.#peer, address));
    this.#step(round, 0, now);
  }

  /** In the order of the question. A list of another length is no answer. */
  listAnswered(verdicts: readonly Verdict[], now: number): void {
    const round = this.#round;
    if (round === undefined) return;
    if (round.at < 0 || verdicts.length !== round.asked) {
      this.unanswered(now);
      return;
    }
    verdicts.forEach((verdict, index) => {
      const host = this.#hosts[round.at + index];
      if (host && verdict !== 'deliverable') this.#find(round, undeliverable(this.#peer, host, verdict));
    });
    this.#step(round, round.at + round.asked, now);
  }

  /** The question was lost, or could not be sent. */
  unanswered(now: number): void {
    const round = this.#round;
    if (round === undefined) return;
    this.#nextAt = now + PIECE_EVERY;
    if (round.tries < MAX_TRIES) return;
    // What was found before stays; the next answer to a keepalive, or time, begins anew.
    this.#round = undefined;
    this.#startAt = now + CHECK_EVERY;
  }

  #step(round: Round, at: number, now: number): void {
    round.at = at;
    round.tries = 0;
    this.#nextAt = now + PIECE_EVERY;
    if (at < this.#hosts.length) return;
    this.#found = round.findings;
    this.#more = round.more;
    this.#checked = round.revision;
    this.#round = undefined;
    this.#startAt = Math.min(this.#startAt, now + CHECK_EVERY);
  }

  #find(round: Round, finding: Finding): void {
    if (round.findings.length < MOST_FINDINGS) round.findings.push(finding);
    else round.more += 1;
  }

  /** Hosts of one family, as many as one question takes. */
  #piece(from: number): ListedHost[] {
    const family = familyOf(this.#hosts[from]?.address ?? '');
    const most = prefixesPerQuestion(family === 6 ? 16 : 4);
    const piece: ListedHost[] = [];
    for (const host of this.#hosts.slice(from, from + most)) {
      if (familyOf(host.address) !== family) break;
      piece.push(host);
    }
    return piece;
  }
}

function acceptsNone(peer: string): Finding {
  const message =
    `${peer} lists none of the hosts here, so whatever they send is dropped there. ` +
    `List them under proxied in the settings of ${peer}, or set unlisted: masquerade there.`;
  return { code: 'accepts-none', host: '', message };
}

function refused(peer: string, host: string): Finding {
  const message =
    `${peer} drops what ${host} sends, because ${host} has no proxied address there. ` +
    `List it under proxied in the settings of ${peer}.`;
  return { code: 'refused', host, message };
}

function undeliverable(peer: string, listed: ListedHost, code: Exclude<Verdict, 'deliverable'>): Finding {
  const host = formatPrefix(listed);
  const named = listed.proxiedAs === listed.address ? host : `${host} (here ${listed.proxiedAs})`;
  return { code, host, message: `${peer} cannot deliver to ${named}: ${REASONS[code]}` };
}

const REASONS: Readonly<Record<Exclude<Verdict, 'deliverable'>, string>> = {
  proxied:
    'it is a proxied address there, too, so each gateway takes it for a host of the other. Take it out of proxied on one side.',
  gateway: "it is that gateway's own address. Take it out of proxied here, or write the host that is meant.",
  reserved: 'no host can have that address there. Correct it under proxied here.',
  'no-route': 'that gateway has no route to it. Correct it under proxied here, or add the route there.',
  silent: 'it does not answer there. See whether the host is up.',
  other: 'that gateway gives a reason that this version does not know. Update vpc-conn here.',
};

function sameHosts(one: readonly ListedHost[], other: readonly ListedHost[]): boolean {
  return (
    one.length === other.length &&
    one.every(({ address, prefixLength, proxiedAs }, index) => {
      const match = other[index];
      return (
        match?.address === address && match.prefixLength === prefixLength && match.proxiedAs === proxiedAs
      );
    })
  );
}
