/* Structures shared by the BPF programs and the C++ that fills their maps. */
#pragma once

#include <linux/types.h>

/* Outer Ethernet, IPv4 or IPv6, EtherIP. */
#define OUTER_BYTES 36
#define OUTER_BYTES6 56

/* What the encapsulating program puts in front of the next super-frame. One slot per worker, written through
 * mmap just before the frame is written to the tap: the tap runs the program before write() returns. */
struct encap_slot {
  __u32 length;  /* of the frame that belongs to this header; another one is dropped */
  __u32 ifindex; /* where it goes: the underlay interface */
  __u32 header_bytes;
  __u8 header[OUTER_BYTES6]; /* right for every segment */
  __u32 sent;                /* counts up when a frame was sent on */
};

/* Key of the strip program's peers: the outer addresses as they stand on the wire. */
struct strip_pair {
  __u32 source;
  __u32 destination;
};

/* The stripping program's settings. `marker`: first four bytes of the source MAC that stripped frames get, as
 * they stand in memory; the peer's id follows in network order. Random per process, locally administered. */
struct strip_settings {
  __u32 marker;
  __u32 own_mac_high; /* first four bytes of the interface's MAC */
  __u16 own_mac_low;
  __u16 unused;
};

/* strip_counts: frames, by index. */
enum strip_count { STRIP_STRIPPED, STRIP_SPOOFED, STRIP_COUNTS };

/* How closely packets follow each other (pace.h); the programs' own. */
struct pace {
  __u64 since; /* CLOCK_MONOTONIC_COARSE, nanoseconds */
  __u32 packets;
  __u32 busy;
};

/* Known pairs (known_encap.bpf.c): what the C++ path has decided for packets from one host to another. A cell
 * belongs to all pairs whose addresses fall on it, one of which may be known. */
#define KNOWN_CELLS 8192
struct known_pair {
  __u32 version; /* 0 or odd: nobody is known, or it is being written (a sequence lock) */
  __u32 source;  /* addresses as they stand on the wire */
  __u32 destination;
  __u16 mtu; /* of the tunnel: longest inner IPv4 packet */
  __u16 peer;
  /* Outer Ethernet, IPv4 (total length and TOS zero, the checksum right for that), EtherIP, and the inner
   * destination MAC; `header_bytes` of it go in front of the packet, the MAC only if it is known. */
  __u8 header[42];
  __u8 header_bytes;
  __u8 tos_mask; /* the outer TOS: the inner one as far as this goes, and `tos_fixed` */
  __u8 tos_fixed;
  __u8 padding[3];
  /* The programs write from here on. */
  __u64 last; /* number of the last frame of this cell that the C++ path was given */
  __u32 used; /* a packet was carried since this was set to 0 */
  __u32 padding2;
  struct pace pace;
  __u64 rest[3];
} __attribute__((aligned(64)));

struct known_settings {
  __u64 done; /* the C++ path is through with all frames up to this number */
  __u64 given;
  __u32 ifindex; /* of the underlay */
  __u32 overlay_address;
  __u32 own_mac_high;
  __u16 own_mac_low;
  __u16 first_port; /* masquerade ports, host order; 1 and 0: nobody masquerades */
  __u16 last_port;
  __u16 active;
  __u32 shedding; /* frames were lost: known pairs that are on the C++ path let it catch up */
  /* Generations of the forwarding table: nothing is chosen until the pairs were held against the newest. */
  __u32 published;
  __u32 reviewed;
  __u32 lost; /* frames chosen, but taken away by another program; then nothing is carried any more */
  __u32 carries_ipv6;
  __u16 overlay_address6[8];
};

/* From the filter to the tc program, on the way of one frame. */
struct known_handoff {
  __u32 length; /* of the frame; 0: the C++ path has it */
  __u16 peer;
  __u8 header_bytes;
  __u8 unused;
  __u8 header[42];
  __u8 padding[6];
};

/* known_counts: by peer; beyond the peers, in `frames`, what was shed. */
#define KNOWN_PEERS 256
#define KNOWN_SHED KNOWN_PEERS
#define KNOWN_COUNTS (KNOWN_PEERS + 1)
struct known_count {
  __u64 frames;
  __u64 frame_bytes;
  __u64 sent_frames;
  __u64 sent_bytes; /* of inner frames */
  __u64 busy;       /* frames not sent: the underlay's queue was full */
  __u64 down;       /* not sent: the underlay interface is down */
  __u64 failed;
};

/* Kernel decapsulation of known flows (carry.bpf.c). A flow here is all TCP, UDP and ICMP echo
 * between two hosts.
 *
 * known_flows: what the C++ worker decided once, by flow_slot(); forward/known_flows.h has the same layout.
 * Addresses and MACs as they stand on the wire. */
#define KNOWN_FLOWS 8192
struct known_flow {
  __u32 version;    /* odd while it is being written */
  __u32 generation; /* of the forwarding table that it is right under; 0: never */
  __u32 source;     /* inner */
  __u32 destination;
  __u8 far_mac[6]; /* inner source MAC */
  __u16 peer;      /* id */
  __u8 local_mac[6];
  __u16 neighbor_slot;
  __u32 used_seconds; /* CLOCK_MONOTONIC + 1 */
  __u32 unused;
  struct pace pace;
  __u64 rest;
};

/* handovers, by flow_slot(), one array per worker: stripped frames given to the worker, and those of them
 * that it has done with. A flow changes to the kernel's path when they are equal: nothing of it is underway.
 */
struct handover {
  __u32 given;
  __u32 done;
};

struct carry_settings {
  __u32 generation; /* flows of this generation are carried; 0: none */
  __u32 marker;     /* as strip_settings */
  __u32 overlay_ifindex;
  __u32 overlay_mtu;
  __u8 overlay_mac[6];
  __u16 unused;
  __u32 lost; /* frames chosen, but taken away by another program; then nothing is carried any more */
};

/* From `choose` to `carry`: they run one after the other for each frame, on the same processor. */
struct chosen {
  __u32 headers; /* bytes of Ethernet, IPv4 and TCP header; 0: the frame is the worker's */
  __u32 slot;
  __u32 peer;
  __u8 macs[12];
};

/* carried: by peer id. */
struct carried {
  __u64 frames;
  __u64 super_frames;
  __u64 packets; /* segments of super-frames counted each, with their headers */
  __u64 packet_bytes;
  __u64 seconds; /* of the last frame, CLOCK_MONOTONIC + 1 */
  __u64 sent_frames;
  __u64 sent_bytes;
  __u64 busy; /* not sent: the overlay's queue was full */
  __u64 down; /* not sent: the overlay interface is down */
  __u64 failed;
  __u64 unused[6];
};
#define CARRY_PEERS 256

/* Spreads (peer, source, destination) over the slots; forward/known_flows.h has the same. */
static inline __attribute__((always_inline, unused)) __u32 flow_slot(__u32 peer, __u32 source,
                                                                     __u32 destination) {
  __u32 h = source;
  h ^= h >> 16;
  h *= 0x85ebca6b;
  h ^= h >> 13;
  h += destination ^ (peer << 16);
  h ^= h >> 16;
  h *= 0xc2b2ae35;
  h ^= h >> 15;
  return h & (KNOWN_FLOWS - 1);
}
