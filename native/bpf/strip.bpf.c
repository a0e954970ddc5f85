/* Strips the 36 outer bytes of EtherIP packets in the driver, so that the kernel's GRO merges the inner TCP
 * before the packet sockets see it, and known flows need no worker (carry.bpf.c). Takes only what needs no
 * decision: a configured peer, headers without options, TCP, UDP or ICMP echo, nothing fragmented or padded.
 * Congestion that the network marked on its way joins the inner header here (RFC 6040): what is not stripped
 * overtakes what the kernel is still merging. Everything else passes as it is to the C++ path, which alone
 * counts and refuses.
 *
 * The outer source is thrown away with the outer headers; what is left carries the peer's id in its source
 * MAC (so GRO keeps peers apart), and the inner source MAC as destination, where the kernel's IP stack sees
 * another host's frame. A frame that comes from the wire with that marker is a forgery and dropped. */
#include "helpers.h"
#include "layout.h"

struct map_definition SECTION("maps") strip_peers = {
    .type = BPF_MAP_TYPE_HASH,
    .key_size = sizeof(struct strip_pair),
    .value_size = sizeof(__u32),
    .max_entries = 512,
};
struct map_definition SECTION("maps") strip_settings = {
    .type = BPF_MAP_TYPE_ARRAY,
    .key_size = sizeof(__u32),
    .value_size = sizeof(struct strip_settings),
    .max_entries = 1,
    .flags = BPF_F_MMAPABLE,
};
struct map_definition SECTION("maps") strip_counts = {
    .type = BPF_MAP_TYPE_PERCPU_ARRAY,
    .key_size = sizeof(__u32),
    .value_size = sizeof(__u64),
    .max_entries = STRIP_COUNTS,
};

struct mac_header {
  __u32 destination_high;
  __u16 destination_low;
  __u32 source_high;
  __u16 source_low;
  __u16 type;
} __attribute__((packed, aligned(2)));

struct ipv4_header {
  __u8 version_ihl;
  __u8 tos;
  __u16 total_length;
  __u16 id;
  __u16 fragment;
  __u8 ttl;
  __u8 protocol;
  __u16 checksum;
  __u32 source;
  __u32 destination;
} __attribute__((packed, aligned(2)));

struct outer_and_inner {
  struct mac_header outer_mac;
  struct ipv4_header outer;
  __u16 etherip;
  struct mac_header inner_mac;
  struct ipv4_header inner;
  __u8 icmp_type;
} __attribute__((packed, aligned(2)));

static __attribute__((always_inline)) void count(__u32 index) {
  __u64* value = bpf_map_lookup_elem(&strip_counts, &index);
  if (value) (*value)++;
}

/* Sum over the header, checksum included: 0xffff when right (RFC 1071). */
static __attribute__((always_inline)) int checksum_right(const struct ipv4_header* ip) {
  const __u16* words = (const __u16*)ip;
  __u32 sum = 0;
#pragma unroll
  for (int i = 0; i < 10; i++) sum += words[i];
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return sum == 0xffff;
}

/* What no encapsulator and no router makes is left to the C++ path, which counts it. */
static __attribute__((always_inline)) int unexpected_ecn(__u8 outer, __u8 inner) {
  return (inner == 0 && outer != 0) || (inner == 1 && outer == 2) || (inner == 3 && outer == 1);
}

/* RFC 6040, figure 4. */
static __attribute__((always_inline)) __u8 merged_ecn(__u8 outer, __u8 inner) {
  return outer == 3 || (outer == 1 && inner == 2) ? outer : inner;
}

/* The header checksum goes along (RFC 1624, equation 3). */
static __attribute__((always_inline)) void set_ecn(struct ipv4_header* ip, __u8 ecn) {
  const __u16* first = (const __u16*)ip;
  __u32 sum = (__u16)~ip->checksum + (__u16) ~*first;
  ip->tos = (ip->tos & ~3) | ecn;
  sum += *first;
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  ip->checksum = (__u16)~sum;
}

static __attribute__((always_inline)) int plain_protocol(const struct outer_and_inner* packet) {
  const __u8 protocol = packet->inner.protocol;
  if (protocol == 6 || protocol == 17) return 1;
  return protocol == 1 && (packet->icmp_type == 0 || packet->icmp_type == 8);
}

/* `frags`: the packet may lie in several pieces (MTUs above a page); its headers are in the first. */
static __attribute__((always_inline)) int strip_packet(struct xdp_md* xdp, int frags) {
  void* end = (void*)(long)xdp->data_end;
  struct outer_and_inner* packet = (void*)(long)xdp->data;
  const __u32 zero = 0;
  struct mac_header* mac = (void*)packet;
  if ((void*)(mac + 1) > end) return XDP_PASS;
  struct strip_settings* settings = bpf_map_lookup_elem(&strip_settings, &zero);
  if (!settings) return XDP_PASS;
  if (mac->source_high == settings->marker) {
    count(STRIP_SPOOFED);
    return XDP_DROP;
  }
  if ((void*)(packet + 1) > end) return XDP_PASS;

  /* For this machine, and not from it: other frames are refused, each under its own reason. */
  if (mac->destination_high != settings->own_mac_high || mac->destination_low != settings->own_mac_low ||
      (mac->source_high == settings->own_mac_high && mac->source_low == settings->own_mac_low))
    return XDP_PASS;

  const struct ipv4_header* outer = &packet->outer;
  if (mac->type != BE16(0x0800) || outer->version_ihl != 0x45 || outer->protocol != 97) return XDP_PASS;
  /* DF may be set; a fragment may not. */
  if ((outer->fragment & BE16(0x3fff)) != 0 || packet->etherip != BE16(0x3000)) return XDP_PASS;
  const __u16 outer_length = BE16(outer->total_length);
  const __u64 length = frags ? bpf_xdp_get_buff_len(xdp) : (__u64)((char*)end - (char*)packet);
  if (outer_length != length - sizeof(struct mac_header)) return XDP_PASS;

  struct ipv4_header* inner = &packet->inner;
  const __u8 outer_ecn = outer->tos & 3;
  const __u8 inner_ecn = inner->tos & 3;
  if (packet->inner_mac.type != BE16(0x0800) || inner->version_ihl != 0x45 || !plain_protocol(packet))
    return XDP_PASS;
  if ((inner->fragment & BE16(0x3fff)) != 0 || unexpected_ecn(outer_ecn, inner_ecn)) return XDP_PASS;
  if (BE16(inner->total_length) != outer_length - 36) return XDP_PASS;
  if (!checksum_right(outer) || !checksum_right(inner)) return XDP_PASS;

  /* The inner source MAC becomes the destination: it must not look like a frame for this machine. */
  const __u32 host_high = packet->inner_mac.source_high;
  const __u16 host_low = packet->inner_mac.source_low;
  if ((host_high & 1) != 0) return XDP_PASS; /* group bit of the first byte */
  if (host_high == settings->own_mac_high && host_low == settings->own_mac_low) return XDP_PASS;

  const struct strip_pair pair = {.source = outer->source, .destination = outer->destination};
  const __u32* peer = bpf_map_lookup_elem(&strip_peers, &pair);
  if (!peer) return XDP_PASS;

  const __u8 ecn = merged_ecn(outer_ecn, inner_ecn);
  if (ecn != inner_ecn) set_ecn(inner, ecn);
  mac = &packet->inner_mac;
  mac->destination_high = host_high;
  mac->destination_low = host_low;
  mac->source_high = settings->marker;
  mac->source_low = BE16((__u16)*peer);
  count(STRIP_STRIPPED);
  if (bpf_xdp_adjust_head(xdp, 36)) return XDP_DROP;
  return XDP_PASS;
}

/* For drivers and kernels without packets in pieces. */
SECTION("xdp") int strip(struct xdp_md* xdp) {
  return strip_packet(xdp, 0);
}
SECTION("xdp.frags") int strip_frags(struct xdp_md* xdp) {
  return strip_packet(xdp, 1);
}
