//! The support matrix in the README is the kernel table's: `MNX_WRITE_MATRIX=1 cargo test -p mnx-tensor --test matrix`
//! writes it anew.

use std::fs;
use std::path::Path;

use mnx_tensor::{Isa, Operation, table};

const START: &str = "<!-- kernels: written by MNX_WRITE_MATRIX=1 cargo test -p mnx-tensor --test matrix -->\n";
const END: &str = "<!-- /kernels -->";

/// Which columns there are and how the kernels of each are tested. The last column's kernels exist in builds for it only.
const COLUMNS: [(&str, &str); 5] = [
    ("scalar", "every machine"),
    ("avx2", "CPUs with it"),
    ("avx512", "CPUs with it"),
    ("neon", "QEMU, or aarch64"),
    ("simd128", "Node.js"),
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
fn matrix() -> String {
    let heads = COLUMNS.map(|(isa, where_run)| format!("{isa} ({where_run})")).join(" | ");
    let mut text = format!("| kernel | {heads} | compared with |\n| --- {}|\n", "| --- ".repeat(COLUMNS.len() + 1));
    for (name, operation) in kernels(Isa::Scalar) {
        text += &format!("| `{name}` {}| {} |\n", "| ✓ ".repeat(COLUMNS.len()), tested(operation));
    }
    text
}

#[test]
fn every_isa_has_a_column_and_every_kernel() {
    for &isa in Isa::ALL {
        assert!(COLUMNS.iter().any(|column| column.0 == isa.name()), "{isa}");
    }
    for isa in Isa::available() {
        assert_eq!(kernels(isa), kernels(Isa::Scalar), "{isa}");
    }
}

#[test]
fn the_readme_has_the_kernel_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once(START).expect("the README marks where the matrix starts");
    let (found, after) = rest.split_once(END).expect("the README marks where the matrix ends");
    if std::env::var_os("MNX_WRITE_MATRIX").is_some() {
        fs::write(&path, [before, START, &matrix(), END, after].concat()).unwrap();
    } else {
        assert_eq!(found, matrix(), "stale: MNX_WRITE_MATRIX=1 cargo test -p mnx-tensor --test matrix");
    }
}
