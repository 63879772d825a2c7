//! Convolutions with what belongs to them: zeros before, batch norm and clamp after. And the max pool.

use super::super::constant::{Constant, Misfit, misfit};
use super::super::operation::{Operation, places};
use super::super::step::{Bounds, Convolution, Norm, Pads, Step, What};
use super::words::{self, names};
use super::{Axis, Channel, Column, Features, NCHW, Row, Tracer, Value};

/// A window that moves along height and width.
struct Window {
    kernel: usize,
    stride: usize,
    pads: [Pads; 2],
    /// Height and width of what it leaves.
    size: [Option<usize>; 2],
}

impl<'a> Tracer<'a> {
    pub(super) fn convolution(&mut self, op: Operation<'a>) -> Result<(), Misfit> {
        let weight = self.known(op, 1)?.clone();
        let bias = self.constant(op, 2)?.cloned();
        let features = self.features(op, 0)?.clone();
        let from = &self.steps[features.step];
        let &[cout, per_group, kernel, width] = &weight.dims[..] else {
            return misfit("a weight of four dimensions", format!("{:?}", weight.dims));
        };
        if features.channels != (0..from.channels) {
            return misfit("all channels of its input", words::channels(&features.channels));
        }
        if features.pooled == [true; 2] && (kernel, width, op.int("group", 1)) == (1, 1, 1) {
            return self.pointwise_classifier(op);
        }
        if features.pooled != [false; 2] || features.axes != NCHW {
            let found = names(&features.axes);
            return misfit("features of N x C x H x W that were not pooled", found);
        }
        let (cin, groups) = (from.channels, usize::try_from(op.int("group", 1)).unwrap_or(0));
        let depthwise = groups == cin && cout == cin;
        if !(depthwise || groups == 1) || groups.checked_mul(per_group) != Some(cin) || cout == 0 {
            let expected = format!("1 group, or one for each of {cin} channels");
            return misfit(expected, format!("{groups} groups, weight {:?}", weight.dims));
        }
        let window = self.window(op, &features, Some([kernel, width]))?;
        if let Some(bias) = bias.as_ref().filter(|bias| bias.dims != [cout]) {
            return misfit(format!("a bias of {cout} values"), format!("dimensions {:?}", bias.dims));
        }
        let Window { kernel, stride, pads, size } = window;
        let convolution =
            Convolution { input: features.step, kernel, stride, depthwise, cin, pads, weight, bias, norms: Vec::new() };
        let what = What::Convolution(convolution);
        self.push(op, Step { at: op.index, what, channels: cout, size, bounds: Bounds::NONE }, NCHW.to_vec())
    }

    pub(super) fn max_pool(&mut self, op: Operation<'a>) -> Result<(), Misfit> {
        let features = self.features(op, 0)?.clone();
        let from = &self.steps[features.step];
        if features.pooled != [false; 2] || features.axes != NCHW || features.channels != (0..from.channels) {
            return misfit("features of N x C x H x W", names(&features.axes));
        }
        let padded = features.pads != [(0, 0); 2];
        let Window { kernel, stride, pads, size } = self.window(op, &features, None)?;
        let ceil_mode = op.int("ceil_mode", 0) != 0;
        if (kernel, stride, pads, ceil_mode) != (3, 2, [Pads::Fixed(1, 1); 2], false) {
            let pads = match pads {
                [Pads::Fixed(1, 1), Pads::Fixed(1, 1)] => "1".into(),
                [rows, columns] => format!("{rows} along height, {columns} along width"),
            };
            let ceil_mode = if ceil_mode { ", ceil_mode" } else { "" };
            return misfit(
                "a max pool of 3x3, stride 2, pads 1, without ceil_mode",
                format!("{kernel}x{kernel}, stride {stride}, pads {pads}{ceil_mode}"),
            );
        }
        // Zeros are no more than any value after a ReLU; the pool's own pads are less than any value.
        if padded && from.bounds.low < 0.0 {
            return misfit("a ReLU before the zeros of a max pool", "none");
        }
        let step = Step {
            at: op.index,
            what: What::MaxPool(features.step),
            channels: from.channels,
            size,
            bounds: from.bounds,
        };
        self.push(op, step, NCHW.to_vec())
    }

    /// Kernel, strides and pads of an operation; a weight says the kernel, too.
    fn window(&self, op: Operation, features: &Features, weight: Option<[usize; 2]>) -> Result<Window, Misfit> {
        let pair = |name: &str| match op.ints(name) {
            None => Some([1, 1]),
            Some(&[y, x]) => Some([usize::try_from(y).ok()?, usize::try_from(x).ok()?]),
            Some(_) => None,
        };
        let (kernels, strides, dilations) = (pair("kernel_shape"), pair("strides"), pair("dilations"));
        let kernels = weight.or(kernels);
        let (Some([kernel, width]), Some([stride, across])) = (kernels, strides) else {
            let found = [op.ints("kernel_shape"), op.ints("strides")].map(words::list);
            return misfit("kernel and strides along height and width", found.join(" and "));
        };
        if kernel != width || !matches!(kernel, 1 | 3 | 7) {
            return misfit("a kernel of 1x1, 3x3 or 7x7", format!("{kernel}x{width}"));
        }
        if stride != across || !matches!(stride, 1 | 2) {
            return misfit("stride 1 or 2", format!("{stride} and {across}"));
        }
        if dilations != Some([1, 1]) {
            return misfit("no dilation", format!("{:?}", op.ints("dilations").unwrap_or_default()));
        }
        let (size, mut pads) = (self.steps[features.step].size, [Pads::Fixed(0, 0); 2]);
        let mut left = [None; 2];
        for axis in 0..2 {
            pads[axis] = pads_along(op, axis, (kernel, stride), size[axis], features.pads[axis])?;
            left[axis] = match (size[axis], pads[axis]) {
                (Some(n), Pads::Fixed(before, after)) => {
                    let padded = n.checked_add(before).and_then(|n| n.checked_add(after));
                    let Some(room) = padded.and_then(|n| n.checked_sub(kernel)) else {
                        return misfit(format!("an input of {kernel} rows and columns with the zeros"), n.to_string());
                    };
                    Some(room / stride + 1)
                }
                _ => None,
            };
        }
        Ok(Window { kernel, stride, pads, size: left })
    }

    /// Zeros around features, for the convolution or max pool that follows.
    pub(super) fn pad(&mut self, op: Operation<'a>) -> Result<(), Misfit> {
        let mut features = self.features(op, 0)?.clone();
        if op.text("mode").is_some_and(|mode| mode != b"constant") {
            return misfit("zeros", "another mode");
        }
        let value = match self.constant(op, 2)? {
            Some(value) => value.one_float(),
            None => Some(op.float("value", 0.0)),
        };
        if value != Some(0.0) {
            return misfit("zeros", value.map_or("another constant".into(), |value| value.to_string()));
        }
        let rank = features.axes.len();
        let axes = match self.constant(op, 3)? {
            None => Some((0..rank).collect()),
            Some(axes) => axes.ints().and_then(|axes| places(&axes, rank)),
        };
        let pads = self.ints(op, "pads", 1)?;
        let (Some(axes), Some(pads)) = (axes, pads) else { return misfit("pads that are known", "others") };
        if pads.len() != 2 * axes.len() {
            return misfit(format!("{} pads", 2 * axes.len()), pads.len().to_string());
        }
        for (i, &axis) in axes.iter().enumerate() {
            let along = (pads[i], pads[axes.len() + i]);
            let place = match features.axes[axis] {
                _ if along == (0, 0) => continue,
                Row if !features.pooled[0] => &mut features.pads[0],
                Column if !features.pooled[1] => &mut features.pads[1],
                axis => {
                    let found = format!("{} and {} along {}", along.0, along.1, names(&[axis]));
                    return misfit("zeros along height and width", found);
                }
            };
            let (Ok(before @ 0..=3), Ok(after @ 0..=3)) = (usize::try_from(along.0), usize::try_from(along.1)) else {
                return misfit("at most 3 zeros on a side", format!("{} and {}", along.0, along.1));
            };
            *place = (place.0 + before, place.1 + after);
        }
        self.passed_on(op, features)
    }

    pub(super) fn batch_norm(&mut self, op: Operation<'a>) -> Result<(), Misfit> {
        if op.int("training_mode", 0) != 0 || op.node.output.iter().filter(|name| !name.is_empty()).count() > 1 {
            return misfit("a network to use", "one in training");
        }
        let channels = self.steps[self.features(op, 0)?.step].channels;
        let mut parts = Vec::with_capacity(4);
        for index in 1..5 {
            let part = self.known(op, index)?;
            if part.dims != [channels] {
                return misfit(format!("{channels} values of input {index}"), format!("dimensions {:?}", part.dims));
            }
            parts.push(part.clone());
        }
        let [gamma, beta, mean, var] = <[Constant; 4]>::try_from(parts).or_else(|_| misfit("four inputs", "fewer"))?;
        let features = self.whole(op, 0)?;
        if features.axes.get(1) != Some(&Channel) {
            return misfit("channels as the second dimension", names(&features.axes));
        }
        self.norm(op, 0, Norm::Batch { gamma, beta, mean, var, eps: op.decimal("epsilon", 1e-5) })
    }

    /// A shortcut, the classifier's bias, or what is left of a batch norm.
    pub(super) fn arithmetic(&mut self, op: Operation<'a>) -> Result<(), Misfit> {
        let value = |index: usize| op.input(index).and_then(|name| self.values.get(name));
        let (data, by) = match (value(0), value(1)) {
            (Some(Value::Features(_)), Some(Value::Features(_))) if op.kind() == "Add" => return self.add(op),
            (Some(Value::Features(_)), Some(Value::Features(_))) => {
                return misfit("a sum of features as the only operation on two of them", op.kind());
            }
            (logits, Some(Value::Constant(bias))) if op.kind() == "Add" && self.is_logits(logits) => {
                let bias = bias.clone();
                return self.classifier_bias(op, 0, bias);
            }
            (Some(Value::Constant(bias)), logits) if op.kind() == "Add" && self.is_logits(logits) => {
                let bias = bias.clone();
                return self.classifier_bias(op, 1, bias);
            }
            (_, Some(Value::Constant(by))) => (0, by.clone()),
            (Some(Value::Constant(by)), _) if matches!(op.kind(), "Add" | "Mul") => (1, by.clone()),
            _ => return misfit("features and what is added to them, or multiplied", "others"),
        };
        let features = self.whole(op, data)?;
        // Dimensions are matched from the last one on.
        let aligned = by.dims.len() <= features.axes.len();
        let channels = self.steps[features.step].channels;
        let along = |(&dim, &axis): (&usize, &Axis)| dim == 1 || (axis == Channel && dim == channels);
        if !aligned || !by.dims.iter().rev().zip(features.axes.iter().rev()).all(along) {
            return misfit(
                format!("a value for each of {channels} channels, or one"),
                format!("dimensions {:?}", by.dims),
            );
        }
        self.norm(
            op,
            data,
            match op.kind() {
                "Mul" | "Div" => Norm::Scale { by, inverse: op.kind() == "Div" },
                _ => Norm::Shift { by, negative: op.kind() == "Sub" },
            },
        )
    }

    /// Adds to the norms of the convolution whose output an input is.
    fn norm(&mut self, op: Operation<'a>, index: usize, norm: Norm) -> Result<(), Misfit> {
        let features = self.unpooled(op, index)?.clone();
        self.alone(&features)?;
        let step = &mut self.steps[features.step];
        match &mut step.what {
            What::Convolution(convolution) if step.bounds == Bounds::NONE => convolution.norms.push(norm),
            What::Input => {
                return misfit(
                    "a convolution first: pixels are scaled before the network, as the spec's preprocessing says",
                    "a change of the input",
                );
            }
            _ => return misfit("a convolution before it", "another operation"),
        }
        self.passed_on(op, Features { shared: false, ..features })
    }

    /// No other operation may take what becomes part of a step.
    fn alone(&self, features: &Features) -> Result<(), Misfit> {
        if features.shared { misfit("no other operation on its input", "several") } else { Ok(()) }
    }

    /// Clamps what a step makes.
    pub(super) fn clamp(&mut self, op: Operation<'a>, bounds: Bounds) -> Result<(), Misfit> {
        self.clamp_input(op, 0, bounds)
    }

    fn clamp_input(&mut self, op: Operation<'a>, index: usize, bounds: Bounds) -> Result<(), Misfit> {
        let features = self.unpooled(op, index)?.clone();
        self.alone(&features)?;
        let step = &mut self.steps[features.step];
        if matches!(step.what, What::Input | What::MaxPool(_) | What::Classifier) {
            return misfit("a convolution or a sum before it", "another operation");
        }
        step.bounds = step.bounds.narrowed(bounds);
        self.passed_on(op, Features { shared: false, ..features })
    }

    /// Bounds are inputs, and before opset 11 attributes.
    pub(super) fn clip(&mut self, op: Operation<'a>) -> Result<(), Misfit> {
        let bound = |index: usize, name: &str, none: f64| match self.constant(op, index)? {
            Some(bound) => {
                bound.one_float().map_or_else(|| misfit(format!("a number as {name}"), "another constant"), Ok)
            }
            None => Ok(op.float(name, none as f32)),
        };
        let bounds = Bounds { low: bound(1, "min", f64::NEG_INFINITY)?, high: bound(2, "max", f64::INFINITY)? };
        self.clamp(op, bounds)
    }

    /// `Min` and `Max` of features and a number.
    pub(super) fn least_or_most(&mut self, op: Operation<'a>) -> Result<(), Misfit> {
        let constants: Vec<_> = op.node.input.iter().map(|name| self.constant_of(name)).collect();
        let (data, bound) = match constants[..] {
            [None, Some(bound)] => (0, bound.one_float()),
            [Some(bound), None] => (1, bound.one_float()),
            _ => return misfit("features and a number", format!("{} inputs", constants.len())),
        };
        let Some(bound) = bound else { return misfit("a number", "another constant") };
        let bounds = match op.kind() {
            "Min" => Bounds { high: bound, ..Bounds::NONE },
            _ => Bounds { low: bound, ..Bounds::NONE },
        };
        self.clamp_input(op, data, bounds)
    }

    pub(super) fn transpose(&mut self, op: Operation<'a>) -> Result<(), Misfit> {
        let mut features = self.features(op, 0)?.clone();
        let rank = features.axes.len();
        let order = match op.ints("perm") {
            Some(order) => places(order, rank),
            None => Some((0..rank).rev().collect()),
        };
        let turned: Option<Vec<Axis>> = order.map(|order| order.iter().map(|&i| features.axes[i]).collect());
        let complete =
            |turned: &Vec<Axis>| turned.len() == rank && features.axes.iter().all(|axis| turned.contains(axis));
        let Some(turned) = turned.filter(complete) else {
            return misfit(
                format!("an order of {rank} dimensions"),
                format!("{:?}", op.ints("perm").unwrap_or_default()),
            );
        };
        features.axes = turned;
        self.passed_on(op, features)
    }
}

/// Of the axis 0 (height) or 1 (width), with those of a `Pad` before.
fn pads_along(
    op: Operation,
    axis: usize,
    (kernel, stride): (usize, usize),
    size: Option<usize>,
    extra: (usize, usize),
) -> Result<Pads, Misfit> {
    let mode = op.text("auto_pad").unwrap_or(b"NOTSET");
    let (before, after) = match mode {
        b"NOTSET" | b"" => match op.ints("pads") {
            None => (0, 0),
            Some(&[top, left, bottom, right]) => {
                let (before, after) = if axis == 0 { (top, bottom) } else { (left, right) };
                match (usize::try_from(before), usize::try_from(after)) {
                    (Ok(before @ 0..=3), Ok(after @ 0..=3)) => (before, after),
                    _ => return misfit("0 to 3 zeros on a side", format!("{before} and {after}")),
                }
            }
            Some(pads) => return misfit("four pads", pads.len().to_string()),
        },
        b"VALID" => (0, 0),
        b"SAME_UPPER" | b"SAME_LOWER" => {
            let all = match size.and_then(|n| n.checked_add(extra.0 + extra.1)) {
                // What the windows of all outputs cover, less what is there.
                Some(n) => ((n.div_ceil(stride) - 1) * stride + kernel).saturating_sub(n),
                None if stride == 1 || kernel == 1 => kernel - 1,
                None if mode == b"SAME_UPPER" && extra == (0, 0) => return Ok(Pads::Same),
                None => return misfit("zeros as TensorFlow puts them", "SAME_LOWER on a size that is not known"),
            };
            if mode == b"SAME_UPPER" { (all / 2, all - all / 2) } else { (all - all / 2, all / 2) }
        }
        _ => return misfit("auto_pad NOTSET, VALID, SAME_UPPER or SAME_LOWER", String::from_utf8_lossy(mode)),
    };
    Ok(Pads::Fixed(before + extra.0, after + extra.1))
}
