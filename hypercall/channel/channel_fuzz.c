// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// All ends of a channel run here, and between their operations the fuzzer writes whatever it likes
// anywhere into the block. What must hold: tensors lie whole in a slot, slots are counted right,
// no wait goes on for longer than it was given, and nothing outside the block is touched (the
// sanitizer watches).
// Links: hypercall/channel/layout.c hypercall/channel/attach.c hypercall/channel/session.c
// Links: hypercall/channel/hub.c hypercall/channel/send.c hypercall/channel/receive.c
// Links: tensor/quant/types.c
#include "hypercall/channel/testing.h"

#include <stdio.h>

#define OWNED   8u
#define STEP_NS 20000000ull

struct party {
    struct channel *c;
    struct channel_tensor owned[OWNED];
    unsigned count;
};

static struct party parties[HC_CHANNEL_MAX_ENDS];
static uint8_t *block;
static size_t bytes;

#define must(so)                                                                                   \
    ((so) ? (void)0 : (fprintf(stderr, "line %d: not so: %s\n", __LINE__, #so), abort()))

static void check_party(const struct party *p)
{
    const struct channel *c = p->c;
    uint32_t states[5] = {0}, slots = c->format.slots, arrived[5] = {0};
    for (uint32_t i = 0; i < slots; i++) {
        must(c->out_slots[i].state <= SLOT_PASSED && c->in_slots[i].state <= SLOT_PASSED);
        must((c->out_slots[i].state == SLOT_SENT) == (c->out_slots[i].lanes != 0));
        states[c->out_slots[i].state]++;
        arrived[c->in_slots[i].state]++;
    }
    must(states[SLOT_LENT] == c->lent && states[SLOT_SENT] == c->sent);
    must(arrived[SLOT_HELD] == c->held && arrived[SLOT_LENT] == 0);
    must(!c->passes || arrived[SLOT_PASSED] == c->sent);
    if (c->out_count && !c->passes) {
        must(c->free_count + c->lent + c->sent == slots);
    }
}

static void check_tensor(const struct channel *c, const struct channel_tensor *t, bool received)
{
    uint64_t first = hc_channel_slots_offset(c->format.kind, c->format.ends, c->format.slots);
    uint64_t offset = (uint64_t)((uint8_t *)t->data - block);
    must(t->room == c->format.slot_bytes && t->bytes <= t->room);
    must(offset >= first && offset + t->room <= bytes);
    must((offset - first) % c->format.slot_bytes == 0);
    volatile uint8_t sum = 0;
    for (uint64_t i = 0; i < t->bytes; i++) {
        sum = (uint8_t)(sum + ((uint8_t *)t->data)[i]);
    }
    memset(t->data, sum, t->room);
    if (received) {
        uint64_t again;
        must(channel_tensor_bytes(t->type, t->dims, t->shape, &again) == 0 && again == t->bytes);
    }
}

static void operate(struct party *p, uint8_t what, uint8_t argument)
{
    struct channel_tensor *t = &p->owned[argument % OWNED];
    uint64_t timeout = argument >= 0xe0 ? 3000000000ull : 0, before = fake_ns;
    int e;
    switch (what % 8) {
    case 0:
    case 1: {
        struct channel_tensor fresh;
        bool lend = what % 8 == 0;
        e = lend ? channel_lend(p->c, timeout, &fresh) : channel_receive(p->c, timeout, &fresh);
        if (e == 0) {
            check_tensor(p->c, &fresh, !lend);
            if (p->count == OWNED) {
                must(channel_release(p->c, &fresh) != -EINVAL);
            } else {
                p->owned[p->count++] = fresh;
            }
        }
        break;
    }
    case 2:
    case 3:
        if (p->count == 0) {
            break;
        }
        t = &p->owned[argument % p->count];
        if (t->bytes == 0) {
            t->type = argument & 4 ? TN_F32 : TN_Q8_0;
            t->shape[0] = 32;
            t->dims = 2;
            t->shape[1] = 1 + argument % 4;
        }
        if (what % 8 == 2) {
            channel_send(p->c, t);
        } else {
            channel_release(p->c, t);
        }
        *t = p->owned[--p->count];
        break;
    case 4:
        channel_connect(p->c, timeout);
        break;
    case 5:
        channel_drain(p->c, timeout);
        break;
    case 6:
        channel_drop(p->c, argument % HC_CHANNEL_MAX_ENDS);
        break;
    default:
        fake_rest(NULL, argument * 10000000ull);
        return;
    }
    must(fake_ns - before <= timeout + 2 * STEP_NS);
    must(channel_reason(p->c)[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4) {
        return 0;
    }
    struct channel_format f = {1u + data[0] % 4, 2, 2u + data[1] % 5, 256};
    if (f.kind == HC_CHANNEL_PIPE || f.kind == HC_CHANNEL_BROADCAST) {
        f.ends = 2u + data[2] % 3;
    }
    fake_ns = 0;
    fake_random = 1;
    fake_step_ns = STEP_NS;
    block = fake_block(&f, &bytes);
    size_t interesting = (size_t)hc_channel_slots_offset(f.kind, f.ends, f.slots);
    char error[160];
    for (uint32_t i = 0; i < f.ends; i++) {
        parties[i].count = 0;
        must(channel_attach(block, bytes, i, &fake_port, &fake_options, &parties[i].c, error,
                            sizeof(error)) == 0);
        fake_living[i] = data[3] >> i & 1 ? NULL : parties[i].c;
    }
    for (uint32_t n = 0; n < 4 * f.ends; n++) {
        channel_connect(parties[n % f.ends].c, 0);
    }
    // The first connect of all that are live has come last for some: let them find each other.
    for (uint32_t n = 0; n < 4 * f.ends; n++) {
        if (!parties[n % f.ends].c->live) {
            channel_connect(parties[n % f.ends].c, 0);
        }
    }
    data += 4;
    size -= 4;
    while (size >= 2) {
        uint8_t op = data[0], argument = data[1];
        data += 2;
        size -= 2;
        if (op < 0xc0) {
            struct party *p = &parties[(op >> 3) % f.ends];
            operate(p, op, argument);
            check_party(p);
        } else if (size >= 4) { // the outside writes: a byte, or a word of eight, or a bump
            size_t at = (size_t)(data[0] | data[1] << 8) % interesting;
            if (op & 1) {
                block[at] = data[2];
            } else {
                uint64_t word;
                at &= ~(size_t)7;
                memcpy(&word, block + at, 8);
                word = op & 2 ? word + (uint64_t)(int64_t)(int8_t)data[2]
                              : (uint64_t)data[2] << data[3] % 64;
                memcpy(block + at, &word, 8);
            }
            data += 4;
            size -= 4;
        }
    }
    for (uint32_t i = 0; i < f.ends; i++) {
        channel_close(parties[i].c);
        fake_living[i] = NULL;
    }
    free(block);
    return 0;
}
