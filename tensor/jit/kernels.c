// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The kernels, written as vector bodies. Formulas and their order are those of the executor's row
// kernels (tensor/cpu/row_functions.h, row_math.h), so that the bits are the same.
#include "tensor/jit/jit_private.h"

#include <errno.h>
#include <string.h>

// The System V calling convention: pointers come in these.
static const int arguments[] = {RDI, RSI, RDX};
// Where a chain's pointers go: the output, then the inputs. RSI brings their array and comes last.
static const int chain_pointers[] = {RDI, RCX, RDX, R8, R9, R10, RSI};

static body_value two(struct body *b, enum body_kind kind, body_value x, body_value y)
{
    return body_put(b, kind, x, y, -1);
}

// exp(x), x held between -87 and 88: x = n ln 2 + r; 2^n (1 + (exp(r) - 1)).
static body_value put_exp(struct body *b, body_value x)
{
    static const float series[] = {8.36317905e-3f, 4.16665546e-2f, 1.6666577e-1f, 0.5f};
    const body_value shift = body_number(b, 12582912.0f); // adding it rounds to a whole number
    x = two(b, BODY_MAX, x, body_number(b, -87.0f));
    x = two(b, BODY_MIN, x, body_number(b, 88.0f));
    body_value t = body_put(b, BODY_FMA, x, body_number(b, 1.44269504f), shift);
    body_value n = two(b, BODY_SUB, t, shift);
    body_value r = body_put(b, BODY_FMA, n, body_number(b, -0.693359375f), x);
    r = body_put(b, BODY_FMA, n, body_number(b, 2.12194440e-4f), r);
    body_value q = body_number(b, 1.39261836e-3f);
    for (size_t i = 0; i < sizeof series / sizeof *series; i++) {
        q = body_put(b, BODY_FMA, q, r, body_number(b, series[i]));
    }
    body_value power = two(b, BODY_POWER, t, BODY_CONSTANT | asm_constant(b->out, 0x3f800000));
    body_value p = body_put(b, BODY_FMA, two(b, BODY_MUL, r, r), q, r);
    return body_put(b, BODY_FMA, p, power, power);
}

// x / (1 + exp(-z)), 0 where z < -87; z is x times a steepness.
static body_value put_logistic(struct body *b, body_value x, body_value z)
{
    body_value e = put_exp(b, two(b, BODY_SUB, body_number(b, 0), z));
    return body_div_or_zero(b, x, two(b, BODY_ADD, e, body_number(b, 1)), z, -87.0f);
}

static body_value put_gelu(struct body *b, body_value x)
{
    body_value steep = body_put(b, BODY_FMA, two(b, BODY_MUL, x, x), body_number(b, 0.0713548162f),
                                body_number(b, 1.59576912f));
    return put_logistic(b, x, two(b, BODY_MUL, x, steep));
}

// ---- bodies ------------------------------------------------------------------------------------

static void add_body(struct body *b)
{
    body_store(b, 0, 0, two(b, BODY_ADD, body_load(b, 1, 0), body_load(b, 2, 0)));
}

static void axpy_body(struct body *b)
{
    b->has_argument = true;
    body_store(b, 0, 0,
               body_put(b, BODY_FMA, body_load(b, 1, 0), BODY_ARGUMENT, body_load(b, 0, 0)));
}

static void silu_mul_body(struct body *b)
{
    body_value x = body_load(b, 0, 0);
    body_store(b, 0, 0, two(b, BODY_MUL, put_logistic(b, x, x), body_load(b, 1, 0)));
}

// (x, y) becomes (x cos - y sin, y cos + x sin).
static void rope_halves_body(struct body *b, uint32_t pairs)
{
    int32_t half = (int32_t)(4 * pairs);
    body_value x = body_load(b, 1, 0), y = body_load(b, 1, half);
    body_value cosine = body_load(b, 2, 0), sine = body_load(b, 2, half);
    body_value minus = two(b, BODY_SUB, body_number(b, 0), sine);
    body_value first = body_put(b, BODY_FMA, x, cosine, two(b, BODY_MUL, y, minus));
    body_store(b, 0, 0, first);
    body_store(b, 0, half, body_put(b, BODY_FMA, y, cosine, two(b, BODY_MUL, x, sine)));
}

static void rope_neighbours_body(struct body *b, uint32_t pairs)
{
    body_value x = body_load(b, 1, 0), turned = body_put(b, BODY_SWAP, x, -1, -1);
    body_value product = two(b, BODY_MUL, turned, body_load(b, 2, (int32_t)(8 * pairs)));
    body_store(b, 0, 0, body_put(b, BODY_FMA, x, body_load(b, 2, 0), product));
}

static void norm_body(struct body *b)
{
    b->has_argument = true;
    body_value y = two(b, BODY_MUL, body_load(b, 1, 0), BODY_ARGUMENT);
    body_store(b, 0, 0, two(b, BODY_MUL, y, body_load(b, 2, 0)));
}

// Inputs are loaded where a step first wants them, which keeps few values alive.
static void chain_body(struct body *b, const struct jit_shape *s)
{
    static const enum body_kind plain[] = {
        [JIT_STEP_ADD] = BODY_ADD, [JIT_STEP_SUB] = BODY_SUB,   [JIT_STEP_MUL] = BODY_MUL,
        [JIT_STEP_DIV] = BODY_DIV, [JIT_STEP_MIN] = BODY_MIN,   [JIT_STEP_MAX] = BODY_MAX,
        [JIT_STEP_FMA] = BODY_FMA, [JIT_STEP_SCALE] = BODY_MUL, [JIT_STEP_SHIFT] = BODY_ADD,
    };
    body_value have[JIT_MAX_INPUTS + JIT_MAX_STEPS];
    memset(have, 0xff, sizeof have);
    for (uint32_t i = 0; i < s->steps; i++) {
        const struct jit_step *step = &s->step[i];
        const uint8_t wanted[3] = {step->a, step->b, step->c};
        body_value v[3] = {-1, -1, -1}, *out = &have[s->inputs + i];
        int operands = step->kind == JIT_STEP_FMA ? 3 : step->kind >= JIT_STEP_SCALE ? 1 : 2;
        for (int k = 0; k < operands; k++) {
            if (have[wanted[k]] < 0) {
                have[wanted[k]] = body_load(b, wanted[k] + 1, 0);
            }
            v[k] = have[wanted[k]];
        }
        if (step->kind == JIT_STEP_SILU) {
            *out = put_logistic(b, v[0], v[0]);
        } else if (step->kind == JIT_STEP_GELU) {
            *out = put_gelu(b, v[0]);
        } else {
            if (step->kind == JIT_STEP_SCALE || step->kind == JIT_STEP_SHIFT) {
                v[1] = body_number(b, step->number);
            }
            *out = body_put(b, plain[step->kind], v[0], v[1], v[2]);
        }
    }
    body_store(b, 0, 0, have[s->inputs + s->steps - 1]);
}

// ---- whole kernels -----------------------------------------------------------------------------

int kernel_check(const struct jit_shape *s)
{
    if ((unsigned)s->kind >= JIT_KIND_COUNT || !s->length || s->length > JIT_MAX_LENGTH) {
        return -EINVAL;
    }
    if (s->kind != JIT_CHAIN) {
        return 0;
    }
    if (!s->inputs || s->inputs > JIT_MAX_INPUTS || !s->steps || s->steps > JIT_MAX_STEPS) {
        return -EINVAL;
    }
    for (uint32_t i = 0; i < s->steps; i++) {
        const struct jit_step *step = &s->step[i];
        uint32_t have = s->inputs + i;
        if (step->kind >= JIT_STEP_COUNT || step->a >= have ||
            (step->kind <= JIT_STEP_FMA && step->b >= have) ||
            (step->kind == JIT_STEP_FMA && step->c >= have)) {
            return -EINVAL;
        }
    }
    return 0;
}

// 1 / sqrt(sum / length + epsilon) of the sum in register 0.
static void write_norm_factor(struct assembler *a, const struct jit_shape *s)
{
    struct vector one = {FORM_VEX, WIDTH_SCALAR, 0, false};
    struct operand length = a_constant(asm_number(a, (float)s->length));
    struct operand epsilon = a_constant(asm_number(a, s->epsilon));
    asm_arithmetic(a, one, OP_DIV, 0, 0, length);
    asm_arithmetic(a, one, OP_ADD, 0, 0, epsilon);
    asm_arithmetic(a, one, OP_SQRT, 0, 0, in_register(0));
    asm_load(a, one, 1, a_constant(asm_number(a, 1)));
    asm_arithmetic(a, one, OP_DIV, 0, 1, in_register(0));
}

static void load_chain_pointers(struct assembler *a, uint32_t inputs)
{
    for (uint32_t i = 0; i < inputs; i++) {
        // The last one overwrites the array's own register.
        asm_load_pointer(a, chain_pointers[i + 1], in_memory(RSI, NO_REGISTER, (int32_t)(8 * i)));
    }
}

int kernel_write(struct kernel_work *w, const struct target *t, const struct jit_shape *s,
                 void *code, size_t room)
{
    struct assembler *a = &w->out;
    struct body *b = &w->body;
    const int *pointers = s->kind == JIT_CHAIN ? chain_pointers : arguments;
    uint32_t length = s->length;
    asm_begin(a, code, room, t->form == FORM_EVEX ? 4 : 32);
    b->count = 0;
    b->full = b->has_argument = false;
    b->out = a;
    switch (s->kind) {
    case JIT_ADD:
        add_body(b);
        break;
    case JIT_DOT:
        sum_of_products(a, t, RDI, RSI, length);
        break;
    case JIT_AXPY:
        axpy_body(b);
        break;
    case JIT_SILU_MUL:
        silu_mul_body(b);
        break;
    case JIT_ROPE_HALVES:
        rope_halves_body(b, length);
        break;
    case JIT_ROPE_NEIGHBOURS:
        rope_neighbours_body(b, length);
        length *= 2;
        break;
    case JIT_RMS_NORM:
        sum_of_products(a, t, RSI, RSI, length);
        write_norm_factor(a, s);
        norm_body(b);
        break;
    default:
        load_chain_pointers(a, s->inputs);
        chain_body(b, s);
        break;
    }
    if (b->full || (b->count && !body_write(b, t, pointers, length))) {
        return -E2BIG;
    }
    asm_zero_upper(a);
    asm_return(a);
    return asm_finish(a) ? 0 : -E2BIG;
}
