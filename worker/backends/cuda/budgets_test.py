"""Compiles the kernels once more and reads what each takes of a multiprocessor.

    budgets_test.py NVCC FLAG ... SOURCE.cu

A block of 256 threads with more than 64 registers a thread, or with more than
48 KiB of shared memory, leaves room for fewer than four; a spill is traffic
that nobody asked for.
"""

import re
import subprocess
import sys
import tempfile

MAX_REGISTERS = 80
MAX_SHARED_BYTES = 48 << 10
MAX_STACK_BYTES = 64
ENTRY = re.compile(r"Compiling entry function '(\S+)' for '(\S+)'")
FRAME = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, "
                   r"(\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers(?:.*?(\d+) bytes smem)?")


def compile_report(command):
    with tempfile.NamedTemporaryFile(suffix=".cubin") as output:
        result = subprocess.run(
            [*command, "-arch=sm_90a", "--resource-usage", "-cubin",
             "-o", output.name], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.exit(result.stdout + result.stderr)
    return result.stdout + result.stderr


def over_budget(report):
    """Texts that name kernels and what they take too much of."""
    found = []
    entry, frame, num_entries = "", (0, 0, 0), 0
    for line in report.splitlines():
        if match := ENTRY.search(line):
            entry = match.group(1)
            num_entries += 1
        elif match := FRAME.search(line):
            frame = tuple(map(int, match.groups()))
        elif match := USED.search(line):
            registers, shared = int(match.group(1)), int(match.group(2) or 0)
            if (registers > MAX_REGISTERS or shared > MAX_SHARED_BYTES
                    or frame[0] > MAX_STACK_BYTES or any(frame[1:])):
                found.append(f"{entry}: {registers} registers, {shared} bytes "
                             f"shared, {frame[0]} of stack, spills {frame[1:]}")
    return num_entries, found


def main():
    num_entries, found = over_budget(compile_report(sys.argv[1:]))
    print(f"{num_entries} kernels, {len(found)} over budget")
    if num_entries < 15:
        sys.exit("the compiler's report was not understood")
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
