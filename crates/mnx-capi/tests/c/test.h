/* What the C tests share. */
#ifndef TEST_H
#define TEST_H

#include <mnx.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int checks;

/* Ends the program when something is not so. */
#define CHECK(what)                                                                                  \
    do {                                                                                             \
        checks++;                                                                                    \
        if (!(what)) {                                                                               \
            fprintf(stderr, "%s:%d: expected %s; last error: %s\n", __FILE__, __LINE__, #what, mnx_last_error()); \
            exit(1);                                                                                 \
        }                                                                                            \
    } while (0)

/* A call that ends with this status. A failure has a sentence. */
#define EXPECT(status, call)                                                                         \
    do {                                                                                             \
        const mnx_status found_ = (call);                                                            \
        checks++;                                                                                    \
        if (found_ != (status) || (found_ != MNX_OK && strlen(mnx_last_error()) < 10)) {             \
            fprintf(stderr, "%s:%d: %s: expected %s, found %s: %s\n", __FILE__, __LINE__, #call,     \
                    mnx_status_name(status), mnx_status_name(found_), mnx_last_error());             \
            exit(1);                                                                                 \
        }                                                                                            \
    } while (0)

#define OK(call) EXPECT(MNX_OK, call)
#define INVALID(call) EXPECT(MNX_INVALID_INPUT, call)

static const char *const CIFAR = "crates/mnx-infer/model/mobilenext-0.35-cifar10.mnx";
static const char *const IMAGENET = "crates/mnx-infer/model/imagenet/mobilenetv2-1.0-imagenet-int8.mnx";
static const char *const BCCD = "crates/mnx-infer/model/bccd/ssdlite-mobilenext-0.35-bccd-int8.mnx";
static const char *const CAT = "testdata/pictures/chelsea.png";
static const char *const CELLS = "testdata/bccd/JPEGImages/BloodImage_00031.jpg";

/* A tensor of numbers that are exact on every machine. */
static inline float *ramp(size_t len) {
    float *values = malloc(len * sizeof *values);
    CHECK(values != NULL);
    for (size_t i = 0; i < len; i++) {
        values[i] = (float)((int)(i * 37 % 256) - 128) / 64.0f;
    }
    return values;
}

/* A whole file. */
static inline uint8_t *read_file(const char *path, size_t *len) {
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL);
    CHECK(fseek(file, 0, SEEK_END) == 0);
    const long size = ftell(file);
    CHECK(size > 0);
    rewind(file);
    uint8_t *bytes = malloc((size_t)size);
    CHECK(bytes != NULL);
    CHECK(fread(bytes, 1, (size_t)size, file) == (size_t)size);
    fclose(file);
    *len = (size_t)size;
    return bytes;
}

#endif
