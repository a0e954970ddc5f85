#!/usr/bin/env python3
"""BPF programs at the ingress and egress of interfaces (TCX, which tc does not show): attached.py IFACE...

Prints {IFACE: number}; 0 where the kernel has no TCX.
"""
import ctypes
import json
import os
import platform
import socket
import struct
import sys

SYS_BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]
BPF_PROG_QUERY = 16
TCX_INGRESS, TCX_EGRESS = 46, 47


def programs(interface, place):
    # Interface, place, two words of flags, where to put the numbers of the programs (nowhere), how many.
    attributes = ctypes.create_string_buffer(
        struct.pack("=IIIIQI", socket.if_nametoindex(interface), place, 0, 0, 0, 0), 64
    )
    library = ctypes.CDLL(None, use_errno=True)
    if library.syscall(SYS_BPF, BPF_PROG_QUERY, attributes, 64) != 0:
        error = ctypes.get_errno()
        if error == 22:
            return 0
        raise OSError(error, os.strerror(error))
    return struct.unpack_from("=I", attributes, 24)[0]


if __name__ == "__main__":
    found = {name: programs(name, TCX_INGRESS) + programs(name, TCX_EGRESS) for name in sys.argv[1:]}
    print(json.dumps(found))
