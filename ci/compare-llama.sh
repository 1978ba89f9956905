#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# Is the engine as exact as llama.cpp? For every architecture, weight type and seed: a synthetic model, its
# logits by both engines with KV in f32, relative rms against the exact f32 expansion of the same file.
# What must hold: geometric mean per type at most 1.05 times llama.cpp's own, no cell above 1.25 times; f32
# files 1e-4 from llama.cpp (architectures with GELU 1e-3: it reads that from a table of f16); bert's
# cosine at least 0.9999 (one vector a file is too little for a limit on its error). Of models with
# experts a cell is its middle row: where two experts score alike, rounding chooses, in either engine.
#   ARCHITECTURES="llama qwen3" TYPES="f32 q8_0" SEEDS="1 2 3 4 5" THREADS=1
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
seeds=${SEEDS:-1 2 3 4 5}
types=${TYPES:-f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 q2_k q3_k q4_k q5_k q6_k iq4_nl iq4_xs}
architectures=${ARCHITECTURES:-llama llama-freqs llama-linear llama-yarn llama-experts qwen2 qwen3 qwen3moe phi3 phi3-longrope gemma2 gemma3 gpt2 gpt-oss gpt-oss-mxfp4 bert}
ids=5,9,300,17,42,77,301,8,260,33,121,404
make --no-print-directory build/bin/tessera build/bin/make-model >"$work/log" 2>&1 || { tail "$work/log"; exit 1; }
ci/bench/peer.sh || exit 1

# Options of make-model that make a variant.
variant() {
    case $1 in
    llama-freqs) echo llama rope_freqs 1 rope_base 500000 ;;
    llama-linear) echo llama rope_scaling linear ;;
    llama-yarn) echo llama rope_scaling yarn rope_context 64 ;;
    llama-experts) echo llama experts 8 experts_used 2 ;;
    phi3-longrope) echo phi3 rope_scaling longrope rope_context 256 rope_attention_factor 1.19 ;;
    gpt-oss-mxfp4) echo gpt-oss expert_type mxfp4 ;;
    *) echo "$1" ;;
    esac
}

compare() { # ARCHITECTURE TYPE SEED
    local architecture options m=$work/model.gguf
    read -r architecture options < <(variant "$1")
    # shellcheck disable=SC2086 # options are words
    build/bin/make-model "$m" "$architecture" "$2" embedding 256 head_dim 64 feed_forward 512 \
        expert_feed_forward 512 vocabulary 512 $options seed "$3" >"$work/log" 2>&1 || return 1
    if [ "$1" = bert ]; then
        build/bin/tessera embed "$m" --tokens $ids --raw -t "${THREADS:-1}" 2>"$work/log" | tr -d '[]\n' | tr , ' ' |
            perl -ne 'print pack("f<*", split)' >"$work/ours"
        build/bin/compare "$m" "$work/expanded.gguf" $ids "$work/ours" --embedding 2>"$work/log"
    else
        build/bin/tessera eval "$m" --tokens $ids --logits "$work/ours" --all --kv f32 -t "${THREADS:-1}" \
            >"$work/log" 2>&1 && build/bin/compare "$m" "$work/expanded.gguf" $ids "$work/ours" 2>"$work/log"
    fi
}

failed=0
for type in $types; do
    for name in $architectures; do
        for seed in $seeds; do
            if line=$(compare "$name" "$type" "$seed"); then
                echo "$name $type $seed $line"
            else
                echo "compare-llama: $name $type seed $seed failed: $(tail -n 1 "$work/log")" >&2
                failed=1
            fi
        done
    done
done >"$work/cells"

# Columns: name type seed peer ours direct, then KL of both, or the cosine.
awk '
function complain(what) { print "FAILED: " what; bad = 1 }
{
    cell = $1 " " $2 " seed " $3
    if ($1 == "bert") {
        if (berts == 0 || $7 < least) least = $7
        if ($7 < 0.9999) complain(cell ": cosine " $7)
        berts++
        if ($2 != "f32") next
    }
    if ($2 == "f32" && $1 != "gpt-oss-mxfp4") {
        limit = $1 ~ /gemma|gpt2|bert/ ? 1e-3 : 1e-4
        if ($6 > f32[$1]) f32[$1] = $6
        if ($6 > limit) complain(cell ": " $6 " from llama.cpp, at most " limit)
        next
    }
    if ($1 ~ /experts|moe|gpt-oss/) { $4 = $9; $5 = $10 }
    ratio = $5 / $4
    count[$2]++; logs[$2] += log(ratio); peer[$2] += log($4); ours[$2] += log($5)
    if (ratio > most[$2]) { most[$2] = ratio; where[$2] = cell }
    kl[$2] += $7; kl_ours[$2] += $8
    if (ratio > 1.25) complain(cell ": " ratio " times the error of llama.cpp")
}
END {
    for (a in f32) printf "f32 %-14s at most %.2g from llama.cpp\n", a, f32[a]
    if (berts) printf "bert: least cosine %.7f over %d files\n", least, berts
    printf "%-7s %6s %10s %10s %7s %7s %9s %9s  %s\n", "type", "cells", "llama.cpp", "ours", "ratio", "most", "KL", "KL ours", "where most"
    for (t in count) {
        n = count[t]; mean = exp(logs[t] / n)
        printf "%-7s %6d %10.3g %10.3g %7.3f %7.3f %9.2g %9.2g  %s\n", t, n, exp(peer[t] / n), exp(ours[t] / n), mean, most[t], kl[t] / n, kl_ours[t] / n, where[t]
        if (mean > 1.05) complain(t ": geometric mean " mean)
    }
    exit bad
}' "$work/cells" || failed=1
[ -z "${CELLS:-}" ] || cp "$work/cells" "$CELLS"
[ $failed -eq 0 ] && echo "compare-llama: passed"
exit $failed
