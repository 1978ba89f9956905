// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Instruction formats: see assembler.h. A prefix (REX, VEX or EVEX), the opcode, ModRM with SIB and
// displacement, an immediate.
#include "tensor/jit/assembler.h"

#include <string.h>

enum { MAP_0F = 1, MAP_0F38, MAP_0F3A };    // the prefixes' mm
enum { PREFIX_NONE, PREFIX_66, PREFIX_F3 }; // their pp

struct encoding {
    uint8_t prefix, map, opcode;
    int immediate; // -1: none
};

void asm_begin(struct assembler *a, void *code, size_t room, size_t constant_bytes)
{
    a->code = code;
    a->used = 0;
    a->room = room;
    a->full = false;
    a->constant_count = a->use_count = 0;
    a->constant_bytes = constant_bytes;
    a->lanes = 0;
}

static void put(struct assembler *a, uint32_t byte)
{
    if (a->used < a->room) {
        a->code[a->used++] = (uint8_t)byte;
    } else {
        a->full = true;
    }
}

static void put_32(struct assembler *a, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        put(a, value >> 8 * i & 0xff);
    }
}

int asm_constant(struct assembler *a, uint32_t bits)
{
    for (int i = 0; i < a->constant_count; i++) {
        if (a->constant[i] == bits) {
            return i;
        }
    }
    if (a->constant_count == ASM_MAX_CONSTANTS) {
        a->full = true;
        return 0;
    }
    a->constant[a->constant_count] = bits;
    return a->constant_count++;
}

int asm_number(struct assembler *a, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return asm_constant(a, bits);
}

void asm_lanes(struct assembler *a, uint32_t lanes)
{
    a->lanes = lanes;
}

bool asm_finish(struct assembler *a)
{
    while (!a->full && a->use_count && a->used % 64) {
        put(a, 0xcc); // int3
    }
    size_t begin = a->used;
    for (int i = 0; a->use_count && i < a->constant_count; i++) {
        for (size_t k = 0; k < a->constant_bytes / 4; k++) {
            put_32(a, a->constant[i]);
        }
    }
    for (uint32_t i = 0; a->lanes && i < 8; i++) {
        put_32(a, i < a->lanes ? 0xffffffffu : 0);
    }
    for (int i = 0; !a->full && i < a->use_count; i++) {
        int number = a->use[i].constant < 0 ? a->constant_count : a->use[i].constant;
        size_t target = begin + (size_t)number * a->constant_bytes;
        int32_t distance = (int32_t)(target - a->use[i].end);
        memcpy(a->code + a->use[i].at, &distance, 4);
    }
    return !a->full;
}

// ---- ModRM and what follows --------------------------------------------------------------------

static bool is_short(int32_t displacement, int scale)
{
    return displacement % scale == 0 && displacement / scale >= -128 && displacement / scale <= 127;
}

// scale: what a one-byte displacement counts (EVEX: the bytes of the operand).
static void put_modrm(struct assembler *a, int reg, struct operand o, int scale)
{
    uint32_t r = (uint32_t)(reg & 7) << 3;
    if (o.kind == OPERAND_REGISTER) {
        put(a, 0xc0u | r | (uint32_t)(o.number & 7));
        return;
    }
    if (o.kind == OPERAND_CONSTANT ||
        o.kind == OPERAND_LANES) { // relative to the instruction's end, known later
        put(a, r | 5);
        if (a->use_count == ASM_MAX_USES) {
            a->full = true;
            return;
        }
        a->use[a->use_count].at = (uint32_t)a->used;
        a->use[a->use_count++].constant = o.kind == OPERAND_LANES ? -1 : o.number;
        put_32(a, 0);
        return;
    }
    // rbp and r13 as a base always have a displacement; rsp and r12 always a SIB.
    bool none = o.displacement == 0 && (o.base & 7) != RBP, small = is_short(o.displacement, scale);
    uint32_t mode = none ? 0 : small ? 0x40 : 0x80;
    if (o.index != NO_REGISTER || (o.base & 7) == RSP) {
        uint32_t index = o.index == NO_REGISTER ? 4u : (uint32_t)(o.index & 7);
        put(a, mode | r | 4);
        put(a, index << 3 | (uint32_t)(o.base & 7));
    } else {
        put(a, mode | r | (uint32_t)(o.base & 7));
    }
    if (mode == 0x40) {
        put(a, (uint32_t)(o.displacement / scale) & 0xff);
    } else if (mode == 0x80) {
        put_32(a, (uint32_t)o.displacement);
    }
}

static int high_index(struct operand o) // bit 3 of what X extends
{
    return o.kind == OPERAND_MEMORY && o.index != NO_REGISTER ? o.index >> 3 & 1 : 0;
}

static int high_base(struct operand o) // bit 3 of what B extends
{
    return o.kind == OPERAND_REGISTER ? o.number >> 3 & 1
           : o.kind == OPERAND_MEMORY ? o.base >> 3 & 1
                                      : 0;
}

static void finish(struct assembler *a, struct encoding e, int uses)
{
    if (e.immediate >= 0) {
        put(a, (uint32_t)e.immediate);
    }
    if (a->use_count > uses) {
        a->use[uses].end = (uint32_t)a->used;
    }
}

// ---- vector formats ----------------------------------------------------------------------------

static void put_sse(struct assembler *a, struct encoding e, int reg, struct operand rm)
{
    static const uint8_t prefix[] = {0, 0x66, 0xf3};
    int uses = a->use_count, rex = (reg >> 3 & 1) << 2 | high_index(rm) << 1 | high_base(rm);
    if (e.prefix) {
        put(a, prefix[e.prefix]);
    }
    if (rex) {
        put(a, 0x40u | (uint32_t)rex);
    }
    put(a, 0x0f);
    put(a, e.opcode);
    put_modrm(a, reg, rm, 1);
    finish(a, e, uses);
}

static void put_vex(struct assembler *a, struct encoding e, bool wide, int reg, int second,
                    struct operand rm)
{
    uint32_t r = reg < 8 ? 0x80 : 0, x = high_index(rm) ? 0 : 0x40, b = high_base(rm) ? 0 : 0x20;
    uint32_t last = (uint32_t)(~second & 15) << 3 | (wide ? 4u : 0) | e.prefix;
    int uses = a->use_count;
    if (e.map == MAP_0F && x && b) {
        put(a, 0xc5);
        put(a, r | last);
    } else {
        put(a, 0xc4);
        put(a, r | x | b | e.map);
        put(a, last);
    }
    put(a, e.opcode);
    put_modrm(a, reg, rm, 1);
    finish(a, e, uses);
}

// broadcast: a memory operand is one float for all lanes.
static void put_evex(struct assembler *a, struct encoding e, struct vector v, int reg, int second,
                     struct operand rm, bool broadcast, int scale)
{
    bool is_register = rm.kind == OPERAND_REGISTER;
    int x = is_register ? rm.number >> 4 & 1 : high_index(rm);
    uint32_t length = v.width == WIDTH_512 ? 2 : v.width == WIDTH_256 ? 1 : 0;
    int uses = a->use_count;
    put(a, 0x62);
    put(a, (uint32_t)((~reg >> 3 & 1) << 7 | (x ^ 1) << 6 | (high_base(rm) ^ 1) << 5 |
                      (~reg >> 4 & 1) << 4) |
               e.map);
    put(a, (uint32_t)(~second & 15) << 3 | 4 | e.prefix);
    put(a, (v.zero ? 0x80u : 0) | length << 5 | (broadcast ? 0x10u : 0) |
               (uint32_t)(~second >> 4 & 1) << 3 | (uint32_t)v.mask);
    put(a, e.opcode);
    put_modrm(a, reg, rm, broadcast ? 4 : scale);
    finish(a, e, uses);
}

static int width_bytes(struct vector v)
{
    static const int bytes[] = {4, 16, 32, 64};
    return bytes[v.width];
}

// second: the register in vvvv, 0 where there is none. Constants of EVEX are broadcast.
static void put_vector(struct assembler *a, struct encoding e, struct vector v, int reg, int second,
                       struct operand rm)
{
    if (v.form == FORM_SSE) {
        put_sse(a, e, reg, rm);
    } else if (v.form == FORM_VEX) {
        put_vex(a, e, v.width == WIDTH_256, reg, second, rm);
    } else {
        put_evex(a, e, v, reg, second, rm, rm.kind == OPERAND_CONSTANT && v.width != WIDTH_SCALAR,
                 width_bytes(v));
    }
}

static uint8_t single(struct vector v)
{
    return v.width == WIDTH_SCALAR ? PREFIX_F3 : PREFIX_NONE;
}

void asm_arithmetic(struct assembler *a, struct vector v, enum arithmetic op, int to, int b,
                    struct operand c)
{
    bool bitwise = op >= OP_AND && op <= OP_XOR; // whole registers only
    struct encoding e = {bitwise ? (uint8_t)PREFIX_NONE : single(v), MAP_0F, (uint8_t)op, -1};
    // The square root of a packed vector has one source.
    put_vector(a, e, v, to, op == OP_SQRT && v.width != WIDTH_SCALAR ? 0 : b, c);
}

void asm_fused(struct assembler *a, struct vector v, enum fused op, int to, int b, struct operand c)
{
    struct encoding e = {PREFIX_66, MAP_0F38, (uint8_t)op, -1};
    put_vector(a, e, v, to, b, c);
}

void asm_load(struct assembler *a, struct vector v, int to, struct operand from)
{
    put_vector(a, (struct encoding){single(v), MAP_0F, 0x10, -1}, v, to, 0, from);
}

void asm_store(struct assembler *a, struct vector v, struct operand to, int from)
{
    put_vector(a, (struct encoding){single(v), MAP_0F, 0x11, -1}, v, from, 0, to);
}

void asm_move(struct assembler *a, struct vector v, int to, int from)
{
    put_vector(a, (struct encoding){PREFIX_NONE, MAP_0F, 0x28, -1}, v, to, 0, in_register(from));
}

void asm_broadcast(struct assembler *a, struct vector v, int to, struct operand from)
{
    struct encoding e = {PREFIX_66, MAP_0F38, 0x18, -1};
    if (v.form == FORM_EVEX) {
        put_evex(a, e, v, to, 0, from, false, 4);
    } else {
        put_vex(a, e, v.width == WIDTH_256, to, 0, from);
    }
}

void asm_swap_neighbours(struct assembler *a, struct vector v, int to, int from)
{
    put_vector(a, (struct encoding){PREFIX_66, MAP_0F3A, 0x04, 0xb1}, v, to, 0, in_register(from));
}

void asm_shift_left(struct assembler *a, struct vector v, int to, int from, uint8_t bits)
{
    // The destination is in vvvv, the opcode goes on in ModRM's register field.
    put_vector(a, (struct encoding){PREFIX_66, MAP_0F, 0x72, bits}, v, 6, to, in_register(from));
}

void asm_add_integers(struct assembler *a, struct vector v, int to, int b, struct operand c)
{
    put_vector(a, (struct encoding){PREFIX_66, MAP_0F, 0xfe, -1}, v, to, b, c);
}

void asm_compare(struct assembler *a, struct vector v, int to, int b, struct operand c)
{
    int relation = v.form == FORM_SSE ? 2 : 0x1d; // less or equal; greater or equal, no exceptions
    put_vector(a, (struct encoding){single(v), MAP_0F, 0xc2, relation}, v, to, b, c);
}

void asm_compare_to_mask(struct assembler *a, struct vector v, int k, int b, struct operand c)
{
    put_vector(a, (struct encoding){PREFIX_NONE, MAP_0F, 0xc2, 0x1d}, v, k, b, c);
}

void asm_load_masked(struct assembler *a, struct vector v, int to, int mask, struct operand from)
{
    put_vector(a, (struct encoding){PREFIX_66, MAP_0F38, 0x2c, -1}, v, to, mask, from);
}

void asm_store_masked(struct assembler *a, struct vector v, struct operand to, int mask, int from)
{
    put_vector(a, (struct encoding){PREFIX_66, MAP_0F38, 0x2e, -1}, v, from, mask, to);
}

void asm_upper_half(struct assembler *a, struct vector v, int to, int from)
{
    uint8_t opcode = v.width == WIDTH_512 ? 0x1b : 0x19; // vextractf32x8, vextractf128
    put_vector(a, (struct encoding){PREFIX_66, MAP_0F3A, opcode, 1}, v, from, 0, in_register(to));
}

void asm_high_to_low(struct assembler *a, struct vector v, int to, int b, int c)
{
    put_vector(a, (struct encoding){PREFIX_NONE, MAP_0F, 0x12, -1}, v, to, b, in_register(c));
}

void asm_odd_to_even(struct assembler *a, struct vector v, int to, int from)
{
    put_vector(a, (struct encoding){PREFIX_F3, MAP_0F, 0x16, -1}, v, to, 0, in_register(from));
}

// ---- general instructions ----------------------------------------------------------------------

static void put_rex(struct assembler *a, bool wide, int reg, struct operand rm)
{
    int rex = (wide ? 8 : 0) | (reg >> 3 & 1) << 2 | high_index(rm) << 1 | high_base(rm);
    if (rex) {
        put(a, 0x40u | (uint32_t)rex);
    }
}

void asm_move_immediate(struct assembler *a, int to, uint32_t value)
{
    put_rex(a, false, 0, in_register(to));
    put(a, 0xb8u | (uint32_t)(to & 7));
    put_32(a, value);
}

void asm_load_pointer(struct assembler *a, int to, struct operand memory)
{
    put_rex(a, true, to, memory);
    put(a, 0x8b);
    put_modrm(a, to, memory, 1);
}

static void immediate_to(struct assembler *a, int which, int to, int32_t value)
{
    bool small = is_short(value, 1);
    put_rex(a, true, 0, in_register(to));
    put(a, small ? 0x83 : 0x81);
    put_modrm(a, which, in_register(to), 1);
    if (small) {
        put(a, (uint32_t)value & 0xff);
    } else {
        put_32(a, (uint32_t)value);
    }
}

void asm_add_immediate(struct assembler *a, int to, int32_t value)
{
    immediate_to(a, 0, to, value);
}

void asm_compare_immediate(struct assembler *a, int with, int32_t value)
{
    immediate_to(a, 7, with, value);
}

void asm_align(struct assembler *a, size_t to)
{
    static const uint8_t nop[8][8] = {{0x90},
                                      {0x66, 0x90},
                                      {0x0f, 0x1f, 0x00},
                                      {0x0f, 0x1f, 0x40, 0x00},
                                      {0x0f, 0x1f, 0x44, 0x00, 0x00},
                                      {0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00},
                                      {0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00},
                                      {0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00}};
    size_t gap = (to - a->used % to) % to;
    while (gap) {
        size_t n = gap < 8 ? gap : 8;
        for (size_t i = 0; i < n; i++) {
            put(a, nop[n - 1][i]);
        }
        gap -= n;
    }
}

void asm_jump_back_if_not_equal(struct assembler *a, size_t to)
{
    int64_t distance = (int64_t)to - (int64_t)(a->used + 2);
    if (distance >= -128) {
        put(a, 0x75);
        put(a, (uint32_t)distance & 0xff);
    } else {
        put(a, 0x0f);
        put(a, 0x85);
        put_32(a, (uint32_t)(distance - 4));
    }
}

void asm_return(struct assembler *a)
{
    put(a, 0xc3);
}

void asm_zero_upper(struct assembler *a)
{
    put(a, 0xc5);
    put(a, 0xf8);
    put(a, 0x77);
}

void asm_set_mask(struct assembler *a, int k, int from)
{
    put_vex(a, (struct encoding){PREFIX_NONE, MAP_0F, 0x92, -1}, false, k, 0, in_register(from));
}
