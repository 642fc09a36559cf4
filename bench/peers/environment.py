"""Runs a bench script in a virtual environment of its own under build/peers."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TORCH = ('torch==2.15.0', 'numpy==2.4.6', 'gguf==0.19.0')


def run_in(name, packages, environment=None):
    """Runs this program again in build/peers/NAME, which is made on first use
    with `packages`; returns at once where that is so already."""
    venv = ROOT / 'build' / 'peers' / name
    if pathlib.Path(sys.prefix) == venv:
        return
    python = venv / 'bin' / 'python'
    wanted = '\n'.join(map(str, packages)) + '\n'
    ready = venv / 'ready'
    if not ready.exists() or ready.read_text() != wanted:
        print(f'installing {" ".join(map(str, packages))} into {venv}',
              file=sys.stderr)
        subprocess.run([sys.executable, '-m', 'venv', '--clear', venv],
                       check=True)
        subprocess.run([python, '-m', 'pip', 'install', '--quiet', *packages],
                       check=True, stdout=sys.stderr)
        ready.write_text(wanted)
    os.execve(python, [str(python), *sys.argv],
              {**os.environ, **(environment or {})})
