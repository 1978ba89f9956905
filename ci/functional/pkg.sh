#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# The model store: install from files, indexes, HTTP and HTTPS; interrupted and resumed, killed at random
# moments, refused where a hash, a certificate or a length is wrong; shared by content, and removed.
set -u
cd "$(dirname "$0")/../.." || exit 1
. ci/lib.sh
make --no-print-directory build/bin/tessera build/bin/make-model >&2 || exit 1
t=$PWD/build/bin/tessera
export TESSERA_STORE=$work/store XDG_CACHE_HOME=$work/cache XDG_CONFIG_HOME=$work/config TESSERA_INDEX=
unset CURL_CA_BUNDLE SSL_CERT_FILE http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY TESSERA_INDEX
web=$work/web
mkdir -p "$web"
build/bin/make-model "$web/wide.gguf" llama F16 embedding 512 feed_forward 1024 layers 4 >/dev/null || exit 1
cp images/default-model/tessera-demo.gguf "$web/demo.gguf"
sum() {
    sha256sum "$1" | cut -c1-64
}
wide=$(sum "$web/wide.gguf")
demo=$(sum "$web/demo.gguf")
size=$(stat -c %s "$web/wide.gguf")

pkg() {
    timeout 60 "$t" pkg "$@" </dev/null
}
# installed NAME ARGUMENTS…: must succeed; the store must hold what it says. A model that is named wide came
# from wide.gguf, byte for byte.
installed() {
    local name=$1 out status
    shift
    out=$(pkg install "$@" --json 2>"$work/err")
    status=$?
    if [ $status -eq 0 ] && [[ $* != *wide* || $(jq -r .source_sha256 <<<"$out") = "$wide" ]] && pkg verify "$(jq -r .name <<<"$out")" >"$work/verify" 2>&1; then
        ok "$name"
    else
        not_ok "$name" "exit $status, '$(head -c 300 <<<"$out")': $(tail -c 300 "$work/err" "$work/verify")"
    fi
}
refused() { # NAME PATTERN ARGUMENTS…: status 1, a message, and the store as it was
    local name=$1 pattern=$2 before found
    shift 2
    before=$(ls "$TESSERA_STORE/blobs" "$TESSERA_STORE/names" 2>&1)
    pkg "$@" >"$work/out" 2>"$work/err"
    found=$?
    if [ $found -ne 1 ] || ! grep -qE -- "$pattern" <(tr '\n' ' ' <"$work/err"); then
        not_ok "$name" "exit $found, '$(head -c 400 "$work/err")' (wanted /$pattern/)"
    elif [ "$before" != "$(ls "$TESSERA_STORE/blobs" "$TESSERA_STORE/names" 2>&1)" ]; then
        not_ok "$name" "the store has changed: $(ls "$TESSERA_STORE/blobs" "$TESSERA_STORE/names")"
    else
        ok "$name"
    fi
}
empty() { # no model, no file, nothing left over
    pkg list --json 2>/dev/null | jq -r '.[].name' | while read -r name; do
        pkg remove "$name" >/dev/null
    done
    pkg prune >/dev/null
    find "$TESSERA_STORE" -type f ! -name .lock
}

# ---- certificates and the server ---------------------------------------------------------------
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=Tessera test CA" -keyout "$work/ca.key" -out "$work/ca.pem" 2>/dev/null
openssl req -newkey rsa:2048 -nodes -subj "/CN=localhost" -keyout "$work/tls.key" -out "$work/tls.csr" 2>/dev/null
openssl x509 -req -in "$work/tls.csr" -CA "$work/ca.pem" -CAkey "$work/ca.key" -CAcreateserial -days 2 \
    -extfile <(echo subjectAltName=DNS:localhost) -out "$work/tls.pem" 2>/dev/null
timeout 600 node ci/tools/range_server.mjs "$web" "$work/requests" "$work/ports" "$work/tls.key" "$work/tls.pem" \
    </dev/null >"$work/server.log" 2>&1 &
vm_pids+=("$!")
for _ in $(seq 200); do
    [ -s "$work/ports" ] && break
    sleep 0.05
done
read -r http_port https_port <"$work/ports" || {
    not_ok "server" "$(cat "$work/server.log")"
    exit 1
}
http=http://localhost:$http_port
https=https://localhost:$https_port
asked() { # the requests since the last time
    cat "$work/requests" 2>/dev/null
    : >"$work/requests"
}

# ---- files -------------------------------------------------------------------------------------
installed "a file" "$web/wide.gguf"
blob=$TESSERA_STORE/blobs/sha256-$wide.gguf
same "its blob is of whole pages" 0 $(($(stat -c %s "$blob") % 2097152))
check "its blob begins with the file" cmp -n "$size" "$web/wide.gguf" "$blob"
same "the rest is zeros" 0 "$(tail -c +$((size + 1)) "$blob" | tr -d '\0' | wc -c)"
holds "list shows it" '^wide +F16 ' "$(pkg list)"
same "its identity is the one that run computes" "sha256:$wide" "$(pkg list --json | jq -r '.[0].identity')"
inode=$(stat -c %i "$blob")
same "once more: it is there" true "$(pkg install "$web/wide.gguf" --json | jq .existed)"
installed "another name for the same" "$web/wide.gguf" --name second
same "two names, one blob" 1 "$(find "$TESSERA_STORE/blobs" -type f | wc -l)"
same "it is the same file" "$inode" "$(stat -c %i "$blob")"
check "a name where a file is wanted" "$t" eval wide --tokens 1,4,7 --json -t 1
refused "a name for another model" "is installed already, from .*wide.gguf" install "$web/demo.gguf" --name second
check "--replace" pkg install "$web/demo.gguf" --name second --replace
holds "... replaces" 'second +Q8_0' "$(pkg list)"
refused "a wrong --sha256 tells both" "SHA-256 is +$demo, but wanted was +${wide}.*nothing" install "$web/demo.gguf" --name third --sha256 "$wide"
echo nothing >"$web/nothing.gguf"
refused "no model" "nothing.gguf: .*: nothing was installed" install "$web/nothing.gguf"
head -c 5000000 "$web/wide.gguf" >"$web/half.gguf"
refused "half a model" "half.gguf: .*: nothing was installed" install "$web/half.gguf"
refused "a folder" "is a folder" install "$web"
refused "a file that is not there" "No such file" install "$web/none.gguf"
refused "a name that cannot be" "is no name" install "$web/demo.gguf" --name ../x
timeout 20 "$t" pkg install "$web/demo.gguf" --type Q9 >/dev/null 2>"$work/err"
same "a type that is none: status 2, before anything" 2 $?
same "all of them left nothing" "" "$(find "$TESSERA_STORE/partial" -type f)"

# ---- made on install ---------------------------------------------------------------------------
installed "--type Q4_0" "$web/wide.gguf" --type Q4_0
"$t" quantize "$web/wide.gguf" "$work/q4.gguf" Q4_0 >/dev/null 2>&1
same "it is what \`tessera quantize\` makes" "sha256:$(sum "$work/q4.gguf")" "$(pkg list --json | jq -r '.[] | select(.name == "wide-q4_0").identity')"
same "its entry has the source's hash" "$wide Q4_0" "$(pkg list --json | jq -r '.[] | select(.name == "wide-q4_0") | "\(.source_sha256) \(.converted)"')"
installed "--pack" "$web/wide.gguf" --pack
same "a packed model has its source's identity" "sha256:$wide+packed1" "$(pkg list --json | jq -r '.[] | select(.name == "wide-packed").identity')"
installed "--type and --pack" "$web/wide.gguf" --type q8_0 --pack --name both
out=$(pkg install "$web/wide.gguf" --type q4_0 --name again --json 2>"$work/err")
same "what was converted before is not converted again" "again no" "$(jq -r .name <<<"$out") $(grep -q Converting "$work/err" && echo yes || echo no)"
same "no part is left" "" "$(find "$TESSERA_STORE/partial" -type f)"

# ---- indexes -----------------------------------------------------------------------------------
same "nothing is left of the first part" "" "$(empty)"
rm "$web/nothing.gguf" "$web/half.gguf"
check "index" pkg index "$web"
same "index.json: names, hashes, sizes" "demo $demo $(stat -c %s "$web/demo.gguf") wide $wide $size" \
    "$(jq -r '[.models[] | "\(.name) \(.sha256) \(.size)"] | join(" ")' "$web/index.json")"
holds "search" '^wide +F16 ' "$(pkg search wide --index "$web")"
same "search --json finds by type" demo "$(pkg search q8_0 --index "$web" --json | jq -r '.[].name')"
installed "a name in a folder's index" wide --index "$web"
refused "a name that no index has" "no such name in 1 index" install zebra --index "$web"
refused "no index is configured" "no index is configured" install zebra
mkdir -p "$work/config/tessera"
printf '# mine\n\n%s/nowhere\n%s\n' "$work" "$web" >"$work/config/tessera/indexes"
installed "configured indexes, one of them broken" demo
same "nothing is left of the second part" "" "$(empty)"
bad_index() { # JSON
    mkdir -p "$work/bad" && printf '%s' "$1" >"$work/bad/index.json"
}
bad_index '{"models":[{"name":"x","file":"../web/demo.gguf","sha256":"'"$demo"'"}]}'
refused "an index that reaches out of its folder" "not below the index's folder" install x --index "$work/bad"
bad_index '{"models":[{"name":"x","file":"demo.gguf","sha256":"12"}]}'
refused "an index without a hash" "model 1, x: sha256" install x --index "$work/bad"
bad_index '{"models":['
refused "a broken index" "index.json: line 1" install x --index "$work/bad"
cp "$web/demo.gguf" "$work/bad/"
bad_index '{"models":[{"name":"x","file":"demo.gguf","sha256":"'"$wide"'"}]}'
refused "an index with a wrong hash tells both" "SHA-256 is +$demo, but the index promises +$wide" install x --index "$work/bad"

# ---- HTTP --------------------------------------------------------------------------------------
asked >/dev/null
installed "a URL" "$http/wide.gguf?key=secret#there"
holds "its query is not kept" '^http://localhost:[0-9]+/wide.gguf$' "$(pkg list --json | jq -r '.[0].source')"
pkg remove wide >/dev/null
asked >/dev/null
refused "a URL that is not there" "the server answers 404" install "$http/none.gguf"
same "it is asked for once" 1 "$(asked | wc -l)"
refused "an error of the server is tried again" "the server answers 503" install "$http/status/503/wide.gguf"
same "... five times" 5 "$(asked | wc -l)"
refused "redirections without end" "redirect" install "$http/loop/wide.gguf"
refused "another protocol" "only http:// and https://" install ftp://localhost/wide.gguf
refused "a password in a URL" "netrc" install "http://me:word@localhost:$http_port/wide.gguf"
refused "nobody listens" "onnect" install "http://localhost:$(free_port)/wide.gguf"
installed "no ranges, no length, no validators" "$http/plain/wide.gguf"
pkg remove wide >/dev/null
installed "a name in an index by URL" wide --index "$http/index.json"
asked >/dev/null
installed "what is there by its hash" wide --index "$http/" --name other
same "... is not fetched" "/index.json" "$(asked | cut -d' ' -f1)"
same "nothing is left of the third part" "" "$(empty)"
bad_index '{"models":[{"name":"x","file":"'"$http"'/wide.gguf","size":100,"sha256":"'"$wide"'"}]}'
refused "longer than the index promises" "offers $size bytes and the index promises 100" install x --index "$work/bad"
bad_index '{"models":[{"name":"x","file":"'"$http"'/endless/wide.gguf","size":3000000,"sha256":"'"$wide"'"}]}'
refused "without end, but the index tells the size" "more than the 3000000 bytes" install x --index "$work/bad"
bad_index '{"models":[{"name":"x","file":"'"$http"'/demo.gguf","sha256":"'"$wide"'"}]}'
refused "a wrong hash by HTTP tells both" "SHA-256 is +$demo, but the index promises +$wide" install x --index "$work/bad"
same "none of them left a part" "" "$(empty)"

# ---- broken off and gone on with ---------------------------------------------------------------
asked >/dev/null
installed "a connection that breaks every 3 MB" "$http/cut/3000000/wide.gguf"
same "each goes on where the last one ended" "- bytes=3000000- bytes=6000000- bytes=9000000- bytes=12000000-" "$(asked | cut -d' ' -f3 | xargs)"
pkg remove wide >/dev/null
asked >/dev/null
installed "one that breaks, with a known hash and no validator" "$http/cut/9000000/weak/wide.gguf" --sha256 "$wide"
same "... goes on" "- bytes=9000000-" "$(asked | cut -d' ' -f3 | xargs)"
pkg remove wide >/dev/null
refused "a part that is none, every time" "another part than was asked for" install "$http/cut/9000000/ignore/wide.gguf"
empty >/dev/null
# kill_at BYTES ARGUMENTS…: ends the install by SIGKILL once so much has come.
kill_at() {
    local least=$1 pid part
    shift
    "$t" pkg install "$@" >"$work/killed" 2>&1 </dev/null &
    pid=$!
    for _ in $(seq 600); do
        part=$(find "$TESSERA_STORE/partial" -name '*.part' -printf '%s\n' 2>/dev/null | head -n 1)
        [ "${part:-0}" -ge "$least" ] && break
        kill -0 $pid 2>/dev/null || break
        sleep 0.03
    done
    kill -KILL $pid 2>/dev/null
    wait $pid 2>/dev/null
    part=$(find "$TESSERA_STORE/partial" -name '*.part' -printf '%s\n' 2>/dev/null | head -n 1)
}
kill_at 4000000 "$http/slow/200000/wide.gguf"
same "killed: nothing is installed" "[]" "$(pkg list --json)"
holds "verify tells of it" "and 1 of interrupted installs" "$(pkg verify)"
asked >/dev/null
installed "killed, then once more" "$http/slow/200000/wide.gguf"
from=$(asked | sed -n 's/.* bytes=\([0-9]*\)- .*/\1/p')
if [ "${from:-0}" -ge 4000000 ]; then ok "it goes on after $from bytes"; else not_ok "it goes on" "it asked from '${from:-0}'"; fi
empty >/dev/null
cp "$web/wide.gguf" "$web/new.gguf"
kill_at 4000000 "$http/slow/200000/new.gguf"
"$t" quantize "$web/wide.gguf" "$web/new.gguf" Q8_0 >/dev/null 2>&1
asked >/dev/null
installed "the server's file changed meanwhile" "$http/slow/200000/new.gguf"
same "... it comes from the beginning" "200 $(sum "$web/new.gguf")" "$(asked | cut -d' ' -f2) $(pkg list --json | jq -r '.[0].source_sha256')"
empty >/dev/null
kill_at 4000000 "$http/slow/200000/wide.gguf" --sha256 "$wide"
part=$(find "$TESSERA_STORE/partial" -name '*.part')
printf 'xxxx' | dd of="$part" bs=1 seek=100000 conv=notrunc 2>/dev/null
installed "a part that was damaged meanwhile, with a known hash" "$http/slow/200000/wide.gguf" --sha256 "$wide"
empty >/dev/null
kill_at 4000000 "$http/slow/200000/wide.gguf"
pkg prune >"$work/out"
holds "prune removes a part" "and 1 of interrupted installs" "$(cat "$work/out")"
same "... all of it" "" "$(find "$TESSERA_STORE" -type f ! -name .lock)"
"$t" pkg install "$http/slow/200000/wide.gguf" --name one >"$work/one" 2>&1 </dev/null &
first=$!
"$t" pkg install "$http/slow/200000/wide.gguf" --name two >"$work/two" 2>&1 </dev/null &
second=$!
pkg prune >/dev/null
wait $first $second
same "two at once: both are there, one file" "one two 1" "$(pkg list --json | jq -r '[.[].name] | join(" ")') $(find "$TESSERA_STORE/blobs" -type f | wc -l)"
holds "one of them waited" "waiting for it" "$(cat "$work/one" "$work/two")"
empty >/dev/null

# ---- HTTPS -------------------------------------------------------------------------------------
refused "a certificate of nobody known" "certificate" install "$https/wide.gguf"
CURL_CA_BUNDLE=$work/ca.pem installed "CURL_CA_BUNDLE" "$https/wide.gguf"
pkg remove wide >/dev/null
refused "another host's certificate" "certificate|host name" install "https://127.0.0.1:$https_port/wide.gguf" --cacert "$work/ca.pem"
refused "from HTTPS to HTTP without a hash" "rotocol" install "$https/to/http/wide.gguf" --cacert "$work/ca.pem"
installed "from HTTPS to HTTP with a known hash" "$https/to/http/wide.gguf" --cacert "$work/ca.pem" --sha256 "$wide"
empty >/dev/null

# ---- killed at random moments ------------------------------------------------------------------
RANDOM=${SEED:-20260131}
bad=""
for i in $(seq 12); do
    case $((i % 4)) in
    0) from=("$web/wide.gguf") ;;
    1) from=("$http/slow/400000/wide.gguf") ;;
    2) from=("$web/wide.gguf" --type Q4_0) ;;
    3) from=("$http/wide.gguf" --pack) ;;
    esac
    "$t" pkg install "${from[@]}" --name "kill$i" >/dev/null 2>&1 </dev/null &
    pid=$!
    sleep "0.$(printf %03d $((RANDOM % 450)))"
    kill -KILL $pid 2>/dev/null
    wait $pid 2>/dev/null
    # Whatever was installed is whole, and the next run mends the rest.
    pkg verify >"$work/out" 2>&1 || bad="$bad $i:verify:$(head -c 200 "$work/out")"
    pkg install "${from[@]}" --name "kill$i" >"$work/out" 2>&1 || bad="$bad $i:install:$(head -c 300 "$work/out")"
    [ -z "$(find "$TESSERA_STORE/partial" -type f)" ] || bad="$bad $i:left:$(ls "$TESSERA_STORE/partial")"
    pkg remove "kill$i" >/dev/null || bad="$bad $i:remove"
    pkg prune >/dev/null
    [ -z "$(find "$TESSERA_STORE" -type f ! -name .lock)" ] || bad="$bad $i:rest"
done
same "killed 12 times at random: each next run mends it, nothing is left" "" "$bad"

# ---- damage, use, removal ----------------------------------------------------------------------
installed "for what follows" "$web/wide.gguf"
chmod u+w "$blob"
cp -p "$blob" "$work/blob"
printf 'xxxx' | dd of="$blob" bs=1 seek=7000000 conv=notrunc 2>/dev/null
touch -r "$work/blob" "$blob"
refused "verify finds a changed byte" "has changed: its SHA-256 is .*installed was +$wide" verify wide
installed "installing it again mends it" "$web/wide.gguf"
timeout 60 qemu-system-x86_64 -M q35,accel=tcg -S -nodefaults -display none -m 64,slots=1,maxmem=1G \
    -object "memory-backend-file,id=w,mem-path=$blob,size=$(stat -c %s "$blob"),share=on,readonly=on" \
    -device virtio-pmem-pci,memdev=w </dev/null >/dev/null 2>&1 &
guest=$!
vm_pids+=("$guest")
for _ in $(seq 100); do
    grep -qs "sha256-$wide" "/proc/$(pgrep -P $guest | head -n 1)/maps" && break
    sleep 0.05
done
refused "a model that a guest has mapped" "in use: process [0-9]+ \(qemu" remove wide
installed "... under another name too" "$web/wide.gguf" --name wider
check "of two names one may go" pkg remove wider
check "--force removes it" pkg remove wide --force
same "... and the file" "" "$(find "$TESSERA_STORE/blobs" -type f)"
check "... and the guest keeps it" grep -q "sha256-$wide.gguf (deleted)" "/proc/$(pgrep -P $guest | head -n 1)/maps"
kill $guest 2>/dev/null
wait $guest 2>/dev/null
refused "a name that is not there" "no model 'wide' is installed" remove wide
refused "no such model where a file is wanted" "no model 'wide' is installed" verify wide

# ---- room --------------------------------------------------------------------------------------
mkdir -p "$work/small"
if [ "$(id -u)" -eq 0 ] && unshare -m true 2>/dev/null; then
    cat >"$work/room.sh" <<'S'
mount -t tmpfs -o size=9m tmpfs "$1" || exit 9
export TESSERA_STORE=$1/store
"$2" pkg install "$3"
echo "status $?"
"$2" pkg install "$4"
echo "status $?"
find "$1" -name '*.part' -size +1M
S
    out=$(unshare -m bash "$work/room.sh" "$work/small" "$t" "$web/wide.gguf" "$http/wide.gguf" 2>&1 </dev/null)
    same "no room: told before anything is written, for file and URL" "2 2 0" \
        "$(grep -c 'takes 14 MB more and .* has only' <<<"$out") $(grep -c '^status 1' <<<"$out") $(grep -c 'part$' <<<"$out")"
fi
finish_checks
