#!/usr/bin/env bash
# All static checks, or those named: biome types clang-format clang-tidy. Exit code 77: the only one named
# cannot run here, its last line says why.
set -uo pipefail
cd "$(dirname "$0")/.."

check() {
  case "$1" in
    biome) node_modules/.bin/biome check . ;;
    types) node_modules/.bin/tsc --noEmit -p . ;;
    clang-format) bash scripts/clang-format.sh ;;
    clang-tidy) clang_tidy ;;
    *) echo "lint.sh knows biome, types, clang-format and clang-tidy, not $1" >&2; return 2 ;;
  esac
}

clang_tidy() {
  local program
  for program in clang-tidy-14 clang-tidy; do
    command -v "$program" > /dev/null || continue
    if [ ! -e .clang-tidy ]; then
      echo "there is no .clang-tidy: nothing to check against"
      return 77
    fi
    if [ ! -e build/dev/compile_commands.json ]; then
      echo "build/dev/compile_commands.json is missing: run \"npm test\" once"
      return 77
    fi
    # Whole files, one process per core; only what the repository itself contains.
    find native -name '*.cc' ! -path '*/binding/*' ! -path '*/test/*' ! -path '*/fuzz/*' -print0 |
      xargs -0 -r -n 1 -P "$(nproc)" "$program" --quiet --warnings-as-errors='*' -p build/dev
    return
  done
  echo 'clang-tidy is missing: run "npm run setup -- --dev"'
  return 77
}

[ $# -gt 0 ] || set -- biome types clang-format clang-tidy
if [ $# -eq 1 ]; then
  check "$1"
  exit
fi
failed=0
for name in "$@"; do
  echo "[lint] $name"
  check "$name"
  code=$?
  case $code in
    0) ;;
    77) echo "[lint] $name skipped" ;;
    *) failed=1 ;;
  esac
done
exit $failed
