#!/usr/bin/env bash
# Builds the fuzzers and runs each for a while: npm run fuzz [-- SECONDS], 60 unless given. What they find new
# is kept in build/fuzz/corpus; the committed corpus (native/fuzz/corpus) comes from the golden cases. An input
# that breaks something is written to build/fuzz and named.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || { echo "usage: npm run fuzz -- SECONDS" >&2; exit 2; }

for compiler in clang++-14 clang++; do
  command -v "$compiler" > /dev/null && break
  compiler=
done
if [ -z "$compiler" ] || ! command -v cmake > /dev/null; then
  echo 'clang or cmake is missing: run "npm run setup -- --dev"' >&2
  exit 1
fi

cmake -S native -B build/fuzz -DCMAKE_CXX_COMPILER="$compiler" -DVPC_CONN_TESTS=OFF -DVPC_CONN_FUZZ=ON > /dev/null
cmake --build build/fuzz --parallel "$(nproc)"
for direction in encap decap; do
  found=build/fuzz/corpus/$direction
  mkdir -p "$found"
  echo "[fuzz] $direction for $seconds s"
  nice "build/fuzz/fuzz/fuzz_$direction" -max_total_time="$seconds" -max_len=8192 -timeout=10 -rss_limit_mb=2048 \
    -print_final_stats=1 -artifact_prefix="build/fuzz/$direction-" "$found" "native/fuzz/corpus/$direction"
done
