/*
 * mnx: classify pictures and find things in them, close to the limit of the CPU.
 *
 *     mnx_model *model = NULL;
 *     mnx_classifier *classifier = NULL;
 *     mnx_prediction best[5];
 *     size_t found = 0;
 *     mnx_status status = mnx_model_open("mobilenext.mnx", &model);
 *     if (status == MNX_OK) status = mnx_classifier_new(model, NULL, &classifier);
 *     if (status == MNX_OK) status = mnx_classifier_classify_file(classifier, "cat.jpg", best, 5, &found);
 *     if (status != MNX_OK) fprintf(stderr, "%s\n", mnx_last_error());
 *     for (size_t i = 0; i < found; i++) printf("%5.1f %%  %s\n", best[i].probability * 100, best[i].label);
 *     mnx_classifier_free(classifier);
 *     mnx_model_free(model);
 *
 * STATUS. Every call that can fail returns an mnx_status. What went wrong is a sentence, which mnx_last_error() gives to the
 * thread that made the call. It is kept for each thread rather than handed out by every call: most calls succeed, and nobody
 * has to free anything. No panic and no exception leaves the library: a defect of its own is MNX_INTERNAL. One in a part of a
 * layer that several threads compute aborts the process, since the others would wait for that part for ever.
 *
 * WHO OWNS WHAT. Handles belong to the caller, who ends each with the function that is called _free. The order does not
 * matter: what was made of a model keeps its weights alive. Strings that the library gives belong to the library; how long
 * they live is said with each. Buffers belong to the caller; the library keeps none of them after a call.
 *
 * THREADS. Any number of threads may use one mnx_model, mnx_options, mnx_picture or mnx_stopper at once. Of mnx_session,
 * mnx_classifier and mnx_detector each thread has its own, on the same model. A call while another thread is in one with the
 * same handle does nothing and returns MNX_BUSY; the calls that make a stopper never do. Handles may move from thread to
 * thread. A child after fork() has none of the library's threads: there, make sessions of one thread
 * (mnx_options_set_threads).
 *
 * WHAT IS CHECKED. NULL, a misaligned pointer or handle, a wrong length or shape, a number out of range are statuses.
 *
 * WHAT IS UNDEFINED. The library cannot know whether memory is there. So behaviour is undefined
 *   - if a handle is used after its release or released twice, or is released while another thread is in a call with it;
 *   - if a pointer that is not NULL does not point to as much memory as the call says, or a string has no NUL at its end;
 *   - if the caller's memory is changed by another thread during the call, or is used by one while the call writes to it;
 *   - if the library is unloaded (dlclose, FreeLibrary) while there are handles, or threads that it started.
 * "# Safety" at each function says what must hold. NULL is a status, even where it is not named there.
 *
 * SHAPES AND UNITS. Tensors are 32-bit floats, contiguous, in the order pictures x channels x rows x columns (NCHW). Their
 * shape is four sizes in that order; lengths are numbers of values. Pixels are 8 bits for each channel, rows from top to
 * bottom. Pictures' sizes are pixels; strides and lengths of bytes are bytes. Networks in int8 are used in the same way as
 * those in f32: what goes in and comes out is f32.
 *
 * BINARY INTERFACE. MNX_ABI_VERSION is raised, and with it the number in the name libmnx.so.N, when a program that was
 * compiled before could go wrong: a function that is gone or takes other arguments, a structure with another layout, a
 * status with another number. Functions, statuses and formats may be added without that, and members at the end of
 * structures that have a struct_size.
 *
 * This file is made of the library's sources. Do not edit it.
 */


#ifndef MNX_H
#define MNX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Number of the binary interface that this header describes. `mnx_abi_version` gives the library's: a program runs with a
 * library of the same number.
 */
#define MNX_ABI_VERSION 1

/**
 * How a call ended. Later versions may add more: take every one but `MNX_OK` for a failure.
 */
enum mnx_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * All went well.
     */
    MNX_OK = 0,
    /**
     * An argument that cannot be: NULL, a wrong length or shape, a number out of range, an unknown name. The program is
     * wrong.
     */
    MNX_INVALID_INPUT = 1,
    /**
     * There is no such file.
     */
    MNX_NOT_FOUND = 2,
    /**
     * The system could not open or read a file, or start a thread. Another time it may.
     */
    MNX_IO = 3,
    /**
     * A file or its bytes are damaged or of another kind. Another copy may help.
     */
    MNX_INVALID_FILE = 4,
    /**
     * All is well formed, but this version, this build or this CPU does not do it.
     */
    MNX_UNSUPPORTED = 5,
    /**
     * Something is larger than the limits allow, which keep a file from taking all of a machine's memory or time: 512 MiB of
     * weights in f32, 4 GiB of a session's memory, 256 MiB of a picture file or of memory to decode it, and others. The
     * sentence names the limit.
     */
    MNX_LIMIT = 6,
    /**
     * The machine did not give enough memory.
     */
    MNX_MEMORY = 7,
    /**
     * Another thread ended the inference: `mnx_stopper_stop`.
     */
    MNX_STOPPED = 8,
    /**
     * Another thread is in a call with the same handle. Nothing happened to either.
     */
    MNX_BUSY = 9,
    /**
     * A defect of the library. The handle that was in use, if any, can only be released.
     */
    MNX_INTERNAL = 10,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum mnx_status mnx_status;
#else
typedef int32_t mnx_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What the bytes of a frame are. Rows run from top to bottom.
 */
enum mnx_format
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Red, green, blue.
     */
    MNX_RGB8 = 1,
    /**
     * Red, green, blue, alpha, which is ignored.
     */
    MNX_RGBA8 = 2,
    /**
     * Blue, green, red.
     */
    MNX_BGR8 = 3,
    /**
     * Blue, green, red, and a byte that is ignored.
     */
    MNX_BGRA8 = 4,
    /**
     * One byte, which red, green and blue all are.
     */
    MNX_GREY8 = 5,
    /**
     * Video: a plane of luma, one byte for each pixel, and a plane of chroma, two bytes (blue, red) for 2 x 2 pixels; sides
     * are rounded up. As ITU-R BT.601 says, in the range 16 to 235: most cameras, and video of standard definition.
     */
    MNX_NV12 = 6,
    /**
     * The same in the range 0 to 255: cameras of phones that say so.
     */
    MNX_NV12_FULL = 7,
    /**
     * As `MNX_NV12`, but as BT.709 says: video of high definition.
     */
    MNX_NV12_BT709 = 8,
    /**
     * As `MNX_NV12_BT709`, in the range 0 to 255.
     */
    MNX_NV12_BT709_FULL = 9,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum mnx_format mnx_format;
#else
typedef int32_t mnx_format;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * A session of a classifier that takes pictures: it resizes, crops and normalises them as the network was trained. Threads
 * need one each: a call while another thread is in one with the same classifier is `MNX_BUSY`.
 */
typedef struct mnx_classifier mnx_classifier;

/**
 * A session of a detector that takes pictures and gives boxes. Threads need one each: a call while another thread is in one
 * with the same detector is `MNX_BUSY`.
 */
typedef struct mnx_detector mnx_detector;

/**
 * A network and its weights, in f32 or int8. It never changes: any number of threads may use it at once, and what is made of
 * it keeps it alive, so it may be released before that.
 */
typedef struct mnx_model mnx_model;

/**
 * How a session, a classifier or a detector runs: threads, instruction set. They take what they need of it when they are
 * made, so it can be changed and released at any time. Any number of threads may use one at once. NULL stands for the
 * defaults.
 *
 * What is left open, the environment variables `MNX_ISA`, `MNX_TUNED_FOR`, `MNX_DOT_PRODUCTS` and `MNX_AMX` decide, and then the CPU. If
 * one of them has an unknown value, `mnx_session_new` and the like are `MNX_INVALID_INPUT`; if `MNX_ISA` names what this CPU
 * lacks, `MNX_UNSUPPORTED`.
 */
typedef struct mnx_options mnx_options;

/**
 * A decoded picture, upright, of red, green and blue bytes. It never changes: any number of threads may use it at once.
 */
typedef struct mnx_picture mnx_picture;

/**
 * One stream of inferences: tensors in, tensors out. It has its own memory, which is laid out when an input's shape first
 * comes, and kept. Threads need one each: a call while another thread is in one with the same session is `MNX_BUSY`.
 */
typedef struct mnx_session mnx_session;

/**
 * Ends the inferences of a session, a classifier or a detector from another thread: when a client has gone, say, or a deadline
 * is over. Any number of threads may use one at once. It may outlive what it stops.
 */
typedef struct mnx_stopper mnx_stopper;

/**
 * Where one output goes. This structure never changes.
 */
typedef struct mnx_output {
    /**
     * The output's name.
     */
    const char *name;
    /**
     * Room for its values.
     */
    float *data;
    /**
     * How many values there is room for: exactly as many as the output has.
     */
    size_t len;
} mnx_output;

/**
 * A picture of raw 8-bit pixels in the caller's memory, as a camera or a video decoder hands it over.
 *
 * Later versions may append members. Set everything to zero, then `struct_size` to `sizeof(mnx_frame)`: a newer library
 * knows by it what an older program does not have, and takes zero for it.
 */
typedef struct mnx_frame {
    /**
     * `sizeof(mnx_frame)`.
     */
    size_t struct_size;
    /**
     * What the pixels are: an `mnx_format`.
     */
    int32_t format;
    /**
     * Pixels per row, from 1 on.
     */
    size_t width;
    /**
     * Rows, from 1 on.
     */
    size_t height;
    /**
     * The first byte of the top row.
     */
    const uint8_t *pixels;
    /**
     * How many bytes there are.
     */
    size_t pixels_len;
    /**
     * Bytes from the start of a row to the start of the next, at least those of a row. What lies between is never read; the
     * last row may end with its last pixel.
     */
    size_t stride;
    /**
     * NV12 only: the first byte of the plane of chroma.
     */
    const uint8_t *chroma;
    /**
     * How many bytes that plane has.
     */
    size_t chroma_len;
    /**
     * Bytes from the start of one of its rows to the start of the next.
     */
    size_t chroma_stride;
} mnx_frame;

/**
 * One class of a picture. This structure never changes.
 */
typedef struct mnx_prediction {
    /**
     * Index of the class.
     */
    size_t index;
    /**
     * By softmax over all classes, 0 to 1.
     */
    float probability;
    /**
     * Its name in UTF-8; NULL if the model has no names. It belongs to the library and lives as long as the model or anything
     * that was made of it.
     */
    const char *label;
} mnx_prediction;

/**
 * Something that was found in a picture, and where. Coordinates are pixels of the picture: 0, 0 is its upper left corner;
 * width, height its lower right one. This structure never changes.
 */
typedef struct mnx_detection {
    /**
     * Index of the class, from 1 on: 0 is the background.
     */
    size_t index;
    /**
     * Above the threshold, at most 1.
     */
    float score;
    /**
     * Left edge.
     */
    float xmin;
    /**
     * Upper edge.
     */
    float ymin;
    /**
     * Right edge.
     */
    float xmax;
    /**
     * Lower edge.
     */
    float ymax;
    /**
     * Name of the class in UTF-8; NULL if the model has no names. It belongs to the library and lives as long as the model or
     * anything that was made of it.
     */
    const char *label;
} mnx_detection;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Version of the project, e.g. `0.1.0`. A string that lives as long as the process.
 */
const char *mnx_version(void);

/**
 * The library's `MNX_ABI_VERSION`, to be compared with the header's.
 */
uint32_t mnx_abi_version(void);

/**
 * What went wrong in this thread's last call that failed, one sentence in UTF-8. Empty, never NULL, if none failed yet.
 * Calls that succeed leave it as it is.
 *
 * The string belongs to the library and is valid until the thread's next call that fails, or until the thread ends.
 */
const char *mnx_last_error(void);

/**
 * A status in words, e.g. `not found`, and `unknown` for a number that is none. A string that lives as long as the process.
 */
const char *mnx_status_name(int32_t status);

/**
 * Reads a weight file (`.mnx`).
 *
 * # Safety
 * `path` is NULL or a string that ends with NUL: on Unix any bytes, elsewhere UTF-8. `model` is NULL or may be written; what
 * it becomes belongs to the caller, who releases it with `mnx_model_free`. After a failure it is NULL.
 */
mnx_status mnx_model_open(const char *path,
                          struct mnx_model **model);

/**
 * Reads a weight file from memory, which is copied and may be freed afterwards.
 *
 * # Safety
 * `bytes` is NULL or points to `len` bytes. `model` as in `mnx_model_open`.
 */
mnx_status mnx_model_from_bytes(const uint8_t *bytes, size_t len, struct mnx_model **model);

/**
 * Opens a network inside the library, without a file or a copy: `cifar`, which is MobileNeXt 0.35 for the ten classes of
 * CIFAR-10, if the library was built with it. `MNX_UNSUPPORTED` if not.
 *
 * # Safety
 * `name` is NULL or a string that ends with NUL. `model` as in `mnx_model_open`.
 */
mnx_status mnx_model_embedded(const char *name,
                              struct mnx_model **model);

/**
 * Releases a model. NULL is fine. What was made of it stays usable.
 *
 * # Safety
 * `model` is NULL or a handle that nobody uses any more.
 */
void mnx_model_free(struct mnx_model *model);

/**
 * Whether it is a detector, which gives boxes. Others are classifiers.
 *
 * # Safety
 * `model` is NULL or a handle that is not released meanwhile; `is_detector` is NULL or may be written.
 */
mnx_status mnx_model_is_detector(const struct mnx_model *model, bool *is_detector);

/**
 * How many classes it tells apart; of a detector with the background, which is class 0.
 *
 * # Safety
 * `model` is NULL or a handle that is not released meanwhile; `classes` is NULL or may be written.
 */
mnx_status mnx_model_classes(const struct mnx_model *model, size_t *classes);

/**
 * Side in pixels of the square that the network sees of a picture. `mnx_session_run` takes other sizes, too.
 *
 * # Safety
 * `model` is NULL or a handle that is not released meanwhile; `resolution` is NULL or may be written.
 */
mnx_status mnx_model_resolution(const struct mnx_model *model, size_t *resolution);

/**
 * How many numbers a picture's features are (`mnx_session_features`, `mnx_classifier_embedding`). A detector has none:
 * `MNX_INVALID_INPUT`.
 *
 * # Safety
 * `model` is NULL or a handle that is not released meanwhile; `features` is NULL or may be written.
 */
mnx_status mnx_model_features(const struct mnx_model *model, size_t *features);

/**
 * How pixels become the values of `mnx_session_run`'s input: of red, green and blue in 0 to 1, in this order, `mean` is
 * subtracted, then `deviation` divides. Both are three values.
 *
 * # Safety
 * `model` is NULL or a handle that is not released meanwhile; `mean` and `deviation` are NULL, or three values may be written
 * to each.
 */
mnx_status mnx_model_normalisation(const struct mnx_model *model,
                                   float *mean,
                                   float *deviation);

/**
 * The name of a class in UTF-8; NULL, with `MNX_OK`, if the model has no names. The string belongs to the library and lives
 * as long as the model or anything that was made of it.
 *
 * # Safety
 * `model` is NULL or a handle that is not released meanwhile; `label` is NULL or may be written.
 */
mnx_status mnx_model_label(const struct mnx_model *model,
                           size_t index,
                           const char **label);

/**
 * Makes options with the defaults: a thread for each physical core, and the rest left open.
 *
 * # Safety
 * `options` is NULL or may be written. What it becomes belongs to the caller, who releases it with `mnx_options_free`. After a
 * failure it is NULL.
 */
mnx_status mnx_options_new(struct mnx_options **options);

/**
 * Releases options. NULL is fine.
 *
 * # Safety
 * `options` is NULL or a handle that nobody uses any more.
 */
void mnx_options_free(struct mnx_options *options);

/**
 * Sets how many threads work on one inference, the calling one included: 1 to 1024. The result has the same bits for every
 * number. For many pictures at once, a session of one thread for each core is faster than many threads on each picture.
 *
 * # Safety
 * `options` is NULL or a handle that is not released meanwhile.
 */
mnx_status mnx_options_set_threads(struct mnx_options *options,
                                   size_t threads);

/**
 * Sets which kernels run: `scalar`, `avx2`, `avx512`, `neon` or `simd128`; NULL for those that the environment variable
 * `MNX_ISA` names, else the fastest. Whether this CPU has them, `mnx_session_new` and the like find out.
 *
 * # Safety
 * `options` is NULL or a handle that is not released meanwhile; `isa` is NULL or a string that ends with NUL.
 */
mnx_status mnx_options_set_isa(struct mnx_options *options, const char *isa);

/**
 * Sets whether layers in int8 use the CPU's instructions for dot products of bytes, if it has them. The default: unless the
 * environment variable `MNX_DOT_PRODUCTS` is `off`. The result has the same bits with and without.
 *
 * # Safety
 * `options` is NULL or a handle that is not released meanwhile.
 */
mnx_status mnx_options_set_dot_products(struct mnx_options *options,
                                        bool dot_products);

/**
 * Sets whether layers in int8 use AMX, the matrix tiles of Intel's Xeons, if the CPU has it. The default: unless the environment
 * variable `MNX_AMX` is `off`. Linux is asked for permission when a session with such layers is made. The result has the same
 * bits with and without.
 *
 * # Safety
 * `options` is NULL or a handle that is not released meanwhile.
 */
mnx_status mnx_options_set_amx(struct mnx_options *options,
                               bool amx);

/**
 * Makes a session. `options` may be NULL for the defaults.
 *
 * # Safety
 * `model` and `options` are NULL or handles that are not released meanwhile; `session` is NULL or may be written. What it
 * becomes belongs to the caller, who releases it with `mnx_session_free`. After a failure it is NULL.
 */
mnx_status mnx_session_new(const struct mnx_model *model,
                           const struct mnx_options *options,
                           struct mnx_session **session);

/**
 * Releases a session. NULL is fine.
 *
 * # Safety
 * `session` is NULL or a handle that nobody uses any more.
 */
void mnx_session_free(struct mnx_session *session);

/**
 * How many threads work on an inference, the calling one included. Never `MNX_BUSY`.
 *
 * # Safety
 * `session` is NULL or a handle that is not released meanwhile; `threads` is NULL or may be written.
 */
mnx_status mnx_session_threads(const struct mnx_session *session, size_t *threads);

/**
 * The instruction set whose kernels run, e.g. `avx2`. The string lives as long as the process. Never `MNX_BUSY`.
 *
 * # Safety
 * `session` is NULL or a handle that is not released meanwhile; `isa` is NULL or may be written.
 */
mnx_status mnx_session_isa(const struct mnx_session *session, const char **isa);

/**
 * How many outputs the network has for an input of this shape (four sizes: pictures, channels, rows, columns): one for
 * classifiers, two for detectors. Lays out memory for that shape, which the first run would do otherwise.
 *
 * # Safety
 * `session` is NULL or a handle that is not released meanwhile; `input_shape` is NULL or points to four sizes; `count` is
 * NULL or may be written.
 */
mnx_status mnx_session_outputs(struct mnx_session *session,
                               const size_t *input_shape,
                               size_t *count);

/**
 * Name and shape of output number `index` for an input of this shape. `name` may be NULL; else it becomes a string that
 * lives as long as the session. `output_shape` has room for four sizes.
 *
 * A classifier has `logits`, pictures x classes x 1 x 1. A detector has `scores`, pictures x priors x classes x 1, and
 * `boxes`, pictures x priors x 4 x 1, both raw: `mnx_detector_detect` makes boxes of them.
 *
 * # Safety
 * `session` is NULL or a handle that is not released meanwhile; `input_shape` is NULL or points to four sizes; `name` is
 * NULL or may be written; `output_shape` is NULL or four sizes may be written to it.
 */
mnx_status mnx_session_output(struct mnx_session *session,
                              const size_t *input_shape,
                              size_t index,
                              const char **name,
                              size_t *output_shape);

/**
 * Runs the network. Writes its first output: a classifier's logits.
 *
 * - `input`: `input_len` values of f32, contiguous in the order NCHW, the product of the four sizes at `input_shape`: any
 *   number of pictures, 3 channels, rows and columns from 1 on. The caller normalises them: `mnx_model_normalisation` says
 *   how. (`mnx_classifier_logits` and others take pixels instead.)
 * - `output`: room for exactly as many values as the output has, `output_len` of them. It may overlap the input.
 *
 * After a failure nothing is written.
 *
 * # Safety
 * `session` is NULL or a handle that is not released meanwhile; `input` is NULL or points to `input_len` values that nobody
 * changes meanwhile; `input_shape` is NULL or points to four sizes; `output` is NULL, or `output_len` values may be written
 * to it and nobody else uses them meanwhile.
 */
mnx_status mnx_session_run(struct mnx_session *session,
                           const float *input,
                           size_t input_len,
                           const size_t *input_shape,
                           float *output,
                           size_t output_len);

/**
 * Runs the network as `mnx_session_run` does, and writes the outputs that are asked for by name: `count` of them.
 *
 * # Safety
 * As `mnx_session_run`; `outputs` is NULL or points to `count` structures, whose members are as `mnx_session_run`'s output.
 */
mnx_status mnx_session_run_outputs(struct mnx_session *session,
                                   const float *input,
                                   size_t input_len,
                                   const size_t *input_shape,
                                   const struct mnx_output *outputs,
                                   size_t count);

/**
 * Runs the network up to the classifier, which does not run, and writes what it would see: pictures x features values
 * (`mnx_model_features`), for embeddings or a classifier of one's own.
 *
 * # Safety
 * As `mnx_session_run`.
 */
mnx_status mnx_session_features(struct mnx_session *session,
                                const float *input,
                                size_t input_len,
                                const size_t *input_shape,
                                float *output,
                                size_t output_len);

/**
 * Makes what ends this session's inferences from another thread. Never `MNX_BUSY`.
 *
 * # Safety
 * `session` is NULL or a handle that is not released meanwhile; `stopper` is NULL or may be written. What it becomes belongs to
 * the caller, who releases it with `mnx_stopper_free`. After a failure it is NULL.
 */
mnx_status mnx_session_stopper(const struct mnx_session *session,
                               struct mnx_stopper **stopper);

/**
 * Reads and decodes a picture file: PNG, JPEG, WebP, BMP, GIF, TIFF or PNM, as its content says. `MNX_UNSUPPORTED` if the
 * library was built without decoders.
 *
 * # Safety
 * `path` is NULL or a string that ends with NUL: on Unix any bytes, elsewhere UTF-8. `picture` is NULL or may be written; what
 * it becomes belongs to the caller, who releases it with `mnx_picture_free`. After a failure it is NULL.
 */
mnx_status mnx_picture_open(const char *path,
                            struct mnx_picture **picture);

/**
 * Decodes the bytes of a picture file, as `mnx_picture_open` does. They may be freed afterwards.
 *
 * # Safety
 * `bytes` is NULL or points to `len` bytes. `picture` as in `mnx_picture_open`.
 */
mnx_status mnx_picture_decode(const uint8_t *bytes, size_t len, struct mnx_picture **picture);

/**
 * Releases a picture. NULL is fine.
 *
 * # Safety
 * `picture` is NULL or a handle that nobody uses any more, and neither is a frame that was made of it.
 */
void mnx_picture_free(struct mnx_picture *picture);

/**
 * Describes a picture's pixels, which are `MNX_RGB8`, as a frame. They belong to the picture and live as long as it does.
 *
 * # Safety
 * `picture` is NULL or a handle that is not released meanwhile; `frame` is NULL or points to an `mnx_frame` whose
 * `struct_size` is set.
 */
mnx_status mnx_picture_frame(const struct mnx_picture *picture,
                             struct mnx_frame *frame);

/**
 * Makes a classifier. `options` may be NULL for the defaults. A detector's model is `MNX_INVALID_INPUT`.
 *
 * # Safety
 * `model` and `options` are NULL or handles that are not released meanwhile; `classifier` is NULL or may be written. What it
 * becomes belongs to the caller, who releases it with `mnx_classifier_free`. After a failure it is NULL.
 */
mnx_status mnx_classifier_new(const struct mnx_model *model,
                              const struct mnx_options *options,
                              struct mnx_classifier **classifier);

/**
 * Releases a classifier. NULL is fine.
 *
 * # Safety
 * `classifier` is NULL or a handle that nobody uses any more.
 */
void mnx_classifier_free(struct mnx_classifier *classifier);

/**
 * Classifies a frame: writes the most probable classes, the most probable first, at most `capacity` of them, and to `found`
 * how many. After a failure `found` is 0.
 *
 * # Safety
 * `classifier` is NULL or a handle that is not released meanwhile. `frame` is NULL or points to an `mnx_frame` of
 * `struct_size` bytes, and its pixels do not change meanwhile. `predictions` is NULL, or `capacity` of them may be written;
 * `found` is NULL or may be written.
 */
mnx_status mnx_classifier_classify(struct mnx_classifier *classifier,
                                   const struct mnx_frame *frame,
                                   struct mnx_prediction *predictions,
                                   size_t capacity,
                                   size_t *found);

/**
 * Classifies a picture file: `mnx_picture_open`, then `mnx_classifier_classify`.
 *
 * # Safety
 * `path` is NULL or a string that ends with NUL: on Unix any bytes, elsewhere UTF-8. The rest as in `mnx_classifier_classify`.
 */
mnx_status mnx_classifier_classify_file(struct mnx_classifier *classifier,
                                        const char *path,
                                        struct mnx_prediction *predictions,
                                        size_t capacity,
                                        size_t *found);

/**
 * Classifies the bytes of a picture file: `mnx_picture_decode`, then `mnx_classifier_classify`.
 *
 * # Safety
 * `bytes` is NULL or points to `len` bytes that do not change meanwhile. The rest as in `mnx_classifier_classify`.
 */
mnx_status mnx_classifier_classify_bytes(struct mnx_classifier *classifier,
                                         const uint8_t *bytes,
                                         size_t len,
                                         struct mnx_prediction *predictions,
                                         size_t capacity,
                                         size_t *found);

/**
 * Writes a frame's logits, one for each class (`mnx_model_classes`), to room for exactly as many values.
 *
 * # Safety
 * `classifier` is NULL or a handle that is not released meanwhile. `frame` is NULL or points to an `mnx_frame` of
 * `struct_size` bytes, and its pixels do not change meanwhile. `logits` is NULL, or `len` values may be written to it.
 */
mnx_status mnx_classifier_logits(struct mnx_classifier *classifier,
                                 const struct mnx_frame *frame,
                                 float *logits,
                                 size_t len);

/**
 * Writes a frame's embedding: what the classifier would see of it, `mnx_model_features` values, to room for exactly as many.
 * Pictures that look alike have embeddings that point the same way.
 *
 * # Safety
 * As `mnx_classifier_logits`.
 */
mnx_status mnx_classifier_embedding(struct mnx_classifier *classifier,
                                    const struct mnx_frame *frame,
                                    float *embedding,
                                    size_t len);

/**
 * Makes what ends this classifier's inferences from another thread. Never `MNX_BUSY`.
 *
 * # Safety
 * `classifier` is NULL or a handle that is not released meanwhile; `stopper` is NULL or may be written. What it becomes belongs to
 * the caller, who releases it with `mnx_stopper_free`. After a failure it is NULL.
 */
mnx_status mnx_classifier_stopper(const struct mnx_classifier *classifier,
                                  struct mnx_stopper **stopper);

/**
 * Makes a detector with the model's own thresholds. `options` may be NULL for the defaults. A classifier's model is
 * `MNX_INVALID_INPUT`.
 *
 * # Safety
 * `model` and `options` are NULL or handles that are not released meanwhile; `detector` is NULL or may be written. What it
 * becomes belongs to the caller, who releases it with `mnx_detector_free`. After a failure it is NULL.
 */
mnx_status mnx_detector_new(const struct mnx_model *model,
                            const struct mnx_options *options,
                            struct mnx_detector **detector);

/**
 * Releases a detector. NULL is fine.
 *
 * # Safety
 * `detector` is NULL or a handle that nobody uses any more.
 */
void mnx_detector_free(struct mnx_detector *detector);

/**
 * Sets the score above which boxes count, 0 to 1.
 *
 * # Safety
 * `detector` is NULL or a handle that is not released meanwhile.
 */
mnx_status mnx_detector_set_score(struct mnx_detector *detector, float score);

/**
 * Sets the overlap (intersection over union, 0 to 1) with a better box of its class above which a box is dropped.
 *
 * # Safety
 * `detector` is NULL or a handle that is not released meanwhile.
 */
mnx_status mnx_detector_set_iou(struct mnx_detector *detector, float iou);

/**
 * Sets how many boxes there are at most, from 1 on: the best of all classes.
 *
 * # Safety
 * `detector` is NULL or a handle that is not released meanwhile.
 */
mnx_status mnx_detector_set_top(struct mnx_detector *detector, size_t top);

/**
 * Sets whether boxes are cut off at the picture's edges.
 *
 * # Safety
 * `detector` is NULL or a handle that is not released meanwhile.
 */
mnx_status mnx_detector_set_clip(struct mnx_detector *detector, bool clip);

/**
 * Detects what is in a frame: writes boxes, the highest score first, at most `capacity` of them, and to `found` how many there
 * are, which may be more. After a failure `found` is 0.
 *
 * # Safety
 * `detector` is NULL or a handle that is not released meanwhile. `frame` is NULL or points to an `mnx_frame` of `struct_size`
 * bytes, and its pixels do not change meanwhile. `detections` is NULL, or `capacity` of them may be written; `found` is NULL
 * or may be written.
 */
mnx_status mnx_detector_detect(struct mnx_detector *detector,
                               const struct mnx_frame *frame,
                               struct mnx_detection *detections,
                               size_t capacity,
                               size_t *found);

/**
 * Detects what is in a picture file: `mnx_picture_open`, then `mnx_detector_detect`.
 *
 * # Safety
 * `path` is NULL or a string that ends with NUL: on Unix any bytes, elsewhere UTF-8. The rest as in `mnx_detector_detect`.
 */
mnx_status mnx_detector_detect_file(struct mnx_detector *detector,
                                    const char *path,
                                    struct mnx_detection *detections,
                                    size_t capacity,
                                    size_t *found);

/**
 * Detects what is in the bytes of a picture file: `mnx_picture_decode`, then `mnx_detector_detect`.
 *
 * # Safety
 * `bytes` is NULL or points to `len` bytes that do not change meanwhile. The rest as in `mnx_detector_detect`.
 */
mnx_status mnx_detector_detect_bytes(struct mnx_detector *detector,
                                     const uint8_t *bytes,
                                     size_t len,
                                     struct mnx_detection *detections,
                                     size_t capacity,
                                     size_t *found);

/**
 * Makes what ends this detector's inferences from another thread. Never `MNX_BUSY`.
 *
 * # Safety
 * `detector` is NULL or a handle that is not released meanwhile; `stopper` is NULL or may be written. What it becomes belongs to
 * the caller, who releases it with `mnx_stopper_free`. After a failure it is NULL.
 */
mnx_status mnx_detector_stopper(const struct mnx_detector *detector,
                                struct mnx_stopper **stopper);

/**
 * Ends the inference that is going on as soon as each of its threads is through with the part of a layer that it computes, and
 * all later ones at once: they are `MNX_STOPPED`. One that was complete before gives its result. Only inferences end: a picture
 * is still decoded and resized.
 *
 * # Safety
 * `stopper` is NULL or a handle that is not released meanwhile.
 */
mnx_status mnx_stopper_stop(const struct mnx_stopper *stopper);

/**
 * Lets later inferences run again.
 *
 * # Safety
 * `stopper` is NULL or a handle that is not released meanwhile.
 */
mnx_status mnx_stopper_resume(const struct mnx_stopper *stopper);

/**
 * Releases a stopper. NULL is fine. It changes nothing for what it stops.
 *
 * # Safety
 * `stopper` is NULL or a handle that nobody uses any more.
 */
void mnx_stopper_free(struct mnx_stopper *stopper);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* MNX_H */
