#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# The main job: `make run ONCE=1` streams the default model's answer and ends.
set -u
cd "$(dirname "$0")/../.." || exit 1
. ci/lib.sh
port=$(free_port)
out=$(timeout 300 make --no-print-directory run ONCE=1 PORT="$port" PROMPT="What is 3 plus 4?" 2>&1)
status=$?
same "make run ONCE=1 succeeds" 0 $status
holds "it prints the answer" '\b7\b' "$out"
holds "it prints the URL" "http://localhost:$port/v1/chat/completions" "$out"
holds "it prints the boot time" 'boot +[0-9.]+ ms' "$out"
holds "it prints the memory in use" 'memory +[0-9.]+ MB' "$out"
same "nothing listens there afterwards" 000 "$(status_of "http://127.0.0.1:$port/health")"
out=$(make --no-print-directory run ONCE=1 PORT="$port" MODEL=README.md 2>&1)
holds "a file that is no GGUF is named" 'README.md is not a GGUF file' "$out"
finish_checks
