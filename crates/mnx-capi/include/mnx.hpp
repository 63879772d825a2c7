// mnx for C++17: the functions of mnx.h with handles that release themselves, and exceptions instead of statuses.
//
//     mnx::Model model = mnx::Model::open("mobilenext.mnx");
//     mnx::Classifier classifier(model);
//     for (const mnx::Prediction &found : classifier.classify_file("cat.jpg", 5)) {
//         std::cout << found.label << ' ' << found.probability << '\n';
//     }
//
// What mnx.h says about ownership, threads and undefined behaviour holds here, too. Objects can be moved, not copied; one that
// was moved from can be assigned to or destroyed, its get() is NULL, and whatever else uses it throws. Header only: nothing of
// it is in the library's binary interface.
#ifndef MNX_HPP
#define MNX_HPP

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "mnx.h"

namespace mnx {

/// A call that failed. `what()` is the sentence of mnx_last_error().
class Error : public std::runtime_error {
public:
    Error(mnx_status status, const std::string &message) : std::runtime_error(message), status_(status) {}
    /// What kind of failure it was.
    mnx_status status() const noexcept { return status_; }

private:
    mnx_status status_;
};

namespace detail {

inline void check(mnx_status status) {
    if (status != MNX_OK) {
        throw Error(status, mnx_last_error());
    }
}

template <auto Free>
struct Release {
    template <typename Handle>
    void operator()(Handle *handle) const noexcept { Free(handle); }
};

template <typename Handle, auto Free>
using Owned = std::unique_ptr<Handle, Release<Free>>;

// Makes a handle with a function whose last argument is where it goes.
template <typename Handle, auto Free, typename Make, typename... Arguments>
Owned<Handle, Free> make(Make function, Arguments... arguments) {
    Handle *handle = nullptr;
    check(function(arguments..., &handle));
    return Owned<Handle, Free>(handle);
}

// What C reads as a string to its end.
inline const char *text(const std::string &text, const char *what) {
    if (text.find('\0') != std::string::npos) {
        throw Error(MNX_INVALID_INPUT, std::string(what) + ": expected text without NUL, found one in it");
    }
    return text.c_str();
}

// Options that somebody gave: those that were moved from are no defaults.
inline const mnx_options *given(const mnx_options *options) {
    if (options == nullptr) {
        throw Error(MNX_INVALID_INPUT, "options: expected a handle, found one that was moved from");
    }
    return options;
}

} // namespace detail

/// Four sizes: pictures, channels, rows, columns.
using Shape = std::array<std::size_t, 4>;

/// How many values a tensor of this shape has.
inline std::size_t elements(const Shape &shape) { return shape[0] * shape[1] * shape[2] * shape[3]; }

/// Whether the library has the binary interface of this header.
inline bool matches_library() noexcept { return mnx_abi_version() == MNX_ABI_VERSION; }

/// The library's version.
inline std::string version() { return mnx_version(); }

/// One class of a picture.
struct Prediction {
    std::size_t index;
    float probability; ///< 0 to 1
    std::string label; ///< empty if the model has no names
};

/// Something that was found in a picture, and where, in pixels.
struct Detection {
    std::size_t index;
    float score;
    float xmin, ymin, xmax, ymax;
    std::string label; ///< empty if the model has no names
};

/// How pixels become the values of Session::run's input: of red, green and blue in 0 to 1, `mean` is subtracted, then
/// `deviation` divides.
struct Normalisation {
    std::array<float, 3> mean, deviation;
};

/// Raw pixels in the caller's memory, which has `bytes` bytes: `height` rows of `width` pixels, `stride` bytes apart.
class Frame {
public:
    /// Video: luma as the constructor takes pixels, and then a plane of chroma.
    static Frame nv12(mnx_format format, const std::uint8_t *luma, std::size_t luma_bytes, std::size_t width,
                      std::size_t height, std::size_t stride, const std::uint8_t *chroma, std::size_t chroma_bytes,
                      std::size_t chroma_stride) {
        Frame frame(format, luma, luma_bytes, width, height, stride);
        frame.frame_.chroma = chroma;
        frame.frame_.chroma_len = chroma_bytes;
        frame.frame_.chroma_stride = chroma_stride;
        return frame;
    }
    Frame(mnx_format format, const std::uint8_t *pixels, std::size_t bytes, std::size_t width, std::size_t height,
          std::size_t stride) {
        frame_.format = format;
        frame_.pixels = pixels;
        frame_.pixels_len = bytes;
        frame_.width = width;
        frame_.height = height;
        frame_.stride = stride;
    }
    /// C's structure, to be changed or handed on.
    mnx_frame &get() noexcept { return frame_; }
    const mnx_frame &get() const noexcept { return frame_; }

private:
    friend class Picture;
    Frame() = default;
    mnx_frame frame_ = empty();
    static mnx_frame empty() noexcept {
        mnx_frame frame{};
        frame.struct_size = sizeof(mnx_frame);
        return frame;
    }
};

/// A network with its weights. Any number of threads may use one at once.
class Model {
public:
    /// Reads a weight file.
    static Model open(const std::string &path) { return Model(make(mnx_model_open, detail::text(path, "path"))); }
    /// Reads a weight file from memory, which is copied.
    static Model from_bytes(const std::uint8_t *bytes, std::size_t len) {
        return Model(make(mnx_model_from_bytes, bytes, len));
    }
    /// Opens a network inside the library.
    static Model embedded(const std::string &name) { return Model(make(mnx_model_embedded, detail::text(name, "name"))); }

    bool is_detector() const { return ask<bool>(mnx_model_is_detector); }
    std::size_t classes() const { return ask<std::size_t>(mnx_model_classes); }
    std::size_t resolution() const { return ask<std::size_t>(mnx_model_resolution); }
    std::size_t features() const { return ask<std::size_t>(mnx_model_features); }
    Normalisation normalisation() const {
        Normalisation found{};
        detail::check(mnx_model_normalisation(get(), found.mean.data(), found.deviation.data()));
        return found;
    }
    /// The name of a class, empty if the model has no names.
    std::string label(std::size_t index) const {
        const char *label = nullptr;
        detail::check(mnx_model_label(get(), index, &label));
        return label != nullptr ? label : "";
    }
    const mnx_model *get() const noexcept { return handle_.get(); }

private:
    using Owned = detail::Owned<mnx_model, mnx_model_free>;
    template <typename Make, typename... Arguments>
    static Owned make(Make function, Arguments... arguments) {
        return detail::make<mnx_model, mnx_model_free>(function, arguments...);
    }
    template <typename Value>
    Value ask(mnx_status (*function)(const mnx_model *, Value *)) const {
        Value value{};
        detail::check(function(get(), &value));
        return value;
    }
    explicit Model(Owned handle) : handle_(std::move(handle)) {}
    Owned handle_;
};

/// How sessions run. `Options().threads(1).isa("avx2")`.
class Options {
public:
    Options() : handle_(detail::make<mnx_options, mnx_options_free>(mnx_options_new)) {}
    Options &threads(std::size_t threads) & { return done(mnx_options_set_threads(handle_.get(), threads)); }
    Options &isa(const std::string &isa) & { return done(mnx_options_set_isa(handle_.get(), detail::text(isa, "isa"))); }
    Options &dot_products(bool on) & { return done(mnx_options_set_dot_products(handle_.get(), on)); }
    Options &amx(bool on) & { return done(mnx_options_set_amx(handle_.get(), on)); }
    // Of a temporary comes another one, not a reference to what is about to end.
    Options threads(std::size_t threads) && { return std::move(this->threads(threads)); }
    Options isa(const std::string &isa) && { return std::move(this->isa(isa)); }
    Options dot_products(bool on) && { return std::move(this->dot_products(on)); }
    Options amx(bool on) && { return std::move(this->amx(on)); }
    const mnx_options *get() const noexcept { return handle_.get(); }

private:
    Options &done(mnx_status status) {
        detail::check(status);
        return *this;
    }
    detail::Owned<mnx_options, mnx_options_free> handle_;
};

/// Ends the inferences of a session, a classifier or a detector from another thread: they throw with MNX_STOPPED.
class Stopper {
public:
    void stop() const { detail::check(mnx_stopper_stop(handle_.get())); }
    void resume() const { detail::check(mnx_stopper_resume(handle_.get())); }

private:
    friend class Session;
    friend class Classifier;
    friend class Detector;
    using Owned = detail::Owned<mnx_stopper, mnx_stopper_free>;
    explicit Stopper(Owned handle) : handle_(std::move(handle)) {}
    template <typename Make, typename Handle>
    static Stopper of(Make function, Handle *handle) {
        return Stopper(detail::make<mnx_stopper, mnx_stopper_free>(function, handle));
    }
    Owned handle_;
};

/// One stream of inferences on raw tensors. Each thread has its own.
class Session {
public:
    explicit Session(const Model &model)
        : handle_(detail::make<mnx_session, mnx_session_free>(mnx_session_new, model.get(), nullptr)) {}
    Session(const Model &model, const Options &options)
        : handle_(detail::make<mnx_session, mnx_session_free>(mnx_session_new, model.get(), detail::given(options.get()))) {}

    std::size_t threads() const {
        std::size_t threads = 0;
        detail::check(mnx_session_threads(get(), &threads));
        return threads;
    }
    std::string isa() const {
        const char *isa = nullptr;
        detail::check(mnx_session_isa(get(), &isa));
        return isa;
    }
    /// Names and shapes of the outputs for an input of this shape.
    std::vector<std::pair<std::string, Shape>> outputs(const Shape &input) {
        std::size_t count = 0;
        detail::check(mnx_session_outputs(get(), input.data(), &count));
        std::vector<std::pair<std::string, Shape>> outputs(count);
        for (std::size_t i = 0; i < count; i++) {
            const char *name = nullptr;
            detail::check(mnx_session_output(get(), input.data(), i, &name, outputs[i].second.data()));
            outputs[i].first = name;
        }
        return outputs;
    }
    /// The first output, into the caller's memory.
    void run(const float *input, std::size_t input_len, const Shape &shape, float *output, std::size_t output_len) {
        detail::check(mnx_session_run(get(), input, input_len, shape.data(), output, output_len));
    }
    /// The first output.
    std::vector<float> run(const std::vector<float> &input, const Shape &shape) {
        const auto wanted = outputs(shape);
        std::vector<float> output(wanted.empty() ? 0 : elements(wanted[0].second));
        run(input.data(), input.size(), shape, output.data(), output.size());
        return output;
    }
    /// Those outputs that are named, each into the caller's memory.
    void run_outputs(const float *input, std::size_t input_len, const Shape &shape,
                     const std::vector<mnx_output> &outputs) {
        detail::check(mnx_session_run_outputs(get(), input, input_len, shape.data(), outputs.data(), outputs.size()));
    }
    /// What the classifier would see, into the caller's memory.
    void features(const float *input, std::size_t input_len, const Shape &shape, float *features, std::size_t len) {
        detail::check(mnx_session_features(get(), input, input_len, shape.data(), features, len));
    }
    Stopper stopper() const { return Stopper::of(mnx_session_stopper, get()); }
    mnx_session *get() const noexcept { return handle_.get(); }

private:
    detail::Owned<mnx_session, mnx_session_free> handle_;
};

/// A decoded picture.
class Picture {
public:
    static Picture open(const std::string &path) {
        return Picture(detail::make<mnx_picture, mnx_picture_free>(mnx_picture_open, detail::text(path, "path")));
    }
    static Picture decode(const std::uint8_t *bytes, std::size_t len) {
        return Picture(detail::make<mnx_picture, mnx_picture_free>(mnx_picture_decode, bytes, len));
    }
    /// Its pixels. They live as long as the picture.
    Frame frame() const {
        Frame frame;
        detail::check(mnx_picture_frame(handle_.get(), &frame.frame_));
        return frame;
    }

private:
    using Owned = detail::Owned<mnx_picture, mnx_picture_free>;
    explicit Picture(Owned handle) : handle_(std::move(handle)) {}
    Owned handle_;
};

/// Pictures in, labels out. Each thread has its own.
class Classifier {
public:
    explicit Classifier(const Model &model)
        : handle_(detail::make<mnx_classifier, mnx_classifier_free>(mnx_classifier_new, model.get(), nullptr)),
          classes_(model.classes()), features_(model.features()) {}
    Classifier(const Model &model, const Options &options)
        : handle_(detail::make<mnx_classifier, mnx_classifier_free>(mnx_classifier_new, model.get(), detail::given(options.get()))),
          classes_(model.classes()), features_(model.features()) {}

    /// The `k` most probable classes, the most probable first.
    std::vector<Prediction> classify(const Frame &frame, std::size_t k) {
        return best(k, mnx_classifier_classify, &frame.get());
    }
    std::vector<Prediction> classify_file(const std::string &path, std::size_t k) {
        return best(k, mnx_classifier_classify_file, detail::text(path, "path"));
    }
    std::vector<Prediction> classify_bytes(const std::uint8_t *bytes, std::size_t len, std::size_t k) {
        return best(k, mnx_classifier_classify_bytes, bytes, len);
    }
    std::vector<float> logits(const Frame &frame) {
        std::vector<float> logits(classes_);
        detail::check(mnx_classifier_logits(get(), &frame.get(), logits.data(), logits.size()));
        return logits;
    }
    std::vector<float> embedding(const Frame &frame) {
        std::vector<float> embedding(features_);
        detail::check(mnx_classifier_embedding(get(), &frame.get(), embedding.data(), embedding.size()));
        return embedding;
    }
    Stopper stopper() const { return Stopper::of(mnx_classifier_stopper, get()); }
    mnx_classifier *get() const noexcept { return handle_.get(); }

private:
    template <typename Function, typename... Arguments>
    std::vector<Prediction> best(std::size_t k, Function function, Arguments... arguments) {
        std::vector<mnx_prediction> found(k < classes_ ? k : classes_);
        std::size_t count = 0;
        detail::check(function(get(), arguments..., found.data(), found.size(), &count));
        std::vector<Prediction> predictions;
        for (std::size_t i = 0; i < count; i++) {
            const mnx_prediction &one = found[i];
            predictions.push_back({one.index, one.probability, one.label != nullptr ? one.label : ""});
        }
        return predictions;
    }
    detail::Owned<mnx_classifier, mnx_classifier_free> handle_;
    std::size_t classes_, features_;
};

/// Pictures in, boxes out. Each thread has its own.
class Detector {
public:
    explicit Detector(const Model &model)
        : handle_(detail::make<mnx_detector, mnx_detector_free>(mnx_detector_new, model.get(), nullptr)) {}
    Detector(const Model &model, const Options &options)
        : handle_(detail::make<mnx_detector, mnx_detector_free>(mnx_detector_new, model.get(), detail::given(options.get()))) {}

    void score(float score) { detail::check(mnx_detector_set_score(get(), score)); }
    void iou(float iou) { detail::check(mnx_detector_set_iou(get(), iou)); }
    void top(std::size_t top) { detail::check(mnx_detector_set_top(get(), top)); }
    void clip(bool clip) { detail::check(mnx_detector_set_clip(get(), clip)); }

    /// What is in a picture, the highest score first: the best `most` boxes.
    std::vector<Detection> detect(const Frame &frame, std::size_t most = 100) {
        return boxes(most, mnx_detector_detect, &frame.get());
    }
    std::vector<Detection> detect_file(const std::string &path, std::size_t most = 100) {
        return boxes(most, mnx_detector_detect_file, detail::text(path, "path"));
    }
    std::vector<Detection> detect_bytes(const std::uint8_t *bytes, std::size_t len, std::size_t most = 100) {
        return boxes(most, mnx_detector_detect_bytes, bytes, len);
    }
    Stopper stopper() const { return Stopper::of(mnx_detector_stopper, get()); }
    mnx_detector *get() const noexcept { return handle_.get(); }

private:
    template <typename Function, typename... Arguments>
    std::vector<Detection> boxes(std::size_t most, Function function, Arguments... arguments) {
        // Of the call's own: another thread's call must find MNX_BUSY and nothing else.
        std::vector<mnx_detection> room(most < 100 ? most : 100);
        std::size_t count = 0;
        detail::check(function(get(), arguments..., room.data(), room.size(), &count));
        // Seldom: so many boxes overlap a little, or have low scores.
        if (count > room.size() && most > room.size()) {
            room.resize(count < most ? count : most);
            detail::check(function(get(), arguments..., room.data(), room.size(), &count));
        }
        std::vector<Detection> detections;
        for (std::size_t i = 0; i < count && i < room.size(); i++) {
            const mnx_detection &one = room[i];
            const char *label = one.label != nullptr ? one.label : "";
            detections.push_back({one.index, one.score, one.xmin, one.ymin, one.xmax, one.ymax, label});
        }
        return detections;
    }
    detail::Owned<mnx_detector, mnx_detector_free> handle_;
};

} // namespace mnx

#endif // MNX_HPP
