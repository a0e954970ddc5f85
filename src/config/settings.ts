/**
 * Settings: the validated configuration, whichever way it came (file or flags). Addresses are canonical
 * strings here (dotted quad; RFC 5952 for IPv6); they become bytes in gateway/plan.ts and nowhere else. Defaults that depend on
 * the machine (first address of an interface) are still absent here; the plan fills them in.
 */
export interface ProxiedSetting {
  /** First proxied address: an address of THIS VPC that stands for a far host. */
  readonly address: string;
  /** First far host; equal to `address` when nothing but MACs is rewritten. */
  readonly host: string;
  /** 32, for IPv6 128, for a single address; both sides have the same length and family. */
  readonly prefixLength: number;
  /** Where it was written, for messages: "gateway.yaml:14:9 (peers[0].proxied[2])" or "-r 10.0.0.20". */
  readonly origin: string;
}

export interface PeerSettings {
  readonly name: string;
  /** Outer destination; of the same family as underlay.address. */
  readonly address: string;
  readonly proxied: readonly ProxiedSetting[];
  /** What becomes of a far source without a proxied address. */
  readonly unlisted: 'drop' | 'masquerade';
  /** Initiate keepalives (files only; the flag form only answers). */
  readonly keepalive: boolean;
  /** Who finds a far host's MAC: the far gateway, or ARP through the tunnel. */
  readonly resolve: 'peer' | 'tunnel';
  readonly origin: string;
}

export interface MasqueradeSettings {
  /** Ports and ICMP ids that are given out; outside the kernel's ip_local_port_range. */
  readonly firstPort: number;
  readonly lastPort: number;
  /** What far hosts appear as; empty: overlay.address. */
  readonly addresses: readonly string[];
  /** Flows at once. */
  readonly flows: number;
  /** The file that flows are kept in from one process to the next. Absent: beside the control socket. */
  readonly state?: string;
}

export interface Settings {
  /** Where the settings came from: a file's path, or "command line". */
  readonly source: string;
  /**
   * Where each key was written, for messages: "overlay.interface" -> "gateway.yaml:3:14" or "-o eth1". No part
   * of what is configured: two settings that differ only here are the same.
   */
  readonly origins?: Readonly<Record<string, string>>;
  readonly name: string;
  readonly overlay: {
    readonly interface: string;
    /** Absent: first IPv4 of the interface. */
    readonly address?: string;
    /** Absent: with IPv6 entries under proxied, the first global IPv6 address that is none of them. */
    readonly address6?: string;
    /** Neighbor solicitations included. */
    readonly arp: 'respond' | 'silent';
  };
  readonly underlay: {
    readonly interface: string;
    /** Outer source. Absent only when the flag form's -s sat on the overlay interface: the first of the peer's kind. */
    readonly address?: string;
    /** Of outer headers, 0 to 63. Absent: copied from the inner header. */
    readonly dscp?: number;
  };
  readonly peers: readonly PeerSettings[];
  readonly dataplane: {
    readonly acceleration: 'auto' | 'off' | 'segment' | 'full';
    readonly workers: 'auto' | number;
    readonly offloads: 'manage' | 'leave';
    /** How long an idle worker spins before it sleeps in poll(), microseconds; 0 = never spin. */
    readonly spin: number;
    /** ICMP errors that one worker sends in a second at most; 0 = none. */
    readonly icmpErrors: number;
  };
  readonly masquerade: MasqueradeSettings;
  /** Take EtherIP with its version nibble in the wrong half, too. Absent: no. */
  readonly compat?: { readonly reversed: boolean };
  /** Absent: no listener. */
  readonly metrics?: { readonly host: string; readonly port: number };
  readonly control: {
    readonly socket: string;
    /** Permissions of the socket. Absent: 0600. */
    readonly mode?: number;
    /** A user's and a group's name or number. Absent: as the process has them. */
    readonly owner?: string;
    readonly group?: string;
  };
  readonly log: {
    readonly level: 'trace' | 'debug' | 'info' | 'warn' | 'error';
    readonly format: 'auto' | 'pretty' | 'json';
  };
}
