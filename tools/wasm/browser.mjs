// A headless Chromium, driven over a pipe by its own protocol, and a web server for a folder. Needs no packages.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";

const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".json": "application/json", ".wasm": "application/wasm", ".png": "image/png", ".jpg": "image/jpeg" };

/** What docs/web.md says that a page's policy must allow, and no more. */
const POLICY = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src data:";

/** Serves the files of a folder, as any static host does. Counts what goes out. */
export async function serve(folder) {
    const sent = [];
    const server = createServer(async (request, response) => {
        const name = normalize(decodeURIComponent(new URL(request.url, "http://x").pathname)).replace(/\/$/, "/index.html");
        try {
            const body = await readFile(join(folder, name));
            sent.push({ name, bytes: body.length });
            response.writeHead(200, { "content-type": TYPES[extname(name)] ?? "application/octet-stream", "content-security-policy": POLICY }).end(body);
        } catch {
            response.writeHead(404).end();
        }
    });
    await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
    return { url: `http://127.0.0.1:${server.address().port}/`, sent, close: () => server.close() };
}

/** Starts Chromium; `open` gives a new tab. */
export async function chromium(program) {
    const profile = mkdtempSync(join(tmpdir(), "mnx-chromium-"));
    const flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--remote-debugging-pipe", `--user-data-dir=${profile}`, "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "about:blank"];
    const child = spawn(program, flags, { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
    const [, , , to, from] = child.stdio;
    const waiting = new Map();
    const listeners = new Map(); // by session
    let rest = "";
    let count = 0;
    from.setEncoding("utf8").on("data", (text) => {
        const messages = (rest + text).split("\0");
        rest = messages.pop();
        for (const { id, result, error, method, params, sessionId } of messages.map((message) => JSON.parse(message))) {
            if (id === undefined) listeners.get(sessionId)?.(method, params);
            else if (error) waiting.get(id).reject(new Error(error.message));
            else waiting.get(id).resolve(result);
            waiting.delete(id);
        }
    });
    const gone = new Promise((ended) => child.on("exit", ended));
    gone.then((code) => waiting.forEach(({ reject }) => reject(new Error(`Chromium ended: ${code}`))));
    const send = (method, params = {}, sessionId) => new Promise((resolve, reject) => {
        waiting.set(++count, { resolve, reject });
        to.write(`${JSON.stringify({ id: count, method, params, sessionId })}\0`);
    });
    return {
        version: (await send("Browser.getVersion")).product,
        open: async (url, width, height) => {
            const { targetId } = await send("Target.createTarget", { url: "about:blank" });
            const { sessionId } = await send("Target.attachToTarget", { targetId, flatten: true });
            const tab = new Tab((method, params) => send(method, params, sessionId), listeners, sessionId);
            await tab.begin(url, width, height);
            return tab;
        },
        close: async () => {
            send("Browser.close").catch(() => {});
            await gone;
            rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
        },
    };
}

class Tab {
    /** What went wrong on the page that the page did not show. */
    faults = [];

    constructor(send, listeners, session) {
        this.send = send;
        listeners.set(session, (method, params) => {
            if (method === "Runtime.exceptionThrown") this.faults.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
            if (method === "Log.entryAdded" && params.entry.level === "error") this.faults.push(params.entry.text);
        });
    }

    async begin(url, width, height) {
        for (const domain of ["Page", "Runtime", "Log", "DOM"]) await this.send(`${domain}.enable`);
        await this.size(width, height);
        await this.send("Page.navigate", { url });
    }

    size(width, height, mobile = false) {
        return this.send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile });
    }

    /** The value of an expression on the page. */
    async value(expression) {
        const { result, exceptionDetails } = await this.send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
        if (exceptionDetails) throw new Error(`${expression}: ${exceptionDetails.exception?.description}`);
        return result.value;
    }

    /** Waits until an expression is true. */
    async until(expression, seconds = 60) {
        for (const end = Date.now() + 1000 * seconds; Date.now() < end; ) {
            if (await this.value(`Boolean(${expression})`).catch(() => false)) return;
            await new Promise((later) => setTimeout(later, 25));
        }
        throw new Error(`expected ${expression} within ${seconds} s; the page says: ${await this.value("document.body.innerText")}; ${this.faults}`);
    }

    /** Gives a file to an input, as a user who chooses it does. */
    async choose(selector, file) {
        const { root } = await this.send("DOM.getDocument");
        const { nodeId } = await this.send("DOM.querySelector", { nodeId: root.nodeId, selector });
        await this.send("DOM.setFileInputFiles", { nodeId, files: [file] });
    }

    /** Drops a file on the middle of an element. */
    async drop(selector, file) {
        const [x, y] = await this.value(`(() => { const r = document.querySelector(${JSON.stringify(selector)}).getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()`);
        const data = { items: [], files: [file], dragOperationsMask: 1 };
        for (const type of ["dragEnter", "dragOver", "drop"]) await this.send("Input.dispatchDragEvent", { type, x, y, data });
    }

    async key(key, code = key, windowsVirtualKeyCode = 0, text = undefined) {
        await this.send("Input.dispatchKeyEvent", { type: "keyDown", key, code, windowsVirtualKeyCode, text });
        await this.send("Input.dispatchKeyEvent", { type: "keyUp", key, code, windowsVirtualKeyCode });
    }

    colours(scheme, motion = "no-preference") {
        return this.send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }, { name: "prefers-reduced-motion", value: motion }] });
    }

    async picture(options) {
        return Buffer.from((await this.send("Page.captureScreenshot", options)).data, "base64");
    }
}
