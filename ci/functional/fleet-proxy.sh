#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# A fleet's endpoint alone: HAProxy as the tool configures it, before stand-ins for guests. Keys, models,
# versions, retries, what a client sees of a dying guest, draining, waking, reloads under load, TLS, processes.
set -u
cd "$(dirname "$0")/../.." || exit 1
if ! command -v haproxy >/dev/null && [ ! -x /usr/sbin/haproxy ]; then
    echo "ok skipped: HAProxy is not installed"
    exit 0
fi
make --no-print-directory build/bin/fleet-proxy >&2 || exit 1
. ci/lib.sh
export XDG_RUNTIME_DIR=$work/run
mkdir -m 700 "$XDG_RUNTIME_DIR"
fp() {
    timeout 30 build/bin/fleet-proxy "$work/fleet.yaml" "$@"
}
port=$(free_port)
spec() { # MORE OF THE ENDPOINT
    cat >"$work/fleet.yaml" <<Y
fleet: shop
endpoint: {listen: 127.0.0.1:$port${1:-}}
models:
- {name: chat, model: phi.gguf, aliases: [gpt-4o-mini, 'org/chat:1'], health: {interval: 300ms, fall: 2}}
- {name: embed, model: bert.gguf, replicas: 0}
Y
}
spec ', keys: keys.txt'
printf '# clients\nkey-one\n\n  key-two \n' >"$work/keys.txt"
declare -A guest_port guest_pid
guest() { # NAME [PORT]
    guest_port[$1]=${2:-$(free_port)}
    timeout 110 node ci/tools/fake_guest.mjs guest "${guest_port[$1]}" "shop-chat-$1" >>"$work/guests" 2>&1 </dev/null &
    guest_pid[$1]=$!
    vm_pids+=($!)
}
up_guest() { # NAME: waits until it answers
    for _ in $(seq 100); do
        curl -s -o /dev/null "http://127.0.0.1:${guest_port[$1]}/health" && return
        sleep 0.05
    done
}
stop_guest() { # NAME, at once, with its node process
    pkill -KILL -P "${guest_pid[$1]}" 2>/dev/null
}
# members NAME:SLOT[:drain]…
members() {
    local m name slot state
    share="${share:-0}"
    {
        for m in "$@"; do
            IFS=: read -r name slot state <<<"$m"
            echo "member shop-chat-$name chat ${slot}11111111111 ${guest_port[$name]} $slot ${state:-ready} ${known:-down}"
        done
        echo "share chat ${stable:-0} $share"
        echo "share embed 0 0"
    } >"$work/members"
}
sync_members() { # and waits until what is wanted is true: a second look finds nothing to do
    fp sync <"$work/members" >>"$work/log" 2>&1
}
# settled STATE NAME…: waits until these servers of slot a or b are in the state.
settled() {
    local state=$1 name
    shift
    for name in "$@"; do
        for _ in $(seq 100); do
            fp stats </dev/null 2>/dev/null | grep -qE "^chat\.[ab]/shop-chat-$name $state" && continue 2
            sleep 0.05
        done
        echo "$name is not $state: $(fp stats </dev/null | tr '\n' ' ')" >&2
        return 1
    done
}
# soon COMMAND…: waits until it succeeds, ten seconds at most.
soon() {
    for _ in $(seq 200); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.05
    done
    return 1
}
streams() { # sets victim to the guest whose stream has begun
    soon grep -q '^data: shop-chat' "$work/stream"
    victim=$(sed -n 's/^data: shop-chat-\([a-z]*\).*/\1/p' "$work/stream" | head -n 1)
}
wake() { # SLOT SECONDS: holds what comes to a slot without guests
    local path
    path=$(fp folder </dev/null | sed -n "s/^chat $1 //p")
    rm -f "$work/held" "$path"
    timeout 100 node ci/tools/fake_guest.mjs wake "$path" "$2" "$work/held" >/dev/null 2>&1 </dev/null &
    vm_pids+=($!)
    soon test -S "$path"
}
held() { # COUNT
    [ "$(wc -l <"$work/held")" -ge "$1" ]
}
chat() { # JSON [CURL ARGUMENTS]
    local body=$1
    shift
    curl -s --max-time 20 -H 'Authorization: Bearer key-one' "$@" -d "$body" "http://127.0.0.1:$port/v1/completions"
}
who() { # the same; prints which guest answered
    chat "$@" | jq -r .name
}

# ---- start, keys, models -----------------------------------------------------------------------
guest aaaa
guest bbbb
up_guest aaaa
up_guest bbbb
known=up members aaaa:0 bbbb:0
same "it starts" started "$(fp apply <"$work/members" 2>&1)"
same "it is there at once, with what is known to be up" 200 "$(status_of -H 'Authorization: Bearer key-one' -d '{}' "http://127.0.0.1:$port/v1/completions")"
same "again: nothing changes" unchanged "$(fp apply <"$work/members" 2>&1)"
sync_members
same "/health" '{"status":"ok"}' "$(curl -s "http://127.0.0.1:$port/health")"
same "/v1/models" "chat gpt-4o-mini org/chat:1 embed" "$(curl -s "http://127.0.0.1:$port/v1/models" | jq -r '[.data[].id] | join(" ")')"
url=http://127.0.0.1:$port/v1/completions
same "no key" 401 "$(status_of -d '{}' "$url")"
same "in OpenAI's form" authentication_error "$(curl -s -d '{}' "$url" | jq -r .error.type)"
same "a wrong key" 401 "$(status_of -H 'Authorization: Bearer key-on' -d '{}' "$url")"
same "another scheme" 401 "$(status_of -H 'Authorization: Basic key-one' -d '{}' "$url")"
same "a comment is no key" 401 "$(status_of -H 'Authorization: Bearer # clients' -d '{}' "$url")"
same "the second key, as X-Api-Key" 200 "$(status_of -H 'X-Api-Key: key-two' -d '{}' "$url")"
same "metrics need a key" 401 "$(status_of "http://127.0.0.1:$port/metrics")"
holds "metrics" '^haproxy_server_status' "$(curl -s -H 'X-Api-Key: key-two' "http://127.0.0.1:$port/metrics")"
headers=$(chat '{"model":"org/chat:1"}' -o /dev/null -D -)
holds "the guest gets the fleet's key, not the client's" '^x-key: Bearer internal' "$headers"
holds "the answer says which guest it was" '^x-tessera-guest: shop-chat-(aaaa|bbbb)' "$headers"
same "an unknown model" 404 "$(chat '{"model":"gpt-5"}' -o /dev/null -w '%{http_code}')"
same "is named" 'this fleet has no model g"p\t; GET /v1/models lists what it has' "$(chat '{"model":"g\"p\t"}' | jq .error.message | sed 's/\\"/"/g; s/^"//; s/"$//')"
same "no model: the first" 200 "$(chat '{"prompt":"a \"model\" b"}' -o /dev/null -w '%{http_code}')"
same "a model that cannot be read" 400 "$(chat '{"a":[}],"model":"chat"}' -o /dev/null -w '%{http_code}')"
head -c 262000 /dev/zero | tr '\0' x >"$work/large"
same "256 KB pass" 262000 "$(chat @"$work/large" | jq .bytes)"
cat "$work/large" >>"$work/large2" && echo 1234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890 >>"$work/large2"
same "more is refused" 413 "$(chat @"$work/large2" -o /dev/null -w '%{http_code}')"
same "also in parts" 413 "$(chat @"$work/large2" -H 'Transfer-Encoding: chunked' -o /dev/null -w '%{http_code}')"

# ---- dying guests ------------------------------------------------------------------------------
same "a guest that is busy (503) is passed over, and its word is kept when all are" 503 "$(chat '{"status":503}' -o /dev/null -w '%{http_code}')"
guest cccc
up_guest cccc
members aaaa:0 bbbb:0 cccc:0
sync_members
check "a third guest comes in" settled up cccc
# Requests that wait for their answer, on all three; one guest dies.
for i in $(seq 12); do
    chat '{"delay":700}' -o /dev/null -w '%{http_code}\n' >"$work/wait.$i" &
    waits[i]=$!
done
sleep 0.3
stop_guest bbbb
wait "${waits[@]}"
same "a guest dies before its answers began: none is lost" "12 200" "$(cat "$work"/wait.* | sort | uniq -c | tr -s ' ' | sed 's/^ //')"
chat '{"stream":80}' -N -w '\n%{http_code}' >"$work/stream" 2>&1 &
stream=$!
streams
stop_guest "$victim"
wait $stream
same "a guest dies within its answer: the client's transfer fails" 18 $?
holds "what came until then came" '^data: shop-chat' "$(cat "$work/stream")"
guest "$victim" "${guest_port[$victim]}"
guest bbbb "${guest_port[bbbb]}"
check "guests that are back are used again" settled up aaaa bbbb cccc
same "a request that kills its guest is not tried for ever" 503 "$(chat '{"die":"before"}' -o /dev/null -w '%{http_code}')"
for name in aaaa bbbb cccc; do
    kill -0 "${guest_pid[$name]}" 2>/dev/null || guest $name "${guest_port[$name]}"
done
check "they come back" settled up aaaa bbbb cccc

# ---- draining ----------------------------------------------------------------------------------
chat '{"stream":60}' -N >"$work/stream" 2>&1 &
stream=$!
streams
others=()
for name in aaaa bbbb cccc; do
    [ $name = "$victim" ] || others+=("$name:0")
done
members "$victim:0:drain" "${others[@]}"
sync_members
check "a guest is drained" settled drain "$victim"
holds "its statistics tell of what it still does" "$victim drain .*sessions=1" "$(fp stats </dev/null)"
for _ in 1 2 3 4 5 6; do
    who '{}'
done >"$work/who"
same "no new request comes to it" "" "$(grep "$victim" "$work/who")"
wait $stream
holds "and it ends its answer" 'DONE' "$(cat "$work/stream")"
members "${others[@]}"
for _ in 1 2 3; do
    sync_members
done
same "it is taken out" "" "$(fp stats </dev/null | grep "$victim")"
members aaaa:0 bbbb:0 cccc:0
sync_members
check "and in again" settled up aaaa bbbb cccc

# ---- versions ----------------------------------------------------------------------------------
members aaaa:0 bbbb:0 cccc:1
sync_members
check "a canary" settled up cccc
sync_members
same "no share: nothing comes to it" 0 "$(for _ in 1 2 3 4 5 6; do who '{}'; done | grep -c cccc)"
same "by name: canary" shop-chat-cccc "$(who '{}' -H 'X-Tessera-Version: canary')"
same "by its version" shop-chat-cccc "$(who '{}' -H 'X-Tessera-Version: 111111111111')"
holds "the stable version" 'aaaa|bbbb' "$(who '{}' -H 'X-Tessera-Version: 011111111111')"
same "one that is none" 404 "$(chat '{}' -H 'X-Tessera-Version: 5' -o /dev/null -w '%{http_code}')"
share=10000 members aaaa:0 bbbb:0 cccc:1
sync_members
same "the whole share: all comes to it" 6 "$(for _ in 1 2 3 4 5 6; do who '{}'; done | grep -c cccc)"
share=5000 members aaaa:0 bbbb:0 cccc:1
sync_members
ab -l -q -n 400 -c 4 -H 'Authorization: Bearer key-one' -p <(echo '{}') "$url" >"$work/ab" 2>&1
to_canary=$(fp stats </dev/null | sed -n 's/^chat.b.*cccc .*requests=\([0-9]*\) .*/\1/p')
check "half: about half" test "$((to_canary - 9))" -gt 120 -a "$((to_canary - 9))" -lt 280
same "no failure" "Failed requests:        0" "$(grep 'Failed requests' "$work/ab")"
# The other version's guests stand in when the canary dies; a held request comes to them.
share=10000 members aaaa:0 bbbb:0 cccc:1
sync_members
stop_guest cccc
wake b 2
(for _ in $(seq 8); do
    sleep 0.3
    sync_members
done) &
same "the only guest of a version dies: another version answers" 200 "$(chat '{}' -o /dev/null -w '%{http_code}')"
wait $!
guest cccc "${guest_port[cccc]}"
up_guest cccc
share=0 stable=1 members aaaa:0:drain bbbb:0:drain cccc:1
sync_members
check "the canary is back" settled up cccc
sync_members
same "promoted: the other slot is the stable one" shop-chat-cccc "$(who '{}')"

# ---- waking ------------------------------------------------------------------------------------
share=0 stable=0 members
for _ in 1 2 3; do
    sync_members
done
same "no guest at all" "" "$(fp stats </dev/null | grep chat)"
wake a 4
for i in 1 2 3; do
    chat "{\"model\":\"chat\",\"prompt\":\"$i\"}" >"$work/woken.$i" &
    waits[i]=$!
done
soon held 3
same "requests are held" 3 "$(wc -l <"$work/held")"
known=up members aaaa:0
sync_members
wait "${waits[1]}" "${waits[2]}" "${waits[3]}"
same "and answered by the guest that came" "shop-chat-aaaa shop-chat-aaaa shop-chat-aaaa" "$(cat "$work"/woken.* | jq -r .name | paste -sd ' ')"
same "each was held once" 3 "$(wc -l <"$work/held")"

# ---- reloading under load ----------------------------------------------------------------------
known=up members aaaa:0 bbbb:0 cccc:0
sync_members
settled up aaaa bbbb cccc
for i in 1 2 3; do
    ab -l -q -s 20 -n 700 -c 3 -H 'Authorization: Bearer key-one' -p <(echo '{"model":"chat","delay":5}') "$url" >"$work/ab.$i" 2>&1 &
    waits[i]=$!
done
master=$(fp master </dev/null | cut -d' ' -f1)
for i in 1 2 3; do
    printf 'key-one\nkey-two\nkey-new-%s\n' "$i" >"$work/keys.txt"
    fp apply <"$work/members"
done >"$work/reloads" 2>&1
wait "${waits[1]}" "${waits[2]}" "${waits[3]}"
same "three reloads" "reloaded reloaded reloaded" "$(paste -sd ' ' "$work/reloads")"
same "under load no request failed" "700 700 700 0 0 0 0" "$(cat "$work"/ab.[123] | awk '/^Complete requests/ {c = c " " $3} /^Failed requests/ {f = f " " $3} /^Non-2xx/ {n += $3} END {print substr(c f, 2), n + 0}')"
same "the same master" "$master" "$(fp master </dev/null | cut -d' ' -f1)"
same "a new key holds" 200 "$(status_of -H 'X-Api-Key: key-new-3' -d '{}' "$url")"
same "an old one does not" 401 "$(status_of -H 'X-Api-Key: key-new-1' -d '{}' "$url")"
chat '{"stream":60}' -N >"$work/stream" 2>&1 &
stream=$!
streams
spec ", keys: keys.txt, sticky: key"
same "a stream runs on over a reload" reloaded "$(fp apply <"$work/members" 2>&1)"
holds "an earlier worker is seen" ' 2$' "$(fp master </dev/null)"
wait $stream
holds "to its end" 'DONE' "$(cat "$work/stream")"
same "sticky: one guest answers one client" 1 "$(for _ in 1 2 3 4 5 6 7 8; do who '{}'; done | sort -u | wc -l)"

# A guest that hangs keeps its client no longer than fleet.yaml says.
spec ", keys: keys.txt, sticky: key, timeout: 1s"
same "the time-out is changed" reloaded "$(fp apply <"$work/members" 2>&1)"
same "a guest that says nothing: 504" 504 "$(chat '{"delay":8000}' -o /dev/null -w '%{http_code}')"
same "one that takes its time is waited for" 200 "$(chat '{"delay":300}' -o /dev/null -w '%{http_code}')"
cp "$work/members" "$work/all"
members
for _ in 1 2 3; do
    sync_members
done
wake a 3
chat '{}' -o /dev/null -w '%{http_code}' >"$work/woken" &
woken=$!
soon held 1
known=up members aaaa:0
sync_members
wait $woken
sync_members
same "one that starts for the request has longer" "200 1" "$(cat "$work/woken") $(wc -l <"$work/held")"
same "afterwards the time-out holds" 504 "$(chat '{"delay":8000}' -o /dev/null -w '%{http_code}')"
cp "$work/all" "$work/members"
sync_members

# ---- what is refused ---------------------------------------------------------------------------
printf '# none\n' >"$work/keys.txt"
holds "a file without keys" 'keys.txt: has no key' "$(fp apply <"$work/members" 2>&1)"
printf 'key-one\n' >"$work/keys.txt"
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$work/key.pem" -out "$work/cert.pem" -days 2 -subj /CN=localhost >/dev/null 2>&1
openssl genrsa -out "$work/other.pem" 2048 2>/dev/null
spec ", keys: keys.txt, tls: {certificate: cert.pem, key: other.pem}"
holds "a certificate with another's key" "HAProxy refuses the endpoint's configuration: .*(private key|inconsistenc)" "$(fp apply <"$work/members" 2>&1)"
same "what ran runs on" 200 "$(status_of -H 'X-Api-Key: key-one' -d '{}' "$url")"
spec ", keys: keys.txt, tls: {certificate: cert.pem, key: key.pem}"
same "TLS" reloaded "$(fp apply <"$work/members" 2>&1)"
same "by HTTP/2" "200 2" "$(curl -s --cacert "$work/cert.pem" --resolve "localhost:$port:127.0.0.1" -o /dev/null -w '%{http_code} %{http_version}' -H 'X-Api-Key: key-one' -d '{}' "https://localhost:$port/v1/completions")"
same "secrets are the user's alone" "600 600 600 700" "$(cd "$XDG_RUNTIME_DIR/tessera/fleet/shop" && stat -c %a haproxy.cfg endpoint.pem keys.acl . | paste -sd ' ')"
same "clients' keys are not in them" "" "$(grep -rl 'key-one' "$XDG_RUNTIME_DIR/tessera" 2>/dev/null)"

# ---- processes ---------------------------------------------------------------------------------
spec ', keys: keys.txt'
fp apply <"$work/members" >/dev/null
read -r master _ < <(fp master </dev/null)
kill -KILL "$(pgrep -P "$master" | head -n 1)"
holds "its worker is killed: it starts again" 'started|reloaded|unchanged' "$(fp apply <"$work/members" 2>&1)"
same "and answers" 200 "$(status_of -H 'X-Api-Key: key-one' -d '{}' "$url")"
read -r master _ < <(fp master </dev/null)
kill -KILL "$master"
same "its master is killed: it starts again" started "$(fp apply <"$work/members" 2>&1)"
same "and answers, too" 200 "$(status_of -H 'X-Api-Key: key-one' -d '{}' "$url")"
check "it stops" fp stop </dev/null
same "nothing of it is left" "0 0" "$(fp master </dev/null)"
same "no process at all" "" "$(pgrep -f "$XDG_RUNTIME_DIR/tessera/fleet/shop/haproxy.cfg")"
node -e "require('net').createServer().listen($port, '127.0.0.1'); setTimeout(() => process.exit(), 20000)" </dev/null >/dev/null 2>&1 &
vm_pids+=($!)
soon bash -c "exec 3<>/dev/tcp/127.0.0.1/$port"
holds "an address that is taken" "the fleet's endpoint 127.0.0.1:$port is taken by another program" "$(fp apply <"$work/members" 2>&1)"
same "nothing is left of that" "0 0" "$(fp master </dev/null)"
finish_checks
