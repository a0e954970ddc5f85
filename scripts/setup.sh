#!/usr/bin/env bash
# Everything a bare Debian or Ubuntu machine needs to run vpc-conn from a checkout: system packages that are
# missing, node_modules, the addon and dist/. Does only what is not done yet; the second time takes a moment.
#   setup.sh          what the program and the demo need
#   setup.sh --dev    also what the native tests, the formatters and the fuzzers need
set -euo pipefail
cd "$(dirname "$0")/.."

dev=no
for argument in "$@"; do
  case "$argument" in
    --dev) dev=yes ;;
    *) echo "setup.sh knows only --dev, not $argument" >&2; exit 2 ;;
  esac
done

# Two set-ups at once (a demo beside a test) would write the same files.
exec 9< package.json
flock 9

say() { echo "[setup] $*"; }
have() { command -v "$1" > /dev/null 2>&1; }

log=$(mktemp)
began=
trap 'rm -f "$log" "$began"' EXIT

# Runs a long step quietly; what it printed is shown only if it fails.
step() {
  local what=$1 started=$SECONDS
  shift
  say "$what ..."
  if ! "$@" > "$log" 2>&1 9<&-; then
    cat "$log" >&2
    say "$what failed: $*" >&2
    exit 1
  fi
  say "$what: done in $((SECONDS - started)) s"
}

# --- System packages -------------------------------------------------------------------------------------

needed_to_build=()
needed_to_run=()
# want LIST PACKAGES COMMANDS...: the first package of PACKAGES that this release has is wanted in LIST, unless
# one of the commands is there.
want() {
  local -n list=$1
  local packages=$2 program
  shift 2
  for program in "$@"; do have "$program" && return; done
  list+=("$packages")
}

has_clang_runtime() { compgen -G '/usr/lib/llvm-*/lib/clang/*/lib/*/libclang_rt.fuzzer*' > /dev/null; }

list_packages() {
  needed_to_build=()
  needed_to_run=()
  # build-essential is a pair of commands: make alone proves nothing.
  want needed_to_build build-essential g++
  want needed_to_build build-essential make
  want needed_to_build python3 python3
  [ -e /etc/ssl/certs/ca-certificates.crt ] || needed_to_build+=(ca-certificates)
  want needed_to_run iproute2 bridge
  want needed_to_run nftables nft
  want needed_to_run ethtool ethtool
  want needed_to_run iperf3 iperf3
  want needed_to_run tcpdump tcpdump
  want needed_to_run tshark tshark
  want needed_to_run iputils-ping ping
  want needed_to_run traceroute traceroute
  want needed_to_run iputils-tracepath tracepath
  want needed_to_run procps sysctl
  if [ "$dev" = yes ]; then
    [ -e /usr/include/doctest/doctest.h ] || needed_to_run+=(doctest-dev)
    # Version 14 where it exists: it formats the way the sources are formatted.
    want needed_to_run cmake cmake
    want needed_to_run 'clang-14 clang' clang++-14 clang++
    want needed_to_run 'clang-format-14 clang-format' clang-format-14 clang-format
    want needed_to_run 'clang-tidy-14 clang-tidy' clang-tidy-14 clang-tidy
    want needed_to_run 'llvm-14 llvm' llvm-symbolizer-14 llvm-symbolizer
    has_clang_runtime || needed_to_run+=('libclang-rt-14-dev libclang-common-14-dev libclang-rt-dev')
  fi
}

# The first of several names that this release can install.
installable() {
  local name
  for name in "$@"; do
    if apt-cache policy "$name" | grep -q 'Candidate: [^(]'; then echo "$name"; return; fi
  done
  echo "$1"
}

install_packages() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  local entry names=()
  for entry in "${needed_to_build[@]}" "${needed_to_run[@]}"; do
    # shellcheck disable=SC2086 # alternatives are separated by blanks
    names+=("$(installable $entry)")
  done
  apt-get install -y -qq --no-install-recommends "${names[@]}"
}

list_packages
missing=("${needed_to_build[@]}" "${needed_to_run[@]}")
if [ ${#missing[@]} -eq 0 ]; then
  say "system packages: present"
elif have apt-get && [ "$(id -u)" = 0 ]; then
  step "installing system packages (${missing[*]})" install_packages
else
  say "missing system packages: ${missing[*]} (of several names, one)" >&2
  if have apt-get; then say "install them as root: sudo npm run setup" >&2
  else say "this machine has no apt-get: install what they contain with its own package manager" >&2; fi
  # Without these nothing can be built; without the others the lab says what it misses.
  [ ${#needed_to_build[@]} -eq 0 ] || exit 1
fi

# --- Node.js ---------------------------------------------------------------------------------------------

if ! have node || ! have npm || ! node -e 'process.exit(process.versions.node.split(".")[0] >= 20 ? 0 : 1)'; then
  say "vpc-conn needs Node.js 20 or newer with npm (here: $(node --version 2> /dev/null || echo none))." \
    "Install it from https://nodejs.org or your distribution." >&2
  exit 1
fi

if node scripts/node-modules-current.mjs; then
  say "node_modules: matches package-lock.json"
else
  step "npm ci" npm ci --no-audit --no-fund
fi

# --- Builds ----------------------------------------------------------------------------------------------

# current PRODUCT SOURCES...: the product is at least as new as every source.
current() {
  local product=$1
  shift
  [ -e "$product" ] && [ -z "$(find "$@" -newer "$product" -print -quit)" ]
}

# The stamp bears the time at which the build began: what changed meanwhile is newer.
begin() { began=$(mktemp) && touch "$began"; }
finish() { touch -r "$began" "$1" && rm -f "$began"; }

# Headers that came with Node.js save a download.
node_gyp_flags() {
  local prefix
  prefix=$(dirname "$(dirname "$(readlink -f "$(command -v node)")")")
  if grep -qs "NODE_MAJOR_VERSION $(node -p 'process.versions.node.split(".")[0]')\$" "$prefix/include/node/node_version.h"; then
    echo "--nodedir=$prefix"
  fi
}

native_sources=(binding.gyp package-lock.json)
while IFS= read -r folder; do native_sources+=("$folder"); done \
  < <(find native -mindepth 1 -maxdepth 1 ! -name test ! -name fuzz)
if current build/Release/.built "${native_sources[@]}" && [ -e build/Release/vpc_conn.node ]; then
  say "addon: up to date"
else
  begin
  # shellcheck disable=SC2046 # zero flags or one
  step "building the addon" node_modules/.bin/node-gyp configure build --jobs=max $(node_gyp_flags)
  finish build/Release/.built
fi

if current dist/.built src tsconfig.json tsconfig.build.json package-lock.json; then
  say "dist: up to date"
else
  begin
  step "compiling TypeScript" npm run --silent build:ts
  finish dist/.built
fi
