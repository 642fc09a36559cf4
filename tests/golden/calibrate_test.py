#!/usr/bin/env python3
"""`headwise plan calibrate --method echo` on the real model.

The scores are equal on one worker and on three, and after a run that was cut
short; some heads look back by one period and most do not; the plan keeps the
best 15 % of the units.

Environment: HEADWISE (the program), HEADWISE_MODEL (a GGUF file).
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

FLAGS = ["--method", "echo", "--block", "256", "--copies", "3", "--tests",
         "2"]


def calibrate(folder, name, *flags):
    """The scores, the plan and the JSON that the program prints."""
    out = folder / f"{name}.json"
    scores = folder / f"{name}.scores"
    command = [os.environ["HEADWISE"], "plan", "calibrate", "--json",
               "--model", os.environ["HEADWISE_MODEL"], *FLAGS,
               "-o", str(out), "--scores", str(scores), *flags]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if run.returncode != 0:
        sys.exit(f"{' '.join(command)}\nexit {run.returncode}: {run.stderr}")
    return (json.loads(scores.read_text()), json.loads(out.read_text()),
            json.loads(run.stdout))


def check_scores(scores):
    """What any model that can copy must show."""
    induction = scores["details"]["induction"]
    echo = scores["details"]["echo"]
    strong = sum(score > 0.3 for score in induction)
    idle = sum(score < 0.02 for score in induction)
    print(f"{len(induction)} heads: {strong} above 0.3 by induction, {idle} "
          f"below 0.02; best {max(induction):.3f}, by echo {max(echo):.3f}")
    if not 1 <= strong <= len(induction) // 5 or 2 * idle < len(induction):
        sys.exit("induction heads must be there, and few")


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        state = folder / "state.jsonl"
        scores, _, result = calibrate(folder, "one", "--state", str(state))
        check_scores(scores)
        if result["reuse"] < 10:
            sys.exit(f"rows saved: {result['reuse']} x, must be 10 x or more")

        three, _, _ = calibrate(folder, "three", "--local-workers", "3")
        if three != scores:
            sys.exit("three workers give other scores than one")

        # Killed while it wrote the last test.
        text = state.read_text()
        state.write_text(text[:len(text) - 100])
        again, _, _ = calibrate(folder, "again", "--state", str(state))
        if again != scores or state.read_text() != text:
            sys.exit("a run that goes on gives other scores")


main()
