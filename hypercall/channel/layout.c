// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The layout of a channel's block: made, and read by who attaches. hypercall/abi/channel.h.
#include "hypercall/channel/internal.h"

#include <stdio.h>
#include <string.h>

int channel_tensor_bytes(uint32_t type, uint32_t dims, const uint64_t *shape, uint64_t *bytes)
{
    if (type >= TN_TYPE_LIMIT || tn_type_info(type)->name == NULL || dims == 0 ||
        dims > HC_CHANNEL_DIMS) {
        return -EINVAL;
    }
    uint64_t total = tn_row_bytes(type, shape[0]);
    if (total == 0) {
        return -EINVAL;
    }
    for (uint32_t i = 1; i < HC_CHANNEL_DIMS; i++) {
        if (shape[i] == 0 || (i >= dims && shape[i] != 1) ||
            __builtin_mul_overflow(total, shape[i], &total)) {
            return -EINVAL;
        }
    }
    *bytes = total;
    return 0;
}

static const char *format_fault(const struct channel_format *f)
{
    if (f->kind < HC_CHANNEL_PIPE || f->kind > HC_CHANNEL_RING) {
        return "no such kind of channel";
    }
    bool two = f->kind == HC_CHANNEL_BIDIRECTIONAL || f->kind == HC_CHANNEL_RING;
    if (f->ends < 2 || f->ends > (two ? 2 : HC_CHANNEL_MAX_ENDS)) {
        return two ? "this kind has two ends" : "a channel has 2 to 9 ends";
    }
    if (f->slots < HC_CHANNEL_MIN_SLOTS || f->slots > HC_CHANNEL_MAX_SLOTS) {
        return "a channel has 2 to 4096 slots";
    }
    if (f->slot_bytes == 0 || f->slot_bytes % HC_CHANNEL_SLOT_ALIGN) {
        return "a slot is a multiple of 128 bytes";
    }
    return NULL;
}

// Of a format without fault; UINT64_MAX when it fits nowhere.
uint64_t channel_bytes_needed(const struct channel_format *f)
{
    uint64_t slots = (uint64_t)f->slots * hc_channel_pool_count(f->kind), bytes;
    if (__builtin_mul_overflow(slots, f->slot_bytes, &bytes) ||
        __builtin_add_overflow(bytes, hc_channel_slots_offset(f->kind, f->ends, f->slots),
                               &bytes)) {
        return UINT64_MAX;
    }
    return bytes;
}

static uint32_t slots_that_fit(struct channel_format f, uint64_t bytes)
{
    uint32_t low = 0, high = HC_CHANNEL_MAX_SLOTS;
    while (low < high) {
        f.slots = low + (high - low + 1) / 2;
        if (channel_bytes_needed(&f) <= bytes) {
            low = f.slots;
        } else {
            high = f.slots - 1;
        }
    }
    return low;
}

int channel_read_header(const void *block, size_t bytes, struct channel_format *format, char *error,
                        size_t error_bytes)
{
    struct hc_channel_header h;
    if (bytes < HC_CHANNEL_LANES || (uintptr_t)block % HC_CHANNEL_PAGE) {
        snprintf(error, error_bytes, "a channel's block is whole pages");
        return -EINVAL;
    }
    h.magic = load64((const uint64_t *)block);
    if (h.magic != HC_CHANNEL_MAGIC) {
        snprintf(error, error_bytes, "no channel lies there%s",
                 h.magic == 0 ? " yet" : ": its first bytes are not the magic number");
        return -ENODEV;
    }
    memcpy(&h, block, sizeof(h));
    *format = (struct channel_format){h.kind, h.ends, h.slots, h.slot_bytes};
    if (h.abi != HC_CHANNEL_ABI) {
        snprintf(error, error_bytes, "the channel has ABI version %u, this program knows %u", h.abi,
                 HC_CHANNEL_ABI);
        return -EPROTO;
    }
    const char *fault = format_fault(format);
    if (fault == NULL && (h.block_bytes > bytes || channel_bytes_needed(format) > h.block_bytes)) {
        fault = "it does not fit its block";
    }
    if (fault) {
        snprintf(error, error_bytes, "the channel's header is wrong: %s", fault);
        return -EPROTO;
    }
    return 0;
}

int channel_create(void *block, size_t bytes, const struct channel_format *wanted, char *error,
                   size_t error_bytes)
{
    struct channel_format f = *wanted, there;
    f.ends = f.ends ? f.ends : 2;
    if (f.slot_bytes > UINT64_MAX / 2) {
        f.slot_bytes = 0;
    }
    f.slot_bytes =
        (f.slot_bytes + HC_CHANNEL_SLOT_ALIGN - 1) / HC_CHANNEL_SLOT_ALIGN * HC_CHANNEL_SLOT_ALIGN;
    if (bytes < HC_CHANNEL_LANES || (uintptr_t)block % HC_CHANNEL_PAGE) {
        snprintf(error, error_bytes, "a channel's block is whole pages");
        return -EINVAL;
    }
    bool fit = f.slots == 0;
    f.slots = fit ? HC_CHANNEL_MIN_SLOTS : f.slots;
    const char *fault = format_fault(&f);
    if (fault == NULL && fit) {
        f.slots = slots_that_fit(f, bytes);
    }
    if (fault == NULL && (f.slots < HC_CHANNEL_MIN_SLOTS || channel_bytes_needed(&f) > bytes)) {
        fault = "the block is too small for the slots";
    }
    if (fault) {
        snprintf(error, error_bytes, "%s", fault);
        return -EINVAL;
    }
    int e = channel_read_header(block, bytes, &there, error, error_bytes);
    if (e == 0 && there.kind == f.kind && there.ends == f.ends && there.slots == f.slots &&
        there.slot_bytes == f.slot_bytes) {
        return 0;
    }
    if (e != -ENODEV || load64(block) != 0) {
        snprintf(error, error_bytes, "something else lies in the block already");
        return -EEXIST;
    }
    struct hc_channel_header h = {.abi = HC_CHANNEL_ABI,
                                  .kind = f.kind,
                                  .ends = f.ends,
                                  .slots = f.slots,
                                  .slot_bytes = f.slot_bytes,
                                  .block_bytes = bytes};
    memset(block, 0, hc_channel_slots_offset(f.kind, f.ends, f.slots));
    memcpy(block, &h, sizeof(h));
    store64(block, HC_CHANNEL_MAGIC);
    return 0;
}
