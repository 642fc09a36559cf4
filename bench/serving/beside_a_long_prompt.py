"""Do short chats wait for a long prompt?

    beside_a_long_prompt.py [--plan plan.json] [--tokens 100000] [--chats 50]
                            [--at-once 4] [--threads 2] [--model M] [--json]

One server. Chats of 20 to 60 words that ask for one token come from so many
callers at once, each a while after its last answer; first alone, then while the
long prompt is read, then alone again. The time to the first token is the
server's own: what the chat waited and its prefill. Printed: median and 99th
percentile of both, and their ratios. Fails if the long prompt ended before the
chats did.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / 'bench' / 'selection'))

# pylint: disable=wrong-import-position
from callers import compared, from_callers, print_sides
from first_token import HEADWISE, MODEL, first_token_seconds, server

PLAN = ROOT / 'bench' / 'results' / 'needle' / 'lh.json'
SENTENCE = 'The grass is green. The sky is blue. Here we go. There again. '
TOKENS_OF_SENTENCE = 17


def start_long_prompt(address, arguments, folder):
    path = folder / 'long.txt'
    path.write_text(SENTENCE * (arguments.tokens // TOKENS_OF_SENTENCE))
    process = subprocess.Popen(
        [HEADWISE, 'generate', '--server', address, '--prompt-file', path,
         '--max-tokens', '1', '--json'], stdout=subprocess.DEVNULL)
    time.sleep(3)  # some of it has run
    return process


def chats(address, arguments, seed):
    """Seconds to the first token of each."""
    return from_callers(arguments, seed, lambda draws: first_token_seconds(
        address, draws.randint(20, 60), draws))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--plan', default=PLAN)
    parser.add_argument('--model', default=MODEL)
    parser.add_argument('--tokens', type=int, default=100_000)
    parser.add_argument('--chats', type=int, default=50)
    parser.add_argument('--at-once', type=int, default=4)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--json', action='store_true')
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        with server(arguments, folder, '--plan', arguments.plan) as address:
            chats(address, arguments, 0)  # warm
            alone = chats(address, arguments, 100)
            long_prompt = start_long_prompt(address, arguments, folder)
            try:
                beside = chats(address, arguments, 100)
                if long_prompt.poll() is not None:
                    sys.exit('the long prompt ended before the chats did')
            finally:
                long_prompt.terminate()
                long_prompt.wait(timeout=60)
            time.sleep(1)
            alone += chats(address, arguments, 200)
    result = {'load_before': load, **compared(alone, beside)}
    if arguments.json:
        print(json.dumps(result))
    else:
        print_sides(result, 'first token')


if __name__ == '__main__':
    main()
