//! Which kernel suits a CPU.

use crate::table::{Kernel, instance, may_use_amx, rows};
use crate::{Arithmetic, Cpu, Element, Error, Isa, Operation, TunedFor};

/// The kernel of an operation in an arithmetic, for weights of this type: the row for the CPU's microarchitecture, else the one for
/// any; with AMX and with dot products of bytes, if the CPU may use them.
///
/// # Errors
/// [`Error::Kernel`] where there is none.
pub fn select(
    operation: Operation,
    arithmetic: Arithmetic,
    weights: Element,
    cpu: Cpu,
) -> Result<&'static Kernel, Error> {
    let isa = cpu.isa();
    instance(isa).ok_or_else(|| Error::IsaUnavailable { isa, available: Isa::available() })?;
    let suits = |row: &&Kernel| {
        (row.operation, row.arithmetic, row.weights, row.isa) == (operation, arithmetic, weights, isa)
            && [cpu.tuned_for(), TunedFor::Any].contains(&row.tuned_for)
            && (cpu.dot_products() || !row.dot_products)
            && (!row.amx || cpu.amx() && may_use_amx(isa))
    };
    let best = rows().filter(suits).max_by_key(|row| (row.amx, row.dot_products, row.tuned_for != TunedFor::Any));
    // Integer sums have the same bits everywhere: an ISA without rows of its own takes those of any CPU.
    let portable =
        || rows().find(|row| (row.operation, row.arithmetic, row.isa) == (operation, Arithmetic::Int8, Isa::Scalar));
    let best = best.or_else(|| portable().filter(|_| (arithmetic, weights) == (Arithmetic::Int8, Element::I8)));
    best.ok_or(Error::Kernel { operation, arithmetic, weights, isa })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::has_dot_products;

    /// A row that no CPU selects would never be tested.
    #[test]
    fn every_row_is_selected_on_some_cpu() {
        let runs = |row: &&Kernel| {
            row.isa.is_available()
                && (!row.dot_products || has_dot_products(row.isa))
                && (!row.amx || may_use_amx(row.isa))
        };
        for row in rows().filter(runs) {
            let found = Cpu::available()
                .into_iter()
                .any(|cpu| std::ptr::eq(select(row.operation, row.arithmetic, row.weights, cpu).unwrap(), row));
            assert!(found, "{row:?}");
        }
    }

    /// What runs is seen from the outside: a fused multiply-add keeps the product's low bits, separate ones lose them.
    #[test]
    fn fma_isas_fuse_and_no_others() {
        let (x, w) = (1.0 + f32::EPSILON, 1.0 - f32::EPSILON);
        for isa in Isa::available() {
            let weight: Vec<f32> = (0..9).map(|k| if k == 4 { w } else { 0.0 }).collect();
            let cpu = Cpu::choose(Some(isa), None).unwrap();
            let input = crate::Tensor::from_slice([1, 1, 1, 1], &[x]).unwrap();
            let options = crate::ops::Conv { cpu: Some(cpu), padding: crate::ops::Margins::ONE, ..Default::default() };
            let found = crate::ops::depthwise3x3(input.view(), &weight, Some(&[-1.0]), &options).unwrap();
            let expected = if isa.fuses() { x.mul_add(w, -1.0) } else { x * w - 1.0 };
            assert_eq!(found.data(), [expected], "{isa}");
        }
        assert_ne!(x * w - 1.0, x.mul_add(w, -1.0));
    }
}
