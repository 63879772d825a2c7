//! The tables of `docs/portability.md` that say how ISAs and kernels are tested are the kernel table's:
//! `MNX_WRITE_MATRIX=1 cargo test -p mnx-tensor --test matrix` writes them anew.

use std::fs;
use std::path::Path;

use mnx_tensor::table::Kernel;
use mnx_tensor::{Arithmetic, Isa, Operation, table};

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

/// What a kernel is compared with in the tests of this crate.
fn tested(kernel: &Kernel) -> &'static str {
    if kernel.operation == Operation::Quantize {
        return "the formula, exactly: numbers, ties, infinities, NaN";
    }
    if kernel.arithmetic == Arithmetic::Int8 {
        return "naive loops in integers, exactly: odd sizes, paddings, channel counts, zero points, shortcuts and factors";
    }
    match kernel.operation {
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

/// An ISA's kernels, one of each name.
fn kernels(isa: Isa) -> Vec<&'static Kernel> {
    let mut kernels: Vec<&Kernel> = Vec::new();
    for row in table::rows().filter(|row| row.isa == isa) {
        if kernels.iter().all(|kernel| kernel.name != row.name) {
            kernels.push(row);
        }
    }
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
    for kernel in kernels(Isa::Scalar) {
        text += &format!("| `{}` | {} |\n", kernel.name, tested(kernel));
    }
    text
}

#[test]
fn every_isa_says_how_it_is_tested_and_has_every_kernel() {
    for &isa in Isa::ALL {
        assert_eq!(TESTED.iter().filter(|(name, _)| *name == isa.name()).count(), 1, "{isa}");
    }
    for isa in Isa::available() {
        let of = |isa| kernels(isa).into_iter().map(|kernel| (kernel.name, kernel.operation)).collect::<Vec<_>>();
        assert_eq!(of(isa), of(Isa::Scalar), "{isa}");
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
