// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Writes x86-64 instructions into a buffer: the general ones the kernels need, and vector
// instructions in their legacy (SSE), VEX (AVX2) and EVEX (AVX-512) forms. Intel SDM, volume 2,
// chapter 2 (formats) and the instruction pages (opcodes).
#ifndef TENSOR_JIT_ASSEMBLER_H
#define TENSOR_JIT_ASSEMBLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15, NO_REGISTER };

enum { ASM_MAX_CONSTANTS = 64, ASM_MAX_USES = 4096 };

// A register, memory at [base + index + displacement], or behind the code a constant or the lanes
// of asm_lanes.
enum operand_kind { OPERAND_REGISTER, OPERAND_MEMORY, OPERAND_CONSTANT, OPERAND_LANES };
struct operand {
    enum operand_kind kind;
    int number; // register or constant
    int base, index;
    int32_t displacement;
};
static inline struct operand in_register(int number)
{
    return (struct operand){OPERAND_REGISTER, number, 0, 0, 0};
}
static inline struct operand in_memory(int base, int index, int32_t displacement)
{
    return (struct operand){OPERAND_MEMORY, 0, base, index, displacement};
}
static inline struct operand a_constant(int number)
{
    return (struct operand){OPERAND_CONSTANT, number, 0, 0, 0};
}

struct assembler {
    uint8_t *code;
    size_t used, room;
    bool full; // something did not fit: the code is not to be used
    uint32_t constant[ASM_MAX_CONSTANTS];
    int constant_count;
    size_t constant_bytes; // how far apart: 32 where operands are whole vectors, 4 where broadcast
    uint32_t lanes;        // of eight: so many have all bits set; 0: not wanted
    struct {
        uint32_t at, end; // of the displacement, of its instruction
        int constant;
    } use[ASM_MAX_USES];
    int use_count;
};

void asm_begin(struct assembler *a, void *code, size_t room, size_t constant_bytes);
// The number of a 32-bit constant; each of its `constant_bytes` / 4 copies behind the code is it.
int asm_constant(struct assembler *a, uint32_t bits);
int asm_number(struct assembler *a, float value);
void asm_lanes(struct assembler *a, uint32_t lanes); // OPERAND_LANES: the lowest ones set
// Puts the constants behind the code. False: it did not fit.
bool asm_finish(struct assembler *a);

// ---- general instructions ----------------------------------------------------------------------
void asm_move_immediate(struct assembler *a, int to, uint32_t value); // 32 bits, the rest zero
void asm_load_pointer(struct assembler *a, int to, struct operand memory);
void asm_add_immediate(struct assembler *a, int to, int32_t value); // 64 bits
void asm_compare_immediate(struct assembler *a, int with, int32_t value);
void asm_align(struct assembler *a, size_t to); // a loop's beginning, with the manual's long NOPs
void asm_jump_back_if_not_equal(struct assembler *a, size_t to); // an offset already written
void asm_return(struct assembler *a);
void asm_zero_upper(struct assembler *a);                // vzeroupper
void asm_set_mask(struct assembler *a, int k, int from); // kmovw k, r32

// ---- vector instructions
// --------------------------------------------------------------------------- Formats: legacy takes
// two operands (to = to op from), VEX and EVEX three.
enum vector_form { FORM_SSE, FORM_VEX, FORM_EVEX };
enum vector_width { WIDTH_SCALAR, WIDTH_128, WIDTH_256, WIDTH_512 };

struct vector {
    enum vector_form form;
    enum vector_width width;
    int mask;  // EVEX: 1-7, writes only these lanes; 0: all
    bool zero; // EVEX: lanes outside the mask become 0
};

enum arithmetic { // the opcode, map 0F
    OP_SQRT = 0x51,
    OP_AND = 0x54,
    OP_AND_NOT = 0x55,
    OP_OR = 0x56,
    OP_XOR = 0x57,
    OP_ADD = 0x58,
    OP_MUL = 0x59,
    OP_SUB = 0x5c,
    OP_MIN = 0x5d,
    OP_DIV = 0x5e,
    OP_MAX = 0x5f,
};
enum fused {          // the opcode, map 0F38
    FUSED_132 = 0x98, // to = to c + b
    FUSED_213 = 0xa8, // to = b to + c
    FUSED_231 = 0xb8, // to = b c + to
};

// to = b op c. Scalar: the lowest lane (others from b). Legacy: b must be `to`.
void asm_arithmetic(struct assembler *a, struct vector v, enum arithmetic op, int to, int b,
                    struct operand c);
void asm_fused(struct assembler *a, struct vector v, enum fused op, int to, int b,
               struct operand c);
void asm_load(struct assembler *a, struct vector v, int to, struct operand from);
void asm_store(struct assembler *a, struct vector v, struct operand to, int from);
void asm_move(struct assembler *a, struct vector v, int to, int from);
void asm_broadcast(struct assembler *a, struct vector v, int to, struct operand from); // of a float
void asm_swap_neighbours(struct assembler *a, struct vector v, int to, int from);      // 0 1 -> 1 0
void asm_shift_left(struct assembler *a, struct vector v, int to, int from, uint8_t bits);
void asm_add_integers(struct assembler *a, struct vector v, int to, int b, struct operand c);
// to = all ones where b >= c (ordered). Legacy: to = where b <= c, b must be `to`.
void asm_compare(struct assembler *a, struct vector v, int to, int b, struct operand c);
void asm_compare_to_mask(struct assembler *a, struct vector v, int k, int b, struct operand c);
// VEX: lanes whose mask has the sign bit; others are 0, or left alone in memory.
void asm_load_masked(struct assembler *a, struct vector v, int to, int mask, struct operand from);
void asm_store_masked(struct assembler *a, struct vector v, struct operand to, int mask, int from);
void asm_upper_half(struct assembler *a, struct vector v, int to, int from);      // of v's width
void asm_high_to_low(struct assembler *a, struct vector v, int to, int b, int c); // movhlps
void asm_odd_to_even(struct assembler *a, struct vector v, int to, int from);     // movshdup

#endif
