#!/usr/bin/env bash
# Builds the native unit tests into build/dev with CMake. Exit code 77: cannot run here.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v cmake > /dev/null; then
  echo 'cmake is missing: run "npm run setup -- --dev"'
  exit 77
fi
cmake -S native -B build/dev -DVPC_CONN_TESTS=ON -DCMAKE_EXPORT_COMPILE_COMMANDS=ON > /dev/null
cmake --build build/dev --parallel "$(nproc)"
