/* Kernel segmentation for EtherIP. Linux has no EtherIP offload, but its software GSO repeats the link-layer
 * header of a super-frame before every segment. This program, at the ingress of a private tap, makes the
 * outer headers part of that link-layer header: protocol, network header, transport header and GSO state stay
 * those of the inner packet. Then it sends the super-frame to the underlay. Without the program nothing
 * leaves the tap: it fails closed. */
#include "helpers.h"
#include "layout.h"

struct map_definition SECTION("maps") encap_slots = {
    .type = BPF_MAP_TYPE_ARRAY,
    .key_size = sizeof(__u32),
    .value_size = sizeof(struct encap_slot),
    .max_entries = 1,
    .flags = BPF_F_MMAPABLE,
};

/* `bytes` is a constant where this is inlined. */
static inline __attribute__((always_inline)) int put_in_front(struct __sk_buff* skb,
                                                              const struct encap_slot* slot,
                                                              const __u32 bytes) {
  if (bpf_skb_change_head(skb, bytes, 0)) return -1;
  return bpf_skb_store_bytes(skb, 0, slot->header, bytes, 0);
}

SECTION("tc") int encapsulate(struct __sk_buff* skb) {
  const __u32 key = 0;
  struct encap_slot* slot = bpf_map_lookup_elem(&encap_slots, &key);
  if (!slot || skb->len != slot->length) return TC_ACT_SHOT;
  const int failed = slot->header_bytes == OUTER_BYTES6 ? put_in_front(skb, slot, OUTER_BYTES6)
                                                        : put_in_front(skb, slot, OUTER_BYTES);
  if (failed) return TC_ACT_SHOT;
  slot->sent++;
  return bpf_redirect(slot->ifindex, 0);
}
