"""The sides that measure.py lets run in turn: who computes attention, and how.

A side's run(inputs) gives a Result. Opening sessions, reading files and
transposing are not timed; appending keys and values is.
"""

import concurrent.futures
import dataclasses
import json
import pathlib
import subprocess
import time

import numpy as np

import headwise
import sides

HEADS = 8
HEAD_DIM = 64
PROGRAM = sides.BIN / 'headwise_distributed_mha'
ROWS = 512  # queries of one call, as in session_workers.cc
LANES = 2   # calls under way at a time: one computes, one is on the wire
RUN_SECONDS = 0.5  # for which a side runs, at least once; as in main.cc


@dataclasses.dataclass
class Result:
    seconds: float
    output: np.ndarray  # [heads][tokens][head_dim]
    cpu_seconds: float = 0.0  # of the busiest worker, where it is known


class Inputs:
    """q, k and v, [heads][tokens][head_dim] of fp32, here and in files."""

    def __init__(self, folder, tokens):
        random = np.random.default_rng(20261126)
        self.folder = pathlib.Path(folder)
        self.tokens = tokens
        shape = (HEADS, tokens, HEAD_DIM)
        self.q, self.k, self.v = (
            random.standard_normal(shape, dtype=np.float32) for _ in 'qkv')
        for name in 'qkv':
            getattr(self, name).tofile(self.folder / name)


class Program:
    """A run of headwise_distributed_mha, a process for each."""

    def __init__(self, side, workers=1, heads=HEADS):
        self.heads = heads
        self.arguments = [f'--side={side}', f'--workers={workers}',
                          f'--heads={heads}', f'--head-dim={HEAD_DIM}']

    def run(self, inputs):
        out = inputs.folder / 'out'
        result = subprocess.run(
            [PROGRAM, *self.arguments, f'--tokens={inputs.tokens}',
             f'--folder={inputs.folder}', f'--out={out}'],
            capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise RuntimeError(result.stderr.strip())
        output = np.fromfile(out, np.float32).reshape(
            self.heads, inputs.tokens, HEAD_DIM)
        figures = json.loads(result.stdout)
        return Result(figures['seconds'], output, figures['cpu_seconds'])


def median_run(warm_up, run):
    """run() gives (seconds, output)."""
    warm_up()
    seconds = []
    while sum(seconds) < RUN_SECONDS:
        took, output = run()
        seconds.append(took)
    return Result(sorted(seconds)[len(seconds) // 2], output)


class Blas:
    """The textbook's steps, its products by NumPy's BLAS on one thread."""

    def __init__(self):
        self.bias = np.zeros((0, 0), np.float32)

    def run(self, inputs):
        n = inputs.tokens
        if len(self.bias) != n:  # kept between runs, as models keep it
            self.bias = np.triu(np.full((n, n), -np.inf, np.float32), 1)
        return median_run(lambda: self._run_once(inputs, 1),
                          lambda: self._run_once(inputs, HEADS))

    def _run_once(self, inputs, num_heads):
        output = np.empty_like(inputs.q)
        start = time.perf_counter()
        for head in range(num_heads):
            q, k, v = (x[head] for x in (inputs.q, inputs.k, inputs.v))
            scores = (q / np.float32(HEAD_DIM ** 0.5)) @ k.T
            scores += self.bias
            scores -= scores.max(axis=1, keepdims=True)
            np.exp(scores, out=scores)
            scores /= scores.sum(axis=1, keepdims=True)
            np.matmul(scores, v, out=output[head])
        return time.perf_counter() - start, output


class Cluster:
    """A coordinator and workers of one thread, each a process."""

    def __init__(self, model, workers, stack):
        cluster = sides.Cluster(model, [1] * workers)
        stack.callback(cluster.close)
        self.address = cluster.address


class Client:
    """A session of headwise.v1.Attention; this process is the client.

    messages_only: the same bytes travel, but every query sees one key, so that
    workers have next to nothing to compute."""

    def __init__(self, cluster, messages_only=False):
        self.address = cluster.address
        self.messages_only = messages_only

    def run(self, inputs):
        tensors = [np.ascontiguousarray(x.swapaxes(0, 1))
                   for x in (inputs.q, inputs.k, inputs.v)]
        def run():
            return self._run_once(*tensors)
        result = median_run(run, run)
        result.output = np.ascontiguousarray(result.output.swapaxes(0, 1))
        return result

    def _run_once(self, queries, keys, values):
        output = np.empty_like(queries)
        ends = np.arange(1, len(queries) + 1)
        if self.messages_only:
            ends[:] = 1
        with headwise.Session.open(
                self.address, num_heads=HEADS, num_kv_heads=HEADS,
                head_dim=HEAD_DIM, max_positions=len(queries)) as session:
            lanes = [headwise.Session.attach(self.address, session.session_id)
                     for _ in range(LANES)]
            start = time.perf_counter()
            session.append(keys, values)
            attend_in_lanes(lanes, queries, ends, output)
            seconds = time.perf_counter() - start
            for lane in lanes:
                lane.close()
        return seconds, output


def attend_in_lanes(sessions, queries, ends, output):
    """Query i sees keys below ends[i]. Call c goes to lane c modulo their
    number."""
    def run_lane(number):
        for begin in range(number * ROWS, len(queries),
                           len(sessions) * ROWS):
            rows = slice(begin, begin + ROWS)
            output[rows] = sessions[number].attend(
                queries[rows], visible_end=ends[rows]).output

    with concurrent.futures.ThreadPoolExecutor(len(sessions)) as pool:
        list(pool.map(run_lane, range(len(sessions))))
