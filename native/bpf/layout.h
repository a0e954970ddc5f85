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
