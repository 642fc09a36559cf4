"""Do others notice a tenant whose flood its quota refuses?

    beside_a_flood.py [--rate 300] [--running 1] [--rounds 3] [--chats 64]
                      [--at-once 4] [--tokens 32] [--threads 1] [--model M]
                      [--json]

One server with a quota for the tenant "flood"; the load has the machine's other
cores. Chats of 20 to 60 words that ask for --tokens tokens come from so many
callers at once, each a while after its last answer; in each round first alone,
then while requests of the tenant come at --rate a second, at random moments.
What is compared is a whole answer's time, by the server. Fails if the flood was
not refused.
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
from callers import compared, from_callers, print_sides
from first_token import MODEL, answer_usage, server
from load import ChatLoad, total

WARM_SECONDS = 2  # of a flood, before it is measured


def chats(address, arguments, seed):
    """Seconds of each whole answer."""
    def ask(draws):
        usage = answer_usage(address, draws.randint(20, 60), draws,
                             arguments.tokens)
        return sum(usage[part + '_seconds']
                   for part in ('queue', 'prefill', 'decode'))
    return from_callers(arguments, seed, ask)


def beside_a_flood(address, arguments, seed, flood_seconds):
    """The same, and how many of the tenant's requests were refused."""
    flood = ChatLoad(address, tenant='flood', rate=arguments.rate, deadline=5,
                     seconds=flood_seconds, tokens=arguments.tokens)
    time.sleep(WARM_SECONDS)
    seconds = chats(address, arguments, seed)
    if flood.process.poll() is not None:
        sys.exit('the flood ended before the chats did')
    lines = flood.seconds()
    return seconds, total(lines, 'refused') + total(lines, 'retries')


def measure(address, arguments):
    chats(address, arguments, 0)  # warm
    alone, beside, refused = [], [], 0
    for number in range(1, arguments.rounds + 1):
        begin = time.monotonic()
        alone += chats(address, arguments, 100 * number)
        # Until the chats are over, and not much longer.
        flood_seconds = WARM_SECONDS + 2 * (time.monotonic() - begin)
        seconds, more = beside_a_flood(address, arguments, 100 * number,
                                       flood_seconds)
        beside += seconds
        refused += more
    if refused == 0:
        sys.exit('nothing was refused')
    return {**compared(alone, beside), 'refused': refused}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--model', default=MODEL)
    parser.add_argument('--rate', type=float, default=300)
    parser.add_argument('--running', type=int, default=1)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--chats', type=int, default=64)
    parser.add_argument('--at-once', type=int, default=4)
    parser.add_argument('--tokens', type=int, default=32)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--json', action='store_true')
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        quotas = folder / 'quotas.json'
        quotas.write_text(json.dumps({'tenants': {'flood': {
            'running': arguments.running, 'waiting': 2}}}))
        with server(arguments, folder, '--quotas', quotas) as address:
            result = {'load_before': load, **measure(address, arguments)}
    if arguments.json:
        print(json.dumps(result))
        return
    print_sides(result, 'answer')
    print(f'{result["refused"]} requests of the flood were refused')


if __name__ == '__main__':
    main()
