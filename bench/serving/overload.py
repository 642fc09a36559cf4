"""What is left of a server's throughput when ten times as much is asked?

    overload.py [--times 10] [--seconds 60] [--deadline 10] [--tokens 32]
                [--server-threads 1] [--model M] [--json]

One server; the load has the machine's other cores. First callers who ask again
once they are answered, as many as the server runs at once: what it answers then
is the peak. Then requests come so many times as fast, at random moments, for a
minute; what is refused comes again when the server says, within its deadline.
Then, at once, 0.7 times the peak. Printed: answers that came within their
deadlines, in tokens per second and over the peak; how often a request was
tried; and how long after the overload the last request was not answered.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / 'bench' / 'selection'))

# pylint: disable=wrong-import-position
from first_token import MODEL, server
from load import ChatLoad, total

CALLERS = 64       # as many as run at once
WARM_SECONDS = 5
PEAK_SECONDS = 20
NORMAL_SHARE = 0.7  # of the peak
NORMAL_SECONDS = 30


def rate(seconds, name):
    return total(seconds, name) / len(seconds)


def not_answered(second):
    return second['refused'] + second['expired'] + second['failed']


def measure(address, arguments):
    common = {'tokens': arguments.tokens}
    ChatLoad(address, callers=CALLERS, seconds=WARM_SECONDS, deadline=60,
             **common).seconds()
    peak = ChatLoad(address, callers=CALLERS, seconds=PEAK_SECONDS,
                    deadline=60, **common).seconds()[2:PEAK_SECONDS]
    answers = rate(peak, 'answered')
    common['deadline'] = arguments.deadline
    overload = ChatLoad(address, rate=arguments.times * answers,
                        seconds=arguments.seconds, seed=2, **common)
    time.sleep(arguments.seconds)
    normal = ChatLoad(address, rate=NORMAL_SHARE * answers,
                      seconds=NORMAL_SECONDS, seed=3, **common)
    # Nothing is answered in the first seconds that came in them.
    busy = overload.seconds()[int(arguments.deadline):arguments.seconds]
    after = normal.seconds()
    late = [row['second'] + 1 for row in after if not_answered(row)]
    came = total(busy, 'came')
    return {
        'peak_answers_per_second': answers,
        'peak_tokens_per_second': rate(peak, 'tokens'),
        'overload_tokens_per_second': rate(busy, 'tokens'),
        'goodput_over_peak': rate(busy, 'tokens') / rate(peak, 'tokens'),
        'came_per_second': came / len(busy),
        'tries_of_a_request': (came + total(busy, 'retries')) / came,
        'refused': total(busy, 'refused') / came,
        'expired': total(busy, 'expired') / came,
        'failed': total(busy, 'failed') + total(after, 'failed'),
        'recovery_seconds': max(late, default=0),
        'after_answered': total(after, 'answered') / total(after, 'came'),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--model', default=MODEL)
    parser.add_argument('--times', type=float, default=10)
    parser.add_argument('--seconds', type=int, default=60)
    parser.add_argument('--deadline', type=float, default=10)
    parser.add_argument('--tokens', type=int, default=32)
    parser.add_argument('--server-threads', type=int, default=1,
                        dest='threads')
    parser.add_argument('--json', action='store_true')
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        with server(arguments, pathlib.Path(name)) as address:
            result = {'load_before': load, **measure(address, arguments)}
    if arguments.json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        print(f'{key:>28}: {value:,.2f}')


if __name__ == '__main__':
    main()
