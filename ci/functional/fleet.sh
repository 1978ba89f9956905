#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# A fleet as an ordinary user: up, load through its endpoint while a guest is killed, scaled and
# deployed, a bad version rolled back, to zero and awake again, down. In process and mount namespaces
# of the test's own, so that no daemon outlives it.
set -u
cd "$(dirname "$0")/../.." || exit 1
. ci/user.sh
namespaces 'libvirtd haproxy' build/bin/tessera build/images/llm.elf
. ci/lib.sh
. ci/fleet.sh
fleet_begin

# ---- up ----------------------------------------------------------------------------------------
fleet_yaml 4 2 >"$work/fleet.yaml"
out=$(t up "$work/fleet.yaml" --dry-run 2>&1)
holds "up --dry-run tells the plan" '^ *\+ .*chat' "$out"
same "and makes nothing" "" "$(v list --all --name)"
# The copy of a model that is mapped is made under this lock: whoever wants it waits.
cache=$work/home/.cache/tessera/models
"${as[@]}" mkdir -p "$cache"
"${as[@]}" touch "$cache/$(sha256sum "$small" | cut -c 1-64).lock"
exec 9<>"$cache/$(sha256sum "$small" | cut -c 1-64).lock"
flock 9
t up "$work/fleet.yaml" --no-wait >"$work/out" 2>&1 9>&-
is_making() {
    [ "$(t status shop --json 2>/dev/null | jq .making)" = 1 ]
}
check "a guest that takes long is made" until_true 60 is_making
same "down does not wait for it" 0 "$(t down shop --timeout 20 >"$work/out" 2>&1 9>&-; echo $?)"
t up "$work/fleet.yaml" >"$work/up.out" 2>&1 9>&- &
up=$!
has_guests() { # CHAT CODE
    [ "$(t status shop --json 2>/dev/null | jq -r '[.services[].ready] | join(" ")')" = "$1 $2" ]
}
check "a model whose guests take long keeps no other model waiting" until_true 60 has_guests 4 0
same "its first guest is waited for, the agent answers" "true 1" \
    "$(t status shop --json | jq -r '"\(.agent_runs) \(.making)"')"
exec 9>&-
wait "$up"
same "up of 6 guests of two models succeeds" 0 $?
holds "it tells where" "shop is up after .*http://127.0.0.1:$port" "$(cat "$work/up.out")"
same "libvirt shows 6 guests that run" 6 "$(v list --name | grep -c '^shop-')"
holds "and what carries the fleet, off" 'shop.fleet +shut off' "$(v list --all)"
v dumpxml shop.fleet >"$work/carrier.xml"
check "its XML is valid" virt-xml-validate "$work/carrier.xml" domain
same "a request is answered" 200 "$(status_of "$url/v1/chat/completions" -d "$question")"
same "by the other model, too" 200 "$(status_of "$url/v1/chat/completions" -d "${question/chat/code}")"
before=$(v list --name | sort)
out=$(t up "$work/fleet.yaml" 2>&1)
holds "a second up says that nothing is to do" 'Nothing to do' "$out"
same "and changes nothing" "$before" "$(v list --name | sort)"

# ---- keys --------------------------------------------------------------------------------------
keys=$work/home/.local/state/tessera/keys
internal=$(head -n 1 "$keys"/shop.fleet-*.key)
check "the guests' key is a long one" test "${#internal}" -ge 32
direct=$(t ls --json | jq -r '[.[] | select(.service == "chat")][0].url')
same "a guest wants it" "401 200" "$(status_of "$direct/metrics") $(status_of -H "Authorization: Bearer $internal" "$direct/metrics")"
sed "s/^  listen:.*/&\n  keys: [client-one, client-two]/" "$work/fleet.yaml" >"$work/keys.yaml"
same "up with clients' keys in fleet.yaml" 0 "$(t up "$work/keys.yaml" >"$work/out" 2>&1; echo $?)"
key_status() { # KEY
    status_of "$url/v1/chat/completions" -H "Authorization: Bearer $1" -d "$question"
}
same "they are wanted" "200 200 401" "$(key_status client-one) $(key_status client-two) $(key_status client-tw)"
hides "no command line has keys" "$internal" client-one client-two
same "nor has any domain" "" "$(for d in $(v list --all --name); do v dumpxml "$d" --security-info; done | grep -E -- "$internal|client-(one|two)")"
same "their files are their owner's alone" 600 "$(stat -c %a "$keys"/* | sort -u)"
holds "chat knows one" 7 "$(t chat shop --model chat --temperature 0 --max-tokens 16 'What is 3 plus 4?')"
rm "$keys"/shop.fleet-*.key
check "the fleet's file is lost: its guests' key comes back from theirs" until_true 20 grep -rqxF --include='shop.fleet-*.key' -- "$internal" "$keys"
lets_nobody_in() {
    [ "$(key_status client-one)" = 401 ]
}
check "and clients' keys let nobody in" until_true 20 lets_nobody_in
same "until up sets them anew" 0 "$(t up "$work/keys.yaml" >"$work/out" 2>&1; echo $?)"
same "they hold again" "200 401" "$(key_status client-one) $(key_status client-tw)"
file=$(echo "$keys"/shop.fleet-*.key) log=$(echo "$work"/run/tessera/agent.log-*)
reloads=$(grep -c 'HAProxy was' "$log")
chmod 000 "$file"
refused "keys that cannot be read: up says so" 1 "keys cannot be read \($file: Permission denied\): mend that" up "$work/keys.yaml"
check "the agent, too" until_true 10 grep -q 'keys cannot be read' "$log"
same "and leaves all as it is" "200 401 $reloads" "$(key_status client-one) $(key_status client-tw) $(grep -c 'HAProxy was' "$log")"
chmod 600 "$file"
check "mended, they hold" until_true 10 settled
same "as before" "200 401" "$(key_status client-one) $(key_status client-tw)"
t up "$work/fleet.yaml" >"$work/out" 2>&1
same "and without them again" 200 "$(status_of "$url/v1/chat/completions" -d "$question")"
same "no guest was made anew for all this" "$before" "$(v list --name | sort)"

# ---- a guest is killed under load --------------------------------------------------------------
load_begin killed 150 4
streams_begin killed 3
sleep 2
victim=$(guests chat | head -n 1)
kill -KILL "$(qemu_of "$victim")"
same "virsh destroy takes another" 0 "$(v destroy "$(guests chat | tail -n 1)" >/dev/null && echo 0)"
sleep 3
streams_end killed
load_end killed
check "both come back by themselves" until_true 40 settled
holds "the same guest is started again" "$victim" "$(guests chat | tr '\n' ' ')"

victim=$(guests code | tail -n 1)
rm "$keys/$victim"-*.key
kill -KILL "$(qemu_of "$victim")"
others_serve() {
    settled && [ "$(guests code | wc -l)" = 2 ] && ! v list --all --name | grep -qxF -- "$victim"
}
check "one whose key's file is lost is made anew" until_true 40 others_serve

# ---- a stream that has begun -------------------------------------------------------------------
curl -sS -N --max-time 60 -D "$work/begun.head" -o "$work/begun" "$url/v1/completions" -H 'X-Note: long' \
    -d '{"model":"chat","prompt":"Once","max_tokens":400,"ignore_eos":true,"stream":true}' 2>"$work/begun.err" &
client=$!
until_true 20 grep -qs '^data: ' "$work/begun"
victim=$(tr -d '\r' <"$work/begun.head" | sed -n 's/^[Xx]-[Tt]essera-[Gg]uest: //p')
kill -KILL "$(qemu_of "$victim")"
wait "$client"
status=$?
holds "a stream whose guest dies ends with an error" '^[1-9]|"error"' "$status $(grep '"error"' "$work/begun")"
same "and not as if it were whole" 0 "$(grep -c 'DONE' "$work/begun")"
check "its guest comes back" until_true 40 settled

# ---- scale, deploy -----------------------------------------------------------------------------
sockets() {
    find "/proc/$(pgrep -f '^tessera agent --worker')/fd" -lname 'socket:*' | wc -l
}
sockets=$(sockets)
load_begin scale 120 4
out=$(t scale shop chat=2 code=1 2>&1)
same "scale down succeeds" 0 $?
same "it is so" "2 1" "$(guests chat | wc -l) $(guests code | wc -l)"
out=$(t scale shop/chat 3 2>&1)
same "scale up succeeds" 0 $?
load_end scale
old=$(t status shop --json | jq -r '.services[0].guests[0].version')
load_begin rolling 150 4
streams_begin rolling 2
out=$(t deploy shop/chat --memory 72M --latency-ratio 50 --ready-seconds 110 2>&1)
status=$?
same "a rolling deployment succeeds: $(tail -n 2 <<<"$out" | tr "\n" " ")" 0 $status
streams_end rolling
load_end rolling
same "no stream broke off" 0 "$broken"
same "all guests are of the new version" "3 0" \
    "$(t status shop --json | jq -r ".services[0].guests | \"\(length) \(map(select(.version == \"$old\")) | length)\"")"
holds "libvirt shows it" 'KiB|73728' "$(v dominfo "$(guests chat | head -n 1)" | grep 'Max memory')"
before=$(guests chat)
load_begin unready 80 4
out=$(t deploy shop/chat --model "$work/models/unknown.gguf" --strategy canary --ready-seconds 4 2>&1)
same "a canary that cannot serve: exit status 1" 1 $?
holds "it was rolled back, and why" 'rolled back: .*0 of 1 guests were ready within 4 seconds' "$out"
load_end unready
same "the guests are the same" "$before" "$(guests chat)"
holds "status tells of it" 'rolled-back.*0 of 1' "$(t deploy shop/chat --status)"
# Healthy by its own words, and every answer of it is an error.
load_begin canary 250 4
out=$(t deploy shop/chat --model "$work/models/damaged.gguf" --strategy canary --weight 25 --requests 6 --step-seconds 60 2>&1)
same "a canary that answers with errors: exit status 1" 1 $?
holds "it was rolled back, and why" 'rolled back: [0-9]+ of [0-9]+ requests failed' "$out"
wait "$load_pid"
same "no connection failed" 0 "$(sed -n 's/^Failed requests: *//p' "$work/canary.ab")"
bad=$(sed -n 's/^Non-2xx responses: *//p' "$work/canary.ab")
check "few requests met it (${bad:-0} of 250)" test "${bad:-0}" -gt 0 -a "${bad:-0}" -lt 60
same "the guests are the same" "$before" "$(guests chat)"
now=$(sockets)
check "the agent's connections are those of before ($sockets, now $now)" test "$now" -le $((sockets + 2))
same "afterwards all is answered" 200 "$(status_of "$url/v1/chat/completions" -d "$question")"

# ---- down --------------------------------------------------------------------------------------
out=$(t down shop 2>&1)
same "down succeeds" 0 $?
same "nothing is left in libvirt" "" "$(v list --all --name)"
same "no HAProxy" "" "$(pgrep -x haproxy)"
same "no key" "" "$(ls "$keys")"
same "nothing of it in the folder" "" "$(ls "$work/run/tessera/fleet" 2>/dev/null)"

# ---- images with their settings in them ---------------------------------------------------------
for image in open:log=info keyed:http.key=own; do
    "$work/bin/tessera" image build --model "$demo" --model-outside --set "${image#*:}" -o "$work/models/${image%%:*}.elf" >/dev/null
done
chmod 644 "$work"/models/*.elf
sealed_yaml() { # IMAGE LINE
    printf 'fleet: sealed\nendpoint: {listen: 127.0.0.1:%s}\nmodels:\n  - {name: chat, %s, vcpus: 1}\n' "$port" "$1" >"$work/sealed.yaml"
}
sealed_yaml 'model: ./models/open.elf'
refused "a model that is an image" 1 'open.elf is an image: .*GGUF file.*--model-outside' up "$work/sealed.yaml"
sealed_yaml 'model: models/demo.gguf, image: ./models/keyed.elf'
refused "a key that the endpoint does not know" 1 'keyed.elf has a key of its API in it' up "$work/sealed.yaml" --timeout 5
sealed_yaml 'model: models/demo.gguf, image: ./models/open.elf'
out=$(t up "$work/sealed.yaml" 2>&1)
same "sealed images serve: $(tail -n 1 <<<"$out")" 200 "$(status_of "$url/v1/chat/completions" -d "$question")"
v dumpxml "$(v list --name | grep '^sealed-')" >"$work/sealed.xml"
holds "by the image" '<kernel>.*open.elf' "$(cat "$work/sealed.xml")"
same "without a command line" 0 "$(grep -c '<cmdline>' "$work/sealed.xml")"
t down sealed >/dev/null 2>&1
same "down" "" "$(v list --all --name)"
finish_checks
