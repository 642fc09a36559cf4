#!/usr/bin/env bash
# Runs the tests of the GPU's kernels on this machine's GPU, from a folder that
# pack.sh has filled, and prints one JSON object:
#
#   FOLDER/run.sh
#   {"device": "NVIDIA H100 80GB HBM3", "driver": "...", "programs": [
#     {"name": "headwise_cuda_device_test", "tests": 340, "failed": 0,
#      "seconds": 12}]}
#
# The exit status is 0 only if there is a GPU and nothing failed. What failed is
# told on stderr.
set -euo pipefail

HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
readonly HERE
readonly MAX_SECONDS=240  # of a program
export LD_LIBRARY_PATH="$HERE/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"

query() {
  nvidia-smi "--query-gpu=$1" --format=csv,noheader | head -n 1
}

device="$(query name)" || { echo "no GPU: nvidia-smi failed" >&2; exit 1; }
driver="$(query driver_version)"
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
status=0
programs=()
for program in "$HERE"/bin/*; do
  start="$SECONDS"
  failed=0
  if ! timeout "$MAX_SECONDS" "$program" >"$log" 2>&1; then
    status=1
    grep -vE '^\[ (RUN|      OK) ' "$log" | tail -n 60 >&2
    failed="$(grep -c '^\[  FAILED  \].*ms)' "$log" || true)"
    ((failed > 0)) || failed=1  # it crashed
  fi
  tests="$(sed -n 's/^\[==========\] \([0-9]*\) tests\{0,1\} .*ran\..*/\1/p' \
    "$log")"
  programs+=("{\"name\": \"$(basename "$program")\", \"tests\": ${tests:-0}, \
\"failed\": $failed, \"seconds\": $((SECONDS - start))}")
done
printf '{"device": "%s", "driver": "%s", "programs": [%s]}\n' "$device" \
  "$driver" "$(IFS=,; echo "${programs[*]}")"
exit "$status"
