# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# What the functional tests of fleets share: programs, models and folders of an ordinary user, and load
# through an endpoint. Source it after ci/lib.sh, inside namespaces of the test's own.

# fleet_begin: sets user, port, url, demo, small, question; t runs tessera, v virsh.
fleet_begin() {
    mount --make-rprivate /
    chmod 711 "$work"
    mkdir -p "$work"/{bin,images,models,home,run} && chmod 755 "$work"/{bin,images,models}
    cp build/bin/tessera "$work/bin/"
    cp build/images/llm.elf "$work/images/"
    demo=$work/models/demo.gguf
    small=$work/models/small.gguf
    cp images/default-model/tessera-demo.gguf "$demo"
    build/bin/tessera quantize "$demo" "$small" q8_0 >/dev/null 2>&1 || cp "$demo" "$small"
    sed 's/llama/nollm/' "$demo" >"$work/models/unknown.gguf"
    chmod 644 "$work"/models/*
    chown 65534:65534 "$work"/{home,run} && chmod 700 "$work/run"
    user=(setpriv --reuid 65534 --regid 65534 --clear-groups env -i "PATH=$PATH:/usr/sbin" "HOME=$work/home"
        "XDG_RUNTIME_DIR=$work/run" LC_ALL=C)
    port=$(free_port)
    url=http://127.0.0.1:$port
    question='{"model":"chat","messages":[{"role":"user","content":"What is 3 plus 4?"}],"temperature":0,"max_tokens":16}'
}
t() {
    timeout "${T_SECONDS:-120}" "${user[@]}" "$work/bin/tessera" "$@" </dev/null
}
v() {
    timeout 60 "${user[@]}" virsh -q "$@" </dev/null
}

# fleet_yaml CHAT CODE: a fleet of two models with so many guests.
fleet_yaml() {
    cat <<Y
fleet: shop
endpoint:
  listen: 127.0.0.1:$port
models:
  - name: chat
    model: models/demo.gguf
    replicas: $1
    vcpus: 1
    health: {interval: 1s, timeout: 2s}
  - name: code
    model: models/small.gguf
    replicas: $2
    vcpus: 1
    health: {interval: 1s, timeout: 2s}
Y
}
