/* Threads: a session for each on one model give the same bits; one session for all is refused, not broken. And a child. */
#define _POSIX_C_SOURCE 200809L
#include "test.h"
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 4
#define RUNS 25
#define CLASSES 10

static const size_t SHAPE[4] = {1, 3, 32, 32};
static mnx_model *model;
static mnx_session *shared;
static float *input;
static float expected[CLASSES];

static void *own_session(void *wrong) {
    mnx_session *session = NULL;
    mnx_options *options = NULL;
    float logits[CLASSES];
    if (mnx_options_new(&options) != MNX_OK || mnx_options_set_threads(options, 1) != MNX_OK
        || mnx_session_new(model, options, &session) != MNX_OK) {
        *(int *)wrong += 1;
    }
    for (int run = 0; run < RUNS; run++) {
        if (mnx_session_run(session, input, 3 * 32 * 32, SHAPE, logits, CLASSES) != MNX_OK
            || memcmp(logits, expected, sizeof logits) != 0) {
            *(int *)wrong += 1;
        }
    }
    /* Each thread has its own last error. */
    if (mnx_session_run(NULL, input, 3 * 32 * 32, SHAPE, logits, CLASSES) != MNX_INVALID_INPUT
        || strcmp(mnx_last_error(), "session: expected a handle, found NULL") != 0) {
        *(int *)wrong += 1;
    }
    mnx_session_free(session);
    mnx_options_free(options);
    return NULL;
}

static void *one_for_all(void *wrong) {
    float logits[CLASSES];
    for (int run = 0; run < RUNS; run++) {
        const mnx_status status = mnx_session_run(shared, input, 3 * 32 * 32, SHAPE, logits, CLASSES);
        if (status == MNX_OK ? memcmp(logits, expected, sizeof logits) != 0 : status != MNX_BUSY) {
            *(int *)wrong += 1;
        }
    }
    return NULL;
}

static void run_all(void *(*work)(void *)) {
    pthread_t threads[THREADS];
    int wrong[THREADS] = {0};
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&threads[i], NULL, work, &wrong[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK(wrong[i] == 0);
    }
}

/* A child has none of the library's threads: a session of one thread works there. */
static void child(void) {
    const pid_t process = fork();
    int wrong = 0, status = 1;
    CHECK(process >= 0);
    if (process == 0) {
        alarm(60);
        own_session(&wrong);
        _exit(wrong != 0);
    }
    CHECK(waitpid(process, &status, 0) == process && status == 0);
}

int main(void) {
    input = ramp(3 * 32 * 32);
    OK(mnx_model_open(CIFAR, &model));
    OK(mnx_session_new(model, NULL, &shared));
    OK(mnx_session_run(shared, input, 3 * 32 * 32, SHAPE, expected, CLASSES));
    child();
    run_all(own_session);
    run_all(one_for_all);
    CHECK(strcmp(mnx_last_error(), "") == 0);
    mnx_session_free(shared);
    mnx_model_free(model);
    free(input);
    printf("threads: %d checks\n", checks);
    return 0;
}
