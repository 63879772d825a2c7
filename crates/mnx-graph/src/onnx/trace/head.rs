//! The average pool and the classifier, and the ways in which exporters merge them.

use super::super::constant::{Constant, Misfit, Scalar, misfit};
use super::super::operation::{Operation, place, places};
use super::super::step::{Bounds, Classifier, Matrix, Step, What};
use super::words::{self, names};
use super::{Axis, Channel, Column, Features, NCHW, Picture, Row, Tracer, Value};

impl<'a> Tracer<'a> {
    /// The mean over height and width, or over one of them.
    pub(super) fn pool(&mut self, op: Operation<'a>) -> Result<(), Misfit> {
        let mut features = self.whole(op, 0)?.clone();
        if features.shared {
            return misfit("one pool, of the last features", "features that another operation takes, too");
        }
        let rank = features.axes.len();
        let (axes, keep) = match op.kind() {
            "ReduceMean" => {
                let axes = self.ints(op, "axes", 1)?.unwrap_or_default();
                (places(&axes, rank), op.int("keepdims", 1) != 0)
            }
            "AveragePool" if features.axes != NCHW => {
                return misfit("features of N x C x H x W", names(&features.axes));
            }
            "AveragePool" => {
                let size = self.steps[features.step].size;
                let kernel: Option<Vec<_>> =
                    op.ints("kernel_shape").map(|kernel| kernel.iter().map(|&k| usize::try_from(k).ok()).collect());
                let padded = op.ints("pads").is_some_and(|pads| pads.iter().any(|&pad| pad != 0));
                if padded || kernel != Some(size.to_vec()) || size.contains(&None) {
                    let found = words::list(op.ints("kernel_shape")) + if padded { " with pads" } else { "" };
                    return misfit(format!("a pool of all rows and columns, {}", words::size(&size)), found);
                }
                (Some(vec![2, 3]), true)
            }
            _ => (Some((2..rank).collect()), true),
        };
        let along = axes.iter().flatten().map(|&axis| features.axes[axis]).collect::<Vec<_>>();
        if along.is_empty() || along.iter().any(|axis| !matches!(axis, Row | Column)) {
            return misfit("a mean over height and width", format!("over {}", names(&along)));
        }
        for axis in along {
            features.pooled[usize::from(axis == Column)] = true;
            features.axes.retain(|&there| keep || there != axis);
        }
        self.passed_on(op, features)
    }

    /// Takes away dimensions of one, which pooled features have.
    pub(super) fn flatten(&mut self, op: Operation<'a>) -> Result<(), Misfit> {
        let mut features = self.whole(op, 0)?.clone();
        if features.pooled != [true; 2] {
            return misfit("a pool over height and width before it", "none");
        }
        let (rank, channels) = (features.axes.len(), self.steps[features.step].channels);
        features.axes = match op.kind() {
            "Flatten" if place(op.int("axis", 1), rank + 1) == Some(1) && features.axes[0] == Picture => {
                vec![Picture, Channel]
            }
            "Squeeze" => {
                let axes = self.ints(op, "axes", 1)?;
                let gone = match &axes {
                    Some(axes) => places(axes, rank),
                    None => Some((0..rank).filter(|&i| matches!(features.axes[i], Row | Column)).collect()),
                };
                let gone = gone.filter(|gone| gone.iter().all(|&i| matches!(features.axes[i], Row | Column)));
                let Some(gone) = gone else { return misfit("height and width to go", words::list(axes.as_deref())) };
                (0..rank).filter(|i| !gone.contains(i)).map(|i| features.axes[i]).collect()
            }
            "Reshape" => {
                let to = self.known(op, 1)?.scalars().unwrap_or_default();
                let reshaped = reshaped(&features.axes, &to, self.batch, channels);
                reshaped.map_or_else(|| misfit(format!("N x {channels}"), words::scalars(&to)), Ok)?
            }
            _ => return misfit("N x C", "other dimensions"),
        };
        self.passed_on(op, features)
    }

    /// `Gemm`, or the product of a `MatMul`.
    pub(super) fn classifier(&mut self, op: Operation<'a>) -> Result<(), Misfit> {
        let pooled = self.pooled(op)?;
        if pooled.axes != [Picture, Channel] {
            return misfit("features of N x C", names(&pooled.axes));
        }
        let weight = self.known(op, 1)?.clone();
        if op.kind() == "MatMul" {
            return self.classify(
                op,
                pooled,
                Matrix { weight, features_first: true, alpha: 1.0, bias: None, beta: 1.0 },
            );
        }
        if op.int("transA", 0) != 0 {
            return misfit("features as they are", "transA");
        }
        let (alpha, bias, beta) = (op.float("alpha", 1.0), self.constant(op, 2)?.cloned(), op.float("beta", 1.0));
        self.classify(op, pooled, Matrix { weight, features_first: op.int("transB", 0) == 0, alpha, bias, beta })
    }

    /// A 1x1 convolution of pooled features.
    pub(super) fn pointwise_classifier(&mut self, op: Operation<'a>) -> Result<(), Misfit> {
        let pooled = self.pooled(op)?;
        if pooled.axes != NCHW {
            return misfit("features of N x C x 1 x 1", names(&pooled.axes));
        }
        let weight = self.known(op, 1)?;
        let Some(weight) = weight.reshaped(weight.dims[..2].to_vec()) else {
            return misfit("a weight of classes x features x 1 x 1", format!("{:?}", weight.dims));
        };
        let bias = self.constant(op, 2)?.cloned();
        self.classify(op, pooled, Matrix { weight, features_first: false, alpha: 1.0, bias, beta: 1.0 })
    }

    /// Features that were pooled over height and width.
    fn pooled(&self, op: Operation) -> Result<Features, Misfit> {
        let features = self.whole(op, 0)?;
        if features.pooled != [true; 2] {
            return misfit("a pool over height and width before it", "none");
        }
        Ok(features.clone())
    }

    /// The classifier of pooled features, whose dimensions the logits have.
    fn classify(&mut self, op: Operation<'a>, pooled: Features, matrix: Matrix) -> Result<(), Misfit> {
        let features = self.steps[pooled.step].channels;
        let (columns, classes) = match matrix.weight.dims[..] {
            [rows, columns] if matrix.features_first => (rows, columns),
            [rows, columns] => (columns, rows),
            _ => return misfit("a weight of two dimensions", format!("{:?}", matrix.weight.dims)),
        };
        if columns != features || classes == 0 {
            return misfit(format!("a weight for {features} features"), format!("{:?}", matrix.weight.dims));
        }
        if self.classifier.is_some() {
            return misfit("one classifier", "a second one");
        }
        if let Some(bias) = &matrix.bias {
            check_bias(bias, classes)?;
        }
        self.classifier = Some(Classifier { at: op.index, input: pooled.step, matrix, features, classes });
        let size = [Some(1), Some(1)];
        let step = Step { at: op.index, what: What::Classifier, channels: classes, size, bounds: Bounds::NONE };
        self.push(op, step, pooled.axes)?;
        let output = op.node.output.first().map_or("", String::as_str);
        if let Some(Value::Features(logits)) = self.values.get_mut(output) {
            logits.pooled = [true; 2];
        }
        Ok(())
    }

    pub(super) fn classifier_bias(&mut self, op: Operation<'a>, index: usize, bias: Constant) -> Result<(), Misfit> {
        let logits = self.whole(op, index)?.clone();
        let flat = logits.axes == [Picture, Channel];
        match &mut self.classifier {
            Some(classifier) if flat && !logits.shared && classifier.matrix.bias.is_none() => {
                check_bias(&bias, classifier.classes)?;
                classifier.matrix.bias = Some(bias);
            }
            _ => return misfit("one bias of the classifier", "another sum"),
        }
        self.passed_on(op, logits)
    }

    /// The last operation, which the logits are given without.
    pub(super) fn softmax(&mut self, op: Operation<'a>) -> Result<(), Misfit> {
        let features = self.whole(op, 0)?;
        if !matches!(self.steps[features.step].what, What::Classifier) {
            return misfit("the classifier's output", "other features");
        }
        let axis = op.int("axis", if self.opset < 13 { 1 } else { -1 });
        let over = place(axis, features.axes.len()).map(|i| features.axes[i]);
        if over != Some(Channel) {
            return misfit("a softmax over the classes", format!("over axis {axis}"));
        }
        self.set(op, Value::Probabilities)
    }
}

/// One value per class, whatever dimensions of one are before them, or one for all.
fn check_bias(bias: &Constant, classes: usize) -> Result<(), Misfit> {
    let (last, before) = bias.dims.split_last().map_or((1, &[][..]), |(&last, before)| (last, before));
    if before.iter().all(|&dim| dim == 1) && (last == classes || last == 1) {
        return Ok(());
    }
    misfit(format!("a bias of {classes} values"), format!("dimensions {:?}", bias.dims))
}

/// The dimensions that a `Reshape` leaves of pooled features, if it takes away or adds dimensions of one only.
fn reshaped(from: &[Axis], to: &[Scalar], batch: Option<usize>, channels: usize) -> Option<Vec<Axis>> {
    // 0 stands for the dimension at this place, which is N at the first one, and -1 for all that is left.
    let is_batch = |dim: &Scalar| match *dim {
        Scalar::Batch | Scalar::Int(-1) => true,
        Scalar::Int(0) => from.first() == Some(&Picture),
        Scalar::Int(n) => batch.is_some_and(|batch| usize::try_from(n) == Ok(batch)),
        _ => false,
    };
    let is_channels = |(i, dim): (usize, &Scalar)| match *dim {
        Scalar::Int(-1) => true,
        Scalar::Int(0) => from.get(i) == Some(&Channel),
        Scalar::Int(n) => usize::try_from(n) == Ok(channels),
        _ => false,
    };
    if to.iter().filter(|dim| **dim == Scalar::Int(-1)).count() > 1 || !to.first().is_some_and(is_batch) {
        return None;
    }
    let ones = |dims: &[Scalar]| dims.iter().all(|dim| *dim == Scalar::Int(1));
    match to.len() {
        2 if is_channels((1, &to[1])) => Some(vec![Picture, Channel]),
        4 if is_channels((1, &to[1])) && ones(&to[2..]) => Some(vec![Picture, Channel, Row, Column]),
        4 if is_channels((3, &to[3])) && ones(&to[1..3]) => Some(vec![Picture, Row, Column, Channel]),
        _ => None,
    }
}
