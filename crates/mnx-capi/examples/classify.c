/*
 * Classifies pictures: the best five classes of each.
 *
 *     cc classify.c $(pkg-config --cflags --libs mnx) -o classify
 *     ./classify mobilenext.mnx cat.jpg dog.png
 *
 * `embedded:cifar` instead of a weight file is the network inside the library, if it was built with it.
 */
#include <mnx.h>
#include <stdio.h>
#include <string.h>

#define BEST 5

/* Prints what went wrong in this thread's last call. */
static int failed(const char *what) {
    fprintf(stderr, "%s: %s\n", what, mnx_last_error());
    return 1;
}

static int classify(mnx_classifier *classifier, const char *path) {
    mnx_prediction best[BEST];
    size_t found = 0;
    if (mnx_classifier_classify_file(classifier, path, best, BEST, &found) != MNX_OK) {
        return failed("classify");
    }
    printf("%s\n", path);
    for (size_t i = 0; i < found; i++) {
        const char *label = best[i].label != NULL ? best[i].label : "?";
        printf("  %-10s %5.1f %%\n", label, best[i].probability * 100.0);
    }
    return 0;
}

int main(int argc, char **argv) {
    static const char embedded[] = "embedded:";
    mnx_model *model = NULL;
    mnx_classifier *classifier = NULL;
    int failures = 0;

    if (argc < 3) {
        fprintf(stderr, "usage: %s MODEL.mnx PICTURE...\n", argv[0]);
        return 2;
    }
    if (mnx_abi_version() != MNX_ABI_VERSION) {
        fprintf(stderr, "expected a library of ABI %d, found ABI %u\n", MNX_ABI_VERSION, (unsigned)mnx_abi_version());
        return 2;
    }
    mnx_status status = strncmp(argv[1], embedded, strlen(embedded)) == 0
                            ? mnx_model_embedded(argv[1] + strlen(embedded), &model)
                            : mnx_model_open(argv[1], &model);
    if (status != MNX_OK) {
        return failed("model");
    }
    /* NULL: the defaults, a thread for each physical core. */
    if (mnx_classifier_new(model, NULL, &classifier) != MNX_OK) {
        failures = failed("classifier");
    } else {
        for (int i = 2; i < argc; i++) {
            failures += classify(classifier, argv[i]);
        }
    }
    mnx_classifier_free(classifier);
    mnx_model_free(model);
    return failures > 0;
}
