// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Where guests are made: the connection, the programs beside this one, messages.
#include "hypercall/host/base/clock.h"
#include "hypercall/host/guest/private.h"
#include "hypercall/host/remote/remote.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

int guest_refuse(char *error, size_t error_bytes, int rc, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error, error_bytes, format, args);
    va_end(args);
    return rc;
}

void guest_say(const struct guest_host *h, const char *format, ...)
{
    char line[PATH_MAX + 300];
    va_list args;
    if (!h->say) {
        return;
    }
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    h->say(h->context, line);
}

uint64_t guest_now_ms(void)
{
    return (uint64_t)monotonic_ms();
}

void guest_sleep_ms(long ms)
{
    sleep_ms(ms);
}

static int find_programs(struct guest_host *h, char *error, size_t error_bytes)
{
    ssize_t n = readlink("/proc/self/exe", h->programs, sizeof h->programs - 1);
    if (n <= 0) {
        return guest_refuse(error, error_bytes, -errno, "/proc/self/exe: %s", strerror(errno));
    }
    h->programs[n] = 0;
    *strrchr(h->programs, '/') = 0;
    return 0;
}

// machine_connect's messages have no context of their own.
static _Thread_local struct guest_host *speaker;

static void say_for_speaker(const char *line)
{
    guest_say(speaker, "%s", line);
}

static int connect(struct guest_host *h, char *error, size_t error_bytes)
{
    speaker = h;
    int rc = machine_connect(h->uri, say_for_speaker, &h->libvirt, error, error_bytes);
    speaker = NULL;
    return rc;
}

int guest_host_open(struct guest_host *h, const char *uri, bool plan_only, char *error,
                    size_t error_bytes)
{
    int rc = find_programs(h, error, error_bytes);
    rc = rc ? rc : machine_uri(uri, &h->uri, &h->is_system, error, error_bytes);
    if (!rc) {
        struct remote_machine m;
        remote_machine_of(h->uri, &m);
        h->is_remote = m.host[0] != 0;
    }
    if (rc || plan_only) {
        return rc;
    }
    return connect(h, error, error_bytes);
}

int guest_host_reopen(struct guest_host *h, char *error, size_t error_bytes)
{
    if (h->libvirt && virConnectIsAlive(h->libvirt) == 1) {
        return 0;
    }
    guest_host_close(h);
    return connect(h, error, error_bytes);
}

// A connection that lives is left to the end of the program, which follows: libvirt 9.0 waits for
// itself for ever when an event of a guest comes in while the last reference to a connection goes.
// Its daemon lets go of what listens when the socket closes.
void guest_host_close(struct guest_host *h)
{
    static virConnectPtr left;
    if (h->libvirt && virConnectIsAlive(h->libvirt) == 1) {
        left = h->libvirt; // reachable, for those who look for leaks
    } else if (h->libvirt) {
        virConnectClose(h->libvirt);
    }
    h->libvirt = NULL;
    (void)left;
}
