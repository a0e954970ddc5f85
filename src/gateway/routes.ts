/**
 * Next hops: whom to resolve so that a destination is reached. The kernel's routes decide, asked with the
 * interface and the source that the frame will have (policy rules look at both).
 */
import type { Scope } from '../dataplane/port.js';
import { contains, familyOf } from '../net/address.js';
import type { Netlink, Route } from '../net/netlink.js';
import type { Plan, PlannedInterface } from './plan.js';

/** Answers remembered at most; more destinations than neighbor slots means a scan, and forgetting is cheap. */
const MAXIMUM_REMEMBERED = 16384;

type From = Pick<PlannedInterface, 'ifindex' | 'address' | 'address6'>;

/** The kernel's route to `destination` out of an interface, from its address of the same family. */
export function routeFrom(
  netlink: Pick<Netlink, 'route'>,
  destination: string,
  from: From,
): Route | undefined {
  const { ifindex } = from;
  const address = sourceFor(destination, from);
  try {
    return netlink.route(destination, ifindex, address);
  } catch {
    // The kernel refuses a source that is not, or no longer, an address of this machine.
    return netlink.route(destination, ifindex);
  }
}

function sourceFor(destination: string, { address, address6 }: From): string | undefined {
  return [address, address6].find((own) => own !== undefined && familyOf(own) === familyOf(destination));
}

/** Whether the kernel by itself sends to `destination` out of this interface. */
function leadsTo(netlink: Pick<Netlink, 'route'>, destination: string, from: From): boolean {
  const { ifindex } = from;
  const address = sourceFor(destination, from);
  try {
    return netlink.route(destination, undefined, address)?.ifindex === ifindex;
  } catch {
    return netlink.route(destination)?.ifindex === ifindex;
  }
}

export interface NextHops {
  /** The address to resolve on `scope`'s link: the destination itself when it is on-link; undefined: no route. */
  nextHopFor(scope: Scope, destination: string): string | undefined;
  /** Forget all answers: routes, addresses or the plan changed. */
  clear(): void;
}

export function createNextHops(netlink: Pick<Netlink, 'route'>, plan: () => Plan): NextHops {
  const remembered = new Map<string, string | undefined>();

  const ask = (side: 'overlay' | 'underlay', destination: string): string | undefined => {
    const { [side]: own, overlaySubnets } = plan();
    // The overlay's own subnet is on-link by nature of the VPC. The kernel may think otherwise: it calls a
    // proxied address local as soon as the operating system has configured it.
    if (side === 'overlay' && overlaySubnets.some((subnet) => contains(subnet, destination))) {
      return destination;
    }
    const route = routeFrom(netlink, destination, own);
    // Another interface than the one asked for: the kernel takes it for an address of this machine.
    if (route === undefined || route.ifindex !== own.ifindex) return undefined;
    if (route.gateway !== undefined) return route.gateway;
    // Asked about an interface, the kernel calls on-link whatever it has no route for. What it would do by itself
    // tells a connected route from none.
    return side === 'underlay' || leadsTo(netlink, destination, own) ? destination : undefined;
  };

  return {
    nextHopFor(scope, destination) {
      // Behind a peer everything is one hop away: the far gateway, or the far host itself, answers.
      if (typeof scope === 'object') return destination;
      const key = `${scope} ${destination}`;
      if (remembered.has(key)) return remembered.get(key);
      let nextHop: string | undefined;
      try {
        nextHop = ask(scope, destination);
      } catch {
        return undefined; // the kernel did not answer; asked again with the next frame
      }
      if (remembered.size >= MAXIMUM_REMEMBERED) remembered.clear();
      remembered.set(key, nextHop);
      return nextHop;
    },
    clear: () => remembered.clear(),
  };
}
