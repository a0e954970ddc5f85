"""What another program on the machine may do to an interface's BPF programs.

  bpf_links.py block INTERFACE   attaches an XDP program of its own, says "attached", holds it until stdin ends
  bpf_links.py detach PID TYPE   takes the links of that type (xdp, tcx) of a process off their interfaces
"""
import ctypes
import os
import re
import socket
import struct
import sys

PROG_LOAD, LINK_CREATE, LINK_GET_FD_BY_ID, LINK_DETACH = 5, 28, 30, 34
SYS_BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes.ljust(144, b"\0"))
    result = libc.syscall(SYS_BPF, command, buffer, len(buffer))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"bpf({command}): {os.strerror(ctypes.get_errno())}")
    return result


def block(interface):
    # r0 = XDP_PASS; exit
    code = ctypes.create_string_buffer(struct.pack("<BBhi", 0xB7, 0, 0, 2) + struct.pack("<BBhi", 0x95, 0, 0, 0))
    license_text = ctypes.create_string_buffer(b"GPL")
    load = struct.pack("<IIQQ", 6, 2, ctypes.addressof(code), ctypes.addressof(license_text))
    program = bpf(PROG_LOAD, load)
    xdp, driver_mode = 37, 1 << 2
    bpf(LINK_CREATE, struct.pack("<IIII", program, socket.if_nametoindex(interface), xdp, driver_mode))
    print("attached", flush=True)
    sys.stdin.read()


def detach(pid, wanted):
    for name in os.listdir(f"/proc/{pid}/fdinfo"):
        with open(f"/proc/{pid}/fdinfo/{name}") as file:
            text = file.read()
        kind = re.search(r"^link_type:\s*(\w+)", text, re.M)
        if kind is None or kind[1] != wanted:
            continue
        # The private taps of kernel segmentation have such links, too.
        interface = re.search(r"^ifindex:\s*(\d+)", text, re.M)
        if interface is None or socket.if_indextoname(int(interface[1])).startswith("vpc"):
            continue
        link = int(re.search(r"^link_id:\s*(\d+)", text, re.M)[1])
        bpf(LINK_DETACH, struct.pack("<I", bpf(LINK_GET_FD_BY_ID, struct.pack("<I", link))))
        print(f"detached {link}")


{"block": block, "detach": detach}[sys.argv[1]](*sys.argv[2:])
