//! Makes an ES module with types of a WebAssembly module that uses wasm-bindgen: what the program `wasm-bindgen` does, without
//! its test runners, which take minutes to build.
//!
//! Usage: mnx-wasm-bindgen INPUT.wasm NAME FOLDER

use std::process::ExitCode;

use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, name, folder] = &arguments[..] else {
        eprintln!("usage: mnx-wasm-bindgen INPUT.wasm NAME FOLDER");
        return ExitCode::from(2);
    };
    let mut bindgen = Bindgen::new();
    bindgen.input_path(input).out_name(name).typescript(true).remove_name_section(true).remove_producers_section(true);
    match bindgen.web(true).and_then(|web| web.generate(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{input}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
