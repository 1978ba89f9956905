# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# The default model: `make default-model` writes the corpus, checks it, trains, scores, and replaces
# images/default-model/tessera-demo.gguf. An interrupted training goes on where it stopped.

model_folder := images/default-model
model_build := $(BUILD)/default-model
model_corpus_c := $(addprefix $(model_folder)/,corpus.c corpus_main.c wordings.c facts.c numbers.c)
model_check_c := $(addprefix $(model_folder)/,check.c check_main.c)

# The recipe. The same numbers give the same file on CPUs of the same instruction set.
MODEL_SEED := 1
MODEL_CONVERSATIONS := 200000
MODEL_STEPS := 4500
MODEL_TRAIN := --seed $(MODEL_SEED) --steps $(MODEL_STEPS) --batch 4096 --rate 0.002 --decay 0.2 \
	--vocab 1024 --width 128 --layers 6 --heads 4 --kv-heads 2 --ff 384 --context 512

$(BUILD)/bin/demo-corpus: $(patsubst %.c,$(BUILD)/host/%.o,$(model_corpus_c))
	@mkdir -p $(@D)
	$(CC) $^ -o $@
$(BUILD)/bin/demo-check: $(patsubst %.c,$(BUILD)/host/%.o,$(model_check_c))
	@mkdir -p $(@D)
	$(CC) $^ -o $@

$(model_build)/train.txt $(model_build)/held-out.tsv &: $(BUILD)/bin/demo-corpus $(BUILD)/bin/demo-check
	@mkdir -p $(model_build)
	$(BUILD)/bin/demo-corpus $(model_build) $(MODEL_CONVERSATIONS) $(MODEL_SEED)
	$(BUILD)/bin/demo-check $(model_build)/train.txt $(model_build)/held-out.tsv

default-model: $(BUILD)/bin/tessera-train $(model_build)/train.txt $(model_build)/held-out.tsv
	$(BUILD)/bin/tessera-train --corpus $(model_build)/train.txt \
		--held-out $(model_build)/held-out.tsv --checkpoint $(model_build)/checkpoint --resume \
		$(MODEL_TRAIN) --scores $(model_build)/scores.md \
		--out $(model_folder)/tessera-demo.gguf
	@rm -f $(model_build)/checkpoint
	@cat $(model_build)/scores.md

.PHONY: default-model
