#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# What looks at guests and talks with them: `ls`, `top`, `inspect`, `console`, `chat`, `logs -f`, and `stop`,
# `start`, `rm` of several. As an ordinary user in libvirt's session, in namespaces of the test's own.
set -u
cd "$(dirname "$0")/../.." || exit 1
. ci/user.sh
namespaces libvirtd build/bin/tessera build/images/llm.elf
. ci/lib.sh
user_begin
cp ci/functional/terminal.py "$work/terminal.py" && chmod 644 "$work/terminal.py"
# pty WORDS… -- COMMAND…: on a terminal of its own (terminal.py says how); prints what it showed.
pty() {
    timeout 90 "${as[@]}" python3 "$work/terminal.py" "$@"
}
port=$(free_port)
check "two guests run" t run "$demo" --detach --port "$port" --vcpus 1 --name one
check "the second with a key" t run "$demo" --detach --vcpus 1 --name two --key secret
url=http://127.0.0.1:$port

# ---- ls, top, inspect --------------------------------------------------------------------------
holds "ls: both" 'one .*running.*two .*running' "$(t ls | tr '\n' ' ')"
holds "ls: CPU use, memory in use of what it has" "^one +demo.gguf +running +1 +[0-9]+% +[0-9]+/64 +[0-9.]+ +- +- +$url" "$(t ls)"
(for _ in 1 2 3 4 5 6; do
    curl -sS --max-time 60 -H 'Content-Type: application/json' -d '{"prompt":"Once","max_tokens":400,"ignore_eos":true,"temperature":0}' "$url/v1/completions"
done >"$work/load" 2>&1) &
load=$!
vm_pids+=("$load")
sleep 1
t ls --json >"$work/ls.json"
same "ls --json: one makes tokens, two does not" "true true" "$(jq -r '"\(.[0].tokens_per_s > 0) \(.[1].tokens_per_s == 0)"' "$work/ls.json")"
same "ls --json: its CPU is used, a request runs" "true 1" "$(jq -r '.[0] | "\(.cpu_percent > 20) \(.requests_running)"' "$work/ls.json")"
same "ls --json: the memory of QEMU" true "$(jq -r '.[0] | .qemu_rss_mb > 10 and .qemu_pss_mb > 5 and .qemu_pss_mb <= .qemu_rss_mb' "$work/ls.json")"
t top --once --json >"$work/top.json"
same "top --once --json: one object, both guests" "one two" "$(jq -rs 'if length == 1 then [.[0].guests[].name] | join(" ") else "not one" end' "$work/top.json")"
same "top: tokens a second" true "$(jq '.guests[0].tokens_per_s > 0' "$work/top.json")"
wait "$load"
holds "top --once: a table" '^one +running +[0-9]+% +[0-9]+ +[0-9]+ +[0-9.]+ +0/0 +[0-9]+%' "$(t top --once)"
curl -sS --max-time 60 -o /dev/null -d '{"prompt":"Once","max_tokens":5}' "$url/v1/completions"
(for _ in 1 2 3 4 5 6; do
    sleep 0.5
    curl -sS --max-time 60 -o /dev/null -d '{"prompt":"Once","max_tokens":5}' "$url/v1/completions"
done) &
same "top: latency of the interval's requests" true "$(t top --once --json --interval 3 | jq '.guests[0] | .p50_ms > 0 and .p95_ms >= .p50_ms and .first_token_ms > 0')"
wait $!
out=$(pty "TOK/S" type:q -- "$work/bin/tessera" top)
same "top on a terminal: q leaves it" 0 $?
holds "top shows the guests there" 'one +running' "$out"
holds "it has its own screen and leaves it" '1049h.*1049l' "$(tr '\n' ' ' <<<"$out")"
holds "the terminal is as before" 'mode: same' "$out"
holds "also after a signal" 'mode: same' "$(pty "TOK/S" signal:TERM -- "$work/bin/tessera" top)"
refused "top: an interval that is none" 2 '--interval' top --interval 0
t inspect one --json >"$work/inspect.json"
same "inspect --json: what it was made of" "one $demo 64 1 tcg 200" "$(jq -r '"\(.name) \(.model) \(.memory_mb) \(.vcpus) \(.acceleration) \(.health)"' "$work/inspect.json")"
same "inspect: props of the guest" true "$(jq '.props.engine.threads == 1 and (.props.build_info | startswith("tessera"))' "$work/inspect.json")"
holds "inspect: devices" 'virtio-pmem-pci.*|.*rng' "$(jq -r '.devices | join("|")' "$work/inspect.json")"
holds "inspect: how weights arrive" 'read-only mapping' "$(jq -r .weights "$work/inspect.json")"
holds "inspect for people" '^weights +mapped: a read-only mapping' "$(t inspect one)"
holds "inspect: commands that tell more" "virsh -c 'qemu:///session' dumpxml one" "$(t inspect one)"
same "inspect says that there is a key, not which" "true 0" "$(t inspect two --json | jq -r '"\(.key) \(tostring | split("secret") | length - 1)"')"
refused "inspect: no such guest" 1 "no guest is named 'none'" inspect none

# ---- states ------------------------------------------------------------------------------------
v suspend two >/dev/null
holds "a guest that is paused" '^two .*paused' "$(t ls)"
before=$SECONDS
t ls >/dev/null
same "ls does not wait for it" true "$([ $((SECONDS - before)) -lt 8 ] && echo true)"
v resume two >/dev/null
kill -STOP "$(pgrep -f 'guest=two,')"
sleep 0.3
out=$(t ls)
holds "a guest that hangs: the other is shown" '^one .*running' "$out"
holds "and it as unhealthy, or loading while young" '^two .*(unhealthy|loading)' "$out"
kill -CONT "$(pgrep -f 'guest=two,')"

# ---- what the agent of a fleet notes -------------------------------------------------------------
# A stand-in for the agent, at its socket, and a member of a fleet that is off.
cat >"$work/agent.py" <<'P'
import json, os, socket, sys
uri, h = b"qemu:///session", 0xcbf29ce484222325
for c in uri: h = ((h ^ c) * 0x100000001b3) & 0xffffffffffffffff
folder = os.environ["XDG_RUNTIME_DIR"] + "/tessera"
os.makedirs(folder, mode=0o700, exist_ok=True)
s = socket.socket(socket.AF_UNIX)
s.bind("%s/agent-%08x" % (folder, (h ^ h >> 32) & 0xffffffff)); s.listen(5)
while True:
    c, _ = s.accept()
    asked = json.loads(c.makefile().readline())
    notes = {"shop-chat-ab12": "flapping: ended 6 times; next start in 40 s"} if asked == {"op": "status", "fleet": "shop"} else {}
    c.sendall(json.dumps({"ok": True, "notes": notes, "problems": []}).encode() + b"\n"); c.close()
P
"${as[@]}" python3 "$work/agent.py" >/dev/null 2>&1 &
agent=$!
vm_pids+=("$agent")
cat >"$work/member.xml" <<'X'
<domain type='qemu'><name>shop-chat-ab12</name>
<metadata><t:guest xmlns:t='urn:tessera:guest:1'><t:model>/m.gguf</t:model><t:port>1</t:port><t:fleet>shop</t:fleet></t:guest></metadata>
<memory unit='MiB'>16</memory><os><type arch='x86_64' machine='q35'>hvm</type></os></domain>
X
chmod 644 "$work/member.xml"
v define "$work/member.xml" >/dev/null
sleep 0.5
out=$(t ls)
holds "a member that ends again and again is flapping" '^shop-chat-ab12 .*flapping .* shop ' "$out"
holds "and ls says when it is tried next" 'shop-chat-ab12 is flapping: ended 6 times; next start in 40 s' "$out"
holds "rm --all leaves it to its fleet" 'shop-chat-ab12 is left: it is of the fleet shop' "$(t rm --all 2>&1)"
kill "$agent"
wait "$agent" 2>/dev/null
rm -f "$work"/run/tessera/agent-*
holds "without an agent it is off" '^shop-chat-ab12 .* off ' "$(t ls)"
v undefine shop-chat-ab12 >/dev/null

# ---- chat --------------------------------------------------------------------------------------
out=$(t chat one What is 3 plus 4? --temperature 0 --max-tokens 40 --stats 2>"$work/err" </dev/null)
same "chat with a prompt: exit status" 0 $?
holds "chat: the answer" 7 "$out"
holds "chat --stats" 'first token [0-9]+ ms, [0-9]+ tokens, [0-9.]+ tokens/s' "$(cat "$work/err")"
holds "chat: standard input" 7 "$(echo 'What is 3 plus 4?' | t chat "$url" --temperature 0 --max-tokens 40)"
holds "chat: the API's own URL" 7 "$(echo 'What is 3 plus 4?' | t chat "$url/v1/chat/completions" --temperature 0 --max-tokens 40)"
holds "chat: the key of a guest is known" 7 "$(echo 'What is 3 plus 4?' | t chat two --temperature 0 --max-tokens 40)"
two=$(t ls --json | jq -r '.[1].url')
refused "chat: a URL wants the key" 1 'says 401: .*--key' chat "$two" hello
check "chat --key" t chat "$two" hello --key secret --max-tokens 3
# A fleet's record stands in a domain that never starts.
cat >"$work/carrier.xml" <<X
<domain type='qemu'><name>shop.fleet</name>
<metadata><fleet:record xmlns:fleet='urn:tessera:fleet:1'>{"spec":{"endpoint":{"listen":"${two#http://}","keys":["secret"],"tls":null}}}</fleet:record></metadata>
<memory unit='MiB'>16</memory><os><type arch='x86_64' machine='q35'>hvm</type></os></domain>
X
chmod 644 "$work/carrier.xml"
v define "$work/carrier.xml" >/dev/null
holds "chat: a fleet's endpoint by its name, with its key" 7 "$(echo 'What is 3 plus 4?' | t chat shop --temperature 0 --max-tokens 40)"
same "ls does not show the carrier" "one two" "$(t ls --json | jq -r '[.[].name] | join(" ")')"
v undefine shop.fleet >/dev/null
refused "chat: no such guest" 1 "no guest is named 'none'" chat none hello
refused "chat: nobody listens" 1 "127.0.0.1:1: .*connect" chat http://127.0.0.1:1 hello
refused "chat: no question" 1 "no question" chat one
out=$(pty '> ' 'line:What is 3 plus 4?' 'tokens/s' 'line:/help' 'forget what was said' 'line:/nonsense' \
    line:/reset '> ' line:/exit -- "$work/bin/tessera" chat one --temperature 0 --max-tokens 40 --stats)
same "chat on a terminal: /exit" 0 $?
holds "it answers" '7' "$out"
# An endpoint that misbehaves: what a model writes is only text, and no answer ends in silence.
cat >"$work/liar.py" <<'P'
import http.server, json, sys, time
class H(http.server.BaseHTTPRequestHandler):
    def log_message(self, *a): pass
    def do_POST(self):
        q = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        said = q["messages"][-1]["content"].strip()
        self.send_response(200); self.send_header("Content-Type", "text/event-stream"); self.end_headers()
        def event(o): self.wfile.write(b"data: " + (o if isinstance(o, bytes) else json.dumps(o).encode()) + b"\n\n")
        def piece(s): event({"choices": [{"delta": {"content": s}}]})
        piece("begun ")
        if said == "escape": piece("\x1b]0;owned\x07\x1b[6n\u009b6n"); event(b"[DONE]")
        elif said == "error": event({"error": {"message": "out of\x1b[31m luck", "code": 500}})
        elif said == "junk": event(b"{junk")
        elif said == "count": piece(str(len(q["messages"]))); event(b"[DONE]")
        elif said == "slow":
            for i in range(300):
                piece("word "); time.sleep(0.1)
        # "cut": ends here
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), H).serve_forever()
P
liar=$(free_port)
python3 "$work/liar.py" "$liar" >/dev/null 2>&1 &
vm_pids+=($!)
for _ in $(seq 50); do (exec 3<>"/dev/tcp/127.0.0.1/$liar") 2>/dev/null && break; sleep 0.1; done
same "chat: control characters of a model do not reach the terminal" 'begun ?]0;owned??[6n??6n' "$(t chat "http://127.0.0.1:$liar" escape)"
refused "chat: an error within a stream" 1 'the answer broke off: out of\?\[31m luck' chat "http://127.0.0.1:$liar" error
refused "chat: a stream that is cut" 1 'the answer broke off' chat "http://127.0.0.1:$liar" cut
refused "chat: a stream of junk" 1 'no JSON' chat "http://127.0.0.1:$liar" junk
out=$(pty '> ' line:count 'begun 1' line:count 'begun 3' line:/reset '> ' line:cut 'broke off' line:count 'begun 1' line:/exit -- "$work/bin/tessera" chat "http://127.0.0.1:$liar")
same "chat: the conversation grows, /reset and errors forget" 0 $?

out=$(pty '> ' line:slow 'word word' type:^C 'stopped' '> ' type:^C '> ' line:count 'begun 3' line:/exit -- "$work/bin/tessera" chat "http://127.0.0.1:$liar" --stats)
same "Ctrl-C stops the answer, not the program; what was written stays said" 0 $?

# ---- console, logs -----------------------------------------------------------------------------
out=$(echo uptime | t console one --quiet 2)
same "console between pipes: exit status" 0 $?
holds "and the shell's answer" 'up|[0-9]+ s' "$out"
"${as[@]}" "$work/bin/tessera" logs -f one >"$work/follow" 2>&1 &
follow=$!
vm_pids+=("$follow")
out=$(pty 'Ctrl-\]' 'line:uname -a' 'Tessera|tessera' type:^] -- "$work/bin/tessera" console one)
same "console on a terminal: Ctrl-] leaves" 0 $?
holds "the terminal is as before" 'mode: same' "$out"
holds "also after a signal" 'mode: same' "$(pty 'Ctrl-\]' signal:TERM -- "$work/bin/tessera" console one)"
sleep 0.6
holds "logs -f beside it sees the same" 'uname -a' "$(cat "$work/follow")"
mkfifo "$work/held" && chmod 666 "$work/held"
"${as[@]}" "$work/bin/tessera" console one --quiet 60 <"$work/held" >"$work/first" 2>&1 &
first=$!
vm_pids+=("$first")
exec 9>"$work/held"
sleep 1
refused "a second console is refused" 1 'another console of .one. is open; --force' console one
holds "--force takes it over" 'uname -a' "$(echo uname -a | t console one --force --quiet 2)"
check "the first one ends" timeout 10 tail --pid="$first" -f /dev/null
exec 9>&-
refused "console: no such guest" 1 "no guest is named 'none'" console none

# ---- several at once ---------------------------------------------------------------------------
holds "stop --all" 'one: powered off.*two: powered off' "$(t stop --all | tr '\n' ' ')"
refused "console of a guest that is off" 1 "'one' is off: .tessera start one" console one
refused "chat with one" 1 "'one' is off" chat one hello
same "ls: off, without use" "off null null" "$(t ls --json | jq -r '.[0] | "\(.state) \(.cpu_percent) \(.tokens_per_s)"')"
holds "inspect of one that is off" '^state +off' "$(t inspect one)"
refused "stop: names and --all" 2 'NAME... or --all' stop one --all
refused "stop: neither" 2 'NAME... or --all' stop
holds "start --all" 'one: .* serves.*two: .* serves' "$(t start --all | tr '\n' ' ')"
check "one of several is missing: the rest is stopped" bash -c "! $(printf '%q ' "${as[@]}") '$work/bin/tessera' stop none two 2>/dev/null | grep -v powered && true"
holds "it is" '^two .*off' "$(t ls)"
if v managedsave one >/dev/null 2>"$work/err"; then
    holds "a saved guest" '^one .*suspended' "$(t ls)"
else
    echo "ok skipped: this domain cannot be saved: $(tail -n 1 "$work/err")"
fi
holds "rm --force --all" 'one: removed.*two: removed' "$(t rm --force --all | tr '\n' ' ')"
check "logs -f ends with the guest" timeout 10 tail --pid="$follow" -f /dev/null
holds "and says so" 'one was removed' "$(cat "$work/follow")"
same "nothing is left" "[]" "$(t ls --json)"
finish_checks
