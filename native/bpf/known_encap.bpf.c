/* Encapsulation in the kernel for packets between two hosts that the C++ path has decided about. Two programs
 * see each frame of the overlay one right after the other, on the same processor: first the packet socket's
 * filter, then the tc program. The filter chooses: a frame that it keeps from the C++ path is the tc
 * program's.
 *
 * It chooses only plain packets: IPv4 without options, no fragments, TCP in small packets (no SYN, whose MSS
 * is clamped), UDP, ICMP echo, no larger than the tunnel, no super-frames. Everything else, and every pair
 * that is not known, takes the C++ path, which alone refuses. The order of a flow is kept: the kernel takes
 * over only when the C++ path is through with every frame of the cell that it was given. */
#include "helpers.h"
#include "layout.h"
#include "pace.h"

struct map_definition SECTION("maps") known_pairs = {
    .type = BPF_MAP_TYPE_ARRAY,
    .key_size = sizeof(__u32),
    .value_size = sizeof(struct known_pair),
    .max_entries = KNOWN_CELLS,
    .flags = BPF_F_MMAPABLE,
};
struct map_definition SECTION("maps") known_settings = {
    .type = BPF_MAP_TYPE_ARRAY,
    .key_size = sizeof(__u32),
    .value_size = sizeof(struct known_settings),
    .max_entries = 1,
    .flags = BPF_F_MMAPABLE,
};
struct map_definition SECTION("maps") known_handoff = {
    .type = BPF_MAP_TYPE_PERCPU_ARRAY,
    .key_size = sizeof(__u32),
    .value_size = sizeof(struct known_handoff),
    .max_entries = 1,
};
struct map_definition SECTION("maps") known_counts = {
    .type = BPF_MAP_TYPE_PERCPU_ARRAY,
    .key_size = sizeof(__u32),
    .value_size = sizeof(struct known_count),
    .max_entries = KNOWN_COUNTS,
};

#define NET_XMIT_DROP 1
#define NET_XMIT_CN 2
#define TAKE_ALL 0x40000 /* longer than any frame */

struct ethernet_and_ipv4 {
  __u8 destination_mac[6];
  __u8 source_mac[6];
  __u16 type;
  __u8 version_ihl;
  __u8 tos;
  __u16 total_length;
  __u16 id;
  __u16 fragment;
  __u8 ttl;
  __u8 protocol;
  __u16 checksum;
  __u16 source[2];
  __u16 destination[2];
};
#define BULK 576 /* TCP in longer packets is the workers', which send it in batches */
#define ETHERNET 14
#define HEADERS 34

static __attribute__((always_inline)) __u32 folded(__u32 sum) {
  sum = (sum & 0xffff) + (sum >> 16);
  return (sum & 0xffff) + (sum >> 16);
}

static __attribute__((always_inline)) int checksum_right(const struct ethernet_and_ipv4* h) {
  const __u16* words = (const __u16*)&h->version_ihl;
  __u32 sum = 0;
#pragma unroll
  for (int i = 0; i < 10; i++) sum += words[i];
  return folded(sum) == 0xffff;
}

static __attribute__((always_inline)) void count_frame(__u32 index) {
  struct known_count* count = bpf_map_lookup_elem(&known_counts, &index);
  if (count) count->frames++;
}

/* What native/io/known_encap.cc computes, too. */
static __attribute__((always_inline)) __u32 cell_of(__u32 source, __u32 destination) {
  return ((source * 0x9e3779b1u) ^ (destination * 0x85ebca6bu)) >> 19;
}

static __attribute__((always_inline)) __u32 join(const __u16* halves) {
  return halves[0] | ((__u32)halves[1] << 16);
}

/* To the gateway's own address: the kernel's, unless a masqueraded host may be meant (io/socket_filter.cc).
 */
static __attribute__((always_inline)) int for_masquerade(struct __sk_buff* skb,
                                                         const struct ethernet_and_ipv4* h,
                                                         const struct known_settings* settings) {
  if (settings->first_port > settings->last_port) return 0;
  if (h->protocol == 1) return 1;
  if (h->protocol != 6 && h->protocol != 17) return 0;
  if ((h->fragment & BE16(0x1fff)) != 0) return 1;
  __u16 port;
  if (bpf_skb_load_bytes(skb, 14 + (h->version_ihl & 15) * 4 + 2, &port, sizeof port)) return 0;
  port = BE16(port);
  return port >= settings->first_port && port <= settings->last_port;
}

/* IPv6 to the gateway's own address, but for neighbor discovery, is the kernel's; so is what is no packet. */
static __attribute__((always_inline)) int is_for_kernel6(struct __sk_buff* skb,
                                                         const struct known_settings* settings) {
  struct {
    __u8 next_header;
    __u8 hop_limit;
    __u16 source[8];
    __u16 destination[8];
  } h;
  __u8 type;
  if (bpf_skb_load_bytes(skb, ETHERNET + 6, &h, sizeof h)) return 1;
#pragma unroll
  for (int i = 0; i < 8; i++) {
    if (h.destination[i] != settings->overlay_address6[i]) return 0;
  }
  if (h.next_header != 58 || bpf_skb_load_bytes(skb, ETHERNET + 40, &type, 1)) return 1;
  return type != 135 && type != 136; /* neighbor solicitation, advertisement */
}

/* Whether packets of this kind need no decision of their own. */
static __attribute__((always_inline)) int is_plain(struct __sk_buff* skb, const struct ethernet_and_ipv4* h,
                                                   __u32 total_length) {
  __u8 l4[20];
  if (h->protocol == 6) {
    if (total_length < 40 || bpf_skb_load_bytes(skb, HEADERS, l4, 20)) return 0;
    const __u32 headers = (l4[12] >> 4) * 4 + 20;
    return (l4[13] & 2) == 0 && headers >= 40 && headers <= total_length && total_length <= BULK;
  }
  if (total_length < 28 || bpf_skb_load_bytes(skb, HEADERS, l4, 8)) return 0;
  if (h->protocol == 17) {
    const __u32 udp_length = ((__u32)l4[4] << 8) | l4[5];
    return udp_length >= 8 && udp_length + 20 <= total_length;
  }
  return h->protocol == 1 && (l4[0] == 0 || l4[0] == 8);
}

static __attribute__((always_inline)) int choose(struct __sk_buff* skb, const struct ethernet_and_ipv4* h,
                                                 struct known_pair* pair,
                                                 const struct known_settings* settings,
                                                 struct known_handoff* handoff) {
  if (!settings->active || settings->reviewed != settings->published) return 0;
  const __u32 version = version_of(&pair->version);
  if (version == 0 || (version & 1) != 0) return 0;
  if (pair->source != join(h->source) || pair->destination != join(h->destination)) return 0;
  if (skb->pkt_type != 0 || skb->vlan_present || skb->gso_size) return 0;
  if (h->version_ihl != 0x45 || (h->fragment & BE16(0x3fff)) != 0) return 0;
  const __u32 total_length = BE16(h->total_length);
  if (total_length + 14 != skb->len) return 0;
  const __u16* mac = (const __u16*)h->source_mac;
  if (join(mac) == settings->own_mac_high && mac[2] == settings->own_mac_low) return 0;
  if (!checksum_right(h)) return 0;
  if (total_length > pair->mtu || !is_plain(skb, h, total_length)) return 0;
  if (h->protocol != 6 && is_busy(&pair->pace)) return 0;
  if (pair->last > settings->done) {
    if (!settings->shedding) return 0;
    count_frame(KNOWN_SHED);
    return 1;
  }

  __builtin_memcpy(handoff->header, pair->header, sizeof handoff->header);
  handoff->header_bytes = pair->header_bytes;
  handoff->peer = pair->peer;
  __u16* ip = (__u16*)(handoff->header + 14);
  const __u16 outer_length = BE16((__u16)(total_length + 36));
  const __u16 tos = (__u16)((h->tos & pair->tos_mask) | pair->tos_fixed) << 8;
  ip[0] |= tos;
  ip[1] = outer_length;
  ip[5] = (__u16)~folded((__u16)~ip[5] + (__u32)outer_length + tos);
  if (version_of(&pair->version) != version) return 0;
  handoff->length = skb->len;
  if (!pair->used) pair->used = 1;
  return 1;
}

SECTION("socket/choose") int known_encap_choose(struct __sk_buff* skb) {
  const __u32 zero = 0;
  struct known_handoff* handoff = bpf_map_lookup_elem(&known_handoff, &zero);
  struct known_settings* settings = bpf_map_lookup_elem(&known_settings, &zero);
  if (!handoff || !settings) return TAKE_ALL;
  if (handoff->length != 0) {
    /* The frame before did not come to the tc program: another program stands in between. */
    handoff->length = 0;
    settings->active = 0;
    __sync_fetch_and_add(&settings->lost, 1);
  }
  struct ethernet_and_ipv4 h;
  struct known_pair* pair = 0;
  if (bpf_skb_load_bytes(skb, 0, &h, ETHERNET)) return 0;
  if (h.type == BE16(0x0800)) {
    if (bpf_skb_load_bytes(skb, ETHERNET, &h.version_ihl, HEADERS - ETHERNET)) return 0;
    if (join(h.destination) == settings->overlay_address) {
      if (!for_masquerade(skb, &h, settings)) return 0;
    } else {
      const __u32 cell = cell_of(join(h.source), join(h.destination));
      pair = bpf_map_lookup_elem(&known_pairs, &cell);
      if (pair && choose(skb, &h, pair, settings, handoff)) return 0;
    }
  } else if (h.type == BE16(0x86dd) && settings->carries_ipv6 && is_for_kernel6(skb, settings)) {
    return 0;
  }
  const __u64 number = __sync_fetch_and_add(&settings->given, 1) + 1;
  if (pair && pair->last < number) pair->last = number;
  return TAKE_ALL;
}

SECTION("tc/known_encap") int known_encap(struct __sk_buff* skb) {
  const __u32 zero = 0;
  struct known_handoff* handoff = bpf_map_lookup_elem(&known_handoff, &zero);
  struct known_settings* settings = bpf_map_lookup_elem(&known_settings, &zero);
  if (!handoff || !settings) return TC_ACT_UNSPEC;
  const __u32 length = handoff->length;
  handoff->length = 0;
  if (length == 0 || length != skb->len) return TC_ACT_UNSPEC;
  __u32 index = handoff->peer;
  if (index >= KNOWN_PEERS) return TC_ACT_SHOT;
  struct known_count* count = bpf_map_lookup_elem(&known_counts, &index);
  if (!count) return TC_ACT_SHOT;
  count->frames++;
  count->frame_bytes += length;
  long error = bpf_skb_change_head(skb, 36, 0);
  if (error == 0) {
    error = handoff->header_bytes == 42 ? bpf_skb_store_bytes(skb, 0, handoff->header, 42, 0)
                                        : bpf_skb_store_bytes(skb, 0, handoff->header, 36, 0);
  }
  /* A clone and not bpf_redirect, which does not tell whether the frame could be sent. */
  if (error == 0) error = bpf_clone_redirect(skb, settings->ifindex, 0);
  if (error == 0) {
    count->sent_frames++;
    count->sent_bytes += length;
  } else if (error == NET_XMIT_DROP || error == NET_XMIT_CN) {
    count->busy++;
  } else if (error == -100 || error == -22) { /* ENETDOWN; EINVAL: no such interface */
    count->down++;
  } else {
    count->failed++;
  }
  return TC_ACT_SHOT;
}
