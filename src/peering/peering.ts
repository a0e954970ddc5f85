/**
 * What gateways say to each other inside the tunnel: are you there, how large may packets be, and do our lists
 * agree. One object per gateway, on the JS thread; it takes the data plane's rare events and keeps one
 * conversation per peer.
 */
import { randomInt } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { DataPlane, DataPlaneEvent } from '../dataplane/port.js';
import { type Clock, systemClock } from '../neighbor/clock.js';
import type { Prefix } from '../net/address.js';
import { Conversation, type PathFindings, type PeeringPeer, type PeerReport } from './conversation.js';
import { decodeFrame, encodeFrame, type Message, type Verdict } from './message.js';
import { Refusals } from './refusals.js';

export type { Finding, ListedHost } from './agreement.js';
export type { PathFindings, PeeringPeer, PeerReport } from './conversation.js';
export type { Verdict } from './message.js';

/** Questions about lists that a peer gets answered in a second; it asks four. */
const LISTS_PER_SECOND = 8;

export interface PeeringView {
  /** Of the inner frames: the underlay interface's. */
  readonly sourceMac: string;
  /** In the order of the forwarding table. */
  readonly peers: readonly PeeringPeer[];
}

export interface PeeringOptions {
  readonly dataPlane: Pick<DataPlane, 'send'>;
  readonly view: PeeringView;
  /** The peer's address has a next hop that is resolved. */
  readonly resolved: (peerAddress: string) => boolean;
  /** Anything at all came from this peer within the last seconds. */
  readonly heardLately: (peer: string) => boolean;
  /** Whether this gateway can deliver to a host, or a prefix of hosts, of its own side. */
  readonly judge: (host: Prefix) => Verdict;
  readonly path: PathFindings;
  readonly clock?: Clock;
  /** 0 <= random() < 1; jitter and first numbers only. */
  readonly random?: () => number;
}

export interface PeeringCounters {
  /** Messages of any kind that were sent to ask, and to answer. */
  asked: number;
  answered: number;
  /** Answers to something that was asked. */
  heard: number;
  /** No message of this version, or too short for its answer. */
  malformed: number;
  /** Answers to nothing that was asked: too late, or made up. */
  strayAnswers: number;
  /** Questions about lists beyond those that are answered in one second. */
  refused: number;
}

export interface Peering {
  /** Takes 'keepalive' and 'unlisted'; ignores other kinds. */
  handle(event: DataPlaneEvent): void;
  /** Replaces the view; peers are known again by name and addresses. */
  update(view: PeeringView): void;
  /** In the order of the view. */
  reports(): PeerReport[];
  /** Far hosts of the peer at this place that were dropped lately as unlisted. */
  refusedHosts(place: number): string[];
  counters(): PeeringCounters;
  /** Cancels all timers; later calls do nothing. */
  close(): void;
}

export function createPeering(options: PeeringOptions): Peering {
  return new Gateways(options);
}

/** Milliseconds with fractions: round trips between gateways of one network take microseconds. */
const preciseClock: Clock = { ...systemClock, now: () => Number(process.hrtime.bigint()) / 1e6 };

interface Neighbor {
  readonly conversation: Conversation;
  readonly refusals: Refusals;
  /** Changes whenever an answer about lists might. */
  revision: number;
  second: number;
  lists: number;
}

class Gateways implements Peering {
  readonly #options: PeeringOptions;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #instance: number;
  readonly #counters: PeeringCounters = {
    asked: 0,
    answered: 0,
    heard: 0,
    malformed: 0,
    strayAnswers: 0,
    refused: 0,
  };
  #view: PeeringView;
  #peers: Neighbor[] = [];
  #closed = false;

  constructor(options: PeeringOptions) {
    this.#options = options;
    this.#clock = options.clock ?? preciseClock;
    // Not to be guessed from outside the tunnel: an answer is believed by it.
    this.#random = options.random ?? (() => randomInt(2 ** 32) / 2 ** 32);
    this.#instance = this.#number();
    this.#view = options.view;
    this.#peers = options.view.peers.map((peer) => this.#begin(peer));
  }

  handle(event: DataPlaneEvent): void {
    if (this.#closed) return;
    if (event.kind !== 'keepalive' && event.kind !== 'unlisted') return;
    if (typeof event.scope !== 'object') return;
    const peer = this.#peers[event.scope.peer];
    if (peer === undefined) return;
    const now = this.#clock.now();
    if (event.kind === 'unlisted') {
      if (peer.refusals.add(event.address, now)) this.#revise(peer);
      return;
    }
    const message = decodeFrame(event.frame);
    if (message === undefined) {
      this.#counters.malformed += 1;
      return;
    }
    switch (message.kind) {
      case 'answer':
      case 'list-answer':
      case 'refused-answer':
        if (peer.conversation.answer(message, event.receivedAt)) this.#counters.heard += 1;
        else this.#counters.strayAnswers += 1;
        return;
      default:
        this.#answer(event.scope.peer, peer, message, event);
        peer.conversation.heardQuestion();
    }
  }

  update(view: PeeringView): void {
    if (this.#closed) return;
    const before = this.#peers;
    this.#view = view;
    this.#peers = view.peers.map((peer) => {
      const known = before.find(({ conversation }) => samePeer(conversation.peer, peer));
      if (known === undefined) return this.#begin(peer);
      if (!isDeepStrictEqual(known.conversation.peer.hosts, peer.hosts)) known.refusals.clear();
      known.conversation.update(peer);
      this.#revise(known);
      return known;
    });
    for (const gone of before) {
      if (this.#peers.includes(gone)) continue;
      gone.conversation.close();
      this.#options.path.forget(gone.conversation.peer.address);
    }
  }

  reports(): PeerReport[] {
    return this.#peers.map(({ conversation }) => conversation.report());
  }

  refusedHosts(place: number): string[] {
    const peer = this.#peers[place];
    if (peer === undefined) return [];
    this.#forget(peer);
    return peer.refusals.latest();
  }

  counters(): PeeringCounters {
    return { ...this.#counters };
  }

  close(): void {
    this.#closed = true;
    for (const { conversation } of this.#peers) conversation.close();
  }

  #begin(peer: PeeringPeer): Neighbor {
    const { dataPlane, resolved, heardLately, path } = this.#options;
    const conversation: Conversation = new Conversation(peer, {
      clock: this.#clock,
      instance: this.#instance,
      random: this.#random,
      sourceMac: () => this.#view.sourceMac,
      send: (frame) => {
        const place = this.#peers.findIndex((one) => one.conversation === conversation);
        if (place < 0 || !dataPlane.send({ peer: place }, frame)) return false;
        this.#counters.asked += 1;
        return true;
      },
      resolved: () => resolved(peer.address),
      heardLately: () => heardLately(peer.name),
      path,
    });
    return { conversation, refusals: new Refusals(), revision: this.#number(), second: 0, lists: 0 };
  }

  #answer(
    place: number,
    peer: Neighbor,
    question: Extract<Message, { kind: `${string}question` }>,
    { length, receivedAt }: { length: number; receivedAt: number },
  ): void {
    this.#forget(peer);
    const { instance, sequence } = question;
    const by = { instance, sequence, answerer: this.#instance, revision: peer.revision };
    let answer: Message;
    if (question.kind === 'question') {
      const dwell = Math.round((this.#clock.now() - receivedAt) * 1000);
      answer = {
        kind: 'answer',
        ...by,
        acceptsNone: peer.conversation.peer.acceptsNone,
        received: Math.min(length, 0xffff),
        dwell: Math.min(Math.max(dwell, 0), 0xffffffff),
      };
    } else {
      if (!this.#mayAskForLists(peer)) {
        this.#counters.refused += 1;
        return;
      }
      answer =
        question.kind === 'list-question'
          ? { kind: 'list-answer', ...by, verdicts: question.hosts.map((host) => this.#options.judge(host)) }
          : { kind: 'refused-answer', ...by, addresses: peer.refusals.latest() };
    }
    const frame = encodeFrame(answer, this.#view.sourceMac);
    if (frame.length > length) {
      this.#counters.malformed += 1;
      return;
    }
    if (this.#options.dataPlane.send({ peer: place }, frame)) this.#counters.answered += 1;
  }

  #mayAskForLists(peer: Neighbor): boolean {
    const second = Math.floor(this.#clock.now() / 1000);
    if (peer.second !== second) {
      peer.second = second;
      peer.lists = 0;
    }
    peer.lists += 1;
    return peer.lists <= LISTS_PER_SECOND;
  }

  #forget(peer: Neighbor): void {
    if (peer.refusals.expire(this.#clock.now())) this.#revise(peer);
  }

  #revise(peer: Neighbor): void {
    peer.revision = (peer.revision + 1) >>> 0;
  }

  #number(): number {
    return Math.floor(this.#random() * 2 ** 32);
  }
}

function samePeer(one: PeeringPeer, other: PeeringPeer): boolean {
  return one.name === other.name && one.address === other.address && one.localAddress === other.localAddress;
}
