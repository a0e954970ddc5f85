/* Structures shared by the BPF programs and the C++ that fills their maps. */
#pragma once

#include <linux/types.h>

/* What the encapsulating program puts in front of the next super-frame. One slot per worker, written through
 * mmap just before the frame is written to the tap: the tap runs the program before write() returns. */
struct encap_slot {
  __u32 length;  /* of the frame that belongs to this header; another one is dropped */
  __u32 ifindex; /* where it goes: the underlay interface */
  __u8 header[36]; /* outer Ethernet, IPv4, EtherIP: right for every segment */
  __u32 sent;    /* counts up when a frame was sent on */
};
