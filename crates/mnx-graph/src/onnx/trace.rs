//! Groups a graph's operations into steps.

mod head;
mod layer;
mod order;
mod shortcut;
mod words;

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use super::constant::{Constant, Misfit, Scalar, is_float, misfit};
use super::message::{Graph, Tensor, ValueInfo, data_type};
use super::operation::{self, Evaluator, Operation};
use super::step::{Bounds, Classifier, Step, What};
use crate::text::{SENTENCE, shown};
use crate::{Error, Limits, OnnxError};

/// Operations of the largest graph; ResNet-152 with nothing folded has some 4,000.
const MOST_OPERATIONS: usize = 20_000;

/// What a dimension of features counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Axis {
    Picture,
    Channel,
    Row,
    Column,
}

use Axis::{Channel, Column, Picture, Row};

/// PyTorch's order, and that of every convolution.
const NCHW: [Axis; 4] = [Picture, Channel, Row, Column];
/// TensorFlow's.
const NHWC: [Axis; 4] = [Picture, Row, Column, Channel];

/// A value of the graph.
#[derive(Clone, Debug)]
enum Value {
    Constant(Constant),
    Features(Features),
    /// The first channels of one step and of another, added: half of a shortcut over some of the channels.
    Sum {
        steps: [usize; 2],
        channels: usize,
        axes: Vec<Axis>,
    },
    /// A softmax of the logits.
    Probabilities,
}

/// What a step makes, or some channels of it.
#[derive(Clone, Debug)]
struct Features {
    step: usize,
    /// In the order of the tensor's dimensions. Those that were pooled may be gone.
    axes: Vec<Axis>,
    channels: Range<usize>,
    /// Zeros around it, before and after, along height and width.
    pads: [(usize, usize); 2],
    /// Which of height and width are pooled.
    pooled: [bool; 2],
    /// Whether several operations take what the step makes.
    shared: bool,
}

/// A graph, understood.
#[derive(Debug)]
pub(crate) struct Trace {
    /// The first is the input.
    pub(crate) steps: Vec<Step>,
    pub(crate) classifier: Classifier,
    /// Whether a softmax ends the graph.
    pub(crate) softmax: bool,
}

struct Tracer<'a> {
    graph: &'a Graph,
    initializers: HashMap<&'a str, &'a Tensor>,
    limits: Limits,
    opset: i64,
    evaluator: Evaluator<'a>,
    values: HashMap<&'a str, Value>,
    /// How many operations take the value of a name.
    uses: HashMap<&'a str, usize>,
    batch: Option<usize>,
    steps: Vec<Step>,
    classifier: Option<Classifier>,
}

/// # Errors
/// [`OnnxError::Graph`], [`OnnxError::Operation`], [`Error::Limit`].
pub(crate) fn trace(graph: &Graph, opset: i64, folder: Option<&Path>) -> Result<Trace, Error> {
    if graph.node.len() > MOST_OPERATIONS {
        let (limit, found) = (MOST_OPERATIONS as u64, graph.node.len() as u64);
        return Err(Error::Limit { what: "operations of an ONNX graph".into(), limit, found });
    }
    let [output] = &graph.output[..] else {
        let names: Vec<_> = graph.output.iter().take(4).map(|output| format!("`{}`", output.name)).collect();
        return Err(graph_error("one output, the logits", format!("{}: {}", graph.output.len(), names.join(", "))));
    };
    let ordered = order::order(graph, &output.name)?;
    let mut tracer = Tracer {
        graph,
        initializers: graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect(),
        limits: Limits::default(),
        opset,
        evaluator: Evaluator::new(folder),
        values: HashMap::new(),
        uses: HashMap::from([(output.name.as_str(), 1)]),
        batch: None,
        steps: Vec::new(),
        classifier: None,
    };
    for op in &ordered {
        for (_, name) in op.node.input.iter().enumerate().filter(|(i, _)| !op.looks_only(*i)) {
            *tracer.uses.entry(name).or_default() += 1;
        }
    }
    tracer.input()?;
    for op in ordered {
        tracer.operation(op).map_err(|misfit| op.error(misfit))?;
    }
    tracer.finish(&output.name)
}

fn graph_error(expected: impl Into<String>, found: impl Into<String>) -> Error {
    let [expected, found] = [expected.into(), found.into()].map(|text: String| shown(&text, SENTENCE));
    Error::Onnx(OnnxError::Graph { expected, found })
}

fn operations(graph: &Graph) -> impl Iterator<Item = Operation<'_>> {
    graph.node.iter().enumerate().map(|(index, node)| Operation { index, node })
}

/// Dimensions of an input, where they are known.
fn dims(value: &ValueInfo) -> Option<Vec<Option<usize>>> {
    let shape = value.r#type.as_ref()?.tensor_type.as_ref()?.shape.as_ref()?;
    let known = |value: Option<i64>| value.and_then(|v| usize::try_from(v).ok()).filter(|&v| v > 0);
    Some(shape.dim.iter().map(|dim| known(dim.dim_value)).collect())
}

impl<'a> Tracer<'a> {
    /// The only input that is no initializer: pictures.
    fn input(&mut self) -> Result<(), Error> {
        let stored = &self.initializers;
        let inputs: Vec<_> =
            self.graph.input.iter().filter(|input| !stored.contains_key(input.name.as_str())).collect();
        let [input] = inputs[..] else {
            let names: Vec<_> = inputs.iter().take(4).map(|input| format!("`{}`", input.name)).collect();
            return Err(graph_error("one input, pictures", format!("{}: {}", inputs.len(), names.join(", "))));
        };
        let what = format!("input `{}` of N x 3 x H x W or N x H x W x 3", input.name);
        let element = input.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()).map_or(0, |t| t.elem_type);
        if !is_float(element.into()) {
            let found = format!(
                "{}: export the model for them, and leave their scaling to the preprocessing",
                data_type::name(element.into())
            );
            return Err(graph_error(what + ", floating-point numbers", found));
        }
        let (batch, size, axes) = match dims(input).as_deref() {
            Some(&[n, Some(3), h, w]) => (n, [h, w], NCHW),
            Some(&[n, h, w, Some(3)]) => (n, [h, w], NHWC),
            found => {
                return Err(graph_error(what, found.map_or("no shape".into(), words::size)));
            }
        };
        self.batch = batch;
        self.steps.push(Step { at: 0, what: What::Input, channels: 3, size, bounds: Bounds::NONE });
        let features = self.made(0, axes.to_vec(), &input.name);
        self.values.insert(&input.name, features);
        Ok(())
    }

    fn operation(&mut self, op: Operation<'a>) -> Result<(), Misfit> {
        // Before anything of it is read: its inputs may be of types that no network here has.
        words::foreign(op)?;
        // Initializers become values when they are first asked for: most are weights, which stay in the file.
        for name in &op.node.input {
            self.initializer(name)?;
        }
        let constants: Vec<_> = op.node.input.iter().map(|name| self.constant_of(name)).collect();
        let names = op.node.input.iter().filter(|name| !name.is_empty());
        if constants.iter().flatten().count() == names.count() {
            let value = self.evaluator.evaluate(op, &constants)?;
            return self.set(op, Value::Constant(value));
        }
        match op.kind() {
            "Conv" => self.convolution(op),
            "BatchNormalization" => self.batch_norm(op),
            "Add" | "Sub" | "Mul" | "Div" => self.arithmetic(op),
            "Relu" => self.clamp(op, Bounds { low: 0.0, ..Bounds::NONE }),
            "Clip" => self.clip(op),
            "Min" | "Max" => self.least_or_most(op),
            "MaxPool" => self.max_pool(op),
            "GlobalAveragePool" | "AveragePool" | "ReduceMean" => self.pool(op),
            "Gemm" | "MatMul" => self.classifier(op),
            "Softmax" | "LogSoftmax" => self.softmax(op),
            "Flatten" | "Reshape" | "Squeeze" => self.flatten(op),
            "Transpose" => self.transpose(op),
            "Pad" => self.pad(op),
            "Slice" => self.slice(op),
            "Split" => self.split(op),
            "Concat" => self.concat(op),
            "Identity" | "Dropout" | "Cast" | "CastLike" => self.same(op),
            "Shape" => self.shape(op),
            _ => misfit("an operation of MobileNetV2, MobileNeXt or ResNet", "another one"),
        }
    }

    fn initializer(&mut self, name: &'a str) -> Result<(), Misfit> {
        if name.is_empty() || self.values.contains_key(name) {
            return Ok(());
        }
        let Some(tensor) = self.initializers.get(name) else {
            return misfit(format!("input `{name}` from an operation before"), "none");
        };
        let constant = Constant::stored(tensor, self.evaluator.folder)?;
        self.values.insert(name, Value::Constant(constant));
        Ok(())
    }

    fn constant_of(&self, name: &str) -> Option<&Constant> {
        match self.values.get(name) {
            Some(Value::Constant(constant)) => Some(constant),
            _ => None,
        }
    }

    /// An input that is known beforehand, if it is given.
    fn constant(&self, op: Operation, index: usize) -> Result<Option<&Constant>, Misfit> {
        match op.input(index) {
            None => Ok(None),
            Some(name) => match self.constant_of(name) {
                Some(constant) => Ok(Some(constant)),
                None => misfit(format!("a constant as input `{name}`"), "a value that is computed"),
            },
        }
    }

    fn known(&self, op: Operation, index: usize) -> Result<&Constant, Misfit> {
        self.constant(op, index)?.map_or_else(|| misfit(format!("input {index}"), "none"), Ok)
    }

    /// Integers that newer versions of an operation take as an input and older ones as an attribute.
    fn ints(&self, op: Operation, name: &str, index: usize) -> Result<Option<Vec<i64>>, Misfit> {
        match op.ints(name) {
            Some(ints) => Ok(Some(ints.to_vec())),
            None => match self.constant(op, index)?.map(Constant::ints) {
                None => Ok(None),
                Some(Some(ints)) => Ok(Some(ints)),
                Some(None) => misfit(format!("{name} that are known"), "others"),
            },
        }
    }

    /// An input of features.
    fn features(&self, op: Operation, index: usize) -> Result<&Features, Misfit> {
        let found = match op.input(index).map(|name| self.values.get(name)) {
            Some(Some(Value::Features(features))) => return Ok(features),
            Some(Some(Value::Constant(_))) => "a constant",
            Some(Some(Value::Sum { .. })) => "a sum of some channels",
            Some(Some(Value::Probabilities)) => "a softmax of the logits",
            Some(None) | None => "none",
        };
        misfit("features as its input", found)
    }

    /// An input of all the features that a step makes, with nothing around them.
    fn whole(&self, op: Operation, index: usize) -> Result<&Features, Misfit> {
        let features = self.features(op, index)?;
        if features.pads != [(0, 0); 2] {
            return misfit("a convolution after the zeros of a Pad", "another operation");
        }
        if features.channels != (0..self.steps[features.step].channels) {
            return misfit("all channels of its input", words::channels(&features.channels));
        }
        Ok(features)
    }

    /// The same of features that were not pooled.
    fn unpooled(&self, op: Operation, index: usize) -> Result<&Features, Misfit> {
        let features = self.whole(op, index)?;
        match self.steps[features.step].what {
            What::Classifier => misfit("the logits as the output", "another operation on them"),
            _ if features.pooled != [false; 2] => misfit("a classifier after the pool", "another operation"),
            _ => Ok(features),
        }
    }

    fn is_shared(&self, name: &str) -> bool {
        self.uses.get(name).is_some_and(|&uses| uses > 1)
    }

    /// What a step makes, under a name.
    fn made(&self, step: usize, axes: Vec<Axis>, name: &str) -> Value {
        let channels = 0..self.steps[step].channels;
        let shared = self.is_shared(name);
        Value::Features(Features { step, axes, channels, pads: [(0, 0); 2], pooled: [false; 2], shared })
    }

    /// The next step, whose output is the operation's.
    fn push(&mut self, op: Operation<'a>, step: Step, axes: Vec<Axis>) -> Result<(), Misfit> {
        if step.channels > self.limits.channels {
            return misfit(format!("at most {} channels", self.limits.channels), step.channels.to_string());
        }
        self.steps.push(step);
        let value = self.made(self.steps.len() - 1, axes, op.node.output.first().map_or("", String::as_str));
        self.set(op, value)
    }

    /// The operation's output is features that were there before.
    fn passed_on(&mut self, op: Operation<'a>, mut features: Features) -> Result<(), Misfit> {
        features.shared |= op.node.output.first().is_some_and(|name| self.is_shared(name));
        self.set(op, Value::Features(features))
    }

    fn set(&mut self, op: Operation<'a>, value: Value) -> Result<(), Misfit> {
        let Some(name) = op.node.output.first() else {
            return misfit("an output", "none");
        };
        self.values.insert(name, value);
        Ok(())
    }

    /// Dropout does nothing when a network is used; another type of floating-point number stands for the same value.
    fn same(&mut self, op: Operation<'a>) -> Result<(), Misfit> {
        if op.kind() == "Cast" && !is_float(op.int("to", 0)) {
            return misfit("a floating-point type", data_type::name(op.int("to", 0)));
        }
        if op.kind() == "Dropout" && self.constant(op, 2)?.and_then(Constant::ints).is_some_and(|on| on != [0]) {
            return misfit("a network to use", "one in training");
        }
        match op.input(0).and_then(|name| self.values.get(name)) {
            Some(Value::Features(features)) => self.passed_on(op, features.clone()),
            Some(value) => {
                let value = value.clone();
                self.set(op, value)
            }
            None => misfit("an input", "none"),
        }
    }

    fn shape(&mut self, op: Operation<'a>) -> Result<(), Misfit> {
        let features = self.whole(op, 0)?;
        let step = &self.steps[features.step];
        let known =
            |size: Option<usize>, otherwise| size.and_then(|n| i64::try_from(n).ok()).map_or(otherwise, Scalar::Int);
        let dim = |axis: &Axis| match axis {
            Picture => known(self.batch, Scalar::Batch),
            Channel => known(Some(step.channels), Scalar::Unknown),
            Row => known(if features.pooled[0] { Some(1) } else { step.size[0] }, Scalar::Unknown),
            Column => known(if features.pooled[1] { Some(1) } else { step.size[1] }, Scalar::Unknown),
        };
        let dims: Vec<_> = features.axes.iter().map(dim).collect();
        self.set(op, Value::Constant(operation::shape(op, &dims)))
    }

    /// Whether a value is the logits.
    fn is_logits(&self, value: Option<&Value>) -> bool {
        matches!(value, Some(Value::Features(features)) if matches!(self.steps[features.step].what, What::Classifier))
    }

    fn finish(self, output: &str) -> Result<Trace, Error> {
        let value = self.values.get(output);
        let softmax = matches!(value, Some(Value::Probabilities));
        let fits = softmax || self.is_logits(value);
        match self.classifier.filter(|_| fits) {
            Some(classifier) => Ok(Trace { steps: self.steps, classifier, softmax }),
            None => Err(graph_error("a classifier that makes the output", "none")),
        }
    }
}
