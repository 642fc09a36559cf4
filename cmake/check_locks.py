"""Runs clang's thread safety analysis over the sources that own a mutex.

    check_locks.py build/release/compile_commands.json JOBS

The release build is g++'s, which knows no lock annotations. A source is
checked if it, or a header of ours that it includes, has ABSL_GUARDED_BY.
"""

import concurrent.futures
import json
import pathlib
import re
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
INCLUDE = re.compile(r'^#include "([^"]+)"', re.MULTILINE)
# Passed on to clang; the rest are g++'s or say where output goes.
KEPT = re.compile(r"^(-D|-I|-std=|-m|-isystem$|-f)")


def has_lock_annotations(source):
    text = source.read_text()
    if "ABSL_GUARDED_BY" in text:
        return True
    headers = (ROOT / name for name in INCLUDE.findall(text))
    return any(h.is_file() and "ABSL_GUARDED_BY" in h.read_text()
               for h in headers)


def clang_command(entry):
    words = shlex.split(entry["command"])
    kept = []
    for word, following in zip(words, words[1:] + [""]):
        if KEPT.match(word):
            kept.append(word)
            if word == "-isystem":
                kept.append(following)
    return ["clang++-14", *kept, "-fsyntax-only", "-Wthread-safety",
            "-Werror=thread-safety", "-Wno-unknown-warning-option",
            "-Wno-ignored-optimization-argument", entry["file"]]


def check(entry):
    result = subprocess.run(clang_command(entry), cwd=entry["directory"],
                            capture_output=True, text=True, check=False)
    return entry["file"], result.returncode, result.stderr


def main():
    entries = {}
    for entry in json.loads(pathlib.Path(sys.argv[1]).read_text()):
        source = pathlib.Path(entry["file"])
        if (source.is_file() and source.is_relative_to(ROOT)
                and not source.is_relative_to(ROOT / "build")
                and not source.name.endswith("_test.cc")
                and has_lock_annotations(source)):
            entries[entry["file"]] = entry
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(int(sys.argv[2])) as pool:
        for name, status, messages in pool.map(check, entries.values()):
            if status != 0:
                failed += 1
                print(f"{name}:\n{messages}")
    print(f"{len(entries)} sources checked, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
