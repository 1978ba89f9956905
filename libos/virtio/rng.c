// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Random bytes: a generator (drbg.h) fed by virtio-rng, RDSEED/RDRAND and timing. The device is
// asked at start and answers while the machine boots; the first caller waits for it, briefly. Each
// draw asks whether this machine is a saved state that runs again, and then all is seeded anew.
// Source: virtio 1.2, 5.4.
#include "libos/virtio/device.h"
#include "libos/virtio/drbg.h"

#include "libos/log.h"
#include "libos/mem.h"
#include "libos/sched.h"
#include "libos/spin.h"
#include "platform/boot.h"
#include "platform/cpu.h"
#include "platform/generation.h"
#include "platform/time.h"

#include <errno.h>
#include <string.h>

#define SEED_BYTES     64u
#define FIRST_WAIT_NS  (100ull * 1000 * 1000)
#define LOOK_NS        (50ull * 1000)
#define RESEED_NS      (60ull * 1000 * 1000 * 1000)
#define RESEED_BYTES   (1ull << 20)
#define RDRAND_TRIES   16
#define JITTER_SAMPLES 64u

static struct {
    uint32_t lock; // protects everything below
    struct drbg generator;
    bool started, seeded, warned;
    bool gave_up; // the device was waited for in vain: not again
    uint64_t seeded_at, since_seed;
    struct virtio_device *device; // NULL: none, or out of service
    struct vq queue;
    uint8_t *buffer; // SEED_BYTES of DMA memory
    uint64_t buffer_phys;
    bool asked; // the buffer is the device's
    bool stale; // and its answer may belong to a state that runs elsewhere, too
    uint32_t generation;
} rng;

static bool rdseed64(uint64_t *out)
{
    bool ok;
    __asm__ volatile("rdseed %0" : "=r"(*out), "=@ccc"(ok)::"cc");
    return ok;
}
static bool rdrand64(uint64_t *out)
{
    bool ok;
    __asm__ volatile("rdrand %0" : "=r"(*out), "=@ccc"(ok)::"cc");
    return ok;
}

// 256 bits of the CPU's source. False if there is none, it fails, or it repeats itself (some CPUs
// return all-ones after a suspend).
static bool mix_cpu(void)
{
    const struct pf_cpu_features *cpu = pf_cpu_features();
    if (!cpu->rdseed && !cpu->rdrand) {
        return false;
    }
    uint64_t words[4];
    for (unsigned i = 0; i < 4; i++) {
        bool ok = false;
        for (int tries = 0; !ok && tries < RDRAND_TRIES; tries++) {
            ok = cpu->rdseed && rdseed64(&words[i]);
            if (!ok && cpu->rdrand) {
                ok = rdrand64(&words[i]);
            }
        }
        if (!ok || (i > 0 && words[i] == words[i - 1])) {
            return false;
        }
    }
    drbg_mix(&rng.generator, words, sizeof(words));
    drbg_wipe(words, sizeof(words));
    return true;
}

// Timing of memory and clock reads. Counted as no entropy at all, mixed in because it cannot hurt.
static void mix_timing(void)
{
    uint64_t samples[JITTER_SAMPLES + 3];
    for (unsigned i = 0; i < JITTER_SAMPLES; i++) {
        samples[i] = pf_rdtsc() ^ (pf_now_ns() << 20);
    }
    samples[JITTER_SAMPLES] = pf_wall_ns();
    samples[JITTER_SAMPLES + 1] = pf_boot_info()->image_virt;
    samples[JITTER_SAMPLES + 2] = (uint64_t)(uintptr_t)samples;
    drbg_mix(&rng.generator, samples, sizeof(samples));
}

static void seeded(void)
{
    rng.seeded = true;
    rng.seeded_at = pf_now_ns();
    rng.since_seed = 0;
}

static void ask_device(void)
{
    struct vq_segment s = {rng.buffer_phys, SEED_BYTES};
    if (rng.device && !rng.asked && vq_add(&rng.queue, &s, 0, 1, &rng) == 0) {
        rng.asked = true;
        virtio_kick(rng.device, 0, &rng.queue);
    }
}

// Takes the device's answer if there is one. Under the lock.
static void collect(void)
{
    if (!rng.device || !rng.asked) {
        return;
    }
    uint32_t bytes;
    if (!vq_take(&rng.queue, &bytes)) {
        if (rng.queue.broken) {
            struct virtio_device *d = rng.device;
            rng.device = NULL;
            virtio_fail(d, rng.queue.broken);
        }
        return;
    }
    rng.asked = false;
    drbg_mix(&rng.generator, rng.buffer, bytes); // 5.4.6.2: as many as it liked, at least one
    drbg_wipe(rng.buffer, SEED_BYTES);
    if (bytes >= 32 && !rng.stale) {
        seeded();
    } else {
        rng.stale = false;
        ask_device();
    }
}

static void start(void)
{
    if (!rng.started) {
        rng.started = true;
        mix_timing();
        if (mix_cpu()) {
            seeded();
        }
    }
}

// A saved state may run more than once: from here on this run's key is its own, and secret as soon
// as a source has answered. Under the lock.
static void look_for_restore(void)
{
    uint32_t now = pf_generation_look();
    if (now == rng.generation) {
        return;
    }
    uint8_t id[PF_GENERATION_BYTES];
    rng.generation = now;
    drbg_mix(&rng.generator, id, pf_generation_id(id));
    mix_timing();
    rng.seeded = rng.gave_up = false;
    rng.stale = rng.asked;
    ask_device();
    if (mix_cpu()) {
        seeded();
    }
}

// Sees to it that the generator has been seeded, waiting for the device if it must.
static void first_seed(void)
{
    uint64_t deadline = pf_now_ns() + FIRST_WAIT_NS;
    for (;;) {
        spin_lock(&rng.lock);
        start();
        collect();
        bool wait = !rng.seeded && rng.device && rng.asked && !rng.gave_up;
        if (wait && pf_now_ns() >= deadline) {
            rng.gave_up = true;
            wait = false;
        }
        bool warn = !wait && !rng.seeded && !rng.warned;
        rng.warned |= warn;
        spin_unlock(&rng.lock);
        if (warn) {
            log_warn("rng", "no good random source yet (no virtio-rng, RDSEED or RDRAND): random "
                            "numbers are guessable; add -device virtio-rng-pci");
        }
        if (!wait) {
            return;
        }
        strand_sleep_ns(LOOK_NS);
    }
}

void random_bytes(void *out, size_t bytes)
{
    spin_lock(&rng.lock);
    look_for_restore();
    bool ready = rng.seeded;
    spin_unlock(&rng.lock);
    if (!ready) {
        first_seed();
    }
    uint8_t key[32];
    spin_lock(&rng.lock);
    collect();
    if (rng.since_seed > RESEED_BYTES || pf_now_ns() - rng.seeded_at > RESEED_NS) {
        mix_timing();
        ask_device();
        if (mix_cpu()) {
            seeded();
        } else {
            rng.seeded_at = pf_now_ns(); // next try in a while; the old key stays good
            rng.since_seed = 0;
        }
    }
    rng.since_seed += bytes;
    drbg_next(&rng.generator, key);
    spin_unlock(&rng.lock);
    drbg_expand(key, out, bytes);
}

bool random_is_seeded(void)
{
    return __atomic_load_n(&rng.seeded, __ATOMIC_RELAXED);
}

int virtio_rng_probe(struct virtio_device *d)
{
    if (rng.device) {
        log_info("rng", "%s (%s): one source is enough, left alone", d->name, d->location);
        return 0;
    }
    int rc = virtio_start(d, 0, 0);
    if (rc) {
        return rc;
    }
    rc = virtio_queue_start(d, 0, 2, 0, &rng.queue); // no interrupts: callers look
    if (rc) {
        return rc;
    }
    vq_interrupts_off(&rng.queue);
    rng.buffer = mem_zone_alloc(MEM_DMA, SEED_BYTES);
    if (!rng.buffer) {
        return -ENOMEM;
    }
    rng.buffer_phys = mem_phys(rng.buffer);
    rc = virtio_ready(d);
    if (rc) {
        return rc;
    }
    spin_lock(&rng.lock);
    rng.device = d;
    ask_device();
    spin_unlock(&rng.lock);
    return 0;
}
