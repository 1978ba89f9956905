#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# Builds build/bin/peer and build/bin/compare: llama.cpp's prebuilt libraries of one release (an npm package, which carries
# the source of the same release as a git bundle: the headers come out of it) behind peer.c and compare.c.
set -euo pipefail
cd "$(dirname "$0")/../.."
package=node-llama-cpp@3.22
dir=$PWD/build/peer
libraries=$dir/node_modules/@node-llama-cpp/linux-x64/bins/linux-x64
headers=$dir/headers

if [ ! -f "$headers/include/llama.h" ]; then
    mkdir -p "$dir" "$headers"
    if [ ! -e "$libraries/libggml-base.so" ]; then
        command -v npm >/dev/null || { echo "peer.sh: npm is missing (apt-get install npm)" >&2; exit 1; }
        echo "==> Fetching llama.cpp ($package)" >&2
        (cd "$dir" && echo '{"private": true}' >package.json &&
            NODE_LLAMA_CPP_SKIP_DOWNLOAD=true npm install --silent --no-audit --no-fund --ignore-scripts "$package") >&2
    fi
    rm -rf "$dir/source"
    git clone -q -n "$dir/node_modules/node-llama-cpp/llama/gitRelease.bundle" "$dir/source"
    git -C "$dir/source" archive HEAD include ggml/include | tar -x -C "$headers"
    rm -rf "$dir/source"
fi
mkdir -p build/bin
name() { (cd "$libraries" && echo "$1".v*.so); }
for program in peer compare; do
    if [ ! -x build/bin/$program ] || [ ci/bench/$program.c -nt build/bin/$program ]; then
        ${CC:-cc} -std=gnu11 -O2 -Wall -Wextra -DPEER_LIBRARIES="\"$libraries\"" -I"$headers/include" \
            -I"$headers/ggml/include" ci/bench/$program.c -o build/bin/$program -L"$libraries" \
            -l:"$(name libllama)" -l:"$(name libggml)" -lggml-base -lm -Wl,-rpath,"$libraries"
    fi
done
