/**
 * The conversation with one peer's gateway, the asking side: keepalives, probes of the path's MTU and the
 * comparison of lists, each with its own timing. Lives on the JS thread.
 */
import type { Clock } from '../neighbor/clock.js';
import { Agreement, type Finding, type ListedHost } from './agreement.js';
import { type Answer, encodeFrame, type ListAnswer, type Message, type RefusedAnswer } from './message.js';
import { PathSearch } from './path-search.js';

/** Between two questions, milliseconds. */
export const ASK_EVERY = 2_000;
/** So many questions in succession without an answer, and the peer is silent. */
export const MAX_MISSED = 3;
/** A peer that never answered is asked less and less, and only while nothing else is heard from it. */
const ASK_AT_LEAST_EVERY = 16_000;
const LOST_AFTER = 2_000;
/** RFC 8899 5.1.1: PROBE_TIMER, at least a second. */
const PROBE_LOST_AFTER = 1_000;
/** Outcomes of the last questions that the loss is taken from. */
const LOSS_WINDOW = 100;
/** Without a next hop nothing can be sent; looked at again after this time. */
const RESOLVE_POLL = 500;

/** A peer as the conversation needs it. */
export interface PeeringPeer {
  readonly name: string;
  readonly address: string;
  readonly localAddress: string;
  /** False: only answers. */
  readonly initiates: boolean;
  /** Largest outer packet by the route, bytes. */
  readonly pathLimit: number;
  /** What of an outer packet is not inner frame: outer IP and EtherIP header, bytes. */
  readonly outerHeaders: number;
  /** What every path carries: 576 over IPv4 (RFC 1122 3.3.2), 1280 over IPv6 (RFC 8200 section 5). */
  readonly leastPath: number;
  /** Far hosts that are listed here. */
  readonly hosts: readonly ListedHost[];
  /** Whatever far hosts of this peer send is dropped here. */
  readonly acceptsNone: boolean;
}

export interface PeerReport {
  /** awaited: nothing lost yet. never: not since this gateway started. unasked: keepalives are not initiated. */
  readonly answers: 'yes' | 'no-longer' | 'awaited' | 'never' | 'unasked';
  /** Smoothed, without the time that the far gateway took; milliseconds. */
  readonly roundTrip: number | null;
  /** 0..1 of the last questions. */
  readonly loss: number | null;
  /** limited: less than the route says gets through. proven: what is in use was answered. */
  readonly path: { readonly limited: boolean; readonly proven: boolean };
  readonly findings: readonly Finding[];
  /** Findings beyond those. */
  readonly more: number;
}

/** Whom to tell what probes found (gateway/path-mtu.ts). Outer IP packets, bytes. */
export interface PathFindings {
  /** A packet of this size arrived. */
  proven(peerAddress: string, outerMtu: number): void;
  /** Larger packets vanish. */
  blackHole(peerAddress: string, outerMtu: number): void;
  /** Nobody probes this path any more. */
  forget(peerAddress: string): void;
}

export interface ConversationOptions {
  readonly clock: Clock;
  readonly instance: number;
  readonly random: () => number;
  readonly sourceMac: () => string;
  /** False: not sent. */
  readonly send: (frame: Uint8Array) => boolean;
  /** There is a next hop to send through. */
  readonly resolved: () => boolean;
  /** Anything at all came from the peer within the last seconds. */
  readonly heardLately: () => boolean;
  readonly path: PathFindings;
}

interface Sent {
  readonly kind: 'question' | 'probe' | 'list-question' | 'refused-question';
  readonly at: number;
  readonly lostAt: number;
  /** Of the frame, bytes. */
  readonly length: number;
  /** With a probe: the question that was sent beside it, and that it was answered. */
  readonly beside?: number;
  witnessed?: boolean;
}

export class Conversation {
  readonly #options: ConversationOptions;
  readonly #search: PathSearch;
  readonly #agreement: Agreement;
  /** By sequence, oldest first; a handful. */
  readonly #sent = new Map<number, Sent>();
  readonly #outcomes: boolean[] = [];
  #peer: PeeringPeer;
  #sequence: number;
  #askAt: number;
  #lastAsked = Number.NEGATIVE_INFINITY;
  #interval = ASK_EVERY;
  #unasked = 0;
  #missed = 0;
  #answered = false;
  #speaks = false;
  #roundTrip: number | undefined;
  #probeAt = 0;
  #cancel: (() => void) | undefined;
  #closed = false;

  constructor(peer: PeeringPeer, options: ConversationOptions) {
    this.#peer = peer;
    this.#options = options;
    this.#search = new PathSearch(peer.pathLimit, peer.leastPath);
    this.#agreement = new Agreement(peer.name, peer.hosts);
    this.#sequence = Math.floor(options.random() * 2 ** 32);
    this.#askAt = options.clock.now();
    this.#schedule();
  }

  get peer(): PeeringPeer {
    return this.#peer;
  }

  /** The same peer with other settings. */
  update(peer: PeeringPeer): void {
    const now = this.#options.clock.now();
    const { initiates } = this.#peer;
    this.#peer = peer;
    this.#search.setLimit(peer.pathLimit, now);
    this.#agreement.setHosts(peer.hosts, now);
    if (peer.initiates && !initiates) this.#askAt = now;
    if (!peer.initiates) this.#fallSilent(now);
    this.#schedule();
  }

  /** The peer's gateway asked something: it is there, so it is worth asking, too. */
  heardQuestion(): void {
    this.#speaks = true;
    if (this.#answering) return;
    const now = this.#options.clock.now();
    this.#interval = ASK_EVERY;
    // Not at once for every question: two gateways would answer each other's questions with questions.
    this.#askAt = Math.min(this.#askAt, Math.max(now, this.#lastAsked + LOST_AFTER / 2));
    this.#schedule();
  }

  /** @param receivedAt milliseconds, as a worker took it up. False: no answer to anything asked. */
  answer(message: Answer | ListAnswer | RefusedAnswer, receivedAt: number): boolean {
    const sent = this.#sent.get(message.sequence);
    if (message.instance !== this.#options.instance || sent === undefined) return false;
    if (!answers(message, sent)) return false;
    this.#sent.delete(message.sequence);
    const now = this.#options.clock.now();
    switch (message.kind) {
      case 'answer':
        this.#answeredQuestion(message, sent, receivedAt, now);
        break;
      case 'list-answer':
        this.#agreement.listAnswered(message.verdicts, now);
        break;
      case 'refused-answer':
        this.#agreement.refusedAnswered(message.addresses, now);
        break;
    }
    this.#schedule();
    return true;
  }

  report(): PeerReport {
    const { initiates } = this.#peer;
    const lost = this.#outcomes.filter((arrived) => !arrived).length;
    const { limited, proven } = this.#search;
    const never = this.#missed < MAX_MISSED ? 'awaited' : 'never';
    const answers = this.#answering ? 'yes' : this.#answered ? 'no-longer' : never;
    return {
      answers: initiates ? answers : 'unasked',
      roundTrip: this.#roundTrip ?? null,
      loss: this.#answered && this.#outcomes.length > 0 ? lost / this.#outcomes.length : null,
      path: { limited, proven },
      findings: initiates ? this.#agreement.findings : [],
      more: initiates ? this.#agreement.more : 0,
    };
  }

  close(): void {
    this.#closed = true;
    this.#cancel?.();
  }

  get #answering(): boolean {
    return this.#answered && this.#missed < MAX_MISSED;
  }

  #answeredQuestion(message: Answer, sent: Sent, receivedAt: number, now: number): void {
    const whole = Math.max(0, receivedAt - sent.at);
    const dwell = message.dwell / 1000;
    this.#smooth(dwell <= whole ? whole - dwell : whole);
    this.#answered = true;
    this.#missed = 0;
    this.#interval = ASK_EVERY;
    this.#agreement.told(message.answerer, message.revision, message.acceptsNone, now);
    if (sent.kind === 'probe') {
      this.#changePath(() => this.#search.answered(this.#outer(sent.length), now));
      return;
    }
    this.#outcome(true);
    for (const probe of this.#sent.values()) if (probe.beside === message.sequence) probe.witnessed = true;
  }

  /** RFC 6298 2.3. */
  #smooth(sample: number): void {
    this.#roundTrip =
      this.#roundTrip === undefined ? sample : this.#roundTrip + (sample - this.#roundTrip) / 8;
  }

  #outcome(arrived: boolean): void {
    this.#outcomes.push(arrived);
    if (this.#outcomes.length > LOSS_WINDOW) this.#outcomes.shift();
  }

  /** Nothing is asked from now on, so nothing that was found out stays true. */
  #fallSilent(now: number): void {
    if (this.#waitsForList) this.#agreement.unanswered(now);
    this.#sent.clear();
    this.#outcomes.length = 0;
    this.#answered = false;
    this.#roundTrip = undefined;
    this.#options.path.forget(this.#peer.address);
  }

  /** Does what is due, then sleeps until something is. */
  #run(): void {
    if (this.#closed) return;
    const now = this.#options.clock.now();
    this.#expire(now);
    if (this.#peer.initiates && this.#options.resolved()) {
      if (now >= this.#askAt) this.#ask(now);
      if (this.#answering) {
        this.#probe(now);
        this.#compare(now);
      }
    }
    this.#schedule();
  }

  #schedule(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    if (this.#closed || !this.#peer.initiates) return;
    const { clock, resolved } = this.#options;
    const now = clock.now();
    const due = [...this.#sent.values()].map(({ lostAt }) => lostAt);
    if (!resolved()) due.push(now + RESOLVE_POLL);
    else {
      due.push(this.#askAt);
      if (this.#answering) {
        if (!this.#waitsForProbe) due.push(Math.max(this.#search.nextAt, this.#probeAt));
        if (!this.#waitsForList) due.push(this.#agreement.nextAt);
      }
    }
    const next = Math.min(...due);
    this.#cancel = clock.after(Math.max(0, next - now), () => this.#run());
  }

  get #waitsForProbe(): boolean {
    return [...this.#sent.values()].some(({ kind }) => kind === 'probe');
  }

  get #waitsForList(): boolean {
    return [...this.#sent.values()].some(
      ({ kind }) => kind === 'list-question' || kind === 'refused-question',
    );
  }

  #expire(now: number): void {
    for (const [sequence, sent] of this.#sent) {
      if (now < sent.lostAt) continue;
      this.#sent.delete(sequence);
      if (sent.kind === 'question') this.#missedQuestion();
      else if (sent.kind === 'probe') this.#lostProbe(sent, now);
      else this.#agreement.unanswered(now);
    }
  }

  #missedQuestion(): void {
    this.#missed += 1;
    if (this.#answered) this.#outcome(false);
    else this.#interval = Math.min(this.#interval * 2, ASK_AT_LEAST_EVERY);
  }

  #lostProbe({ length, witnessed = false }: Sent, now: number): void {
    this.#changePath(() => this.#search.unanswered(this.#outer(length), witnessed, now));
  }

  #changePath(change: () => void): void {
    const before = { mtu: this.#search.mtu, proven: this.#search.proven };
    change();
    const { mtu, limited, proven } = this.#search;
    if (mtu === before.mtu && proven === before.proven) return;
    const { path } = this.#options;
    if (limited) path.blackHole(this.#peer.address, mtu);
    else if (proven) path.proven(this.#peer.address, mtu);
  }

  /** The sequence number of the question; undefined: not sent. */
  #ask(now: number): number | undefined {
    this.#askAt = now + this.#interval * (0.95 + this.#options.random() / 10);
    // Another implementation is not to be disturbed while it is at work: the original takes any frame for data.
    const foreign = !this.#answered && !this.#speaks && this.#unasked >= MAX_MISSED;
    if (foreign && this.#options.heardLately()) return undefined;
    if (!this.#answered) this.#unasked += 1;
    this.#lastAsked = now;
    return this.#send('question', { kind: 'question' }, LOST_AFTER) ? this.#sequence : undefined;
  }

  #probe(now: number): void {
    if (now < Math.max(this.#search.nextAt, this.#probeAt) || this.#waitsForProbe) return;
    const length = this.#search.next(now) - this.#peer.outerHeaders;
    const beside = this.#ask(now);
    const sent = this.#send('probe', { kind: 'question' }, this.#probeTimer, { length, beside });
    // What the kernel does not take says nothing about the path.
    if (!sent) this.#probeAt = now + PROBE_LOST_AFTER;
  }

  get #probeTimer(): number {
    return Math.max(PROBE_LOST_AFTER, Math.min(3 * (this.#roundTrip ?? 0), LOST_AFTER));
  }

  #compare(now: number): void {
    if (this.#waitsForList) return;
    const question = this.#agreement.next(now);
    if (question && !this.#send(question.kind, question, LOST_AFTER)) this.#agreement.unanswered(now);
  }

  #send(
    kind: Sent['kind'],
    question: DistributiveOmit<Extract<Message, { kind: `${string}question` }>, 'instance' | 'sequence'>,
    lostAfter: number,
    { length = 0, beside }: { length?: number; beside?: number | undefined } = {},
  ): boolean {
    const { clock, instance, sourceMac, send } = this.#options;
    this.#sequence = (this.#sequence + 1) >>> 0;
    const frame = encodeFrame({ ...question, instance, sequence: this.#sequence }, sourceMac(), length);
    const at = clock.now();
    if (!send(frame)) return false;
    const lostAt = at + lostAfter;
    this.#sent.set(this.#sequence, { kind, at, lostAt, length: frame.length, ...(beside && { beside }) });
    return true;
  }

  /** Of the outer packet round a frame of this length. */
  #outer(length: number): number {
    return length + this.#peer.outerHeaders;
  }
}

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;

/** Whether it is the answer to what was sent: of its kind, and to all of it. */
function answers(message: Answer | ListAnswer | RefusedAnswer, sent: Sent): boolean {
  if (message.kind === 'list-answer') return sent.kind === 'list-question';
  if (message.kind === 'refused-answer') return sent.kind === 'refused-question';
  return (sent.kind === 'question' || sent.kind === 'probe') && message.received === sent.length;
}
