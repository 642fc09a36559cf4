"""Repeats the experiment of "A Unified View of Long-Sequence Models towards
Modeling Million-Scale Dependencies" (He and Kabic, 2023) on CPU workers.

    measure.py [--tokens 1024,2048,4096,8192,16384] [--rounds 3]

Causal self-attention of N queries over N keys, 8 heads of 64, fp32. Vanilla
multi-head attention (the score matrix in memory, one worker) against ours on
1, 2 and 4 workers; how much the kernel gains and how much workers gain are
told apart. Rounds are interleaved: each runs every side once on each length,
so that a drift of the machine meets all. A ratio is taken within a round.

Outputs of all sides must agree to 1e-5, and ours must be equal bit by bit on
any number of workers, or it ends without a result. The first call makes
build/peers/headwise, an environment with NumPy and client/python. Writes
bench/results/distributed-mha.md.
"""

import argparse
import contextlib
import os
import pathlib
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / 'bench' / 'serving'))
sys.path.append(str(ROOT / 'bench' / 'peers'))
import environment  # noqa: E402 pylint: disable=wrong-import-position
TOLERANCE = 1e-5
ONE_THREAD = {'OPENBLAS_NUM_THREADS': '1', 'OMP_NUM_THREADS': '1'}


def make_sides(arguments, stack):
    """By key; report.py knows the keys."""
    import mha_sides as s
    quarter = s.HEADS // 4
    clusters = {n: s.Cluster(arguments.model, n, stack) for n in (1, 2, 4)}
    made = {
        'vanilla': s.Program('vanilla'),
        'blas': s.Blas(),
        'share': s.Program('sessions', heads=quarter),
        'messages': s.Client(clusters[1], messages_only=True),
    }
    for n, cluster in clusters.items():
        made[f'local{n}'] = s.Program('sessions', workers=n)
        made[f'grpc{n}'] = s.Client(cluster)
    return made


def available_bytes():
    for line in pathlib.Path('/proc/meminfo').read_text().split('\n'):
        if line.startswith('MemAvailable:'):
            return int(line.split()[1]) * 1024
    return 0


def keys_for(tokens, sides_by_key):
    """Without those whose score matrix, and its mask, memory can't hold."""
    fits = 2 * 4 * tokens * tokens < available_bytes() / 2
    return [key for key in sides_by_key
            if fits or key not in ('vanilla', 'blas')]


def check(inputs, outputs):
    """Largest difference from ours on one worker; raises if it is too much,
    or if a bit of ours depends on where it was computed."""
    import numpy as np
    ours = outputs['local1']
    expected = {'messages': np.repeat(inputs.v[:, :1], inputs.tokens, axis=1)}
    worst = 0.0
    for key, output in outputs.items():
        if key in ('vanilla', 'blas'):
            worst = max(worst, float(np.abs(output - ours).max()))
        elif output.tobytes() != expected.get(
                key, ours[:len(output)]).tobytes():
            raise RuntimeError(f'{inputs.tokens} tokens: {key} is wrong')
    if not worst <= TOLERANCE:
        raise RuntimeError(f'{inputs.tokens} tokens: sides differ by {worst}')
    return worst


def run_rounds(arguments, sides_by_key):
    """seconds[tokens][key] and seconds[tokens]['cpu of ' + key] = one figure a
    round; and differences by tokens."""
    import mha_sides
    seconds = {n: {} for n in arguments.tokens}
    differences = dict.fromkeys(arguments.tokens, 0.0)
    for number in range(arguments.rounds):
        for n in arguments.tokens:
            keys = keys_for(n, sides_by_key)
            outputs = {}
            with tempfile.TemporaryDirectory(prefix='headwise-mha-') as path:
                inputs = mha_sides.Inputs(path, n)
                # Alternate who goes first: it may find a cooler machine.
                for key in keys if number % 2 == 0 else reversed(keys):
                    result = sides_by_key[key].run(inputs)
                    outputs[key] = result.output
                    seconds[n].setdefault(key, []).append(result.seconds)
                    seconds[n].setdefault(f'cpu of {key}', []).append(
                        result.cpu_seconds)
                    print(f'round {number + 1}: {n:,} tokens: {key}: '
                          f'{result.seconds * 1e3:,.1f} ms',
                          file=sys.stderr, flush=True)
            differences[n] = max(differences[n], check(inputs, outputs))
    return seconds, differences


def parse_arguments():
    import compare
    import sides
    parser = argparse.ArgumentParser(
        description='Vanilla attention and ours on 1, 2 and 4 workers.')
    parser.add_argument('--tokens', type=compare.int_list,
                        default=[1024, 2048, 4096, 8192, 16384])
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--model', default=str(sides.MODEL),
                        help='any that a coordinator takes; sessions use none')
    parser.add_argument('--out', type=pathlib.Path, default=None,
                        help='default: bench/results/distributed-mha.md')
    return parser.parse_args()


def main():
    environment.run_in('headwise', [ROOT / 'client' / 'python'], ONE_THREAD)
    import compare
    import report
    arguments = parse_arguments()
    if arguments.out is None and compare.has_changes():
        sys.exit('the tree has changes, so the result would name no commit '
                 'that repeats it: commit first, or give --out')
    load = os.getloadavg()[0]
    with contextlib.ExitStack() as stack:
        sides_by_key = make_sides(arguments, stack)
        seconds, differences = run_rounds(arguments, sides_by_key)
    text = report.report(arguments, seconds, differences,
                         (load, os.getloadavg()[0]))
    out = arguments.out or (ROOT / 'bench' / 'results' / 'distributed-mha.md')
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text)
    print(text)
    print(f'written to {out}', file=sys.stderr)


if __name__ == '__main__':
    main()
