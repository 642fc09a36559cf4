#!/usr/bin/env bash
# Trains every variant and its baselines in turn, small, and compares them:
#
#   lab/titans/ablation.sh RUNS_FOLDER [PRESET ...]
#
# One thread each, some minutes each on a quiet core. A run that is there is not
# trained again; one that was ended goes on. Writes
# bench/results/titans/{recall,text}{.csv,.svg,-loss.csv,-loss.svg}.
set -euo pipefail

HEADWISE_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
readonly HEADWISE_ROOT
readonly PROGRAM="$HEADWISE_ROOT/build/lab/bin/headwise-lab-titans"
readonly RESULTS="$HEADWISE_ROOT/bench/results/titans"
readonly RECALL=(lmm-recall mal-recall mag-recall mac-recall swa-recall
  lmm-recall-linear)
readonly TEXT=(lmm-text mal-text mag-text mac-text swa-text lmm-text-linear
  lmm-text-keep)
# Flags that keep a run to some minutes.
readonly OF_RECALL=(--steps 1000)
readonly OF_TEXT=(--steps 300 --length 256)

if (($# < 1)); then
  echo "usage: lab/titans/ablation.sh RUNS_FOLDER [PRESET ...]" >&2
  exit 2
fi
readonly RUNS="$1"
shift
mkdir -p "$RUNS" "$RESULTS"

train() {
  local preset="$1"
  shift
  [[ ! -f "$RUNS/$preset/lab.json" ]] || return 0
  echo "$preset" >&2
  nice -n 15 "$PROGRAM" --threads 1 train --preset "$preset" "$@" \
    --state "$RUNS/$preset.state" -o "$RUNS/$preset"
}

# Those of the list that are trained.
trained() {
  local preset
  for preset in "$@"; do
    [[ ! -f "$RUNS/$preset/lab.json" ]] || printf '%s\n' "$RUNS/$preset"
  done
}

compare() {
  local name="$1" folders
  shift
  mapfile -t folders < <(trained "$@")
  ((${#folders[@]} == 0)) && return 0
  "$PROGRAM" table -o "$RESULTS/$name" "${folders[@]}"
}

(($# > 0)) || set -- "${RECALL[@]}" "${TEXT[@]}"
for preset in "$@"; do
  case "$preset" in
    *-recall*) train "$preset" "${OF_RECALL[@]}" ;;
    *) train "$preset" "${OF_TEXT[@]}" ;;
  esac
done
compare recall "${RECALL[@]}"
compare text "${TEXT[@]}"
