//! The program: the library's [`run`](mnx_infer::run) with the arguments of the process.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(mnx_infer::run(std::env::args_os()))
}
