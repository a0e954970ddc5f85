#!/usr/bin/env bash
# The bench, from a bare machine: all set-up, then what "npm run bench -- --help" says.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh

# current PRODUCT SOURCES...: the product is at least as new as every source.
current() {
  local product=$1
  shift
  [ -e "$product" ] && [ -z "$(find "$@" -newer "$product" -print -quit)" ]
}

# Not in build/, which node-gyp empties.
out=.cache/bench
mkdir -p "$out"
if ! current "$out/datagrams" bench/generator; then
  echo "[bench] building the datagram generator ..."
  g++ -std=c++20 -O2 -Wall -Wextra -Werror -o "$out/datagrams" bench/generator/datagrams.cc
fi
# What touches no kernel interface; the same list as the unit tests'.
if ! current "$out/micro" bench/micro native; then
  echo "[bench] building the micro benchmarks ..."
  mapfile -t sources < <(grep -E '^(forward|runtime)/' native/sources.list | grep -vE '^runtime/(worker|data_plane)\.cc$')
  g++ -std=c++20 -O3 -Wall -Wextra -Werror -Inative -o "$out/micro" bench/micro/micro.cc "${sources[@]/#/native/}" -lpthread
fi
if ! current "$out/js/.built" bench src tsconfig.json package-lock.json; then
  echo "[bench] compiling TypeScript ..."
  node_modules/.bin/tsc -p bench
  touch "$out/js/.built"
fi
exec node "$out/js/bench/main.js" "$@"
