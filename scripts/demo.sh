#!/usr/bin/env bash
# The demo, from a bare machine: all set-up, then two VPCs with the same addresses talking.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh
exec node dist/cli/main.js demo "$@"
