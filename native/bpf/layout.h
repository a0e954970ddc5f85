/* Structures shared by the BPF programs and the C++ that fills their maps. */
#pragma once

#include <linux/types.h>

/* What the encapsulating program puts in front of the next super-frame. One slot per worker, written through
 * mmap just before the frame is written to the tap: the tap runs the program before write() returns. */
struct encap_slot {
  __u32 length;    /* of the frame that belongs to this header; another one is dropped */
  __u32 ifindex;   /* where it goes: the underlay interface */
  __u8 header[36]; /* outer Ethernet, IPv4, EtherIP: right for every segment */
  __u32 sent;      /* counts up when a frame was sent on */
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

/* Known pairs (known_encap.bpf.c): what the C++ path has decided for packets from one host to another. A cell
 * belongs to all pairs whose addresses fall on it, one of which may be known. */
#define KNOWN_CELLS 8192
struct known_pair {
  __u32 version; /* 0: nobody is known; written last, so that the rest is true while it is not 0 */
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
  __u32 rest[11];
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
};

/* From the filter to the tc program, on the way of one frame. */
struct known_handoff {
  __u32 length; /* of the frame; 0: the C++ path has it */
  __u16 peer;
  __u8 header_bytes;
  __u8 segment_headers; /* inner bytes that every segment of a super-frame repeats */
  __u8 header[42];
  __u8 padding[6];
};

/* known_counts: by peer; beyond the peers, in `frames`, what could not be sent on and what was shed. */
#define KNOWN_PEERS 256
#define KNOWN_FAILED KNOWN_PEERS
#define KNOWN_SHED (KNOWN_PEERS + 1)
#define KNOWN_COUNTS (KNOWN_PEERS + 2)
struct known_count {
  __u64 packets; /* as they are on the wire: the segments of a super-frame */
  __u64 bytes;   /* of inner frames */
  __u64 frames;  /* as they came */
  __u64 frame_bytes;
};
