//! No kernel reads or writes past a buffer, not even harmlessly: every buffer lies between two pages that fault,
//! once against the one behind it, once against the one before it.
#![cfg(unix)]

use mnx_tensor::args::{self, Clamp, Geometry, Planes, PlanesMut, Residual};
use mnx_tensor::table::kernels;
use mnx_tensor::{Isa, pack, strip};

/// Which of the two pages a buffer touches.
#[derive(Clone, Copy, Debug)]
enum Side {
    Before,
    Behind,
}

/// A buffer of floats between two pages without access.
struct Guarded {
    map: *mut u8,
    bytes: usize,
    start: *mut f32,
    len: usize,
}

impl Guarded {
    fn new(len: usize, side: Side) -> Guarded {
        // SAFETY: asks for a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let inner = (len * 4).next_multiple_of(page);
        let bytes = inner + 2 * page;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new anonymous mapping, of which the inner pages are opened.
        let map = unsafe {
            let map = libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0).cast::<u8>();
            assert_ne!(map.cast(), libc::MAP_FAILED);
            assert_eq!(libc::mprotect(map.add(page).cast(), inner, libc::PROT_READ | libc::PROT_WRITE), 0);
            map
        };
        let offset = match side {
            Side::Before => page,
            Side::Behind => page + inner - len * 4,
        };
        let guarded = Guarded { map, bytes, start: map.wrapping_add(offset).cast(), len };
        for i in 0..len {
            // SAFETY: inside the inner pages.
            unsafe { guarded.start.add(i).write(i as f32 % 7.0 - 3.0) };
        }
        guarded
    }

    fn planes(&self, stride: usize) -> Planes {
        Planes { ptr: self.start, stride }
    }

    fn planes_mut(&self, stride: usize) -> PlanesMut {
        PlanesMut { ptr: self.start, stride }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        assert!(self.len * 4 <= self.bytes);
        // SAFETY: the mapping made in `new`.
        unsafe { libc::munmap(self.map.cast(), self.bytes) };
    }
}

const SIZES: [(usize, usize); 11] =
    [(1, 1), (1, 2), (2, 1), (3, 3), (4, 5), (7, 7), (8, 13), (14, 17), (29, 6), (3, 43), (2, 61)];

fn each(mut f: impl FnMut(Isa, Side, usize, usize)) {
    for isa in Isa::available() {
        for side in [Side::Before, Side::Behind] {
            for (h, w) in SIZES {
                f(isa, side, h, w);
            }
        }
    }
}

#[test]
fn depthwise_stays_inside() {
    each(|isa, side, h, w| {
        for (stride, pad_top, pad_left) in [1, 2].into_iter().flat_map(|s| [(s, 0, 0), (s, 0, 1), (s, 1, 0), (s, 1, 1)])
        {
            // Padding behind follows from the output's size: with and without.
            for after in [0, 1] {
                let size = |n: usize, before: usize| (n + before + after).checked_sub(3).map_or(0, |n| n / stride + 1);
                let (rows, out_width) = (size(h, pad_top), size(w, pad_left));
                if rows * out_width == 0 {
                    continue;
                }
                let channels = 11;
                let (plane, out_plane) = (h * w * 8, rows * out_width * 8);
                let src = Guarded::new(2 * plane, side);
                let dst = Guarded::new(2 * out_plane, side);
                let shortcut = Guarded::new(2 * out_plane, side);
                let weights = Guarded::new(pack::depthwise_len(channels), side);
                let bias = Guarded::new(16, side);
                let args = args::Depthwise {
                    src: src.planes(plane),
                    dst: dst.planes_mut(out_plane),
                    residual: Some(Residual { planes: shortcut.planes(out_plane), channels: 9, clamp: Clamp::NONE }),
                    weights: weights.start,
                    bias: bias.start,
                    geometry: Geometry { height: h, width: w, out_height: rows, out_width, pad_top, pad_left },
                    rows: (0..rows).into(),
                    blocks: (0..2).into(),
                    clamp: Clamp::RELU6,
                };
                // SAFETY: all extents are those of the buffers.
                unsafe { (kernels(isa).unwrap().depthwise(stride).run)(&args) }
            }
        }
    });
}

#[test]
fn pointwise_stays_inside() {
    each(|isa, side, h, w| {
        for (cin, cout) in [(1_usize, 1_usize), (3, 7), (8, 17), (13, 33), (24, 24)] {
            let plane = h * w * 8;
            let blocks = |channels: usize| channels.div_ceil(8);
            let src = Guarded::new(blocks(cin) * plane, side);
            let dst = Guarded::new(blocks(cout) * plane, side);
            let shortcut = Guarded::new(blocks(cout) * plane, side);
            let weights = Guarded::new(pack::panels_len(cout, cin), side);
            let bias = Guarded::new(pack::bias_len(cout), side);
            let args = args::Pointwise {
                src: src.planes(plane),
                dst: dst.planes_mut(plane),
                residual: Some(Residual { planes: shortcut.planes(plane), channels: cout, clamp: Clamp::NONE }),
                weights: weights.start,
                bias: bias.start,
                cin,
                cout,
                pixels: (0..h * w).into(),
                panels: (0..cout.div_ceil(16)).into(),
                clamp: Clamp::NONE,
            };
            // SAFETY: all extents are those of the buffers.
            unsafe { kernels(isa).unwrap().pointwise(&args) }
        }
    });
}

/// In strips of two rows, padded as a plan does.
#[test]
fn conv_and_max_pool_stay_inside() {
    each(|isa, side, h, w| {
        let table = kernels(isa).unwrap();
        let geometry = |stride: usize| {
            let (out_height, out_width) = (h.div_ceil(stride), w.div_ceil(stride));
            Geometry { height: h, width: w, out_height, out_width, pad_top: 1, pad_left: 1 }
        };
        for (cin, cout, stride) in [(3_usize, 12_usize, 2_usize), (8, 17, 1), (13, 32, 1), (17, 8, 2)] {
            let g = geometry(stride);
            let (blocks, row) = (cin.div_ceil(8), (g.out_width - 1) * stride + 3);
            let (plane, out_plane) = (h * w * 8, g.out_height * g.out_width * 8);
            let src = Guarded::new(blocks * plane, side);
            let dst = Guarded::new(cout.div_ceil(8) * out_plane, side);
            let shortcut = Guarded::new(cout.div_ceil(8) * out_plane, side);
            let weights = Guarded::new(pack::panels_len(cout, cin * 9), side);
            let bias = Guarded::new(pack::bias_len(cout), side);
            for start in (0..g.out_height).step_by(2) {
                let rows = (start..g.out_height.min(start + 2)).into();
                let strip_plane = ((args::Span::len(&rows) - 1) * stride + 3) * row * 8;
                let strip = Guarded::new(blocks * strip_plane, side);
                let to = strip.planes_mut(strip_plane);
                let args = args::Conv3x3 {
                    src: Planes { ptr: to.ptr.wrapping_sub(start * stride * row * 8), stride: strip_plane },
                    row,
                    dst: dst.planes_mut(out_plane),
                    residual: Some(Residual { planes: shortcut.planes(out_plane), channels: cout, clamp: Clamp::RELU }),
                    weights: weights.start,
                    bias: bias.start,
                    cin,
                    cout,
                    width: g.out_width,
                    rows,
                    panels: (0..cout.div_ceil(16)).into(),
                    clamp: Clamp::NONE,
                };
                // SAFETY: all extents are those of the buffers.
                unsafe {
                    strip::pad_rows(src.planes(plane), &g, stride, rows, blocks, to);
                    (table.conv3x3(stride).run)(&args);
                }
            }
        }
        let g = geometry(2);
        let out_plane = g.out_height * g.out_width * 8;
        let (src, dst) = (Guarded::new(2 * h * w * 8, side), Guarded::new(2 * out_plane, side));
        let (rows, blocks) = ((0..g.out_height).into(), (0..2).into());
        let (from, to) = (src.planes(h * w * 8), dst.planes_mut(out_plane));
        // SAFETY: all extents are those of the buffers.
        unsafe {
            (table.maxpool3x3s2.run)(&args::MaxPool { src: from, dst: to, geometry: g, rows, blocks });
            strip::sample_rows(from, &g, 2, rows, 2, to);
        }
    });
}

#[test]
fn dense_pool_and_linear_stay_inside() {
    each(|isa, side, h, w| {
        let table = kernels(isa).unwrap();
        for (cin, cout, kernel, stride) in
            [(3_usize, 12_usize, 3, 2_usize), (1, 17, 3, 1), (3, 32, 3, 1), (3, 12, 7, 2)]
        {
            let (rows, out_width) = (h.div_ceil(stride), w.div_ceil(stride));
            let out_plane = rows * out_width * 8;
            let src = Guarded::new(cin * h * w, side);
            let dst = Guarded::new(cout.div_ceil(8) * out_plane, side);
            let weights = Guarded::new(pack::panels_len(cout, cin * kernel * kernel), side);
            let bias = Guarded::new(pack::bias_len(cout), side);
            let scratch = Guarded::new(args::Dense::scratch_len(cin, kernel, stride), side);
            let pad = kernel / 2;
            let args = args::Dense {
                src: src.start,
                dst: dst.planes_mut(out_plane),
                residual: None,
                weights: weights.start,
                bias: bias.start,
                scratch: scratch.start,
                cin,
                cout,
                geometry: Geometry { height: h, width: w, out_height: rows, out_width, pad_top: pad, pad_left: pad },
                rows: (0..rows).into(),
                clamp: Clamp::RELU6,
            };
            // SAFETY: all extents are those of the buffers.
            unsafe { (table.dense(kernel, stride).run)(&args) }
        }
        let (src, dst) = (Guarded::new(2 * h * w * 8, side), Guarded::new(16, side));
        let src = src.planes(h * w * 8);
        // SAFETY: all extents are those of the buffers.
        unsafe { (table.pool.run)(&args::Pool { src, dst: dst.start, height: h, width: w, blocks: (0..2).into() }) }
        let (cin, cout, batch) = (w, 5 * h, 1 + h % 8);
        let src = Guarded::new(batch * cin, side);
        let dst = Guarded::new(batch * cout, side);
        let weights = Guarded::new(pack::panels_len(cout, cin), side);
        let bias = Guarded::new(pack::bias_len(cout), side);
        let args = args::Linear {
            src: src.start,
            src_stride: cin,
            dst: dst.start,
            dst_stride: cout,
            weights: weights.start,
            bias: bias.start,
            cin,
            cout,
            batch,
            panels: (0..cout.div_ceil(16)).into(),
        };
        // SAFETY: all extents are those of the buffers.
        unsafe { (table.linear.run)(&args) }
    });
}
