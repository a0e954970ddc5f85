#!/usr/bin/env bash
# clang-format over all C++ sources: without arguments a check, with -i in place. Exit code 77: cannot run.
set -euo pipefail
cd "$(dirname "$0")/.."
for program in clang-format-14 clang-format; do
  command -v "$program" > /dev/null || continue
  version=$("$program" --version | grep -oE '[0-9]+' | head -n 1)
  # Other versions format a few constructs in another way, and the check would blame right sources.
  [ "$version" = 14 ] || continue
  mode=(--dry-run --Werror)
  [ "${1:-}" = -i ] && mode=(-i)
  find native \( -name '*.cc' -o -name '*.cpp' -o -name '*.h' \) -print0 | xargs -0 -r "$program" "${mode[@]}"
  exit
done
echo "clang-format 14 is missing: run \"npm run setup -- --dev\" on a release that has it"
exit 77
