#!/usr/bin/env python3
"""`headwise select run` on the real model, killed again and again.

select_kill_test.py KILLS

The process gets SIGKILL at random moments and is started again with other
workers and other steps, until KILLS have struck; whenever a job gets done, all
its files are compared, byte for byte, with those of a run that nobody
disturbed, and another one begins.

Environment: HEADWISE (the program), HEADWISE_MODEL (a GGUF file),
HEADWISE_SEED (of the moments; default 1).
"""

import gzip
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

WORDS = ("the river bank of a small town where people trade salt and wool for "
         "tools every second week while children count boats and old men "
         "argue about rain prices maps and the length of winter").split()


def text_of(rng, words):
    return " ".join(rng.choice(WORDS) for _ in range(words))


def write_corpus(folder):
    """Small files, so that there are many shards; some records are bad."""
    rng = random.Random(7)
    for number in range(6):
        lines = [json.dumps({"id": f"web-{number}-{i}", "domain": "web",
                             "text": text_of(rng, rng.randint(20, 60))})
                 for i in range(4)]
        if number == 2:
            lines[1] = '{"id": "cut short'
            lines.append(json.dumps({"id": "web-0-1", "domain": "web",
                                     "text": text_of(rng, 40)}))
        if number == 4:
            lines.append(json.dumps({"id": "empty", "domain": "web",
                                     "text": ""}))
        data = ("\n".join(lines) + "\n").encode()
        (folder / f"web{number}.jsonl.gz").write_bytes(
            gzip.compress(data, mtime=0))
    tree = folder / "books"
    tree.mkdir()
    for number in range(4):
        (tree / f"{number}.txt").write_text(text_of(rng, 50))
    (tree / "bad.txt").write_bytes(b"caf\xe9 " * 20)


def write_plan(path):
    """Masks a few heads; which ones does not matter here."""
    command = [os.environ["HEADWISE"], "plan", "new", "-m",
               os.environ["HEADWISE_MODEL"], "-o", str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    plan = json.loads(path.read_text())
    plan["query_heads"] = [{"layers": "8,18", "heads": "2,6",
                            "mask": "uniform"}]
    path.write_text(json.dumps(plan))


class Runner:
    """Runs the job of one corpus."""

    def __init__(self, folder):
        self.corpus = folder / "corpus"
        self.corpus.mkdir()
        write_corpus(self.corpus)
        self.plan = folder / "masked.json"
        write_plan(self.plan)

    def start(self, out, *flags):
        return subprocess.Popen(
            [os.environ["HEADWISE"], "select", "run", "--json", "--model",
             os.environ["HEADWISE_MODEL"], "--plan", str(self.plan), "--input",
             str(self.corpus), "--out", str(out), "--min-tokens", "16",
             "--context", "4096", *flags],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*")) if path.is_file()}


def differences(files, expected):
    return {name: "missing" if name not in files else
            "unexpected" if name not in expected else "differs"
            for name in files.keys() | expected.keys()
            if files.get(name) != expected.get(name)}


def finish(process):
    """The job, of a process that may end by itself."""
    out, err = process.communicate(timeout=600)
    if process.returncode != 0:
        sys.exit(f"exit {process.returncode}: {err}\n{out}")
    return json.loads(out)


def check_totals(job, files):
    result = json.loads(files["result.json"])
    counts = {name: result[name] for name in ("documents", "scored", "ranked",
                                              "tokens")}
    print(f"undisturbed: {counts}, flags {result['flags']}")
    wanted = {"duplicate_id": 1, "empty_text": 1, "broken_record": 1,
              "invalid_utf8": 1}
    flags = result["flags"]
    if any(flags.get(name) != count for name, count in wanted.items()):
        sys.exit(f"flags must have {wanted}")
    if result["documents"] != 31 or result["scored"] != 28:
        sys.exit("31 documents, of which 28 can be scored")
    if (job["state"] != "DONE"
            or job["result_sha256"] != result["result_sha256"]):
        sys.exit("the job's answer is not that of result.json")


def main():
    kills = int(sys.argv[1])
    seed = int(os.environ.get("HEADWISE_SEED", "1"))
    print(f"seed {seed}")
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        runner = Runner(folder)
        start = time.monotonic()
        job = finish(runner.start(folder / "undisturbed"))
        seconds = time.monotonic() - start
        expected = files_of(folder / "undisturbed")
        check_totals(job, expected)

        struck = done = 0
        out = folder / "disturbed"
        while struck < kills or done == 0:
            flags = ["--local-workers", rng.choice(["1", "2", "3"]),
                     "--prefill-chunk", rng.choice(["512", "64", "7"])]
            process = runner.start(out, *flags)
            limit = 600 if struck == kills else rng.uniform(0.1, 1.1) * seconds
            try:
                process.wait(timeout=limit)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                struck += 1
                continue
            finish(process)
            done += 1
            differ = differences(files_of(out), expected)
            if differ:
                sys.exit(f"after {struck} kills (seed {seed}): {differ}")
            shutil.rmtree(out)
            shutil.rmtree(folder / "disturbed.state")
        print(f"{struck} kills, {done} jobs done, all files equal; "
              f"{seconds:.1f} s undisturbed")


main()
