// The C++ wrapper: every class and function of mnx.hpp once, what it throws, and that nothing is released twice.
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include <mnx.hpp>

namespace {

std::atomic<int> checks{0};

void check(bool right, const char *what, int line) {
    checks++;
    if (!right) {
        std::fprintf(stderr, "wrapper.cpp:%d: expected %s\n", line, what);
        std::exit(1);
    }
}

#define CHECK(what) check((what), #what, __LINE__)

template <typename Work>
mnx_status thrown(Work work) {
    try {
        work();
    } catch (const mnx::Error &error) {
        CHECK(std::string(error.what()).size() > 10);
        return error.status();
    }
    return MNX_OK;
}

const std::string MODELS = "crates/mnx-infer/model/";
const std::string CAT = "testdata/pictures/chelsea.png";

static_assert(!std::is_copy_constructible<mnx::Model>::value, "handles have one owner");
static_assert(std::is_nothrow_move_constructible<mnx::Model>::value, "handles can be moved");

void classifiers() {
    mnx::Model model = mnx::Model::open(MODELS + "mobilenext-0.35-cifar10.mnx");
    CHECK(!model.is_detector() && model.classes() == 10 && model.resolution() == 32 && model.label(3) == "cat");
    const std::size_t features = model.features();

    mnx::Session session(model, mnx::Options().threads(1).isa("scalar").dot_products(false).amx(false));
    CHECK(session.threads() == 1 && session.isa() == "scalar");
    const mnx::Shape shape{2, 3, 32, 32};
    const auto outputs = session.outputs(shape);
    CHECK(outputs.size() == 1 && outputs[0].first == "logits" && outputs[0].second == (mnx::Shape{2, 10, 1, 1}));
    const std::vector<float> input(mnx::elements(shape), 0.5f);
    std::vector<float> logits(20), seen(2 * features);
    session.run_outputs(input.data(), input.size(), shape, {{"logits", logits.data(), logits.size()}});
    CHECK(session.run(input, shape) == logits);
    session.features(input.data(), input.size(), shape, seen.data(), seen.size());
    CHECK(thrown([&] { session.run(std::vector<float>(5), shape); }) == MNX_INVALID_INPUT);

    mnx::Classifier classifier(model);
    const auto best = classifier.classify_file(CAT, 3);
    CHECK(best.size() == 3 && best[0].label == "cat" && best[0].probability > 0.5f);
    CHECK(classifier.classify_file(CAT, 1000).size() == 10);
    const mnx::Picture picture = mnx::Picture::open(CAT);
    CHECK(classifier.classify(picture.frame(), 1)[0].probability == best[0].probability);
    CHECK(classifier.logits(picture.frame()).size() == 10 && classifier.embedding(picture.frame()).size() == features);
    const std::vector<std::uint8_t> grey(40 * 30 * 2, 128);
    CHECK(classifier.classify(mnx::Frame(MNX_GREY8, grey.data(), grey.size(), 40, 30, 40), 2).size() == 2);
    const auto video = mnx::Frame::nv12(MNX_NV12, grey.data(), 1200, 40, 30, 40, grey.data(), 600, 40);
    CHECK(classifier.classify(video, 2).size() == 2);
    CHECK(thrown([&] { classifier.classify_bytes(grey.data(), grey.size(), 2); }) == MNX_INVALID_FILE);
    const mnx::Stopper stopper = classifier.stopper();
    stopper.stop();
    CHECK(thrown([&] { classifier.classify(video, 2); }) == MNX_STOPPED);
    stopper.resume();
    CHECK(thrown([&] { mnx::Detector detector(model); }) == MNX_INVALID_INPUT);

    const mnx::Normalisation numbers = model.normalisation();
    CHECK(numbers.mean[0] > 0 && numbers.mean[2] < 1 && numbers.deviation[0] > 0 && numbers.deviation[2] < 1);

    // What was moved from can be assigned to; anything else with it throws.
    mnx::Options options, taken = std::move(options);
    CHECK(thrown([&] { mnx::Session session(model, options); }) == MNX_INVALID_INPUT);
    CHECK(thrown([&] { mnx::Classifier classifier(model, options); }) == MNX_INVALID_INPUT);
    CHECK(thrown([&] { options.threads(1); }) == MNX_INVALID_INPUT);
    options = std::move(taken);
    CHECK(mnx::Session(model, options.threads(1)).threads() == 1);
    // A chain that begins with a temporary can be kept.
    const auto kept = mnx::Options().threads(2).isa("scalar");
    const mnx::Options &held = mnx::Options().threads(2);
    CHECK(mnx::Session(model, kept).threads() == 2 && mnx::Session(model, held).threads() == 2);
    mnx::Model moved = std::move(model);
    CHECK(moved.classes() == 10);
    CHECK(thrown([&] { model.classes(); }) == MNX_INVALID_INPUT);
    model = std::move(moved);
    CHECK(model.classes() == 10);
}

void detectors() {
    mnx::Detector detector(mnx::Model::open(MODELS + "bccd/ssdlite-mobilenext-0.35-bccd-int8.mnx"));
    const std::string cells = "testdata/bccd/JPEGImages/BloodImage_00031.jpg";
    const auto found = detector.detect_file(cells);
    CHECK(found.size() > 5 && found[0].label == "WBC" && found[0].xmin < found[0].xmax);
    CHECK(detector.detect_file(cells, 2).size() == 2);
    // No room is made for what cannot be.
    CHECK(detector.detect_file(cells, SIZE_MAX).size() == found.size());
    detector.score(0.0f);
    detector.iou(1.0f);
    detector.top(1000);
    CHECK(detector.detect_file(cells).size() == 100 && detector.detect_file(cells, SIZE_MAX).size() == 1000);
    CHECK(detector.detect_file(cells, 0).empty() && detector.detect_file(cells, 150).size() == 150);
    // A second thread finds it busy, and disturbs nothing.
    const auto ask = [&] {
        for (int done = 0; done < 5;) {
            const auto status = thrown([&] { CHECK(detector.detect_file(cells, SIZE_MAX).size() == 1000); });
            CHECK(status == MNX_OK || status == MNX_BUSY);
            done += status == MNX_OK;
        }
    };
    std::thread other(ask);
    ask();
    other.join();
    detector.score(0.5f);
    detector.iou(0.5f);
    detector.clip(true);
    detector.top(3);
    CHECK(detector.detect(mnx::Picture::open(cells).frame()).size() == 3);
    CHECK(thrown([&] { detector.top(0); }) == MNX_INVALID_INPUT);
}

} // namespace

int main() {
    CHECK(mnx::matches_library() && !mnx::version().empty());
    CHECK(thrown([] { mnx::Model::open("no/such.mnx"); }) == MNX_NOT_FOUND);
    CHECK(thrown([] { mnx::Model::embedded("no such network"); }) == MNX_UNSUPPORTED);
    CHECK(thrown([] { mnx::Model::from_bytes(nullptr, 3); }) == MNX_INVALID_INPUT);
    CHECK(thrown([] { mnx::Model::from_bytes(nullptr, 0); }) == MNX_INVALID_FILE);
    CHECK(thrown([] { mnx::Model::open(std::string("x.mnx\0y", 7)); }) == MNX_INVALID_INPUT);
    CHECK(thrown([] { mnx::Options().threads(0); }) == MNX_INVALID_INPUT);
    CHECK(thrown([] { mnx::Picture::decode(nullptr, 3); }) == MNX_INVALID_INPUT);
    classifiers();
    detectors();
    std::printf("wrapper: %d checks\n", checks.load());
}
