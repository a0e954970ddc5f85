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

SECTION("tc") int encapsulate(struct __sk_buff* skb) {
  const __u32 key = 0;
  struct encap_slot* slot = bpf_map_lookup_elem(&encap_slots, &key);
  if (!slot || skb->len != slot->length) return TC_ACT_SHOT;
  if (bpf_skb_change_head(skb, sizeof(slot->header), 0)) return TC_ACT_SHOT;
  if (bpf_skb_store_bytes(skb, 0, slot->header, sizeof(slot->header), 0)) return TC_ACT_SHOT;
  slot->sent++;
  return bpf_redirect(slot->ifindex, 0);
}
