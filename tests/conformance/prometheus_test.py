"""/metrics read by promtool and scraped by a real Prometheus."""

import json
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.parse
import urllib.request

import grpc

from headwise_server import HeadwiseServer
from reflected_api import ReflectedApi

INFERENCE = "headwise.v1.Inference"
ALERTS = (pathlib.Path(__file__).resolve().parents[2]
          / "deploy" / "monitoring" / "alerts.yml")
SCRAPE_SECONDS = 60  # until a scrape is seen; they come each second
SETTLE_SECONDS = 30  # until the last step's answers are in

SERIES = (
    "headwise_time_to_first_token_seconds_bucket",
    "headwise_inter_token_latency_seconds_bucket",
    "headwise_request_latency_seconds_bucket",
    "headwise_queue_seconds_bucket",
    "headwise_prefill_seconds_bucket",
    "headwise_decode_seconds_bucket",
    "headwise_requests_total",
    "headwise_requests_running",
    "headwise_requests_waiting",
    "headwise_requests_waiting_limit",
    "headwise_admission_rejected_total",
    "headwise_tokens_total",
    "headwise_kv_bytes",
    "headwise_kv_capacity_bytes",
    "headwise_prompt_prefixes",
    "headwise_prompt_evictions_total",
    "headwise_step_seconds_bucket",
    "headwise_collective_seconds_bucket",
    "headwise_collective_bytes_total",
    "headwise_worker_up",
    "headwise_worker_epoch",
    "headwise_steps_total",
    "headwise_worker_skew_ratio",
    "headwise_worker_arrivals_total",
    "headwise_workers_missing",
    "headwise_coordinator_is_leader",
    "headwise_draining",
    "headwise_probe_ok",
    "headwise_thread_heartbeat_age_seconds",
    "headwise_thread_heartbeat_allowance_seconds",
    "headwise_memory_limit_bytes",
    "headwise_build_info",
    "headwise_worker_build_info",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_open_fds",
    "process_start_time_seconds",
)


def total(page: str, name: str, **labels: str) -> float:
    """The sum of a series over what the labels leave open."""
    value = 0.0
    for line in page.splitlines():
        found = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
        if not found or found.group(1) != name:
            continue
        pairs = dict(re.findall(r'(\w+)="([^"]*)"', found.group(2) or ""))
        if all(pairs.get(key) == wanted for key, wanted in labels.items()):
            value += float(found.group(3))
    return value


class PrometheusTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        for program in ("prometheus", "promtool"):
            if shutil.which(program) is None:
                raise RuntimeError(f"{program} is missing: Debian package "
                                   "prometheus")
        # Two workers, so that there are collectives.
        cls.server = HeadwiseServer("--local-workers", "2")
        cls.addClassCleanup(cls.server.close)
        cls.channel = grpc.insecure_channel(cls.server.address)
        cls.addClassCleanup(cls.channel.close)
        cls.api = ReflectedApi(cls.channel)
        # The history that the counters must equal.
        cls.before = cls.server.metrics_page()
        cls.usages = []
        for _ in range(3):
            events = list(cls.api.call(
                INFERENCE, "Generate", text="One two three",
                options={"max_tokens": 5, "ignore_eos": True}))
            cls.usages.append(events[-1].finished.usage)
        cls.score = cls.api.call(INFERENCE, "Score", text="One two three four")
        try:
            cls.api.call(INFERENCE, "Score", text="a", model="other")
        except grpc.RpcError:
            pass
        cls.page = cls.server.metrics_page()

    def delta(self, name: str, **labels: str) -> float:
        return (total(self.page, name, **labels)
                - total(self.before, name, **labels))

    def test_promtool_finds_no_fault(self):
        check = subprocess.run(["promtool", "check", "metrics"],
                               input=self.page, text=True, capture_output=True)
        self.assertEqual((check.returncode, check.stdout, check.stderr),
                         (0, "", ""))

    def test_requests_add_up(self):
        requests = "headwise_requests_total"
        self.assertEqual(self.delta(requests, api="generate", code="OK"), 3)
        self.assertEqual(self.delta(requests, api="score", code="OK"), 1)
        self.assertEqual(self.delta(requests, api="score", code="NOT_FOUND"), 1)
        self.assertEqual(
            self.delta("headwise_request_latency_seconds_count"), 5)
        self.assertEqual(
            self.delta("headwise_time_to_first_token_seconds_count"), 3)

    def test_tokens_add_up(self):
        tokens = "headwise_tokens_total"
        prompt = sum(usage.prompt_tokens for usage in self.usages)
        generated = sum(usage.generated_tokens for usage in self.usages)
        self.assertEqual(generated, 15)
        self.assertEqual(self.delta(tokens, kind="generated"), generated)
        self.assertEqual(self.delta(tokens, kind="prompt"),
                         prompt + self.score.usage.prompt_tokens)
        self.assertEqual(self.delta(tokens, kind="scored"),
                         self.score.num_tokens)
        self.assertEqual(
            self.delta("headwise_inter_token_latency_seconds_count"),
            generated - 3)

    def test_workers_step_together(self):
        # The answer of rank 0 ends a request; that of rank 1 to the same step
        # may be on its way.
        steps = []
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            steps = re.findall(r'headwise_steps_total\{worker="[^"]*"\} (\S+)',
                               self.server.metrics_page())
            if len(set(steps)) == 1:
                break
            time.sleep(0.05)
        self.assertEqual(len(steps), 2)
        self.assertEqual(steps[0], steps[1])
        self.assertGreater(float(steps[0]), 0)
        self.assertEqual(total(self.page, "headwise_worker_up"), 2)

    def test_probes_are_green_beside_the_metrics(self):
        for probe in ("startup", "live", "ready"):
            url = f"http://{self.server.metrics_address}/healthz/{probe}"
            with urllib.request.urlopen(url, timeout=30) as response:
                self.assertEqual(response.status, 200)
                self.assertTrue(response.read().startswith(b"ok\n"))
            self.assertEqual(
                total(self.page, "headwise_probe_ok", probe=probe), 1)

    def test_a_steps_time_is_compute_wait_and_transfer_by_worker(self):
        seconds = "headwise_step_seconds"
        for worker in ("local-00", "local-01"):
            for phase in ("compute", "wait", "transfer"):
                self.assertGreater(
                    self.delta(f"{seconds}_count", worker=worker, phase=phase),
                    0)
            self.assertGreater(
                self.delta(f"{seconds}_sum", worker=worker, phase="compute"), 0)
            self.assertGreater(
                total(self.page, "headwise_worker_skew_ratio", worker=worker),
                0)

    def test_alerts_ask_for_series_that_are_there(self):
        # Of selection jobs and of lost groups there are none before the first.
        asked = set(re.findall(r"\b(?:headwise|process)_\w+(?=[{\[ )\n])",
                               re.sub(r"(?s)annotations:.*?(?=- alert|\Z)", "",
                                      ALERTS.read_text())))
        served = set(re.findall(r"^# TYPE (\w+)", self.page, re.M))
        missing = {name for name in asked
                   if re.sub("_bucket$", "", name) not in served
                   and not name.startswith(("headwise_selection_",
                                            "headwise_groups_lost"))}
        self.assertGreater(len(asked), 15)
        self.assertEqual(missing, set())

    def test_a_real_prometheus_scrapes_every_series(self):
        with tempfile.TemporaryDirectory() as folder:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            config = pathlib.Path(folder) / "prometheus.yml"
            config.write_text(json.dumps({  # JSON is YAML
                "global": {"scrape_interval": "1s",
                           "evaluation_interval": "1s"},
                "rule_files": [str(ALERTS)],
                "scrape_configs": [{
                    "job_name": "headwise",
                    "static_configs": [
                        {"targets": [self.server.metrics_address]}]}]}))
            prometheus = subprocess.Popen(
                ["prometheus", f"--config.file={config}",
                 f"--storage.tsdb.path={folder}/data",
                 f"--web.listen-address=127.0.0.1:{port}",
                 "--log.level=error"])
            try:
                self.check_scraped(port)
            finally:
                prometheus.kill()
                prometheus.wait()

    def check_scraped(self, port: int) -> None:
        missing = set(SERIES)
        deadline = time.monotonic() + SCRAPE_SECONDS
        while missing and time.monotonic() < deadline:
            missing = {name for name in missing if not self.query(port, name)}
            time.sleep(0.1)
        self.assertEqual(missing, set())
        generated = self.query(
            port, 'sum(headwise_tokens_total{kind="generated"})')
        self.assertEqual(float(generated[0]["value"][1]), 15)
        self.check_alerts(port)

    def check_alerts(self, port: int) -> None:
        """All rules are evaluated without an error, and none is pending."""
        rules = []
        deadline = time.monotonic() + SCRAPE_SECONDS
        while time.monotonic() < deadline:
            rules = [rule
                     for group in self.ask(port, "rules").get("groups", [])
                     for rule in group["rules"]]
            if rules and all(rule["health"] == "ok" for rule in rules):
                break
            time.sleep(0.1)
        self.assertGreater(len(rules), 10)
        for rule in rules:
            self.assertEqual((rule["health"], rule.get("lastError", "")),
                             ("ok", ""), rule["name"])
            # This machine is as busy as it is: the worker may be slow.
            if rule["name"] != "HeadwiseWorkerSkewed":
                self.assertEqual(rule["alerts"], [], rule["name"])

    @classmethod
    def query(cls, port: int, expression: str) -> list:
        path = "query?" + urllib.parse.urlencode({"query": expression})
        return cls.ask(port, path).get("result", [])

    @staticmethod
    def ask(port: int, path: str) -> dict:
        url = f"http://127.0.0.1:{port}/api/v1/{path}"
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return json.load(response)["data"]
        except OSError:
            return {}  # not up yet


if __name__ == "__main__":
    unittest.main(verbosity=2)
