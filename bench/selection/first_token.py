"""Does an interactive request wait for a selection job?

    first_token.py --plan masked.json [--model M] [--threads 2] [--rounds 6]
                   [--lengths 64,128,256,512] [--json]

One server, one job over more text than it can score meanwhile. A round asks
for one token after prompts of each length, several times: with the job paused,
then with the job running. Requests come at moments that are drawn. The time to
the first token is the server's own: what the request waited and its prefill.
Printed for each length: medians of both, their ratio, and the ratio of the
95th percentiles.
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
HEADWISE = ROOT / 'build' / 'release' / 'bin' / 'headwise'
MODEL = ROOT / 'models' / 'SmolLM2-135M-Instruct.Q4_1.gguf'
DOCUMENTS = ROOT / 'tests' / 'golden' / 'selection_documents.jsonl'
COPIES = 40  # of the documents: 2 million tokens
REQUESTS = 8  # of each length in a round
START_SECONDS = 120


def headwise(*arguments):
    run = subprocess.run([HEADWISE, *map(str, arguments)], check=True,
                         capture_output=True, text=True)
    return run.stdout


def write_corpus(path):
    lines = [json.loads(line) for line in
             DOCUMENTS.read_text(encoding='utf-8').splitlines()]
    with open(path, 'w', encoding='utf-8') as file:
        for copy in range(COPIES):
            for line in lines:
                file.write(json.dumps({**line, 'id': f'{line["id"]}/{copy}'})
                           + '\n')


def wait(what, is_done):
    deadline = time.monotonic() + START_SECONDS
    while not is_done():
        if time.monotonic() > deadline:
            sys.exit(f'{what}: not within {START_SECONDS} s')
        time.sleep(0.05)


@contextlib.contextmanager
def server(arguments, folder, *flags):
    """Yields its address."""
    port_file = folder / 'port'
    with open(folder / 'log', 'wb') as log:
        process = subprocess.Popen(
            [HEADWISE, 'serve', '--model', arguments.model, '--threads',
             str(arguments.threads), '--listen', '127.0.0.1:0', '--port-file',
             port_file, '--metrics-listen', '', *flags], stdout=log,
            stderr=log)
    try:
        wait('server', lambda: port_file.is_file() and port_file.read_text())
        yield f'127.0.0.1:{port_file.read_text().split()[0]}'
    finally:
        process.terminate()
        process.wait(timeout=60)


def selection_server(arguments, folder):
    """The corpus is its input root."""
    for name in ('in', 'out'):
        (folder / name).mkdir()
    write_corpus(folder / 'in' / 'corpus.jsonl')
    return server(arguments, folder, '--selection-state', folder / 'state',
                  '--input-root', f'corpus={folder / "in"}', '--output-root',
                  folder / 'out')


class Job:
    def __init__(self, address, plan):
        self.address = address
        job = headwise('select', 'run', '--server', address, '--plan', plan,
                       '--input', 'corpus', '--detach', '--json',
                       '--shard-bytes', 65536)
        self.id = json.loads(job)['job_id']

    def status(self):
        return json.loads(headwise('select', 'status', self.id, '--server',
                                   self.address, '--json'))

    def pause(self):
        headwise('select', 'pause', self.id, '--server', self.address)

    def resume(self):
        """Returns once it scores again."""
        headwise('select', 'resume', self.id, '--server', self.address)
        wait('job', lambda: self.status()['tokens_per_second'] > 0)


def answer_usage(address, length, draws, tokens):
    """The server's figures of an answer to a prompt of so many words."""
    words = ' '.join(draws.choice(('the', 'river', 'of', 'salt', 'and', 'wool',
                                   'every', 'town', 'by', 'week'))
                     for _ in range(length))
    events = headwise('generate', '--server', address, '--prompt', words,
                      '--max-tokens', tokens, '--ignore-eos',
                      '--json').splitlines()
    return json.loads(events[-1])['usage']


def first_token_seconds(address, length, draws):
    usage = answer_usage(address, length, draws, 1)
    return usage['queue_seconds'] + usage['prefill_seconds']


def measure(address, lengths, draws, times):
    order = lengths * REQUESTS
    draws.shuffle(order)
    for length in order:
        time.sleep(draws.uniform(0.05, 0.4))
        times[length].append(first_token_seconds(address, length, draws))


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def figures(idle, busy):
    middle = statistics.median
    return {'requests': len(idle), 'idle_seconds': middle(idle),
            'busy_seconds': middle(busy),
            'ratio': middle(busy) / middle(idle),
            'ratio_of_p95': percentile(busy, 0.95) / percentile(idle, 0.95)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--plan', required=True)
    parser.add_argument('--model', default=MODEL)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--rounds', type=int, default=6)
    parser.add_argument('--lengths', default='64,128,256,512')
    parser.add_argument('--json', action='store_true')
    arguments = parser.parse_args()
    lengths = [int(length) for length in arguments.lengths.split(',')]
    draws = random.Random(1)
    idle = {length: [] for length in lengths}
    busy = {length: [] for length in lengths}
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        with selection_server(arguments, pathlib.Path(name)) as address:
            job = Job(address, arguments.plan)
            for _ in range(arguments.rounds):
                job.pause()
                measure(address, lengths, draws, idle)
                job.resume()
                measure(address, lengths, draws, busy)
            rate = job.status()['tokens_per_second']
    result = {length: figures(idle[length], busy[length])
              for length in lengths}
    if arguments.json:
        print(json.dumps({'load_before': load, 'job_tokens_per_second': rate,
                          'lengths': result}))
        return
    print(f'load before {load:.1f}; the job at {rate:.0f} tokens/s beside '
          'the requests')
    print(f'{"tokens":>8}{"idle ms":>10}{"busy ms":>10}{"ratio":>8}'
          f'{"p95":>8}')
    for length, row in result.items():
        print(f'{length:8}{1e3 * row["idle_seconds"]:10.1f}'
              f'{1e3 * row["busy_seconds"]:10.1f}{row["ratio"]:8.2f}'
              f'{row["ratio_of_p95"]:8.2f}')


if __name__ == '__main__':
    main()
