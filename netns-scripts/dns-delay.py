#!/usr/bin/env python3
"""An upstream far away: dns-delay.py LISTEN UPSTREAM MILLISECONDS hands UDP queries to UPSTREAM after so long.

Kernels without netem have no other way to make a network slow. Queries wait in a queue and not in a sleep, so many may be
under way at once.
"""

import collections
import select
import socket
import sys
import time


def main() -> None:
    listen, upstream, delay = sys.argv[1], sys.argv[2], int(sys.argv[3]) / 1000
    front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    front.bind((listen, 53))
    waiting: collections.deque[tuple[float, bytes, tuple[str, int]]] = collections.deque()
    # A socket for each query under way: the answer needs no other mark.
    asked: dict[socket.socket, tuple[str, int]] = {}
    while True:
        left = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        for ready in select.select([front, *asked], [], [], left)[0]:
            if ready is front:
                query, client = front.recvfrom(4096)
                waiting.append((time.monotonic() + delay, query, client))
            else:
                front.sendto(ready.recv(65535), asked.pop(ready))
                ready.close()
        while waiting and waiting[0][0] <= time.monotonic():
            _, query, client = waiting.popleft()
            back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            back.connect((upstream, 53))
            back.send(query)
            asked[back] = client


if __name__ == "__main__":
    main()
