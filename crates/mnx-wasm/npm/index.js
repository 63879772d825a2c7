// Entry of the npm package: chooses the build that this engine can run, and loads it.

// The builds beside this file. Bundlers find them where the paths stand here in full.
const OWN = {
    simd128: {
        script: () => import("./simd128/mobilenext.js"),
        file: () => new URL("./simd128/mobilenext_bg.wasm", import.meta.url),
    },
    scalar: {
        script: () => import("./scalar/mobilenext.js"),
        file: () => new URL("./scalar/mobilenext_bg.wasm", import.meta.url),
    },
};

// A module with one instruction of simd128, `i8x16.splat`.
const PROBE = new Uint8Array([
    0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
]);

/** Whether this engine has simd128. Without it the scalar build runs, with the same results in int8 and a few times slower. */
export function hasSimd128() {
    return WebAssembly.validate(PROBE);
}

/**
 * Loads the engine: the simd128 build, or the scalar one where there is no simd128.
 *
 * `options.build` names a build. `options.at` tells where a file of the package is: it gets a path like
 * `simd128/mobilenext_bg.wasm` and returns a URL.
 */
export async function load({ build, at } = {}) {
    build ??= hasSimd128() ? "simd128" : "scalar";
    if (!Object.hasOwn(OWN, build)) {
        const error = new Error(`build: expected one of ${Object.keys(OWN).join(", ")}, found ${build}`);
        throw Object.assign(error, { name: "MnxError", kind: "InvalidInput" });
    }
    const [script, file] = at ? [at(`${build}/mobilenext.js`), at(`${build}/mobilenext_bg.wasm`)] : [];
    const engine = await (at ? import(/* webpackIgnore: true */ /* @vite-ignore */ script) : OWN[build].script());
    await engine.default({ module_or_path: await source(file ?? OWN[build].file()) });
    return engine;
}

/** Node.js cannot fetch files, so it reads them. */
async function source(url) {
    if (!String(url).startsWith("file:") || typeof process === "undefined") return url;
    const files = "node:fs/promises"; // Bundlers for browsers must not look for it.
    const { readFile } = await import(/* webpackIgnore: true */ /* @vite-ignore */ files);
    return readFile(new URL(url));
}
