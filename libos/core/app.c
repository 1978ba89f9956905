// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// How a machine ends in order: the power button, `shutdown` or `reboot` wake the main strand, which
// runs what the application has registered, for at most ten seconds, and turns the machine off.
#include "libos/core/core.h"

#include "libos/app.h"
#include "libos/log.h"
#include "libos/sched.h"
#include "platform/boot.h"
#include "platform/power.h"
#include "platform/serial.h"
#include "platform/time.h"

#define DRAIN_NS    10000000000ull
#define DRAINS      8
#define DRAIN_STACK 65536

static struct wake ending;     // set once the machine shall end
static struct wake drained;    // set when every drain has returned
static uint32_t reboot_wanted; // atomic
static uint32_t drain_count;   // atomic; entries below it are complete but for a moment
static struct {
    void (*drain)(void *arg);
    void *arg;
} drains[DRAINS];

int app_option(const char *key, char *buf, size_t size)
{
    return pf_cmdline_get(key, buf, size);
}

void app_on_shutdown(void (*drain)(void *arg), void *arg)
{
    uint32_t i = __atomic_fetch_add(&drain_count, 1, __ATOMIC_SEQ_CST);
    PF_ASSERT(i < DRAINS);
    drains[i].arg = arg;
    __atomic_store_n(&drains[i].drain, drain, __ATOMIC_RELEASE);
}

static void run_drains(void *arg)
{
    (void)arg;
    for (uint32_t i = __atomic_load_n(&drain_count, __ATOMIC_SEQ_CST); i-- > 0;) {
        void (*drain)(void *) = __atomic_load_n(&drains[i].drain, __ATOMIC_ACQUIRE);
        if (drain) {
            drain(drains[i].arg);
        }
    }
    wake_set(&drained);
}

void core_button_pressed(void *arg)
{
    (void)arg;
    wake_set(&ending);
}

_Noreturn void core_wait_for_end(void)
{
    strand_doing("waiting for shutdown");
    wake_wait(&ending, 0);
    strand_set_priority(STRAND_CRITICAL);
    bool reboot = __atomic_load_n(&reboot_wanted, __ATOMIC_RELAXED) != 0;
    log_info("power", reboot ? "restarting" : "shutting down");
    uint64_t deadline = pf_now_ns() + DRAIN_NS;
    if (strand_create("drain", run_drains, NULL, STRAND_HIGH, 0, DRAIN_STACK, NULL) != 0) {
        log_error("power", "not enough memory to drain; ending at once");
    } else if (!wake_wait(&drained, deadline)) {
        log_warn("power", "the application did not drain within %llu s; ending",
                 DRAIN_NS / 1000000000ull);
    }
    log_info("power", reboot ? "restart" : "power off");
    pf_serial_flush();
    if (reboot) {
        pf_reboot();
    }
    pf_power_off();
}

static _Noreturn void end(void)
{
    wake_set(&ending);
    for (;;) {
        strand_doing("the machine is ending");
        strand_sleep_ns(1000000000u);
    }
}

_Noreturn void app_shutdown(void)
{
    end();
}

_Noreturn void app_reboot(void)
{
    __atomic_store_n(&reboot_wanted, 1, __ATOMIC_RELAXED);
    end();
}
