"""How long does a stream pause when a worker is killed under it?

    kill_to_next_token.py [--workers 3] [--threads 1] [--tokens 500,2000,4000]
                          [--rounds 3] [--model M] [--json]

A coordinator and workers on loopback, and one stream after a prompt of about
so many tokens. Once some of its text has come, the last worker gets SIGKILL.
Printed for each length, medians over rounds, in seconds: from the kill to the
next text; of it, until the coordinator knew, and without a group, by its log;
bytes of weights that those who remained loaded, and that they have; and for
comparison the time to the first token of the same context, sent as a prompt to
those who remained.
The pause should exceed that by no more than 3 s, and what it exceeds it by does
not grow with the context.
"""

import argparse
import datetime
import json
import os
import re
import signal
import statistics
import subprocess
import threading
import time

from sides import BIN, MODEL, Cluster

SENTENCE = 'The grass is green. The sky is blue. Here we go. There again. '
TOKENS_OF_SENTENCE = 17
TEXT_BEFORE = 20  # pieces of text that come before the kill
MAX_TOKENS = 400
LIMIT_SECONDS = 120
SERVING = re.compile(r'loaded (\d+) of (\d+) bytes')
PAUSED = re.compile(r'after (\d+) ms without a group')
LOST = re.compile(r'^\[([^]]+)\].*the group is lost', re.M)


class Stream:
    """`headwise generate`, and when each piece of its text came."""

    def __init__(self, address, path):
        self.process = subprocess.Popen(
            [BIN / 'headwise', 'generate', '--server', address,
             '--prompt-file', path, '--max-tokens', str(MAX_TOKENS),
             '--temperature', '0'], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)
        self.times = []
        self.text = b''
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self):
        while piece := os.read(self.process.stdout.fileno(), 1 << 16):
            self.times.append(time.monotonic())
            self.text += piece

    def wait_for(self, pieces):
        deadline = time.monotonic() + LIMIT_SECONDS
        while len(self.times) < pieces:
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(f'{len(self.times)} pieces of text came, '
                                   f'wanted {pieces}')
            time.sleep(0.002)

    def end(self):
        if self.process.wait(timeout=LIMIT_SECONDS) != 0:
            error = self.process.stderr.read().decode(errors='replace')
            raise RuntimeError(f'the stream ended: {error.strip()}')
        self.reader.join()


def pause_after(times, killed):
    """Seconds from the kill to the end of the longest silence after it."""
    later = [killed] + [t for t in times if t > killed]
    gaps = [(after - before, after)
            for before, after in zip(later, later[1:])]
    return max(gaps)[1] - killed


def run_round(arguments, tokens):
    cluster = Cluster(arguments.model, [arguments.threads] * arguments.workers)
    try:
        folder = cluster.folder.name
        path = os.path.join(folder, 'prompt.txt')
        prompt = SENTENCE * (tokens // TOKENS_OF_SENTENCE)
        with open(path, 'w', encoding='utf-8') as file:
            file.write(prompt)
        stream = Stream(cluster.address, path)
        stream.wait_for(TEXT_BEFORE)
        victim = cluster.processes.pop()
        killed = time.monotonic()
        killed_at = datetime.datetime.now()
        text_before = stream.text
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        stream.end()
        pause = pause_after(stream.times, killed)
        with open(os.path.join(folder, 'coordinator.log'),
                  encoding='utf-8') as file:
            log = file.read()
        # Another beginning, so that nothing of it is in memory.
        with open(path, 'w', encoding='utf-8') as file:
            file.write('So. ' + prompt + text_before.decode(errors='replace'))
        events = subprocess.run(
            [BIN / 'headwise', 'generate', '--server', cluster.address,
             '--prompt-file', path, '--max-tokens', '1', '--json'], check=True,
            capture_output=True, text=True).stdout.splitlines()
        usage = json.loads(events[-1])['usage']
    finally:
        cluster.close()
    loaded = [tuple(map(int, pair)) for pair in
              SERVING.findall(log.split('serving,')[-1])]
    lost_at = datetime.datetime.strptime(LOST.findall(log)[-1],
                                         '%Y-%m-%d %H:%M:%S.%f')
    return {'pause': pause,
            'until_known': (lost_at - killed_at).total_seconds(),
            'without_group': int(PAUSED.findall(log)[-1]) / 1000,
            'loaded': sum(pair[0] for pair in loaded),
            'weights': sum(pair[1] for pair in loaded),
            'context': usage['prompt_tokens'],
            'prefill': usage['queue_seconds'] + usage['prefill_seconds']}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--workers', type=int, default=3)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--tokens', default='500,2000,4000')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--model', default=MODEL)
    parser.add_argument('--json', action='store_true')
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    results = []
    for tokens in map(int, arguments.tokens.split(',')):
        rounds = [run_round(arguments, tokens)
                  for _ in range(arguments.rounds)]
        results.append({key: statistics.median(one[key] for one in rounds)
                        for key in rounds[0]})
    if arguments.json:
        print(json.dumps({'load': load, 'results': results}, indent=1))
        return
    print(f'load before: {load:.2f}; medians of {arguments.rounds} rounds')
    print('context   pause s   until known s   without group s   prefill s   '
          'over it s   loaded MB of MB')
    for one in results:
        over = one['pause'] - one['prefill']
        print(f'{one["context"]:7.0f}   {one["pause"]:7.2f}   '
              f'{one["until_known"]:13.2f}   {one["without_group"]:15.2f}   '
              f'{one["prefill"]:9.2f}   {over:9.2f}   '
              f'{one["loaded"] / 1e6:6.1f} of {one["weights"] / 1e6:.1f}')


if __name__ == '__main__':
    main()
