// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Register allocation and writing of vector bodies: see body.h.
#include "tensor/jit/body.h"

#include <string.h>

const struct target target_avx2 = {FORM_VEX, 8, 16};
const struct target target_avx512 = {FORM_EVEX, 16, 32};

enum { MOST_COPIES = 8, TAIL_MASK = 1, COMPARE_MASK = 2 };

static body_value put(struct body *b, struct body_op op)
{
    if (b->count == BODY_MAX_OPS) {
        b->full = true;
        return 0;
    }
    b->op[b->count] = op;
    return b->count++;
}

body_value body_put(struct body *b, enum body_kind kind, body_value x, body_value y, body_value z)
{
    return put(b, (struct body_op){kind, x, y, z, 0, 0});
}

body_value body_load(struct body *b, int array, int32_t shift)
{
    return put(b, (struct body_op){BODY_LOAD, -1, -1, -1, array, shift});
}

void body_store(struct body *b, int array, int32_t shift, body_value value)
{
    put(b, (struct body_op){BODY_STORE, value, -1, -1, array, shift});
}

body_value body_number(struct body *b, float value)
{
    return BODY_CONSTANT | asm_number(b->out, value);
}

body_value body_div_or_zero(struct body *b, body_value x, body_value y, body_value c, float bound)
{
    return put(b, (struct body_op){BODY_DIV_OR_ZERO, x, y, c, asm_number(b->out, bound), 0});
}

static bool is_constant(body_value v)
{
    return v >= 0 && v & BODY_CONSTANT;
}

// ---- which slot each value lives in ------------------------------------------------------------

// Slots are the registers of one copy of the body; copy u has them from u * slots on.
struct plan {
    int slot[BODY_MAX_OPS];     // of each operation's value
    bool dies[BODY_MAX_OPS][3]; // operand a, b, c is used here for the last time
    int slots;
    int uses[ASM_MAX_CONSTANTS];
};

static void find_last_uses(const struct body *b, struct plan *p)
{
    bool seen[BODY_MAX_OPS] = {false};
    for (int i = b->count - 1; i >= 0; i--) {
        const body_value v[3] = {b->op[i].a, b->op[i].b, b->op[i].c};
        p->uses[b->op[i].array] += b->op[i].kind == BODY_DIV_OR_ZERO;
        for (int k = 0; k < 3; k++) {
            p->dies[i][k] = v[k] >= 0 && v[k] < BODY_CONSTANT && !seen[v[k]];
            if (is_constant(v[k])) {
                p->uses[v[k] & ~BODY_CONSTANT]++;
            }
        }
        for (int k = 0; k < 3; k++) {
            if (v[k] >= 0 && v[k] < BODY_CONSTANT) {
                seen[v[k]] = true;
            }
        }
    }
}

static void make_plan(const struct body *b, struct plan *p)
{
    bool busy[BODY_MAX_OPS] = {false};
    memset(p, 0, sizeof *p);
    find_last_uses(b, p);
    for (int i = 0; i < b->count; i++) {
        const struct body_op *op = &b->op[i];
        const body_value v[3] = {op->a, op->b, op->c};
        for (int k = 0; k < 3; k++) {
            if (p->dies[i][k]) {
                busy[p->slot[v[k]]] = false;
            }
        }
        int slot = -1;
        if (op->kind == BODY_FMA) { // the instruction overwrites one operand: rather the sum's
            int k = p->dies[i][2] ? 2 : p->dies[i][0] ? 0 : p->dies[i][1] ? 1 : -1;
            slot = k >= 0 ? p->slot[v[k]] : -1;
        }
        if (op->kind != BODY_STORE) {
            if (slot < 0) {
                do {
                    slot++;
                } while (busy[slot]);
            }
            busy[slot] = true;
            p->slot[i] = slot;
            if (slot + 1 > p->slots) {
                p->slots = slot + 1;
            }
        }
    }
}

// ---- writing -----------------------------------------------------------------------------------

struct writer {
    const struct body *b;
    const struct target *t;
    struct plan plan;
    struct assembler *out;
    const int *pointer;
    struct vector whole;
    int copies, argument;            // the argument's register
    int constant[ASM_MAX_CONSTANTS]; // its register, -1: in memory
    int tail_register;               // VEX: the tail's mask
    int32_t at;                      // displacement of the vector being written
    int index;                       // RAX in a loop
    int first;                       // register of slot 0 of the copy being written
    int tail;                        // elements, 0: a whole vector
};

static int register_of(const struct writer *w, body_value v)
{
    return v & BODY_ARGUMENT ? w->argument : w->first + w->plan.slot[v & (BODY_MAX_OPS - 1)];
}

static struct operand operand_of(const struct writer *w, body_value v)
{
    if (is_constant(v)) {
        int c = v & ~BODY_CONSTANT;
        return w->constant[c] >= 0 ? in_register(w->constant[c]) : a_constant(c);
    }
    return in_register(register_of(w, v));
}

static void bring(const struct writer *w, int to, body_value v)
{
    struct operand o = operand_of(w, v);
    if (o.kind != OPERAND_REGISTER) {
        asm_broadcast(w->out, w->whole, to, o);
    } else if (o.number != to) {
        asm_move(w->out, w->whole, to, o.number);
    }
}

// The instruction's second operand must be a register: a constant in memory is brought to `to`.
static int first_operand(const struct writer *w, int to, body_value v)
{
    struct operand o = operand_of(w, v);
    if (o.kind == OPERAND_REGISTER) {
        return o.number;
    }
    bring(w, to, v);
    return to;
}

static void write_arithmetic(const struct writer *w, enum arithmetic op, int to,
                             const struct body_op *o)
{
    bool turned = is_constant(o->a) && (op == OP_ADD || op == OP_MUL);
    body_value a = turned ? o->b : o->a, b = turned ? o->a : o->b;
    struct operand second = operand_of(w, b);
    // A constant first operand comes to `to`, which must then not hold the second one.
    if (operand_of(w, a).kind != OPERAND_REGISTER && second.kind == OPERAND_REGISTER &&
        second.number == to) {
        int spare = w->first + w->plan.slots; // kept free for this
        bring(w, spare, a);
        asm_arithmetic(w->out, w->whole, op, to, spare, second);
        return;
    }
    asm_arithmetic(w->out, w->whole, op, to, first_operand(w, to, a), second);
}

static void write_fused(const struct writer *w, int i, int to)
{
    const struct body_op *o = &w->b->op[i];
    struct operand a = operand_of(w, o->a), b = operand_of(w, o->b), c = operand_of(w, o->c);
    // Factors change places so that a constant in memory is the second one.
    if (a.kind != OPERAND_REGISTER || (b.kind == OPERAND_REGISTER && b.number == to)) {
        struct operand t = a;
        a = b;
        b = t;
    }
    if (c.kind == OPERAND_REGISTER && c.number == to) { // to = a b + to
        asm_fused(w->out, w->whole, FUSED_231, to, a.number, b);
    } else if (a.number == to && b.kind == OPERAND_REGISTER) { // to = b to + c
        asm_fused(w->out, w->whole, FUSED_213, to, b.number, c);
    } else if (a.number == to && c.kind == OPERAND_REGISTER) { // to = to b + c
        asm_fused(w->out, w->whole, FUSED_132, to, c.number, b);
    } else if (a.number == to) { // both constants in memory: the sum's into the spare register
        int spare = w->first + w->plan.slots;
        bring(w, spare, o->c);
        asm_fused(w->out, w->whole, FUSED_132, to, spare, b);
    } else {
        bring(w, to, o->c);
        asm_fused(w->out, w->whole, FUSED_231, to, a.number, b);
    }
}

static void write_load(const struct writer *w, int to, const struct body_op *o)
{
    struct operand from = in_memory(w->pointer[o->array], w->index, w->at + o->shift);
    struct vector v = w->whole;
    if (w->tail && w->t->form == FORM_VEX) {
        asm_load_masked(w->out, v, to, w->tail_register, from);
        return;
    }
    if (w->tail) {
        v.mask = TAIL_MASK;
        v.zero = true;
    }
    asm_load(w->out, v, to, from);
}

static void write_store(const struct writer *w, const struct body_op *o)
{
    struct operand to = in_memory(w->pointer[o->array], w->index, w->at + o->shift);
    struct vector v = w->whole;
    int from = register_of(w, o->a);
    if (is_constant(o->a)) {
        from = w->first + w->plan.slots;
        bring(w, from, o->a);
    }
    if (w->tail && w->t->form == FORM_VEX) {
        asm_store_masked(w->out, v, to, w->tail_register, from);
        return;
    }
    v.mask = w->tail ? TAIL_MASK : 0;
    asm_store(w->out, v, to, from);
}

// The comparison comes first: the quotient may take over any operand's register.
static void write_div_or_zero(const struct writer *w, int to, const struct body_op *o)
{
    struct operand bound = operand_of(w, BODY_CONSTANT | o->array);
    int first = register_of(w, o->a), spare = w->first + w->plan.slots;
    if (w->t->form == FORM_EVEX) {
        struct vector kept = w->whole;
        kept.mask = COMPARE_MASK;
        kept.zero = true;
        asm_compare_to_mask(w->out, w->whole, COMPARE_MASK, register_of(w, o->c), bound);
        asm_arithmetic(w->out, kept, OP_DIV, to, first, operand_of(w, o->b));
        return;
    }
    asm_compare(w->out, w->whole, spare, register_of(w, o->c), bound);
    asm_arithmetic(w->out, w->whole, OP_DIV, to, first, operand_of(w, o->b));
    asm_arithmetic(w->out, w->whole, OP_AND, to, to, in_register(spare));
}

static void write_op(const struct writer *w, int i)
{
    const struct body_op *o = &w->b->op[i];
    int to = w->first + w->plan.slot[i];
    switch (o->kind) {
    case BODY_LOAD:
        write_load(w, to, o);
        break;
    case BODY_STORE:
        write_store(w, o);
        break;
    case BODY_ADD:
        write_arithmetic(w, OP_ADD, to, o);
        break;
    case BODY_SUB:
        write_arithmetic(w, OP_SUB, to, o);
        break;
    case BODY_MUL:
        write_arithmetic(w, OP_MUL, to, o);
        break;
    case BODY_DIV:
        write_arithmetic(w, OP_DIV, to, o);
        break;
    case BODY_MIN:
        write_arithmetic(w, OP_MIN, to, o);
        break;
    case BODY_MAX:
        write_arithmetic(w, OP_MAX, to, o);
        break;
    case BODY_FMA:
        write_fused(w, i, to);
        break;
    case BODY_POWER:
        asm_shift_left(w->out, w->whole, to, register_of(w, o->a), 23);
        asm_add_integers(w->out, w->whole, to, to, operand_of(w, o->b));
        break;
    case BODY_DIV_OR_ZERO:
        write_div_or_zero(w, to, o);
        break;
    case BODY_SWAP:
        asm_swap_neighbours(w->out, w->whole, to, register_of(w, o->a));
        break;
    }
}

// One operation after the other for all copies, so that independent work stands side by side.
static void write_copies(struct writer *w, int copies, int index, int32_t from)
{
    w->index = index;
    for (int i = 0; i < w->b->count; i++) {
        for (int u = 0; u < copies; u++) {
            w->first = u * (w->plan.slots + 1);
            w->at = from + u * w->t->lanes * 4;
            write_op(w, i);
        }
    }
}

// Registers: as many copies as leave room for a third of constants, the argument and the tail's
// mask; then constants, those used most first come, first served.
static bool share_registers(struct writer *w, bool tail)
{
    int kept = w->t->registers - w->b->has_argument - (tail && w->t->form == FORM_VEX);
    int constants = 0, each = w->plan.slots + 1;
    for (int c = 0; c < w->out->constant_count; c++) {
        constants += w->plan.uses[c] > 0;
    }
    int reserve = constants < w->t->registers / 3 ? constants : w->t->registers / 3;
    w->copies = (kept - reserve) / each;
    w->copies = w->copies < 1 ? 1 : w->copies > MOST_COPIES ? MOST_COPIES : w->copies;
    int next = w->copies * each;
    if (next > kept) {
        return false;
    }
    for (int c = 0; c < w->out->constant_count; c++) {
        w->constant[c] = w->plan.uses[c] && next < kept ? next++ : -1;
    }
    w->tail_register = kept;
    w->argument = w->t->registers - 1;
    return true;
}

static void write_prologue(struct writer *w, uint32_t tail)
{
    if (w->b->has_argument) {
        asm_broadcast(w->out, w->whole, w->argument, in_register(0));
    }
    for (int c = 0; c < w->out->constant_count; c++) {
        if (w->constant[c] >= 0) {
            asm_broadcast(w->out, w->whole, w->constant[c], a_constant(c));
        }
    }
    if (tail && w->t->form == FORM_VEX) {
        asm_lanes(w->out, tail);
        asm_load(w->out, w->whole, w->tail_register, (struct operand){.kind = OPERAND_LANES});
    } else if (tail) {
        asm_move_immediate(w->out, RAX, (1u << tail) - 1);
        asm_set_mask(w->out, TAIL_MASK, RAX);
    }
}

struct vector whole_vector(const struct target *t)
{
    return (struct vector){t->form, t->form == FORM_EVEX ? WIDTH_512 : WIDTH_256, 0, false};
}

bool body_write(const struct body *b, const struct target *t, const int *pointer, uint32_t length)
{
    struct writer w = {.b = b, .t = t, .out = b->out, .pointer = pointer};
    uint32_t lanes = (uint32_t)t->lanes, vectors = length / lanes, tail = length % lanes;
    w.whole = whole_vector(t);
    make_plan(b, &w.plan);
    if (!share_registers(&w, tail != 0)) {
        return false;
    }
    write_prologue(&w, tail);
    uint32_t copies = (uint32_t)w.copies, turns = vectors / copies, step = copies * lanes * 4;
    uint32_t done = 0;
    if (turns > 2) { // shorter ones are written out
        asm_move_immediate(w.out, RAX, 0);
        asm_align(w.out, 64);
        size_t top = w.out->used;
        write_copies(&w, w.copies, RAX, 0);
        asm_add_immediate(w.out, RAX, (int32_t)step);
        asm_compare_immediate(w.out, RAX, (int32_t)(turns * step));
        asm_jump_back_if_not_equal(w.out, top);
        done = turns * copies;
    }
    while (done < vectors) {
        uint32_t some = vectors - done < copies ? vectors - done : copies;
        write_copies(&w, (int)some, NO_REGISTER, (int32_t)(done * lanes * 4));
        done += some;
    }
    if (tail) {
        w.tail = (int)tail;
        write_copies(&w, 1, NO_REGISTER, (int32_t)(done * lanes * 4));
    }
    return true;
}
