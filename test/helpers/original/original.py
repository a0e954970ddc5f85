#!/usr/bin/env python3
"""Behaves on the wire as the experiment that vpc-conn grew out of (github.com/kuredev/vpc_conn).

Written from what that tool can be seen to do, faults included, because vpc-conn has to get along with all of
it. One thread, one blocking loop, a frame at a time. It ends with a traceback where the original does.

  original.py -o eth1 -t eth2 -d PEER -s OWN [-r FAR_HOST]

Says {"event": "listening"} when it is, then {"event": ..., ...} for what a test may want to wait for.
"""
import argparse
import json
import select
import socket
import struct
import sys

import wire

# The original asks this interface for the sender of its ARP requests, whatever -t says.
ARP_INTERFACE = "eth2"
OUTER_BYTES = 22  # an IPv4 header without options, and EtherIP
# Where an ARP reply has its sender hardware address, in the raw packet: 20 + 2 + 14 + 8.
ANSWER = slice(44, 50)

DESTINATION_MAC = slice(0, 6)
SOURCE_MAC = slice(6, 12)
ARP_SENDER_MAC = slice(22, 28)
IP_SOURCE = slice(26, 30)
IP_DESTINATION = slice(30, 34)


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def put(frame, where, value):
    """An empty value takes the bytes away: what the original does before it has anything to remember."""
    if where.start > len(frame):
        raise IndexError("a frame too short for the field")
    frame[where] = value


def is_arp(frame):
    return bytes(frame[12:14]) == b"\x08\x06"


def redo_ip_checksum(frame):
    """Over 20 bytes from offset 14, whatever they are: options are left out, and ARP gets one, too."""
    if len(frame) < 34:
        raise IndexError("a frame too short for an IPv4 header")
    frame[24:26] = b"\0\0"
    total = sum(struct.unpack("!10H", bytes(frame[14:34])))
    # The carry is added once only; a second carry (about one header in 30 000) breaks the original's frame.
    frame[24:26] = struct.pack("!H", (((total & 0xFFFF) + (total >> 16)) & 0xFFFF) ^ 0xFFFF)


class Original:
    def __init__(self, options):
        self.outside_name = options.outside_interface
        self.peer = options.dst_addr
        self.is_sender = options.remote_ip_addrs is not None
        self.outside = wire.open_tap(self.outside_name, promiscuous=True)
        self.tunnel = socket.socket(socket.AF_INET, socket.SOCK_RAW, 97)
        self.tunnel.bind((options.src_addr, 0))
        self.remembered_mac = b""
        self.remembered_address = b""

    def run(self):
        say("listening")
        while True:
            # Both may be readable, and resolve() may take what made the tunnel so: recv() blocks then.
            for ready in select.select([self.outside, self.tunnel], [], [])[0]:
                received = bytearray(ready.recv(65535))
                if ready is self.outside:
                    self.from_outside(received)
                else:
                    self.from_tunnel(received[OUTER_BYTES:])

    def from_outside(self, frame):
        if self.is_sender:
            # Of whatever it is: for ARP and IPv6 these four bytes are no destination address.
            address = bytes(frame[IP_DESTINATION])
            if len(address) != 4:
                raise IndexError("a frame too short for a destination address")
            put(frame, DESTINATION_MAC, self.resolve(address))
        elif is_arp(frame):
            put(frame, SOURCE_MAC, self.remembered_mac)
        else:
            put(frame, DESTINATION_MAC, self.remembered_mac)
            put(frame, IP_DESTINATION, self.remembered_address)
        self.encapsulate(frame)

    def from_tunnel(self, frame):
        own_mac = wire.mac_of(self.outside_name)
        if self.is_sender:
            put(frame, SOURCE_MAC, own_mac)
            redo_ip_checksum(frame)
        else:
            self.remembered_mac = bytes(frame[SOURCE_MAC])
            put(frame, SOURCE_MAC, own_mac)
            if is_arp(frame):
                put(frame, ARP_SENDER_MAC, own_mac)
            else:
                self.remembered_address = bytes(frame[IP_SOURCE])
                put(frame, IP_SOURCE, wire.address_of(self.outside_name))
                redo_ip_checksum(frame)
        self.outside.send(frame)

    def resolve(self, address):
        sender = wire.mac_of(ARP_INTERFACE)
        request = b"\xff" * 6 + sender + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
        request += sender + wire.address_of(ARP_INTERFACE) + bytes(6) + address
        self.encapsulate(request)
        say("asked", address=socket.inet_ntoa(address))
        answer = self.tunnel.recv(1500)
        say("took", mac=answer[ANSWER].hex(":"), is_arp=answer[34:36] == b"\x08\x06", bytes=len(answer))
        return answer[ANSWER]

    def encapsulate(self, frame):
        self.tunnel.sendto(b"\x30\x00" + frame, (self.peer, 0))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-o", "--outside_interface", required=True)
    parser.add_argument("-t", "--tunnel_interface", required=True)
    parser.add_argument("-d", "--dst_addr", required=True)
    parser.add_argument("-s", "--src_addr", required=True)
    parser.add_argument("-r", "--remote_ip_addrs")
    Original(parser.parse_args()).run()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
