// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Stand-ins on the host for what the drivers use of the platform and the libos.
#include "libos/log.h"
#include "libos/mem.h"
#include "libos/sched.h"
#include "libos/virtio/sim_host.h"
#include "platform/boot.h"
#include "platform/paging.h"
#include "platform/smp.h"
#include "platform/time.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t fake_now_ns;
unsigned fake_log_errors, fake_cpus = 1;
uint64_t fake_ram_bytes = 64ull << 20;
const char *fake_cmdline = "";
void (*fake_idle)(void);

uint64_t pf_now_ns(void)
{
    return fake_now_ns += 1000;
}

void log_line(enum log_level level, const char *module, const char *format, ...)
{
    fake_log_errors += level == LOG_ERROR;
    if (getenv("SHOW_LOG")) {
        va_list list;
        va_start(list, format);
        fprintf(stderr, "%s: ", module);
        vfprintf(stderr, format, list);
        fputc('\n', stderr);
        va_end(list);
    }
}

void *mem_zone_alloc(enum mem_zone zone, size_t bytes)
{
    (void)zone;
    size_t whole = (bytes + 4095) & ~(size_t)4095;
    // Poisoned to the byte by the sanitizer, aligned as a page: over-allocate in front.
    void *block = aligned_alloc(4096, whole);
    if (block) {
        memset(block, 0, whole);
    }
    return block;
}
void mem_zone_free(void *block)
{
    free(block);
}
uint64_t mem_phys(const void *block)
{
    return (uintptr_t)block;
}
uint64_t pf_virt_to_phys(const void *virt)
{
    return (uintptr_t)virt;
}
void mem_get_stats(struct mem_stats *out)
{
    memset(out, 0, sizeof(*out));
    out->ram_bytes = fake_ram_bytes;
}
uint32_t pf_cpu_present(void)
{
    return fake_cpus;
}

void wake_set(struct wake *w)
{
    w->set = 1;
}
bool wake_wait(struct wake *w, uint64_t deadline_ns)
{
    if (fake_idle) {
        fake_idle();
    }
    if (w->set) {
        w->set = 0;
        return true;
    }
    if (deadline_ns > fake_now_ns) {
        fake_now_ns = deadline_ns;
    }
    return false;
}
void strand_sleep_ns(uint64_t ns)
{
    if (fake_idle) {
        fake_idle();
    }
    fake_now_ns += ns;
}

bool pf_protection_off(const char *name)
{
    (void)name;
    return false;
}

int pf_cmdline_get(const char *key, char *buf, size_t size)
{
    const char *at = strstr(fake_cmdline, key);
    if (!at || at[strlen(key)] != '=') {
        return -ENOENT;
    }
    at += strlen(key) + 1;
    size_t n = strcspn(at, " ");
    if (n >= size) {
        return -ERANGE;
    }
    memcpy(buf, at, n);
    buf[n] = 0;
    return (int)n;
}
