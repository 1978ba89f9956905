// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Sums of products in 64 lanes: element i goes to lane i mod 64, so that AVX2 (eight registers of
// sums) and AVX-512 (four) give the same bits; then the lanes are folded in halves.
#include "tensor/jit/jit_private.h"

enum { LANES = 64, BLOCKS_A_TURN = 4, TAIL_MASK = 1 };

struct sum {
    struct assembler *out;
    const struct target *t;
    struct vector whole;
    int x, y, loaded, mask; // general registers of the arrays; vector registers
};

static void add_products(const struct sum *s, int into, int index, int32_t at)
{
    struct operand x = in_memory(s->x, index, at), y = in_memory(s->y, index, at);
    asm_load(s->out, s->whole, s->loaded, x);
    asm_fused(s->out, s->whole, FUSED_231, into, s->loaded,
              s->x == s->y ? in_register(s->loaded) : y);
}

static void add_block(const struct sum *s, int index, int32_t at)
{
    for (int i = 0; i < LANES / s->t->lanes; i++) {
        add_products(s, i, index, at + i * s->t->lanes * 4);
    }
}

// The elements that do not fill a vector. Lanes outside get 0 times 0 added.
static void add_tail(const struct sum *s, int into, uint32_t count, int32_t at)
{
    struct operand x = in_memory(s->x, NO_REGISTER, at), y = in_memory(s->y, NO_REGISTER, at);
    int second = s->mask - 1;
    if (s->t->form == FORM_EVEX) {
        struct vector some = s->whole;
        some.mask = TAIL_MASK;
        some.zero = true;
        asm_move_immediate(s->out, RAX, (1u << count) - 1);
        asm_set_mask(s->out, TAIL_MASK, RAX);
        asm_load(s->out, some, s->loaded, x);
        asm_load(s->out, some, second, y);
    } else {
        asm_lanes(s->out, count);
        asm_load(s->out, s->whole, s->mask, (struct operand){.kind = OPERAND_LANES});
        asm_load_masked(s->out, s->whole, s->loaded, s->mask, x);
        asm_load_masked(s->out, s->whole, second, s->mask, y);
    }
    asm_fused(s->out, s->whole, FUSED_231, into, s->loaded, in_register(second));
}

static void add_registers(const struct sum *s, struct vector v, int to, int from)
{
    asm_arithmetic(s->out, v, OP_ADD, to, to, in_register(from));
}

// Sixteens 0..3: (0 + 2) + (1 + 3), then halves of what is left.
static void fold(const struct sum *s)
{
    struct vector v = s->whole, low = {FORM_VEX, WIDTH_128, 0, false};
    struct vector one = {FORM_VEX, WIDTH_SCALAR, 0, false}, eight = {FORM_VEX, WIDTH_256, 0, false};
    if (s->t->form == FORM_EVEX) {
        add_registers(s, v, 0, 2);
        add_registers(s, v, 1, 3);
        add_registers(s, v, 0, 1);
        asm_upper_half(s->out, v, 1, 0);
    } else { // a sixteen is a pair of registers
        for (int i = 0; i < 2; i++) {
            add_registers(s, v, i, 4 + i);
            add_registers(s, v, 2 + i, 6 + i);
            add_registers(s, v, i, 2 + i);
        }
    }
    add_registers(s, eight, 0, 1);
    asm_upper_half(s->out, eight, 1, 0);
    add_registers(s, low, 0, 1);
    asm_high_to_low(s->out, low, 1, 0, 0);
    add_registers(s, low, 0, 1);
    asm_odd_to_even(s->out, low, 1, 0);
    add_registers(s, one, 0, 1);
}

void sum_of_products(struct assembler *a, const struct target *t, int x, int y, uint32_t length)
{
    struct sum s = {.out = a, .t = t, .whole = whole_vector(t), .x = x, .y = y};
    uint32_t lanes = (uint32_t)t->lanes, blocks = length / LANES, turns = blocks / BLOCKS_A_TURN;
    uint32_t at = 0, sums = LANES / lanes;
    s.loaded = (int)sums;
    s.mask = (int)sums + 2;
    for (int i = 0; i < (int)sums; i++) {
        struct vector low = {FORM_VEX, WIDTH_128, 0, false}; // clears the whole register
        asm_arithmetic(a, low, OP_XOR, i, i, in_register(i));
    }
    if (turns > 1) {
        asm_move_immediate(a, RAX, 0);
        asm_align(a, 64);
        size_t top = a->used;
        for (int i = 0; i < BLOCKS_A_TURN; i++) {
            add_block(&s, RAX, i * LANES * 4);
        }
        asm_add_immediate(a, RAX, BLOCKS_A_TURN * LANES * 4);
        asm_compare_immediate(a, RAX, (int32_t)(turns * BLOCKS_A_TURN * LANES * 4));
        asm_jump_back_if_not_equal(a, top);
        at = turns * BLOCKS_A_TURN * LANES;
    }
    for (; at + LANES <= length; at += LANES) {
        add_block(&s, NO_REGISTER, (int32_t)(4 * at));
    }
    int into = 0;
    for (; at + lanes <= length; at += lanes) {
        add_products(&s, into++, NO_REGISTER, (int32_t)(4 * at));
    }
    if (at < length) {
        add_tail(&s, into, length - at, (int32_t)(4 * at));
    }
    fold(&s);
}
