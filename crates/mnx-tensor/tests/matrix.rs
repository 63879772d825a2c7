//! The tables of `docs/portability.md` that say how ISAs and kernels are tested are the kernel table's:
//! `MNX_WRITE_MATRIX=1 cargo test -p mnx-tensor --test matrix` writes them anew.

use std::fs;
use std::path::Path;

use mnx_tensor::{Isa, Operation, table};

const START: &str = "<!-- kernels: written by MNX_WRITE_MATRIX=1 cargo test -p mnx-tensor --test matrix -->\n";
const END: &str = "<!-- /kernels -->";

/// Where the gate runs the kernels and the networks of each ISA.
const TESTED: [(&str, &str); 5] = [
    ("scalar", "on every machine, forced by `MNX_ISA`"),
    ("simd128", "a build for WebAssembly, under Node.js"),
    ("neon", "emulated by QEMU; natively on aarch64"),
    ("avx2", "on CPUs that have it, forced by `MNX_ISA`"),
    ("avx512", "on CPUs that have it, forced by `MNX_ISA`"),
];

/// What the kernels of an operation are compared with in the tests of this crate.
fn tested(operation: Operation) -> &'static str {
    match operation {
        Operation::Depthwise { .. } => "naive loops, exactly: every plane size and padding, every channel count",
        Operation::Pointwise | Operation::PointwiseHalf => {
            "naive loops, exactly: every pair of channel counts, every plane size"
        }
        Operation::Dense { .. } | Operation::Conv { .. } => {
            "naive loops, exactly: every plane size and padding, every pair of channel counts"
        }
        Operation::MaxPool { .. } => "naive loops, exactly: every plane size and padding",
        Operation::Pool => "naive loops, exactly: every plane size",
        Operation::Linear => "naive loops, exactly: every channel count and batch",
        other => panic!("{other:?}: say here how its kernels are tested"),
    }
}

/// Names and operations of an ISA's kernels, each once.
fn kernels(isa: Isa) -> Vec<(&'static str, Operation)> {
    let mut kernels: Vec<_> = table::rows().filter(|row| row.isa == isa).map(|row| (row.name, row.operation)).collect();
    kernels.dedup();
    kernels
}

/// The same on every machine: all ISAs have the same kernels; the scalar ones stand for all.
fn tables() -> String {
    let mut text =
        String::from("| ISA | tested | whole networks, compared with PyTorch's | bits |\n| --- | --- | --- | --- |\n");
    for isa in Isa::ALL {
        let (name, place) = TESTED.into_iter().find(|(name, _)| *name == isa.name()).expect("every ISA is tested");
        let bits = if isa.fuses() { "the stored checksums" } else { "those of `scalar`" };
        text += &format!("| `{name}` | {place} | logits and every block's output, by tolerance | {bits} |\n");
    }
    text += "\n| kernel | compared with |\n| --- | --- |\n";
    for (name, operation) in kernels(Isa::Scalar) {
        text += &format!("| `{name}` | {} |\n", tested(operation));
    }
    text
}

#[test]
fn every_isa_says_how_it_is_tested_and_has_every_kernel() {
    for &isa in Isa::ALL {
        assert_eq!(TESTED.iter().filter(|(name, _)| *name == isa.name()).count(), 1, "{isa}");
    }
    for isa in Isa::available() {
        assert_eq!(kernels(isa), kernels(Isa::Scalar), "{isa}");
    }
}

#[test]
fn the_page_has_the_kernel_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/portability.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(START).expect("the page marks where the tables start");
    let (found, after) = rest.split_once(END).expect("the page marks where the tables end");
    if std::env::var_os("MNX_WRITE_MATRIX").is_some() {
        fs::write(&path, [before, START, &tables(), END, after].concat()).unwrap();
    } else {
        assert_eq!(found, tables(), "stale: MNX_WRITE_MATRIX=1 cargo test -p mnx-tensor --test matrix");
    }
}
