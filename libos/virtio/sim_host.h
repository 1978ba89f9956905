// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// For tests on the host: the device's side of a virtqueue, and a fake transport. Physical addresses
// are pointers. Written from the device's chapters of the specification, apart from queue*.c.
#ifndef LIBOS_VIRTIO_SIM_HOST_H
#define LIBOS_VIRTIO_SIM_HOST_H

#include "libos/virtio/device.h"

#define SIM_SEGMENTS 64u

struct sim_queue {
    bool packed, event_index;
    uint16_t size;
    uint8_t *desc, *driver, *device;
    uint16_t avail, used; // split: free-running; packed: positions
    bool avail_wrap, used_wrap;
    unsigned signalled; // used chains since the driver's wish was last looked at
};
struct sim_chain {
    uint16_t id, descriptors;
    unsigned readable, writable;
    struct vq_segment segment[SIM_SEGMENTS];
};

void sim_attach(struct sim_queue *s, const struct vq *q);
// The next chain the driver made available; false if none. Aborts on a malformed one.
bool sim_pop(struct sim_queue *s, struct sim_chain *chain);
void sim_push(struct sim_queue *s, const struct sim_chain *chain, uint32_t written);
// Puts any used entry there, however wrong.
void sim_push_raw(struct sim_queue *s, uint32_t id, uint32_t written, unsigned descriptors);
// Whether the driver is to be interrupted for what was pushed since the last call.
bool sim_interrupt_due(struct sim_queue *s);
// The device's own wish: to be notified of the next chain, or not at all.
void sim_want_kick(struct sim_queue *s, bool wanted);

// A transport whose device is the test. `features` are offered; `refuse` clears FEATURES_OK.
struct sim_device {
    uint64_t features;
    uint64_t accepted;
    uint8_t status;
    uint8_t config[256];
    uint32_t generation, generation_step; // step: changes at each read
    unsigned queues;
    uint16_t queue_size;
    struct sim_queue queue[VIRTIO_MAX_QUEUES];
    bool enabled[VIRTIO_MAX_QUEUES];
    bool refuse, stuck_reset, no_interrupts;
    unsigned resets, notified[VIRTIO_MAX_QUEUES], isolated;
    void (*on_notify)(struct sim_device *s, unsigned index);
    void *context;
};
extern const struct virtio_ops sim_ops;
void sim_device_init(struct virtio_device *d, struct sim_device *s, uint32_t type);

// The fakes of fake_host.c: time moves by itself a little at each look and as far as a wait asks.
extern uint64_t fake_now_ns;
extern unsigned fake_log_errors, fake_cpus;
extern uint64_t fake_ram_bytes;
extern const char *fake_cmdline;
// Called for every wait of a strand (wake_wait, strand_sleep_ns): the device's turn.
extern void (*fake_idle)(void);

#endif
