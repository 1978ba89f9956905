#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# `make lint`: licence lines, format, the layer rule, warnings (every object is built with -Werror), unit tests
# that do not build, shell scripts. Prints what is wrong and where; exits with 1 if anything is.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
mkdir -p build
bad=0
complain() {
    echo "lint: $*"
    bad=1
}

mapfile -t sources < <(git ls-files -co --exclude-standard '*.c' '*.h')
mapfile -t scripts < <(git ls-files -co --exclude-standard '*.sh' ci/setup .ci/run)

# Two SPDX lines in every file that can carry a comment.
while read -r f; do
    [ -f "$f" ] || continue
    head -n 4 "$f" | grep -q 'SPDX-License-Identifier: Apache-2.0' || complain "$f: no SPDX licence line"
    head -n 4 "$f" | grep -q 'SPDX-FileCopyrightText' || complain "$f: no SPDX copyright line"
done < <(git ls-files -co --exclude-standard '*.c' '*.h' '*.asm' '*.sh' '*.mk' '*.ld' '*.mjs' '*.py' Makefile ci/setup .ci/run)

if ! clang-format --dry-run -Werror "${sources[@]}" 2>build/format.log; then
    grep -oE '^[^: ]+\.[ch]:[0-9]+' build/format.log | sort -u -t: -k1,1 | while read -r where; do
        echo "lint: $where: not as clang-format would write it (clang-format -i)"
    done
    bad=1
fi

# Who may include whom (only quoted includes are ours).
allow() { # FOLDER PATTERN
    local f line
    while IFS=: read -r f _ line; do
        complain "$f: layer rule: $1 may not include $line"
    done < <(printf '%s\n' "${sources[@]}" | grep "^$1/" | grep -v '_test\.c$\|_fuzz\.c$\|_host\.[ch]$' |
        xargs -r grep -nE '^#include "' | grep -vE "#include \"($2)")
}
allow platform 'platform/'
allow libos 'libos/|platform/|tensor/|lwip/|netif/|arch/|llhttp|lwipopts|net_port'
allow tensor 'tensor/'
# Models are written as graphs and call no kernel.
allow tensor/model 'tensor/(model|ir|core)/|tensor/[a-z_]+\.h'
allow tensor/ir 'tensor/ir/|tensor/[a-z_]+\.h'
allow apps/llm 'libos/|tensor/|apps/llm/|hypercall/guest/'
allow apps/selftest 'libos/|tensor/|platform/|apps/selftest/'
allow hypercall/host 'hypercall/host/|hypercall/abi/|tensor/'
allow hypercall/host/base 'hypercall/host/base/'
allow hypercall/host/store 'hypercall/host/(base|store)/|tensor/'
allow hypercall/host/hardware 'hypercall/host/(base|hardware)/'
allow apps/channel 'libos/|tensor/|apps/channel/|hypercall/channel/channel(_guest|_linux)?\.h'
allow hypercall/channel 'hypercall/(channel|abi)/|tensor/[a-z_]+\.h|libos/[a-z_]+\.h'
# Only its guest port knows the libos.
while IFS=: read -r f _ line; do
    complain "$f: layer rule: only hypercall/channel/guest.c may include $line"
done < <(printf '%s\n' "${sources[@]}" | grep '^hypercall/channel/' | grep -v '/guest\.c$' | xargs -r grep -nE '#include "libos/')
# A layer's users see its public headers only.
mapfile -t outsiders < <(printf '%s\n' "${sources[@]}" | grep -E '^(apps|tensor|hypercall)/' |
    grep -v '_test\.c$\|_host\.c$\|native')
if [ ${#outsiders[@]} -gt 0 ]; then
    while IFS=: read -r f n line; do
        complain "$f:$n: reaches past a layer's public headers: $line"
    done < <(grep -nE '#include "platform/(priv|crash|acpi|apic|pci|clock|generation|serial|uefi)/|#include "libos/[a-z]+/' "${outsiders[@]}")
fi

# Words of unfinished work.
while IFS= read -r line; do
    complain "unfinished by its own words: $line"
done < <(grep -nE '\b(TODO|FIXME|XXX)\b' "${sources[@]}" 2>/dev/null)

shellcheck -x "${scripts[@]}" || bad=1

if ! make -j"$(nproc)" --no-print-directory all >build/lint-build.log 2>&1; then
    grep -E 'error|warning' build/lint-build.log | head -n 20
    complain "the build has warnings or errors: build/lint-build.log"
fi
if ! ci/test.sh build >build/lint-tests.log; then
    cat build/lint-tests.log
    complain "a unit test does not build"
fi
if [ $bad -eq 0 ]; then
    echo "lint: ${#sources[@]} sources and ${#scripts[@]} scripts are clean"
fi
exit $bad
