// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What a kernel does with one vector, as a list of operations over values, and its way into code:
// registers are given out along the list (a value's register is free after its last use), then the
// list is written several times over for the vectors of one turn of the loop.
#ifndef TENSOR_JIT_BODY_H
#define TENSOR_JIT_BODY_H

#include "tensor/jit/assembler.h"

enum { BODY_MAX_OPS = 512, BODY_MAX_POINTERS = 7 };

enum body_kind {
    BODY_LOAD,  // a vector of the array at pointer[array], `shift` bytes further on
    BODY_STORE, // of value a
    BODY_ADD,
    BODY_SUB,
    BODY_MUL,
    BODY_DIV,
    BODY_MIN,
    BODY_MAX,
    BODY_FMA,   // a b + c
    BODY_POWER, // 2^a, a whole number in the lowest bits of a float: shifted into the exponent
    BODY_DIV_OR_ZERO, // a / b where c >= the constant `array`, elsewhere 0
    BODY_SWAP,        // neighbouring lanes change places
};

// Operands: the number of the operation that gave the value; a constant; or the argument, one float
// in all lanes that the kernel has put into a register beforehand.
typedef int body_value;
enum { BODY_CONSTANT = 0x1000, BODY_ARGUMENT = 0x2000 };

struct body_op {
    enum body_kind kind;
    body_value a, b, c;
    int array;
    int32_t shift;
};

struct body {
    struct body_op op[BODY_MAX_OPS];
    int count;
    bool full;
    bool has_argument;
    struct assembler *out; // owns the constants
};

body_value body_put(struct body *b, enum body_kind kind, body_value x, body_value y, body_value z);
body_value body_load(struct body *b, int array, int32_t shift);
void body_store(struct body *b, int array, int32_t shift, body_value value);
body_value body_number(struct body *b, float value);
body_value body_div_or_zero(struct body *b, body_value x, body_value y, body_value c, float bound);

// ---- into code ---------------------------------------------------------------------------------

struct target {
    enum vector_form form; // VEX: 8 lanes, 16 registers; EVEX: 16 lanes, 32 registers
    int lanes, registers;
};
extern const struct target target_avx2, target_avx512;

// Runs the body over `length` elements: pointer[i] is the general register of array i, RAX is used
// as a counter. The argument, if any, is in the lowest lane of register 0 and is spread from there.
// False: more values alive at once than registers.
bool body_write(const struct body *b, const struct target *t, const int *pointer, uint32_t length);

// Sets mask register 1 (EVEX) for the last length % lanes elements; VEX has a vector for it.
struct vector whole_vector(const struct target *t);

#endif
