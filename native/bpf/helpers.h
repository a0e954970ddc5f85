/* What the programs in this folder use of the kernel's BPF interface (linux/bpf.h); no libbpf is needed. */
#pragma once

#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#define SECTION(name) __attribute__((section(name), used))

static __attribute__((unused)) void* (*const bpf_map_lookup_elem)(void* map, const void* key) = (void*)
    BPF_FUNC_map_lookup_elem;
static __attribute__((unused)) long (*const bpf_xdp_adjust_head)(void* xdp,
                                                                 int delta) = (void*)BPF_FUNC_xdp_adjust_head;
static
    __attribute__((unused)) long (*const bpf_skb_store_bytes)(void* skb, __u32 offset, const void* from,
                                                              __u32 length,
                                                              __u64 flags) = (void*)BPF_FUNC_skb_store_bytes;
static __attribute__((unused)) long (*const bpf_skb_load_bytes_relative)(
    const void* skb, __u32 offset, void* to, __u32 length,
    __u32 start) = (void*)BPF_FUNC_skb_load_bytes_relative;
static __attribute__((unused)) long (*const bpf_clone_redirect)(struct __sk_buff* skb, __u32 ifindex,
                                                                __u64 flags) = (void*)BPF_FUNC_clone_redirect;
static __attribute__((unused)) __u64 (*const bpf_ktime_get_ns)(void) = (void*)BPF_FUNC_ktime_get_ns;
static __attribute__((unused))
__u64 (*const bpf_ktime_get_coarse_ns)(void) = (void*)BPF_FUNC_ktime_get_coarse_ns;
static __attribute__((unused))
__u64 (*const bpf_xdp_get_buff_len)(void* xdp) = (void*)BPF_FUNC_xdp_get_buff_len;
static
    __attribute__((unused)) long (*const bpf_redirect)(__u32 ifindex, __u64 flags) = (void*)BPF_FUNC_redirect;
static
    __attribute__((unused)) long (*const bpf_skb_change_head)(void* skb, __u32 length,
                                                              __u64 flags) = (void*)BPF_FUNC_skb_change_head;
static
    __attribute__((unused)) long (*const bpf_skb_load_bytes)(const void* skb, __u32 offset, void* to,
                                                             __u32 length) = (void*)BPF_FUNC_skb_load_bytes;

#define BE16(v) __builtin_bswap16(v)
#define BE32(v) __builtin_bswap32(v)

/* Of a sequence lock. A full barrier: what is read before and after it lies between. */
static __attribute__((always_inline, unused)) __u32 version_of(__u32* version) {
  __u32 nothing = 0;
  __asm__ volatile("" : "+r"(nothing)); /* or the compiler makes a plain load of it */
  return __sync_fetch_and_add(version, nothing);
}

/* A map that the loader creates; the ELF symbol's name says which one it is. */
struct map_definition {
  __u32 type;
  __u32 key_size;
  __u32 value_size;
  __u32 max_entries;
  __u32 flags;
};
