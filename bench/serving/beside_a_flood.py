"""Do others notice a tenant whose flood its quota refuses?

    beside_a_flood.py [--rate 300] [--rounds 3] [--chats 64] [--at-once 4]
                      [--tokens 32] [--threads 1] [--model M] [--json]

One server with a quota for the tenant "flood": one request that runs, two that
wait; the load has the machine's other cores. Chats of 20 to 60 words that ask
for --tokens tokens come from so many callers at once, each a while after its
last answer; in each round first beside nobody, then beside one caller of the
tenant who keeps to its quota, then while its requests come at --rate a second,
at random moments. What is compared is a whole answer's time, by the server,
with the flood and within the quota. Fails if the flood was not refused.
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
from callers import compared, figures, from_callers, print_sides
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


def beside(address, arguments, seed, seconds, **load):
    """The same while the tenant asks for so long, and how many of its requests
    were refused."""
    tenant = ChatLoad(address, tenant='flood', deadline=5, seconds=seconds,
                      tokens=arguments.tokens, **load)
    time.sleep(WARM_SECONDS)
    of_chats = chats(address, arguments, seed)
    if tenant.process.poll() is not None:
        sys.exit('the tenant ended before the chats did')
    lines = tenant.seconds()
    return of_chats, total(lines, 'refused') + total(lines, 'retries')


def measure(address, arguments):
    chats(address, arguments, 0)  # warm
    free, within, flooded, refused = [], [], [], 0
    for number in range(1, arguments.rounds + 1):
        seed = 100 * number
        begin = time.monotonic()
        free += chats(address, arguments, seed)
        # Until the chats are over, and not much longer.
        seconds = WARM_SECONDS + 2 * (time.monotonic() - begin)
        within += beside(address, arguments, seed, seconds, callers=1)[0]
        more, num_refused = beside(address, arguments, seed, seconds,
                                   rate=arguments.rate)
        flooded += more
        refused += num_refused
    if refused == 0:
        sys.exit('nothing was refused')
    return {**compared(within, flooded), 'without': figures(free),
            'refused': refused}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--model', default=MODEL)
    parser.add_argument('--rate', type=float, default=300)
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
            'running': 1, 'waiting': 2}}}))
        with server(arguments, folder, '--quotas', quotas) as address:
            result = {'load_before': load, **measure(address, arguments)}
    if arguments.json:
        print(json.dumps(result))
        return
    print_sides(result, 'answer')
    print(f'without the tenant: {1e3 * result["without"]["median"]:.1f} ms '
          f'(median), {1e3 * result["without"]["p99"]:.1f} ms (p99); '
          f'{result["refused"]} of its requests were refused')


if __name__ == '__main__':
    main()
