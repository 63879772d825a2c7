//! Writes networks as ONNX models, in the different ways that exporters have.

use mnx_conv::{BatchNorm, Folded, fold};
use prost::Message;
use prost::bytes::Bytes;

use crate::file::{LayerWeights, write_model};
use crate::onnx::message::{
    Attribute, Dimension, Graph, Model, Node, OperatorSet, Shape, Tensor, TensorType, Type, ValueInfo, data_type,
};
use crate::{Activation, Block, Layer, Limits, Network, PlacedLayer, Spec};

pub(super) const EPS: f32 = 1e-3;

/// How a convolution's zeros are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pads {
    Attribute,
    Node,
    Auto,
}

/// How batch norms are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Norms {
    Folded,
    Kept,
    /// As a product and a sum.
    Apart,
}

/// How activations are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Clamps {
    /// `Relu`, and `Clip` with inputs.
    Inputs,
    /// `Clip` with attributes, as before opset 11.
    Attributes,
    /// `Max` and `Min`.
    Bounds,
}

/// How the pool and the classifier are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Head {
    /// `GlobalAveragePool`, `Flatten`, `Gemm`.
    Gemm,
    /// `ReduceMean` with dimensions kept, a `Reshape` to a shape that is computed, a `MatMul` and an `Add`.
    Computed,
    /// One `ReduceMean` after the other, `MatMul`, `Add`, `Softmax`.
    Twice,
    /// `GlobalAveragePool`, a 1x1 convolution, `Squeeze`.
    Convolution,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) opset: i64,
    pub(super) pads: Pads,
    pub(super) norms: Norms,
    pub(super) clamps: Clamps,
    pub(super) head: Head,
    /// Whether pictures, and sums of some channels, are N x H x W x C.
    pub(super) channels_last: bool,
    /// Whether the size of pictures is left open.
    pub(super) open: bool,
}

pub(super) const PLAIN: Style = Style {
    opset: 17,
    pads: Pads::Attribute,
    norms: Norms::Kept,
    clamps: Clamps::Inputs,
    head: Head::Gemm,
    channels_last: false,
    open: false,
};

pub(super) fn bytes(model: &Model) -> Vec<u8> {
    model.encode_to_vec()
}

pub(super) struct Writer {
    pub(super) graph: Graph,
    style: Style,
    number: u32,
    /// What conversion has to make of the weights.
    expected: Vec<Folded>,
}

/// The network as a model, and as the weight file that has to come of it.
pub(super) fn export(spec: &Spec, style: Style) -> (Model, Vec<u8>) {
    let network = Network::new(spec).unwrap();
    let mut writer = Writer { graph: Graph::default(), style, number: 0, expected: Vec::new() };
    let side = spec.resolution;
    let mut x = writer.input(if style.open { None } else { Some(side) });
    let mut placed = network.place(side, side);
    for block in &network.blocks {
        x = writer.block(spec, block, &mut placed, x);
    }
    let logits = writer.head(network.classifier().unwrap(), x);
    writer.graph.output = vec![ValueInfo { name: logits, r#type: None }];
    let mut expected = writer.expected.into_iter();
    let source = |_: &Layer| {
        let Folded { weight, bias, .. } = expected.next().unwrap();
        LayerWeights { weight, bias }
    };
    let mut file = Vec::new();
    write_model(spec, &Limits::default(), source, &mut file).unwrap();
    (model(writer.graph, style.opset), file)
}

pub(super) fn model(graph: Graph, opset: i64) -> Model {
    let opset_import = vec![OperatorSet { domain: String::new(), version: opset }];
    Model { ir_version: 8, producer_name: "test".into(), graph: Some(graph), opset_import }
}

pub(super) fn pictures(name: &str, dims: [Option<i64>; 4]) -> ValueInfo {
    let dim = dims.iter().map(|&dim_value| Dimension { dim_value }).collect();
    let tensor_type = TensorType { elem_type: data_type::FLOAT, shape: Some(Shape { dim }) };
    ValueInfo { name: name.into(), r#type: Some(Type { tensor_type: Some(tensor_type) }) }
}

pub(super) fn int(name: &str, i: i64) -> Attribute {
    Attribute { name: name.into(), i, ..Attribute::default() }
}

pub(super) fn ints(name: &str, ints: &[i64]) -> Attribute {
    Attribute { name: name.into(), ints: ints.to_vec(), ..Attribute::default() }
}

pub(super) fn float(name: &str, f: f32) -> Attribute {
    Attribute { name: name.into(), f, ..Attribute::default() }
}

pub(super) fn text(name: &str, s: &'static str) -> Attribute {
    Attribute { name: name.into(), s: Bytes::from_static(s.as_bytes()), ..Attribute::default() }
}

pub(super) fn floats(dims: &[usize], values: &[f32]) -> Tensor {
    let raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into();
    let dims = dims.iter().map(|&dim| dim as i64).collect();
    Tensor { dims, data_type: data_type::FLOAT, raw_data, ..Tensor::default() }
}

pub(super) fn integers(values: &[i64]) -> Tensor {
    let raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into();
    Tensor { dims: vec![values.len() as i64], data_type: data_type::INT64, raw_data, ..Tensor::default() }
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| v.into()).collect()
}

impl Writer {
    fn input(&mut self, side: Option<usize>) -> String {
        let side = side.map(|side| side as i64);
        let channels_last = self.style.channels_last;
        let dims = if channels_last { [None, side, side, Some(3)] } else { [None, Some(3), side, side] };
        self.graph.input.push(pictures("x", dims));
        if channels_last { self.node("Transpose", &["x"], &[ints("perm", &[0, 3, 1, 2])]) } else { "x".into() }
    }

    /// The name of the output of a new operation.
    pub(super) fn node(&mut self, op: &str, inputs: &[&str], attributes: &[Attribute]) -> String {
        let output = format!("v{}", self.graph.node.len());
        self.graph.node.push(Node {
            input: inputs.iter().map(ToString::to_string).collect(),
            output: vec![output.clone()],
            name: format!("n{}", self.graph.node.len()),
            op_type: op.into(),
            attribute: attributes.to_vec(),
            domain: String::new(),
        });
        output
    }

    /// The name of a new initializer.
    pub(super) fn constant(&mut self, tensor: Tensor) -> String {
        let name = format!("c{}", self.graph.initializer.len());
        self.graph.initializer.push(Tensor { name: name.clone(), ..tensor });
        name
    }

    /// Values between 0.25 and 1.25, or those less 0.75 where their sums must not grow.
    fn values(&mut self, count: usize, shift: f32) -> Vec<f32> {
        let mut next = || {
            self.number = (self.number * 37 + 11) % 256;
            self.number as f32 / 256.0 + 0.25 - shift
        };
        (0..count).map(|_| next()).collect()
    }

    fn block<'n>(
        &mut self,
        spec: &Spec,
        block: &Block,
        placed: &mut impl Iterator<Item = PlacedLayer<'n>>,
        start: String,
    ) -> String {
        let mut x = start.clone();
        for layer in &block.layers {
            x = self.convolution(spec, layer, placed.next().unwrap().input, &x);
        }
        if block.identity_channels == 0 && block.projection.is_none() {
            return self.max_pool(block, x);
        }
        let mut other = start;
        if let Some(layer) = &block.projection {
            other = self.convolution(spec, layer, placed.next().unwrap().input, &other);
        }
        let all = block.layers.last().unwrap().cout;
        x = if block.identity_channels < all {
            self.partly(x, other, block.identity_channels, all)
        } else {
            self.node("Add", &[&other, &x], &[])
        };
        self.activation(block.activation, x)
    }

    fn max_pool(&mut self, block: &Block, x: String) -> String {
        if !block.max_pool {
            return x;
        }
        let window = [ints("kernel_shape", &[3, 3]), ints("strides", &[2, 2]), ints("pads", &[1, 1, 1, 1])];
        self.node("MaxPool", &[&x], &window)
    }

    /// A sum of the first channels: by `Slice` where channels are last, else by `Split`.
    fn partly(&mut self, x: String, other: String, covered: usize, all: usize) -> String {
        let (covered, all) = (covered as i64, all as i64);
        if !self.style.channels_last {
            let lengths = self.constant(integers(&[covered, all - covered]));
            let [rest, _] = [&x, &other].map(|value| {
                let first = self.node("Split", &[value, &lengths], &[int("axis", 1)]);
                let rest = format!("{first}-rest");
                self.graph.node.last_mut().unwrap().output.push(rest.clone());
                rest
            });
            let [a, b] = [2, 1].map(|back| self.graph.node[self.graph.node.len() - back].output[0].clone());
            let sum = self.node("Add", &[&a, &b], &[]);
            return self.node("Concat", &[&sum, &rest], &[int("axis", 1)]);
        }
        let last = [ints("perm", &[0, 2, 3, 1])];
        let [x, other] = [x, other].map(|value| self.node("Transpose", &[&value], &last));
        let (zero, end, most) = (integers(&[0]), integers(&[covered]), integers(&[i64::MAX]));
        let [zero, end, most] = [zero, end, most].map(|tensor| self.constant(tensor));
        let axis = self.constant(integers(&[-1]));
        let [a, b] = [&x, &other].map(|value| self.node("Slice", &[value, &zero, &end, &axis], &[]));
        let sum = self.node("Add", &[&a, &b], &[]);
        let rest = self.node("Slice", &[&x, &end, &most, &axis], &[]);
        let all = self.node("Concat", &[&sum, &rest], &[int("axis", 3)]);
        self.node("Transpose", &[&all], &[ints("perm", &[0, 3, 1, 2])])
    }

    fn convolution(&mut self, spec: &Spec, layer: &Layer, size: (usize, usize), x: &str) -> String {
        let dims = layer.weight_dims();
        let (kernel, stride) = (dims[2], layer.stride as i64);
        let (before, after) = spec.padding.of(kernel, size.0, layer.stride);
        let (before, after) = (before as i64, after as i64);
        let groups = if dims[1] == 1 && layer.cin > 1 { layer.cin } else { 1 };
        let mut attributes = vec![ints("strides", &[stride, stride]), int("group", groups as i64)];
        let mut x = x.to_string();
        match self.style.pads {
            Pads::Attribute => attributes.push(ints("pads", &[before, before, after, after])),
            Pads::Auto => attributes.push(text("auto_pad", "SAME_UPPER")),
            Pads::Node if kernel == 1 => (),
            Pads::Node => {
                let pads = self.constant(integers(&[0, 0, before, before, 0, 0, after, after]));
                x = self.node("Pad", &[&x, &pads], &[]);
            }
        }
        let weight = self.values(dims.iter().product(), 0.75);
        let [gamma, var] = [(); 2].map(|()| self.values(layer.cout, 0.0));
        let [beta, mean] = [(); 2].map(|()| self.values(layer.cout, 0.75));
        let [g, b, m, v] = [&gamma, &beta, &mean, &var].map(|values| wide(values));
        // The epsilon that was meant, not its nearest f32.
        let norm = BatchNorm { gamma: &g, beta: &b, mean: &m, var: &v, eps: 1e-3 };
        let channels = [layer.cout];
        let x = match self.style.norms {
            Norms::Folded => {
                let folded = fold(&wide(&weight), None, Some(&norm)).unwrap();
                let stored = self.constant(floats(&dims, &folded.weight));
                let bias = self.constant(floats(&channels, &folded.bias));
                self.expected.push(folded);
                self.node("Conv", &[&x, &stored, &bias], &attributes)
            }
            Norms::Kept => {
                self.expected.push(fold(&wide(&weight), None, Some(&norm)).unwrap());
                let stored = self.constant(floats(&dims, &weight));
                let x = self.node("Conv", &[&x, &stored], &attributes);
                let parts = [&gamma, &beta, &mean, &var].map(|values| self.constant(floats(&channels, values)));
                let inputs = [x.as_str(), &parts[0], &parts[1], &parts[2], &parts[3]];
                self.node("BatchNormalization", &inputs, &[float("epsilon", EPS)])
            }
            Norms::Apart => {
                let (zero, one) = (vec![0.0; layer.cout], vec![1.0; layer.cout]);
                let apart = BatchNorm { mean: &zero, var: &one, eps: 0.0, ..norm };
                self.expected.push(fold(&wide(&weight), None, Some(&apart)).unwrap());
                let stored = self.constant(floats(&dims, &weight));
                let x = self.node("Conv", &[&x, &stored], &attributes);
                let scale = self.constant(floats(&[1, layer.cout, 1, 1], &gamma));
                let x = self.node("Mul", &[&scale, &x], &[]);
                let shift = self.constant(floats(&[layer.cout, 1, 1], &beta));
                self.node("Add", &[&x, &shift], &[])
            }
        };
        self.activation(layer.activation, x)
    }

    fn activation(&mut self, activation: Activation, x: String) -> String {
        let six = || floats(&[], &[6.0]);
        match (activation, self.style.clamps) {
            (Activation::Linear, _) => x,
            (Activation::Relu, Clamps::Bounds) => {
                let zero = self.constant(floats(&[], &[0.0]));
                self.node("Max", &[&x, &zero], &[])
            }
            (Activation::Relu, _) => self.node("Relu", &[&x], &[]),
            (Activation::Relu6, Clamps::Inputs) => {
                let value = Attribute { name: "value".into(), t: Some(floats(&[], &[0.0])), ..Attribute::default() };
                let zero = self.node("Constant", &[], &[value]);
                let six = self.constant(six());
                self.node("Clip", &[&x, &zero, &six], &[])
            }
            (Activation::Relu6, Clamps::Attributes) => {
                self.node("Clip", &[&x], &[float("min", 0.0), float("max", 6.0)])
            }
            (Activation::Relu6, Clamps::Bounds) => {
                let six = self.constant(six());
                let x = self.node("Min", &[&six, &x], &[]);
                self.node("Relu", &[&x], &[])
            }
        }
    }

    fn head(&mut self, layer: &Layer, x: String) -> String {
        let (classes, features) = (layer.cout, layer.cin);
        let weight = self.values(classes * features, 0.75);
        let bias = self.values(classes, 0.75);
        self.expected.push(fold(&wide(&weight), Some(&wide(&bias)), None).unwrap());
        let turned: Vec<f32> = (0..features).flat_map(|f| weight[f..].iter().step_by(features).copied()).collect();
        let bias = self.constant(floats(&[classes], &bias));
        match self.style.head {
            Head::Gemm => {
                let pooled = self.node("GlobalAveragePool", &[&x], &[]);
                let flat = self.node("Flatten", &[&pooled], &[]);
                let weight = self.constant(floats(&[classes, features], &weight));
                self.node("Gemm", &[&flat, &weight, &bias], &[int("transB", 1)])
            }
            Head::Computed => {
                let axes = self.constant(integers(&[-1, -2]));
                let pooled = self.node("ReduceMean", &[&x, &axes], &[]);
                let dims = self.node("Shape", &[&pooled], &[]);
                let (first, rest) = (self.constant(integers(&[0])), self.constant(integers(&[-1])));
                let batch = self.node("Gather", &[&dims, &first], &[]);
                let shape = self.node("Concat", &[&batch, &rest], &[int("axis", 0)]);
                let flat = self.node("Reshape", &[&pooled, &shape], &[]);
                let weight = self.constant(floats(&[features, classes], &turned));
                let product = self.node("MatMul", &[&flat, &weight], &[]);
                self.node("Add", &[&bias, &product], &[])
            }
            Head::Twice => {
                let rows = self.node("ReduceMean", &[&x], &[ints("axes", &[3]), int("keepdims", 0)]);
                let pooled = self.node("ReduceMean", &[&rows], &[ints("axes", &[2]), int("keepdims", 0)]);
                let weight = self.constant(floats(&[features, classes], &turned));
                let product = self.node("MatMul", &[&pooled, &weight], &[]);
                let logits = self.node("Add", &[&product, &bias], &[]);
                self.node("Softmax", &[&logits], &[int("axis", 1)])
            }
            Head::Convolution => {
                let pooled = self.node("GlobalAveragePool", &[&x], &[]);
                let weight = self.constant(floats(&[classes, features, 1, 1], &weight));
                let logits = self.node("Conv", &[&pooled, &weight, &bias], &[]);
                self.node("Squeeze", &[&logits], &[ints("axes", &[2, 3])])
            }
        }
    }
}
