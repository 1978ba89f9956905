// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The port over libos's ivshmem-doorbell driver.
#include "hypercall/guest/device.h"

#include "libos/ivshmem_doorbell.h"
#include "libos/sched.h"

static struct ivshmem_doorbell *device;

static uint64_t now_ns(void *ctx)
{
    (void)ctx;
    return sched_now_ns();
}

static uint32_t generation(void *ctx)
{
    (void)ctx;
    return sched_generation();
}

static void kick(void *ctx, unsigned vector)
{
    (void)ctx;
    ivshmem_doorbell_ring(device, HC_PEER_HOST, (uint16_t)vector);
}

static void wait_until(void *ctx, uint64_t deadline_ns)
{
    wake_wait(ctx, deadline_ns);
}

static void relax(void *ctx)
{
    (void)ctx;
    sched_relax();
}

int hc_device_open(struct wake *wake, struct hc_port *port, void **region, uint64_t *bytes,
                   const char **why)
{
    struct wake *const wakes[HC_VECTOR_COUNT] = {wake, wake};
    int rc = ivshmem_doorbell_open(0, wakes, HC_VECTOR_COUNT, &device, why);
    if (rc) {
        return rc;
    }
    *port = (struct hc_port){.ctx = wake,
                             .kick = kick,
                             .wait = wait_until,
                             .now_ns = now_ns,
                             .generation = generation,
                             .relax = relax};
    *region = device->memory;
    *bytes = device->bytes;
    return 0;
}

const char *hc_device_location(void)
{
    return device ? device->location : NULL;
}

uint64_t hc_device_interrupts(void)
{
    uint64_t n = 0;
    for (unsigned i = 0; device && i < device->vectors; i++) {
        n += __atomic_load_n(&device->interrupts[i], __ATOMIC_RELAXED);
    }
    return n;
}
