// The page: what is chosen and shown. All work is done in worker.js, so that nothing here takes long.

const $ = (id) => document.getElementById(id);
const canvas = $("canvas");
const context = canvas.getContext("2d");

/** Colours of boxes, by class: far apart, and visible on light and dark pictures. */
const COLOURS = ["#ffb000", "#ff5c8a", "#3ddbd9", "#8ab4ff", "#b28dff", "#7ee081", "#ff8a3d", "#f4f4f4"];

let networks = []; // of models.json, and the user's own
let chosen; // one of them
let current; // what the canvas shows: { bitmap, width, height, name }
let camera; // the stream, while there is one
let turn = 0; // of what was asked last: answers to what was asked before it are not shown
let newest = 0; // of the picture that was opened last: the worker keeps it, so it is shown whatever was asked since

// ---- the worker ----

/** A page that came as one file has its parts inside. */
function inside(path) {
    const element = document.getElementById(`asset:${path}`);
    return element && Uint8Array.from(atob(element.textContent.trim()), (c) => c.charCodeAt(0));
}

function startWorker() {
    const own = inside("worker.js");
    startWorker.url ??= own ? URL.createObjectURL(new Blob([own], { type: "text/javascript" })) : "worker.js";
    // From a disk, modules are not let into workers.
    worker = new Worker(startWorker.url, { type: own ? "classic" : "module" });
    worker.onmessage = ({ data: { id, result, error } }) => {
        if (error) waiting.get(id)?.reject(error);
        else waiting.get(id)?.resolve(result);
        waiting.delete(id);
    };
    worker.onerror = (event) => {
        event.preventDefault();
        const message = event.message || "this browser cannot start the engine (a module in a worker)";
        giveUp({ kind: "Internal", message });
    };
}

let worker;
let asked = 0; // how many questions, by all workers
const waiting = new Map(); // for answers of this worker, by the question's number: { resolve, reject }

/** The worker's answer. */
function ask(task, fields = {}, transfer = []) {
    return new Promise((resolve, reject) => {
        const id = ++asked;
        waiting.set(id, { resolve, reject });
        worker.postMessage({ id, task, ...fields }, transfer);
    });
}

/** Nothing that was asked will be answered. */
function giveUp(error) {
    const left = [...waiting.values()];
    waiting.clear();
    for (const { reject } of left) reject(error);
}

/** After a fault of the engine its module cannot be used any more. The user's own network, which it had, may be what is wrong. */
async function again(message) {
    worker.terminate();
    giveUp({ message });
    startWorker();
    noPicture();
    removeOwn();
    if (chosen.id === "own") {
        chosen = networks[0];
        document.querySelector(`input[value="${chosen.id}"]`).checked = true;
    }
    await ask("start", begin.parts);
}

async function begin() {
    const list = inside("models.json");
    const { models, example } = JSON.parse(list ? new TextDecoder().decode(list) : await text("models.json"));
    networks = models;
    begin.example = example;
    const build = new URLSearchParams(location.search).get("build") ?? undefined;
    const paths = ["mobilenext/index.js", ...models.map((model) => model.file)];
    for (const name of ["simd128", "scalar"]) paths.push(`mobilenext/${name}/mobilenext.js`, `mobilenext/${name}/mobilenext_bg.wasm`);
    const assets = list && Object.fromEntries(paths.map((path) => [path, inside(path)]).filter((entry) => entry[1]));
    startWorker();
    begin.parts = { build, assets, list: models };
    const { isa, version } = await ask("start", begin.parts);
    begin.engine = `${version}, ${isa}${isa === "scalar" && build === undefined ? ": this browser has no SIMD, so it takes longer" : ""}`;
    networks.forEach(addChoice);
    for (const id of ["camera", "example", "file"]) $(id).disabled = false;
    choose(networks[0]);
}

async function text(path) {
    const response = await fetch(path);
    if (!response.ok) throw new Error(`${path}: expected a file beside this page, found status ${response.status}`);
    return response.text();
}

// ---- networks ----

function addChoice(network) {
    const label = make("label", { className: "choice" });
    const input = make("input", { type: "radio", name: "network", value: network.id, checked: network === networks[0] });
    const words = make("span");
    words.append(make("b", { textContent: network.name }), make("small", { textContent: network.about }));
    input.addEventListener("change", () => choose(network));
    label.append(input, words);
    $("choices").append(label);
    return input;
}

async function choose(network) {
    chosen = network;
    await guarded(async (mine) => {
        say(`Loading ${network.name}…`);
        await ask("network", { model: network.id });
        if (!mine()) return;
        if (camera) return;
        if (current) await look(mine);
        else say("Ready: choose a picture.");
    });
}

/** A weight file of the user's becomes one more choice. */
async function openNetwork(file) {
    await guarded(async (mine) => {
        say(`Opening ${file.name}…`);
        const found = await ask("network", { model: "own", file });
        removeOwn();
        const network = { id: "own", name: file.name, about: `${found.classes} classes, ${found.arithmetic}` };
        const input = addChoice(network);
        // What was chosen since stays chosen, but for the network that this one replaces.
        if (!mine() && chosen.id !== "own") return;
        chosen = network;
        input.checked = true;
        if (!mine()) return;
        if (current && !camera) await look(mine);
        else say(`${file.name} is open.`);
    });
}

function removeOwn() {
    document.querySelector("input[value=own]")?.parentElement.remove();
}

// ---- pictures ----

async function open(file) {
    // Files may be dropped and pasted before the engine is there.
    if (!file || !(await started)) return;
    if (/\.mnx$/i.test(file.name)) return openNetwork(file);
    stopCamera();
    const own = ++newest;
    await guarded(async (mine) => {
        say(`Reading ${file.name}…`);
        let shown;
        try {
            shown = await ask("decode", { file });
        } catch (error) {
            if (own !== newest && error.kind !== "Internal") return;
            noPicture();
            return fail(error);
        }
        if (own !== newest) return shown.bitmap.close();
        current?.bitmap.close();
        current = { ...shown, name: file.name };
        if (!camera) draw(current.bitmap, current.bitmap.width, current.bitmap.height);
        // If a network was chosen meanwhile, it looks when it is there.
        if (mine()) await look(mine);
    });
}

/** An error is not shown beside the picture before. */
function noPicture() {
    current?.bitmap.close();
    current = undefined;
    $("stage").classList.remove("full");
    canvas.setAttribute("aria-label", "No picture");
}

async function look(mine) {
    say("Looking…");
    const seen = await ask("look", { model: chosen.id });
    if (mine()) show(seen, current, current.name);
}

/** What is done for the last thing that was asked; errors are shown, on one line. */
async function guarded(work) {
    const own = ++turn;
    const mine = () => own === turn;
    $("error").textContent = "";
    document.body.dataset.busy = "";
    try {
        await work(mine);
    } catch (error) {
        if (mine()) fail(error);
    }
    if (mine()) delete document.body.dataset.busy;
}

function fail({ kind, message }) {
    if (kind === "Internal" && begin.engine) again(message).catch(() => {});
    say("");
    $("error").textContent = message;
    clear();
    $("spoken").textContent = "";
    reveal($("error"));
}

/** Brings an answer into view: on a phone it is below the picture. */
function reveal(element) {
    element?.scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}

function clear() {
    $("list").replaceChildren();
    $("facts").replaceChildren();
    $("table").hidden = true;
}

// ---- the camera ----

async function toggleCamera() {
    if (camera) return stopCamera();
    await guarded(async (mine) => {
        if (!navigator.mediaDevices?.getUserMedia) throw new Error("camera: expected a page from https or this device, where browsers allow it, found another");
        say("Asking for the camera…");
        let stream;
        try {
            stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 640 } } });
        } catch (error) {
            throw new Error(`camera: expected one that may be used, found: ${error.message || error.name}`);
        }
        if (!mine()) return stream.getTracks().forEach((track) => track.stop());
        camera = stream;
        for (const track of stream.getTracks()) track.onended = () => lost(stream, "a camera that goes on", "one that has ended");
        $("camera").textContent = "Stop the camera";
        $("camera").setAttribute("aria-pressed", "true");
        const video = $("video");
        video.srcObject = stream;
        try {
            await video.play();
        } catch (error) {
            return lost(stream, "a picture", error.message || error.name);
        }
        film(video, stream);
    });
}

function stopCamera() {
    if (!camera) return;
    camera.getTracks().forEach((track) => track.stop());
    camera = undefined;
    turn++;
    delete document.body.dataset.busy;
    $("video").srcObject = null;
    $("camera").textContent = "Use the camera";
    $("camera").setAttribute("aria-pressed", "false");
    say("The camera is off.");
    $("spoken").textContent = "";
}

/** The camera has stopped by itself. */
function lost(stream, expected, found) {
    if (camera !== stream) return;
    stopCamera();
    fail({ message: `camera: expected ${expected}, found ${found}` });
}

/** One frame after the other, each when the one before has its answer. */
async function film(video, stream) {
    const still = new OffscreenCanvas(1, 1);
    const pen = still.getContext("2d", { willReadFrequently: true });
    while (camera === stream) {
        await new Promise((next) => (video.requestVideoFrameCallback ? video.requestVideoFrameCallback(next) : requestAnimationFrame(next)));
        const [width, height] = [video.videoWidth, video.videoHeight];
        if (camera !== stream || !width || !height) continue;
        if (still.width !== width || still.height !== height) [still.width, still.height] = [width, height];
        pen.drawImage(video, 0, 0);
        const { data } = pen.getImageData(0, 0, width, height);
        try {
            const seen = await ask("frame", { model: chosen.id, pixels: data, width, height }, [data.buffer]);
            if (camera !== stream) return;
            draw(still, width, height);
            $("error").textContent = "";
            show(seen, { width, height }, "camera");
        } catch (error) {
            if (camera !== stream) return;
            stopCamera();
            fail(error);
        }
    }
}

// ---- what is shown ----

function draw(image, width, height) {
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    context.drawImage(image, 0, 0);
    $("stage").classList.add("full");
}

function show(seen, picture, name) {
    // The camera may have left the canvas with another size.
    if (!camera && current) draw(current.bitmap, current.bitmap.width, current.bitmap.height);
    $("table").hidden = !seen.boxes?.length;
    const summary = seen.boxes ? showBoxes(seen.boxes, picture) : showClasses(seen.classes);
    canvas.setAttribute("aria-label", `${name}: ${summary}`);
    say(camera ? "The camera is on." : `${name}, ${picture.width} × ${picture.height} pixels`);
    speak(summary);
    if (!camera) reveal($("list").firstElementChild);
    const facts = [["Network", `${chosen.name}: ${milliseconds(seen.runMs)}`]];
    if (seen.decodeMs !== undefined) facts.push(["Decoding", milliseconds(seen.decodeMs)]);
    facts.push(["Engine", begin.engine]);
    $("facts").replaceChildren(...facts.flatMap(([term, value]) => [make("dt", { textContent: term }), make("dd", { textContent: value })]));
}

function showClasses(classes) {
    rows(classes.map(({ index, label, probability }) => ({ what: name(index, label), how: percent(probability), share: probability })));
    const [best] = classes;
    return `${name(best.index, best.label)}, ${percent(best.probability)}`;
}

function showBoxes(boxes, picture) {
    const groups = new Map();
    for (const box of boxes) groups.set(box.index, [...(groups.get(box.index) ?? []), box]);
    const counted = [...groups.entries()].sort((a, b) => b[1].length - a[1].length);
    rows(counted.map(([index, group]) => ({
        what: name(index, group[0].label), how: `${group.length}`, share: group.length / boxes.length, colour: colour(index),
    })));
    if (boxes.length === 0) $("list").replaceChildren(make("li", { textContent: "nothing found" }));
    const cells = ({ index, label, score, xmin, ymin, xmax, ymax }) =>
        [name(index, label), percent(score), ...[xmin, ymin, xmax, ymax].map((edge) => edge.toFixed(0))];
    $("table").querySelector("tbody").replaceChildren(...boxes.map((box) => {
        const row = make("tr");
        row.append(...cells(box).map((textContent) => make("td", { textContent })));
        return row;
    }));
    const scale = canvas.width / picture.width;
    for (const box of [...boxes].reverse()) drawBox(box, scale);
    if (boxes.length === 0) return "nothing found";
    return `${boxes.length} ${boxes.length === 1 ? "box" : "boxes"}: ${counted.map(([index, group]) => `${group.length} ${name(index, group[0].label)}`).join(", ")}`;
}

function drawBox({ index, label, xmin, ymin, xmax, ymax }, scale) {
    const [x, y, width, height] = [xmin, ymin, xmax - xmin, ymax - ymin].map((value) => value * scale);
    const line = Math.max(2, canvas.width / 320);
    context.lineJoin = "round";
    // A dark line around the coloured one is visible on any picture.
    for (const [style, lineWidth] of [["rgb(0 0 0 / 65%)", 2 * line], [colour(index), line]]) {
        Object.assign(context, { strokeStyle: style, lineWidth });
        context.strokeRect(x, y, width, height);
    }
    const size = Math.max(11, canvas.width / 48);
    context.font = `600 ${size}px system-ui, sans-serif`;
    const words = name(index, label);
    const [left, top] = [Math.max(0, x - line / 2), Math.max(0, y - size * 1.25)];
    context.fillStyle = colour(index);
    context.fillRect(left, top, context.measureText(words).width + size * 0.6, size * 1.3);
    Object.assign(context, { fillStyle: "#111", textBaseline: "middle" });
    context.fillText(words, left + size * 0.3, top + size * 0.68);
}

function rows(entries) {
    $("list").replaceChildren(...entries.map(({ what, how, share, colour }) => {
        const row = make("li");
        const words = make("span", { className: "what", textContent: what });
        if (colour) words.prepend(make("span", { className: "swatch" }));
        const track = make("div", { className: "track" });
        track.setAttribute("aria-hidden", "true");
        const bar = make("i");
        bar.style.width = `${(100 * share).toFixed(1)}%`;
        track.append(bar);
        if (colour) row.style.setProperty("--colour", colour);
        row.append(words, make("span", { className: "how", textContent: how }), track);
        return row;
    }));
}

/** Screen readers hear every answer about a picture, and of the camera only what has changed, at most every two seconds. */
function speak(summary) {
    const now = performance.now();
    const what = camera ? summary.replace(/,.*/, "") : summary;
    if (camera && (what === speak.last || now - (speak.at ?? -9999) < 2000)) return;
    [speak.last, speak.at] = [what, now];
    $("spoken").textContent = what;
}

const say = (words) => { if ($("status").textContent !== words) $("status").textContent = words; };
const name = (index, label) => label ?? `class ${index}`;
const colour = (index) => COLOURS[index % COLOURS.length];
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const milliseconds = (ms) => `${ms < 10 ? ms.toFixed(1) : ms.toFixed(0)} ms`;

function make(tag, properties = {}) {
    return Object.assign(document.createElement(tag), properties);
}

// ---- what the user does ----

$("file").addEventListener("change", () => {
    open($("file").files[0]);
    $("file").value = ""; // So that the same file can be chosen again.
});
$("camera").addEventListener("click", toggleCamera);
$("example").addEventListener("click", async () => {
    const path = chosen.example ?? begin.example;
    const own = inside(path);
    try {
        const response = own ? new Response(own) : await fetch(path);
        if (!response.ok) throw new Error(response.statusText);
        const bytes = await response.arrayBuffer();
        open(new File([bytes], path.replace(/.*\//, "")));
    } catch {
        fail({ message: `${path}: expected a picture beside this page, found none` });
    }
});

let over = 0; // how many elements the pointer has entered and not left
document.addEventListener("dragenter", (event) => { event.preventDefault(); over++; $("drop").classList.add("over"); });
document.addEventListener("dragleave", () => { if (--over <= 0) $("drop").classList.remove("over"); });
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
    event.preventDefault();
    over = 0;
    $("drop").classList.remove("over");
    open(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => open(event.clipboardData.files[0]));

for (const id of ["camera", "example", "file"]) $(id).disabled = true;
/** Whether the engine is there, once that is known. */
const started = (typeof WebAssembly === "undefined" ? Promise.reject({ message: "this page needs a browser with WebAssembly" }) : begin())
    .then(() => true, fail);
