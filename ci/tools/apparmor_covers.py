#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
"""Which files that a traced QEMU used would AppArmor refuse?

Usage: apparmor_covers.py GUEST UID TRACES PROFILE

PROFILE is what `apparmor_parser -p` prints of one; TRACES the files of `strace -ff -y -s 200 -o TRACES`,
GUEST the name of a domain of which one is. Prints one line for
each access that no rule allows, and a last one with how many there were. Source of the syntax: apparmor.d(5).
"""
import glob
import os
import re
import sys


def pattern(text):
    """A path of AppArmor's as a regular expression."""
    out, depth, i = "", 0, 0
    while i < len(text):
        c = text[i]
        if text.startswith("**", i):
            out += ".*"
            i += 1
        elif c == "*":
            out += "[^/]*"
        elif c == "?":
            out += "[^/]"
        elif c == "[":
            end = text.index("]", i)
            out += text[i : end + 1]
            i = end
        elif c == "{":
            out += "(?:"
            depth += 1
        elif c == "}":
            out += ")"
            depth -= 1
        elif c == "," and depth:
            out += "|"
        elif c == "\\":
            i += 1
            out += re.escape(text[i])
        else:
            out += re.escape(c)
        i += 1
    return out


def expand(text, variables):
    """All texts that variables make of one."""
    m = re.search(r"@\{(\w+)\}", text)
    if not m:
        return [re.sub("/+", "/", text)]
    return [t for value in variables.get(m.group(1), []) for t in expand(text.replace(m.group(0), value), variables)]


def read_profile(lines):
    variables, rules = {}, []
    for line in lines:
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        m = re.fullmatch(r"@\{(\w+)\}\s*\+?=\s*(.*)", line)
        if m:
            variables.setdefault(m.group(1), []).extend(v.strip('"') for v in m.group(2).split())
        m = re.fullmatch(r'((?:audit |deny |owner |file )*)("[^"]*"|[/@]\S*)\s+([a-zA-Z]+),', line)
        if m:
            rules.append((m.group(1).split(), m.group(2).strip('"'), m.group(3)))
    compiled = []
    for words, path, permissions in rules:
        for text in expand(path, variables):
            compiled.append((words, re.compile(pattern(text)), permissions))
    return compiled


def accesses(guest, prefix):
    """(path, permissions) of the QEMU that ran this guest, and of its threads."""
    texts = {int(f.rsplit(".", 1)[1]): open(f, errors="replace").read() for f in glob.glob(prefix + ".*")}
    guests = [pid for pid, t in texts.items() if re.search(rf'execve\("[^"]*/qemu-system-x86_64".*"guest={guest},.*= 0', t)]
    found = set()
    while guests:
        text = texts.pop(guests.pop(), "")
        guests += [int(tid) for tid in re.findall(r"clone3?\(.*CLONE_THREAD.*= (\d+)", text)]
        text = re.sub(r"(?s)\A.*?execve\([^\n]*/qemu-system-x86_64[^\n]*\n", "", text)
        for flags, path in re.findall(r'openat\([^"]*"[^"]*", ([A-Z_|]+)[^\n]* = \d+<([^>\n]*)>', text):
            found.add((path, "rw" if "O_RDWR" in flags else "w" if "O_WRONLY" in flags else "r"))
        for path in re.findall(r'connect\([^\n]*sun_path="([^"]*)"[^\n]* = 0', text):
            found.add((path, "rw"))
        for path in re.findall(r"mmap\([^\n]*PROT_EXEC[^\n]*, \d+<(/[^>\n]*)>", text):
            found.add((path, "m"))
        for path in re.findall(r"fcntl\(\d+<(/[^>\n]*)>, F_(?:OFD_)?SETLK", text):
            found.add((path, "k"))
    return sorted(found)


def allowed(rules, uid, path, permission):
    try:
        owned = os.stat(path).st_uid == uid
    except OSError:
        owned = False
    fits = [r for r in rules if r[1].fullmatch(path) and ("owner" not in r[0] or owned)]
    # A word of several letters is of rules for programs (rmix), which give their letters, too.
    return any(permission in r[2] for r in fits if "deny" not in r[0]) and not any(
        permission in r[2] for r in fits if "deny" in r[0]
    )


def main():
    guest, uid, prefix = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    with open(sys.argv[4], errors="replace") as f:
        rules = read_profile(f)
    all_of_it = accesses(guest, prefix)
    for path, permissions in all_of_it:
        if not path.startswith("/"):
            continue  # a pipe, a socket, an anonymous file: of no path
        path = re.sub(r" \(deleted\)$", "", path)
        if os.path.isdir(path):
            path = path.rstrip("/") + "/"  # as AppArmor names folders
        for permission in permissions:
            if not allowed(rules, uid, path, permission):
                print(f"refused: {permission} {path}")
    print(f"{len(all_of_it)} accesses, {len(rules)} rules")


main()
