"""Starts `headwise serve` for a test and ends it with SIGTERM."""

import os
import pathlib
import signal
import subprocess
import tempfile
import time
import urllib.request

# HEADWISE_MODEL, where it is set, takes another model file.
MODEL = os.environ.get("HEADWISE_MODEL") or os.environ["HEADWISE_DEFAULT_MODEL"]
START_SECONDS = 120  # an upper bound, under sanitizers and load
STOP_SECONDS = 60


class HeadwiseServer:
    """One process; `address` and `metrics_url` once started."""

    def __init__(self, *flags: str):
        self._folder = tempfile.TemporaryDirectory()
        port_file = pathlib.Path(self._folder.name) / "ports"
        self.process = subprocess.Popen(
            [os.environ["HEADWISE_PROGRAM"], "serve",
             "--model", MODEL,
             "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0",
             "--context", "2048", "--threads", "1",
             "--port-file", str(port_file), *flags])
        deadline = time.monotonic() + START_SECONDS
        while not port_file.exists():
            if self.process.poll() is not None:
                raise RuntimeError(
                    f"headwise serve ended with {self.process.returncode}")
            if time.monotonic() > deadline:
                self.process.kill()
                raise RuntimeError(f"no port file after {START_SECONDS} s")
            time.sleep(0.01)
        port, metrics_port = port_file.read_text().split()
        self.address = f"127.0.0.1:{port}"
        self.metrics_address = f"127.0.0.1:{metrics_port}"

    def metrics_page(self) -> str:
        url = f"http://{self.metrics_address}/metrics"
        with urllib.request.urlopen(url, timeout=30) as response:
            return response.read().decode()

    def terminate(self) -> int:
        """Asks it to drain; the exit code once it has ended."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=STOP_SECONDS)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._folder.cleanup()
