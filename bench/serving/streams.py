"""How much faster are eight streams together than one, and than llama.cpp's?

    streams.py [--rounds 5] [--streams 8] [--tokens 256] [--threads 2]
               [--model M] [--json]

Texts of so many tokens after short prompts, one alone and eight at once: by a
server of ours, through gRPC; by llama.cpp, its library in our process, one
llama_decode a step with a row of each sequence, as its server with eight slots
does it, without its server's HTTP and sampling. Sides take turns. Printed:
tokens per second, medians of the rounds, and the ratios' medians.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / 'bench' / 'selection'))

# pylint: disable=wrong-import-position
from first_token import MODEL, server
from load import ChatLoad, total
from sides import LlamaServer

PROMPT_WORDS = 8


def headwise(address, streams, tokens):
    load = ChatLoad(address, callers=streams, requests=streams, tokens=tokens,
                    words=PROMPT_WORDS, seconds=600, deadline=600)
    return total(load.seconds(), 'tokens') / load.elapsed


def llama(peer, streams, arguments, flash):
    return peer.ask({'work': 'streams', 'streams': streams,
                     'tokens': arguments.tokens, 'depth': PROMPT_WORDS,
                     'threads': arguments.threads,
                     'flash': flash})['tokens_per_second']


def one_round(address, peer, arguments):
    row = {}
    for streams in (1, arguments.streams):
        row[f'headwise_{streams}'] = headwise(address, streams,
                                              arguments.tokens)
        if peer:
            row[f'llama_{streams}'] = max(
                llama(peer, streams, arguments, flash)
                for flash in (False, True))
    many = arguments.streams
    row['to_one'] = row[f'headwise_{many}'] / row['headwise_1']
    if peer:
        row['to_llama'] = row[f'headwise_{many}'] / row[f'llama_{many}']
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--model', default=MODEL)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--streams', type=int, default=8)
    parser.add_argument('--tokens', type=int, default=256)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--no-peer', action='store_true')
    parser.add_argument('--json', action='store_true')
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    peer = None if arguments.no_peer else LlamaServer(arguments.model)
    with tempfile.TemporaryDirectory() as name:
        with server(arguments, pathlib.Path(name)) as address:
            headwise(address, 1, 32)  # warm
            rows = [one_round(address, peer, arguments)
                    for _ in range(arguments.rounds)]
    if peer:
        peer.close()
    result = {'load_before': load,
              **{key: statistics.median(row[key] for row in rows)
                 for key in rows[0]}}
    if arguments.json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        print(f'{key:>12}: {value:.2f}')


if __name__ == '__main__':
    main()
