"""What the comparisons of kernels share: a side's figure in a round, how rounds
are told, and on what they ran."""

import datetime
import os
import pathlib
import platform
import statistics
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
REPEAT = 3  # runs of one side in one round


def median_seconds(function):
    """Of REPEAT calls after one to warm up."""
    function()
    seconds = []
    for _ in range(REPEAT):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def spread(values, digits):
    return (f'{statistics.median(values):,.{digits}f} '
            f'({min(values):,.{digits}f} to {max(values):,.{digits}f})')


def header(arguments, packages):
    """`arguments` have rounds and threads."""
    info = pathlib.Path('/proc/cpuinfo').read_text().split('\n')
    fields = {}
    for line in info:
        name, _, value = line.partition(':')
        fields.setdefault(name.strip(), value.strip())
    commit = subprocess.run(
        ['git', '-C', ROOT, 'rev-parse', '--short=12', 'HEAD'],
        capture_output=True, text=True, check=True).stdout.strip()
    return '\n'.join([
        f'- machine: {fields["model name"]}, family {fields["cpu family"]}, '
        f'model {fields["model"]}, Linux {platform.release()}; load '
        f'{os.getloadavg()[0]:.1f} before',
        f'- commit: {commit}, {datetime.date.today().isoformat()}',
        f'- {arguments.rounds} rounds, {arguments.threads} threads, '
        f'{", ".join(packages)}', ''])
