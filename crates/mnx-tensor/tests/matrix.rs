//! The support matrix in the README is the kernel table's: `MNX_WRITE_MATRIX=1 cargo test -p mnx-tensor --test matrix`
//! writes it anew.

use std::fs;
use std::path::Path;

use mnx_tensor::Isa;
use mnx_tensor::table;

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

/// What the kernel of this name is compared with in the tests of this crate.
fn tested(name: &str) -> &'static str {
    match name {
        "dw3x3s1" | "dw3x3s2" => "naive loops, exactly: every plane size and padding, every channel count",
        "pw" | "pw8" => "naive loops, exactly: every pair of channel counts, every plane size",
        "dense3x3s1" | "dense3x3s2" | "dense7x7s2" | "conv3x3s1" | "conv3x3s2" => {
            "naive loops, exactly: every plane size and padding, every pair of channel counts"
        }
        "maxpool3x3s2" => "naive loops, exactly: every plane size and padding",
        "pool" => "naive loops, exactly: every plane size",
        "linear" => "naive loops, exactly: every channel count and batch",
        _ => "not stated yet",
    }
}

/// The names of an ISA's kernels, each once.
fn names(isa: Isa) -> Vec<&'static str> {
    let mut names: Vec<_> = table::rows().filter(|row| row.isa == isa).map(|row| row.name).collect();
    names.dedup();
    names
}

/// The same on every machine: all ISAs have the same kernels; the scalar ones stand for all.
fn matrix() -> String {
    let heads = COLUMNS.map(|(isa, where_run)| format!("{isa} ({where_run})")).join(" | ");
    let mut text = format!("| kernel | {heads} | compared with |\n| --- {}|\n", "| --- ".repeat(COLUMNS.len() + 1));
    for name in names(Isa::Scalar) {
        text += &format!("| `{name}` {}| {} |\n", "| ✓ ".repeat(COLUMNS.len()), tested(name));
    }
    text
}

#[test]
fn every_isa_has_a_column_and_every_kernel() {
    for isa in Isa::ALL {
        assert!(COLUMNS.iter().any(|column| column.0 == isa.name()), "{isa}");
    }
    for isa in Isa::available() {
        assert_eq!(names(isa), names(Isa::Scalar), "{isa}");
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
