// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// virtio-net: frames in mergeable receive buffers, frames out copied into buffers of ours, checksum
// offload both ways, several queue pairs. One owner, the net strand; only on_queue and on_config
// run elsewhere, in interrupts, and they just pass the word on. Source: virtio 1.2, 5.1.
#include "libos/netdev.h"
#include "libos/virtio/device.h"

#include "libos/log.h"
#include "libos/mem.h"
#include "platform/boot.h"
#include "platform/smp.h"
#include "platform/time.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define F_CSUM       VIRTIO_F(0)
#define F_GUEST_CSUM VIRTIO_F(1)
#define F_MTU        VIRTIO_F(3)
#define F_MAC        VIRTIO_F(5)
#define F_MRG_RXBUF  VIRTIO_F(15)
#define F_STATUS     VIRTIO_F(16)
#define F_CTRL_VQ    VIRTIO_F(17)
#define F_MQ         VIRTIO_F(22)

#define CONFIG_MAC       0
#define CONFIG_STATUS    6  // le16, bit 0: link up
#define CONFIG_MAX_PAIRS 8  // le16
#define CONFIG_MTU       10 // le16

// virtio_net_hdr_v1, 5.1.6.
struct net_header {
    uint8_t flags, gso_type;
    uint16_t header_bytes, gso_bytes, checksum_start, checksum_offset, buffers;
};
_Static_assert(sizeof(struct net_header) == 12, "virtio 1.2, 5.1.6");
#define HEADER_NEEDS_CHECKSUM 1u
#define HEADER_DATA_VALID     2u

#define CONTROL_MQ       4u // class, 5.1.6.5.5
#define CONTROL_MQ_PAIRS 0u
#define CONTROL_WAIT_NS  (200ull * 1000 * 1000)

#define MAX_DEVICES   8u
#define MAX_PAIRS     4u
#define RX_BYTES      2048u
#define MAX_SEGMENTS  36u // of one received frame: 64 KB in buffers of 2 KB, and some
#define ETHERNET      14u
#define VLAN          4u
#define MIN_MTU       576u
#define MAX_MTU       9000u
#define DEFAULT_MTU   1500u
#define SMALL_MACHINE (256ull << 20)

struct net_pair {
    struct vq rx, tx;
    uint8_t *rx_memory, *tx_memory; // DMA; rx buffers of RX_BYTES, tx buffers of tx_bytes
    uint64_t rx_phys, tx_phys;
    uint16_t *tx_free; // stack of free tx buffers
    unsigned tx_free_count, tx_count;
    bool tx_wanted; // send() met a full ring: interrupt when there is room again
};

struct net {
    struct netdev dev; // first
    struct virtio_device *device;
    unsigned pair_count;
    struct net_pair pair[MAX_PAIRS];
    struct vq control; // used once, while starting
    size_t tx_bytes, max_frame;
    void (*work)(void *arg); // set after work_arg (release)
    void *work_arg;
};

static struct net *nets[MAX_DEVICES]; // filled by virtio_init, then constant
static size_t net_count;

size_t netdev_count(void)
{
    return net_count;
}
struct netdev *netdev_at(size_t i)
{
    return i < net_count ? &nets[i]->dev : NULL;
}

VIRTIO_IRQ static void net_interrupt(void *driver)
{
    struct net *n = driver;
    void (*work)(void *) = __atomic_load_n(&n->work, __ATOMIC_ACQUIRE);
    if (work) {
        work(n->work_arg);
    }
}

static void net_on_work(struct netdev *dev, void (*work)(void *arg), void *arg)
{
    struct net *n = dev->driver;
    __atomic_store_n(&n->work, NULL, __ATOMIC_RELEASE);
    n->work_arg = arg;
    __atomic_store_n(&n->work, work, __ATOMIC_RELEASE);
    if (work) {
        work(arg); // what came in before anyone asked
    }
}

static void out_of_service(struct net *n, const char *why)
{
    virtio_fail(n->device, why);
    n->dev.link_up = false;
}

static void read_link(struct net *n)
{
    uint16_t status = 1;
    if (virtio_has(n->device, F_STATUS)) {
        virtio_config_read(n->device, CONFIG_STATUS, &status, 1, 2);
    }
    n->dev.link_up = status & 1;
}

static void config_changed(struct net *n)
{
    bool was_up = n->dev.link_up;
    if (!virtio_healthy(n->device)) {
        n->dev.link_up = false;
        return;
    }
    read_link(n);
    if (n->dev.link_up != was_up) {
        log_info("net", "%s: link %s", n->dev.name, n->dev.link_up ? "up" : "down");
    }
}

// ---- sending -------------------------------------------------------------------------------

static void reap(struct net *n, struct net_pair *p)
{
    uint32_t written;
    const uint8_t *buffer;
    while ((buffer = vq_take(&p->tx, &written)) != NULL) {
        p->tx_free[p->tx_free_count++] = (uint16_t)((size_t)(buffer - p->tx_memory) / n->tx_bytes);
    }
    if (p->tx.broken) {
        out_of_service(n, p->tx.broken);
    }
}

// Frames of one flow stay on one pair, so that they stay in order: IPv4 addresses and ports.
static struct net_pair *pair_for(struct net *n, const struct netdev_segment *s)
{
    if (n->pair_count == 1 || s->bytes < 38) {
        return &n->pair[0];
    }
    uint32_t words[3];
    memcpy(words, (const uint8_t *)s->data + 26, sizeof(words));
    uint32_t hash = (words[0] ^ words[1] ^ words[2]) * 0x9e3779b1u;
    return &n->pair[(hash >> 16) % n->pair_count];
}

static int net_send(struct netdev *dev, const struct netdev_segment *segments, size_t count,
                    const struct netdev_checksum *checksum)
{
    struct net *n = dev->driver;
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        bytes += segments[i].bytes;
        if (segments[i].bytes > n->max_frame || bytes > n->max_frame) {
            return -EMSGSIZE;
        }
    }
    if (bytes < ETHERNET) {
        return -EMSGSIZE;
    }
    struct net_header header = {0};
    if (checksum && checksum->wanted) {
        if (!dev->tx_checksum || (size_t)checksum->start + checksum->offset + 2 > bytes) {
            return -EMSGSIZE;
        }
        header.flags = HEADER_NEEDS_CHECKSUM;
        header.checksum_start = checksum->start;
        header.checksum_offset = checksum->offset;
    }
    struct net_pair *p = pair_for(n, &segments[0]);
    if (p->tx_free_count == 0) {
        reap(n, p);
    }
    if (n->device->broken || p->tx_free_count == 0) {
        p->tx_wanted = true; // poll() arms the interrupt
        dev->tx_dropped++;
        return -EAGAIN;
    }
    uint16_t index = p->tx_free[--p->tx_free_count];
    uint8_t *buffer = p->tx_memory + index * n->tx_bytes;
    memcpy(buffer, &header, sizeof(header));
    uint8_t *to = buffer + sizeof(header);
    for (size_t i = 0; i < count; i++) {
        memcpy(to, segments[i].data, segments[i].bytes);
        to += segments[i].bytes;
    }
    struct vq_segment s = {p->tx_phys + index * n->tx_bytes, (uint32_t)(sizeof(header) + bytes)};
    int rc = vq_add(&p->tx, &s, 1, 0, buffer);
    if (rc) { // never for want of room: there are no more buffers than descriptors
        p->tx_free[p->tx_free_count++] = index;
        dev->tx_dropped++;
        return -EAGAIN;
    }
    virtio_kick(n->device, (unsigned)(p - n->pair) * 2 + 1, &p->tx);
    dev->tx_frames++;
    dev->tx_bytes += bytes;
    return 0;
}

// ---- receiving -----------------------------------------------------------------------------

static void give_buffer(struct net_pair *p, uint8_t *buffer)
{
    struct vq_segment s = {p->rx_phys + (uint64_t)(buffer - p->rx_memory), RX_BYTES};
    vq_add(&p->rx, &s, 0, 1, buffer); // fails only on a broken queue
}

// One frame; false if there is none. `buffers` come back to the ring whatever the frame is worth.
static bool receive_one(struct net *n, struct net_pair *p,
                        void (*receive)(void *ctx, const struct netdev_frame *frame), void *ctx)
{
    uint8_t *buffers[MAX_SEGMENTS];
    struct netdev_segment segments[MAX_SEGMENTS];
    uint32_t written;
    buffers[0] = vq_take(&p->rx, &written);
    if (!buffers[0]) {
        return false;
    }
    struct net_header header; // copied: the device could change it under us
    memcpy(&header, buffers[0], sizeof(header));
    unsigned want = virtio_has(n->device, F_MRG_RXBUF) ? header.buffers : 1, have = 1;
    bool good = written > sizeof(header) && want >= 1 && want <= MAX_SEGMENTS;
    if (good) {
        segments[0].data = buffers[0] + sizeof(header);
        segments[0].bytes = written - sizeof(header);
    }
    size_t bytes = good ? segments[0].bytes : 0;
    // 5.1.6.4: all buffers of a frame are used before the device shows any of them.
    while (good && have < want) {
        buffers[have] = vq_take(&p->rx, &written);
        if (!buffers[have]) {
            good = false;
            break;
        }
        segments[have] = (struct netdev_segment){buffers[have], written};
        bytes += written;
        have++;
    }
    if (good && bytes >= ETHERNET) {
        struct netdev_frame frame = {
            .segments = segments,
            .segment_count = have,
            .bytes = bytes,
            // NEEDS_CHECKSUM: the frame never crossed a wire; what is inside is intact.
            .checksum_ok =
                n->dev.rx_checksum && (header.flags & (HEADER_DATA_VALID | HEADER_NEEDS_CHECKSUM)),
        };
        n->dev.rx_frames++;
        n->dev.rx_bytes += bytes;
        receive(ctx, &frame);
    } else {
        n->dev.rx_dropped++;
    }
    for (unsigned i = 0; i < have; i++) {
        give_buffer(p, buffers[i]);
    }
    return true;
}

static size_t receive_all(struct net *n, size_t budget,
                          void (*receive)(void *ctx, const struct netdev_frame *frame), void *ctx)
{
    size_t handled = 0;
    for (unsigned i = 0; i < n->pair_count; i++) {
        struct net_pair *p = &n->pair[i];
        reap(n, p);
        while (handled < budget && receive_one(n, p, receive, ctx)) {
            handled++;
        }
        virtio_kick(n->device, i * 2, &p->rx);
        if (p->rx.broken) {
            out_of_service(n, p->rx.broken);
        }
    }
    return handled;
}

static bool arm(struct net *n)
{
    bool more = false;
    for (unsigned i = 0; i < n->pair_count; i++) {
        struct net_pair *p = &n->pair[i];
        more |= vq_interrupts_on(&p->rx);
        if (p->tx_wanted && p->tx_free_count == 0) {
            more |= vq_interrupts_on(&p->tx);
        } else {
            vq_interrupts_off(&p->tx);
            p->tx_wanted = false;
        }
    }
    return more;
}

static size_t net_poll(struct netdev *dev, size_t budget,
                       void (*receive)(void *ctx, const struct netdev_frame *frame), void *ctx)
{
    struct net *n = dev->driver;
    if (__atomic_exchange_n(&n->device->config_changed, 0, __ATOMIC_ACQUIRE)) {
        config_changed(n);
    }
    size_t handled = 0;
    for (unsigned i = 0; i < n->pair_count; i++) {
        vq_interrupts_off(&n->pair[i].rx);
    }
    while (handled < budget && !n->device->broken) {
        handled += receive_all(n, budget - handled, receive, ctx);
        // Below the budget: done, unless something came in while the interrupts were being armed.
        if (handled < budget && !arm(n)) {
            break;
        }
    }
    return handled;
}

// ---- starting ------------------------------------------------------------------------------

static unsigned number_option(const char *key, unsigned least, unsigned most, unsigned standard)
{
    char text[12];
    if (pf_cmdline_get(key, text, sizeof(text)) <= 0) {
        return standard;
    }
    char *end;
    unsigned long v = strtoul(text, &end, 10);
    if (*end || v < least || v > most) {
        log_warn("net", "%s=%s: not a number from %u to %u, using %u", key, text, least, most,
                 standard);
        return standard;
    }
    return (unsigned)v;
}

// The one command ever sent, so it is waited for on the spot. 5.1.6.5.
static int set_pairs(struct net *n, unsigned index, uint16_t pairs)
{
    struct vq *control = &n->control;
    struct command {
        uint8_t class, command;
        uint16_t pairs;
        uint8_t ack;
    } *c = mem_zone_alloc(MEM_DMA, sizeof(*c));
    int rc = c ? virtio_queue_start(n->device, index, 4, 0, control) : -ENOMEM;
    if (!rc) {
        rc = virtio_ready(n->device);
    }
    if (rc) {
        return rc;
    }
    *c = (struct command){CONTROL_MQ, CONTROL_MQ_PAIRS, pairs, 0xff};
    uint64_t phys = mem_phys(c);
    struct vq_segment s[] = {
        {phys, 2},
        {phys + offsetof(struct command, pairs), 2},
        {phys + offsetof(struct command, ack), 1},
    };
    vq_interrupts_off(control);
    rc = vq_add(control, s, 2, 1, c);
    virtio_kick(n->device, index, control);
    uint64_t deadline = pf_now_ns() + CONTROL_WAIT_NS;
    uint32_t written;
    while (!rc && !vq_take(control, &written)) {
        if (control->broken || pf_now_ns() > deadline) {
            rc = -ETIMEDOUT;
        }
        pf_pause();
    }
    // On a time-out the device may still write the answer, so neither block is ever given back.
    return rc ? rc : __atomic_load_n(&c->ack, __ATOMIC_ACQUIRE) == 0 ? 0 : -EIO;
}

static int start_pair(struct net *n, unsigned i, unsigned buffers)
{
    struct net_pair *p = &n->pair[i];
    unsigned tx = buffers / 2 < 8 ? 8 : buffers / 2;
    int rc = virtio_queue_start(n->device, i * 2, (uint16_t)buffers, 0, &p->rx);
    if (!rc) {
        rc = virtio_queue_start(n->device, i * 2 + 1, (uint16_t)tx, 0, &p->tx);
    }
    if (rc) {
        return rc;
    }
    p->tx_count = p->tx.config.size;
    p->rx_memory = mem_zone_alloc(MEM_DMA, (size_t)p->rx.config.size * RX_BYTES);
    p->tx_memory = mem_zone_alloc(MEM_DMA, p->tx_count * n->tx_bytes);
    p->tx_free = calloc(p->tx_count, sizeof(*p->tx_free));
    if (!p->rx_memory || !p->tx_memory || !p->tx_free) {
        return -ENOMEM;
    }
    p->rx_phys = mem_phys(p->rx_memory);
    p->tx_phys = mem_phys(p->tx_memory);
    for (unsigned k = 0; k < p->tx_count; k++) {
        p->tx_free[p->tx_free_count++] = (uint16_t)k;
    }
    for (unsigned k = 0; k < p->rx.config.size; k++) {
        give_buffer(p, p->rx_memory + (size_t)k * RX_BYTES);
    }
    vq_interrupts_off(&p->tx);
    return 0;
}

static int read_config(struct net *n, unsigned *max_pairs)
{
    struct virtio_device *d = n->device;
    uint16_t mtu = DEFAULT_MTU, pairs = 1;
    int rc = 0;
    if (virtio_has(d, F_MAC)) {
        rc = virtio_config_read(d, CONFIG_MAC, n->dev.mac, 6, 1);
    } else {
        random_bytes(n->dev.mac, 6);
        n->dev.mac[0] = (uint8_t)((n->dev.mac[0] & 0xfc) | 2); // local, unicast
    }
    if (!rc && virtio_has(d, F_MTU)) {
        rc = virtio_config_read(d, CONFIG_MTU, &mtu, 1, 2);
    }
    if (!rc && virtio_has(d, F_MQ)) {
        rc = virtio_config_read(d, CONFIG_MAX_PAIRS, &pairs, 1, 2);
    }
    if (rc) {
        virtio_fail(d, "configuration does not stay still");
        return rc;
    }
    if (mtu < MIN_MTU) {
        virtio_fail(d, "its MTU is too small to work with");
        return -EINVAL;
    }
    // One buffer has to hold a frame where they cannot be merged.
    unsigned most = virtio_has(d, F_MRG_RXBUF)
                        ? MAX_MTU
                        : (unsigned)(RX_BYTES - sizeof(struct net_header) - ETHERNET - VLAN);
    n->dev.mtu = (uint16_t)(mtu < most ? mtu : most);
    n->max_frame = (size_t)n->dev.mtu + ETHERNET + VLAN;
    n->tx_bytes = (n->max_frame + sizeof(struct net_header) + 63) & ~(size_t)63;
    *max_pairs = pairs ? pairs : 1;
    return 0;
}

static unsigned choose_pairs(struct net *n, unsigned max_pairs, uint64_t ram)
{
    bool can = virtio_has(n->device, F_MQ) && virtio_has(n->device, F_CTRL_VQ) &&
               2 * max_pairs < VIRTIO_MAX_QUEUES;
    unsigned cpus = pf_cpu_present();
    unsigned standard = ram < SMALL_MACHINE ? 1 : cpus;
    unsigned pairs =
        number_option("net.queues", 1, MAX_PAIRS, standard < MAX_PAIRS ? standard : MAX_PAIRS);
    return !can ? 1 : pairs < max_pairs ? pairs : max_pairs;
}

int virtio_net_probe(struct virtio_device *d)
{
    if (net_count == MAX_DEVICES) {
        virtio_fail(d, "too many network devices");
        return -ENOSPC;
    }
    int rc = virtio_start(
        d, F_CSUM | F_GUEST_CSUM | F_MTU | F_MAC | F_MRG_RXBUF | F_STATUS | F_CTRL_VQ | F_MQ, 0);
    if (rc) {
        return rc;
    }
    struct net *n = calloc(1, sizeof(*n));
    if (!n) {
        return -ENOMEM;
    }
    n->device = d;
    n->dev = (struct netdev){
        .name = d->name,
        .tx_checksum = virtio_has(d, F_CSUM),
        .rx_checksum = virtio_has(d, F_GUEST_CSUM),
        .driver = n,
        .send = net_send,
        .poll = net_poll,
        .on_work = net_on_work,
    };
    struct mem_stats memory;
    mem_get_stats(&memory);
    unsigned max_pairs;
    rc = read_config(n, &max_pairs);
    if (rc) {
        free(n);
        return rc;
    }
    n->pair_count = choose_pairs(n, max_pairs, memory.ram_bytes);
    n->dev.queue_pairs = n->pair_count;
    unsigned buffers =
        number_option("net.buffers", 8, 1024, memory.ram_bytes < SMALL_MACHINE ? 64 : 128);
    d->driver = n;
    d->on_queue = net_interrupt;
    d->on_config = net_interrupt;
    virtio_interrupts(d, n->pair_count * 2);
    for (unsigned i = 0; i < n->pair_count && !rc; i++) {
        rc = start_pair(n, i, buffers);
    }
    // The control queue has to stand before DRIVER_OK; set_pairs sees to both.
    if (!rc) {
        rc = n->pair_count > 1 ? set_pairs(n, 2 * max_pairs, (uint16_t)n->pair_count)
                               : virtio_ready(d);
    }
    if (rc) {
        return rc; // memory stays allocated: the device may know of it
    }
    for (unsigned i = 0; i < n->pair_count; i++) {
        vq_interrupts_on(&n->pair[i].rx);
        virtio_kick(d, i * 2, &n->pair[i].rx);
    }
    read_link(n);
    nets[net_count++] = n;
    const uint8_t *m = n->dev.mac;
    log_debug("net", "%s (%s): %02x:%02x:%02x:%02x:%02x:%02x, mtu %u, %u pair%s, %s ring, link %s",
              n->dev.name, d->location, m[0], m[1], m[2], m[3], m[4], m[5], n->dev.mtu,
              n->pair_count, n->pair_count == 1 ? "" : "s",
              virtio_has(d, VIRTIO_F_RING_PACKED) ? "packed" : "split",
              n->dev.link_up ? "up" : "down");
    return 0;
}

#ifdef TESSERA_TEST
// Fuzzers start the driver over and over: gives everything back, as no machine ever does.
void virtio_net_forget(void);
void virtio_net_forget(void)
{
    while (net_count) {
        struct net *n = nets[--net_count];
        for (unsigned i = 0; i < n->pair_count; i++) {
            struct net_pair *p = &n->pair[i];
            mem_zone_free(p->rx_memory);
            mem_zone_free(p->tx_memory);
            mem_zone_free(p->rx.config.ring);
            mem_zone_free(p->tx.config.ring);
            free(p->rx.config.slots);
            free(p->tx.config.slots);
            free(p->tx_free);
        }
        free(n);
    }
}
#endif
