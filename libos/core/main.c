// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// From the platform to the application. Parts that an image is built without are absent (weak
// references), and the log says so.
#include "libos/core/core.h"

#include "libos/app.h"
#include "libos/log.h"
#include "libos/manifest.h"
#include "libos/mem/internal.h"
#include "libos/net.h"
#include "libos/posix.h"
#include "libos/sched/internal.h"
#include "libos/shell.h"
#include "libos/virtio.h"
#include "libos/watch/watch.h"
#include "platform/boot.h"
#include "platform/paging.h"
#include "platform/power.h"
#include "platform/time.h"

#include <string.h>

#define MAIN_STACK_PAGES 16
#define APP_STACK_BYTES  (256ul << 10)

void manifest_init(void) __attribute__((weak));
const struct manifest *manifest(void) __attribute__((weak));
void boot_files_init(void) __attribute__((weak));
void virtio_init(void) __attribute__((weak));
void virtio_init_network(void) __attribute__((weak));
int net_start(const struct net_config *config) __attribute__((weak));
void shell_start(void) __attribute__((weak));

static const struct manifest *configure(void)
{
    if (!manifest_init || !manifest) {
        log_warn("boot", "this image has no manifest reader: defaults hold");
        return NULL;
    }
    if (boot_files_init) {
        boot_files_init();
    }
    manifest_init();
    const struct manifest *m = manifest();
    log_console_level(m->log);
    for (int z = 0; z < MEM_ZONE_COUNT; z++) {
        mem_zone_limit((enum mem_zone)z, m->zone_bytes[z]);
    }
    stage_mark("manifest");
    return m;
}

static void start_storage(void)
{
    if (virtio_init) {
        virtio_init();
        stage_mark("storage");
    }
}

static void announce(void)
{
    struct mem_stats stats;
    mem_get_stats(&stats);
    log_info("boot", "%s %s, %lu MB of memory, clock: %s", app_name, app_version,
             (unsigned long)(stats.ram_bytes >> 20), pf_clock_name());
}

static void load_strand(void *arg)
{
    (void)arg;
    announce();
    start_storage();
    app_load();
}

// For applications that load something beside the start of the network. Once, as soon as another
// CPU has come up; at the latest when `now`.
static void start_load(bool now)
{
    static bool started;
    if (!app_load || started || (!now && sched_cpu_count() == 1)) {
        return;
    }
    started = true;
    // Low: where it shares a CPU with the application, what that asks of others comes first.
    if (strand_create("load", load_strand, NULL, STRAND_LOW, STRAND_ANY_CPU, APP_STACK_BYTES,
                      NULL) != 0) {
        pf_panic("not enough memory for the application's stack");
    }
}

static void start_network(const struct manifest *m)
{
    if (virtio_init_network) {
        virtio_init_network();
        stage_mark("network device");
        start_load(false);
    } else {
        log_warn("boot", "this image has no virtio drivers");
    }
    if (net_start && m) {
        int e = net_start(&m->net);
        if (e != 0) {
            log_warn("boot", "no network: %s", strerror(-e));
        }
    } else {
        log_info("boot", "this image has no network");
    }
    sched_relax(); // the network strand goes first: its question for an address takes a while
    stage_mark("network");
}

static void app_strand(void *arg)
{
    static char name[64];
    char *argv[] = {name, NULL};
    (void)arg;
    strncpy(name, app_name, sizeof name - 1);
    if (!app_load) {
        sched_wait_cpus();
    }
    stage_mark("application");
    int status = app_main(1, argv);
    log_error("boot", "the application has ended (%d)", status);
    pf_exit(status ? status : 1);
}

static int start(int argc, char **argv, char **envp)
{
    (void)argc;
    (void)argv;
    (void)envp;
    stage_mark("libc");
    sched_init();
    sched_start_cpus();
    stage_mark("cpus");
    const struct manifest *m = configure();
    sched_use_cpus(m ? m->cpus : 0);
    pf_power_button(core_button_pressed, NULL);
    start_load(false);
    if (!app_load) {
        announce();
        start_storage();
    }
    start_network(m);
    if (strand_create("app", app_strand, NULL, STRAND_NORMAL, 0, APP_STACK_BYTES, NULL) != 0) {
        pf_panic("not enough memory for the application's stack");
    }
    start_load(true);
    if (shell_start && m && m->shell) {
        shell_start();
    }
    sched_wait_cpus();
    core_wait_for_end();
}

static _Noreturn void on_main_stack(void)
{
    stage_mark("memory");
    posix_start(start, app_name);
}

_Noreturn void pf_main(void)
{
    sched_boot_core();
    watch_crash_init();
    mem_init();
    // A guarded stack of known size in place of the one that the machine booted on.
    size_t added, guard = 2;
    uint64_t base = vspace_alloc(&mem_space, (MAIN_STACK_PAGES + guard) * MEM_PAGE, MEM_PAGE);
    uint64_t low = base + guard * MEM_PAGE, high = low + MAIN_STACK_PAGES * MEM_PAGE;
    if (!base || !mem_account(MEM_KERNEL, MAIN_STACK_PAGES) ||
        region_back(low, MAIN_STACK_PAGES, PF_PROT_READ | PF_PROT_WRITE, &added) != 0) {
        pf_panic("not enough memory for the main stack");
    }
    strand_self()->stack_low = low;
    strand_self()->stack_high = high;
    __asm__ volatile("mov %0, %%rsp; xor %%ebp, %%ebp; call *%1" ::"r"(high), "r"(on_main_stack));
    __builtin_unreachable();
}
