#!/usr/bin/env bash
# No program of a build without GPUs needs a library of CUDA.
#
#   cpu_only.sh PROGRAM ...
set -euo pipefail

for program in "$@"; do
  libraries="$(ldd "$program")"
  if grep -iE 'libcu(da|dnn|blas)|nccl|nvidia' <<<"$libraries"; then
    echo "$program needs them"
    exit 1
  fi
  count="$(wc -l <<<"$libraries")"
  echo "$(basename "$program"): $count libraries, none of CUDA"
done
