/* Everything that a program can hand over by mistake is a status with a sentence. Run in the repository's root. */
#define _DEFAULT_SOURCE
#include "test.h"
#ifdef __linux__
#include <sys/mman.h>
#endif

static const size_t SHAPE[4] = {1, 3, 32, 32};

/* What is no weight file is refused by its first bytes: nothing of its length is allocated. */
static void much_memory(void) {
#ifdef __linux__
    const size_t len = (size_t)64 << 30;
    mnx_model *model = NULL;
    void *zeros = mmap(NULL, len, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (zeros != MAP_FAILED) {
        EXPECT(MNX_INVALID_FILE, mnx_model_from_bytes(zeros, len, &model));
        CHECK(munmap(zeros, len) == 0);
    }
#endif
}

static void models(void) {
    mnx_model *model = (mnx_model *)&checks;
    size_t number = 0, len = 0;
    bool yes = true;
    const char *label = NULL;
    float numbers[3];
    INVALID(mnx_model_open(NULL, &model));
    CHECK(model == NULL);
    INVALID(mnx_model_open(CIFAR, NULL));
    EXPECT(MNX_NOT_FOUND, mnx_model_open("no/such.mnx", &model));
    CHECK(strstr(mnx_last_error(), "no/such.mnx") != NULL);
    EXPECT(MNX_INVALID_FILE, mnx_model_open(CAT, &model));
    EXPECT(MNX_INVALID_FILE, mnx_model_open("\xff\xfe", &model) == MNX_NOT_FOUND ? MNX_INVALID_FILE : MNX_OK);
    EXPECT(MNX_IO, mnx_model_open("testdata", &model));
    INVALID(mnx_model_from_bytes(NULL, 8, &model));
    EXPECT(MNX_INVALID_FILE, mnx_model_from_bytes(NULL, 0, &model));
    EXPECT(MNX_INVALID_FILE, mnx_model_from_bytes((const uint8_t *)"no model", 8, &model));
    EXPECT(MNX_INVALID_FILE, mnx_model_from_bytes((const uint8_t *)"", 0, &model));
    INVALID(mnx_model_from_bytes((const uint8_t *)"", SIZE_MAX, &model));
    INVALID(mnx_model_embedded(NULL, &model));
    EXPECT(MNX_UNSUPPORTED, mnx_model_embedded("no such network", &model));
    INVALID(mnx_model_embedded("\xff", &model));
    INVALID(mnx_model_is_detector(NULL, &yes));
    INVALID(mnx_model_classes(NULL, &number));
    INVALID(mnx_model_resolution(NULL, &number));
    INVALID(mnx_model_features(NULL, &number));
    INVALID(mnx_model_normalisation(NULL, numbers, numbers));
    INVALID(mnx_model_label(NULL, 0, &label));
    mnx_model_free(NULL);

    /* A file with its last byte cut off, then with one more. */
    uint8_t *bytes = read_file(CIFAR, &len);
    EXPECT(MNX_INVALID_FILE, mnx_model_from_bytes(bytes, len - 1, &model));
    CHECK(model == NULL);
    bytes[len / 2] ^= 1;
    EXPECT(MNX_INVALID_FILE, mnx_model_from_bytes(bytes, len, &model));
    bytes[len / 2] ^= 1;
    OK(mnx_model_from_bytes(bytes, len, &model));
    free(bytes);
    INVALID(mnx_model_classes(model, NULL));
    INVALID(mnx_model_classes((const mnx_model *)((const char *)model + 1), &number));
    INVALID(mnx_model_normalisation(model, NULL, numbers));
    INVALID(mnx_model_normalisation(model, numbers, NULL));
    OK(mnx_model_normalisation(model, numbers, numbers));
    INVALID(mnx_model_label(model, 10, &label));
    INVALID(mnx_model_label(model, SIZE_MAX, &label));
    INVALID(mnx_model_label(model, 3, NULL));
    OK(mnx_model_label(model, 3, &label));
    CHECK(strcmp(label, "cat") == 0);
    OK(mnx_model_classes(model, &number));
    CHECK(number == 10);
    OK(mnx_model_resolution(model, &number));
    CHECK(number == 32);
    OK(mnx_model_is_detector(model, &yes));
    CHECK(!yes);
    mnx_model_free(model);
}

static void options(const mnx_model *model) {
    mnx_options *options = NULL;
    mnx_session *session = NULL;
    size_t threads = 0;
    const char *isa = NULL;
    INVALID(mnx_options_new(NULL));
    INVALID(mnx_options_set_threads(NULL, 1));
    INVALID(mnx_options_set_isa(NULL, "scalar"));
    INVALID(mnx_options_set_dot_products(NULL, true));
    INVALID(mnx_options_set_amx(NULL, true));
    OK(mnx_options_new(&options));
    INVALID(mnx_options_set_threads(options, 0));
    INVALID(mnx_options_set_threads(options, 1025));
    INVALID(mnx_options_set_threads(options, SIZE_MAX));
    INVALID(mnx_options_set_isa(options, "avx9000"));
    INVALID(mnx_options_set_isa(options, ""));
    INVALID(mnx_options_set_isa(options, "\xff"));
    OK(mnx_options_set_isa(options, "simd128"));
    CHECK(mnx_session_new(model, options, &session) != MNX_OK);
    CHECK(session == NULL);
    OK(mnx_options_set_isa(options, "scalar"));
    OK(mnx_options_set_threads(options, 2));
    OK(mnx_options_set_dot_products(options, false));
    OK(mnx_options_set_amx(options, false));
    OK(mnx_session_new(model, options, &session));
    /* What it takes, it takes at once. */
    mnx_options_free(options);
    OK(mnx_session_threads(session, &threads));
    OK(mnx_session_isa(session, &isa));
    CHECK(threads == 2 && strcmp(isa, "scalar") == 0);
    INVALID(mnx_session_threads(session, NULL));
    INVALID(mnx_session_isa(NULL, &isa));
    mnx_session_free(session);
    mnx_options_free(NULL);
}

static void sessions(const mnx_model *model) {
    mnx_session *session = NULL;
    float *input = ramp(3 * 32 * 32), logits[10] = {42};
    size_t count = 0, sizes[4];
    const char *name = NULL;
    const size_t len = 3 * 32 * 32;
    INVALID(mnx_session_new(NULL, NULL, &session));
    INVALID(mnx_session_new(model, NULL, NULL));
    OK(mnx_session_new(model, NULL, &session));

    INVALID(mnx_session_run(NULL, input, len, SHAPE, logits, 10));
    INVALID(mnx_session_run(session, NULL, len, SHAPE, logits, 10));
    INVALID(mnx_session_run(session, input, len, NULL, logits, 10));
    INVALID(mnx_session_run(session, input, len, SHAPE, NULL, 10));
    INVALID(mnx_session_run(session, input, len - 1, SHAPE, logits, 10));
    INVALID(mnx_session_run(session, input, 0, SHAPE, logits, 10));
    INVALID(mnx_session_run(session, input, SIZE_MAX, SHAPE, logits, 10));
    INVALID(mnx_session_run(session, input, SIZE_MAX / 4, SHAPE, logits, 10));
    INVALID(mnx_session_run(session, input, len, SHAPE, logits, 9));
    INVALID(mnx_session_run(session, input, len, SHAPE, logits, 11));
    INVALID(mnx_session_run(session, input, len, SHAPE, logits, 0));
    INVALID(mnx_session_run(session, (const float *)((const char *)input + 1), len - 1, SHAPE, logits, 10));
    INVALID(mnx_session_run(session, input, len, (const size_t[4]){1, 1, 32, 96}, logits, 10));
    INVALID(mnx_session_run(session, input, 0, (const size_t[4]){0, 3, 32, 32}, logits, 10));
    INVALID(mnx_session_run(session, input, 0, (const size_t[4]){1, 3, 0, 32}, logits, 10));
    EXPECT(MNX_MEMORY, mnx_session_run(session, input, len, (const size_t[4]){SIZE_MAX, SIZE_MAX, 2, 2}, logits, 10));
    CHECK(logits[0] == 42);

    INVALID(mnx_session_outputs(NULL, SHAPE, &count));
    INVALID(mnx_session_outputs(session, NULL, &count));
    INVALID(mnx_session_outputs(session, SHAPE, NULL));
    INVALID(mnx_session_outputs(session, (const size_t[4]){1, 4, 32, 32}, &count));
    EXPECT(MNX_LIMIT, mnx_session_outputs(session, (const size_t[4]){1, 3, 1u << 20, 1u << 20}, &count));
    OK(mnx_session_outputs(session, SHAPE, &count));
    CHECK(count == 1);
    INVALID(mnx_session_output(session, SHAPE, 1, &name, sizes));
    INVALID(mnx_session_output(session, SHAPE, 0, &name, NULL));
    OK(mnx_session_output(session, SHAPE, 0, NULL, sizes));
    CHECK(sizes[0] == 1 && sizes[1] == 10 && sizes[2] == 1 && sizes[3] == 1);

    mnx_output output = {"logits", logits, 10};
    INVALID(mnx_session_run_outputs(session, input, len, SHAPE, NULL, 1));
    output.name = "boxes";
    INVALID(mnx_session_run_outputs(session, input, len, SHAPE, &output, 1));
    CHECK(strstr(mnx_last_error(), "logits") != NULL);
    output.name = NULL;
    INVALID(mnx_session_run_outputs(session, input, len, SHAPE, &output, 1));
    output.name = "logits";
    output.len = 9;
    INVALID(mnx_session_run_outputs(session, input, len, SHAPE, &output, 1));
    output.data = NULL;
    INVALID(mnx_session_run_outputs(session, input, len, SHAPE, &output, 1));
    CHECK(logits[0] == 42);

    INVALID(mnx_session_features(session, input, len, SHAPE, logits, 10));
    /* It still works. */
    OK(mnx_session_run(session, input, len, SHAPE, logits, 10));
    CHECK(logits[0] != 42);
    mnx_session_free(session);
    mnx_session_free(NULL);
    free(input);
}

static void frames(mnx_classifier *classifier) {
    uint8_t pixels[64 * 4] = {0};
    mnx_prediction best[3];
    size_t found = 9;
    const mnx_frame good = {.struct_size = sizeof good, .format = MNX_RGB8, .width = 8, .height = 8, .pixels = pixels,
                            .pixels_len = 8 * 8 * 3, .stride = 24};
    mnx_frame bad = good;
    INVALID(mnx_classifier_classify(NULL, &good, best, 3, &found));
    CHECK(found == 0);
    found = 9;
    INVALID(mnx_classifier_classify(classifier, NULL, best, 3, &found));
    CHECK(found == 0);
    INVALID(mnx_classifier_classify(classifier, &good, NULL, 3, &found));
    INVALID(mnx_classifier_classify(classifier, &good, best, 3, NULL));
#define BAD(change)                                                            \
    do {                                                                       \
        bad = good;                                                            \
        change;                                                                \
        INVALID(mnx_classifier_classify(classifier, &bad, best, 3, &found));   \
    } while (0)
    BAD(bad.struct_size = 0);
    BAD(bad.struct_size = 8);
    BAD(bad.struct_size = 4097);
    BAD(bad.struct_size = SIZE_MAX / 2);
    BAD(bad.struct_size = SIZE_MAX);
    BAD(bad.format = 0);
    BAD(bad.format = 12345);
    BAD(bad.format = MNX_RGBA8);
    BAD(bad.width = 0);
    BAD(bad.height = 0);
    BAD(bad.width = SIZE_MAX);
    BAD(bad.height = SIZE_MAX);
    BAD(bad.height = 9);
    BAD(bad.pixels = NULL);
    BAD(bad.pixels_len = 0);
    BAD(bad.pixels_len = 8 * 8 * 3 - 1);
    BAD(bad.pixels_len = SIZE_MAX);
    BAD(bad.stride = 23);
    BAD(bad.stride = SIZE_MAX);
    /* A frame of a later version: members that nobody knows here have to be zero. */
    struct {
        mnx_frame frame;
        size_t later;
    } newer = {good, 0};
    newer.frame.struct_size = sizeof newer;
    OK(mnx_classifier_classify(classifier, &newer.frame, best, 3, &found));
    newer.later = 1;
    EXPECT(MNX_UNSUPPORTED, mnx_classifier_classify(classifier, &newer.frame, best, 3, &found));
    const int32_t video[] = {MNX_NV12, MNX_NV12_FULL, MNX_NV12_BT709, MNX_NV12_BT709_FULL};
    for (size_t i = 0; i < sizeof video / sizeof *video; i++) {
        BAD(bad.format = video[i]);
        BAD((bad.format = video[i], bad.chroma = pixels, bad.chroma_len = 31, bad.chroma_stride = 8));
        BAD((bad.format = video[i], bad.chroma = pixels, bad.chroma_len = 32, bad.chroma_stride = 7));
        bad.chroma_stride = 8;
        OK(mnx_classifier_classify(classifier, &bad, best, 3, &found));
    }
    BAD(bad.format = MNX_BGRA8);
    bad.stride = 32;
    bad.pixels_len = 256;
    OK(mnx_classifier_classify(classifier, &bad, best, 3, &found));
    bad.format = MNX_GREY8;
    OK(mnx_classifier_classify(classifier, &bad, best, 3, &found));
    bad.format = MNX_BGR8;
    OK(mnx_classifier_classify(classifier, &bad, best, 3, &found));
    OK(mnx_classifier_classify(classifier, &good, best, 3, &found));
    CHECK(found == 3 && best[0].probability >= best[1].probability);
    OK(mnx_classifier_classify(classifier, &good, NULL, 0, &found));
    CHECK(found == 0);
}

static void pictures(mnx_classifier *classifier, size_t classes) {
    mnx_picture *picture = NULL;
    mnx_frame frame = {.struct_size = sizeof frame};
    mnx_prediction best[20];
    float values[20];
    size_t found = 0, len = 0;
    INVALID(mnx_picture_open(NULL, &picture));
    INVALID(mnx_picture_open(CAT, NULL));
    EXPECT(MNX_NOT_FOUND, mnx_picture_open("no/such.png", &picture));
    EXPECT(MNX_INVALID_FILE, mnx_picture_open(CIFAR, &picture));
    INVALID(mnx_picture_decode(NULL, 5, &picture));
    EXPECT(MNX_INVALID_FILE, mnx_picture_decode((const uint8_t *)"no picture", 10, &picture));
    EXPECT(MNX_INVALID_FILE, mnx_picture_decode((const uint8_t *)"", 0, &picture));
    INVALID(mnx_picture_frame(NULL, &frame));
    mnx_picture_free(NULL);

    EXPECT(MNX_NOT_FOUND, mnx_classifier_classify_file(classifier, "no/such.png", best, 5, &found));
    INVALID(mnx_classifier_classify_file(classifier, NULL, best, 5, &found));
    EXPECT(MNX_INVALID_FILE, mnx_classifier_classify_file(classifier, CIFAR, best, 5, &found));
    EXPECT(MNX_INVALID_FILE, mnx_classifier_classify_bytes(classifier, (const uint8_t *)"GIF89a", 6, best, 5, &found));
    INVALID(mnx_classifier_classify_bytes(classifier, NULL, 6, best, 5, &found));
    uint8_t *bytes = read_file(CAT, &len);
    EXPECT(MNX_INVALID_FILE, mnx_classifier_classify_bytes(classifier, bytes, len / 2, best, 5, &found));
    CHECK(found == 0);
    OK(mnx_classifier_classify_bytes(classifier, bytes, len, best, 20, &found));
    CHECK(found == classes && strcmp(best[0].label, "cat") == 0);
    OK(mnx_picture_decode(bytes, len, &picture));
    free(bytes);
    INVALID(mnx_picture_frame(picture, NULL));
    const size_t sizes[] = {0, sizeof frame - 1, 4097, SIZE_MAX / 2, SIZE_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        frame.struct_size = sizes[i];
        INVALID(mnx_picture_frame(picture, &frame));
    }
    frame.struct_size = sizeof frame;
    OK(mnx_picture_frame(picture, &frame));
    CHECK(frame.width == 451 && frame.height == 300 && frame.struct_size == sizeof frame);
    INVALID(mnx_classifier_logits(classifier, &frame, values, classes - 1));
    INVALID(mnx_classifier_logits(classifier, &frame, values, classes + 1));
    INVALID(mnx_classifier_logits(classifier, &frame, NULL, classes));
    INVALID(mnx_classifier_logits(NULL, &frame, values, classes));
    INVALID(mnx_classifier_embedding(classifier, &frame, values, 3));
    OK(mnx_classifier_logits(classifier, &frame, values, classes));
    mnx_picture_free(picture);
}

static void stoppers(const mnx_model *model) {
    mnx_session *session = NULL;
    mnx_stopper *stopper = NULL;
    float *input = ramp(3 * 32 * 32), logits[10];
    INVALID(mnx_session_stopper(NULL, &stopper));
    INVALID(mnx_classifier_stopper(NULL, &stopper));
    INVALID(mnx_detector_stopper(NULL, &stopper));
    INVALID(mnx_stopper_stop(NULL));
    INVALID(mnx_stopper_resume(NULL));
    OK(mnx_session_new(model, NULL, &session));
    INVALID(mnx_session_stopper(session, NULL));
    OK(mnx_session_stopper(session, &stopper));
    OK(mnx_stopper_stop(stopper));
    EXPECT(MNX_STOPPED, mnx_session_run(session, input, 3 * 32 * 32, SHAPE, logits, 10));
    OK(mnx_stopper_resume(stopper));
    OK(mnx_session_run(session, input, 3 * 32 * 32, SHAPE, logits, 10));
    mnx_session_free(session);
    /* It may outlive what it stops. */
    OK(mnx_stopper_stop(stopper));
    mnx_stopper_free(stopper);
    mnx_stopper_free(NULL);
    free(input);
}

static void detectors(const mnx_model *classifier) {
    mnx_model *model = NULL;
    mnx_detector *detector = NULL;
    mnx_classifier *wrong = NULL;
    mnx_detection boxes[2];
    size_t all = 0, found = 0, number = 0;
    bool yes = false;
    OK(mnx_model_open(BCCD, &model));
    OK(mnx_model_is_detector(model, &yes));
    CHECK(yes);
    INVALID(mnx_model_features(model, &number));
    INVALID(mnx_classifier_new(model, NULL, &wrong));
    INVALID(mnx_detector_new(classifier, NULL, &detector));
    INVALID(mnx_detector_new(NULL, NULL, &detector));
    INVALID(mnx_detector_new(model, NULL, NULL));
    OK(mnx_detector_new(model, NULL, &detector));
    INVALID(mnx_detector_set_score(detector, 1.5f));
    INVALID(mnx_detector_set_score(detector, -1.0f));
    INVALID(mnx_detector_set_score(NULL, 0.5f));
    INVALID(mnx_detector_set_iou(detector, 2.0f));
    INVALID(mnx_detector_set_top(detector, 0));
    INVALID(mnx_detector_set_clip(NULL, true));
    INVALID(mnx_detector_detect_file(detector, NULL, boxes, 2, &found));
    EXPECT(MNX_NOT_FOUND, mnx_detector_detect_file(detector, "no/such.jpg", boxes, 2, &found));
    EXPECT(MNX_INVALID_FILE, mnx_detector_detect_bytes(detector, (const uint8_t *)"x", 1, boxes, 2, &found));
    INVALID(mnx_detector_detect(detector, NULL, boxes, 2, &found));
    INVALID(mnx_detector_detect_file(detector, CELLS, NULL, 2, &found));
    /* How many there are, and then the best two of them. */
    OK(mnx_detector_detect_file(detector, CELLS, NULL, 0, &all));
    OK(mnx_detector_detect_file(detector, CELLS, boxes, 2, &found));
    CHECK(all > 2 && found == all && boxes[0].score >= boxes[1].score && boxes[0].label != NULL);
    OK(mnx_detector_set_top(detector, 1));
    OK(mnx_detector_set_score(detector, 0.5f));
    OK(mnx_detector_set_iou(detector, 0.4f));
    OK(mnx_detector_set_clip(detector, false));
    OK(mnx_detector_detect_file(detector, CELLS, boxes, 2, &found));
    CHECK(found == 1);
    mnx_detector_free(detector);
    mnx_detector_free(NULL);
    mnx_model_free(model);
}

int main(void) {
    mnx_model *model = NULL;
    mnx_classifier *classifier = NULL;
    CHECK(mnx_abi_version() == MNX_ABI_VERSION);
    CHECK(strlen(mnx_version()) >= 5);
    CHECK(strcmp(mnx_last_error(), "") == 0);
    CHECK(strcmp(mnx_status_name(MNX_NOT_FOUND), "not found") == 0 && strcmp(mnx_status_name(-7), "unknown") == 0);
    much_memory();
    models();
    OK(mnx_model_open(CIFAR, &model));
    options(model);
    sessions(model);
    INVALID(mnx_classifier_new(NULL, NULL, &classifier));
    INVALID(mnx_classifier_new(model, NULL, NULL));
    OK(mnx_classifier_new(model, NULL, &classifier));
    frames(classifier);
    pictures(classifier, 10);
    detectors(model);
    stoppers(model);
    mnx_classifier_free(classifier);
    mnx_classifier_free(NULL);
    mnx_model_free(model);
    printf("bad input: %d checks\n", checks);
    return 0;
}
