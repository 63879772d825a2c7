// node run.mjs PROGRAM.wasm ARGS...: runs a WASI program on this machine's files, with its environment, and passes the exit code on.
import { readFile } from "node:fs/promises";
import { WASI } from "node:wasi";

const [program, ...args] = process.argv.slice(2);
// Relative paths start at "/": WASI has no working directory.
const wasi = new WASI({ version: "preview1", args: [program, ...args], env: process.env, preopens: { "/": "/" } });
const module = await WebAssembly.compile(await readFile(program));
process.exitCode = wasi.start(await WebAssembly.instantiate(module, wasi.getImportObject()));
