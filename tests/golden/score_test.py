#!/usr/bin/env python3
"""What `headwise score` promises of the real model.

score_test.py perplexity   the golden text's perplexity is within 1 % of the
                           fp32 reference (tests/golden/README.md)
score_test.py bits         the hash of all logits is equal over workers,
                           threads, chunks, instruction sets, company and
                           groups: a fixed set of mixes in which every two
                           values of different factors meet; and it is that of
                           logits_sha256.json, on every machine
score_test.py all-bits     every mix (slow)
score_test.py cut-bits     the hash of a text that spans three of a context's
                           fixed ranges is equal whether every unit's context
                           lies on one rank or is cut over 2, 3 or 5

Environment: HEADWISE (the program), HEADWISE_MODEL (a GGUF file).
"""

import itertools
import json
import os
import pathlib
import re
import subprocess
import sys

FOLDER = pathlib.Path(__file__).resolve().parent
TEXT = FOLDER / "text.txt"

FACTORS = {
    "--local-workers": ["1", "2", "3", "4", "7"],
    "--threads": ["1", "2"],
    "--prefill-chunk": ["512", "17", "1"],
    "--isa": ["avx2", "avx512", "amx"],
    "--batch-with": ["0", "5"],
    "--group": ["in-process", "shm", "gloo"],
}


def score(*flags, tokens):
    """The JSON that the program prints, or None if the CPU lacks the ISA."""
    command = [os.environ["HEADWISE"], "score", "--json",
               "--model", os.environ["HEADWISE_MODEL"],
               "--text-file", str(TEXT), "--max-tokens", str(tokens), *flags]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if run.returncode != 0 and "this machine has only" in run.stderr:
        return None
    if run.returncode != 0:
        sys.exit(f"{' '.join(command)}\nexit {run.returncode}: {run.stderr}")
    return json.loads(run.stdout)


def check_perplexity():
    golden = json.loads((FOLDER / "score.json").read_text())
    ours = score(tokens=golden["tokens"])
    ratio = ours["perplexity"] / golden["perplexity"]
    print(f"perplexity {ours['perplexity']:.4f}, fp32 reference "
          f"{golden['perplexity']:.4f}, ratio {ratio:.5f}")
    if ours["tokens"] != golden["tokens"] or abs(ratio - 1) > 0.01:
        sys.exit("more than 1 % from the reference")


def pairs_of(mix):
    """What the mix shows together: ((factor, value), (factor, value))."""
    return set(itertools.combinations(enumerate(mix), 2))


def all_pairs(grid):
    """Few mixes that hold every pair of the grid, taken greedily."""
    missing = set().union(*(pairs_of(mix) for mix in grid))
    while missing:
        best = max(grid, key=lambda mix: len(pairs_of(mix) & missing))
        missing -= pairs_of(best)
        yield best


def mixes(every):
    """The flags of each run."""
    isas = [isa for isa in FACTORS["--isa"]
            if score("--isa", isa, tokens=2) is not None]
    print("instruction sets of this machine:", ", ".join(isas))
    if "avx2" not in isas:
        sys.exit("avx2, the least that the program needs, is missing")
    factors = dict(FACTORS, **{"--isa": isas})
    grid = list(itertools.product(*factors.values()))
    for mix in grid if every else all_pairs(grid):
        yield [flag for pair in zip(factors, mix) for flag in pair]


def golden_bits():
    """Tokens, and their hashes by KV type, of this build's numerics."""
    said = subprocess.run([os.environ["HEADWISE"], "--version"], text=True,
                          capture_output=True, check=True).stdout
    numerics = re.search(r"numerics (\d+)", said).group(1)
    golden = json.loads((FOLDER / "logits_sha256.json").read_text())
    newest = max(golden["numerics"], key=int)
    if numerics != newest:
        sys.exit(f"{said.strip()}; logits_sha256.json ends with {newest}")
    return golden["tokens"], golden["numerics"][numerics]


def check_bits(every):
    tokens, golden = golden_bits()
    runs = [[*flags, "--kv-type", "fp16"] for flags in mixes(every)]
    runs.append(["--kv-type", "int8", "--local-workers", "3"])
    for flags in runs:
        got = score(*flags, tokens=tokens)["logits_sha256"]
        expected = golden[flags[flags.index("--kv-type") + 1]]
        if got != expected:
            sys.exit(f"{' '.join(flags)}: {got}, expected {expected}. If the "
                     "bits were meant to change: raise the numerics of "
                     "base/own_build.cc, add them to logits_sha256.json, and "
                     "tell docs/CHANGELOG.md in bold")
    print(f"{len(runs)} ways to score {tokens} tokens, the golden hash each: "
          f"{golden['fp16']}")


def check_cut_bits():
    tokens = 1100
    hashes = {}
    for workers, ranks, speeds in ((1, 1, "1"), (2, 2, "1,1"), (3, 3, "1,2,1"),
                                   (5, 5, "1,1,3,1,1"), (3, 2, "1,1,1")):
        got = score("--local-workers", str(workers), "--threads", "1",
                    "--ranks-per-context", str(ranks), "--speed", speeds,
                    "--prefill-chunk", "512" if workers < 3 else "300",
                    tokens=tokens)
        if got["tokens"] != tokens:
            sys.exit(f"{got['tokens']} tokens scored, wanted {tokens}")
        hashes[f"{ranks} of {workers}"] = got["logits_sha256"]
    if len(set(hashes.values())) != 1:
        sys.exit(f"hashes by ranks per context of workers: {hashes}")
    print(f"contexts of {tokens} tokens on {', '.join(hashes)} workers: one "
          f"hash, {hashes['1 of 1']}")


def main():
    action = sys.argv[1] if len(sys.argv) == 2 else ""
    if action == "perplexity":
        check_perplexity()
    elif action == "cut-bits":
        check_cut_bits()
    elif action in ("bits", "all-bits"):
        check_bits(every=action == "all-bits")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
