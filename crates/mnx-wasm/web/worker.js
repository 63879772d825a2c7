// All work of the page: decodes pictures, loads networks, runs them. Answers every message with one of the same id.

let engine; // what the package exports
let locate; // where a file of the page is: a path to a URL
let models = []; // what the page can load
let picture; // the last one: { pixels, width, height, decodeMs }
const networks = new Map(); // by id: { model, runner }

/** Formats that browsers decode and the library does not. */
const BROWSERS_OWN = /^image\/(avif|heic|heif|jxl|x-icon|vnd\.microsoft\.icon)$/;

const tasks = {
    async start({ build, assets, list }) {
        models = list;
        locate = assets ? locator(assets) : (path) => new URL(path, self.location.href).href;
        const npm = await import(locate("mobilenext/index.js"));
        engine = await npm.load({ build, at: (path) => locate(`mobilenext/${path}`) });
        return { isa: engine.isa(), version: engine.version() };
    },

    /** Loads one of the page's networks, or one from a file of the user's. */
    async network({ model, file }) {
        await network(model, file);
        return describe(model);
    },

    /** Decodes a picture file and keeps it. */
    async decode({ file }) {
        const start = performance.now();
        picture = BROWSERS_OWN.test(file.type) ? await byBrowser(file) : await byLibrary(file);
        picture.decodeMs = performance.now() - start;
        return shown(picture);
    },

    /** Runs a network on the picture that was decoded last. */
    async look({ model }) {
        const { runner } = await network(model);
        return { ...run(runner, picture), decodeMs: picture.decodeMs };
    },

    /** Runs a network on a frame of the camera. */
    async frame({ model, pixels, width, height }) {
        const { runner } = await network(model);
        return run(runner, { pixels, width, height });
    },
};

let last = Promise.resolve(); // what is being done: one thing after the other

self.onmessage = ({ data }) => {
    last = last.then(() => answer(data));
};

async function answer(data) {
    try {
        const result = await tasks[data.task](data);
        self.postMessage({ id: data.id, result }, result.bitmap ? [result.bitmap] : []);
    } catch (error) {
        // A trap of the module leaves it as it was then: it cannot go on. A stack that is too deep is a RangeError in V8, an
        // InternalError in Firefox.
        const kind = error.kind ?? (/^(RuntimeError|RangeError|InternalError)$/.test(error.name) ? "Internal" : "Io");
        self.postMessage({ id: data.id, error: { kind, message: error.message.replace(/\s+/g, " ") } });
    }
}

/** Where files are that came with the page itself, in one file: each is a URL of its own, as long as the worker lives. */
function locator(assets) {
    const urls = new Map();
    return (path) => {
        if (!urls.has(path)) {
            const type = path.endsWith(".wasm") ? "application/wasm" : path.endsWith(".js") ? "text/javascript" : "";
            urls.set(path, URL.createObjectURL(new Blob([assets[path]], { type })));
        }
        return urls.get(path);
    };
}

async function network(id, file) {
    if (file || !networks.has(id)) {
        const bytes = file ? await contents(file) : await fetched(models.find((model) => model.id === id));
        const model = opened(bytes, file?.name);
        const runner = model.isDetector ? new engine.Detector(model) : new engine.Classifier(model);
        // The first run lays memory out.
        const side = model.resolution;
        run(runner, { pixels: new Uint8Array(4 * side * side), width: side, height: side });
        // A file that cannot be opened leaves the one before.
        close(id);
        networks.set(id, { model, runner });
    }
    return networks.get(id);
}

function close(id) {
    const { model, runner } = networks.get(id) ?? {};
    networks.delete(id);
    runner?.free();
    model?.free();
}

async function fetched({ file, name }) {
    const response = await fetch(locate(file)).catch(({ message }) => ({ statusText: message }));
    if (!response.ok) throw new Error(`${name}: expected the network at ${file}, found ${response.status ? `status ${response.status}` : response.statusText}`);
    return response.arrayBuffer();
}

/** What is in a file of the user's, which may be a folder, or gone. */
async function contents(file) {
    const bytes = await file.arrayBuffer().catch(({ message }) => {
        throw new Error(`${file.name}: expected a file that can be read, found: ${message}`);
    });
    return new Uint8Array(bytes);
}

/** A network; messages name its file. */
function opened(bytes, name) {
    try {
        return engine.Model.fromBytes(new Uint8Array(bytes));
    } catch (error) {
        if (name) error.message = `${name}: ${error.message}`;
        throw error;
    }
}

function describe(id) {
    const { model } = networks.get(id);
    const { family, arithmetic, classes, labels, resolution, isDetector } = model;
    return { family, arithmetic, classes, labels, resolution, isDetector };
}

/** The same pixels as everywhere else the library runs. */
async function byLibrary(file) {
    const decoded = engine.Picture.decode(await contents(file), file.name);
    try {
        return { pixels: decoded.rgba(), width: decoded.width, height: decoded.height };
    } finally {
        decoded.free();
    }
}

async function byBrowser(file) {
    let bitmap;
    try {
        bitmap = await createImageBitmap(file);
    } catch {
        throw new Error(`${file.name}: expected a picture that this browser can show, found one that it cannot`);
    }
    const { width, height } = bitmap;
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    return { pixels: context.getImageData(0, 0, width, height).data, width, height };
}

/** A picture to draw, no larger than a screen needs. */
async function shown({ pixels, width, height }) {
    const scale = Math.min(1, 1600 / Math.max(width, height));
    const [resizeWidth, resizeHeight] = [width, height].map((side) => Math.max(1, Math.round(side * scale)));
    const options = scale < 1 ? { resizeWidth, resizeHeight, resizeQuality: "high" } : {};
    return { bitmap: await createImageBitmap(new ImageData(pixels, width, height), options), width, height };
}

function run(runner, { pixels, width, height }) {
    const start = performance.now();
    const found = runner instanceof engine.Detector
        ? { boxes: runner.detect(pixels, width, height) }
        : { classes: runner.classify(pixels, width, height, 5) };
    return { ...found, runMs: performance.now() - start };
}
