"""headwise_chat_load, and what its lines say."""

import json
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CHAT_LOAD = ROOT / 'build' / 'release' / 'bin' / 'headwise_chat_load'


class ChatLoad:
    """Runs beside the caller; seconds() waits for its end."""

    def __init__(self, address, **flags):
        command = [CHAT_LOAD, '--server', address]
        for name, value in flags.items():
            command += [f'--{name}', str(value)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE,
                                        text=True)
        self.elapsed = None  # until the last answer; of an ended load

    def seconds(self):
        """A dict for each second."""
        output = self.process.communicate()[0]
        if self.process.returncode != 0:
            raise RuntimeError(f'{CHAT_LOAD} ended with '
                               f'{self.process.returncode}')
        lines = [json.loads(line) for line in output.splitlines()]
        self.elapsed = lines.pop()['elapsed_seconds']
        return lines


def total(seconds, name):
    return sum(second[name] for second in seconds)
