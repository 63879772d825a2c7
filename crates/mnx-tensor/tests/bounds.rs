//! No kernel reads or writes past a buffer, not even harmlessly: every buffer lies between two pages that fault,
//! once against the one behind it, once against the one before it.
#![cfg(unix)]

use mnx_tensor::part::{Geometry, Planes, PlanesMut, Region, Residual, Span};
use mnx_tensor::{Arithmetic, Blocking, Clamp, Cpu, Layer, Operation, Part, strip, table};

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
            // SAFETY: inside the inner pages; a length is one of floats.
            unsafe { guarded.start.cast::<f32>().add(i).write(i as f32 % 7.0 - 3.0) };
        }
        guarded
    }

    /// # Safety
    /// The buffer outlives them, and nobody writes to it meanwhile.
    unsafe fn values<'a>(&self) -> &'a [f32] {
        // SAFETY: inside the inner pages, and written when the buffer was made.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.len / 4) }
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
    operation: Operation,
    cin: usize,
    cout: usize,
    geometry: Geometry,
    residual: Option<usize>,
    clamp: Clamp,
}

/// Runs `pixels` and `channels` of a layer on buffers that are exactly what [`Part::extents`] says, each of them between two
/// guards.
fn run(cpu: Cpu, side: Side, case: &Case, pixels: Span, channels: Span) {
    let &Case { operation, cin, cout, geometry, clamp, .. } = case;
    let weights = Guarded::new(operation.weights_len(cin, cout) * 4, side);
    let bias = Guarded::new(operation.bias_len(cout) * 4, side);
    // SAFETY: the guarded floats, which live to the end.
    let (w, b) = unsafe { (weights.values(), bias.values()) };
    let layer = Layer::new(cpu, operation, [cin, cout], w, b, clamp).unwrap();
    let g = geometry;
    let (plane, out_plane) = match operation {
        Operation::Dense { .. } => (g.height * g.width * 4, g.out_height * g.out_width * 32),
        Operation::Conv { .. } => {
            let rows = (g.out_height - 1) * operation.stride() + operation.kernel();
            (rows * g.padded_row(operation) * 32, g.out_height * g.out_width * 32)
        }
        Operation::Pool => (g.height * g.width * 32, 32),
        Operation::Linear => (cin * 4, cout * 4),
        _ => (g.height * g.width * 32, g.out_height * g.out_width * 32),
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
    assert!(part.fits(&layer), "{case:?}");
    let extents = part.extents(&layer);
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
    assert!(extents.weights.end <= weights.len && extents.bias.end <= bias.len, "{case:?}");
    // SAFETY: all that the part touches is there.
    unsafe { layer.run(&part) }
}

/// The whole layer, then each group of channels of each row (or pixel) alone.
fn whole_and_in_parts(case: &Case) {
    let g = &case.geometry;
    let per_pixel = matches!(case.operation, Operation::Pointwise | Operation::Linear);
    let (pixels, grain) = (g.out_height * g.out_width, if per_pixel { 1 } else { g.out_width });
    let groups = case.cout.div_ceil(case.operation.lanes());
    for cpu in Cpu::available() {
        for side in [Side::Before, Side::Behind] {
            run(cpu, side, case, (0..pixels).into(), (0..groups).into());
            let (middle, group) = (pixels / grain / 2 * grain, groups / 2);
            run(cpu, side, case, (middle..pixels.min(middle + 2 * grain)).into(), (group..groups).into());
        }
    }
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
fn operations(wanted: fn(Operation) -> bool) -> Vec<Operation> {
    let mut operations: Vec<_> = table::rows()
        .filter(|row| row.arithmetic == Arithmetic::F32)
        .map(|row| row.operation)
        .filter(|&o| wanted(o))
        .collect();
    operations.sort_unstable();
    operations.dedup();
    operations
}

/// Each of these operations with each of these pairs of channels, on every size with every padding.
fn stay_inside(operations: &[Operation], channels: &[(usize, usize)], clamp: Clamp) {
    for &operation in operations {
        let has_residual = operation.bias_len(1) > 0;
        for (&(cin, cout), size) in channels.iter().flat_map(|pair| SIZES.map(|size| (pair, size))) {
            for padding in paddings(operation.kernel() / 2) {
                let Some(geometry) = geometry(operation, size, padding) else { continue };
                let cin = if operation.is_per_channel() { cout } else { cin };
                let residual = (has_residual && padding[0] > 0).then_some(cout * 4 / 5);
                whole_and_in_parts(&Case { operation, cin, cout, geometry, residual, clamp });
            }
        }
    }
}

#[test]
fn windows_of_a_channel_stay_inside() {
    let of_a_channel = |o| matches!(o, Operation::Depthwise { .. } | Operation::MaxPool { .. });
    stay_inside(&operations(of_a_channel), &[(11, 11)], Clamp::RELU6);
}

#[test]
fn pointwise_stays_inside() {
    for size in SIZES {
        for (cin, cout) in [(1, 1), (3, 7), (8, 17), (13, 33), (24, 24), (16, 72), (9, 100)] {
            let (operation, residual) = (Operation::Pointwise, Some(cout));
            let geometry = geometry(operation, size, [0; 4]).unwrap();
            whole_and_in_parts(&Case { operation, cin, cout, geometry, residual, clamp: Clamp::NONE });
        }
    }
}

#[test]
fn convolutions_of_blocks_stay_inside() {
    let channels = [(3, 12), (8, 17), (13, 32), (17, 8)];
    stay_inside(&operations(|o| matches!(o, Operation::Conv { .. })), &channels, Clamp::RELU);
}

#[test]
fn convolutions_of_planes_stay_inside() {
    let channels = [(3, 12), (1, 17), (3, 32)];
    stay_inside(&operations(|o| matches!(o, Operation::Dense { .. })), &channels, Clamp::RELU);
}

#[test]
fn pool_and_linear_stay_inside() {
    for (height, width) in SIZES {
        let whole = Geometry { height, width, out_height: 1, out_width: 1, pad_top: 0, pad_left: 0 };
        let case =
            Case { operation: Operation::Pool, cin: 11, cout: 11, geometry: whole, residual: None, clamp: Clamp::NONE };
        whole_and_in_parts(&case);
        // Of a linear layer pixels are rows of features.
        let rows = Geometry { out_height: 1 + height % 8, out_width: 1, ..whole };
        whole_and_in_parts(&Case {
            operation: Operation::Linear,
            cin: width,
            cout: 5 * height,
            geometry: rows,
            ..case
        });
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
