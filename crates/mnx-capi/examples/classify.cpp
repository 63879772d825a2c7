// Classifies pictures, or finds what is in them if the network is a detector.
//
//     c++ -std=c++17 classify.cpp $(pkg-config --cflags --libs mnx) -o classify
//     ./classify mobilenext.mnx cat.jpg dog.png
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include <mnx.hpp>

namespace {

const char *name(const std::string &label) { return label.empty() ? "?" : label.c_str(); }

void classify(const mnx::Model &model, const std::vector<std::string> &paths) {
    mnx::Classifier classifier(model);
    for (const std::string &path : paths) {
        std::printf("%s\n", path.c_str());
        for (const mnx::Prediction &found : classifier.classify_file(path, 5)) {
            std::printf("  %-10s %5.1f %%\n", name(found.label), found.probability * 100.0);
        }
    }
}

void detect(const mnx::Model &model, const std::vector<std::string> &paths) {
    mnx::Detector detector(model);
    for (const std::string &path : paths) {
        std::printf("%s\n", path.c_str());
        for (const mnx::Detection &found : detector.detect_file(path)) {
            std::printf("  %-10s %5.1f %%  from %.0f, %.0f to %.0f, %.0f\n", name(found.label), found.score * 100.0,
                        static_cast<double>(found.xmin), static_cast<double>(found.ymin),
                        static_cast<double>(found.xmax), static_cast<double>(found.ymax));
        }
    }
}

} // namespace

int main(int argc, char **argv) {
    if (argc < 3) {
        std::fprintf(stderr, "usage: %s MODEL.mnx PICTURE...\n", argv[0]);
        return 2;
    }
    try {
        const mnx::Model model = mnx::Model::open(argv[1]);
        const std::vector<std::string> paths(argv + 2, argv + argc);
        if (model.is_detector()) {
            detect(model, paths);
        } else {
            classify(model, paths);
        }
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
