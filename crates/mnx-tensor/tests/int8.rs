//! Every int8 kernel of every ISA that this machine has, with dot products and without, against the naive loops in integers:
//! to the last bit.

use mnx_tensor::naive::{self, Shape};
use mnx_tensor::ops::{self, Margins};
use mnx_tensor::{Arithmetic, Cpu, Operation, PreparedInt8, Requantize, Tensor, table};
use proptest::prelude::*;

/// Deterministic bytes.
fn bytes(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed ^ 0x9e37_79b9;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 21) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Bytes of which many are the largest and the smallest: sums go as far as they can.
fn extremes(len: usize, seed: u32) -> Vec<u8> {
    bytes(len, seed)
        .into_iter()
        .map(|b| {
            if b < 90 {
                0
            } else if b < 180 {
                255
            } else {
                b
            }
        })
        .collect()
}

fn signed(bytes: Vec<u8>) -> Vec<i8> {
    bytes.into_iter().map(|b| (b as i8).max(-127)).collect()
}

#[derive(Clone, Copy, Debug)]
struct Case {
    channels: [usize; 2],
    size: (usize, usize),
    padding: Margins,
    n: usize,
    /// How many channels the shortcut covers, if there is one.
    covered: Option<usize>,
    requantize: Requantize,
    /// Factors are this times 1 to 2.
    factor: f32,
}

fn check(operation: Operation, case: &Case) {
    let &Case { channels: [cin, cout], size: (height, width), padding, n, covered, requantize, factor } = case;
    let (kernel, stride) = (operation.kernel(), operation.stride());
    let shape = Shape { cin, cout, height, width, kernel, stride, padding };
    let weighted = operation.int8_weights_len(1, 1) > 0;
    let depth = if operation.is_per_channel() { kernel * kernel } else { cin * kernel * kernel };
    let weights = signed(extremes(if weighted { cout * depth } else { 0 }, 1));
    let bias: Vec<i32> = bytes(if weighted { cout } else { 0 }, 2).iter().map(|&b| (i32::from(b) - 128) * 99).collect();
    let factors: Vec<f32> = bytes(bias.len(), 3).iter().map(|&b| factor * (1.0 + f32::from(b) / 256.0)).collect();
    let pixels = height * width;
    let x = extremes(n * cin * pixels, 4);
    let (rows, columns) = match operation {
        Operation::Pointwise | Operation::Linear => (height, width),
        Operation::Pool => (1, 1),
        _ => shape.output_size(),
    };
    let per_picture = cout * rows * columns;
    let shortcut = bytes(n * per_picture, 5);
    let adds = weighted && operation != Operation::Linear && requantize.shortcut.is_some();
    let covered = covered.filter(|_| adds);
    let packed = operation.pack_int8(&weights, [cin, cout]).unwrap();
    let of_picture = |picture: usize| {
        let x = &x[picture * cin * pixels..][..cin * pixels];
        let added = covered.map(|channels| (&shortcut[picture * per_picture..][..per_picture], channels));
        match operation {
            Operation::MaxPool { .. } => naive::int8::max_pool(&shape, x),
            Operation::Pool => {
                let factors = vec![requantize.pool_factor(pixels); cout];
                naive::int8::requantize(
                    &naive::int8::pool(cout, pixels, x, requantize.zero_in),
                    &factors,
                    &requantize,
                    None,
                )
            }
            _ => {
                let sums = naive::int8::sums(operation, &shape, x, &weights, &bias, requantize.zero_in);
                naive::int8::requantize(&sums, &factors, &requantize, added)
            }
        }
    };
    if operation == Operation::Linear {
        let of_row = |x: &[u8]| {
            let one = Shape { height: 1, width: 1, ..shape };
            let sums = naive::int8::sums(operation, &one, x, &weights, &bias, requantize.zero_in);
            sums.iter().zip(&factors).map(|(&sum, &factor)| sum as f32 * factor).collect::<Vec<_>>()
        };
        let expected: Vec<f32> = x.chunks_exact(cin).flat_map(of_row).collect();
        for cpu in Cpu::available() {
            let own = PreparedInt8::new(cpu, operation, [cin, cout], &packed, &bias, &factors, requantize).unwrap();
            let found = ops::int8::linear(&own.layer(), &x, n * pixels).unwrap();
            assert_eq!(found, expected, "{cpu:?} {case:?}");
        }
        return;
    }
    let expected: Vec<u8> = (0..n).flat_map(of_picture).collect();
    for cpu in Cpu::available() {
        let own = PreparedInt8::new(cpu, operation, [cin, cout], &packed, &bias, &factors, requantize).unwrap();
        let layer = own.layer();
        let residual = covered.map(|channels| (&shortcut[..], channels));
        let found = ops::int8::forward(&layer, &x, [n, cin, height, width], padding, residual).unwrap();
        assert_eq!(found.len(), expected.len());
        for (i, (f, e)) in found.iter().zip(&expected).enumerate() {
            assert!(f == e, "{cpu:?} {operation:?} {case:?}: element {i}: expected {e}, found {f}");
        }
    }
}

fn operations() -> Vec<Operation> {
    let int8 = table::rows().filter(|row| row.arithmetic == Arithmetic::Int8).map(|row| row.operation);
    let mut operations: Vec<_> = int8.filter(|&o| o != Operation::Quantize).collect();
    operations.sort_unstable();
    operations.dedup();
    operations
}

/// ReLU, ReLU6 and none, with zero points at both ends and between.
fn requantizations() -> [Requantize; 6] {
    let plain = Requantize { scales: (0.05, 0.04), ..Requantize::PLAIN };
    [
        plain,
        Requantize { zero_in: 128, zero_out: 7, lo: 0.0, hi: 201.0, shortcut: Some((9, 0.37)), ..plain },
        Requantize { zero_in: 3, zero_out: 128, lo: -128.0, hi: 127.0, shortcut: Some((128, 1.25)), ..plain },
        Requantize { zero_in: 255, zero_out: 255, lo: -255.0, hi: 0.0, shortcut: Some((0, 0.5)), ..plain },
        Requantize { zero_in: 0, zero_out: 0, lo: 0.0, hi: 97.0, shortcut: Some((255, 2.0)), ..plain },
        Requantize { zero_in: 77, zero_out: 200, lo: -200.0, hi: 55.0, shortcut: Some((40, 0.004)), ..plain },
    ]
}

const CHANNELS: [(usize, usize); 10] =
    [(1, 1), (3, 7), (4, 8), (8, 17), (9, 16), (12, 32), (16, 48), (17, 50), (40, 24), (61, 113)];
const SIZES: [(usize, usize); 11] =
    [(1, 1), (1, 9), (7, 2), (3, 3), (5, 8), (7, 7), (13, 14), (14, 14), (7, 29), (2, 61), (17, 33)];

/// Factors that bring sums into the range of a byte, one that makes them tiny, and one that makes them overflow an i32.
const FACTORS: [f32; 4] = [1.0 / 512.0, 1.0 / 4096.0, 1e-30, 1e12];

#[test]
fn every_row_is_its_naive_loops() {
    for operation in operations() {
        let half = operation.kernel() / 2;
        let paddings = [
            Margins { top: half, bottom: half, left: half, right: half },
            Margins { top: 0, bottom: half, left: 0, right: half },
            Margins::ZERO,
        ];
        for (i, (cin, cout)) in CHANNELS.into_iter().enumerate() {
            for (k, size) in SIZES.into_iter().enumerate() {
                let channels = if operation.is_per_channel() { [cout; 2] } else { [cin, cout] };
                let case = Case {
                    channels,
                    size,
                    padding: paddings[(i + k) % 3],
                    n: 1 + (i + k) % 2,
                    covered: [None, Some(cout), Some(cout * 2 / 3)][(i + 2 * k) % 3],
                    requantize: requantizations()[(i + k) % 6],
                    factor: FACTORS[if (i * k) % 5 == 4 { 2 + k % 2 } else { i % 2 }],
                };
                check(operation, &case);
            }
        }
    }
}

#[test]
fn every_row_width_of_depthwise_layers() {
    for width in 1..=70 {
        for stride in [1, 2] {
            let operation = Operation::Depthwise { kernel: 3, stride };
            let padding = Margins { top: 1, bottom: 1, left: width % 2, right: 1 };
            let case = Case {
                channels: [17; 2],
                size: (1 + width % 7, width),
                padding,
                n: 1,
                covered: (width % 3 == 0).then_some(17),
                requantize: requantizations()[width % 6],
                factor: FACTORS[0],
            };
            check(operation, &case);
        }
    }
}

/// Chunks of 64 input channels, whole or not, of tiles of up to 16 pixels, in strips.
#[test]
fn every_tail_of_pointwise_layers() {
    for (i, cin) in (32..150).step_by(3).chain([64, 128, 192, 515, 960]).enumerate() {
        for (k, pixels) in [1, 7, 16, 17, 25, 31, 33, 49, 70, 150].into_iter().enumerate() {
            let cout = [33, 64, 100, 16][(i + k) % 4];
            let case = Case {
                channels: [cin, cout],
                size: (1, pixels),
                padding: Margins::ZERO,
                n: 1,
                covered: [None, Some(cout), Some(cout / 2)][(i + k) % 3],
                requantize: requantizations()[(i + k) % 6],
                factor: FACTORS[if cin > 200 { 1 } else { 0 }],
            };
            check(Operation::Pointwise, &case);
        }
    }
}

/// The same of convolutions, whose tiles may go on from one row to the next.
#[test]
fn every_tail_of_convolutions() {
    let sizes = [(1, 1), (2, 3), (7, 7), (9, 14), (15, 15), (3, 34), (30, 4), (2, 58)];
    for (i, cin) in [32, 44, 64, 67, 96, 130, 200].into_iter().enumerate() {
        for (k, size) in sizes.into_iter().enumerate() {
            for stride in [1, 2] {
                let cout = [20, 48][(i + k) % 2];
                let case = Case {
                    channels: [cin, cout],
                    size,
                    padding: Margins { top: 1, bottom: 1, left: k % 2, right: 1 },
                    n: 1,
                    covered: [None, Some(cout), Some(cout / 2)][(i + k) % 3],
                    requantize: requantizations()[(i + k) % 6],
                    factor: FACTORS[1],
                };
                check(Operation::Conv { kernel: 3, stride }, &case);
            }
        }
    }
}

#[test]
fn long_sums_are_exact() {
    for (cin, cout) in [(960, 33), (1280, 16), (515, 20)] {
        let requantize = requantizations()[1];
        let case = Case {
            channels: [cin, cout],
            size: (3, 13),
            padding: Margins::ZERO,
            n: 1,
            covered: Some(5),
            requantize,
            factor: 1e-5,
        };
        check(Operation::Pointwise, &case);
        check(Operation::Linear, &Case { n: 3, size: (1, 1), ..case });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn any_layer(
        which in 0..operations().len(),
        (cin, cout) in (1..70_usize, 1..70_usize),
        size in (1..20_usize, 1..40_usize),
        sides in [0..2_usize, 0..2_usize, 0..2_usize, 0..2_usize],
        (r, exponent, covered) in (0..6_usize, -40..2_i32, 0..3_usize),
    ) {
        let operation = operations()[which];
        let most = operation.kernel() / 2;
        let [top, bottom, left, right] = sides.map(|side| side.min(most));
        let case = Case {
            channels: if operation.is_per_channel() { [cout; 2] } else { [cin, cout] },
            size,
            padding: Margins { top, bottom, left, right },
            n: 1,
            covered: [None, Some(cout), Some(cout / 2)][covered],
            requantize: requantizations()[r],
            factor: 2_f32.powi(exponent),
        };
        check(operation, &case);
    }
}

#[test]
fn pictures_become_bytes() {
    let (height, width) = (5, 131);
    let specials =
        [0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30, 1e-40, 0.025, 0.075, -0.125, 6.375];
    for channels in [1, 3, 4, 5] {
        let random = bytes(channels * height * width, 1);
        let mut values: Vec<f32> = random.iter().map(|&b| (f32::from(b) - 128.0) / 19.0).collect();
        values.iter_mut().zip(specials).for_each(|(value, special)| *value = special);
        let input = Tensor::from_slice([1, channels, height, width], &values).unwrap();
        for (scale, zero) in [(0.05, 0), (0.05, 128), (0.0173, 255), (1.0, 3)] {
            for cpu in Cpu::available() {
                let r = Requantize {
                    zero_out: zero,
                    lo: 0.0,
                    hi: 255.0 - f32::from(zero),
                    scales: (1.0, scale),
                    ..Requantize::PLAIN
                };
                let own = PreparedInt8::new(cpu, Operation::Quantize, [channels; 2], &[], &[], &[], r).unwrap();
                let found = ops::int8::quantize(&own.layer(), input.view()).unwrap();
                let expected: Vec<u8> = values.iter().map(|&x| naive::int8::quantized(x, scale, zero)).collect();
                assert_eq!(found, expected, "{cpu:?} {scale} {zero}");
            }
        }
    }
}
