// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The drivers against the real devices of a guest; what each check asks is in libos/virtio.h.
#include "libos/blkdev.h"
#include "libos/log.h"
#include "libos/netdev.h"
#include "libos/sched.h"
#include "libos/virtio.h"
#include "platform/time.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SECOND 1000000000ull

static const char *skipped(const char *why)
{
    log_info("selftest", "skipped: %s", why);
    return NULL;
}

static const char *check_devices(void)
{
    struct virtio_info info;
    for (size_t i = 0; virtio_at(i, &info) == 0; i++) {
        log_info("selftest", "%s: %s, %s ring, %u vectors%s, %llu interrupts, features %llx",
                 info.name, info.location, info.packed ? "packed" : "split", info.vectors,
                 info.polled ? " (polled)" : "", (unsigned long long)info.interrupts,
                 (unsigned long long)info.features);
        if (info.broken) {
            return info.broken;
        }
    }
    return virtio_count() ? NULL : skipped("no virtio device");
}

// ---- blk -----------------------------------------------------------------------------------

#define WRITERS     4u
#define ROUNDS      24u
#define LARGEST     (192u << 10)
#define AREA_BLOCKS 1u // kept: the first block, with the mark

struct writer {
    struct blkdev *disk;
    unsigned number;
    const char *error;
    struct wake done;
};

static void fill(uint8_t *data, size_t bytes, uint64_t seed)
{
    for (size_t i = 0; i + 8 <= bytes; i += 8) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        memcpy(data + i, &seed, 8);
    }
}

// Each writer has its own quarter of the disk; sizes and places vary, buffers are misaligned.
static const char *write_and_read_back(const struct writer *w)
{
    struct blkdev *d = w->disk;
    uint64_t blocks = d->bytes / d->block_bytes - AREA_BLOCKS;
    uint64_t mine = blocks / WRITERS, first = AREA_BLOCKS + w->number * mine;
    uint32_t most = (uint32_t)(LARGEST / d->block_bytes);
    if (mine == 0) {
        return skipped("disk too small");
    }
    most = mine < most ? (uint32_t)mine : most;
    uint8_t *out = malloc(LARGEST + 64), *in = malloc(LARGEST + 64);
    const char *error = out && in ? NULL : "no memory";
    for (unsigned i = 0; i < ROUNDS && !error; i++) {
        uint8_t *from = out + (i * 8) % 64, *to = in + (i * 24) % 64;
        uint32_t count = 1 + (i * 37) % most;
        uint64_t at = first + (i * 1013ull) % (mine - count + 1);
        size_t bytes = (size_t)count * d->block_bytes;
        fill(from, bytes, w->number * 1000 + i);
        memset(to, 0, bytes);
        if (blkdev_write(d, at * d->block_bytes, from, bytes) != 0) {
            error = "write failed";
        } else if (i % 8 == 7 && blkdev_flush(d) != 0) {
            error = "flush failed";
        } else if (blkdev_read(d, at * d->block_bytes, to, bytes) != 0) {
            error = "read failed";
        } else if (memcmp(from, to, bytes) != 0) {
            error = "what was read is not what was written";
        }
    }
    free(out);
    free(in);
    return error;
}

static void writer_strand(void *arg)
{
    struct writer *w = arg;
    w->error = write_and_read_back(w);
    wake_set(&w->done);
}

static const char *several_writers(struct blkdev *d)
{
    static struct writer writers[WRITERS];
    const char *error = NULL;
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.disk = d, .number = i};
        if (strand_create("blk-writer", writer_strand, &writers[i], STRAND_NORMAL, STRAND_ANY_CPU,
                          0, NULL) != 0) {
            return "no memory for a strand";
        }
    }
    uint64_t deadline = pf_now_ns() + 60 * SECOND;
    for (unsigned i = 0; i < WRITERS; i++) {
        if (!wake_wait(&writers[i].done, deadline)) {
            return "a writer never came to its end";
        }
        error = writers[i].error ? writers[i].error : error;
    }
    return error;
}

static const char *check_disk(struct blkdev *d)
{
    uint8_t *block = malloc(d->block_bytes);
    const char *error = NULL;
    if (!block) {
        return "no memory";
    }
    if (d->bytes == 0) {
        error = blkdev_read(d, 0, block, d->block_bytes) == -EINVAL ? NULL : "read of nothing";
    } else if (blkdev_read(d, 0, block, d->block_bytes) != 0) {
        error = "first block cannot be read";
    } else if (blkdev_read(d, d->bytes - d->block_bytes, block, d->block_bytes) != 0) {
        error = "last block cannot be read";
    } else if (blkdev_read(d, d->bytes, block, d->block_bytes) != -EINVAL ||
               blkdev_read(d, UINT64_MAX - d->block_bytes + 1, block, d->block_bytes) != -EINVAL ||
               blkdev_read(d, 1, block, d->block_bytes) != -EINVAL) {
        error = "a read out of bounds was not refused";
    } else if (d->read_only && blkdev_write(d, 0, block, d->block_bytes) != -EROFS) {
        error = "a write to a read-only disk was not refused";
    } else if (!d->read_only && blkdev_read(d, 0, block, d->block_bytes) == 0 &&
               memcmp(block, VIRTIO_SCRATCH, 16) == 0) {
        uint64_t start = pf_now_ns();
        error = several_writers(d);
        log_info("selftest", "%s: %llu reads, %llu writes, %llu flushes in %llu us", d->name,
                 (unsigned long long)d->reads, (unsigned long long)d->writes,
                 (unsigned long long)d->flushes, (unsigned long long)(pf_now_ns() - start) / 1000);
    }
    free(block);
    return error;
}

static const char *check_blk(void)
{
    const char *error = blkdev_count() ? NULL : skipped("no disk");
    for (size_t i = 0; i < blkdev_count() && !error; i++) {
        error = check_disk(blkdev_at(i));
    }
    return error;
}

// ---- rng, pmem -----------------------------------------------------------------------------

static const char *check_rng(void)
{
    uint64_t deadline = pf_now_ns() + SECOND;
    uint8_t seen[64][16];
    do {
        random_bytes(seen[0], 16);
    } while (!random_is_seeded() && pf_now_ns() < deadline);
    for (unsigned i = 0; i < 64; i++) {
        random_bytes(seen[i], 16);
        for (unsigned k = 0; k < i; k++) {
            if (memcmp(seen[i], seen[k], 16) == 0) {
                return "two outputs are alike";
            }
        }
    }
    return random_is_seeded() ? NULL : skipped("no good random source on this machine");
}

static const char *check_pmem(void)
{
    const char *error = pmem_count() ? NULL : skipped("no pmem");
    for (size_t i = 0; i < pmem_count() && !error; i++) {
        const struct pmem_region *r = pmem_at(i);
        const uint8_t *data = r->data;
        if (memcmp(data, VIRTIO_SCRATCH, 16) != 0) {
            continue;
        }
        for (uint64_t at = 4096; at < r->bytes && !error; at += 4096) {
            uint64_t word;
            memcpy(&word, data + at, 8);
            error = word == at ? NULL : "a page does not hold its offset";
        }
    }
    return error;
}

// ---- net: ARP and ICMP echo by hand, RFC 826 and 792 -----------------------------------------

#define ECHOES    400u
#define MIN_FRAME 42u
#define IP        14u
#define ICMP      34u
#define PAYLOAD   42u
#define MAX_FRAME 4096u

static const uint8_t our_ip[4] = {10, 0, 2, 15}, router_ip[4] = {10, 0, 2, 2};

struct net_check {
    struct wake work;
    uint8_t router[6];
    bool have_router, have_echo, wrong;
    uint16_t expected; // sequence number
    size_t bytes;
};

static void put16(uint8_t *at, unsigned v)
{
    at[0] = (uint8_t)(v >> 8);
    at[1] = (uint8_t)v;
}

static uint16_t internet_sum(const uint8_t *data, size_t bytes)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < bytes; i++) {
        sum += (uint32_t)data[i] << (i % 2 ? 0 : 8);
    }
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t) ~((sum & 0xffff) + (sum >> 16));
}

static void on_frame(void *ctx, const struct netdev_frame *frame)
{
    struct net_check *c = ctx;
    static uint8_t f[MAX_FRAME + 64];
    size_t n = 0;
    for (size_t i = 0; i < frame->segment_count && n + frame->segments[i].bytes <= sizeof(f); i++) {
        memcpy(f + n, frame->segments[i].data, frame->segments[i].bytes);
        n += frame->segments[i].bytes;
    }
    if (n >= MIN_FRAME && f[12] == 8 && f[13] == 6 && f[21] == 2 && !memcmp(f + 28, router_ip, 4)) {
        memcpy(c->router, f + 22, 6);
        c->have_router = true;
    } else if (n >= MIN_FRAME && f[12] == 8 && f[13] == 0 && f[23] == 1 && f[ICMP] == 0) {
        unsigned sequence = (unsigned)(f[40] << 8 | f[41]);
        if (sequence == c->expected) {
            c->have_echo = true;
            for (size_t i = PAYLOAD; i < c->bytes; i++) {
                c->wrong |= f[i] != (uint8_t)(i * 31 + sequence);
            }
            c->wrong |= n < c->bytes;
        }
    }
}

static void net_work(void *arg)
{
    wake_set(arg);
}

static bool wait_for(struct netdev *d, struct net_check *c, const bool *what)
{
    uint64_t deadline = pf_now_ns() + 2 * SECOND;
    while (pf_now_ns() < deadline) {
        while (d->poll(d, 16, on_frame, c) == 16) {
        }
        if (*what) {
            return true;
        }
        wake_wait(&c->work, deadline);
    }
    return false;
}

static int send_split(struct netdev *d, const uint8_t *frame, size_t bytes)
{
    struct netdev_segment parts[2] = {{frame, 20}, {frame + 20, bytes - 20}};
    int rc = d->send(d, parts, 2, NULL);
    for (int i = 0; rc == -EAGAIN && i < 1000; i++) {
        strand_sleep_ns(1000000);
        rc = d->send(d, parts, 2, NULL);
    }
    return rc;
}

static const char *echo(struct netdev *d, struct net_check *c, uint16_t sequence, size_t bytes)
{
    static uint8_t f[MAX_FRAME];
    memset(f, 0, PAYLOAD);
    memcpy(f, c->router, 6);
    memcpy(f + 6, d->mac, 6);
    f[12] = 8;
    f[IP] = 0x45;
    put16(f + IP + 2, (unsigned)(bytes - IP));
    put16(f + IP + 4, sequence);
    f[IP + 8] = 64;
    f[IP + 9] = 1;
    memcpy(f + IP + 12, our_ip, 4);
    memcpy(f + IP + 16, router_ip, 4);
    put16(f + IP + 10, internet_sum(f + IP, 20));
    f[ICMP] = 8;
    put16(f + ICMP + 4, 0x7e55);
    put16(f + ICMP + 6, sequence);
    for (size_t i = PAYLOAD; i < bytes; i++) {
        f[i] = (uint8_t)(i * 31 + sequence);
    }
    put16(f + ICMP + 2, internet_sum(f + ICMP, bytes - ICMP));
    c->expected = sequence;
    c->bytes = bytes;
    c->have_echo = false;
    if (send_split(d, f, bytes) != 0) {
        return "send failed";
    }
    return !wait_for(d, c, &c->have_echo) ? "an echo never came"
           : c->wrong                     ? "an echo came back changed"
                                          : NULL;
}

static const char *check_interface(struct netdev *d)
{
    static struct net_check c;
    memset(&c, 0, sizeof(c));
    d->on_work(d, net_work, &c.work);
    uint8_t arp[60] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    memcpy(arp + 6, d->mac, 6);
    memcpy(arp + 12, "\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01", 10);
    memcpy(arp + 22, d->mac, 6);
    memcpy(arp + 28, our_ip, 4);
    memcpy(arp + 38, router_ip, 4);
    if (send_split(d, arp, sizeof(arp)) != 0) {
        return "send failed";
    }
    if (!wait_for(d, &c, &c.have_router)) {
        d->on_work(d, NULL, NULL);
        return skipped("nobody answers at 10.0.2.2");
    }
    const char *error = NULL;
    uint64_t start = pf_now_ns();
    unsigned longest = d->mtu + 14u < MAX_FRAME ? d->mtu + 14u : MAX_FRAME;
    for (unsigned i = 1; i <= ECHOES && !error; i++) {
        error = echo(d, &c, (uint16_t)i, 60 + (i * 53) % (longest - 59));
    }
    d->on_work(d, NULL, NULL);
    log_info("selftest", "%s: %u echoes in %llu us, %llu received, %llu sent", d->name, ECHOES,
             (unsigned long long)(pf_now_ns() - start) / 1000, (unsigned long long)d->rx_frames,
             (unsigned long long)d->tx_frames);
    return error;
}

static const char *check_net(void)
{
    const char *error = netdev_count() ? NULL : skipped("no network device");
    for (size_t i = 0; i < netdev_count() && !error; i++) {
        error = check_interface(netdev_at(i));
    }
    return error;
}

const struct virtio_check virtio_checks[] = {
    {"virtio-blk", check_blk}, {"virtio-rng", check_rng},         {"virtio-pmem", check_pmem},
    {"virtio-net", check_net}, {"virtio-devices", check_devices}, {NULL, NULL},
};
