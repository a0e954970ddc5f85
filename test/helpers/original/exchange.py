#!/usr/bin/env python3
"""Frames on several interfaces at once, sent and watched, as long as standard input is open.

  exchange.py IFACE...

Standard input: a line "ID IFACE HEX" sends one frame: struct virtio_net_hdr (10 bytes), then the frame.
Standard output: {"event": "listening"}; {"on", "virtio", "frame", "tagged"} for each frame that arrives (not for
those sent from this side); {"refused": ID, "errno"} for each that the kernel does not send. A VLAN tag that
the kernel took out of a frame stands in it again, and "tagged" says so.
"""
import json
import os
import select
import socket
import sys

from wire import (
    ETH_P_ALL,
    PACKET_AUXDATA,
    PACKET_IGNORE_OUTGOING,
    PACKET_VNET_HDR,
    SO_RCVBUFFORCE,
    SOL_PACKET,
    untagged,
)

VIRTIO_BYTES = 10


def open_socket(interface):
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)
    opened.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    opened.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    opened.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    opened.bind((interface, ETH_P_ALL))
    return opened


def say(line):
    sys.stdout.write(json.dumps(line) + "\n")


def send(sockets, line):
    number, interface, frame = line.split()
    try:
        sockets[interface.decode()].send(bytes.fromhex(frame.decode()))
    except OSError as error:
        say({"refused": int(number), "errno": error.errno})


def receive(interface, opened):
    while True:
        try:
            data, ancillary, _, _ = opened.recvmsg(1 << 17, 64, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        frame = data[VIRTIO_BYTES:]
        tag = b""
        for level, kind, value in ancillary:
            if level == SOL_PACKET and kind == PACKET_AUXDATA:
                tag = untagged(value)
        frame = frame[:12] + tag + frame[12:]
        virtio = data[:VIRTIO_BYTES].hex()
        say({"on": interface, "virtio": virtio, "frame": frame.hex(), "tagged": tag != b""})


def main(interfaces):
    sockets = {interface: open_socket(interface) for interface in interfaces}
    say({"event": "listening"})
    sys.stdout.flush()
    poll = select.poll()
    poll.register(0, select.POLLIN | select.POLLHUP)
    for opened in sockets.values():
        poll.register(opened, select.POLLIN)
    by_descriptor = {opened.fileno(): interface for interface, opened in sockets.items()}
    rest = b""
    while True:
        for descriptor, _ in poll.poll():
            if descriptor != 0:
                interface = by_descriptor[descriptor]
                receive(interface, sockets[interface])
                continue
            got = os.read(0, 1 << 20)
            if not got:
                return
            *lines, rest = (rest + got).split(b"\n")
            for line in lines:
                send(sockets, line)
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
