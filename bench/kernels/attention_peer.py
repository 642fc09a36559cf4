"""Times attention of Headwise and of torch in turn; prints a table.

    attention_peer.py [--rounds 5] [--threads 2] [--positions 1000000]
                      [--prefill 4096,16384]

The first call makes build/peers/torch and installs torch there from PyPI (some
gigabytes). Each round times every case once on each side, so that a drift of
the machine meets both: ours by headwise_attention_bench, a process for each
case, torch in this process. A side's figure in a round is its median of
REPEAT runs after one to warm up; a ratio is taken within a round.

Decode: one new token, 8 KV heads of 64, bf16. torch is asked in three ways,
which give the same result: scaled_dot_product_attention as documented
(enable_gqa where query heads share a KV head); the same with those heads as
query rows; two matmuls and a softmax. Prefill: causal, 8 heads of 64, fp32.
"""

import argparse
import json
import statistics
import subprocess
import sys

from rounds import REPEAT, ROOT, header, median_seconds, spread

sys.path.append(str(ROOT / 'bench' / 'peers'))
import environment  # noqa: E402 pylint: disable=wrong-import-position
BENCH = ROOT / 'build' / 'release' / 'bin' / 'headwise_attention_bench'
KV_HEADS = 8
HEAD_DIM = 64
HEADS_PER_KV_HEAD = (1, 4)


class Torch:
    """Inputs are made once; they are what a cache would hold."""

    def __init__(self, arguments):
        import torch  # pylint: disable=import-outside-toplevel
        self.torch = torch
        self.sdpa = torch.nn.functional.scaled_dot_product_attention
        torch.set_num_threads(arguments.threads)
        torch.set_grad_enabled(False)
        torch.manual_seed(1)
        shape = (1, KV_HEADS, arguments.positions, HEAD_DIM)
        self.keys = torch.randn(shape, dtype=torch.bfloat16)
        self.values = torch.randn(shape, dtype=torch.bfloat16)
        self.prefill_inputs = {
            n: [torch.randn(1, KV_HEADS, n, HEAD_DIM) for _ in range(3)]
            for n in arguments.prefill}

    def decode(self, group):
        """Seconds of each way to ask, by its name."""
        torch, keys, values = self.torch, self.keys, self.values
        heads = torch.randn(1, KV_HEADS * group, 1, HEAD_DIM,
                            dtype=torch.bfloat16)
        rows = heads.view(1, KV_HEADS, group, HEAD_DIM)

        def matmuls():
            scores = rows @ keys.transpose(2, 3) * HEAD_DIM ** -0.5
            return scores.float().softmax(-1).bfloat16() @ values

        ways = {'sdpa': lambda: self.sdpa(heads, keys, values,
                                          enable_gqa=group > 1),
                'matmuls': matmuls}
        if group > 1:
            ways['sdpa, heads as rows'] = (
                lambda: self.sdpa(rows, keys, values))
        return {name: median_seconds(way) for name, way in ways.items()}

    def prefill(self, num_tokens):
        inputs = self.prefill_inputs[num_tokens]
        return {'sdpa': median_seconds(
            lambda: self.sdpa(*inputs, is_causal=True))}


def ours(arguments, *more):
    """One JSON object for each heads_per_kv_head."""
    command = [BENCH, f'--threads={arguments.threads}', f'--repeat={REPEAT}',
               f'--kv-heads={KV_HEADS}', f'--head-dim={HEAD_DIM}', *more]
    answer = subprocess.run(command, capture_output=True, text=True,
                            check=True)
    return [json.loads(line) for line in answer.stdout.splitlines()]


def decode_round(arguments, peer):
    """(case, our figures, torch's seconds by way) of one round."""
    groups = ','.join(str(g) for g in HEADS_PER_KV_HEAD)
    mine = ours(arguments, '--work=decode', '--type=bf16',
                f'--positions={arguments.positions}',
                f'--heads-per-kv-head={groups}')
    return [(f'decode, {g} query heads per KV head', figures, peer.decode(g))
            for g, figures in zip(HEADS_PER_KV_HEAD, mine)]


def prefill_round(arguments, peer, num_tokens):
    mine, = ours(arguments, '--work=prefill', '--type=fp32',
                 f'--positions={num_tokens}', '--heads-per-kv-head=1')
    return (f'causal prefill of {num_tokens:,}', mine,
            peer.prefill(num_tokens))


def row(case, rounds):
    """rounds: one (our figures, torch's seconds by way) for each round."""
    mine = [figures for figures, _ in rounds]
    seconds = [figures['seconds'] for figures in mine]
    cells = [case, spread([1e3 * s for s in seconds], 1)]
    for key in ('bandwidth_share', 'to_first'):
        cells.append(spread([f[key] for f in mine], 2)
                     if key in mine[0] else '')
    ways = []
    for way in rounds[0][1]:
        theirs = [times[way] for _, times in rounds]
        ratios = [t / s for t, s in zip(theirs, seconds)]
        ways.append(f'{way}: {spread([1e3 * t for t in theirs], 1)}, '
                    f'**{statistics.median(ratios):.2f}**')
    return '| ' + ' | '.join([*cells, '; '.join(ways)]) + ' |'


def int_list(text):
    return [int(word) for word in text.split(',') if word]


def main():
    parser = argparse.ArgumentParser(description='Attention, in turn.')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--positions', type=int, default=1_000_000)
    parser.add_argument('--prefill', type=int_list, default=[4096, 16384])
    arguments = parser.parse_args()
    environment.run_in('torch', environment.TORCH)
    peer = Torch(arguments)
    cases = {}
    for number in range(arguments.rounds):
        results = decode_round(arguments, peer)
        results += [prefill_round(arguments, peer, n)
                    for n in arguments.prefill]
        for case, mine, theirs in results:
            cases.setdefault(case, []).append((mine, theirs))
            print(f'round {number + 1}: {case}: {mine["seconds"]:.4f} s; '
                  f'torch {theirs}', file=sys.stderr, flush=True)
    print(header(arguments, environment.TORCH))
    print('| case | ours, ms | of the bandwidth | to 1 head | torch, ms, '
          'and its time to ours |\n|---|---|---|---|---|')
    for case, rounds in cases.items():
        print(row(case, rounds))


if __name__ == '__main__':
    main()
