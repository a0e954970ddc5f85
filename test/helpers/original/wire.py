#!/usr/bin/env python3
"""Frames on an interface, exactly as they are: sent, or watched.

  wire.py send IFACE [COUNT]   sends each line of standard input (hex) COUNT times; "gso SIZE HEX" marks a
                               TCP super-frame
  wire.py watch IFACE          prints {"event": "listening"}, then {"frame": hex, "partial": bool} for each
                               frame that arrives (not for those sent from this side), and {"event": "looked"}
                               for each line of standard input, after all that had arrived by then
"""
import fcntl
import json
import os
import select
import socket
import struct
import sys
import time

ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP = 1
PACKET_AUXDATA = 8
PACKET_VNET_HDR = 15
PACKET_IGNORE_OUTGOING = 23
PACKET_MR_PROMISC = 1
SIOCGIFADDR = 0x8915
SIOCGIFHWADDR = 0x8927
SO_RCVBUFFORCE = 33
VIRTIO_NEEDS_CHECKSUM = 1
VIRTIO_GSO_NONE, VIRTIO_GSO_TCP4 = 0, 1
TP_STATUS_VLAN_VALID = 1 << 4
TP_STATUS_VLAN_TPID_VALID = 1 << 6


def open_tap(interface, promiscuous=False):
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    tap.bind((interface, ETH_P_ALL))
    if promiscuous:
        request = struct.pack("iHH8s", socket.if_nametoindex(interface), PACKET_MR_PROMISC, 0, b"")
        tap.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, request)
    return tap


def ask(request, interface):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        return fcntl.ioctl(any_socket, request, struct.pack("256s", interface.encode()))


def mac_of(interface):
    return ask(SIOCGIFHWADDR, interface)[18:24]


def address_of(interface):
    return ask(SIOCGIFADDR, interface)[20:24]


def send_lines(interface, count):
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    tap.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    tap.bind((interface, 0))
    sent = 0
    for line in sys.stdin:
        words = line.split()
        header = bytes(10)
        if words[0] == "gso":
            # Flags, GSO type, header length, segment size, checksum start and offset: a TCP super-frame.
            header = struct.pack("=BBHHHH", VIRTIO_NEEDS_CHECKSUM, VIRTIO_GSO_TCP4, 54, int(words[1]), 34, 16)
        for _ in range(count):
            tap.send(header + bytes.fromhex(words[-1]))
            sent += 1
            # veth queues 256 frames and loses what is beyond.
            if sent % 64 == 0:
                time.sleep(0.002)
    print(json.dumps({"event": "sent", "frames": sent}), flush=True)


def untagged(auxiliary):
    """The VLAN tag that the kernel took out of the frame, as it stood there."""
    status, _, _, _, _, tci, tpid = struct.unpack("=IIIHHHH", auxiliary)
    if not status & TP_STATUS_VLAN_VALID:
        return b""
    return struct.pack("!HH", tpid if status & TP_STATUS_VLAN_TPID_VALID else 0x8100, tci)


def watch(interface):
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    tap.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)
    tap.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    tap.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    tap.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    tap.bind((interface, ETH_P_ALL))
    print(json.dumps({"event": "listening"}), flush=True)
    poll = select.poll()
    poll.register(tap, select.POLLIN)
    poll.register(0, select.POLLIN)
    while True:
        asked = any(descriptor == 0 for descriptor, _ in poll.poll())
        lines = os.read(0, 4096) if asked else b""
        if asked and not lines:
            poll.unregister(0)
        # After the question is read: what had arrived before it was asked is in the queue.
        print_queued(tap)
        for _ in range(lines.count(b"\n")):
            print(json.dumps({"event": "looked"}))
        sys.stdout.flush()


def print_queued(tap):
    while True:
        try:
            data, ancillary, _, _ = tap.recvmsg(1 << 17, 64, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        frame = data[10:]
        for level, kind, value in ancillary:
            if level == SOL_PACKET and kind == PACKET_AUXDATA:
                frame = frame[:12] + untagged(value) + frame[12:]
        partial = bool(data[0] & VIRTIO_NEEDS_CHECKSUM) or data[1] != VIRTIO_GSO_NONE
        print(json.dumps({"frame": frame.hex(), "partial": partial}))


if __name__ == "__main__":
    command, interface = sys.argv[1:3]
    if command == "send":
        send_lines(interface, int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    elif command == "watch":
        watch(interface)
