/**
 * A VPC's mapping service, built of a Linux bridge: it knows which addresses are registered with which NIC,
 * answers ARP itself, floods nothing, and drops every frame that does not carry the MAC and a registered
 * address of the NIC that sent it, or that is not for a registered address at its MAC.
 */

export interface Registration {
  /** Name of the bridge port. */
  port: string;
  mac: string;
  address: string;
}

/** Name of the bridge inside a VPC's namespace. */
export const BRIDGE = 'br0';

/** `ip -batch` lines for a bridge; its ports must exist in the namespace. */
export function bridgeCommands(ports: readonly string[], kind: 'mapping' | 'lan'): string[] {
  const commands = [
    // Without spanning tree and forward delay a port forwards as soon as it is up.
    `link add ${BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`,
    `link set ${BRIDGE} up`,
  ];
  for (const port of ports) {
    commands.push(`link set ${port} master ${BRIDGE}`);
    if (kind === 'mapping') {
      commands.push(
        `link set ${port} type bridge_slave proxy_arp on learning off flood off bcast_flood off mcast_flood off`,
      );
    }
    commands.push(`link set ${port} up`);
  }
  return commands;
}

/** `bridge -batch` lines: where each MAC is. */
export function forwardingEntries(nics: readonly { port: string; mac: string }[]): string[] {
  return nics.map(({ port, mac }) => `fdb replace ${mac} dev ${port} master static`);
}

/** `ip -batch` lines: the bridge answers ARP for its permanent neighbors. */
export function neighborEntries(registrations: readonly Registration[]): string[] {
  return registrations.map(
    ({ address, mac }) => `neigh replace ${address} lladdr ${mac} nud permanent dev ${BRIDGE}`,
  );
}

export function sourceElement({ port, mac, address }: Registration): string {
  return `"${port}" . ${mac} . ${address}`;
}

export function destinationElement({ mac, address }: Registration): string {
  return `${mac} . ${address}`;
}

/** The nftables ruleset of the namespace; counters `spoofed` and `unregistered` count what it drops. */
export function mappingRuleset(registrations: readonly Registration[]): string {
  const elements = (list: string[]) => (list.length > 0 ? `elements = { ${list.join(', ')} }` : '');
  return `
table bridge vpc {
  counter spoofed { }
  counter unregistered { }
  set sources {
    type ifname . ether_addr . ipv4_addr
    ${elements(registrations.map(sourceElement))}
  }
  set destinations {
    type ether_addr . ipv4_addr
    ${elements(registrations.map(destinationElement))}
  }
  chain prerouting {
    type filter hook prerouting priority -300; policy accept;
    ether type ip iifname . ether saddr . ip saddr @sources accept
    ether type arp iifname . ether saddr . arp saddr ip @sources accept
    counter name spoofed drop
  }
  chain forward {
    type filter hook forward priority 0; policy accept;
    ether type ip ether daddr . ip daddr @destinations accept
    # The bridge has answered it already; kernels re-probe their neighbors by unicast.
    ether type arp drop
    counter name unregistered drop
  }
}
`;
}
