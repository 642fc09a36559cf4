#!/usr/bin/env bash
# Collects what tests/gpu/run.sh needs on a machine that has a GPU and a driver
# and nothing of ours: the test programs and their shared libraries.
#
#   tests/gpu/pack.sh FOLDER
#
# FOLDER gets bin/ and lib/, some 30 MB. glibc and the driver are the machine's.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
readonly ROOT
readonly TESTS_DIR="$ROOT/build/release/tests"
readonly PROGRAMS=(headwise_cuda_device_test headwise_gpu_executor_device_test)

if (($# != 1)); then
  echo "usage: tests/gpu/pack.sh FOLDER" >&2
  exit 2
fi
folder="$1"
rm -rf "$folder/bin" "$folder/lib"
mkdir -p "$folder/bin" "$folder/lib"
for program in "${PROGRAMS[@]}"; do
  if [[ ! -x "$TESTS_DIR/$program" ]]; then
    echo "not built: $TESTS_DIR/$program (it needs a CUDA toolkit)" >&2
    exit 1
  fi
  cp "$TESTS_DIR/$program" "$folder/bin/"
  strip "$folder/bin/$program"
  ldd "$TESTS_DIR/$program" | awk '$2 == "=>" { print $3 }' |
    { grep -vE '/(libc|libm|libdl|libpthread|librt)\.so' || true; } |
    xargs -r cp -Lt "$folder/lib"
done
cp "$ROOT/tests/gpu/run.sh" "$folder/"
du -sh "$folder" >&2
