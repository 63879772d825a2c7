// node run.mjs PROGRAM.wasm ARGS...: runs a WASI program with this machine's files, environment and exit code.
import { readFile } from "node:fs/promises";
import { WASI } from "node:wasi";

const [program, ...args] = process.argv.slice(2);
const wasi = new WASI({
    version: "preview1",
    args: [program, ...args],
    // A program finds relative paths by its preopened folders, not by a working directory.
    env: process.env,
    preopens: { "/": "/", ".": process.cwd() },
    returnOnExit: true,
});
const module = await WebAssembly.compile(await readFile(program));
const instance = await WebAssembly.instantiate(module, wasi.getImportObject());
process.exitCode = wasi.start(instance);
