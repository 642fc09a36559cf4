"""Lets two or more sides run the same cases in turn, and prints ratios.

    compare.py peer         Headwise and llama.cpp, two threads each
    compare.py workers      one process of two threads; two workers of one
    compare.py reduction    exact sums and --reduction=fast
    compare.py grpc         one process; the same one, called over gRPC
    compare.py processes    one process; a coordinator's and a worker's

Rounds are interleaved: each round runs every side once on each case, so that a
drift of the machine meets all. A ratio is taken within a round; the table shows
the median over rounds and its range. Writes bench/results/serving-SET.md.
"""

import argparse
import contextlib
import datetime
import pathlib
import platform
import shlex
import statistics
import subprocess
import sys

import sides

MACHINE_FLAGS = ('avx2', 'avx512_vnni', 'amx_int8')


def peer_sides(arguments, stack):
    server = sides.LlamaServer(arguments.model)
    stack.callback(server.close)
    llamas = [sides.Llama(arguments.threads, flash, server)
              for flash in (False, True)]
    return [*llamas, embedded('Headwise', arguments)]


def embedded(name, arguments, *more):
    return sides.Headwise(name, ['--model', arguments.model, '--threads',
                                 arguments.threads, *more])


def clustered(name, arguments, stack, worker_threads):
    cluster = sides.Cluster(arguments.model, worker_threads)
    stack.callback(cluster.close)
    return sides.Headwise(name, ['--server', cluster.address])


def worker_sides(arguments, stack):
    one = f'one process, {arguments.threads} threads'
    many = f'{arguments.threads} worker processes of one thread'
    return [embedded(one, arguments),
            clustered(many, arguments, stack, [1] * arguments.threads)]


def reduction_sides(arguments, stack):
    del stack  # nothing to close
    return [embedded('--reduction=fast', arguments, '--reduction', 'fast'),
            embedded('exact', arguments, '--reduction', 'exact')]


def grpc_sides(arguments, stack):
    server = sides.Server(arguments.model, arguments.threads)
    stack.callback(server.close)
    return [embedded('one process', arguments),
            sides.Headwise('headwise serve', ['--server', server.address])]


def process_sides(arguments, stack):
    return [embedded('one process', arguments),
            clustered('coordinator and one worker', arguments, stack,
                      [arguments.threads])]


# The last side of each is set against the best of those before it.
SETS = {'peer': peer_sides, 'workers': worker_sides,
        'reduction': reduction_sides, 'grpc': grpc_sides,
        'processes': process_sides}


def make_cases(arguments):
    cases = [{'work': 'prefill', 'tokens': n, 'depth': 0}
             for n in arguments.prefill]
    cases += [{'work': 'decode', 'tokens': arguments.decode_tokens,
               'depth': d} for d in arguments.depths]
    return cases


def case_name(case):
    if case['work'] == 'prefill':
        return f'prefill of {case["tokens"]:,}'
    return f'decode at depth {case["depth"]:,}'


def run_rounds(all_sides, cases, rounds):
    """rates[case index][side index] = one figure for each round."""
    rates = [[[] for _ in all_sides] for _ in cases]
    for number in range(rounds):
        for c, case in enumerate(cases):
            # Alternate who goes first: the first may find a cooler machine.
            order = range(len(all_sides))
            for s in order if number % 2 == 0 else reversed(order):
                rate = all_sides[s].run(case)
                rates[c][s].append(rate)
                print(f'round {number + 1}: {case_name(case)}: '
                      f'{all_sides[s].name}: {rate:,.1f} tokens/s',
                      file=sys.stderr, flush=True)
    return rates


def ratio_of(side_rates):
    """Of the last side to the best of the others: (best, median, low, high)."""
    others, ours = side_rates[:-1], side_rates[-1]
    medians = [statistics.median(r) for r in others]
    best = medians.index(max(medians))
    ratios = sorted(a / b for a, b in zip(ours, others[best]))
    return best, statistics.median(ratios), ratios[0], ratios[-1]


def spread(values, digits=0):
    return (f'{statistics.median(values):,.{digits}f} '
            f'({min(values):,.{digits}f} to {max(values):,.{digits}f})')


def table(all_sides, cases, rates):
    header = ['case', *(s.name for s in all_sides), 'ratio']
    lines = ['| ' + ' | '.join(header) + ' |', '|---' * len(header) + '|']
    for case, side_rates in zip(cases, rates):
        _, median, low, high = ratio_of(side_rates)
        cells = [case_name(case), *(spread(r) for r in side_rates),
                 f'**{median:.2f}** ({low:.2f} to {high:.2f})']
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def machine():
    info = pathlib.Path('/proc/cpuinfo').read_text()
    name = next((line.split(':', 1)[1].strip() for line in info.split('\n')
                 if line.startswith('model name')), 'unknown')
    flags = [f for f in MACHINE_FLAGS if f' {f}' in info]
    return (f'{name}, {info.count("processor")} logical cores, '
            f'{", ".join(flags)}; Linux {platform.release()}')


def git(*words):
    return subprocess.run(['git', '-C', sides.ROOT, *words],
                          capture_output=True, text=True,
                          check=True).stdout.strip()


def has_changes():
    """Of anything but results, which this program writes."""
    return bool(git('status', '--porcelain', '--', ':!bench/results'))


def commit():
    dirty = ' with changes' if has_changes() else ''
    return git('rev-parse', '--short=12', 'HEAD') + dirty


def report(name, arguments, all_sides, cases, rates):
    command = 'python3 bench/serving/compare.py ' + shlex.join(sys.argv[1:])
    lines = [f'# Serving: {name}', '',
             f'- machine: {machine()}',
             f'- commit: {commit()}, {datetime.date.today().isoformat()}',
             f'- model: {pathlib.Path(arguments.model).name}',
             f'- command: `{command}`', '',
             f'Tokens per second, median of {arguments.rounds} interleaved '
             'rounds and range; the ratio is the last side to the best of '
             'the others, taken within a round.', '',
             table(all_sides, cases, rates), '']
    lines += [f'- {side.name}: {side.detail}' for side in all_sides]
    return '\n'.join(lines) + '\n'


def int_list(text):
    return [int(word) for word in text.split(',') if word]


def parse_arguments():
    parser = argparse.ArgumentParser(description='Compares sides in turn.')
    parser.add_argument('set', choices=sorted(SETS))
    parser.add_argument('--model', default=str(sides.MODEL))
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--prefill', type=int_list, default=[512, 4096])
    parser.add_argument('--depths', type=int_list, default=[0, 4096, 8000])
    parser.add_argument('--decode-tokens', type=int, default=64)
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--out', type=pathlib.Path, default=None,
                        help='default: bench/results/serving-SET.md')
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    if arguments.out is None and has_changes():
        sys.exit('the tree has changes, so the result would name no commit '
                 'that repeats it: commit first, or give --out')
    cases = make_cases(arguments)
    with contextlib.ExitStack() as stack:
        all_sides = SETS[arguments.set](arguments, stack)
        rates = run_rounds(all_sides, cases, arguments.rounds)
    text = report(arguments.set, arguments, all_sides, cases, rates)
    out = arguments.out or (sides.ROOT / 'bench' / 'results' /
                            f'serving-{arguments.set}.md')
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text)
    print(text)
    print(f'written to {out}', file=sys.stderr)


if __name__ == '__main__':
    main()
