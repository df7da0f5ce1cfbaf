#!/usr/bin/env bash
# attnscope on an NVIDIA GPU: are the numbers right, and how near are the times to what the card can do?
#
#     cargo build --release --features cuda && cargo bench --no-run --features cuda --bench pass
#     ATTNSCOPE=target/release/attnscope PASS=target/release/deps/pass-HASH benches/gpu.sh [RESULTS]
#
# Builds nothing and takes at most five minutes; needs Python with torch and transformers, and 40 GB of memory for the
# checkpoints that it makes. The two programs may be elsewhere; without PASS the times inside a process are left out.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-python3}" benches/gpu.py \
    --binary "${ATTNSCOPE:-target/release/attnscope}" ${PASS:+--pass "$PASS"} --out "${1:-gpu-results}" "${@:2}"
