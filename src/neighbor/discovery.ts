/**
 * ARP (RFC 826) and IPv6 neighbor discovery (RFC 4861) in one shape: questions for an address, and claims that
 * an address has a MAC. What both protocols share is decided on this; how they differ ends here.
 */
import { familyOf } from '../net/address.js';
import { BROADCAST_MAC, buildArp, parseArp, UNSPECIFIED_ADDRESS, ZERO_MAC } from '../net/arp.js';
import {
  ALL_NODES,
  ALL_NODES_MAC,
  buildNdp,
  parseNdp,
  solicitedNode,
  UNSPECIFIED_ADDRESS6,
} from '../net/ndp.js';

export interface Discovery {
  readonly operation: 'request' | 'reply';
  /** Where an answer goes. */
  readonly from: string;
  /** The claim: this address has this MAC. `undefined`: the unspecified address, a probe (RFC 5227, RFC 4862). */
  readonly senderAddress: string | undefined;
  /** Undefined: not told (RFC 4861 4.3, 4.4: the option may be absent). */
  readonly senderMac: string | undefined;
  readonly targetAddress: string;
  /** May be the answer to a request of ours. */
  readonly solicited: boolean;
  /** May replace a MAC that is known (RFC 4861 7.2.5); ARP always may. */
  readonly override: boolean;
}

/** Who asks or answers. */
export interface Sender {
  readonly mac: string;
  readonly address: string;
}

/** Undefined when the frame is no valid packet of either protocol. */
export function parseDiscovery(kind: 'arp' | 'neighbor-discovery', frame: Uint8Array): Discovery | undefined {
  return kind === 'arp' ? fromArp(frame) : fromNdp(frame);
}

function fromArp(frame: Uint8Array): Discovery | undefined {
  const arp = parseArp(frame);
  if (!arp) return undefined;
  return {
    operation: arp.operation,
    from: arp.senderMac,
    senderAddress: arp.senderAddress === UNSPECIFIED_ADDRESS ? undefined : arp.senderAddress,
    senderMac: arp.senderMac,
    targetAddress: arp.targetAddress,
    solicited: arp.operation === 'reply',
    override: true,
  };
}

function fromNdp(frame: Uint8Array): Discovery | undefined {
  const message = parseNdp(frame);
  if (!message) return undefined;
  const request = message.kind === 'solicitation';
  const claimed = request ? message.sourceAddress : message.target;
  return {
    operation: request ? 'request' : 'reply',
    from: message.source,
    senderAddress: claimed === UNSPECIFIED_ADDRESS6 ? undefined : claimed,
    senderMac: message.linkLayer,
    targetAddress: request ? message.target : message.destinationAddress,
    solicited: message.solicited ?? false,
    override: message.override ?? true,
  };
}

/** Asks for `target`: of `mac` alone, or of everybody. */
export function buildRequest(sender: Sender, target: string, mac: string | undefined): Uint8Array {
  if (familyOf(target) === 4) {
    return buildArp({
      destination: mac ?? BROADCAST_MAC,
      source: sender.mac,
      operation: 'request',
      senderMac: sender.mac,
      senderAddress: sender.address,
      targetMac: ZERO_MAC,
      targetAddress: target,
    });
  }
  const group = solicitedNode(target);
  return buildNdp({
    kind: 'solicitation',
    destination: mac ?? group.mac,
    source: sender.mac,
    sourceAddress: sender.address,
    destinationAddress: mac === undefined ? group.address : target,
    target,
    linkLayer: sender.mac,
  });
}

/** Answers `request`: its target has `mac`. `source`: MAC of the frame itself. */
export function buildReply(request: Discovery, source: string, mac: string): Uint8Array {
  const { targetAddress, senderAddress, from } = request;
  if (familyOf(targetAddress) === 4) {
    return buildArp({
      destination: from,
      source,
      operation: 'reply',
      senderMac: mac,
      senderAddress: targetAddress,
      targetMac: from,
      targetAddress: senderAddress ?? UNSPECIFIED_ADDRESS,
    });
  }
  // Duplicate address detection has no address to answer to: everybody is told (RFC 4861 7.2.4).
  const probe = senderAddress === undefined;
  return buildNdp({
    kind: 'advertisement',
    destination: probe ? ALL_NODES_MAC : from,
    source,
    sourceAddress: targetAddress,
    destinationAddress: senderAddress ?? ALL_NODES,
    target: targetAddress,
    linkLayer: mac,
    solicited: !probe,
    override: true,
  });
}

/** Tells everybody that `address` has `mac`. */
export function buildAnnouncement(address: string, mac: string): Uint8Array {
  if (familyOf(address) === 4) {
    return buildArp({
      destination: BROADCAST_MAC,
      source: mac,
      operation: 'request',
      senderMac: mac,
      senderAddress: address,
      targetMac: ZERO_MAC,
      targetAddress: address,
    });
  }
  return buildNdp({
    kind: 'advertisement',
    destination: ALL_NODES_MAC,
    source: mac,
    sourceAddress: address,
    destinationAddress: ALL_NODES,
    target: address,
    linkLayer: mac,
    solicited: false,
    override: true,
  });
}
