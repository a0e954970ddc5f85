#!/usr/bin/env bash
# Gigabytes of TCP, digested, through each rung over an underlay that loses, repeats, reorders and marks frames:
# npm run soak [-- MIB], MiB each way for each of six kinds of TCP on three rungs; 128 unless given, 4.5 GiB in all.
set -euo pipefail
cd "$(dirname "$0")/.."
mebibytes=${1:-128}
[[ $mebibytes =~ ^[1-9][0-9]*$ ]] || { echo "usage: npm run soak -- MIB" >&2; exit 2; }
bash scripts/setup.sh --dev
VPC_CONN_SOAK=$mebibytes exec npx tap run --jobs=1 --timeout=86400 --disable-coverage --allow-empty-coverage \
  test/lab/bad-underlay.test.ts
