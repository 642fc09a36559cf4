"""Measures llama.cpp, through the package llama-cpp-python.

    llama_cpp.py --model M [--prefill 512,4096] [--depths 0,4096,8000]
                 [--threads 2,1] [--repeat 5]      JSON lines, one per case
    llama_cpp.py --model M --serve                 one request per input line

The first call makes build/peers/venv and builds the package there (several
minutes on two cores). A request is a JSON object such as
{"work": "decode", "tokens": 64, "depth": 4096, "threads": 2, "flash": false};
the answer adds seconds and tokens_per_second of this one run.

What is timed: llama_decode over batches of at most 512 tokens, as llama-bench
does it; logits of the last row only; no sampling, no text. Decode feeds tokens
that were fixed before. KV in fp16. With "work": "streams", each llama_decode
has one row of each of "streams" sequences, with the logits of all.

g++ 12 compiles ggml's AMX code so that it dies with SIGILL, so on a machine
with AMX the package is built without it; "amx_off" in each answer says so.
"""

import argparse
import ctypes
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

PACKAGE = 'llama-cpp-python==0.3.36'
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
VENV = ROOT / 'build' / 'peers' / 'venv'
DEFAULT_MODEL = ROOT / 'models' / 'SmolLM2-135M-Instruct.Q4_1.gguf'
BATCH = 512          # n_batch and n_ubatch
CONTEXT_LEN = 8192   # of the model
MAX_STREAMS = 8
FIRST_TOKEN = 1000   # the prompt: fixed ids, none of them special
NO_AMX = '-mno-amx-tile -mno-amx-int8 -mno-amx-bf16'


def machine_has_amx():
    return ' amx_tile' in pathlib.Path('/proc/cpuinfo').read_text()


def ensure_package():
    """Runs this script again in a virtual environment that has the package."""
    python = VENV / 'bin' / 'python'
    if pathlib.Path(sys.prefix) == VENV:
        # This file has the package's name: don't import ourselves.
        here = str(pathlib.Path(__file__).resolve().parent)
        sys.path = [p for p in sys.path if p != here]
        return
    if not (VENV / 'ready').exists():
        print(f'installing {PACKAGE} into {VENV}', file=sys.stderr)
        subprocess.run([sys.executable, '-m', 'venv', '--clear', VENV],
                       check=True)
        command = [python, '-m', 'pip', 'install', '--quiet', PACKAGE]
        environment = dict(os.environ)
        if machine_has_amx():
            # A wheel in pip's cache may have been built with AMX.
            command += ['--no-cache-dir', '--no-binary', 'llama-cpp-python']
            environment['CMAKE_ARGS'] = (f'-DCMAKE_C_FLAGS="{NO_AMX}" '
                                         f'-DCMAKE_CXX_FLAGS="{NO_AMX}"')
        subprocess.run(command, check=True, env=environment,
                       stdout=sys.stderr)
        (VENV / 'ready').write_text(PACKAGE + '\n')
    os.execv(python, [str(python), *sys.argv])


class Peer:
    """One model, and one context for each (threads, flash) that was asked."""

    def __init__(self, model_path):
        import llama_cpp  # pylint: disable=import-outside-toplevel
        self.lib = llama_cpp
        # llama.cpp logs hundreds of lines; errors come as return values.
        self.log = llama_cpp.llama_log_callback(lambda *_: None)
        llama_cpp.llama_log_set(self.log, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self.model = llama_cpp.llama_model_load_from_file(
            str(model_path).encode(), llama_cpp.llama_model_default_params())
        if not self.model:
            raise RuntimeError(f'llama.cpp cannot load {model_path}')
        self.contexts = {}  # (threads, flash): [context, tokens in its cache]
        self.context = None
        self.settings = None

    def use(self, threads, flash):
        self.settings = (threads, flash)
        if self.settings in self.contexts:
            self.context = self.contexts[self.settings][0]
            return
        lib = self.lib
        params = lib.llama_context_default_params()
        params.n_ctx = CONTEXT_LEN
        params.n_batch = params.n_ubatch = BATCH
        params.n_seq_max = MAX_STREAMS
        params.kv_unified = True  # as its server's slots
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = (lib.LLAMA_FLASH_ATTN_TYPE_ENABLED if flash
                                  else lib.LLAMA_FLASH_ATTN_TYPE_DISABLED)
        self.context = lib.llama_init_from_model(self.model, params)
        if not self.context:
            raise RuntimeError('llama.cpp cannot make a context')
        self.contexts[self.settings] = [self.context, 0]
        self.feed(16)  # the first call allocates and starts threads
        self.cut(0)

    @property
    def num_cached(self):
        return self.contexts[self.settings][1]

    @num_cached.setter
    def num_cached(self, value):
        self.contexts[self.settings][1] = value

    def cut(self, num_tokens):
        """Forgets all positions from num_tokens on."""
        memory = self.lib.llama_get_memory(self.context)
        if num_tokens == 0:
            self.lib.llama_memory_clear(memory, False)
        elif not self.lib.llama_memory_seq_rm(memory, 0, num_tokens, -1):
            raise RuntimeError('llama.cpp cannot cut its cache')
        self.num_cached = num_tokens

    def feed(self, num_tokens, batch_size=BATCH):
        """Appends fixed tokens; returns seconds."""
        tokens = (ctypes.c_int32 * num_tokens)(
            *[FIRST_TOKEN + i % 997 for i in range(num_tokens)])
        start = time.perf_counter()
        for first in range(0, num_tokens, batch_size):
            count = min(batch_size, num_tokens - first)
            view = ctypes.cast(ctypes.byref(tokens, 4 * first),
                               ctypes.POINTER(ctypes.c_int32))
            status = self.lib.llama_decode(
                self.context, self.lib.llama_batch_get_one(view, count))
            if status != 0:
                raise RuntimeError(f'llama_decode returned {status}')
        # Decode may return before the last graph is done.
        self.lib.llama_synchronize(self.context)
        self.num_cached += num_tokens
        return time.perf_counter() - start

    def feed_streams(self, num_streams, num_tokens, first):
        """Appends to each of so many sequences, a row of each at a time."""
        batch = self.lib.llama_batch_init(num_streams, 0, 1)
        try:
            for position in range(first, first + num_tokens):
                batch.n_tokens = num_streams
                for i in range(num_streams):
                    batch.token[i] = FIRST_TOKEN + (position + i) % 997
                    batch.pos[i] = position
                    batch.n_seq_id[i] = 1
                    batch.seq_id[i][0] = i
                    batch.logits[i] = 1
                if self.lib.llama_decode(self.context, batch) != 0:
                    raise RuntimeError('llama_decode failed')
                self.lib.llama_synchronize(self.context)
        finally:
            self.lib.llama_batch_free(batch)

    def run_streams(self, num_streams, num_tokens, depth):
        """Seconds after prompts of `depth` tokens, theirs not counted."""
        self.cut(0)
        self.feed_streams(num_streams, depth, 0)
        start = time.perf_counter()
        self.feed_streams(num_streams, num_tokens, depth)
        seconds = time.perf_counter() - start
        self.lib.llama_memory_clear(
            self.lib.llama_get_memory(self.context), False)
        return seconds

    def run(self, request):
        work, tokens = request['work'], int(request['tokens'])
        depth = int(request.get('depth', 0))
        if depth + tokens > CONTEXT_LEN:
            raise ValueError(f'depth {depth} + tokens {tokens} are above the '
                             f'context of {CONTEXT_LEN}')
        self.use(int(request['threads']), bool(request['flash']))
        if work == 'streams':
            streams = int(request['streams'])
            if not 1 <= streams <= MAX_STREAMS:
                raise ValueError(f'streams: {streams}, 1 to {MAX_STREAMS}')
            seconds = self.run_streams(streams, tokens, depth)
            return {**request, 'peer': PACKAGE, 'amx_off': machine_has_amx(),
                    'seconds': seconds,
                    'tokens_per_second': streams * tokens / seconds}
        self.cut(min(depth, self.num_cached))
        if self.num_cached < depth:
            self.feed(depth - self.num_cached)
        if work == 'decode':
            seconds = self.feed(tokens, batch_size=1)
        elif work == 'prefill':
            seconds = self.feed(tokens)
        else:
            raise ValueError(f'work: {work}, must be prefill, decode or '
                             'streams')
        return {**request, 'peer': PACKAGE, 'amx_off': machine_has_amx(),
                'seconds': seconds, 'tokens_per_second': tokens / seconds}


def serve(peer):
    print(json.dumps({'ready': True}), flush=True)
    for line in sys.stdin:
        try:
            answer = peer.run(json.loads(line))
        except (RuntimeError, ValueError, KeyError) as error:
            answer = {'error': f'{type(error).__name__}: {error}'}
        print(json.dumps(answer), flush=True)


def cases(arguments):
    for threads in arguments.threads:
        for flash in (False, True):
            shared = {'threads': threads, 'flash': flash}
            for tokens in arguments.prefill:
                yield {'work': 'prefill', 'tokens': tokens, 'depth': 0,
                       **shared}
            for depth in arguments.depths:
                yield {'work': 'decode', 'tokens': arguments.decode_tokens,
                       'depth': depth, **shared}


def measure(peer, request, repeat):
    rates = sorted(peer.run(request)['tokens_per_second']
                   for _ in range(repeat))
    return {**request, 'peer': PACKAGE, 'amx_off': machine_has_amx(),
            'runs': repeat, 'tokens_per_second': statistics.median(rates),
            'slowest': rates[0], 'fastest': rates[-1]}


def int_list(text):
    return [int(word) for word in text.split(',') if word]


def main():
    parser = argparse.ArgumentParser(description='Measures llama.cpp.')
    parser.add_argument('--model', type=pathlib.Path, default=DEFAULT_MODEL)
    parser.add_argument('--serve', action='store_true')
    parser.add_argument('--prefill', type=int_list, default=[512, 4096])
    parser.add_argument('--depths', type=int_list, default=[0, 4096, 8000])
    parser.add_argument('--decode-tokens', type=int, default=64)
    parser.add_argument('--threads', type=int_list, default=[2, 1])
    parser.add_argument('--repeat', type=int, default=5)
    arguments = parser.parse_args()
    ensure_package()
    peer = Peer(arguments.model)
    if arguments.serve:
        serve(peer)
        return
    for request in cases(arguments):
        print(json.dumps(measure(peer, request, arguments.repeat)), flush=True)


if __name__ == '__main__':
    main()
