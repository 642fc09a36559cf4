"""Times neural memories of Headwise and of titans-pytorch in turn; prints a
table.

    memory_peer.py [--rounds 5] [--threads 2] [--tokens 4096]
                   [--stream 2000000]

The first call makes build/peers/titans and installs torch and titans-pytorch
there from PyPI (some gigabytes). Each round times every case once on each side,
so that a drift of the machine meets both: ours by headwise_memory_bench, a
process for each case, theirs in this process. A side's figure in a round is its
median of REPEAT runs after one to warm up; a ratio is taken within a round.

Dim 576, 9 heads of 64, two layers with 128 between them, GELU, layer norm and
residual, chunks of 64: titans-pytorch's own defaults but for the width. Its
module projects queries, keys, values and gates and joins the heads; ours gets
keys, values, queries and gates. So the time of those linear layers alone,
measured in the same round, is also taken off its side. It is asked in two ways:
batch_size=64, whose gradients are taken at each chunk's start as ours are, and
its default, whose gradients are all taken at the initial weights.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

from rounds import REPEAT, ROOT, header, median_seconds, spread

sys.path.append(str(ROOT / 'bench' / 'peers'))
import titans_pytorch_peer  # noqa: E402 pylint: disable=wrong-import-position
BENCH = ROOT / 'build' / 'release' / 'bin' / 'headwise_memory_bench'
DIM, HEADS, CHUNK = 576, 9, 64


class Peer:
    def __init__(self, arguments):
        import torch  # pylint: disable=import-outside-toplevel
        torch.set_num_threads(arguments.threads)
        torch.set_grad_enabled(False)
        torch.manual_seed(1)
        self.torch = torch
        options = {'dim': DIM, 'heads': HEADS, 'chunk_size': CHUNK,
                   'hidden_factor': 2, 'default_step_transform_max_lr': 0.1}
        self.by_chunk = titans_pytorch_peer.neural_memory(
            batch_size=CHUNK, **options)
        self.at_start = titans_pytorch_peer.neural_memory(**options)
        self.tokens = torch.randn(1, arguments.tokens, DIM)

    def linear_layers(self):
        """Its projections, without the memory between them."""
        module, x = self.by_chunk, self.tokens
        y = module.store_norm(x)
        module.to_keys(y)
        module.to_values(y)
        module.to_adaptive_step(y)
        z = module.retrieve_norm(x)
        module.retrieve_gate(z)
        return module.combine_heads(module.to_queries(z))

    def write(self):
        """Seconds of each way to ask, by its name."""
        return {'by chunk': median_seconds(lambda: self.by_chunk(self.tokens)),
                'default': median_seconds(lambda: self.at_start(self.tokens)),
                'linear layers': median_seconds(self.linear_layers)}

    def token(self):
        """Seconds of single tokens, as its decode has them: the median, and
        the worst, over two chunks."""
        _, state = self.by_chunk(self.tokens[:, :CHUNK])
        seconds = []
        for t in range(2 * CHUNK):
            x = self.tokens[:, t:t + 1]
            start = time.perf_counter()
            _, state = self.by_chunk(x, state=state)
            seconds.append(time.perf_counter() - start)
        return statistics.median(seconds), max(seconds)

    def state_bytes(self):
        """Of the state it returns, and of its weights alone."""
        _, state = self.by_chunk(self.tokens)
        tensors, left = [], [state]
        while left:
            item = left.pop()
            if self.torch.is_tensor(item):
                tensors.append(item)
            elif hasattr(item, 'values'):
                left += list(item.values())
            elif isinstance(item, (tuple, list)):
                left += item
        weights = sum(p.numel() * 4
                      for p in self.by_chunk.memory_model_parameters)
        # Views share their storage; it is held once.
        storages = {t.untyped_storage().data_ptr():
                    t.untyped_storage().nbytes() for t in tensors}
        return sum(storages.values()), weights


def ours(arguments, work, *more):
    command = [BENCH, f'--work={work}', f'--threads={arguments.threads}',
               f'--heads={HEADS}', f'--head-dim={DIM // HEADS}',
               f'--chunk={CHUNK}', *more]
    answer = subprocess.run(command, capture_output=True, text=True,
                            check=True)
    return json.loads(answer.stdout)


def compare_writes(arguments, peer):
    """Rows of the table of tokens a second."""
    tokens = arguments.tokens
    mine = {'by chunk': [], 'by token': []}
    theirs = {}
    for number in range(arguments.rounds):
        for rule in ('chunk', 'token'):
            mine[f'by {rule}'].append(
                ours(arguments, 'write', f'--tokens={tokens}',
                     f'--rule={rule}', f'--repeat={REPEAT}')['seconds'])
        for way, seconds in peer.write().items():
            theirs.setdefault(way, []).append(seconds)
        print(f'round {number + 1}: {mine}; {theirs}', file=sys.stderr,
              flush=True)
    print('| ours | tokens/s | titans-pytorch | tokens/s | ratio '
          '| without its linear layers |\n|---|---|---|---|---|---|')
    for rule, seconds in mine.items():
        for way in ('by chunk', 'default'):
            others = theirs[way]
            layers = theirs['linear layers']
            ratio = [t / s for t, s in zip(others, seconds)]
            bare = [(t - p) / s for t, p, s in zip(others, layers, seconds)]
            print(f'| {rule} | {spread([tokens / s for s in seconds], 0)} '
                  f'| {way} | {spread([tokens / t for t in others], 0)} '
                  f'| **{statistics.median(ratio):.2f}** '
                  f'| {statistics.median(bare):.2f} |')


def main():
    parser = argparse.ArgumentParser(description='Neural memories, in turn.')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--tokens', type=int, default=4096)
    parser.add_argument('--stream', type=int, default=2_000_000)
    arguments = parser.parse_args()
    titans_pytorch_peer.run_in_environment()
    print(header(arguments, titans_pytorch_peer.PACKAGES))
    peer = Peer(arguments)
    compare_writes(arguments, peer)
    median, worst = peer.token()
    print(f'\ntitans-pytorch, one token: median {1e3 * median:.2f} ms, worst '
          f'{1e3 * worst:.2f} ms')
    for rule in ('chunk', 'token'):
        print(f'ours, one token, by {rule}:',
              ours(arguments, 'token', f'--rule={rule}', '--tokens=6400'))
    state, weights = peer.state_bytes()
    print(f'titans-pytorch, state: {state:,} bytes, {state / weights:.1f} '
          'times its weights')
    print('ours, state:', ours(arguments, 'write')['state_bytes'])
    print('ours, snapshot:', ours(arguments, 'snapshot', '--repeat=9'))
    for rule in ('chunk', 'token'):
        print(f'ours, {arguments.stream:,} tokens, by {rule}:',
              ours(arguments, 'write', f'--rule={rule}', '--repeat=0',
                   f'--tokens={arguments.stream}'))


if __name__ == '__main__':
    main()
