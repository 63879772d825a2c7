//! No kernel reads or writes past a buffer, not even harmlessly: every buffer lies between two pages that fault,
//! once against the one behind it, once against the one before it.
//!
//! Every row of the kernel table is run that this CPU can run. What it is run on follows from its tile: rows of output pixels
//! that are cut into tiles of every size, alone and side by side, with a shortcut and without.
#![cfg(unix)]

mod guarded;

use guarded::{Guarded, Side};
use mnx_tensor::dispatch;
use mnx_tensor::extents::Region;
use mnx_tensor::int8::feature_bytes;
use mnx_tensor::part::{Geometry, Planes, PlanesMut, Residual, Span};
use mnx_tensor::table::{self, Kernel};
use mnx_tensor::{
    Arithmetic, Blocking, Clamp, Cpu, Layer, Operation, PackedWeights, Part, PreparedInt8, Requantize, Tuning, strip,
};

/// Heights and widths of planes that no tile gave.
const SIZES: [(usize, usize); 11] =
    [(1, 1), (1, 2), (2, 1), (3, 3), (4, 5), (7, 7), (8, 13), (14, 17), (29, 6), (3, 43), (2, 61)];

/// A layer and a picture.
#[derive(Clone, Copy, Debug)]
struct Case {
    cin: usize,
    cout: usize,
    geometry: Geometry,
    residual: Option<usize>,
}

/// A row of the kernel table, and a CPU that selects it.
#[derive(Clone, Copy)]
struct Row {
    kernel: &'static Kernel,
    cpu: Cpu,
}

/// Rows that are run on cases of the same kind.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Group {
    /// Windows of a channel, or of several of them.
    Windows,
    Planes,
    Pointwise,
    Pools,
    Linear,
    Quantize,
}

impl Group {
    /// Each row is in one group, and each group has a test below.
    fn of(operation: Operation) -> Group {
        match operation {
            Operation::Depthwise { .. } | Operation::Conv { .. } | Operation::MaxPool { .. } => Group::Windows,
            Operation::Dense { .. } => Group::Planes,
            Operation::Pointwise | Operation::PointwiseHalf => Group::Pointwise,
            Operation::Pool => Group::Pools,
            Operation::Linear => Group::Linear,
            Operation::Quantize => Group::Quantize,
            other => panic!("{other:?}: say here on what its rows are run between pages without access"),
        }
    }

    /// Its rows that this CPU can run.
    fn rows(self) -> Vec<Row> {
        let cpus = Cpu::available();
        let selects = |kernel: &Kernel, cpu: &Cpu| {
            let selected = dispatch::select(kernel.operation, kernel.arithmetic, kernel.weights, *cpu);
            selected.is_ok_and(|selected| std::ptr::eq(selected, kernel))
        };
        let of_group = table::rows().filter(|kernel| Group::of(kernel.operation) == self);
        let rows = of_group.filter_map(|kernel| {
            let cpu = cpus.iter().copied().find(|cpu| selects(kernel, cpu));
            if cpu.is_none() {
                eprintln!("SKIPPED: {} of {}: this CPU cannot run it", kernel.name, kernel.isa);
            }
            Some(Row { kernel, cpu: cpu? })
        });
        rows.collect()
    }
}

impl Row {
    /// What its layer computes: half a panel is part of a pointwise layer.
    fn operation(&self) -> Operation {
        match self.kernel.operation {
            Operation::PointwiseHalf => Operation::Pointwise,
            other => other,
        }
    }

    /// Pixels of the largest tile of any row that shares its work: left-over panels have tiles of another row's size.
    fn most(&self) -> usize {
        let of_same = |other: &&Kernel| {
            let of = |kernel: &Kernel| {
                (Group::of(kernel.operation), kernel.arithmetic, kernel.isa, kernel.operation.kernel())
            };
            of(other) == of(self.kernel)
        };
        table::rows().filter(of_same).map(|kernel| kernel.tile.0).max().unwrap_or(1)
    }

    /// Numbers of pixels that are cut into tiles of every size: each size alone, then two and three tiles side by side.
    fn counts(&self) -> std::ops::RangeInclusive<usize> {
        1..=3 * self.most() + 1
    }

    /// Without a shortcut, with one for some channels, and with one for all.
    fn residuals(&self, cout: usize) -> Vec<Option<usize>> {
        let has_none = self.kernel.operation.bias_len(1) == 0 || self.kernel.operation == Operation::Linear;
        if has_none { vec![None] } else { vec![None, Some(cout * 4 / 5), Some(cout)] }
    }

    /// The whole layer, then a group of channels of a row (or pixel) alone; each against either page.
    fn run(&self, case: &Case) {
        let &Case { cin, cout, geometry: g, .. } = case;
        let operation = self.operation();
        let per_pixel = matches!(operation, Operation::Pointwise | Operation::Linear | Operation::Quantize);
        let (pixels, grain) = (g.out_height * g.out_width, if per_pixel { 1 } else { g.out_width });
        let in_parts = |layer: &Layer<'_>, side| {
            assert!(self.is_of(layer), "{case:?}");
            let groups = layer.groups();
            run(layer, side, case, (0..pixels).into(), (0..groups).into());
            let (middle, group) = (pixels / grain / 2 * grain, groups / 2);
            run(layer, side, case, (middle..pixels.min(middle + 2 * grain)).into(), (group..groups).into());
        };
        for side in [Side::Before, Side::Behind] {
            if self.kernel.arithmetic == Arithmetic::Int8 {
                self.int8(side, case, |layer| in_parts(layer, side));
                continue;
            }
            let element = self.kernel.weights;
            let weights = Guarded::new(operation.weights_len(cin, cout) * element.size(), side);
            let bias = Guarded::new(operation.bias_len(cout) * 4, side);
            // SAFETY: the guarded numbers, which live to the end.
            let (w, b) = unsafe { (weights.bytes::<u8>(), bias.values()) };
            let w = PackedWeights::of(element, w).unwrap();
            in_parts(&Layer::with_weights(self.cpu, operation, [cin, cout], w, b, Clamp::RELU6).unwrap(), side);
        }
    }

    /// Whether this row computes the layer, or its last half panel.
    fn is_of(&self, layer: &Layer<'_>) -> bool {
        let is_half = self.kernel.operation == Operation::PointwiseHalf;
        std::ptr::eq(layer.kernel(), self.kernel) || is_half && (1..=8).contains(&(layer.cout() % 16))
    }

    /// Makes an int8 layer whose weights, bias and factors are guarded, in the form in which its kernel reads them.
    fn int8(&self, side: Side, case: &Case, and_then: impl Fn(&Layer<'_>)) {
        let &Case { cin, cout, residual, .. } = case;
        let operation = self.operation();
        let packed = Guarded::of(&vec![3; operation.int8_weights_len(cin, cout)], side);
        // SAFETY: the guarded bytes, which live to the end.
        let w: &[i8] = unsafe { packed.bytes() };
        let (bias, factors) = if w.is_empty() { (vec![], vec![]) } else { (vec![-3; cout], vec![0.01; cout]) };
        let requantize = Requantize { zero_in: 7, shortcut: residual.map(|_| (5, 0.5)), ..Requantize::PLAIN };
        let own = PreparedInt8::new(self.cpu, operation, [cin, cout], w, &bias, &factors, requantize).unwrap();
        let mut moved = Vec::new();
        let layer = own.layer_on(|bytes| {
            let guarded = Guarded::of(bytes, side);
            // SAFETY: the guarded bytes, which live to the end.
            let copy = unsafe { guarded.bytes() };
            moved.push(guarded);
            copy
        });
        and_then(&layer);
    }
}

/// Runs `pixels` and `channels` of a layer on buffers that are exactly what [`Part::extents`] says, each of them between two
/// guards.
fn run(layer: &Layer<'_>, side: Side, case: &Case, pixels: Span, channels: Span) {
    let (operation, cin, cout, g) = (layer.operation(), case.cin, case.cout, case.geometry);
    let is_int8 = layer.arithmetic() == Arithmetic::Int8;
    let (of_input, of_output) = (layer.input().pixel_bytes(), layer.output().pixel_bytes());
    let (plane, out_plane) = match operation {
        Operation::Conv { .. } if !is_int8 => {
            let rows = (g.out_height - 1) * operation.stride() + operation.kernel();
            (rows * g.padded_row(operation) * of_input, g.out_height * g.out_width * of_output)
        }
        Operation::Pool => (g.height * g.width * of_input, of_output),
        Operation::Linear if is_int8 => (feature_bytes(cin), cout * 4),
        Operation::Linear => (cin * 4, cout * 4),
        _ => (g.height * g.width * of_input, g.out_height * g.out_width * of_output),
    };
    let residual = case.residual.map(|channels| {
        let planes = Planes { ptr: std::ptr::null(), stride: out_plane };
        Residual { planes, channels, clamp: Clamp::RELU }
    });
    let mut part = Part {
        src: Planes { ptr: std::ptr::null(), stride: plane },
        dst: PlanesMut { ptr: std::ptr::null_mut(), stride: out_plane },
        residual,
        geometry: g,
        scratch: std::ptr::null_mut(),
        pixels,
        channels,
    };
    assert!(part.fits(layer), "{case:?}");
    let extents = part.extents(layer);
    let guard = |region: &Region, stride: usize| {
        let first = region.planes.start * stride + region.bytes.start;
        let last = (region.planes.end * stride + region.bytes.end).saturating_sub(stride);
        let empty = region.planes.is_empty() || region.bytes.is_empty();
        let guarded = Guarded::new(if empty { 0 } else { last - first }, side);
        (guarded.start.wrapping_sub(first), guarded)
    };
    let (from, _src) = guard(&extents.src, plane);
    let (to, _dst) = guard(&extents.dst, out_plane);
    (part.src.ptr, part.dst.ptr) = (from, to);
    let shortcut = extents.residual.as_ref().map(|region| guard(region, out_plane));
    if let (Some((ptr, _)), Some(residual)) = (&shortcut, &mut part.residual) {
        residual.planes.ptr = *ptr;
    }
    let scratch = Guarded::new(extents.scratch, side);
    part.scratch = scratch.start;
    // The ranges of weights and bias lie within what was checked when the layer was made.
    assert!(extents.weights.end <= layer.weights().len() && extents.bias.end <= layer.bias().len(), "{case:?}");
    // SAFETY: all that the part touches is there.
    unsafe { layer.run(&part) }
}

/// A plane of which an operation makes one of this size with this padding, unless it had no pixels. At stride 2 there may be
/// `spare` rows and columns that nothing reads.
fn geometry(
    operation: Operation,
    (out_height, out_width): (usize, usize),
    [top, bottom, left, right]: [usize; 4],
    spare: usize,
) -> Option<Geometry> {
    let (kernel, stride) = (operation.kernel(), operation.stride());
    let size = |outputs: usize, around: usize| {
        let size = ((outputs - 1) * stride + kernel + spare % stride).checked_sub(around)?;
        (size > 0).then_some(size)
    };
    let (height, width) = (size(out_height, top + bottom)?, size(out_width, left + right)?);
    Some(Geometry { height, width, out_height, out_width, pad_top: top, pad_left: left })
}

/// Runs a row on output planes of one, two and three rows of pixels that are cut into tiles of every size, with each padding;
/// then on other sizes.
fn windows(row: &Row, channels: &[(usize, usize)]) {
    let operation = row.operation();
    // None, all, those before and those behind.
    let some = [0, 15, 5, 10];
    let tiles = row.counts().flat_map(|width| [(1, width), (2, width), (3, width)]);
    let all = tiles.map(|size| (size, &some[..])).chain(SIZES.map(|size| (size, &[0, 3, 6, 9, 12, 15][..])));
    for (i, (size, sides)) in all.enumerate() {
        for (n, &bits) in sides.iter().enumerate() {
            // As wide as half a filter, or less.
            let wide = 1 + (i + n) % (operation.kernel() / 2);
            let padding = [0, 1, 2, 3].map(|side| if bits >> side & 1 == 1 { wide } else { 0 });
            let Some(geometry) = geometry(operation, size, padding, i + n) else { continue };
            let (cin, cout) = channels[(i + n) % channels.len()];
            let cin = if operation.is_per_channel() { cout } else { cin };
            for residual in row.residuals(cout) {
                row.run(&Case { cin, cout, geometry, residual });
            }
        }
    }
}

#[test]
fn windows_stay_inside() {
    for row in Group::Windows.rows() {
        windows(&row, &[(3, 12), (20, 17), (8, 32), (25, 40)]);
        // What is multiplied in tiles: a chunk that is whole, and one more that is not.
        if row.kernel.amx {
            windows(&row, &[(64, 32), (67, 40)]);
        }
    }
}

#[test]
fn convolutions_of_planes_stay_inside() {
    for row in Group::Planes.rows() {
        windows(&row, &[(3, 12), (1, 17), (5, 32)]);
    }
}

#[test]
fn pointwise_stays_inside() {
    for row in Group::Pointwise.rows() {
        let is_half = row.kernel.operation == Operation::PointwiseHalf;
        let channels: &[_] = if is_half {
            &[(1, 1), (3, 7), (8, 8), (13, 24), (16, 5)]
        } else {
            // The fourth has a group of panels, one more, and half of one.
            &[(3, 17), (8, 48), (13, 33), (16, 72), (24, 80), (9, 100)]
        };
        let run = |(cin, cout): (usize, usize), pixels: usize| {
            let geometry = geometry(Operation::Pointwise, (1, pixels), [0; 4], 0).unwrap();
            row.residuals(cout).into_iter().for_each(|residual| row.run(&Case { cin, cout, geometry, residual }));
        };
        for &channels in channels {
            row.counts().chain([64, 122]).for_each(|pixels| run(channels, pixels));
        }
        // What is multiplied in tiles: a chunk that is whole, and one more that is not.
        if row.kernel.amx {
            for channels in [(64, 64), (67, 113)] {
                row.counts().chain([64, 122]).for_each(|pixels| run(channels, pixels));
            }
        }
        // So many input channels that a tile is all that is gone over at a time.
        let most = row.most();
        let many = match row.kernel.arithmetic {
            Arithmetic::Int8 => 700,
            _ => Tuning::DEFAULT.pointwise_chunk_bytes / 4 / most,
        };
        for pixels in [most + 1, 2 * most, 49] {
            run((many, if is_half { 5 } else { 65 }), pixels);
        }
    }
}

#[test]
fn pools_stay_inside() {
    for row in Group::Pools.rows() {
        for (height, width) in SIZES {
            let geometry = Geometry { height, width, out_height: 1, out_width: 1, pad_top: 0, pad_left: 0 };
            row.run(&Case { cin: 19, cout: 19, geometry, residual: None });
        }
    }
}

/// Of a linear layer pixels are rows of features.
#[test]
fn linear_stays_inside() {
    for row in Group::Linear.rows() {
        for out_height in row.counts().chain([49]) {
            let geometry = Geometry { out_height, ..Geometry::POINT };
            for (cin, cout) in [(1, 1), (7, 40), (16, row.kernel.tile.1 + 21), (61, 3), (700, 17)] {
                row.run(&Case { cin, cout, geometry, residual: None });
            }
        }
    }
}

#[test]
fn a_picture_in_bytes_stays_inside() {
    for row in Group::Quantize.rows() {
        for pixels in (1..=10).chain(62..=67).chain([128, 130]) {
            let geometry = geometry(Operation::Quantize, (1, pixels), [0; 4], 0).unwrap();
            for channels in [1, 3, 4, 6] {
                row.run(&Case { cin: channels, cout: channels, geometry, residual: None });
            }
        }
    }
}

/// Strips that a plan makes for dense and strided pointwise layers.
#[test]
fn copies_stay_inside() {
    for side in [Side::Before, Side::Behind] {
        for (h, w) in SIZES {
            let plane = h * w * 32;
            let src = Guarded::new(2 * plane, side);
            let from = Planes { ptr: src.start, stride: plane };
            let geometry = |stride: usize, padding| {
                let (out_height, out_width) = (h.div_ceil(stride), w.div_ceil(stride));
                Geometry { height: h, width: w, out_height, out_width, pad_top: padding, pad_left: padding }
            };
            for stride in [1, 2] {
                let (operation, g) = (Operation::Conv { kernel: 3, stride }, geometry(stride, 1));
                for start in 0..g.out_height {
                    let rows = Span::from(start..g.out_height.min(start + 2));
                    let padded = ((rows.len() - 1) * stride + 3) * g.padded_row(operation) * 32;
                    let strip = Guarded::new(2 * padded, side);
                    let to = PlanesMut { ptr: strip.start, stride: padded };
                    // SAFETY: all extents are those of the buffers.
                    unsafe { strip::pad_rows(from, &g, operation, rows, (2, Blocking::F32), to) };
                }
            }
            let g = geometry(2, 0);
            let pixels = g.out_height * g.out_width * 32;
            let strip = Guarded::new(2 * pixels, side);
            let to = PlanesMut { ptr: strip.start, stride: pixels };
            // SAFETY: as above.
            unsafe { strip::sample_rows(from, &g, 2, (0..g.out_height).into(), (2, Blocking::F32), to) };
        }
    }
}
