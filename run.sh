#!/usr/bin/env bash
# Sets everything up and runs the main job: a coordinator and two worker
# processes serve SmolLM2-135M-Instruct, its attention heads spread unevenly
# over the workers; one question is answered, then the head map is shown.
#
#   ./run.sh
#   ./run.sh titans
#
# titans: trains the lab's smallest model with a neural memory, some minutes the
# first time; two workers serve it, one head each. It is asked for a pair that
# stood before 35,000 tokens of text, then for more of them, further back.
#
# Needs Debian 12, and root or sudo the first time (packages). Ends what it
# started; the exit status is 0 only if the answer and the map came.
set -euo pipefail

HEADWISE_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
readonly HEADWISE_ROOT
source "$HEADWISE_ROOT/cmake/setup.sh"

readonly QUESTION="Name the capital city of France."
readonly MAX_ANSWER_TOKENS=128
readonly LAB_DIR="$HEADWISE_ROOT/build/lab"
readonly TITANS_PATH="$HEADWISE_ROOT/models/titans-smallest"
readonly TITANS_TEXT="/usr/share/common-licenses/GPL-3"
readonly TITANS_CONTEXTS="16384,131072"  # of the bench, tokens
readonly NUM_WORKERS=2
readonly START_SECONDS=60   # for a process to open its port
readonly READY_SECONDS=120  # for the workers to load and to form their group
readonly STOP_SECONDS=5     # for a process to end on SIGTERM

run_dir=""
pids=()
names=()  # of the processes in pids

usage() {
  echo "usage: ./run.sh [titans]" >&2
  echo "got: $*" >&2
  exit 2
}

# Ends the processes that this script started, by their ids.
stop_all() {
  local status=$? pid deadline
  trap - EXIT INT TERM
  for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
  deadline=$((SECONDS + STOP_SECONDS))
  for pid in "${pids[@]}"; do
    while kill -0 "$pid" 2>/dev/null && ((SECONDS < deadline)); do
      sleep 0.05
    done
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  if ((status != 0)) && [[ -n "$run_dir" ]]; then show_logs; fi
  [[ -z "$run_dir" ]] || rm -rf "$run_dir"
  exit "$status"
}

show_logs() {
  local log
  for log in "$run_dir"/*.log; do
    [[ -f "$log" ]] || continue
    say "last lines of $(basename "$log"):"
    tail -n 20 "$log" >&2
  done
}

# start NAME PROGRAM ARGUMENT...: in the background, log in run_dir/NAME.log.
start() {
  local name="$1" program="$2"
  shift 2
  "$RELEASE_DIR/bin/$program" "$@" --port-file "$run_dir/$name.port" \
    >"$run_dir/$name.log" 2>&1 &
  pids+=("$!")
  names+=("$name")
  say "start: $name is process $!"
}

check_alive() {
  local i
  for i in "${!pids[@]}"; do
    kill -0 "${pids[i]}" 2>/dev/null ||
      fail "${names[i]} (process ${pids[i]}) ended while it was needed"
  done
}

# wait_for WHAT SECONDS COMMAND...: until COMMAND succeeds.
wait_for() {
  local what="$1" deadline=$((SECONDS + $2))
  shift 2
  until "$@" >/dev/null 2>&1; do
    check_alive
    ((SECONDS < deadline)) || fail "$what: not within the time allowed"
    sleep 0.1
  done
}

# The first line of a port file is the gRPC port; the file appears whole.
server_address() {
  local port
  read -r port <"$run_dir/$1.port"
  echo "127.0.0.1:$port"
}

# start_cluster MODEL
start_cluster() {
  local rank
  start coordinator headwise-coordinator --listen 127.0.0.1:0 \
    --model "$1" --min-workers "$NUM_WORKERS"
  wait_for "coordinator's port" "$START_SECONDS" \
    test -s "$run_dir/coordinator.port"
  server="$(server_address coordinator)"
  for ((rank = 0; rank < NUM_WORKERS; rank++)); do
    start "worker-$rank" headwise-worker --listen 127.0.0.1:0 \
      --coordinator "$server" --name "worker-$rank" --threads 1
  done
  wait_for "cluster" "$READY_SECONDS" \
    "$RELEASE_DIR/bin/headwise" heads map --server "$server"
  say "ready: coordinator at $server, $NUM_WORKERS workers of one thread"
}

ask() {
  say "asking: $QUESTION"
  "$RELEASE_DIR/bin/headwise" chat --server "$server" --prompt "$QUESTION" \
    --max-tokens "$MAX_ANSWER_TOKENS" --verbose || fail "headwise chat"
  echo
  "$RELEASE_DIR/bin/headwise" heads map --server "$server" ||
    fail "headwise heads map"
}

# The folder appears whole, so a run that was ended goes on from its state.
train_titans() {
  if [[ -d "$TITANS_PATH" ]]; then
    say "model: $(basename "$TITANS_PATH") is trained; remove it to do it again"
    return 0
  fi
  mkdir -p "$(dirname "$TITANS_PATH")"
  say "train: the smallest Titans model"
  "$LAB_DIR/bin/headwise-lab-titans" train --preset smallest \
    --state "$TITANS_PATH.state" -o "$TITANS_PATH.new" >&2 ||
    fail "headwise-lab-titans train"
  mv "$TITANS_PATH.new" "$TITANS_PATH"
  rm -f "$TITANS_PATH.state"
}

ask_titans() {
  local prompt="$run_dir/prompt" answer
  {
    printf '<k7><v41>'
    cat "$TITANS_TEXT"
    printf '<k7>'
  } >"$prompt"
  say "asking: what followed <k7>, $(wc -c <"$TITANS_TEXT") bytes ago"
  answer="$("$RELEASE_DIR/bin/headwise" generate --server "$server" \
    --prompt-file "$prompt" --max-tokens 1)" || fail "headwise generate"
  say "answer: $answer"
  [[ "$answer" == "<v41>" ]] || fail "expected <v41>, got: $answer"
  "$RELEASE_DIR/bin/headwise" bench memory --model "$TITANS_PATH" \
    --context "$TITANS_CONTEXTS" --local-workers "$NUM_WORKERS" --threads 1 ||
    fail "headwise bench memory"
}

serve_and() {
  run_dir="$(mktemp -d "${TMPDIR:-/tmp}/headwise.XXXXXX")"
  trap stop_all EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  start_cluster "$1"
  "$2"
}

run_main() {
  lock_build
  install_packages "${BUILD_PACKAGES[@]}"
  install_model
  configure release
  build release headwise headwise-coordinator headwise-worker
  unlock_build
  serve_and "$MODEL_PATH" ask
}

run_titans() {
  lock_build
  "$HEADWISE_ROOT/lab/setup.sh"
  configure lab
  build lab headwise-lab-titans
  configure release
  build release headwise headwise-coordinator headwise-worker
  unlock_build
  train_titans
  serve_and "$TITANS_PATH" ask_titans
}

case "$*" in
  "") run_main ;;
  titans) run_titans ;;
  *) usage "$@" ;;
esac
