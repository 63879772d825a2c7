//! Runs a network in plain loops and counts the multiply-adds that meet a denormal number.

use mnx::{Activation, Layer, LayerKind, Model, Tensor};

/// Multiply-adds, and those of which a factor, the sum before, the product (which only some ISAs round) or the sum after is
/// denormal or lost below the denormals.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    pub all: u64,
    pub denormal: u64,
}

impl Count {
    fn multiply_add(&mut self, x: f32, weight: f32, sum: f32) -> f32 {
        // Exact: 48 bits, and an exponent that f64 has.
        let product = f64::from(x) * f64::from(weight);
        let next = (product + f64::from(sum)) as f32;
        let lost = product != 0.0 && product.abs() < f64::from(f32::MIN_POSITIVE);
        self.all += 1;
        self.denormal += u64::from(lost || [x, weight, sum, next].iter().any(|v| v.is_subnormal()));
        next
    }
}

/// Channels of rows of pixels.
#[derive(Clone)]
struct Planes {
    height: usize,
    width: usize,
    values: Vec<f32>,
}

impl Planes {
    fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// `None` in the padding.
    fn get(&self, channel: usize, row: Option<usize>, column: Option<usize>) -> Option<f32> {
        let (row, column) = (row.filter(|&y| y < self.height)?, column.filter(|&x| x < self.width)?);
        Some(self.values[channel * self.pixels() + row * self.width + column])
    }
}

/// What one picture costs, and its logits.
pub fn count(model: &Model, input: &Tensor) -> (Count, Vec<f32>) {
    let [_, _, height, width] = input.shape();
    let mut run = Run { model, count: Count::default(), next: 0 };
    let mut x = Planes { height, width, values: input.data().to_vec() };
    for block in &model.network().blocks {
        let mut shortcut = x.clone();
        x = block.layers.iter().fold(x, |x, layer| run.layer(layer, &x));
        if let Some(projection) = &block.projection {
            shortcut = run.layer(projection, &shortcut);
        }
        let covered = block.identity_channels * x.pixels();
        x.values.iter_mut().zip(&shortcut.values[..covered.min(shortcut.values.len())]).for_each(|(v, s)| *v += s);
        activate(&mut x.values, block.activation);
        if block.max_pool {
            x = max_pool(&x);
        }
    }
    let pixels = x.pixels();
    let pooled = x.values.chunks_exact(pixels).map(|plane| plane.iter().sum::<f32>() / pixels as f32).collect();
    let classifier = model.network().classifier().expect("no detector");
    let logits = run.layer(classifier, &Planes { height: 1, width: 1, values: pooled });
    (run.count, logits.values)
}

struct Run<'a> {
    model: &'a Model,
    count: Count,
    /// Layers come in the order of the weight file.
    next: usize,
}

impl Run<'_> {
    fn layer(&mut self, layer: &Layer, x: &Planes) -> Planes {
        let (weight, bias) = self.model.weights(self.next).unwrap();
        self.next += 1;
        let dims = layer.weight_dims();
        let weight = layer.packing().unpack(weight, &dims).unwrap();
        let kernel = dims.get(2).copied().unwrap_or(1);
        let depth = dims[1];
        let (height, width) = layer.output_size(x.height, x.width);
        let padding = self.model.spec().padding;
        let (top, left) = (padding.of(kernel, x.height, layer.stride).0, padding.of(kernel, x.width, layer.stride).0);
        let mut values = Vec::with_capacity(layer.cout * height * width);
        for (output, filter) in weight.chunks_exact(depth * kernel * kernel).enumerate() {
            for at in 0..height * width {
                let (row, column) = (at / width * layer.stride, at % width * layer.stride);
                let mut sum = bias[output];
                for (i, &w) in filter.iter().enumerate() {
                    let channel = if layer.kind == LayerKind::Depthwise3x3 { output } else { i / (kernel * kernel) };
                    let (ky, kx) = (i / kernel % kernel, i % kernel);
                    let pixel = x.get(channel, (row + ky).checked_sub(top), (column + kx).checked_sub(left));
                    sum = pixel.map_or(sum, |pixel| self.count.multiply_add(pixel, w, sum));
                }
                values.push(sum);
            }
        }
        activate(&mut values, layer.activation);
        Planes { height, width, values }
    }
}

fn activate(values: &mut [f32], activation: Activation) {
    let most = match activation {
        Activation::Relu6 => 6.0,
        Activation::Relu => f32::INFINITY,
        _ => return,
    };
    values.iter_mut().for_each(|v| *v = v.clamp(0.0, most));
}

/// 3x3 at stride 2.
fn max_pool(x: &Planes) -> Planes {
    let (height, width) = (x.height.div_ceil(2), x.width.div_ceil(2));
    let window = |channel: usize, at: usize| {
        let pixel =
            |k: usize| x.get(channel, (at / width * 2 + k / 3).checked_sub(1), (at % width * 2 + k % 3).checked_sub(1));
        (0..9).filter_map(pixel).fold(f32::NEG_INFINITY, f32::max)
    };
    let channels = x.values.len() / x.pixels();
    let values = (0..channels).flat_map(|c| (0..height * width).map(move |at| (c, at)));
    Planes { height, width, values: values.map(|(c, at)| window(c, at)).collect() }
}
