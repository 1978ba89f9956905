// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// WordPiece ("bert" vocabularies): the text is cleaned, lower-cased and bared of accents, cut into
// words and single punctuation marks and ideographs; each word, with U+2581 before it, takes the
// longest token again and again, and is unknown as a whole when one place finds none.
#include "tensor/text/tokenizer_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

struct word {
    const struct tokenizer *t;
    const struct token_trie *trie;
    struct id_sink *out;
    uint32_t start; // the trie's node of U+2581, 0: no token begins so
    char *text;
    size_t bytes, room;
};

static bool is_space(utf8proc_int32_t c)
{
    return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

// The blocks that the published model cuts into single characters; its list ends extension D late
// and begins extension E late (0x2b920), and so does this one.
static bool is_ideograph(utf8proc_int32_t c)
{
    static const utf8proc_int32_t block[][2] = {
        {0x3400, 0x4dbf},   {0x4e00, 0x9fff},   {0xf900, 0xfaff},   {0x20000, 0x2a6df},
        {0x2a700, 0x2b73f}, {0x2b740, 0x2b81f}, {0x2b920, 0x2ceaf}, {0x2f800, 0x2fa1f}};
    for (size_t i = 0; i < sizeof block / sizeof *block; i++)
        if (c >= block[i][0] && c <= block[i][1])
            return true;
    return false;
}

static bool is_punctuation(utf8proc_int32_t c, utf8proc_category_t category)
{
    return (category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO) ||
           (c < 0x7f && category >= UTF8PROC_CATEGORY_SM && category <= UTF8PROC_CATEGORY_SO);
}

// The first character of the canonical decomposition; what follows it are accents (and the rest of
// a Hangul syllable, which the reference drops as well).
static utf8proc_int32_t without_accents(utf8proc_int32_t c)
{
    utf8proc_int32_t part[8];
    int boundary = 0;
    utf8proc_ssize_t n = utf8proc_decompose_char(c, part, 8, UTF8PROC_DECOMPOSE, &boundary);
    return n > 0 && n <= 8 ? part[0] : c;
}

static void end_word(struct word *w)
{
    const struct token_trie *r = w->trie;
    size_t before = w->out->count;
    uint32_t node = w->start;
    int32_t best = node ? r->node[node].id : -1;
    size_t best_end = 0, at = 0;
    if (!w->bytes)
        return;
    for (;;) {
        for (size_t i = at; node && i < w->bytes; i++) {
            node = trie_step(r, node, (uint8_t)w->text[i]);
            if (node && r->node[node].id >= 0) {
                best = r->node[node].id;
                best_end = i + 1;
            }
        }
        if (best < 0) { // nothing fits here: the word is unknown
            w->out->count = before;
            sink_put(w->out, w->t->unk);
            break;
        }
        sink_put(w->out, best);
        if (best_end == w->bytes)
            break;
        at = best_end;
        node = TRIE_ROOT;
        best = -1;
    }
    w->bytes = 0;
}

static int append(struct word *w, utf8proc_int32_t c)
{
    if (w->bytes + 4 > w->room) {
        size_t room = w->room * 2 + 64;
        char *text = realloc(w->text, room);
        if (!text)
            return -ENOMEM;
        w->text = text;
        w->room = room;
    }
    w->bytes += put_utf8((uint32_t)c, w->text + w->bytes);
    return 0;
}

static int take(struct word *w, utf8proc_int32_t c)
{
    const struct tokenizer *t = w->t;
    if (t->strip_accents)
        c = without_accents(c);
    if (is_space(c)) {
        end_word(w);
        return 0;
    }
    utf8proc_category_t category = utf8proc_category(c);
    bool mark = category >= UTF8PROC_CATEGORY_MN && category <= UTF8PROC_CATEGORY_ME;
    if (c == 0 || c == 0xfffd || category >= UTF8PROC_CATEGORY_CC || (mark && t->strip_accents))
        return 0;
    bool alone = is_punctuation(c, category) || is_ideograph(c);
    if (alone)
        end_word(w);
    int rc = append(w, t->lowercase ? utf8proc_tolower(c) : c);
    if (!rc && alone)
        end_word(w);
    return rc;
}

int wpm_encode(const struct tokenizer *t, const char *text, size_t bytes, struct id_sink *out)
{
    struct word w = {.t = t, .trie = token_trie(t), .out = out, .start = TRIE_ROOT};
    if (!w.trie)
        return -ENOMEM;
    for (size_t i = 0; i < 3 && w.start; i++)
        w.start = trie_step(w.trie, w.start, (uint8_t)space_mark[i]);
    int rc = 0;
    for (size_t at = 0, n, step = 0; !rc && at < bytes; at += n ? n : 1, step++) {
        n = utf8_character(text + at, bytes - at);
        maybe_pause(step);
        if (n) // a broken byte is dropped, as the reference drops U+FFFD
            rc = take(&w, (utf8proc_int32_t)utf8_value(text + at, n));
    }
    if (!rc)
        end_word(&w);
    free(w.text);
    return rc;
}
