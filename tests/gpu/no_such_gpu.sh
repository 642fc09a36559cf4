#!/usr/bin/env bash
# A worker that is told to use a GPU which is not there says so and ends; the
# reason is that of its build or of the machine.
#
#   no_such_gpu.sh PROGRAM ...
set -euo pipefail

readonly REASONS='this build has no CUDA|looking for GPUs: |GPU 999 is not'

for program in "$@"; do
  status=0
  said="$("$program" --device cuda:999 2>&1)" || status=$?
  if ((status != 2)) || ! grep -qE "$REASONS" <<<"$said"; then
    echo "$program: status $status: $said"
    exit 1
  fi
  if "$program" --device gpu >/dev/null 2>&1; then
    echo "$program takes a device that is none"
    exit 1
  fi
  echo "$said"
done
