"""Fifty clients at once, some of them rude: every answer is the one that its question gets alone.

The answers to compare with are asked one by one before; the server runs with `engine.batch_invariant=true`, so
they are equal to the bit whoever else is served.
"""

import json
import random
import socket
import threading
import time
from collections import Counter

import pytest

from serving.live import LiveServer

CLIENTS = 50
MIX = ["good"] * 6 + ["leaves"] * 2 + ["bad", "too long"]


def questions(name):
    """Seeded ones of different lengths."""
    source = random.Random(7)
    kinds = []
    for seed in range(12):
        messages = [{"role": "user", "content": "abcdefgh "[: source.randint(1, 9)] * source.randint(1, 12)}]
        own = {"logprobs": True, "top_logprobs": 2} if seed % 3 == 0 else {}
        fields = {"max_tokens": source.randint(1, 40), "temperature": source.choice([0, 0.7, 1.0]), "n": 1 + seed % 2}
        kinds.append({"model": name, "messages": messages, "seed": seed, **fields, **own})
    return kinds


def said(answer):
    return [(choice["message"]["content"], choice["finish_reason"], choice["logprobs"]) for choice in answer["choices"]]


class Load:
    """Clients that ask until the time is up, without a break or all at once every `every` seconds.

    `wrong` collects what should not have happened.
    """

    def __init__(self, server, seconds, every):
        self.server, self.every = server, every
        self.asked = questions(server.name)
        self.alone = [said(server.ask("/v1/chat/completions", question)[2]) for question in self.asked]
        self.wrong, self.latencies, self.counts = [], [], Counter()
        self.start = time.monotonic()
        self.end = self.start + seconds

    def client(self, number):
        source = random.Random(number)
        try:
            while time.monotonic() < self.end:
                kind = source.choice(MIX)
                self.counts[kind] += 1
                getattr(self, kind.replace(" ", "_"))(source)
                if self.every:
                    time.sleep(self.every - (time.monotonic() - self.start) % self.every)
        except Exception as error:
            self.wrong.append(repr(error))

    def good(self, source):
        place = source.randrange(len(self.asked))
        start = time.monotonic()
        status, _, answer = self.server.ask("/v1/chat/completions", self.asked[place])
        self.latencies.append(time.monotonic() - start)
        if status != 200 or said(answer) != self.alone[place]:
            self.wrong.append((place, status, answer))

    def leaves(self, source):
        body = json.dumps({**self.asked[0], "max_tokens": 200, "stream": True}).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        with socket.create_connection(("127.0.0.1", self.server.port)) as connection:
            connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            time.sleep(source.random() / 20)

    def bad(self, source):
        status, _, _ = self.server.ask("/v1/chat/completions", {**self.asked[0], "temperature": -source.random()})
        if status != 400:
            self.wrong.append(("bad", status))

    def too_long(self, source):
        long = [{"role": "user", "content": "x" * source.randint(300, 3000)}]
        status, _, answer = self.server.ask("/v1/chat/completions", {**self.asked[0], "messages": long})
        if status != 400 or answer["error"]["code"] != "context_length_exceeded":
            self.wrong.append(("too long", status))


def memory_at(server, moments):
    """Resident bytes at each of the moments, in seconds from now."""
    start, found = time.monotonic(), []
    for moment in moments:
        time.sleep(max(0.0, start + moment - time.monotonic()))
        found.append(server.memory)
    return found


@pytest.mark.parametrize(("seconds", "every"), [(60, 5), pytest.param(600, 0, marks=pytest.mark.slow)])
def test_under_load_every_answer_is_the_one_it_gets_alone(talker, seconds, every):
    """A minute of waves, with rests that leave the cores to other tests; ten minutes without a break are slow."""
    server = LiveServer(talker, "engine.batch_invariant=true", "limits.queue=200", "limits.connections=400")
    load = Load(server, seconds, every)
    threads = [threading.Thread(target=load.client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    early, late = memory_at(server, (0.2 * seconds, seconds))
    for thread in threads:
        thread.join()
    assert server.idle(), "no request is left, and no byte of a cache"
    log = server.close()
    ordered = sorted(load.latencies)
    middle, slow = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
    print(f"{dict(load.counts)}; p50 {middle:.2f} s, p99 {slow:.2f} s; memory {early / 1e6:.0f} to {late / 1e6:.0f} MB")
    assert load.wrong[:3] == []
    assert load.counts["good"] > CLIENTS
    assert "Traceback" not in log, log
    assert late <= 1.03 * early
