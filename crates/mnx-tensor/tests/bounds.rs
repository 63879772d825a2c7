//! No kernel reads or writes past a buffer, not even harmlessly: every buffer lies between two pages that fault,
//! once against the one behind it, once against the one before it.
#![cfg(unix)]

use mnx_tensor::int8::feature_bytes;
use mnx_tensor::part::{Geometry, Planes, PlanesMut, Region, Residual, Span};
use mnx_tensor::{Arithmetic, Blocking, Clamp, Cpu, Int8Weights, Layer, Operation, Part, Requantize, strip, table};

/// Which of the two pages a buffer touches.
#[derive(Clone, Copy, Debug)]
enum Side {
    Before,
    Behind,
}

/// A buffer between two pages without access.
struct Guarded {
    map: *mut u8,
    bytes: usize,
    start: *mut u8,
    /// Bytes.
    len: usize,
}

impl Guarded {
    fn new(len: usize, side: Side) -> Guarded {
        // SAFETY: asks for a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let inner = len.next_multiple_of(page);
        let bytes = inner + 2 * page;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new anonymous mapping, of which the inner pages are opened.
        let map = unsafe {
            let map = libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0).cast::<u8>();
            assert_ne!(map.cast(), libc::MAP_FAILED);
            // An empty buffer opens nothing: not every system takes a range of no pages.
            let opened =
                inner == 0 || libc::mprotect(map.add(page).cast(), inner, libc::PROT_READ | libc::PROT_WRITE) == 0;
            assert!(opened, "{inner} bytes: {}", std::io::Error::last_os_error());
            map
        };
        let offset = match side {
            Side::Before => page,
            Side::Behind => page + inner - len,
        };
        let guarded = Guarded { map, bytes, start: map.wrapping_add(offset), len };
        for i in 0..len / 4 {
            // SAFETY: inside the inner pages.
            unsafe { guarded.start.cast::<f32>().add(i).write_unaligned(i as f32 % 7.0 - 3.0) };
        }
        guarded
    }

    /// # Safety
    /// The buffer outlives them, and nobody writes to it meanwhile.
    unsafe fn values<'a>(&self) -> &'a [f32] {
        // SAFETY: inside the inner pages, and written when the buffer was made.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.len / 4) }
    }

    /// # Safety
    /// As [`values`](Guarded::values).
    unsafe fn bytes<'a>(&self) -> &'a [i8] {
        // SAFETY: inside the inner pages, which are zero where nothing was written.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.len) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        assert!(self.len <= self.bytes);
        // SAFETY: the mapping made in `new`.
        unsafe { libc::munmap(self.map.cast(), self.bytes) };
    }
}

const SIZES: [(usize, usize); 11] =
    [(1, 1), (1, 2), (2, 1), (3, 3), (4, 5), (7, 7), (8, 13), (14, 17), (29, 6), (3, 43), (2, 61)];

/// A layer and a picture.
#[derive(Clone, Copy, Debug)]
struct Case {
    arithmetic: Arithmetic,
    operation: Operation,
    cin: usize,
    cout: usize,
    geometry: Geometry,
    residual: Option<usize>,
    /// Of a layer in f32.
    clamp: Clamp,
}

/// Runs `pixels` and `channels` of a layer on buffers that are exactly what [`Part::extents`] says, each of them between two
/// guards.
fn run(layer: &Layer<'_>, side: Side, case: &Case, pixels: Span, channels: Span) {
    let &Case { arithmetic, operation, cin, cout, geometry, clamp, .. } = case;
    let g = geometry;
    let (of_input, of_output) = (layer.input().pixel_bytes(), layer.output().pixel_bytes());
    let (plane, out_plane) = match operation {
        Operation::Conv { .. } if arithmetic == Arithmetic::F32 => {
            let rows = (g.out_height - 1) * operation.stride() + operation.kernel();
            (rows * g.padded_row(operation) * of_input, g.out_height * g.out_width * of_output)
        }
        Operation::Pool => (g.height * g.width * of_input, of_output),
        Operation::Linear if arithmetic == Arithmetic::Int8 => (feature_bytes(cin), cout * 4),
        Operation::Linear => (cin * 4, cout * 4),
        _ => (g.height * g.width * of_input, g.out_height * g.out_width * of_output),
    };
    let (src, dst, covered) = (
        Planes { ptr: std::ptr::null(), stride: plane },
        PlanesMut { ptr: std::ptr::null_mut(), stride: out_plane },
        case.residual.map(|channels| Residual {
            planes: Planes { ptr: std::ptr::null(), stride: out_plane },
            channels,
            clamp,
        }),
    );
    let scratch = std::ptr::null_mut();
    let mut part = Part { src, dst, residual: covered, geometry, scratch, pixels, channels };
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

/// The whole layer, then each group of channels of each row (or pixel) alone.
fn whole_and_in_parts(case: &Case) {
    let &Case { arithmetic, operation, cin, cout, geometry: g, .. } = case;
    let per_pixel = matches!(operation, Operation::Pointwise | Operation::Linear | Operation::Quantize);
    let (pixels, grain) = (g.out_height * g.out_width, if per_pixel { 1 } else { g.out_width });
    let in_parts = |layer: &Layer<'_>, side| {
        let groups = layer.groups();
        run(layer, side, case, (0..pixels).into(), (0..groups).into());
        let (middle, group) = (pixels / grain / 2 * grain, groups / 2);
        run(layer, side, case, (middle..pixels.min(middle + 2 * grain)).into(), (group..groups).into());
    };
    for cpu in Cpu::available() {
        for side in [Side::Before, Side::Behind] {
            if arithmetic == Arithmetic::Int8 {
                int8(cpu, side, case, |layer| in_parts(layer, side));
                continue;
            }
            let weights = Guarded::new(operation.weights_len(cin, cout) * 4, side);
            let bias = Guarded::new(operation.bias_len(cout) * 4, side);
            // SAFETY: the guarded floats, which live to the end.
            let (w, b) = unsafe { (weights.values(), bias.values()) };
            in_parts(&Layer::new(cpu, operation, [cin, cout], w, b, case.clamp).unwrap(), side);
        }
    }
}

/// Makes an int8 layer. Its weights are guarded if its kernel reads them as they are, and else lie in a buffer of its own, as
/// bias and factors always do.
fn int8(cpu: Cpu, side: Side, case: &Case, and_then: impl Fn(&Layer<'_>)) {
    let &Case { operation, cin, cout, residual, .. } = case;
    let weights = Guarded::new(operation.int8_weights_len(cin, cout), side);
    // SAFETY: the guarded bytes, which live to the end.
    let w = unsafe { weights.bytes() };
    let (bias, factors) = if w.is_empty() { (vec![], vec![]) } else { (vec![-3; cout], vec![0.01; cout]) };
    let requantize = Requantize { zero_in: 7, shortcut: residual.map(|_| (5, 0.5)), ..Requantize::PLAIN };
    let own = Int8Weights::new(cpu, operation, [cin, cout], w, &bias, &factors, requantize).unwrap();
    and_then(&own.layer());
}

fn geometry(
    operation: Operation,
    (height, width): (usize, usize),
    [top, bottom, left, right]: [usize; 4],
) -> Option<Geometry> {
    let (kernel, stride) = (operation.kernel(), operation.stride());
    let size = |n: usize, around: usize| (n + around).checked_sub(kernel).map_or(0, |n| n / stride + 1);
    let (out_height, out_width) = (size(height, top + bottom), size(width, left + right));
    let g = Geometry { height, width, out_height, out_width, pad_top: top, pad_left: left };
    (out_height * out_width > 0).then_some(g)
}

/// Each corner with padding and without.
fn paddings(most: usize) -> impl Iterator<Item = [usize; 4]> {
    (0..16).map(move |bits| [0, 1, 2, 3].map(|side| if bits >> side & 1 == 1 { most } else { 0 }))
}

/// The operations of the table's rows of which `wanted` is true.
fn operations(arithmetic: Arithmetic, wanted: fn(Operation) -> bool) -> Vec<Operation> {
    let mut operations: Vec<_> = table::rows()
        .filter(|row| row.arithmetic == arithmetic)
        .map(|row| row.operation)
        .filter(|&o| wanted(o))
        .collect();
    operations.sort_unstable();
    operations.dedup();
    operations
}

/// Each of these operations with each of these pairs of channels, on every size with every padding.
fn stay_inside(arithmetic: Arithmetic, wanted: fn(Operation) -> bool, channels: &[(usize, usize)], clamp: Clamp) {
    for operation in operations(arithmetic, wanted) {
        let has_residual = operation.bias_len(1) > 0;
        for (&(cin, cout), size) in channels.iter().flat_map(|pair| SIZES.map(|size| (pair, size))) {
            for padding in paddings(operation.kernel() / 2) {
                let Some(geometry) = geometry(operation, size, padding) else { continue };
                let cin = if operation.is_per_channel() { cout } else { cin };
                let residual = (has_residual && padding[0] > 0).then_some(cout * 4 / 5);
                whole_and_in_parts(&Case { arithmetic, operation, cin, cout, geometry, residual, clamp });
            }
        }
    }
}

const ARITHMETICS: [Arithmetic; 2] = [Arithmetic::F32, Arithmetic::Int8];

#[test]
fn windows_of_a_channel_stay_inside() {
    let of_a_channel = |o| matches!(o, Operation::Depthwise { .. } | Operation::MaxPool { .. });
    stay_inside(Arithmetic::F32, of_a_channel, &[(11, 11)], Clamp::RELU6);
    stay_inside(Arithmetic::Int8, of_a_channel, &[(19, 19)], Clamp::NONE);
}

#[test]
fn pointwise_stays_inside() {
    for (arithmetic, size) in ARITHMETICS.into_iter().flat_map(|arithmetic| SIZES.map(|size| (arithmetic, size))) {
        for (cin, cout) in [(1, 1), (3, 7), (8, 17), (13, 33), (24, 24), (16, 72), (9, 100)] {
            let (operation, residual) = (Operation::Pointwise, Some(cout));
            let geometry = geometry(operation, size, [0; 4]).unwrap();
            let clamp = Clamp::NONE;
            whole_and_in_parts(&Case { arithmetic, operation, cin, cout, geometry, residual, clamp });
        }
    }
}

#[test]
fn convolutions_of_blocks_stay_inside() {
    let of_blocks = |o| matches!(o, Operation::Conv { .. });
    stay_inside(Arithmetic::F32, of_blocks, &[(3, 12), (8, 17), (13, 32), (17, 8)], Clamp::RELU);
    stay_inside(Arithmetic::Int8, of_blocks, &[(3, 12), (20, 17), (25, 32)], Clamp::NONE);
}

#[test]
fn convolutions_of_planes_stay_inside() {
    let of_planes = |o| matches!(o, Operation::Dense { .. });
    stay_inside(Arithmetic::F32, of_planes, &[(3, 12), (1, 17), (3, 32)], Clamp::RELU);
    stay_inside(Arithmetic::Int8, of_planes, &[(3, 12), (1, 17), (5, 32)], Clamp::NONE);
}

#[test]
fn pool_and_linear_stay_inside() {
    for (arithmetic, (height, width)) in
        ARITHMETICS.into_iter().flat_map(|arithmetic| SIZES.map(|size| (arithmetic, size)))
    {
        let geometry = Geometry { height, width, out_height: 1, out_width: 1, pad_top: 0, pad_left: 0 };
        let (operation, residual, clamp) = (Operation::Pool, None, Clamp::NONE);
        let pool = Case { arithmetic, operation, cin: 19, cout: 19, geometry, residual, clamp };
        whole_and_in_parts(&pool);
        // Of a linear layer pixels are rows of features.
        let geometry = Geometry { out_height: 1 + height % 8, ..geometry };
        let (operation, cin, cout) = (Operation::Linear, width, 5 * height);
        whole_and_in_parts(&Case { operation, cin, cout, geometry, ..pool });
    }
}

#[test]
fn a_picture_in_bytes_stays_inside() {
    for (height, width) in SIZES {
        for channels in [1, 3, 4, 6] {
            let geometry = Geometry { height, width, out_height: height, out_width: width, pad_top: 0, pad_left: 0 };
            let (arithmetic, operation) = (Arithmetic::Int8, Operation::Quantize);
            let (residual, clamp) = (None, Clamp::NONE);
            whole_and_in_parts(&Case {
                arithmetic,
                operation,
                cin: channels,
                cout: channels,
                geometry,
                residual,
                clamp,
            });
        }
    }
}

/// Strips that a plan makes for dense and strided pointwise layers.
#[test]
fn copies_stay_inside() {
    let operation = Operation::Conv { kernel: 3, stride: 2 };
    for side in [Side::Before, Side::Behind] {
        for (h, w) in SIZES {
            for stride in [1, 2] {
                let operation = if stride == 1 { Operation::Conv { kernel: 3, stride } } else { operation };
                let g = geometry(operation, (h, w), [1; 4]).unwrap();
                let plane = h * w * 32;
                let src = Guarded::new(2 * plane, side);
                let from = Planes { ptr: src.start, stride: plane };
                for start in 0..g.out_height {
                    let rows = Span::from(start..g.out_height.min(start + 2));
                    let padded = ((rows.len() - 1) * stride + 3) * g.padded_row(operation) * 32;
                    let strip = Guarded::new(2 * padded, side);
                    let to = PlanesMut { ptr: strip.start, stride: padded };
                    // SAFETY: all extents are those of the buffers.
                    unsafe { strip::pad_rows(from, &g, operation, rows, (2, Blocking::F32), to) };
                }
                let sampled = Geometry { out_height: h.div_ceil(2), out_width: w.div_ceil(2), ..g };
                let pixels = sampled.out_height * sampled.out_width * 32;
                let strip = Guarded::new(2 * pixels, side);
                let to = PlanesMut { ptr: strip.start, stride: pixels };
                // SAFETY: as above.
                unsafe {
                    strip::sample_rows(from, &sampled, 2, (0..sampled.out_height).into(), (2, Blocking::F32), to)
                };
            }
        }
    }
}
