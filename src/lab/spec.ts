/** What a lab is made of. Addresses are dotted quads unless called otherwise; all names are at most 12 characters, [a-z0-9-]. */

/** How a NIC behaves. Applies to both ends of the wire, as with a real NIC: to what it sends and receives. */
export interface NicSpec {
  /** Bytes; default 1500. */
  mtu?: number;
  /** Transmit checksum offload; off: every checksum is complete on the wire. Default on. */
  checksumOffload?: boolean;
  /** TCP segmentation offload; on: super-frames of up to 64 KB pass whole. Default on. */
  segmentationOffload?: boolean;
}

export interface HostSpec {
  name: string;
  address: string;
  /** IPv6, in a VPC with cidr6. */
  address6?: string;
  nic?: NicSpec;
}

export interface GatewaySpec {
  /** Default: gw-<name of the VPC>. */
  name?: string;
  /** Primary address of the overlay NIC, eth1. */
  address: string;
  /** IPv6, in a VPC with cidr6. */
  address6?: string;
  /** Further addresses that the VPC delivers to eth1: the proxied ones. */
  secondary?: readonly string[];
  /** The operating system configures the secondary addresses, as Amazon Linux does. Default false. */
  configureSecondary?: boolean;
  /** Address of the underlay NIC, eth2: IPv4, or IPv6 where tunnels run over that. */
  underlayAddress: string;
  /** IPv6 beside it, with the length of its prefix. */
  underlayAddress6?: string;
  nic?: NicSpec;
  /** Set inside the gateway's namespace, e.g. { 'net.ipv4.ip_forward': '1' }. */
  sysctl?: Readonly<Record<string, string>>;
}

export interface VpcSpec {
  name: string;
  cidr: string;
  /** IPv6, too, for the nodes that have an address6. Only with kind lan. */
  cidr6?: string;
  /** mapping: drops what is not registered and answers ARP itself, as a VPC does (default). lan: a plain
   * Ethernet segment with broadcast. */
  kind?: 'mapping' | 'lan';
  hosts: readonly HostSpec[];
  gateway?: GatewaySpec;
}

export interface UnderlaySpec {
  /** Default 198.18.0.0/24, for IPv6 /64. */
  cidr?: string;
  /** Bytes; default 1500. */
  mtu?: number;
  /** No offload lets a frame larger than the MTU pass: what a real wire does. Default true. */
  honest?: boolean;
}

export interface LabSpec {
  vpcs: readonly VpcSpec[];
  underlay?: UnderlaySpec;
}
