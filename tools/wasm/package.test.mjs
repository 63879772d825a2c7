// node --test tools/wasm/package.test.mjs: the npm package in target/web, as tools/wasm/build.sh made it, beside the Rust library.
//
//   MNX_INFER       the command line, built for this machine (default: target/release/mnx-infer); without it, what it computes
//                   is not compared, which a line says that begins with SKIPPED
//   MNX_WEB_TIMES=1 prints how long a picture takes
//   MNX_WASM_PANIC  the folder of the module that panics; tools/check_web makes it

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { test } from "node:test";
import { runInNewContext } from "node:vm";

const root = new URL("../../", import.meta.url);
const path = (name) => new URL(name, root).pathname;
const read = (name) => new Uint8Array(readFileSync(path(name)));
const { load, hasSimd128 } = await import(new URL("target/web/mobilenext/index.js", root));

const CIFAR = "crates/mnx-infer/model/mobilenext-0.35-cifar10.mnx";
const CIFAR_INT8 = "crates/mnx-wasm/model/mobilenext-0.35-cifar10-int8.mnx";
const BCCD = "crates/mnx-infer/model/bccd/ssdlite-mobilenext-0.35-bccd-int8.mnx";
const CAT = "testdata/pictures/chelsea.png";
const WIDE = ["many-channels.mnx", "many-classes.mnx", "many-repeats.mnx"];
// A decoder panics on it. Elsewhere that is caught; here it ends the module, which then says so.
const PANICS = ["too-many-codes.webp"];
const CELLS = "testdata/bccd/JPEGImages/BloodImage_00031.jpg";

const engines = { simd128: await load({ build: "simd128" }), scalar: await load({ build: "scalar" }) };
const { Model, Classifier, Detector, Session, Picture } = engines.simd128;

/** A `.npy` file of f32. */
function npy(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const start = 10 + view.getUint16(8, true);
    const header = new TextDecoder().decode(bytes.subarray(10, start));
    assert.match(header, /'descr': '<f4', 'fortran_order': False/);
    const shape = header.match(/\(([^)]*)\)/)[1].split(",").filter((side) => side.trim()).map(Number);
    return { shape, data: new Float32Array(bytes.slice(start).buffer) };
}

const bits = (floats) => [...new Uint32Array(floats.buffer, floats.byteOffset, floats.length)];

function thrown(what) {
    try {
        what();
    } catch (error) {
        assert.equal(error.name, "MnxError", String(error.stack));
        assert.ok(error instanceof Error && !/\n/.test(error.message));
        return { kind: error.kind, message: error.message };
    }
    assert.fail("expected an exception, found none");
}

test("the builds are what they are called", async () => {
    assert.ok(hasSimd128());
    assert.equal((await load()).isa(), "simd128");
    for (const [name, engine] of Object.entries(engines)) assert.equal(engine.isa(), name);
    await assert.rejects(load({ build: "avx2" }), { kind: "InvalidInput" });
    assert.equal(JSON.parse(readFileSync(path("target/web/mobilenext/package.json"))).version, engines.simd128.version());
});

test("types are there", () => {
    for (const build of Object.keys(engines)) {
        const types = readFileSync(path(`target/web/mobilenext/${build}/mobilenext.d.ts`), "utf8");
        assert.match(types, /classify\(rgba: Uint8Array \| Uint8ClampedArray, width: number, height: number, k\?: number \| null\): Prediction\[\];/);
        assert.match(types, /constructor\(model: Model, options\?: DetectOptions/);
        assert.match(types, /export interface MnxError extends Error/);
        // What `new ImageData` takes, from TypeScript 5.7 on.
        assert.match(types, /rgba\(\): Uint8ClampedArray<ArrayBuffer>;/);
        assert.match(types, /logits\(.*\): Float32Array<ArrayBuffer>;/);
    }
});

test("bundlers find every file", () => {
    const entry = readFileSync(path("target/web/mobilenext/index.js"), "utf8");
    for (const build of Object.keys(engines)) {
        assert.ok(entry.includes(`import("./${build}/mobilenext.js")`));
        assert.ok(entry.includes(`new URL("./${build}/mobilenext_bg.wasm", import.meta.url)`));
    }
    // What they cannot find they must not look for.
    for (const [, argument] of entry.matchAll(/import\(([^)]*)\)/g)) assert.match(argument, /^"\.\/|webpackIgnore: true.*@vite-ignore/);
});

test("an engine without simd128 gets the scalar build", async () => {
    const { validate } = WebAssembly;
    WebAssembly.validate = () => false;
    try {
        assert.equal((await load()).isa(), "scalar");
    } finally {
        WebAssembly.validate = validate;
    }
});

test("int8 has the bits of NumPy's model, on both builds", () => {
    const { cases } = JSON.parse(readFileSync(path("testdata/golden/int8/cases.json")));
    let compared = 0;
    for (const { name, weights, int8 } of cases.filter((one) => one.int8)) {
        const input = npy(read(`testdata/golden/int8/${name}/input.npy`));
        const expected = npy(read(`testdata/golden/int8/${name}/output.npy`));
        for (const [isa, engine] of Object.entries(engines)) {
            const model = engine.Model.fromBytes(read(`testdata/golden/int8/${weights}`));
            assert.equal(model.arithmetic, "int8");
            const [output] = new engine.Session(model).run(input.data, input.shape);
            assert.deepEqual(bits(output.data), bits(expected.data), `${name} on ${isa}`);
            assert.deepEqual([output.name, ...output.shape], ["logits", ...expected.shape, 1, 1]);
        }
        compared++;
    }
    assert.ok(compared >= 10);
});

test("both builds give the same bits in f32, too", () => {
    const input = new Float32Array(2 * 3 * 37 * 29).map((_, i) => Math.sin(i));
    const [simd128, scalar] = Object.values(engines).map((engine) => {
        const session = new engine.Session(engine.Model.fromBytes(read(CIFAR)));
        return [session.run(input, [2, 3, 37, 29])[0].data, session.features(input, [2, 3, 37, 29]).data];
    });
    assert.deepEqual(simd128.map(bits), scalar.map(bits));
    assert.ok(simd128[0].every(Number.isFinite));
});

test("pictures, labels and boxes are those of the command line", (context) => {
    const program = process.env.MNX_INFER ?? path("target/release/mnx-infer");
    if (!existsSync(program)) {
        console.log(`SKIPPED: the same bits as natively: there is no ${program} (cargo build --release -p mnx-infer)`);
        return context.skip();
    }
    const folder = mkdtempSync(join(tmpdir(), "mnx-web-"));
    context.after(() => rmSync(folder, { recursive: true }));
    const native = (...args) => execFileSync(program, args, { encoding: "utf8", cwd: path("") });
    const [x, y] = ["x.npy", "y.npy"].map((name) => join(folder, name));
    for (const weights of [CIFAR_INT8, CIFAR]) {
        const answer = JSON.parse(native("classify", "--weights", weights, CAT, "--format", "json", "--dump-input", x));
        // simd128 rounds as scalar does.
        native("run", "--weights", weights, "--input", x, "--output", y, "--isa", "scalar");
        const [input, expected] = [x, y].map((file) => npy(new Uint8Array(readFileSync(file))));
        const model = Model.fromBytes(read(weights));
        const [output] = new Session(model).run(input.data, input.shape);
        assert.deepEqual(bits(output.data), bits(expected.data), weights);
        const classes = new Classifier(model).classifyPicture(Picture.decode(read(CAT)), 5);
        assert.deepEqual(classes.map(({ label }) => label), answer[0].top.map(({ label }) => label));
        classes.forEach(({ probability }, i) => assert.ok(Math.abs(probability - answer[0].top[i].probability) < 1e-4));
    }
    const [{ boxes: expected }] = JSON.parse(native("detect", "--weights", BCCD, CELLS, "--format", "json"));
    const boxes = new Detector(Model.fromBytes(read(BCCD))).detectPicture(Picture.decode(read(CELLS)));
    assert.equal(boxes.length, expected.length);
    boxes.forEach((box, i) => {
        assert.equal(box.label, expected[i].label);
        for (const key of ["score", "xmin", "ymin", "xmax", "ymax"]) assert.ok(Math.abs(box[key] - expected[i][key]) < 1e-3, key);
    });
});

test("a cat is a cat, from a file and from a frame", () => {
    const classifier = new Classifier(Model.fromBytes(read(CIFAR_INT8)));
    const picture = Picture.decode(read(CAT), "chelsea.png");
    assert.deepEqual([picture.width, picture.height], [451, 300]);
    const fromFile = classifier.classifyPicture(picture, 3);
    assert.equal(fromFile[0].label, "cat");
    assert.equal(fromFile.length, 3);
    assert.deepEqual(classifier.classify(picture.rgba(), 451, 300, 3), fromFile);
    assert.equal(classifier.classify(new Uint8Array(picture.rgba()), 451, 300).length, 5);
    assert.equal(classifier.classify(picture.rgba(), 451, 300, 1000).length, 10);
    const logits = classifier.logits(picture.rgba(), 451, 300);
    assert.deepEqual([logits.length, logits.indexOf(Math.max(...logits))], [10, 3]);
    const embedding = classifier.embedding(picture.rgba(), 451, 300);
    assert.ok(embedding.length === 1280 && embedding.some((value) => value > 0));
});

test("what a model says of itself", () => {
    const cifar = Model.fromBytes(read(CIFAR_INT8));
    assert.deepEqual([cifar.family, cifar.arithmetic, cifar.classes, cifar.resolution, cifar.isDetector], ["mobilenext-cifar", "int8", 10, 32, false]);
    assert.equal(cifar.labels[3], "cat");
    assert.equal(Model.fromBytes(read("testdata/golden/int8/sandglass.mnx")).labels, null);
    assert.ok(Model.fromBytes(read(BCCD)).isDetector);
});

test("every malformed file has its one line", () => {
    const lines = readFileSync(path("testdata/malformed/cases.tsv"), "utf8").trim().split("\n").slice(1);
    let [models, pictures] = [0, 0];
    for (const [file, , expected] of lines.map((line) => line.split("\t"))) {
        const bytes = () => read(`testdata/malformed/${file}`);
        if (/\.mnx$/.test(file)) {
            const { kind, message } = thrown(() => Model.fromBytes(bytes()));
            // A number that 32 bits cannot hold is refused sooner.
            if (WIDE.includes(file)) assert.match(message, /^weight file: header: invalid value: integer `1099511627776`, expected usize at line 1 column \d+$/);
            else assert.equal(message, expected, file);
            assert.notEqual(kind, "Internal");
            models++;
        } else if (/\.(png|jpg|gif|webp|bmp|tif|ppm)$/.test(file)) {
            const { kind, message } = thrown(() => Picture.decode(bytes(), file));
            if (PANICS.includes(file)) {
                assert.equal(kind, "Internal");
                assert.match(message, /panicked at \S*image-webp/);
                continue;
            }
            const detail = expected.replace(/ \(--max-pixels N allows more\)$/, "");
            assert.equal(message, `${file}: ${detail}`);
            pictures++;
        }
    }
    assert.ok(models > 20 && pictures > 30, `${models} models, ${pictures} pictures`);
});

/** A copy whose buffer is a worker's now. */
function sentAway(array) {
    const copy = array.slice();
    structuredClone(copy.buffer, { transfer: [copy.buffer] });
    return copy;
}

test("arrays of other windows, and Node.js's own", () => {
    const classifier = new Classifier(Model.fromBytes(readFileSync(path(CIFAR_INT8))));
    const session = new Session(Model.fromBytes(runInNewContext("Uint8Array.from(bytes)", { bytes: read(CIFAR_INT8) })));
    assert.equal(classifier.classify(runInNewContext("new Uint8ClampedArray(24)"), 3, 2, 2).length, 2);
    assert.equal(session.run(runInNewContext("new Float32Array(3)"), [1, 3, 1, 1]).length, 1);
});

test("wrong arguments", () => {
    const model = Model.fromBytes(read(CIFAR_INT8));
    const [session, classifier] = [new Session(model), new Classifier(model)];
    const detector = new Detector(Model.fromBytes(read(BCCD)), { score: 0.5, top: 3, clip: true });
    const frame = new Uint8ClampedArray(4 * 6);
    const input = "InvalidInput";
    for (const [what, message, kind = input] of [
        [() => Model.fromBytes(new Uint8Array()), /^weight file/, "InvalidFile"],
        [() => Model.fromBytes("mobilenext.mnx"), /^weight file: expected a Uint8Array or a Uint8ClampedArray, found a string$/],
        [() => Model.fromBytes(null), /found null$/],
        [() => Model.fromBytes(new ArrayBuffer(8)), /found an ArrayBuffer$/],
        [() => Model.fromBytes(new Uint16Array(8)), /found a Uint16Array$/],
        [() => Model.fromBytes(Object.create(null)), /found an object$/],
        [() => Model.fromBytes({ get constructor() { throw 1; } }), /found an object$/],
        [() => Model.fromBytes(() => 1), /found a function$/],
        [() => Picture.decode(), /^picture: expected a Uint8Array or a Uint8ClampedArray, found undefined$/],
        [() => Picture.decode(new Uint8Array(), "a\nb.png"), /^a\\nb.png: expected a PNG.* found an empty file$/, "InvalidFile"],
        [() => Picture.decode(read(CAT), 5), /^name: expected a string, found a number$/],
        [() => Picture.decode(read(CAT), { length: 1e9 }), /^name: expected a string, found an Object$/],
        [() => classifier.classify(frame, 3, 3), /^raw frame: expected 3 rows of 12 bytes, 12 bytes apart, found 24 bytes$/],
        [() => classifier.classify(frame, 0, 3), /^width: expected a whole number from 1 to 4294967295, found 0$/],
        [() => classifier.classify(frame, 3, -2), /^height: .*found -2$/],
        [() => classifier.classify(frame, 2.5, 2), /^width: .*found 2.5$/],
        [() => classifier.classify(frame), /^width: .*found NaN$/],
        [() => classifier.classify(frame, 4294967295, 4294967295), /^raw frame: /],
        [() => classifier.classify([1, 2, 3, 4], 1, 1), /found an Array$/],
        [() => classifier.classify(sentAway(frame), 3, 2), /^raw frame: expected 2 rows of 12 bytes, 12 bytes apart, found 0 bytes$/],
        [() => classifier.classify(new Proxy(frame, {}), 3, 2), /^frame: expected a Uint8Array/],
        [() => Picture.decode(sentAway(read(CAT))), /found an empty file$/, "InvalidFile"],
        [() => session.run(sentAway(new Float32Array(3)), [1, 3, 1, 1]), /expected 3 values, found 0$/],
        [() => detector.detect(sentAway(frame), 3, 2), /^raw frame/],
        [() => classifier.classify(frame, 3, 2, 0), /^k: expected a whole number from 1/],
        [() => classifier.classify(frame, 3, 2, "many"), /^k: .*found NaN$/],
        [() => detector.detect(frame, 3, 3), /^raw frame/],
        [() => classifier.logits(frame, 3, 3), /^raw frame/],
        [() => classifier.embedding(null, 3, 3), /^frame: .* found null$/],
        [() => new Classifier(Model.fromBytes(read(BCCD))), /detector/],
        [() => new Detector(model), /^network: expected a detector, found a classifier/],
        [() => new Detector(Model.fromBytes(read(BCCD)), { score: 2 }), /^detector: expected `score` to be from 0 to 1, found 2$/],
        [() => new Detector(Model.fromBytes(read(BCCD)), { iou: "half" }), /^iou: expected a number, found a string$/],
        [() => new Detector(Model.fromBytes(read(BCCD)), { top: 0 }), /^top: /],
        [() => new Detector(Model.fromBytes(read(BCCD)), { clip: 1 }), /^clip: expected true or false, found a number$/],
        [() => new Detector(Model.fromBytes(read(BCCD)), 0.5), /^options: expected an object, found a number$/],
        [() => session.run(new Float32Array(3 * 32 * 32), [1, 3, 32, 31]), /expected 2976 values, found 3072$/],
        [() => session.run(new Float32Array(3), [1, 3, 1]), /^shape: expected four numbers.* found 3 numbers$/],
        [() => session.run(new Float32Array(3)), /^shape: expected four numbers.* found 0 numbers$/],
        [() => session.run(new Float32Array(3), null), /^shape: /],
        [() => session.run(new Float32Array(3), [1, 3, 1, "x"]), /^shape: .*found NaN$/],
        [() => session.run(new Float32Array(3), { length: 1e9 }), /^shape: expected four numbers.* found 1000000000 numbers$/],
        [() => session.run(new Float32Array(3), { length: 4, get 1() { throw 1; } }), /^shape: .*found NaN$/],
        [() => session.features(new Float32Array(3), { get length() { throw 1; } }), /^shape: .* found 0 numbers$/],
        [() => session.run(new Float64Array(3), [1, 3, 1, 1]), /^input: expected a Float32Array, found a Float64Array$/],
        [() => session.run(new Float32Array(4), [1, 4, 1, 1]), /3/],
        [() => session.run(new Float32Array(0), [0, 3, 1, 1]), /./],
        [() => session.run(new Float32Array(3), [65536, 65536, 65536, 65536]), /more elements than/, "Memory"],
    ]) {
        const found = thrown(what);
        assert.match(found.message, message, String(what));
        assert.match(found.kind, new RegExp(kind), `${what}: ${found.message}`);
    }
    // A shape is read by its length and its fields: what iterates over it may throw.
    const odd = Object.assign([1, 3, 1, 1], { [Symbol.iterator]() { throw 1; } });
    for (const shape of [odd, Uint32Array.of(1, 3, 1, 1), { ...odd, length: 4 }]) assert.equal(session.run(new Float32Array(3), shape).length, 1);
    // After all that, everything works as before.
    assert.equal(classifier.classify(frame, 3, 2, 2).length, 2);
    assert.ok(session.run(new Float32Array(3), [1, 3, 1, 1])[0].data.every(Number.isFinite));
    assert.ok(detector.detectPicture(Picture.decode(read(CELLS))).length === 3);
});

test("what wasm-bindgen and the engine check themselves has no kind", async () => {
    const model = Model.fromBytes(read(CIFAR_INT8));
    const [classifier, freed] = [new Classifier(model), Model.fromBytes(read(CIFAR_INT8))];
    freed.free();
    const frame = new Uint8Array(4);
    for (const [what, error] of [
        [() => new Classifier("x"), { name: "Error", message: "expected instance of Model" }],
        [() => new Classifier(), { name: "Error", message: "expected instance of Model" }],
        [() => new Classifier(engines.scalar.Model.fromBytes(read(CIFAR_INT8))), { name: "Error", message: "expected instance of Model" }],
        [() => classifier.classifyPicture(model, 1), { name: "Error", message: "expected instance of Picture" }],
        [() => freed.classes, { name: "Error", message: /null pointer/ }],
        [() => new Classifier(freed), { name: "Error", message: /null pointer/ }],
        [() => classifier.classify(frame, 1n, 1), { name: "TypeError" }],
        [() => classifier.classify(frame, Symbol("width"), 1), { name: "TypeError" }],
        [() => classifier.classify(frame, Object.create(null), 1), { name: "TypeError" }],
    ]) {
        assert.throws(what, error, String(what));
        assert.throws(what, (found) => found.kind === undefined, String(what));
    }
    // A module that is not loaded yet, which a query makes of it.
    const at = (path) => (path.endsWith(".js") ? new URL(`target/web/mobilenext/${path}?other`, root) : "http://127.0.0.1:1/");
    await assert.rejects(load({ at }), { name: "TypeError" });
    await assert.rejects(load({ at: (path) => new URL(`target/web/nowhere/${path}`, root) }), { code: "ERR_MODULE_NOT_FOUND" });
    assert.equal(classifier.classify(frame, 1, 1, 1).length, 1);
});

test("memory that a 32-bit module does not have is an exception", () => {
    const model = Model.fromBytes(read(CIFAR_INT8));
    const [session, classifier] = [new Session(model), new Classifier(model)];
    // Arrays that nobody touches take no memory here.
    const [bytes, floats] = [new Uint8Array(2 ** 31), new Float32Array(2 ** 29)];
    for (const what of [
        () => Model.fromBytes(bytes),
        () => Picture.decode(bytes),
        () => classifier.classify(bytes, 2 ** 15, 2 ** 14),
        () => session.run(floats, [1, 1, 2 ** 15, 2 ** 14]),
    ]) {
        const { kind, message } = thrown(what);
        assert.equal(kind, "Memory");
        assert.match(message, /^\w[\w ]+: out of memory: expected 2147483648 bytes, found less$/);
    }
    assert.ok(session.run(new Float32Array(3), [1, 3, 1, 1])[0].data.every(Number.isFinite));
});

test("what is freed is used again", async () => {
    const engine = await load({ build: "simd128" });
    const { memory } = await engine.default();
    const file = read(CIFAR_INT8);
    const once = () => {
        const model = engine.Model.fromBytes(file);
        const classifier = new engine.Classifier(model);
        const picture = engine.Picture.decode(read(CAT));
        classifier.classifyPicture(picture, 1);
        for (const one of [picture, classifier, model]) one.free();
    };
    for (let i = 0; i < 5; i++) once();
    const before = memory.buffer.byteLength;
    for (let i = 0; i < 50; i++) once();
    assert.equal(memory.buffer.byteLength, before);
});

test("a panic is an exception", async (context) => {
    const folder = process.env.MNX_WASM_PANIC;
    if (!folder) {
        console.log("SKIPPED: what becomes of a panic: tools/check_web makes a module that panics");
        return context.skip();
    }
    const module = await import(join(folder, "panics.js"));
    await module.default({ module_or_path: readFileSync(join(folder, "panics_bg.wasm")) });
    assert.equal(module.panics(1), 2);
    const { kind, message } = thrown(() => module.panics(2));
    assert.equal(kind, "Internal");
    assert.match(message, /^internal error, load the module in a new worker: .*index out of bounds: the len is 2 but the index is 2$/);
});

test("how long it takes", (context) => {
    if (!process.env.MNX_WEB_TIMES) return context.skip();
    const rgba = Picture.decode(read(CAT)).rgba();
    const median = (count, run) => {
        const times = Array.from({ length: count }, () => {
            const start = performance.now();
            run();
            return performance.now() - start;
        }).sort((a, b) => a - b);
        return `${times[times.length >> 1].toFixed(2)} ms`;
    };
    for (const [isa, engine] of Object.entries(engines)) {
        for (const file of [CAT, CELLS]) {
            const bytes = read(file);
            console.log(`${isa}, decoding ${file.replace(/.*\//, "")}: ${median(21, () => engine.Picture.decode(bytes).free())}`);
        }
        for (const [name, file] of [["CIFAR int8", CIFAR_INT8], ["CIFAR f32", CIFAR], ["ImageNet int8", "crates/mnx-infer/model/imagenet/mobilenetv2-1.0-imagenet-int8.mnx"], ["BCCD int8", BCCD]]) {
            const model = engine.Model.fromBytes(read(file));
            const runner = model.isDetector ? new engine.Detector(model) : new engine.Classifier(model);
            const run = () => (model.isDetector ? runner.detect(rgba, 451, 300) : runner.classify(rgba, 451, 300, 5));
            console.log(`${isa}, ${name}: ${median(isa === "scalar" ? 11 : 101, run)}`);
        }
    }
});
