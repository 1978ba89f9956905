// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera console`: a guest's serial console through libvirt, on a terminal or between pipes.
#include "hypercall/host/tool/run.h"
#include "hypercall/host/tool/terminal.h"

#include "hypercall/host/talk/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <libvirt/virterror.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 4096, LEAVE = 0x1d }; // Ctrl-]

struct console {
    virStreamPtr stream;
    int wake[2];      // libvirt's thread of events tells that there is something to read
    bool typed, raw;  // on a terminal; nothing is filtered
    uint32_t quiet_s; // after the end of piped input: so long without output
    struct filter filter;
    bool ended;
};

static void on_stream(virStreamPtr s, int events, void *opaque)
{
    const struct console *c = opaque;
    (void)s;
    (void)events;
    ssize_t n = write(c->wake[1], "", 1); // a full pipe wakes as well
    (void)n;
}

static void print(struct console *c, const char *bytes, size_t count)
{
    if (c->raw || !isatty(STDOUT_FILENO)) {
        fwrite(bytes, 1, count, stdout);
    } else {
        filter_print(&c->filter, stdout, bytes, count);
    }
}

// All that is there. *any: something came.
static int receive(struct console *c, bool *any)
{
    char bytes[CHUNK], drained[64];
    while (read(c->wake[0], drained, sizeof drained) > 0) {
    }
    *any = false;
    for (;;) {
        int n = virStreamRecv(c->stream, bytes, sizeof bytes);
        if (n == -2) {
            break;
        }
        if (n <= 0) {
            c->ended = true; // the guest is off, or libvirt's daemon is gone
            break;
        }
        print(c, bytes, (size_t)n);
        *any = true;
    }
    return fflush(stdout) == 0 ? TOOL_OK : tool_fail("could not write the output");
}

static int send(struct console *c, const char *bytes, size_t count)
{
    for (unsigned tries = 0; count && !run_interrupts;) {
        int n = virStreamSend(c->stream, bytes, count);
        if (n == -2) {
            if (++tries > 1000) {
                return tool_fail("the guest does not take what is typed");
            }
            poll(NULL, 0, 10);
            continue;
        }
        if (n < 0) {
            c->ended = true;
            return TOOL_OK;
        }
        tries = 0;
        bytes += n;
        count -= (size_t)n;
    }
    return TOOL_OK;
}

// One read of standard input. *more: there may be another.
static int forward(struct console *c, bool *more, bool *leave)
{
    char bytes[CHUNK];
    ssize_t n = read(STDIN_FILENO, bytes, sizeof bytes);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
        return TOOL_OK;
    }
    *more = n > 0;
    if (n <= 0) {
        return TOOL_OK;
    }
    char *key = c->typed ? memchr(bytes, LEAVE, (size_t)n) : NULL;
    *leave = key != NULL;
    return send(c, bytes, key ? (size_t)(key - bytes) : (size_t)n);
}

static int talk(struct console *c)
{
    bool more = true, leave = false, any;
    uint64_t quiet_since = tool_now_ns();
    int status = TOOL_OK;
    while (!status && !c->ended && !leave && !run_interrupts) {
        struct pollfd p[2] = {{.fd = c->wake[0], .events = POLLIN},
                              {.fd = more ? STDIN_FILENO : -1, .events = POLLIN}};
        poll(p, 2, 200);
        status = receive(c, &any);
        if (any) {
            quiet_since = tool_now_ns();
        }
        if (!status && p[1].revents) {
            status = forward(c, &more, &leave);
            quiet_since = tool_now_ns();
        }
        if (!more && (c->typed || tool_now_ns() - quiet_since > c->quiet_s * 1000000000ull)) {
            break;
        }
    }
    return status;
}

static int open_console(struct guest_host *h, virDomainPtr d, struct console *c, bool force,
                        const char *name)
{
    c->stream = virStreamNew(h->libvirt, VIR_STREAM_NONBLOCK);
    if (!c->stream) {
        return tool_fail("libvirt says: %s", virGetLastErrorMessage());
    }
    if (virDomainOpenConsole(d, NULL, c->stream,
                             force ? VIR_DOMAIN_CONSOLE_FORCE : VIR_DOMAIN_CONSOLE_SAFE) != 0) {
        const virError *e = virGetLastError();
        const char *why = e && e->message ? e->message : "";
        return strstr(why, "Active console session")
                   ? tool_fail("another console of '%s' is open; --force takes it over, `tessera "
                               "logs -f %s` only looks",
                               name, name)
                   : tool_fail("libvirt says: %s", why);
    }
    if (virStreamEventAddCallback(
            c->stream, VIR_STREAM_EVENT_READABLE | VIR_STREAM_EVENT_HANGUP | VIR_STREAM_EVENT_ERROR,
            on_stream, c, NULL) != 0) {
        return tool_fail("libvirt says: %s", virGetLastErrorMessage());
    }
    return TOOL_OK;
}

static int session(struct guest_host *h, virDomainPtr d, struct console *c, bool force,
                   const char *name)
{
    int rc = machine_events_start();
    if (rc || pipe2(c->wake, O_CLOEXEC | O_NONBLOCK) != 0) {
        return tool_fail("%s", strerror(rc ? -rc : errno));
    }
    int status = open_console(h, d, c, force, name);
    bool opened = !status;
    c->typed = isatty(STDIN_FILENO);
    if (opened && c->typed) {
        status = terminal_raw();
        // Once keys go to the guest, not before.
        fprintf(stderr, "The console of %s; Ctrl-] leaves it.\r\n", name);
    }
    if (!status) {
        status = talk(c);
        terminal_restore();
    }
    if (opened) {
        virStreamEventRemoveCallback(c->stream);
        if (c->ended) {
            virStreamAbort(c->stream);
        } else {
            virStreamFinish(c->stream);
        }
    }
    if (c->typed && opened) {
        fprintf(stderr, "\n%s\n",
                !c->ended                   ? "Left."
                : virDomainIsActive(d) == 1 ? "Another console took this one over."
                                            : "The console ended: the guest is off.");
    }
    if (c->stream) {
        virStreamFree(c->stream);
    }
    close(c->wake[0]);
    close(c->wake[1]);
    return status;
}

static int console(int argc, char **argv)
{
    const char *uri = NULL, *words[1];
    size_t word_count;
    char error[900];
    bool force = false;
    struct console c = {.quiet_s = 1};
    struct tool_option options[] = {{"--connect", OPTION_TEXT, &uri, false},
                                    {"--force", OPTION_FLAG, &force, false},
                                    {"--raw", OPTION_FLAG, &c.raw, false},
                                    {"--quiet", OPTION_COUNT, &c.quiet_s, false}};
    int status = tool_options(argc, argv, options, 4, words, 1, &word_count);
    struct guest_host h = {0};
    if (!status && word_count != 1) {
        status = tool_misuse("wanted: NAME");
    }
    if (status || (status = run_connect(&h, uri, true))) {
        return status;
    }
    virDomainPtr d = NULL;
    struct machine_facts facts;
    int rc = machine_find(h.libvirt, words[0], &d, &facts, error, sizeof error);
    if (rc) {
        status = tool_fail("%s", error);
    } else if (virDomainIsActive(d) != 1) {
        status =
            tool_fail("'%s' is off: `tessera start %s` starts it, `tessera logs %s` shows what "
                      "its console showed",
                      words[0], words[0], words[0]);
    } else {
        run_catch_interrupts();
        status = session(&h, d, &c, force, words[0]);
    }
    if (d) {
        virDomainFree(d);
    }
    guest_host_close(&h);
    return status;
}

const struct tool_command tool_console = {
    .name = "console",
    .summary = "a guest's console, to type at",
    .help =
        "Usage: tessera console NAME [OPTIONS]\n\n"
        "Connects the terminal with the guest's serial console and its shell; Ctrl-] leaves. Only\n"
        "one can be open at a time; `tessera logs -f` looks beside it. Of what the guest\n"
        "prints, a terminal sees text and what draws, nothing else. Between pipes, all bytes\n"
        "pass; it ends when the input has ended and the guest is quiet.\n\n"
        "    echo mem | tessera console NAME\n\n"
        "  --force          takes an open console over\n"
        "  --raw            filters nothing\n"
        "  --quiet S        seconds without output that end it after piped input (1)\n"
        "  --connect URI    libvirt's connection\n",
    .run = console,
};
