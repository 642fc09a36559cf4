#!/usr/bin/env bash
# Installs what lab/ needs beyond ./test.sh: LibTorch and a fast BLAS, from
# Debian 12.
#
#   lab/setup.sh
#
# About 0.7 GB on disk. Needs root or sudo. Then: docs/lab.md.
set -euo pipefail

HEADWISE_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
readonly HEADWISE_ROOT
source "$HEADWISE_ROOT/cmake/setup.sh"

# Debian's LibTorch takes any BLAS; the reference one is many times slower.
install_packages "${BUILD_PACKAGES[@]}" libtorch-dev libopenblas0-pthread
