#!/usr/bin/env bash
# Sets everything up, builds, and passes the tests.
#
#   ./test.sh [--slow] [--no-fuzz] [ctest arguments, such as -R placement]
#
# Without ctest arguments: lock annotations by clang, a short fuzz run, then
# every test but those labelled slow (--slow adds them). With them, only ctest.
# A check whose inputs have not changed since it passed is not run again; remove
# build/passed to forget that. The last lines are ctest's own summary.
set -euo pipefail

HEADWISE_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
readonly HEADWISE_ROOT
source "$HEADWISE_ROOT/cmake/setup.sh"

readonly PASSED_DIR="$HEADWISE_ROOT/build/passed"
readonly FUZZ_DIR="$HEADWISE_ROOT/build/fuzz"

slow=false
fuzz=true
ctest_arguments=()
for argument in "$@"; do
  case "$argument" in
    --slow) slow=true ;;
    --no-fuzz) fuzz=false ;;
    -h | --help)
      sed -n '2,/^set/{s/^# \{0,1\}//;/^set/d;p}' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    *) ctest_arguments+=("$argument") ;;
  esac
done

# Of names and contents; the names are read from stdin, each ended by NUL.
digest_of_files() {
  sort -z | xargs -0 -r sha256sum | sha256sum | cut -d' ' -f1
}

has_passed() { [[ -e "$PASSED_DIR/$1-$2" ]]; }

# remember CHECK DIGEST
remember() {
  mkdir -p "$PASSED_DIR"
  rm -f "$PASSED_DIR/$1-"*
  touch "$PASSED_DIR/$1-$2"
}

# The tree's classes with mutexes, through clang's thread safety analysis.
check_locks() {
  local digest start="$SECONDS"
  digest="$(find "$RELEASE_DIR/compile_commands.json" "$HEADWISE_ROOT/cmake" \
    "$HEADWISE_ROOT"/{base,model,proto,worker,server,client} -type f -print0 |
    digest_of_files)"
  if has_passed locks "$digest"; then
    say "locks: unchanged since they passed"
    return 0
  fi
  say "locks: clang-14 -Wthread-safety"
  python3 "$HEADWISE_ROOT/cmake/check_locks.py" \
    "$RELEASE_DIR/compile_commands.json" "$(build_jobs)" >&2 ||
    fail "locks: clang's thread safety analysis (above)"
  remember locks "$digest"
  say "locks: passed in $((SECONDS - start)) s"
}

# Every fuzz target, ten seconds each over its kept corpus.
check_fuzz() {
  local digest start="$SECONDS" targets
  configure fuzz
  mapfile -t targets < <(ninja -C "$FUZZ_DIR" -t targets all |
    sed -n 's|^fuzz/\([a-z0-9_]*\): .*|\1|p' | sort)
  if ((${#targets[@]} == 0)); then
    fail "fuzz: the preset has no fuzz targets"
  fi
  build fuzz "${targets[@]}"
  digest="$({
    printf '%s\0' "${targets[@]/#/$FUZZ_DIR/fuzz/}"
    find "$HEADWISE_ROOT/tests" -path '*corpus*' -type f -print0
    find "$HEADWISE_ROOT/cmake" -type f -print0
  } | digest_of_files)"
  if has_passed fuzz "$digest"; then
    say "fuzz: unchanged since it passed"
    return 0
  fi
  say "fuzz: ${#targets[@]} targets"
  ctest --test-dir "$FUZZ_DIR" --output-on-failure -j "$(nproc)" -L '^fuzz$' \
    --no-tests=error >&2 || fail "fuzz: a target found an error (above)"
  remember fuzz "$digest"
  say "fuzz: passed in $((SECONDS - start)) s"
}

# One more test at once than there are CPUs: some wait for others to act.
run_ctest() {
  local left_out=() jobs=$(($(nproc) + 1))
  $slow || left_out=(-LE '^slow$')
  say "ctest: build/release, $jobs at once"
  ctest --test-dir "$RELEASE_DIR" --output-on-failure -j "$jobs" \
    --no-tests=error "${left_out[@]}" "$@"
}

lock_build
install_packages "${BUILD_PACKAGES[@]}" "${TEST_PACKAGES[@]}"
install_model
configure release
build release
if ((${#ctest_arguments[@]} == 0)); then
  check_locks
  if $fuzz; then check_fuzz; fi
fi
unlock_build
run_ctest "${ctest_arguments[@]}"
