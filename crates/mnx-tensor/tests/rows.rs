//! Every row of the kernel table against the naive loops, whatever rows there are: a new kernel is tested here as soon as it
//! has one. `tests/kernels.rs` tries more sizes of those that networks use most.

mod common;

use common::{assert_same, values};
use mnx_tensor::naive::{self, Rounding, Shape};
use mnx_tensor::ops::{self, Margins};
use mnx_tensor::{
    AlignedBytes, Arithmetic, Clamp, Cpu, Element, Layer, Operation, PackedWeights, Tensor, TensorView, half, pack,
    table,
};

/// Pairs of channel counts: less than a block, blocks and panels that are full or not, several panels.
const CHANNELS: [(usize, usize); 9] =
    [(1, 1), (3, 7), (8, 8), (9, 17), (12, 32), (16, 48), (17, 50), (24, 96), (5, 113)];

/// Heights and widths: tiny ones, ones just below and above tiles, long rows and columns.
const SIZES: [(usize, usize); 9] = [(1, 1), (1, 9), (7, 2), (3, 3), (5, 8), (13, 14), (7, 29), (2, 61), (17, 33)];

/// f32 to the bits of a type of 16 bits, and back.
type Conversions = (fn(f32) -> u16, fn(u16) -> f32);

/// Weights that a type holds exactly, and their packed bytes in it.
fn stored(element: Element, values: &mut [f32], pack: impl Fn(&[f32]) -> Vec<f32>) -> Vec<u8> {
    let (narrow, widen): Conversions = match element {
        Element::F32 => return bytemuck::cast_slice(&pack(values)).to_vec(),
        Element::Bf16 => (half::f32_to_bf16, half::bf16_to_f32),
        Element::F16 => (half::f32_to_f16, half::f16_to_f32),
        other => panic!("{other}: say here how weights of an f32 layer are stored in it"),
    };
    // Among them the smallest of its numbers and a large one: f16 has denormal numbers where f32 has none.
    for (value, special) in values.iter_mut().step_by(5).zip([widen(1), -widen(1), 3.1e-6, -0.0, 60_000.0]) {
        *value = special;
    }
    values.iter_mut().for_each(|value| *value = widen(narrow(*value)));
    pack(values).iter().flat_map(|&value| narrow(value).to_le_bytes()).collect()
}

fn check(
    (operation, element): (Operation, Element),
    channels: [usize; 2],
    (height, width): (usize, usize),
    padding: Margins,
) {
    let [cin, cout] = channels;
    let (kernel, stride) = (operation.kernel(), operation.stride());
    let shape = Shape { cin, cout, height, width, kernel, stride, padding };
    let (rows, columns) = if operation == Operation::Pool { (1, 1) } else { shape.output_size() };
    let has_weights = operation.bias_len(cout) > 0;
    let per_output = if operation.is_per_channel() { kernel * kernel } else { cin * kernel * kernel };
    let mut weights = values(if has_weights { cout * per_output } else { 0 }, 1);
    let (x, bias) = (values(cin * height * width, 2), values(if has_weights { cout } else { 0 }, 3));
    let has_residual = has_weights && operation != Operation::Linear;
    let shortcut = values(if has_residual { cout * rows * columns } else { 0 }, 4);
    let packed = stored(element, &mut weights, |weights| {
        if has_weights { operation.pack(weights, channels).unwrap().to_vec() } else { Vec::new() }
    });
    let mut aligned = AlignedBytes::try_zeroed(packed.len()).unwrap();
    aligned.copy_from_slice(&packed);
    let covered = cout * 2 / 3;
    // A linear layer has no clamp.
    let clamp = if has_residual { Clamp::RELU6 } else { Clamp::NONE };
    for cpu in Cpu::available() {
        let packed_bias = if has_weights { pack::bias(&bias, cout).unwrap() } else { Default::default() };
        let packed = PackedWeights::of(element, &aligned).unwrap();
        let layer = Layer::with_weights(cpu, operation, channels, packed, &packed_bias, clamp).unwrap();
        assert_eq!(layer.weight_element(), element);
        let input = Tensor::from_slice([1, cin, height, width], &x).unwrap();
        let residual = has_residual.then(|| (TensorView::new([1, cout, rows, columns], &shortcut).unwrap(), covered));
        let found = ops::forward(&layer, input.view(), padding, residual).unwrap();
        let rounding = if cpu.isa().fuses() { Rounding::Fused } else { Rounding::Separate };
        let mut expected = naive::layer(operation, &shape, &x, &weights, &bias, rounding);
        naive::epilogue(&mut expected, cout, clamp, has_residual.then_some((&*shortcut, covered)));
        assert_same(found.data(), &expected, &(cpu, operation, element, &shape));
    }
}

#[test]
fn every_row_is_its_naive_loops() {
    // A half panel is part of a pointwise layer.
    let mut operations: Vec<_> = table::rows()
        .filter(|row| row.arithmetic == Arithmetic::F32)
        .map(|row| (row.operation, row.weights.name()))
        .filter(|&(operation, _)| operation != Operation::PointwiseHalf)
        .collect();
    operations.sort_unstable();
    operations.dedup();
    for (operation, element) in operations {
        let element = Element::parse(element).unwrap();
        let half = operation.kernel() / 2;
        let paddings = [
            Margins { top: half, bottom: half, left: half, right: half },
            Margins { top: 0, bottom: half, left: half, right: 0 },
            Margins::ZERO,
        ];
        for (i, (cin, cout)) in CHANNELS.into_iter().enumerate() {
            for (n, size) in SIZES.into_iter().enumerate() {
                let channels = if operation.is_per_channel() { [cout; 2] } else { [cin, cout] };
                let size = if operation == Operation::Linear { (1, 1) } else { size };
                check((operation, element), channels, size, paddings[(i + n) % 3]);
            }
        }
    }
}
