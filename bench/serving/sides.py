"""The sides that compare.py lets run in turn: what runs a case and times it.

A case is a dict: work ("prefill" or "decode"), tokens, depth. A side's
run(case) gives tokens per second of one run.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BIN = ROOT / 'build' / 'release' / 'bin'
MODEL = ROOT / 'models' / 'SmolLM2-135M-Instruct.Q4_1.gguf'
START_SECONDS = 60  # for a cluster to be ready
RUN_SECONDS = 600   # for one run of one side


class Llama:
    """llama.cpp: one process for all cases, model and KV kept between them."""

    def __init__(self, threads, flash, server):
        self.name = f'llama.cpp, flash attention {"on" if flash else "off"}'
        self.settings_text = (
            f'{threads} threads, n_batch = n_ubatch = 512, KV fp16')
        self.detail = self.settings_text
        self.settings = {'threads': threads, 'flash': flash}
        self.server = server  # a LlamaServer, shared by both settings

    def run(self, case):
        answer = self.server.ask({**case, **self.settings})
        self.detail = self.settings_text + (
            '; built without AMX (SIGILL with g++ 12)'
            if answer['amx_off'] else '')
        return answer['tokens_per_second']


class LlamaServer:
    """bench/peers/llama_cpp.py --serve."""

    def __init__(self, model):
        self.process = subprocess.Popen(
            [sys.executable, ROOT / 'bench/peers/llama_cpp.py', '--serve',
             '--model', model],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if not self.process.stdout.readline():
            raise RuntimeError('llama_cpp.py ended before it was ready')

    def ask(self, request):
        self.process.stdin.write(json.dumps(request) + '\n')
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f'llama.cpp died on {request}')
        answer = json.loads(line)
        if 'error' in answer:
            raise RuntimeError(f'llama.cpp: {answer["error"]}')
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=10)


def bench_arguments(case):
    """A case as arguments of `headwise bench`."""
    if case['work'] == 'prefill':
        return ['--prefill', str(case['tokens']), '--decode', '0']
    return ['--prefill', '0', '--decode', str(case['tokens']),
            '--depth', str(case['depth'])]


class Headwise:
    """`headwise bench`, a process for each run."""

    def __init__(self, name, arguments):
        self.name = name
        self.arguments = [str(a) for a in arguments]
        self.detail = ' '.join(['headwise bench', *self.arguments]).replace(
            f'{ROOT}/', '')

    def run(self, case):
        command = [BIN / 'headwise', 'bench', *self.arguments,
                   *bench_arguments(case), '--repeat', '1', '--json']
        result = subprocess.run(command, capture_output=True, text=True,
                                timeout=RUN_SECONDS, check=False)
        if result.returncode != 0:
            raise RuntimeError(f'{self.detail}: {result.stderr.strip()}')
        return rate_of(result.stdout, case['work'])


def rate_of(output, work):
    """Tokens per second of `work` in the JSON that `headwise bench` prints."""
    (result,) = json.loads(output)[work]
    return result['tokens_per_s']


class Processes:
    """Programs on loopback, ended by close()."""

    def __init__(self):
        self.processes = []
        self.folder = tempfile.TemporaryDirectory(prefix='headwise-bench-')
        try:
            self._start_all()
            self._wait_ready()
        except BaseException:
            self.close()
            raise

    def _start(self, name, program, *arguments):
        with open(pathlib.Path(self.folder.name, name + '.log'), 'wb') as log:
            self.processes.append(subprocess.Popen(
                [BIN / program[0], *program[1:], '--listen', '127.0.0.1:0',
                 '--port-file', pathlib.Path(self.folder.name, name + '.port'),
                 *map(str, arguments)], stdout=log, stderr=log))

    def _wait(self, what, is_done):
        deadline = time.monotonic() + START_SECONDS
        while not is_done():
            for process in self.processes:
                if process.poll() is not None:
                    raise RuntimeError(f'{what}: {process.args[0]} ended with '
                                       f'{process.returncode}')
            if time.monotonic() > deadline:
                raise RuntimeError(f'{what}: not within {START_SECONDS} s')
            time.sleep(0.05)

    def _address(self, name):
        path = pathlib.Path(self.folder.name, name + '.port')
        self._wait(name, lambda: path.is_file() and path.read_text().strip())
        return f'127.0.0.1:{path.read_text().split()[0]}'

    def _wait_ready(self):
        command = [BIN / 'headwise', 'heads', 'map', '--server', self.address]
        self._wait('cluster', lambda: subprocess.run(
            command, capture_output=True, check=False).returncode == 0)

    def close(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.folder.cleanup()


class Cluster(Processes):
    """A coordinator and workers of so many threads each."""

    def __init__(self, model, worker_threads):
        self.model = model
        self.worker_threads = worker_threads
        super().__init__()

    def _start_all(self):
        self._start('coordinator', ['headwise-coordinator'], '--model',
                    self.model, '--min-workers', len(self.worker_threads))
        self.address = self._address('coordinator')
        for rank, threads in enumerate(self.worker_threads):
            self._start(f'worker-{rank}', ['headwise-worker'],
                        '--coordinator', self.address, '--name',
                        f'worker-{rank}', '--threads', threads)


class Server(Processes):
    """`headwise serve`: coordinator and worker in one process."""

    def __init__(self, model, threads):
        self.model = model
        self.threads = threads
        super().__init__()

    def _start_all(self):
        self._start('serve', ['headwise', 'serve'], '--model', self.model,
                    '--threads', self.threads, '--metrics-listen', '')
        self.address = self._address('serve')
