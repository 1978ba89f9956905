// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Runs a fuzzer's function once for each file named, without libFuzzer: what fuzzing has found
// stays tested, by any compiler. Its last line is cmocka's.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        FILE *f = fopen(argv[i], "rb");
        long bytes = 0;
        if (!f || fseek(f, 0, SEEK_END) || (bytes = ftell(f)) < 0 || fseek(f, 0, SEEK_SET)) {
            perror(argv[i]);
            return 1;
        }
        // Exactly as long as the input, so that the sanitizer sees a read past it.
        uint8_t *data = malloc((size_t)bytes ? (size_t)bytes : 1);
        if (!data || fread(data, 1, (size_t)bytes, f) != (size_t)bytes) {
            perror(argv[i]);
            return 1;
        }
        fclose(f);
        printf("%s: %ld bytes\n", argv[i], bytes);
        fflush(stdout); // should this one fail, its name is the last
        LLVMFuzzerTestOneInput(data, (size_t)bytes);
        free(data);
    }
    printf("[  PASSED  ] %d test(s).\n", argc - 1);
    return 0;
}
