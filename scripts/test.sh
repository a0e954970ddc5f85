#!/usr/bin/env bash
# All set-up and every suite; see test.mjs. npm test -- PATTERN runs only matching test files.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v node > /dev/null; then
  bash scripts/setup.sh --dev || true
  echo "0 passed, 1 failed, 0 skipped"
  exit 1
fi
exec node scripts/test.mjs "$@"
