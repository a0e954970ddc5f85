#!/usr/bin/env python3
"""One TCP connection that carries a stream both ways at once, digested at both ends.

  stream.py serve ADDRESS PORT OPTIONS      prints {"event": "listening"}, serves one connection
  stream.py connect ADDRESS PORT OPTIONS

Both print {"event": "done", "sent", "received"}: {"bytes", "sha256"} each. OPTIONS is JSON: "bytes" to send; "write"
bytes at a time (then without Nagle's delay); "mss"; "window": bytes of receive buffer; "stalls": how often the reader
stops for longer than the sender's retransmission timer, so that zero windows are probed.
"""
import hashlib
import json
import os
import socket
import struct
import sys
import threading
import time

LARGE = 1 << 16
STALL_SECONDS = 0.3
PATIENCE_SECONDS = 600


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def prepare(opened, options):
    if "mss" in options:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, options["mss"])
    if "window" in options:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, options["window"])
    opened.settimeout(PATIENCE_SECONDS)
    return opened


def send(connection, options, report):
    total, size = options["bytes"], options.get("write", LARGE)
    if "write" in options:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    pattern = os.urandom(size)
    digest = hashlib.sha256()
    sent = 0
    while sent < total:
        # Each piece differs, so that one that is lost, repeated or out of order changes the digest.
        piece = (struct.pack("!Q", sent) + pattern)[: min(size, total - sent)]
        digest.update(piece)
        connection.sendall(piece)
        sent += len(piece)
    connection.shutdown(socket.SHUT_WR)
    report["sent"] = {"bytes": sent, "sha256": digest.hexdigest()}


def receive(connection, options, report):
    stalls = options.get("stalls", 0)
    between = options["bytes"] // (stalls + 1)
    digest = hashlib.sha256()
    received = 0
    while True:
        piece = connection.recv(LARGE)
        if not piece:
            break
        digest.update(piece)
        received += len(piece)
        if stalls > 0 and received // between > (received - len(piece)) // between:
            time.sleep(STALL_SECONDS)
    report["received"] = {"bytes": received, "sha256": digest.hexdigest()}


def carry(connection, options):
    report = {}
    sender = threading.Thread(target=send, args=(connection, options, report), daemon=True)
    sender.start()
    receive(connection, options, report)
    sender.join()
    connection.close()
    say("done", **report)


def main(mode, address, port, options):
    opened = prepare(socket.socket(), options)
    if mode == "connect":
        opened.connect((address, port))
        carry(opened, options)
        return
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.bind((address, port))
    opened.listen(1)
    say("listening")
    connection, _ = opened.accept()
    connection.settimeout(PATIENCE_SECONDS)
    carry(connection, options)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4]))
