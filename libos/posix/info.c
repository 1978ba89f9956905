// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the machine is: name, memory, limits, random bytes.
#include "libos/posix/internal.h"

#include "libos/app.h"
#include "libos/manifest.h"
#include "libos/mem.h"
#include "libos/sched.h"
#include "libos/virtio.h"
#include "platform/time.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

void random_bytes(void *out, size_t bytes) __attribute__((weak));
const struct manifest *manifest(void) __attribute__((weak));

long call_uname(struct utsname *out)
{
    memset(out, 0, sizeof *out);
    snprintf(out->sysname, sizeof out->sysname, "Tessera");
    snprintf(out->nodename, sizeof out->nodename, "%s",
             manifest && manifest()->name[0] ? manifest()->name : app_name);
    snprintf(out->release, sizeof out->release, "%s", app_version);
    snprintf(out->version, sizeof out->version, "%s", app_name);
    snprintf(out->machine, sizeof out->machine, "x86_64");
    return 0;
}

long call_sysinfo(struct sysinfo *out)
{
    struct mem_stats m;
    mem_get_stats(&m);
    memset(out, 0, sizeof *out);
    out->uptime = pf_now_ns() / 1000000000u;
    out->totalram = m.ram_bytes;
    out->freeram = m.free_bytes;
    out->procs = (unsigned short)sched_snapshot(NULL, 0);
    out->mem_unit = 1;
    return 0;
}

long call_prlimit(int pid, int resource, const struct rlimit *set, struct rlimit *get)
{
    if (pid != 0 && pid != 1) {
        return -ESRCH;
    }
    if (set) {
        return -EPERM;
    }
    if (get) {
        rlim_t value = resource == RLIMIT_NOFILE  ? 64
                       : resource == RLIMIT_STACK ? 256ul << 10
                       : resource == RLIMIT_CORE  ? 0
                                                  : RLIM_INFINITY;
        *get = (struct rlimit){value, value};
    }
    return 0;
}

long call_getrandom(void *out, size_t bytes)
{
    if (!random_bytes) {
        return -ENOSYS; // an image without the generator
    }
    random_bytes(out, bytes);
    return (long)bytes;
}
