"""Traffic for chaos.sh: a server, a subscriber that checks all it gets, and one that takes every port it can.

traffic.py server IPV4 | good IPV6 RESOLVER | bad IPV6

`good` prints `open` once each of its flows is, goes on until SIGTERM, and then prints what became of them. Lost is: a TCP
connection that ended or stood still for a minute, bytes that came back changed, a UDP flow that the server sees under another
address or port than before, a short exchange that did not work out within a minute of attempts, a name that had another address
or none for so long.
"""

import asyncio
import hashlib
import os
import signal
import socket
import struct
import sys
import time

TCP_PORT, UDP_PORT, DNS_PORT = 7000, 7001, 53
LONG = 12
# Bytes of the datagrams of each UDP flow; the last ones go in fragments.
DATAGRAMS = [200, 400, 600, 800, 1000, 1200, 3000, 6000]
PATIENCE = 60
A, AAAA = 1, 28


async def echo(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()


class UdpServer(asyncio.DatagramProtocol):
    """Answers with the sender as it is seen here, and what it sent."""

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.transport.sendto(f"{address[0]} {address[1]}|".encode() + data, address)


def dns_query(number, name):
    labels = b"".join(bytes([len(label)]) + label for label in name.split(b"."))
    return struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + labels + struct.pack(">xHH", AAAA, 1)


class DnsServer(asyncio.DatagramProtocol):
    """Every name has this server's address, and no other record."""

    def __init__(self, address):
        self.address = socket.inet_aton(address)

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        number, _, questions = struct.unpack_from(">3H", data)
        end = data.index(0, 12) + 5
        (kind,) = struct.unpack_from(">H", data, end - 4)
        if questions != 1:
            return
        answer = struct.pack(">3HIH", 0xC00C, A, 1, 60, 4) + self.address if kind == A else b""
        header = struct.pack(">6H", number, 0x8580, 1, 1 if answer else 0, 0, 0)
        self.transport.sendto(header + data[12:end] + answer, address)


async def serve(address):
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(UdpServer, local_addr=(address, UDP_PORT))
    await loop.create_datagram_endpoint(lambda: DnsServer(address), local_addr=(address, DNS_PORT))
    server = await asyncio.start_server(echo, address, TCP_PORT)
    await server.serve_forever()


class Good:
    def __init__(self, address, resolver):
        self.address, self.resolver = address, resolver
        self.stalls, self.lost = [], []
        self.messages = self.bytes = self.shorts = self.attempts = 0
        self.sent = self.answered = self.names = self.asked = 0
        self.to_open = LONG + len(DATAGRAMS)
        self.stopping = asyncio.Event()

    def opened(self):
        self.to_open -= 1
        if self.to_open == 0:
            print("open", flush=True)

    async def exchange(self, reader, writer, size):
        message = os.urandom(size)
        writer.write(message)
        back = await asyncio.wait_for(reader.readexactly(size), PATIENCE)
        if hashlib.sha256(back).digest() != hashlib.sha256(message).digest():
            raise ValueError("bytes came back changed")
        self.bytes += size

    async def long(self, number):
        """One connection for the whole time; every third is a bulk transfer, the others are like a terminal."""
        size = 262_144 if number % 3 == 0 else 64 + number
        try:
            reader, writer = await asyncio.open_connection(self.address, TCP_PORT)
            first = True
            while not self.stopping.is_set():
                begun = time.monotonic()
                await self.exchange(reader, writer, size)
                self.stalls.append(time.monotonic() - begun)
                self.messages += 1
                if first:
                    self.opened()
                first = False
                await asyncio.sleep(0.05)
            writer.close()
        except Exception as error:
            self.lost.append(f"TCP connection {number}: {error!r}")

    async def short(self):
        """Connections one after the other, as of web pages. What fails is tried again, as a browser would."""
        while not self.stopping.is_set():
            begun = time.monotonic()
            while True:
                self.attempts += 1
                try:
                    reader, writer = await asyncio.wait_for(asyncio.open_connection(self.address, TCP_PORT), 5)
                    await asyncio.wait_for(self.exchange(reader, writer, 20_000), 10)
                    writer.close()
                    self.shorts += 1
                    break
                except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError) as error:
                    if time.monotonic() - begun > PATIENCE:
                        self.lost.append(f"short connection: {error!r}")
                        break
                    await asyncio.sleep(0.2)
                except ValueError as error:
                    self.lost.append(f"short connection: {error!r}")
                    break
            await asyncio.sleep(0.1)

    async def datagrams(self, number):
        """One UDP flow. Datagrams may be lost, but not changed, and the flow keeps its address and port."""
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as flow:
            flow.setblocking(False)
            await loop.sock_connect(flow, (self.address, UDP_PORT))
            seen = None
            while not self.stopping.is_set():
                body = os.urandom(DATAGRAMS[number])
                digest = hashlib.sha256(body).digest()
                self.sent += 1
                try:
                    await loop.sock_sendall(flow, digest + body)
                    back = await asyncio.wait_for(loop.sock_recv(flow, 65536), 1)
                except (OSError, asyncio.TimeoutError):
                    await asyncio.sleep(0.05)
                    continue
                self.answered += 1
                sender, _, data = back.partition(b"|")
                if hashlib.sha256(data[32:]).digest() != data[:32]:
                    self.lost.append(f"UDP flow {number}: bytes came back changed")
                    return
                if seen is None:
                    seen = sender
                    self.opened()
                elif sender != seen:
                    self.lost.append(f"UDP flow {number}: was {seen.decode()}, is {sender.decode()}")
                    return
                await asyncio.sleep(0.05)

    async def lookups(self):
        """Names that nobody has asked for before, each until it is answered, as by a resolver of a host."""
        loop = asyncio.get_running_loop()
        expected = socket.inet_pton(socket.AF_INET6, self.address)
        while not self.stopping.is_set():
            name = b"n%d.chaos.example" % self.names
            begun = time.monotonic()
            while True:
                query = dns_query(int.from_bytes(os.urandom(2), "big"), name)
                self.asked += 1
                try:
                    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as one:
                        one.setblocking(False)
                        await loop.sock_connect(one, (self.resolver, DNS_PORT))
                        await loop.sock_sendall(one, query)
                        answer = await asyncio.wait_for(loop.sock_recv(one, 4096), 2)
                    rcode, records = answer[3] & 15, struct.unpack_from(">H", answer, 6)[0]
                    if answer[:2] != query[:2] or (rcode, records) == (0, 1) and expected not in answer:
                        self.lost.append(f"{name.decode()}: answered with another address")
                        break
                    if (rcode, records) == (0, 1):
                        self.names += 1
                        break
                except (OSError, asyncio.TimeoutError):
                    pass
                if time.monotonic() - begun > PATIENCE:
                    self.lost.append(f"{name.decode()}: not answered")
                    break
                await asyncio.sleep(0.1)
            await asyncio.sleep(0.05)

    async def run(self):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.stopping.set)
        flows = [self.long(number) for number in range(LONG)]
        flows += [self.datagrams(number) for number in range(len(DATAGRAMS))]
        await asyncio.gather(self.short(), self.lookups(), *flows)
        self.report()

    def report(self):
        stalls = sorted(self.stalls)
        at = lambda part: f"{stalls[min(len(stalls) - 1, int(len(stalls) * part))] * 1000:.0f} ms"
        print(f"  long TCP connections: {LONG}, {self.messages} messages, {self.bytes >> 20} MiB checked")
        if stalls:
            parts = ", ".join(f"{part:g}: {at(part)}" for part in (0.5, 0.9, 0.99, 0.999))
            print(f"  time of a message by percentile: {parts}, longest: {stalls[-1] * 1000:.0f} ms")
        print(f"  short TCP connections: {self.shorts} in {self.attempts} attempts")
        fragmented = sum(size > 1400 for size in DATAGRAMS)
        print(f"  UDP flows: {len(DATAGRAMS)}, {fragmented} of them in fragments, {self.sent} datagrams, {self.answered} answered")
        print(f"  names: {self.names} in {self.asked} attempts")
        for loss in self.lost:
            print(f"  LOST: {loss}")
        print(f"lost: {len(self.lost)}")


def bad(address):
    """A new source port for each datagram, as fast as they can be had."""
    while True:
        for port in range(2000, 60_000):
            with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as one:
                try:
                    one.bind(("::", port))
                    one.sendto(b"more", (address, 9))
                except OSError:
                    pass
            time.sleep(0.0005)


def main():
    mode, address, *resolver = sys.argv[1:]
    if mode == "bad":
        bad(address)
    asyncio.run(serve(address) if mode == "server" else Good(address, *resolver).run())


main()
