//! What can be measured: rows of the kernel table on layers.

use std::fmt;

use mnx_tensor::dispatch;
use mnx_tensor::table::{self, Kernel};
use mnx_tensor::{Cpu, TunedFor};

use crate::{Shape, kernels};

/// A row of the kernel table, a CPU that selects it, and a layer.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// The row.
    pub row: &'static Kernel,
    /// The CPU.
    pub cpu: Cpu,
    /// The layer.
    pub shape: Shape,
}

/// Each row that this CPU can run, on each of the layers that it is for: those of a name together, in the order of the table.
pub fn runs(shapes: &[Shape]) -> Vec<Run> {
    let mut rows: Vec<(&Kernel, Cpu)> = table::rows().filter_map(|row| Some((row, cpu_of(row)?))).collect();
    rows.sort_by_key(|(row, _)| kernels().position(|name| name == row.name));
    let on_all = |(row, cpu): (&'static Kernel, Cpu)| {
        let of_kernel = shapes.iter().filter(|shape| shape.kernel() == row.name);
        of_kernel.map(move |&shape| Run { row, cpu, shape })
    };
    rows.into_iter().flat_map(on_all).collect()
}

/// What names of runs are made of, for those who looked for another.
pub fn parts_of_names(runs: &[Run]) -> String {
    let mut kernels: Vec<&str> = runs.iter().map(|run| run.row.name).collect();
    kernels.dedup();
    let mut isas: Vec<String> = runs.iter().map(|run| instructions(run.row)).collect();
    isas.sort();
    isas.dedup();
    let example = runs.first().map(|run| format!(", such as {run}")).unwrap_or_default();
    format!("names are kernel/isa/layer{example}; kernels: {}; ISAs: {}", kernels.join(" "), isas.join(" "))
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.row.name, instructions(self.row), self.shape)
    }
}

/// A CPU that selects this row; none where this machine cannot run it.
pub fn cpu_of(row: &'static Kernel) -> Option<Cpu> {
    let selects = |cpu: &Cpu| {
        dispatch::select(row.operation, row.arithmetic, row.weights, *cpu)
            .is_ok_and(|selected| std::ptr::eq(selected, row))
    };
    Cpu::available().into_iter().find(selects)
}

/// What tells a row from others of its name: `avx2`, `avx512-wide`; `avx2-dot` with dot products of bytes, `avx512-amx`.
pub fn instructions(row: &Kernel) -> String {
    let of_core = if row.tuned_for == TunedFor::Any { String::new() } else { format!("-{}", row.tuned_for) };
    let more = match (row.amx, row.dot_products) {
        (true, _) => "-amx",
        (false, true) => "-dot",
        (false, false) => "",
    };
    format!("{}{of_core}{more}", row.isa)
}

#[cfg(test)]
mod tests {
    use mnx_tensor::Isa;

    use super::*;

    #[test]
    fn every_row_that_can_run_has_a_cpu_and_a_name_of_its_own() {
        let mut names: Vec<String> = table::rows().map(|row| format!("{}/{}", row.name, instructions(row))).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
        for row in table::rows().filter(|row| row.isa == Isa::Scalar) {
            assert_eq!(cpu_of(row).map(Cpu::isa), Some(Isa::Scalar), "{row:?}");
        }
    }
}
