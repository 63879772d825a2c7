/*
 * Prints checksums of what networks give, in the form of tests/bits.txt, which the Rust library's test compares, too.
 * Usage: bits [ISA], in the repository's root.
 */
#include "test.h"

/* FNV-1a of the bits of floats, least significant byte first. */
static uint64_t checksum(const float *values, size_t len) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < len; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        for (int byte = 0; byte < 4; byte++) {
            hash = (hash ^ (bits >> (8 * byte) & 0xff)) * 0x100000001b3u;
        }
    }
    return hash;
}

static void print(const char *name, const char *class, const float *values, size_t len) {
    printf("%s %s %016llx\n", name, class, (unsigned long long)checksum(values, len));
}

/* Every output of a network for a raw tensor; of classifiers the features, too. */
static void tensors(const char *name, const char *path, const mnx_options *options, const size_t shape[4], bool f32) {
    mnx_model *model = NULL;
    mnx_session *session = NULL;
    const char *isa = NULL;
    char title[64];
    size_t count = 0, features = 0;
    const size_t len = shape[0] * shape[1] * shape[2] * shape[3];
    float *input = ramp(len);
    OK(mnx_model_open(path, &model));
    OK(mnx_session_new(model, options, &session));
    OK(mnx_session_isa(session, &isa));
    const char *class = !f32 ? "any" : strcmp(isa, "scalar") == 0 || strcmp(isa, "simd128") == 0 ? "scalar" : "fused";
    OK(mnx_session_outputs(session, shape, &count));
    mnx_output outputs[4];
    CHECK(count <= 4);
    for (size_t i = 0; i < count; i++) {
        size_t sizes[4];
        OK(mnx_session_output(session, shape, i, &outputs[i].name, sizes));
        outputs[i].len = sizes[0] * sizes[1] * sizes[2] * sizes[3];
        outputs[i].data = malloc(outputs[i].len * sizeof(float));
    }
    OK(mnx_session_run_outputs(session, input, len, shape, outputs, count));
    for (size_t i = 0; i < count; i++) {
        snprintf(title, sizeof title, "%s/%s", name, outputs[i].name);
        print(title, class, outputs[i].data, outputs[i].len);
    }
    /* The first output alone is the same. */
    float *first = malloc(outputs[0].len * sizeof(float));
    OK(mnx_session_run(session, input, len, shape, first, outputs[0].len));
    CHECK(memcmp(first, outputs[0].data, outputs[0].len * sizeof(float)) == 0);
    if (mnx_model_features(model, &features) == MNX_OK) {
        features *= shape[0];
        float *values = malloc(features * sizeof(float));
        OK(mnx_session_features(session, input, len, shape, values, features));
        snprintf(title, sizeof title, "%s/features", name);
        print(title, class, values, features);
        free(values);
    }
    for (size_t i = 0; i < count; i++) {
        free(outputs[i].data);
    }
    free(first);
    free(input);
    mnx_session_free(session);
    mnx_model_free(model);
}

/* Logits and embedding of a picture; the model is released first. */
static void picture(const mnx_options *options) {
    mnx_model *model = NULL;
    mnx_classifier *classifier = NULL;
    mnx_picture *picture = NULL;
    mnx_frame frame = {.struct_size = sizeof frame};
    size_t classes = 0, features = 0;
    OK(mnx_model_open(IMAGENET, &model));
    OK(mnx_model_classes(model, &classes));
    OK(mnx_model_features(model, &features));
    OK(mnx_classifier_new(model, options, &classifier));
    mnx_model_free(model);
    OK(mnx_picture_open(CAT, &picture));
    OK(mnx_picture_frame(picture, &frame));
    float *values = malloc((classes + features) * sizeof(float));
    OK(mnx_classifier_logits(classifier, &frame, values, classes));
    OK(mnx_classifier_embedding(classifier, &frame, values + classes, features));
    print("imagenet/chelsea/logits", "any", values, classes);
    print("imagenet/chelsea/embedding", "any", values + classes, features);
    free(values);
    mnx_picture_free(picture);
    mnx_classifier_free(classifier);
}

int main(int argc, char **argv) {
    mnx_options *options = NULL;
    OK(mnx_options_new(&options));
    OK(mnx_options_set_threads(options, 2));
    OK(mnx_options_set_isa(options, argc > 1 ? argv[1] : NULL));
    tensors("cifar", CIFAR, options, (const size_t[4]){2, 3, 32, 32}, true);
    tensors("imagenet", IMAGENET, options, (const size_t[4]){1, 3, 65, 48}, false);
    tensors("bccd", BCCD, options, (const size_t[4]){3, 3, 64, 49}, false);
    picture(options);
    mnx_options_free(options);
    return 0;
}
