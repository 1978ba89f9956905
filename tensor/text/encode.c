// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Text to token ids: special tokens are cut out first, the text between them goes through the
// vocabulary's own algorithm.
#include "tensor/text/tokenizer_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void (*tokenizer_pause)(void);

void tokenizer_set_pause(void (*pause)(void))
{
    tokenizer_pause = pause;
}

static int encode_text(const struct tokenizer *t, struct merge_work *w, const char *text,
                       size_t bytes, bool after_special, struct id_sink *out)
{
    if (!bytes)
        return 0;
    switch (t->kind) {
    case VOCABULARY_SPM:
        return spm_encode(t, w, text, bytes, after_special && t->add_space_prefix, out);
    case VOCABULARY_WPM:
        return wpm_encode(t, text, bytes, out);
    case VOCABULARY_UNIGRAM:
        return unigram_encode(t, text, bytes, out);
    case VOCABULARY_BPE:
        break;
    }
    return bpe_encode(t, w, text, bytes, out);
}

long tokenizer_encode_parts(const struct tokenizer *t, const char *text, size_t bytes,
                            unsigned flags, const struct chat_part *parts, size_t part_count,
                            int32_t *ids, size_t max)
{
    struct id_sink out = {ids, max, 0};
    struct merge_work work = {0};
    struct special_hit *hit;
    size_t hits, at = 0;
    int rc = special_find(t, text, bytes, flags & TOKENIZE_PARSE_SPECIAL, parts, part_count, &hit,
                          &hits);
    if (rc)
        return rc;
    if (flags & TOKENIZE_ADD_SPECIAL && t->add_bos)
        sink_put(&out, t->bos);
    bool after_special = true;
    for (size_t i = 0; !rc && i < hits; i++) {
        if (hit[i].start > at) {
            rc = encode_text(t, &work, text + at, hit[i].start - at, after_special, &out);
            after_special = false;
        }
        sink_put(&out, hit[i].id);
        at = hit[i].start + hit[i].bytes;
        after_special = true;
    }
    if (!rc)
        rc = encode_text(t, &work, text + at, bytes - at, after_special, &out);
    if (flags & TOKENIZE_ADD_SPECIAL && (t->add_eos || t->add_sep))
        sink_put(&out, t->add_sep ? t->sep : t->eos);
    free(hit);
    merge_free(&work);
    return rc ? rc : (long)out.count;
}

long tokenizer_encode(const struct tokenizer *t, const char *text, size_t bytes, unsigned flags,
                      int32_t *ids, size_t max)
{
    return tokenizer_encode_parts(t, text, bytes, flags, NULL, 0, ids, max);
}
