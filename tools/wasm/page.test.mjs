// node --test tools/wasm/page.test.mjs: the page in target/web, as tools/wasm/build.sh made it, in a headless Chromium.
//
//   CHROMIUM         the browser (default: chromium)
//   MNX_WEB_PICTURE  a file for a picture of the page, as docs/web.jpg

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { chromium, serve } from "./browser.mjs";

const path = (name) => new URL(`../../${name}`, import.meta.url).pathname;
const CAT = path("testdata/pictures/chelsea.png");
const CELLS = path("testdata/bccd/JPEGImages/BloodImage_00031.jpg");
const OWN = path("crates/mnx-infer/model/mobilenext-0.35-cifar10.mnx");
/** 64 x 48 pixels of one brown, by Pillow. */
const AVIF = "AAAAIGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZk1BMUIAAADrbWV0YQAAAAAAAAAhaGRscgAAAAAAAAAAcGljdAAAAAAAAAAAAAAAAAAAAAAOcGl0bQAAAAAAAQAAAB5pbG9jAAAAAEQAAAEAAQAAAAEAAAETAAAALQAAAChpaW5mAAAAAAABAAAAGmluZmUCAAAAAAEAAGF2MDFDb2xvcgAAAABqaXBycAAAAEtpcGNvAAAAFGlzcGUAAAAAAAAAQAAAADAAAAAQcGl4aQAAAAADCAgIAAAADGF2MUOBAAwAAAAAE2NvbHJuY2x4AAEADQAGgAAAABdpcG1hAAAAAAAAAAEAAQQBAoMEAAAANW1kYXQSAAoJGBV/vaICGg0IMh4cR4eF3dNNNMLAAADPyinGvZOeF0uqN53Twnr0eEA=";

let browser, host, tab, folder;
before(async () => {
    folder = mkdtempSync(join(tmpdir(), "mnx-page-"));
    host = await serve(path("target/web"));
    browser = await chromium(process.env.CHROMIUM ?? "chromium");
    console.log(browser.version);
    tab = await browser.open(host.url, 1180, 800);
    await ready(tab);
});
after(async () => {
    await browser?.close();
    host?.close();
    rmSync(folder, { recursive: true, force: true });
});

const text = (id) => tab.value(`document.getElementById("${id}").innerText`);
const ready = (page) => page.until(`document.getElementById("status").textContent.startsWith("Ready")`);
const rested = () => tab.until("!document.body.hasAttribute('data-busy')");
const pick = (network) => tab.value(`document.querySelector("input[value=${network}]").click()`);
const checked = () => tab.value(`document.querySelector("input[name=network]:checked").value`);
/** Clicks as soon as the worker has been asked for something, before it can have answered. */
const clickDuring = (task, selector) => tab.value(`(() => {
    const post = Worker.prototype.postMessage;
    Worker.prototype.postMessage = function (message, ...rest) {
        post.call(this, message, ...rest);
        if (message.task !== "${task}") return;
        Worker.prototype.postMessage = post;
        queueMicrotask(() => document.querySelector("${selector}").click());
    };
})()`);

test("the start loads the engine and the first network alone", () => {
    const names = host.sent.map(({ name }) => name).filter((name) => /wasm|mnx/.test(name));
    assert.deepEqual(names.sort(), ["/mobilenext/simd128/mobilenext_bg.wasm", "/models/mobilenext-0.35-cifar10-int8.mnx"]);
});

test("a cat is a cat", async () => {
    await tab.choose("#file", CAT);
    await tab.until(`document.querySelector("#list li")`);
    await rested();
    assert.match(await text("list"), /^cat\s+7\d\.\d %/);
    assert.match(await text("status"), /^chelsea.png, 451 × 300 pixels$/);
    assert.match(await text("spoken"), /^cat, 7\d\.\d %$/);
    assert.match(await text("facts"), /Ten classes: [\d.]+ ms[\s\S]*Decoding[\s\S]*0\.\d+\.\d+, simd128$/);
    assert.equal(await tab.value(`document.querySelectorAll("#list li").length`), 5);
    assert.match(await tab.value(`document.getElementById("canvas").ariaLabel`), /^chelsea.png: cat, /);
    console.log((await text("facts")).replaceAll("\n", " "));
});

test("another network looks at the same picture", async () => {
    await pick("imagenet");
    await tab.until(`/cat|tabby|lynx/i.test(document.querySelector("#list li .what").textContent) && document.getElementById("facts").innerText.includes("ImageNet")`);
    console.log(`ImageNet: ${(await text("list")).replaceAll("\n", " ")}; ${(await text("facts")).replaceAll("\n", " ")}`);
});

test("boxes around blood cells", async () => {
    await pick("bccd");
    await rested();
    await tab.drop("#stage", CELLS);
    await tab.until(`document.getElementById("status").textContent.startsWith("BloodImage_00031.jpg, ") && !document.getElementById("table").hidden`);
    await rested();
    const boxes = await tab.value(`document.querySelectorAll("#table tbody tr").length`);
    assert.ok(boxes >= 5, `${boxes} boxes`);
    assert.match(await text("list"), /RBC/);
    assert.match(await text("spoken"), new RegExp(`^${boxes} boxes: \\d+ RBC, `));
    // A pixel of the first box's edge has the colour of its class.
    const drawn = await tab.value(`(() => {
        const canvas = document.getElementById("canvas"), pen = canvas.getContext("2d");
        const data = pen.getImageData(0, 0, canvas.width, canvas.height).data;
        let count = 0;
        for (let i = 0; i < data.length; i += 4) count += data[i] === 0x3d && data[i + 1] === 0xdb && data[i + 2] === 0xd9;
        return count;
    })()`);
    assert.ok(drawn > 500, `${drawn} pixels of boxes`);
    console.log((await text("facts")).replaceAll("\n", " "));
    // Nothing is an answer, too.
    await tab.choose("#file", CAT);
    await tab.until(`document.getElementById("list").innerText === "nothing found" && document.getElementById("table").hidden`);
});

test("a broken file has one clear line, and the next picture works", async () => {
    const broken = join(folder, "broken.png");
    writeFileSync(broken, readFileSync(CAT).subarray(0, 5000));
    await tab.drop("#stage", broken);
    await tab.until(`document.getElementById("error").textContent`);
    assert.match(await text("error"), /^broken.png: expected a complete PNG picture of a kind that can be decoded, found: [^\n]+$/);
    assert.equal(await text("list"), "");
    assert.equal(await tab.value(`document.getElementById("error").getAttribute("role")`), "alert");
    const words = join(folder, "words.jpg");
    writeFileSync(words, "no picture");
    await tab.choose("#file", words);
    await tab.until(`document.getElementById("error").textContent.startsWith("words.jpg: expected a PNG, JPEG")`);
    const weights = join(folder, "cut.mnx");
    writeFileSync(weights, readFileSync(path("testdata/malformed/cut.mnx")));
    await tab.choose("#file", weights);
    await tab.until(`document.getElementById("error").textContent.startsWith("cut.mnx: weight file: expected 4672 bytes")`);
    await pick("cifar");
    await tab.choose("#file", CAT);
    await tab.until(`document.getElementById("list").innerText.startsWith("cat") && !document.getElementById("error").textContent`);
});

test("a network that is chosen while a picture is read looks at that picture", async () => {
    await clickDuring("decode", "input[value=bccd]");
    await tab.choose("#file", CELLS);
    await tab.until(`document.getElementById("facts").innerText.includes("Blood cells") && !document.getElementById("table").hidden`);
    await rested();
    assert.match(await text("status"), /^BloodImage_00031.jpg, 640 × 480 pixels$/);
    assert.match(await tab.value(`document.getElementById("canvas").ariaLabel`), /^BloodImage_00031.jpg: \d+ boxes/);
    assert.deepEqual(await tab.value(`[canvas.width, canvas.height]`), [640, 480]);
    // Its error is shown as well.
    await clickDuring("decode", "input[value=cifar]");
    await tab.choose("#file", join(folder, "broken.png"));
    await tab.until(`document.getElementById("status").textContent.startsWith("Ready")`);
    assert.match(await text("error"), /^broken.png: expected/);
    await tab.choose("#file", CAT);
    await tab.until(`document.getElementById("list").innerText.startsWith("cat")`);
    await rested();
});

test("a network of one's own", async () => {
    await tab.choose("#file", OWN);
    await tab.until(`document.querySelector("input[value=own]")?.checked && /10 classes, f32/.test(document.getElementById("choices").innerText)`);
    await tab.until(`document.getElementById("facts").innerText.includes("mobilenext-0.35-cifar10.mnx")`);
    assert.match(await text("list"), /^cat/);
    // A broken one leaves it.
    await tab.choose("#file", join(folder, "cut.mnx"));
    await tab.until(`document.getElementById("error").textContent.startsWith("cut.mnx: weight file: expected 4672 bytes")`);
    await tab.choose("#file", CAT);
    await tab.until(`document.getElementById("facts").innerText.includes("mobilenext-0.35-cifar10.mnx")`);
    assert.equal(await text("error"), "");
    assert.match(await text("list"), /^cat/);
    // What is chosen while it is opened stays chosen.
    await clickDuring("network", "input[value=cifar]");
    await tab.choose("#file", OWN);
    await tab.until(`document.getElementById("facts").innerText.includes("Ten classes")`);
    await rested();
    assert.equal(await checked(), "cifar");
    assert.equal(await tab.value(`document.querySelectorAll("input[value=own]").length`), 1);
});

test("formats that are left to the browser", async () => {
    const [avif, svg] = [join(folder, "brown.avif"), join(folder, "drawing.svg")];
    writeFileSync(avif, Buffer.from(AVIF, "base64"));
    await tab.choose("#file", avif);
    await tab.until(`document.getElementById("status").textContent === "brown.avif, 64 × 48 pixels"`);
    const [r, g, b] = await tab.value(`[...canvas.getContext("2d").getImageData(32, 24, 1, 1).data]`);
    assert.ok(Math.abs(r - 200) < 8 && Math.abs(g - 120) < 8 && Math.abs(b - 40) < 8, `${[r, g, b]}`);
    // No browser makes pixels of a drawing in a worker.
    writeFileSync(svg, `<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><rect width="8" height="8"/></svg>`);
    await tab.choose("#file", svg);
    await tab.until(`document.getElementById("error").textContent.startsWith("drawing.svg: expected a PNG, JPEG")`);
});

test("a pasted picture", async () => {
    await tab.value(`(async () => {
        const bytes = await (await fetch("pictures/BloodImage_00031.jpg")).arrayBuffer();
        const clipboardData = new DataTransfer();
        clipboardData.items.add(new File([bytes], "pasted.jpg", { type: "image/jpeg" }));
        document.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
    })()`);
    await tab.until(`document.getElementById("status").textContent.startsWith("pasted.jpg, ")`);
});

test("the camera, and its end", async () => {
    await tab.value(`document.getElementById("camera").click()`);
    await tab.until(`document.getElementById("status").textContent === "The camera is on." && document.querySelectorAll("#list li").length === 5`);
    assert.equal(await tab.value(`document.getElementById("camera").getAttribute("aria-pressed")`), "true");
    await tab.value(`document.getElementById("camera").click()`);
    await tab.until(`document.getElementById("camera").innerText === "Use the camera"`);
});

test("after the camera the picture before comes back in its own size", async () => {
    await tab.choose("#file", CAT);
    await tab.until(`document.getElementById("list").innerText.startsWith("cat")`);
    await rested();
    const [click, size] = [() => tab.value(`document.getElementById("camera").click()`), () => tab.value(`[canvas.width, canvas.height]`)];
    await click();
    await tab.until(`document.getElementById("status").textContent === "The camera is on." && document.querySelectorAll("#list li").length === 5`);
    assert.notDeepEqual(await size(), [451, 300]);
    await click();
    await tab.until(`document.getElementById("camera").innerText === "Use the camera"`);
    await pick("imagenet");
    await tab.until(`document.getElementById("facts").innerText.includes("ImageNet")`);
    assert.match(await text("status"), /^chelsea.png/);
    assert.deepEqual(await size(), [451, 300]);
    await pick("cifar");
    await rested();
});

test("everything can be reached by keyboard, and has a name", async () => {
    await pick("bccd");
    await tab.choose("#file", CELLS);
    await tab.until(`!document.getElementById("table").hidden`);
    await rested();
    await tab.value(`(document.activeElement.blur(), document.querySelector("details").open = true, scrollTo(0, 0))`);
    await tab.send("Page.bringToFront");
    const reached = new Set();
    for (let i = 0; i < 14; i++) {
        await tab.key("Tab", "Tab", 9);
        const [id, outline] = await tab.value(`(() => {
            const e = document.activeElement;
            const shown = e.name === "network" ? e.nextElementSibling : e.id === "file" ? e.nextElementSibling : e;
            return [e.id || e.name || e.className || e.tagName, getComputedStyle(shown).outlineStyle];
        })()`);
        if (id !== "BODY") assert.equal(outline, "solid", `the focus on ${id} is seen`);
        reached.add(id);
    }
    for (const id of ["skip", "network", "file", "camera", "example", "SUMMARY", "scroll"]) assert.ok(reached.has(id), `${id} among ${[...reached]}`);
    // Arrows choose a network, the space bar presses a button.
    await tab.value(`document.querySelector("input[value=cifar]").focus()`);
    await tab.value(`document.querySelector("input[value=cifar]").click()`);
    await tab.key("ArrowRight", "ArrowRight", 39);
    assert.equal(await tab.value(`document.querySelector("input[name=network]:checked").value`), "imagenet");
    await tab.key("ArrowLeft", "ArrowLeft", 37);
    await tab.value(`document.getElementById("example").focus()`);
    await tab.key(" ", "Space", 32, " ");
    await tab.until(`document.getElementById("status").textContent.startsWith("chelsea.png") && document.getElementById("list").innerText.startsWith("cat")`);
    const { nodes } = await tab.send("Accessibility.getFullAXTree");
    const nameless = nodes.filter((node) => !node.ignored && ["button", "radio", "image", "link", "group", "region"].includes(node.role?.value) && !node.name?.value);
    assert.deepEqual(nameless.map((node) => node.role.value), []);
});

test("light, dark, and no motion where none is wanted", async () => {
    const grounds = [];
    for (const scheme of ["light", "dark"]) {
        await tab.colours(scheme);
        grounds.push(await tab.value("getComputedStyle(document.body).backgroundColor"));
        // WCAG's contrast of what is written on what.
        const ratios = await tab.value(`(() => {
            const style = getComputedStyle(document.documentElement);
            const pen = new OffscreenCanvas(1, 1).getContext("2d");
            const light = (name) => {
                pen.fillStyle = style.getPropertyValue(name);
                pen.fillRect(0, 0, 1, 1);
                const [r, g, b] = [...pen.getImageData(0, 0, 1, 1).data].map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
            const written = [["--ink", "--ground"], ["--ink", "--card"], ["--quiet", "--card"], ["--quiet", "--ground"], ["--quiet", "--sunk"], ["--wrong", "--wrong-ground"], ["--on-accent", "--accent"]];
            const drawn = [["--edge", "--card"], ["--bar", "--sunk"], ["--accent", "--card"]];
            return [...written.map(([a, b]) => [a + " on " + b, ratio(a, b), 4.5]), ...drawn.map(([a, b]) => [a + " on " + b, ratio(a, b), 3])];
        })()`);
        for (const [what, ratio, least] of ratios) assert.ok(ratio >= least, `${scheme}: ${what}: contrast ${ratio.toFixed(2)}`);
    }
    assert.notEqual(...grounds);
    await tab.colours("light", "reduce");
    assert.match(await tab.value(`getComputedStyle(document.querySelector(".track i")).transitionDuration`), /^0s$/);
    await tab.colours("light");
});

test("a phone's screen: nothing is wider than it", async () => {
    await tab.size(360, 740, true);
    assert.ok(await tab.value("document.documentElement.scrollWidth <= 360"));
    // The answer comes into view.
    await tab.value("scrollTo(0, 0)");
    await tab.choose("#file", CAT);
    await tab.until(`(() => {
        const row = document.querySelector("#list li"), place = row?.getBoundingClientRect();
        return document.getElementById("status").textContent.startsWith("chelsea.png, ") && place?.top >= 0 && place.bottom <= innerHeight;
    })()`);
    await tab.size(1180, 800);
});

test("a fault of the engine is one line, and the page goes on", async () => {
    // A worker that answers as one whose module has ended.
    const broken = await browser.open(host.url, 800, 800);
    await ready(broken);
    await broken.choose("#file", OWN);
    await broken.until(`document.querySelector("input[value=own]")?.checked`);
    await broken.value(`(() => {
        const post = Worker.prototype.postMessage;
        Worker.prototype.postMessage = function (message, ...rest) {
            if (message.task !== "decode") return post.call(this, message, ...rest);
            Worker.prototype.postMessage = post;
            const answer = { data: { id: message.id, error: { kind: "Internal", message: "internal error: made up" } } };
            this.onmessage(answer);
            this.onmessage(answer); // As one that comes when nobody waits for it any more.
        };
    })()`);
    await broken.choose("#file", CAT);
    await broken.until(`document.getElementById("error").textContent.startsWith("internal error")`);
    await broken.choose("#file", CAT);
    await broken.until(`document.getElementById("list").innerText.startsWith("cat") && !document.getElementById("error").textContent`);
    // The user's own network has gone with the worker that had it.
    assert.equal(await broken.value(`document.querySelector("input[name=network]:checked").value`), "cifar");
    assert.equal(await broken.value(`document.querySelector("input[value=own]")`), null);
    assert.deepEqual(broken.faults, []);
});

test("a picture that is pasted before the engine is there", async () => {
    const early = await browser.open("about:blank", 800, 800);
    const source = `document.addEventListener("DOMContentLoaded", () => {
        const clipboardData = new DataTransfer();
        clipboardData.items.add(new File([Uint8Array.from(atob("${readFileSync(CAT).toString("base64")}"), (c) => c.charCodeAt(0))], "early.png"));
        document.dispatchEvent(new ClipboardEvent("paste", { clipboardData }));
        window.before = document.getElementById("status").textContent;
    })`;
    await early.send("Page.addScriptToEvaluateOnNewDocument", { source });
    await early.send("Page.navigate", { url: host.url });
    await early.until(`document.getElementById("list").innerText.startsWith("cat")`);
    assert.equal(await early.value("before"), "Starting…");
    assert.match(await early.value(`document.getElementById("status").textContent`), /^early.png, /);
    assert.deepEqual(early.faults, []);
});

test("a build without SIMD", async () => {
    const plain = await browser.open(`${host.url}?build=scalar`, 800, 800);
    await ready(plain);
    await plain.choose("#file", CAT);
    await plain.until(`document.getElementById("list").innerText.startsWith("cat")`);
    assert.match(await plain.value(`document.getElementById("facts").innerText`), /scalar/);
    // It is slow enough to show that the page answers meanwhile: else its clock would stand still.
    const [ticks, took] = await plain.value(`(async () => {
        document.querySelector("input[value=imagenet]").click();
        const facts = document.getElementById("facts");
        let ticks = 0;
        while (!facts.innerText.includes("ImageNet")) {
            await new Promise((later) => setTimeout(later, 5));
            ticks++;
        }
        return [ticks, parseFloat(facts.innerText.match(/ImageNet: ([\\d.]+) ms/)[1])];
    })()`);
    console.log(`${ticks} ticks of the page's clock; ImageNet without SIMD: ${took} ms`);
    assert.ok(ticks > took / 50);
    assert.deepEqual(plain.faults, []);
});

test("the single file, from a disk", async () => {
    const single = await browser.open(`file://${path("target/web/mobilenext.html")}`, 800, 800);
    await ready(single);
    await single.value(`document.getElementById("example").click()`);
    await single.until(`document.getElementById("list").innerText.startsWith("cat")`);
    assert.match(await single.value(`document.getElementById("facts").innerText`), /simd128/);
    assert.deepEqual(single.faults, []);
});

test("nothing went wrong unseen", () => assert.deepEqual(tab.faults, []));

test("a picture of the page", async (context) => {
    if (!process.env.MNX_WEB_PICTURE) return context.skip();
    await tab.size(1180, 900);
    await pick("bccd");
    await tab.choose("#file", CELLS);
    await tab.until(`document.getElementById("status").textContent.startsWith("BloodImage")`);
    await rested();
    await tab.value(`(document.activeElement.blur(), document.querySelector("details").open = false, scrollTo(0, 0))`);
    writeFileSync(process.env.MNX_WEB_PICTURE, await tab.picture({ format: "jpeg", quality: 82 }));
});
