"""Callers who ask at once, each a while after its last answer, alone and beside
something, and what they waited."""

import concurrent.futures
import pathlib
import random
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / 'bench' / 'selection'))

# pylint: disable=wrong-import-position
from first_token import percentile


def from_callers(arguments, seed, ask):
    """What ask(draws) says of each of arguments.chats requests, which come from
    arguments.at_once callers."""
    def caller(index):
        draws = random.Random(seed + index)
        seconds = []
        for _ in range(arguments.chats // arguments.at_once):
            time.sleep(draws.uniform(0.05, 0.3))
            seconds.append(ask(draws))
        return seconds

    with concurrent.futures.ThreadPoolExecutor(arguments.at_once) as pool:
        return sum(pool.map(caller, range(arguments.at_once)), [])


def figures(seconds):
    return {'chats': len(seconds), 'median': statistics.median(seconds),
            'p99': percentile(seconds, 0.99)}


def compared(alone, beside):
    result = {'alone': figures(alone), 'beside': figures(beside)}
    result['ratio'] = {key: result['beside'][key] / result['alone'][key]
                       for key in ('median', 'p99')}
    return result


def print_sides(result, what):
    print(f'load before {result["load_before"]:.1f}')
    for side in ('alone', 'beside'):
        row = result[side]
        print(f'{side:>8}: {row["chats"]} chats, {what} after '
              f'{1e3 * row["median"]:.1f} ms (median), '
              f'{1e3 * row["p99"]:.1f} ms (p99)')
    print(f'   ratio: {result["ratio"]["median"]:.2f} (median), '
          f'{result["ratio"]["p99"]:.2f} (p99)')
