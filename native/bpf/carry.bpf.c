/* Kernel decapsulation of known flows. Frames that strip.bpf.c stripped and the kernel's GRO merged come by
 * here twice on the same processor: `choose` is the filter of the worker's packet socket, `carry` runs at the
 * interface's ingress right after it. What the worker decided once for a flow (forward/known_flows.h) is done
 * here for the frames that follow: both MACs are written and the frame leaves by the overlay interface. All
 * others, and all that is odd about a frame, are the worker's.
 *
 * The choice falls behind GRO, so a flow cannot overtake itself there. It changes from the worker's path to
 * this one only when the worker has sent all it was given; the other way a frame has left before the next one
 * of its flow is looked at. */
#include "helpers.h"
#include "layout.h"
#include "pace.h"

struct map_definition SECTION("maps") known_flows = {
    .type = BPF_MAP_TYPE_ARRAY,
    .key_size = sizeof(__u32),
    .value_size = sizeof(struct known_flow),
    .max_entries = KNOWN_FLOWS,
    .flags = BPF_F_MMAPABLE,
};
struct map_definition SECTION("maps") handovers = {
    .type = BPF_MAP_TYPE_ARRAY,
    .key_size = sizeof(__u32),
    .value_size = sizeof(struct handover),
    .max_entries = KNOWN_FLOWS,
    .flags = BPF_F_MMAPABLE,
};
struct map_definition SECTION("maps") carry_settings = {
    .type = BPF_MAP_TYPE_ARRAY,
    .key_size = sizeof(__u32),
    .value_size = sizeof(struct carry_settings),
    .max_entries = 1,
    .flags = BPF_F_MMAPABLE,
};
struct map_definition SECTION("maps") chosen_frame = {
    .type = BPF_MAP_TYPE_PERCPU_ARRAY,
    .key_size = sizeof(__u32),
    .value_size = sizeof(struct chosen),
    .max_entries = 1,
};
struct map_definition SECTION("maps") carried_by_peer = {
    .type = BPF_MAP_TYPE_ARRAY,
    .key_size = sizeof(__u32),
    .value_size = sizeof(struct carried),
    .max_entries = CARRY_PEERS,
    .flags = BPF_F_MMAPABLE,
};

#define TAKE 0x40000 /* longer than any frame */
#define NET_XMIT_DROP 1
#define NET_XMIT_CN 2
#define NANOSECONDS 1000000000ull

/* Two bytes in front align what follows. */
struct headers {
  __u16 pad;
  __u8 destination_mac[6];
  __u32 marker;
  __u16 peer;
  __u16 type;
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
  union {
    struct {
      __u8 first[12];
      __u8 offset;
      __u8 flags;
      __u8 rest[6];
    } tcp;
    struct {
      __u16 ports[2];
      __u16 length;
      __u16 checksum;
    } udp;
    __u8 icmp_type;
  };
};
#define ETHERNET 14
#define IPV4 20
#define TCP_HEADER 20
#define SHORT_HEADER 8 /* UDP, ICMP echo */
#define SYN 2
#define ICMP 1
#define TCP 6
#define UDP 17
#define ETHERIP 97
#define FRAGMENTATION_NEEDED 0x0304 /* ICMP type and code */

static __attribute__((always_inline)) void add(__u64* to, __u64 by) {
  __sync_fetch_and_add(to, by);
}

/* Bytes of the headers that each packet of the frame has; 0: something about it needs the worker. */
static __attribute__((always_inline)) __u32 plain_headers(const struct __sk_buff* skb, struct headers* h,
                                                          __u32 overlay_mtu) {
  const __u32 total_length = BE16(h->total_length);
  __u32 headers = ETHERNET + IPV4 + SHORT_HEADER;
  if (h->protocol == TCP) {
    if (bpf_skb_load_bytes_relative(skb, ETHERNET + IPV4, &h->tcp, TCP_HEADER, BPF_HDR_START_MAC)) return 0;
    headers = ETHERNET + IPV4 + (h->tcp.offset >> 4) * 4;
    if ((h->tcp.flags & SYN) != 0 || headers < ETHERNET + IPV4 + TCP_HEADER) return 0;
  } else {
    /* What may be a UDP super-frame is the worker's. */
    if (skb->gso_size != 0) return 0;
    if (bpf_skb_load_bytes_relative(skb, ETHERNET + IPV4, &h->udp, SHORT_HEADER, BPF_HDR_START_MAC)) return 0;
    if (h->protocol == UDP) {
      const __u32 length = BE16(h->udp.length);
      if (length < SHORT_HEADER || IPV4 + length > total_length) return 0;
    } else if (h->protocol != ICMP || (h->icmp_type != 0 && h->icmp_type != 8)) {
      return 0;
    }
  }
  if (headers > ETHERNET + total_length) return 0;
  const __u32 longest = skb->gso_size == 0 ? total_length : headers - ETHERNET + skb->gso_size;
  return longest <= overlay_mtu ? headers : 0;
}

/* Whether the frame is one of a known flow and nothing about it needs the worker; then `chosen` is filled in.
 */
static __attribute__((always_inline)) int known(const struct __sk_buff* skb, struct headers* h, __u32 slot,
                                                struct known_flow* flow,
                                                const struct carry_settings* settings,
                                                struct chosen* chosen) {
  const __u32 generation = settings->generation;
  const __u32 peer = BE16(h->peer);
  if (generation == 0 || skb->vlan_present != 0) return 0;
  const __u32 headers = plain_headers(skb, h, settings->overlay_mtu);
  if (headers == 0) return 0;

  const __u32 version = version_of(&flow->version);
  if ((version & 1) != 0 || flow->generation != generation || flow->peer != peer ||
      flow->source != h->source || flow->destination != h->destination) {
    return 0;
  }
#pragma unroll
  for (int i = 0; i < 3; i++) {
    if (((const __u16*)flow->far_mac)[i] != ((const __u16*)h->destination_mac)[i]) return 0;
  }
  __builtin_memcpy(chosen->macs, flow->local_mac, 6);
  if (version_of(&flow->version) != version) return 0;
  __builtin_memcpy(chosen->macs + 6, settings->overlay_mac, 6);
  chosen->slot = slot;
  chosen->peer = peer;
  chosen->headers = headers;
  return 1;
}

/* What nobody stripped: as io/socket_filter.cc has it for the rungs without this program. */
static __attribute__((always_inline)) int take_other(struct __sk_buff* skb, const struct headers* h) {
  __u16 type_and_code = 0;
  if (h->type == BE16(0x0806)) return TAKE;
  if (h->type != BE16(0x0800)) return 0;
  if (h->protocol == ETHERIP) return TAKE;
  if (h->protocol != ICMP || (h->fragment & BE16(0x1fff)) != 0) return 0;
  const __u32 at = ETHERNET + (h->version_ihl & 15) * 4;
  if (bpf_skb_load_bytes_relative(skb, at, &type_and_code, sizeof(type_and_code), BPF_HDR_START_MAC))
    return 0;
  return type_and_code == BE16(FRAGMENTATION_NEEDED) ? TAKE : 0;
}

/* The same for a frame too short to hold an IPv4 header. */
static __attribute__((always_inline)) int take_short(struct __sk_buff* skb) {
  __u16 type = 0;
  __u8 protocol = 0;
  if (bpf_skb_load_bytes_relative(skb, 12, &type, sizeof(type), BPF_HDR_START_MAC)) return 0;
  if (type == BE16(0x0806)) return TAKE;
  if (bpf_skb_load_bytes_relative(skb, ETHERNET + 9, &protocol, sizeof(protocol), BPF_HDR_START_MAC))
    return 0;
  return type == BE16(0x0800) && protocol == ETHERIP ? TAKE : 0;
}

/* What the worker's socket gets. */
SECTION("socket") int choose(struct __sk_buff* skb) {
  const __u32 zero = 0;
  struct headers h;
  struct chosen* chosen = bpf_map_lookup_elem(&chosen_frame, &zero);
  struct carry_settings* settings = bpf_map_lookup_elem(&carry_settings, &zero);
  if (!chosen || !settings) return TAKE;
  if (chosen->headers != 0) {
    /* The frame before did not come to `carry`: another program stands in between. */
    chosen->headers = 0;
    settings->generation = 0;
    __sync_fetch_and_add(&settings->lost, 1);
  }
  if (bpf_skb_load_bytes_relative(skb, 0, h.destination_mac, ETHERNET + IPV4, BPF_HDR_START_MAC))
    return take_short(skb);
  if (h.marker != settings->marker) return take_other(skb, &h);
  const __u32 slot = flow_slot(BE16(h.peer), h.source, h.destination);
  struct known_flow* flow = bpf_map_lookup_elem(&known_flows, &slot);
  struct handover* handover = bpf_map_lookup_elem(&handovers, &slot);
  if (!flow || !handover) return TAKE;
  const int busy = h.protocol != TCP && is_busy(&flow->pace);
  if (!busy && *(volatile __u32*)&handover->given == *(volatile __u32*)&handover->done &&
      known(skb, &h, slot, flow, settings, chosen)) {
    return 0;
  }
  __sync_fetch_and_add(&handover->given, 1);
  return TAKE;
}

SECTION("tc") int carry(struct __sk_buff* skb) {
  const __u32 zero = 0;
  struct chosen* chosen = bpf_map_lookup_elem(&chosen_frame, &zero);
  if (!chosen || chosen->headers == 0) return TC_ACT_UNSPEC;
  const __u32 headers = chosen->headers;
  chosen->headers = 0;
  const struct carry_settings* settings = bpf_map_lookup_elem(&carry_settings, &zero);
  struct known_flow* flow = bpf_map_lookup_elem(&known_flows, &chosen->slot);
  struct carried* carried = bpf_map_lookup_elem(&carried_by_peer, &chosen->peer);
  if (!settings || !flow || !carried) return TC_ACT_SHOT;

  const __u32 length = skb->len;
  const __u32 packets = skb->gso_segs > 1 ? skb->gso_segs : 1;
  const __u64 seconds = bpf_ktime_get_ns() / NANOSECONDS + 1;
  if (carried->seconds != seconds) carried->seconds = seconds;
  if (flow->used_seconds != (__u32)seconds) flow->used_seconds = seconds;
  add(&carried->frames, 1);
  add(&carried->packets, packets);
  add(&carried->packet_bytes, length + (__u64)(packets - 1) * headers);
  if (packets > 1) add(&carried->super_frames, 1);

  /* A clone and not bpf_redirect, which does not tell whether the frame could be sent. */
  long error = bpf_skb_store_bytes(skb, 0, chosen->macs, sizeof(chosen->macs), 0);
  if (error == 0) error = bpf_clone_redirect(skb, settings->overlay_ifindex, 0);
  if (error == 0) {
    add(&carried->sent_frames, 1);
    add(&carried->sent_bytes, length);
  } else if (error == NET_XMIT_DROP || error == NET_XMIT_CN) {
    add(&carried->busy, 1);
  } else if (error == -100 || error == -22) { /* ENETDOWN; EINVAL: no such interface */
    add(&carried->down, 1);
  } else {
    add(&carried->failed, 1);
  }
  return TC_ACT_SHOT;
}
