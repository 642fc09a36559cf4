"""deploy/monitoring/alerts.yml, read and run by promtool."""

import pathlib
import re
import shutil
import subprocess
import unittest

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "monitoring"
RULES = FOLDER / "alerts.yml"
TESTS = FOLDER / "alerts_test.yml"


def rules() -> dict[str, str]:
    """The text of each alert's rule, by name."""
    parts = re.split(r"- alert: (\w+)\n", RULES.read_text())
    return dict(zip(parts[1::2], parts[2::2]))


class AlertsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if shutil.which("promtool") is None:
            raise RuntimeError("promtool is missing: Debian package prometheus")

    def promtool(self, *arguments: str) -> None:
        run = subprocess.run(["promtool", *arguments], cwd=FOLDER, text=True,
                             capture_output=True)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)

    def test_promtool_reads_the_rules(self):
        self.promtool("check", "rules", RULES.name)

    def test_each_fires_when_it_must_and_is_quiet_when_it_must_not(self):
        self.promtool("test", "rules", TESTS.name)

    def test_each_has_a_severity_a_summary_and_a_runbook(self):
        self.assertGreater(len(rules()), 10)
        for name, text in rules().items():
            for what in ("severity: ", "summary: ", "runbook: "):
                self.assertIn(what, text, name)

    def test_each_has_a_case_that_fires_and_one_that_does_not(self):
        cases = re.findall(
            r'alertname="(\w+)", alertstate="firing"\}\'\n'
            r"\s+eval_time: \w+\n\s+exp_samples:( \[\])?", TESTS.read_text())
        self.assertEqual({name for name, quiet in cases if quiet}, set(rules()))
        self.assertEqual({name for name, quiet in cases if not quiet},
                         set(rules()))


if __name__ == "__main__":
    unittest.main(verbosity=2)
