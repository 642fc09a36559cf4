"""Times writes to a neural memory through `headwise serve`, builds in turn.

    memory_writes.py BIN_FOLDER [BIN_FOLDER ...]

Nine heads of 64, two layers with 128 between them, chunks of 64; every token is
read as it is written. Each round starts every build's server once, writes 640
tokens one a call and then 10,416 in calls as large as the client makes them
(1,302 tokens), and takes the mean server time of a call from
headwise_request_latency_seconds: from the request's arrival to its answer, hash
and copies included. Needs the Python client (pip install ./client/python).
"""

import argparse
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

import headwise
import headwise.neural_memory
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
MODEL = ROOT / 'models' / 'SmolLM2-135M-Instruct.Q4_1.gguf'
HEADS, HEAD_DIM = 9, 64
ONES = 640
LARGE_CALLS = 8
START_SECONDS = 120
SERIES = re.compile(r'^headwise_request_latency_seconds_(sum|count){.*} (\S+)$')


class Server:
    """`headwise serve`, ended by close()."""

    def __init__(self, folder, threads):
        self.files = tempfile.TemporaryDirectory(prefix='headwise-bench-')
        ports = pathlib.Path(self.files.name, 'ports')
        self.process = subprocess.Popen(
            [pathlib.Path(folder, 'headwise'), 'serve', '--model', MODEL,
             '--threads', str(threads), '--listen', '127.0.0.1:0',
             '--metrics-listen', '127.0.0.1:0', '--port-file', ports,
             '--neural-memory-bytes', '500000000'],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while not ports.is_file() or len(ports.read_text().split()) < 2:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise RuntimeError(f'{folder}: the server did not start')
            time.sleep(0.05)
        port, metrics = ports.read_text().split()
        self.address = f'127.0.0.1:{port}'
        self.metrics = f'http://127.0.0.1:{metrics}/metrics'

    def totals(self):
        """Seconds and calls so far."""
        found = {'sum': 0.0, 'count': 0.0}
        with urllib.request.urlopen(self.metrics) as page:
            for line in page.read().decode().splitlines():
                if match := SERIES.match(line):
                    found[match[1]] += float(match[2])
        return found['sum'], found['count']

    def close(self):
        self.process.terminate()
        self.process.wait(timeout=30)
        self.files.cleanup()


def milliseconds(server, write, count):
    """Mean server time of `count` writes."""
    before = server.totals()
    for number in range(count):
        write(number)
    after = server.totals()
    assert after[1] - before[1] == count
    return 1e3 * (after[0] - before[0]) / count


def run(folder, threads):
    """Milliseconds of a write of one token, tokens a second of large ones."""
    random = np.random.default_rng(1)
    step = headwise.neural_memory._MAX_TENSOR_BYTES // (HEADS * HEAD_DIM * 4)
    shape = (step, HEADS, HEAD_DIM)
    keys, values, queries = (random.normal(size=shape).astype(np.float32)
                             for _ in range(3))
    for x in (keys, queries):
        x /= np.linalg.norm(x, axis=-1, keepdims=True)
    server = Server(folder, threads)
    try:
        with headwise.NeuralMemory.create(
                server.address, num_heads=HEADS, head_dim=HEAD_DIM,
                activation='gelu', norm='layer',
                gates=headwise.Gates(0.0005, 0.5, 0.02)) as memory:
            def one(i):
                row = slice(i, i + 1)
                memory.write(keys[row], values[row], queries=queries[row])
            milliseconds(server, one, 64)  # warms up
            of_one = milliseconds(server, one, ONES)

            def many(_):
                memory.write(keys, values, queries=queries)
            milliseconds(server, many, 2)
            of_many = milliseconds(server, many, LARGE_CALLS)
    finally:
        server.close()
    return of_one, step / of_many * 1e3


def spread(values, digits):
    return (f'{statistics.median(values):,.{digits}f} '
            f'({min(values):,.{digits}f} to {max(values):,.{digits}f})')


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('folders', nargs='+')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--threads', type=int, default=2)
    arguments = parser.parse_args()
    figures = [[] for _ in arguments.folders]
    for number in range(arguments.rounds):
        order = range(len(arguments.folders))
        for i in order if number % 2 == 0 else reversed(order):
            figures[i].append(run(arguments.folders[i], arguments.threads))
            print(f'round {number + 1}: {arguments.folders[i]}: '
                  f'{figures[i][-1][0]:.3f} ms, {figures[i][-1][1]:,.0f} '
                  'tokens/s', file=sys.stderr, flush=True)
    print('| build | a write of one token, ms of server time | '
          'tokens/s of large writes |\n|---|---|---|')
    for folder, rounds in zip(arguments.folders, figures):
        ones, many = zip(*rounds)
        print(f'| {folder} | {spread(ones, 3)} | {spread(many, 0)} |')
    for side in figures[1:]:
        ones = [a[0] / b[0] for a, b in zip(figures[0], side)]
        many = [a[1] / b[1] for a, b in zip(figures[0], side)]
        print(f'\nthe first against it, within a round: {spread(ones, 2)} '
              f'times the time of one token; tokens/s {spread(many, 2)} times')


if __name__ == '__main__':
    main()
