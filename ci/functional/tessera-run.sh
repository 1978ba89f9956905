#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# `tessera run`, `ls`, `logs`, `stop` as somebody who never configured anything: as an ordinary user in
# libvirt's session, as root on a machine where no libvirt runs. Everything happens in process and mount
# namespaces of the test's own, so that no daemon outlives it. A stand-in takes tensord's place.
set -u
cd "$(dirname "$0")/../.." || exit 1
. ci/user.sh
namespaces libvirtd build/bin/tessera build/bin/tensord-fake build/images/llm.elf build/images/boottest.elf
. ci/lib.sh
user_begin
cp build/bin/tensord-fake "$work/bin/tensord"
cp build/images/boottest.elf "$work/images/"
# A guest that does nothing: a PVH kernel (the note names its entry) whose first instruction jumps to itself.
as -o "$work/idle.o" - <<'A' && ld -o "$work/images/idle.elf" -Ttext=0x200000 -N "$work/idle.o"
.section .note.Xen,"a",@note
.long 4, 4, 18
.asciz "Xen"
.long _start
.text
.globl _start
_start: .byte 0xeb, 0xfe
A
hostile="$work/models/a,b 'c' <d> & \"e\" ü漢.gguf"
cp "$demo" "$hostile"
sed 's/llama/nollm/' "$demo" >"$work/models/unknown.gguf"
head -c 100000 "$demo" >"$work/models/cut.gguf"
chmod 644 "$work"/models/*
user=("${as[@]}")
# foreground NAME ARGUMENTS…: a run that stays; sets tool (its process) and waits until it serves.
foreground() {
    local name=$1
    shift
    "${as[@]}" "$work/bin/tessera" run "$demo" --name "$name" --vcpus 1 "$@" >"$work/$name.out" 2>&1 &
    tool=$!
    vm_pids+=("$tool")
    for _ in $(seq 600); do
        grep -q 'serving until' "$work/$name.out" && return 0
        kill -0 "$tool" 2>/dev/null || break
        sleep 0.05
    done
    cat "$work/$name.out"
    return 1
}
ended() { # NAME STATUS PATTERN: of the foreground's
    wait "$tool"
    same "$1: exit status" "$2" $?
    holds "$1: it says so" "$3" "$(cat "$work"/"$4".out)"
}
vm_ready_at() { # SECONDS
    local until=$((SECONDS + $1))
    while [ $SECONDS -lt $until ]; do
        [ "$(curl -s -o /dev/null -w '%{http_code}' --max-time 2 "http://127.0.0.1:$vm_port/health")" = 200 ] && return 0
        sleep 0.1
    done
    return 1
}
keys=$work/home/.local/state/tessera/keys
question='{"messages":[{"role":"user","content":"What is 3 plus 4?"}],"temperature":0,"max_tokens":40}'
vm_host=127.0.0.1

# ---- XML ---------------------------------------------------------------------------------------
port=$(free_port)
for more in "" "--offload" "--offload=host --region 128 --vcpus 3" "--key a&b<c --memory 1G" "--accel kvm" \
    "--connect qemu:///system" "--network default --key k" "--network bridge=br0 --insecure --vcpus 4" \
    "--listen 0.0.0.0 --insecure"; do
    case $more in *--network*) ;; *) more="$more --port $port" ;; esac
    # shellcheck disable=SC2086
    t run "$hostile" --dry-run $more >"$work/dry.xml" 2>"$work/err"
    check "--dry-run $more: valid XML" virt-xml-validate "$work/dry.xml" domain
done
same "--dry-run starts nothing" "" "$(v list --all)"

# ---- a detached guest --------------------------------------------------------------------------
out=$(t run "$demo" --detach --port "$port" --vcpus 2 2>&1)
same "run --detach succeeds" 0 $?
holds "it tells the URL" "http://localhost:$port/v1/chat/completions" "$out"
holds "it tells the boot time" 'boot +[0-9]+ ms' "$out"
holds "it tells the memory" 'memory +0\.[1-9]|memory +[1-9][0-9.]* MB of 64 MB' "$out"
holds "it tells the acceleration" 'emulated|hardware KVM' "$out"
vm_port=$port
holds "the guest answers" '"content":"[^"]*7' "$(ask /v1/chat/completions "$question")"
holds "ls shows it" "^demo +demo.gguf +running +2 +[0-9]+% +[0-9]+/64 .*http://127.0.0.1:$port" "$(t ls)"
t ls --json >"$work/ls.json"
same "ls --json: model and memory" "demo $demo 64" "$(jq -r '.[] | "\(.name) \(.model) \(.memory_mb)"' "$work/ls.json")"
same "ls --json: the identity that pack records" "sha256:$("$work/bin/tessera" pack "$demo" "$work/packed.gguf" --json | jq -r .source_sha256)" \
    "$(jq -r '.[0].identity' "$work/ls.json")"
holds "virsh list shows it" 'demo +running' "$(v list)"
v dumpxml demo >"$work/dump.xml"
check "its XML is valid as libvirt gives it" virt-xml-validate "$work/dump.xml" domain
holds "the weights are mapped read-only" 'size=2097152,share=on,readonly=on' "$(cat "$work/dump.xml")"
holds "logs shows the console" 'boot: llm' "$(t logs demo)"
same "logs -n 1: one line" 1 "$(t logs demo -n 1 | wc -l)"
check "the model is as it was" cmp "$demo" images/default-model/tessera-demo.gguf
next=$((port + 1))
refused "a taken port: the next free one is told" 1 "port $port is in use on this machine; the next free one is $next" run "$demo" --port "$port"
refused "a taken name" 1 "a guest named 'demo' exists already" run "$demo" --name demo --port $next
second=$(as+=("LIBVIRT_LOG_FILTERS=1:rpc.netclient" "LIBVIRT_LOG_OUTPUTS=1:file:$work/home/asked.log") && t run "$demo" --detach --vcpus 1 2>&1)
holds "without --name and --port: the next ones" 'Booting demo-2 ' "$second"
# By the numbers of libvirt's protocol: 8 of the connection and names, define, start, events on and off.
asked=$(sed -nE 's/.*TX_QUEUE: .* prog=536903814 .* proc=([0-9]+) type=0 .*/\1/p' "$work/home/asked.log" | paste -sd ' ')
check "a run asks libvirt no more than it must ($asked)" test "$(wc -w <<<"$asked")" -gt 5 -a "$(wc -w <<<"$asked")" -le 12
same "and leaves the closing, in which libvirt can wait for itself, to its end" "" "$(grep -ow 2 <<<"$asked")"
refused "rm: not while it runs" 1 "'demo' runs: .tessera stop demo. first" rm demo
holds "stop: both" 'demo: powered off.*demo-2: powered off' "$(t stop demo demo-2 | tr '\n' ' ')"
same "stop again: that is said" "demo: was off already" "$(t stop demo)"
holds "ls shows that they are off" ' demo .* off .*demo-2 .* off ' "$(t ls | tr '\n' ' ')"
holds "virsh, too" 'demo +shut off' "$(v list --all)"
holds "logs of a guest that is off" 'boot: llm' "$(t logs demo)"
refused "its name stays taken" 1 "named 'demo' exists already" run "$demo" --name demo
holds "start: it serves again" "^demo: http://127.0.0.1:$port serves after" "$(t start demo)"
refused "start: it runs" 1 "'demo' runs already" start demo
holds "and answers" '"content":"[^"]*7' "$(ask /v1/chat/completions "$question")"
holds "stop again" 'demo: powered off' "$(t stop demo)"
python3 -c 'import socket,time,sys
s=socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("127.0.0.1", int(sys.argv[1]))); s.listen(1); time.sleep(60)' "$port" &
holder=$!
vm_pids+=("$holder")
for _ in $(seq 100); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
    sleep 0.1
done
refused "start: its port is taken" 1 "port $port is in use on this machine; the next free one is $next: --port" start demo
holds "start --port moves it" "http://127.0.0.1:$next serves" "$(t start demo --port $next)"
holds "ls tells the new one" "^demo .*running.*127.0.0.1:$next" "$(t ls)"
kill "$holder"
wait "$holder" 2>/dev/null
v destroy demo >/dev/null
v start demo >/dev/null
vm_port=$next
check "virsh start: it serves" vm_ready_at 20
holds "rm --force: both" 'demo: removed.*demo-2: removed' "$(t rm --force demo demo-2 | tr '\n' ' ')"
same "ls shows none" 1 "$(t ls 2>"$work/err" | wc -l)"
holds "and says where it looked" 'no guests at qemu:///session' "$(cat "$work/err")"
same "virsh neither" "" "$(v list --all --name)"
refused "stop: no such guest" 1 "no guest is named 'demo'" stop demo
refused "start: no such guest" 1 "no guest is named 'demo'" start demo

# ---- a guest in the foreground -----------------------------------------------------------------
check "a run in the foreground serves" foreground fore --port "$port"
kill -INT "$tool"
ended "Ctrl-C" 0 'powered off' fore
same "nothing is left" "" "$(v list --all --name)"
check "a second one serves" foreground shut --port "$port"
v shutdown shut >/dev/null
ended "virsh shutdown" 0 'The guest powered off' shut
check "a third one serves" foreground gone --port "$port" --key k
v destroy gone >/dev/null
ended "virsh destroy" 0 'destroyed from elsewhere' gone
same "its key's file, too" "" "$(ls "$keys" 2>/dev/null)"
check "a fourth one serves" foreground killed --port "$port" --key typed-key
same "it has its key from a file" 1 "$(find "$keys" -name 'killed-*.key' | wc -l)"
hides "what was typed as --key is blotted out" typed-key
kill -KILL "$tool"
wait "$tool" 2>/dev/null
holds "a killed tool leaves what ls shows" "^killed .*running" "$(t ls)"
holds "and stop ends" 'killed: powered off' "$(t stop killed)"
same "and takes its key's file away" "" "$(ls "$keys")"
check "a guest of libvirt's daemon that goes away serves" foreground alone --port "$port"
kill -KILL "$(cat "$work/run/libvirt/libvirtd.pid")"
sleep 4
vm_port=$port
holds "the guest goes on" '"content":"[^"]*7' "$(ask /v1/chat/completions "$question")"
check "and the tool waits on" kill -0 "$tool"
kill -INT "$tool"
ended "Ctrl-C after a new daemon" 0 'powered off' alone

for i in 1 2 3 4 5; do # what the tool is doing in that moment is chance
    check "guest $i serves" foreground "quick$i" --port "$port"
    kill -KILL "$(cat "$work/run/libvirt/libvirtd.pid")"
    kill -INT "$tool"
    ended "$i: Ctrl-C in the moment of the daemon's end" 0 'powered off' "quick$i"
done
together=()
for i in 1 2 3; do
    t run "$demo" --detach --vcpus 1 >"$work/together.$i" 2>&1 &
    together+=($!)
done
wait "${together[@]}"
same "three at once: three names, three ports" "demo demo-2 demo-3 3" "$(t ls --json | jq -r '([.[].name] | sort | join(" ")) + " " + ([.[].url] | unique | length | tostring)')"
t rm --force demo demo-2 demo-3 >"$work/out" 2>&1
same "nothing is left" "" "$(v list --all --name)"

# ---- packed files ------------------------------------------------------------------------------
"$work/bin/tessera" pack "$demo" "$work/models/packed.gguf" >"$work/out"
chmod 644 "$work/models/packed.gguf"
check "a packed model runs" t run "$work/models/packed.gguf" --detach --port "$port" --vcpus 1
same "it has its source's identity" "$(jq -r '.[0].identity' "$work/ls.json")+packed1" "$(t ls --json | jq -r '.[0].identity')"
holds "and is mapped itself" "mem-path=$work/models/packed.gguf,size" "$(v dumpxml packed)"
vm_port=$port
holds "it answers" '"content":"[^"]*7' "$(ask /v1/chat/completions "$question")"
t rm --force packed >"$work/out"
same "only one copy was ever made" 1 "$(find "$work/home/.cache/tessera/models" -name '*.gguf' | wc -l)"

# ---- names, keys -------------------------------------------------------------------------------
printf 's<e&c,\n' >"$work/models/key"
chown 65534 "$work/models/key" && chmod 600 "$work/models/key"
out=$(t run "$hostile" --detach --port "$port" --vcpus 1 --key-file "$work/models/key" 2>&1)
same "a model with a hostile name runs" 0 $?
holds "it gets a harmless name" 'Booting a-b-c-d-e ' "$out"
with_key() { # KEY: the status of a request with it
    status_of "http://127.0.0.1:$port/v1/completions" -H "Authorization: Bearer $1" -d '{"prompt":"a","max_tokens":1}'
}
same "without the key: 401" 401 "$(status_of "http://127.0.0.1:$port/v1/completions" -d '{"prompt":"a"}')"
same "with another: 401" 401 "$(with_key 's<e&c')"
same "with the key: 200" 200 "$(with_key 's<e&c,')"
hides "no command line has it" 's<e&c,'
v dumpxml a-b-c-d-e --security-info >"$work/dump.xml"
same "nor the domain" "" "$(grep -E 's(<|&lt;)e(&|&amp;)c' "$work/dump.xml")"
check "its XML is valid" virt-xml-validate "$work/dump.xml" domain
same "its file is its owner's alone" "600 700 65534" "$(stat -c %a "$keys"/a-b-c-d-e-*.key) $(stat -c '%a %u' "$keys")"
holds "the line to talk with it takes the key from its file" '^==> talk .*Bearer \$\(cat /.*/a-b-c-d-e-.*\.key\)"' "$out"
holds "chat knows it" 7 "$(t chat a-b-c-d-e 'What is 3 plus 4?' --temperature 0 --max-tokens 40 </dev/null)"
holds "inspect tells that there is one" '^key +true' "$(t inspect a-b-c-d-e)"
same "and not which" "" "$(t inspect a-b-c-d-e --json | grep -F 's<e')$(t logs a-b-c-d-e | grep -F 's<e')$(grep -F 's<e' <<<"$out")"
t suspend a-b-c-d-e >"$work/out" 2>&1
t resume a-b-c-d-e >>"$work/out" 2>&1
same "suspended and resumed: with the key, another" "200 401" "$(with_key 's<e&c,') $(with_key x)"
t stop a-b-c-d-e >>"$work/out" 2>&1
mv "$keys" "$keys.away"
refused "start without its file: told, and what to do" 1 "the file of the guest's key $keys/a-b-c-d-e-[0-9a-f]{8}.key: No such file.*write the key into it" start a-b-c-d-e
mv "$keys.away" "$keys"
t start a-b-c-d-e >>"$work/out" 2>&1
same "stopped and started: with the key, another" "200 401" "$(with_key 's<e&c,') $(with_key x)"
same "its model is told as it is" "$hostile" "$(t ls --json | jq -r '.[0].model')"
t rm --force a-b-c-d-e >"$work/out" 2>&1
same "rm takes its key's file away" "" "$(ls "$keys")"
t run "$demo" --dry-run --key shown-nowhere >"$work/dry.xml" 2>"$work/err"
same "--dry-run shows no key and makes no file" "0 " "$(grep -c shown-nowhere "$work/dry.xml" "$work/err" | awk -F: '{n += $2} END {print n}') $(ls "$keys")"
same "it is stopped" "[]" "$(t ls --json)"
refused "a name that is none" 2 "--name: letters" run "$demo" --name 'a b'
refused "a mistyped option" 2 "no option '--prot'; '--port' perhaps" run "$demo" --prot 8080
refused "a mistyped command" 2 "no command 'rum'; 'run' perhaps" rum "$demo"
refused "no CPUs" 2 '--vcpus: at least 1' run "$demo" --vcpus 0
refused "a key that is none" 2 "--key: printable" run "$demo" --key 'a b'
refused "a key that is too long" 2 "--key: .*at most 127" run "$demo" --key "$(printf '%0128d' 0)"
refused "two keys" 2 "not both" run "$demo" --key a --key-file "$work/models/key"
printf 'two words\n' >"$work/models/words" && chmod 644 "$work/models/words"
refused "a file without a key" 2 "--key-file: .*words does not hold one key" run "$demo" --key-file "$work/models/words"
refused "no such file" 1 "--key-file: /nonexistent: No such file" run "$demo" --key-file /nonexistent
refused "an empty standard input" 2 "standard input does not hold one key" run "$demo" --key-file -
echo by-input | t run "$demo" --detach --port "$port" --vcpus 1 --machine microvm --key-file - >"$work/out" 2>&1
same "a key by standard input, on microvm" "200 401" "$(with_key by-input) $(with_key x)"
refused "it cannot be saved: why, and what can" 1 'microvm with mapped weights .*--machine q35' suspend demo
v suspend demo >"$work/out"
refused "one that is paused by virsh: chat says so" 1 "'demo' is paused: .virsh resume demo." chat demo hello
refused "and resume" 1 "'demo' is paused: .virsh resume demo." resume demo
same "stop wakes it, and it powers off" "demo: powered off" "$(t stop demo)"
t rm demo >"$work/out" 2>&1

# ---- images with all in them -------------------------------------------------------------------
"$work/bin/tessera" image build --model "$demo" --set http.port=8099 -o "$work/models/own.elf" >"$work/out"
"$work/bin/tessera" image build --model "$demo" --model-outside -o "$work/models/pinned.elf" >"$work/out"
chmod 644 "$work"/models/*.elf
check "a sealed image runs" t run "$work/models/own.elf" --detach --port "$port" --vcpus 1
vm_port=$port
holds "it answers, from its own port" '"content":"[^"]*7' "$(ask /v1/chat/completions "$question")"
v dumpxml own >"$work/dump.xml"
same "it has no command line" 0 "$(grep -c '<cmdline>' "$work/dump.xml")"
check "its XML is valid" virt-xml-validate "$work/dump.xml" domain
holds "it is suspended" '^own: suspended' "$(t suspend own)"
holds "and goes on" 'from where it was suspended' "$(t resume own 2>/dev/null)"
t rm --force own >"$work/out" 2>&1
check "an image that pins a model runs with it" t run "$demo" --image "$work/models/pinned.elf" --detach --port "$port" --vcpus 1
t rm --force demo >"$work/out" 2>&1
refused "not with another" 1 'before it served|refused' run "$work/models/packed.gguf" --image "$work/models/pinned.elf" --port "$port" --timeout 30
refused "nor without one" 2 'wants the model .* beside it' run "$work/models/pinned.elf"
refused "a sealed image takes no key" 2 "has its settings in it" run "$work/models/own.elf" --key k
refused "a sealed image without a key, for everybody" 2 "without a key: build the image with one" run "$work/models/own.elf" --listen 0.0.0.0
"$work/bin/tessera" image build --model "$demo" --set http.key=sealed-key -o "$work/models/keyed.elf" >"$work/out"
chmod 644 "$work/models/keyed.elf"
check "one with a key of its own may be for everybody" t run "$work/models/keyed.elf" --listen 0.0.0.0 --dry-run

# ---- what cannot work --------------------------------------------------------------------------
printf 'no model\n' >"$work/models/text.gguf"
chmod 644 "$work/models/text.gguf"
refused "a file that is no model" 1 'text.gguf' run "$work/models/text.gguf"
refused "a truncated model" 1 'cut.gguf.*truncated' run "$work/models/cut.gguf"
refused "an endpoint for everybody without a key" 2 'without a key: --key-file FILE sets one, --insecure' run "$demo" --listen 0.0.0.0
refused "a network without a key" 2 'without a key' run "$demo" --network default
refused "a network and a port" 2 'address of its own' run "$demo" --network default --port 8080
refused "an address that is none" 2 'is no IPv4 address' run "$demo" --listen localhost
refused "a guest of the foreground does not start with the host" 2 'with --detach' run "$demo" --autostart
refused "no such model" 1 'none.gguf: No such file' run "$work/models/none.gguf"
refused "a folder" 1 'is no file but a folder' run "$work/models"
refused "no such image" 1 'none.elf: No such file' run "$demo" --image "$work/none.elf"
refused "an image that is none" 1 'is no ELF file' run "$demo" --image "$demo"
refused "an image that QEMU cannot boot" 1 "cannot be started: libvirt says: .*kernel" run "$demo" --image /bin/true
refused "a model that the guest cannot run" 1 'the guest cannot serve this model: .*nollm' run "$work/models/unknown.gguf" --port "$port" --timeout 30
holds "its console is shown" "the guest's console" "$(cat "$work/err")"
refused "a guest that powers off" 1 'the guest powered off before it served' run "$demo" --image "$work/images/boottest.elf" --port "$port"
holds "its console is shown, too" "the guest's console" "$(cat "$work/err")"
refused "a guest that does not serve in time" 1 'does not answer after 1 seconds' run "$demo" --image "$work/images/idle.elf" --timeout 1 --port "$port"
refused "too much memory" 1 'this machine has' run "$demo" --memory 4000G
refused "a size that is none" 2 "--memory: 'lots'" run "$demo" --memory lots
refused "a URI of another driver" 2 "is no URI of libvirt's QEMU driver" run "$demo" --connect test:///default
refused "another machine that is not there" 1 'no connection to libvirt' run "$demo" --connect qemu+ssh://127.0.0.1:1/system
refused "libvirt does not answer" 1 'no connection to libvirt at' run "$demo" --connect "qemu+unix:///system?socket=/nonexistent"
refused "ls says so, too" 1 'no connection to libvirt at' ls --connect "qemu+unix:///system?socket=/nonexistent"
same "nothing is left of all these" "" "$(v list --all --name)"

# ---- tensor calls ------------------------------------------------------------------------------
requests=$work/run/tessera/requests
asked() { # COUNT: the last so many requests
    jq -r 'select(.op != "ping") | "\(.op) \(.name)"' "$requests" | tail -n "$1" | paste -sd ,
}
out=$(t run "$demo" --offload --detach --port "$port" 2>&1)
same "run --offload succeeds" 0 $?
holds "tensord is started" 'tensord started' "$out"
holds "one CPU" 'Booting demo on q35: 1 CPU,' "$out"
v dumpxml demo >"$work/dump.xml"
check "its XML is valid" virt-xml-validate "$work/dump.xml" domain
holds "the guest has the device" "<server path='$work/run/tessera/demo.ivshmem'/>" "$(cat "$work/dump.xml")"
holds "and its settings" "offload.mode=auto model.identity=sha256:[0-9a-f]{64}<" "$(cat "$work/dump.xml")"
mapped=$(jq -r 'select(.op == "add-model").path' "$requests")
holds "tensord opens the file that the guest maps" "mem-path=$mapped,size" "$(cat "$work/dump.xml")"
same "and is told its identity" "$(t ls --json | jq -r '.[0].identity')" "$(jq -r 'select(.op == "add-model").identity' "$requests")"
same "the guest has a region of 64 MB" 64 "$(jq -r 'select(.op == "add-guest").region_mb' "$requests")"
holds "ls tells of it" '^demo .* auto ' "$(t ls)"
out=$(t run "$demo" --offload=host --region 128 --detach 2>&1)
holds "a second guest: the same tensord" 'tensord runs already' "$out"
holds "its own mode" 'offload.mode=host ' "$(v dumpxml demo-2)"
t stop demo demo-2 >"$work/out"
same "tensord is told of their ends" "remove-guest demo,remove-guest demo-2" "$(asked 2)"
check "start of one that is off" t start demo
same "it has its place at tensord again" "add-guest demo" "$(asked 1)"
t rm --force demo demo-2 >"$work/out"
check "a guest in the foreground serves" foreground off --offload --port "$port"
kill -INT "$tool"
ended "Ctrl-C with --offload" 0 'powered off' off
same "tensord is told of its end" "remove-guest off" "$(asked 1)"
refused "a model that the engine refuses" 1 'nollm' run "$work/models/unknown.gguf" --offload --port "$port" --timeout 30
same "tensord is not asked at all" "remove-guest off" "$(asked 1)"
refused "a guest that does not come up" 1 'nollm' run "$work/models/unknown.gguf" --offload --region 64 --port "$port" --timeout 30
same "tensord is told of that, too" "remove-guest unknown" "$(asked 1)"
refused "a mode that is none" 2 "'gpu' is none of auto, host" run "$demo" --offload=gpu
refused "a region that is none" 2 'a power of two' run "$demo" --offload --region 100
kill -KILL "$(cat "$work/run/tessera/pid")"
# Two at once: one starts it.
t run "$demo" --offload --detach >"$work/together.1" 2>&1 &
together=($!)
t run "$demo" --offload --detach >"$work/together.2" 2>&1 &
together+=($!)
wait "${together[@]}"
same "after tensord's death two at once: one starts it" "tensord runs already tensord started" \
    "$(grep -hoE 'tensord (started|runs already)' "$work"/together.[12] | sort | tr '\n' ' ' | sed 's/ $//')"
same "both guests run" "demo running demo-2 running" "$(t ls --json | jq -r '[.[] | "\(.name) \(.state)"] | sort | join(" ")')"
t rm --force demo demo-2 >"$work/out"
kill -KILL "$(cat "$work/run/tessera/pid")"
# The daemon itself, where it is built (TENSORD and IMAGE name others).
if [ -x "${TENSORD:-build/bin/tensord}" ]; then
    cp "${TENSORD:-build/bin/tensord}" "$work/bin/tensord"
    cp "${IMAGE:-build/images/llm.elf}" "$work/images/llm.elf"
    alone=$(t run "$demo" --detach --port "$port" --vcpus 1 >"$work/out" 2>&1 &&
        ask /v1/chat/completions "$question" | jq -r '.choices[0].message.content')
    t rm --force demo >"$work/out" 2>&1
    check "tensord itself: run --offload=host" t run "$demo" --offload=host --detach --port "$port"
    same "tensord itself: the same answer as without" "$alone" "$(ask /v1/chat/completions "$question" | jq -r '.choices[0].message.content')"
    statistics() {
        echo '{"op":"statistics"}' | timeout 5 socat -t 2 - "UNIX-CONNECT:$work/run/tessera/tensord.sock"
    }
    same "tensord itself: it made the tokens" true "$(statistics | jq '.guests[0].name == "demo" and .guests[0].made_tokens > 2')"
    t rm --force demo >"$work/out" 2>&1
    same "tensord itself: the guest is removed" 0 "$(statistics | jq '.guests | length')"
    kill -TERM "$(pgrep -x tensord)" # the only one in this namespace
else
    echo "ok skipped: build/bin/tensord is not built"
fi
mv "$work/bin/tensord" "$work/bin/away"
refused "no tensord" 1 "--offload: .*/bin/tensord: No such file" run "$demo" --offload
printf '#!/bin/sh\necho cannot compute >&2\nexit 1\n' >"$work/bin/tensord"
chmod 755 "$work/bin/tensord"
refused "a tensord that does not start" 1 "--offload: tensord ended as it started: cannot compute" run "$demo" --offload
same "nothing is left of these" "" "$(v list --all --name)"

# ---- no libvirt --------------------------------------------------------------------------------
kill -KILL "$(cat "$work/run/libvirt/libvirtd.pid")"
mount --bind /dev/null /usr/sbin/libvirtd
refused "libvirt's daemon is not installed" 1 'not installed here; on Debian: apt-get install libvirt-daemon' run "$demo"
umount /usr/sbin/libvirtd

# ---- root, where nothing runs ------------------------------------------------------------------
has_manager=no
[ -d /run/systemd/system ] && has_manager=yes
for folder in /run /var/lib/libvirt /var/log/libvirt /var/cache/libvirt /var/lib/tessera; do
    mkdir -p $folder && mount -t tmpfs -o mode=755 tmpfs $folder
done
mkdir -p "$work/root/run"
as=(env -i "PATH=$PATH" "HOME=$work/root" "XDG_RUNTIME_DIR=$work/root/run" LC_ALL=C)
if [ $has_manager = yes ]; then
    echo "ok skipped: a service manager starts libvirt here"
else
    out=$(t run "$demo" --detach --port "$port" --vcpus 1 2>&1)
    same "root: run succeeds" 0 $?
    holds "root: libvirt's daemon is started" "Starting libvirt's daemon" "$out"
    vm_port=$port
    holds "root: the guest answers" '"content":"[^"]*7' "$(ask /v1/chat/completions "$question")"
    holds "root: ls shows it" '^demo .*running' "$(t ls)"
    holds "root: virsh list shows it" 'demo +running' "$(v list)"
    holds "root: logs shows its console" 'boot: llm' "$(t logs demo)"
    holds "root: stop" 'demo: powered off' "$(t stop demo)"
    check "root: rm" t rm demo
fi
finish_checks
