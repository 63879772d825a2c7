//! Kernels on buffers of their own, for the criterion benches: one call is one layer of one picture.

use mnx_tensor::args::{self, Clamp, Dense, Planes, PlanesMut};
use mnx_tensor::table::{Kernels, kernels};
use mnx_tensor::{AlignedBuf, BlockedShape, Isa, PANEL, pack};

/// A layer shape: input channels, output channels, input height and width, stride.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Input channels.
    pub cin: usize,
    /// Output channels.
    pub cout: usize,
    /// Height and width of the input.
    pub size: usize,
    /// 1 or 2.
    pub stride: usize,
}

impl Shape {
    /// Height and width of the output.
    pub fn out_size(&self) -> usize {
        self.size.div_ceil(self.stride)
    }

    fn pixels(&self) -> u64 {
        (self.out_size() * self.out_size()) as u64
    }
}

/// Which kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Depthwise 3x3, padding 1.
    Depthwise,
    /// Pointwise, stride 1.
    Pointwise,
    /// Dense 3x3, padding 1.
    Dense,
    /// Global average pool.
    Pool,
    /// Linear layer on one row of features.
    Linear,
}

/// A kernel of the table with its buffers.
pub struct Bench {
    kind: Kind,
    kernels: &'static Kernels,
    shape: Shape,
    src_shape: BlockedShape,
    dst_shape: BlockedShape,
    src: AlignedBuf,
    dst: AlignedBuf,
    weights: AlignedBuf,
    bias: AlignedBuf,
    scratch: AlignedBuf,
}

/// Numbers of order 1: no denormals, nothing that a clamp makes constant.
fn fill(len: usize) -> AlignedBuf {
    let mut buffer = AlignedBuf::zeroed(len);
    for (i, value) in buffer.iter_mut().enumerate() {
        *value = ((i * 7919 % 1999) as f32 - 999.0) / 999.0;
    }
    buffer
}

impl Bench {
    /// Buffers for a layer of this kind and shape. `None` if the CPU lacks the ISA or there is no such layer.
    pub fn new(isa: Isa, kind: Kind, shape: Shape) -> Option<Bench> {
        let fits = match kind {
            Kind::Depthwise => shape.cin == shape.cout,
            Kind::Dense => true,
            Kind::Pointwise => shape.stride == 1,
            Kind::Pool => shape.cin == shape.cout && shape.size > 0,
            Kind::Linear => shape.size == 1,
        };
        if !fits || !(1..=2).contains(&shape.stride) {
            return None;
        }
        let weights = match kind {
            Kind::Depthwise => pack::depthwise_len(shape.cin),
            Kind::Dense => pack::panels_len(shape.cout, shape.cin * 9),
            Kind::Pointwise | Kind::Linear => pack::panels_len(shape.cout, shape.cin),
            Kind::Pool => 0,
        };
        let out = shape.out_size();
        let src_shape = BlockedShape::new(shape.cin, shape.size, shape.size).ok()?;
        let dst_shape = BlockedShape::new(shape.cout, out, out).ok()?;
        Some(Bench {
            kind,
            kernels: kernels(isa)?,
            shape,
            src: fill(src_shape.len()),
            dst: fill(dst_shape.len()),
            src_shape,
            dst_shape,
            weights: fill(weights),
            bias: fill(pack::bias_len(shape.cout)),
            scratch: AlignedBuf::zeroed(Dense::scratch_len(shape.cin, out, shape.stride)),
        })
    }

    /// Multiply-adds of one run; of the pool, its additions.
    pub fn macs(&self) -> u64 {
        let Shape { cin, cout, .. } = self.shape;
        match self.kind {
            Kind::Depthwise => self.shape.pixels() * cin as u64 * 9,
            Kind::Dense => self.shape.pixels() * (cin * cout * 9) as u64,
            Kind::Pointwise | Kind::Linear => self.shape.pixels() * (cin * cout) as u64,
            Kind::Pool => (cin * self.shape.size * self.shape.size) as u64,
        }
    }

    /// Bytes of packed weights.
    pub fn weight_bytes(&self) -> u64 {
        self.weights.as_bytes().len() as u64
    }

    /// Runs the layer once.
    pub fn run(&mut self) {
        match self.kind {
            Kind::Depthwise => self.depthwise(),
            Kind::Pointwise => self.pointwise(),
            Kind::Dense => self.dense(),
            Kind::Pool => self.pool(),
            Kind::Linear => self.linear(),
        }
    }

    fn planes(&self) -> (Planes, PlanesMut) {
        let src = Planes { ptr: self.src.as_ptr(), stride: self.src_shape.plane };
        (src, PlanesMut { ptr: self.dst.as_ptr().cast_mut(), stride: self.dst_shape.plane })
    }

    fn depthwise(&mut self) {
        let out = self.shape.out_size();
        let (src, mut dst) = self.planes();
        dst.ptr = self.dst.as_mut_ptr();
        let args = args::Depthwise {
            src,
            dst,
            residual: None,
            weights: self.weights.as_ptr(),
            bias: self.bias.as_ptr(),
            height: self.shape.size,
            width: self.shape.size,
            out_width: out,
            pad_top: 1,
            pad_left: 1,
            rows: (0..out).into(),
            blocks: (0..self.src_shape.blocks()).into(),
            clamp: Clamp::RELU6,
        };
        // SAFETY: all extents are those of the buffers; the table came from `kernels`.
        unsafe { (self.kernels.depthwise(self.shape.stride).run)(&args) }
    }

    fn pointwise(&mut self) {
        let (src, mut dst) = self.planes();
        dst.ptr = self.dst.as_mut_ptr();
        let args = args::Pointwise {
            src,
            dst,
            residual: None,
            weights: self.weights.as_ptr(),
            bias: self.bias.as_ptr(),
            cin: self.shape.cin,
            cout: self.shape.cout,
            pixels: (0..self.shape.size * self.shape.size).into(),
            panels: (0..self.shape.cout.div_ceil(PANEL)).into(),
            clamp: Clamp::RELU6,
        };
        // SAFETY: all extents are those of the buffers; the table came from `kernels`.
        unsafe { (self.kernels.pw.run)(&args) }
    }

    fn dense(&mut self) {
        let out = self.shape.out_size();
        let (_, mut dst) = self.planes();
        dst.ptr = self.dst.as_mut_ptr();
        let args = args::Dense {
            // The blocked buffer has room for the planar picture.
            src: self.src.as_ptr(),
            dst,
            residual: None,
            weights: self.weights.as_ptr(),
            bias: self.bias.as_ptr(),
            scratch: self.scratch.as_mut_ptr(),
            cin: self.shape.cin,
            cout: self.shape.cout,
            height: self.shape.size,
            width: self.shape.size,
            out_width: out,
            pad_top: 1,
            pad_left: 1,
            rows: (0..out).into(),
            clamp: Clamp::RELU6,
        };
        // SAFETY: all extents are those of the buffers; the table came from `kernels`.
        unsafe { (self.kernels.dense(self.shape.stride).run)(&args) }
    }

    fn pool(&mut self) {
        let (src, _) = self.planes();
        let (size, blocks) = (self.shape.size, (0..self.src_shape.blocks()).into());
        let args = args::Pool { src, dst: self.dst.as_mut_ptr(), height: size, width: size, blocks };
        // SAFETY: all extents are those of the buffers; the table came from `kernels`.
        unsafe { (self.kernels.pool.run)(&args) }
    }

    fn linear(&mut self) {
        let args = args::Linear {
            src: self.src.as_ptr(),
            src_stride: self.shape.cin,
            dst: self.dst.as_mut_ptr(),
            dst_stride: self.shape.cout,
            weights: self.weights.as_ptr(),
            bias: self.bias.as_ptr(),
            cin: self.shape.cin,
            cout: self.shape.cout,
            batch: 1,
            panels: (0..self.shape.cout.div_ceil(PANEL)).into(),
        };
        // SAFETY: all extents are those of the buffers; the table came from `kernels`.
        unsafe { (self.kernels.linear.run)(&args) }
    }
}
