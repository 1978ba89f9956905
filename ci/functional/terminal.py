# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# A program on a terminal of its own: terminal.py STEP… -- COMMAND…. Steps in order: `line:TEXT` types a
# line, `type:TEXT` keys (^X is Ctrl-X), `signal:NAME` sends one, `wait:SECONDS`; any other text is a regular
# expression that what was shown since the step before must come to match. Prints all that was shown, then
# whether the terminal's mode is as it was, and ends with the program's status (97: a step was not reached).
import os, pty, re, select, signal, sys, termios, time

cut = sys.argv.index("--")
steps, command = sys.argv[1:cut], sys.argv[cut + 1:]
master, slave = pty.openpty()
before = termios.tcgetattr(slave)
child = os.fork()
if child == 0:
    os.setsid()
    os.close(master)
    import fcntl
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in (0, 1, 2):
        os.dup2(slave, fd)
    os.execvp(command[0], command)
shown, seen = b"", 0


def read(seconds):
    global shown
    if select.select([master], [], [], seconds)[0]:
        data = os.read(master, 65536)
        shown += data


def type_keys(text):
    os.write(master, re.sub(r"\^(.)", lambda m: chr(ord(m[1]) & 31), text).encode())


def finish(status):
    read(0)
    sys.stdout.buffer.write(shown.replace(b"\r\n", b"\n"))
    print("\nmode: " + ("same" if termios.tcgetattr(slave) == before else "changed"))
    sys.exit(status)


for step in steps:
    if step.startswith("line:"):
        seen = len(shown)
        os.write(master, step[5:].encode() + b"\r")
    elif step.startswith("type:"):
        seen = len(shown)
        type_keys(step[5:])
    elif step.startswith("signal:"):
        os.kill(child, getattr(signal, "SIG" + step[7:]))
    elif step.startswith("wait:"):
        until = time.monotonic() + float(step[5:])
        while time.monotonic() < until:
            read(0.1)
    else:
        until = time.monotonic() + 20
        while not re.search(step.encode(), shown[seen:], re.S):
            read(0.1)
            if time.monotonic() > until or os.waitpid(child, os.WNOHANG)[0]:
                print("not reached: " + step)
                try:
                    os.kill(child, signal.SIGKILL)
                except OSError:
                    pass
                finish(97)
until = time.monotonic() + 20
while True:
    read(0.1)
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
        finish(os.waitstatus_to_exitcode(status) & 255)
    if time.monotonic() > until:
        os.kill(child, signal.SIGKILL)
        print("it did not end")
        finish(98)
