/* Whether packets between two hosts follow each other so closely that the worker is the better place for
 * them: on a processor of its own it sends in batches while the kernel receives. Below that the kernel's path
 * spares a wake-up per packet. Not for TCP, which goes by super-frames. */
#pragma once

#include "helpers.h"
#include "layout.h"

#define PACE_NANOSECONDS 20000ull /* between packets: 50,000 a second */
#define PACE_WINDOW (400 * PACE_NANOSECONDS)

/* Counts a packet. Processors may count at the same time: an estimate is all that is wanted. */
static __attribute__((always_inline)) int is_busy(struct pace* pace) {
  const __u64 now = bpf_ktime_get_coarse_ns();
  const __u64 elapsed = now - pace->since;
  const __u32 packets = pace->packets + 1;
  pace->packets = packets;
  if (elapsed >= PACE_WINDOW) {
    pace->busy = packets > elapsed / PACE_NANOSECONDS;
    pace->packets = 0;
    pace->since = now;
  } else if (packets > PACE_WINDOW / PACE_NANOSECONDS) {
    pace->busy = 1;
  }
  return pace->busy;
}
