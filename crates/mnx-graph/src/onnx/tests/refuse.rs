//! What is refused, and in which words.

use super::write::{PLAIN, Style, export, floats, int, integers, ints, model, pictures};
use super::{find, node, read, set, tables};
use crate::onnx::constant::{Constant, Scalar};
use crate::onnx::message::{Attribute, Graph, Node, Tensor, ValueInfo, data_type};
use crate::onnx::operation::{Evaluator, Operation};
use crate::{Error, OnnxError};

/// What is said of a small network in which one thing is changed.
fn changed(change: impl FnOnce(&mut Graph)) -> String {
    let (mut file, _) = export(&tables()[0], Style { open: true, ..PLAIN });
    change(file.graph.as_mut().unwrap());
    let message = read(&file).unwrap_err().to_string();
    message.strip_prefix("ONNX: ").unwrap_or(&message).to_owned()
}

/// Operations take another value in place of one.
fn instead(nodes: &mut [Node], of: &str, value: &str) {
    let inputs = nodes.iter_mut().flat_map(|node| &mut node.input);
    inputs.filter(|name| *name == of).for_each(|name| value.clone_into(name));
}

#[test]
fn operations_of_other_networks_are_refused_by_name() {
    let others = "expected an operation of MobileNetV2, MobileNeXt or ResNet, found another one";
    for op in ["HardSwish", "LSTM", "PRelu", "LeakyRelu", "Elu", "Erf", "LRN", "Upsample", "ConvTranspose", "If"] {
        assert_eq!(
            changed(|graph| find(graph, "Clip").op_type = op.into()),
            format!("operation 3, {op} `n3`: {others}")
        );
    }
    let silu = changed(|graph| {
        let (x, y) = (graph.node[3].input[0].clone(), graph.node[3].output[0].clone());
        graph.node[3] = node("Mul", &[&x, "s"], &y);
        graph.node.insert(3, node("Sigmoid", &[&x], "s"));
    });
    assert_eq!(silu, format!("operation 3, Sigmoid `new Sigmoid`: {others}"));
    let contributed = changed(|graph| find(graph, "Clip").domain = "org.pytorch.aten".into());
    assert_eq!(contributed, "operation 3, Clip `n3`: expected ONNX's own operations, found one of `org.pytorch.aten`");
}

/// Whatever their inputs are: those of quantised graphs are of types that no other graph has.
#[test]
fn graphs_that_were_made_of_others_are_told() {
    let told = |op: &str, domain: &str| {
        changed(|graph| {
            let raw_data = vec![0; 16].into();
            let bytes = Tensor { name: "q".into(), dims: vec![16], data_type: 3, raw_data, ..Tensor::default() };
            graph.initializer.push(bytes);
            let operation = Node { domain: domain.into(), ..node(op, &["x", "q"], "made") };
            instead(&mut graph.node, "x", "made");
            graph.node.insert(0, operation);
        })
    };
    let quantised = "expected floating-point operations, found a quantised graph: convert the f32 model, then `mnx-infer quantize` what comes of it";
    for op in
        ["QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger"]
    {
        assert_eq!(told(op, ""), format!("operation 0, {op} `new {op}`: {quantised}"));
    }
    assert_eq!(told("QLinearAdd", "com.microsoft"), format!("operation 0, QLinearAdd `new QLinearAdd`: {quantised}"));
    for domain in ["com.microsoft", "com.microsoft.nchwc"] {
        let expected = format!(
            "operation 0, FusedConv `new FusedConv`: expected ONNX's own operations, found one of `{domain}`, of a graph that \
             ONNX Runtime optimised: convert the model from before, or save it with basic optimisation"
        );
        assert_eq!(told("FusedConv", domain), expected);
    }
}

/// `Debug` of Rust's is for no reader of messages.
#[test]
fn what_is_there_is_said_as_onnx_says_it() {
    let pool = |attributes: &[Attribute]| {
        let (mut file, _) = export(&tables()[4], PLAIN);
        let pool = find(file.graph.as_mut().unwrap(), "MaxPool");
        attributes.iter().for_each(|attribute| set(pool, attribute.clone()));
        let message = read(&file).unwrap_err().to_string();
        message.rsplit_once(": ").unwrap().1.to_owned()
    };
    let expected = "expected a max pool of 3x3, stride 2, pads 1, without ceil_mode, found";
    assert_eq!(pool(&[int("ceil_mode", 1)]), format!("{expected} 3x3, stride 2, pads 1, ceil_mode"));
    let open = pool(&[ints("pads", &[0, 0, 1, 1])]);
    assert_eq!(open, format!("{expected} 3x3, stride 2, pads 0 and 1 along height, 0 and 1 along width"));
    let bad = pool(&[ints("strides", &[2])]);
    assert_eq!(bad, "expected kernel and strides along height and width, found [3, 3] and [2]");

    let average = changed(|graph| {
        let pool = find(graph, "GlobalAveragePool");
        pool.op_type = "AveragePool".into();
        set(pool, ints("kernel_shape", &[7, 7]));
    });
    assert!(average.ends_with("expected a pool of all rows and columns, ? x ?, found [7, 7]"), "{average}");
    let integers = changed(|graph| {
        graph.input[0].r#type.as_mut().unwrap().tensor_type.as_mut().unwrap().elem_type = 2;
    });
    let expected = "expected input `x` of N x 3 x H x W or N x H x W x 3, floating-point numbers, found uint8: ";
    assert_eq!(integers, format!("{expected}export the model for them, and leave their scaling to the preprocessing"));
    let text = changed(|graph| graph.initializer[0].data_type = 8);
    assert_eq!(text, "operation 0, Conv `n0`: expected tensor `c0` of a floating-point type, found string");
}

/// A stage table rounds its channels, so that no table makes such a graph.
#[test]
fn channels_that_no_table_has_are_told() {
    let narrow = |graph: &mut Graph| {
        let names: Vec<_> = graph.node[..8].iter().flat_map(|node| node.input.clone()).collect();
        for tensor in graph
            .initializer
            .iter_mut()
            .filter(|tensor| names.contains(&tensor.name) && tensor.dims.first() == Some(&16))
        {
            tensor.raw_data.truncate(tensor.raw_data.len() / 16 * 12);
            tensor.dims[0] = 12;
        }
        set(&mut graph.node[4], int("group", 12));
        let name = graph.node[8].input[1].clone();
        let weight = graph.initializer.iter_mut().find(|tensor| tensor.name == name).unwrap();
        assert_eq!(weight.dims, [8, 16, 1, 1]);
        weight.raw_data.truncate(weight.raw_data.len() / 16 * 12);
        weight.dims[1] = 12;
    };
    let expected = "expected channels that are a multiple of 8, as a stage table has them, found a 3x3 convolution, 3 to 12 channels, stride 2, ReLU6";
    assert_eq!(changed(narrow), format!("operation 0, Conv `n0`: {expected}"));
}

#[test]
fn convolutions_of_other_networks_are_refused_by_name() {
    let first = |attribute: Attribute| changed(|graph| set(find(graph, "Conv"), attribute));
    let conv = "operation 0, Conv `n0`: expected ";
    let cases = [
        (ints("dilations", &[2, 2]), "no dilation, found [2, 2]"),
        (ints("strides", &[3, 3]), "stride 1 or 2, found 3 and 3"),
        (ints("strides", &[1, 2]), "stride 1 or 2, found 1 and 2"),
        (int("group", 2), "1 group, or one for each of 3 channels, found 2 groups, weight [16, 3, 3, 3]"),
        (ints("pads", &[1, 1]), "four pads, found 2"),
        (ints("pads", &[-1, 1, 1, 1]), "0 to 3 zeros on a side, found -1 and 1"),
        (
            ints("pads", &[0, 0, 0, 0]),
            "zeros on all sides, as PyTorch or TensorFlow's SAME puts them, found 0 and 0 along height, 0 and 0 along width",
        ),
    ];
    for (attribute, expected) in cases {
        assert_eq!(first(attribute), format!("{conv}{expected}"));
    }
    let large = changed(|graph| {
        let tensor = graph.initializer.iter_mut().find(|tensor| tensor.name == graph.node[4].input[1]).unwrap();
        *tensor = Tensor { name: tensor.name.clone(), ..floats(&[16, 1, 5, 5], &[0.0; 16 * 25]) };
        set(&mut graph.node[4], ints("pads", &[2, 2, 2, 2]));
    });
    assert_eq!(large, "operation 4, Conv `n4`: expected a kernel of 1x1, 3x3 or 7x7, found 5x5");
    let third = changed(|graph| set(&mut graph.node[14], ints("pads", &[0, 0, 1, 1])));
    let expected = "as many zeros on each side, as PyTorch puts them, found 0 and 1 along height, 0 and 1 along width";
    assert_eq!(third, format!("operation 14, Conv `n14`: expected {expected}"));
    // An activation that belongs to no layer here, and one that is missing: no block begins so.
    let linear = changed(|graph| {
        let (x, y) = (graph.node[7].input[0].clone(), graph.node[7].output[0].clone());
        instead(&mut graph.node, &y, &x);
    });
    assert!(linear.starts_with("operation 4, Conv `n4`: expected "), "{linear}");
    assert!(linear.ends_with("found a depthwise 3x3 convolution, 16 to 16 channels, stride 1"), "{linear}");
}

#[test]
fn what_goes_other_ways_than_networks_do_is_refused_by_name() {
    // A squeeze-and-excite: the last features are pooled and scaled.
    let squeeze = changed(|graph| {
        let clip = graph.node.iter().rposition(|node| node.op_type == "Clip").unwrap();
        let x = graph.node[clip].output[0].clone();
        instead(&mut graph.node, &x, "scaled");
        graph.node.insert(clip + 1, node("GlobalAveragePool", &[&x], "pooled"));
        graph.node.insert(clip + 2, node("Mul", &[&x, "pooled"], "scaled"));
    });
    let expected = "expected one pool, of the last features, found features that another operation takes, too";
    assert_eq!(squeeze, format!("operation 46, GlobalAveragePool `new GlobalAveragePool`: {expected}"));
    let training = changed(|graph| set(find(graph, "BatchNormalization"), int("training_mode", 1)));
    assert_eq!(training, "operation 1, BatchNormalization `n1`: expected a network to use, found one in training");
    let nowhere = changed(|graph| find(graph, "Clip").input[0] = "nowhere".into());
    assert_eq!(nowhere, "operation 3, Clip `n3`: expected input `nowhere` from an operation before, found none");
    let clamped = changed(|graph| {
        let six = graph.node[3].input[2].clone();
        let tensor = graph.initializer.iter_mut().find(|tensor| tensor.name == six).unwrap();
        *tensor = Tensor { name: six, ..floats(&[], &[5.0]) };
    });
    assert!(clamped.ends_with("found a 3x3 convolution, 3 to 16 channels, stride 2, clamped otherwise"), "{clamped}");

    let last = |operation: Node, attribute: Attribute| {
        changed(|graph| {
            let logits = std::mem::replace(&mut graph.output[0].name, operation.output[0].clone());
            graph.node.push(Node { input: vec![logits], attribute: vec![attribute], ..operation });
        })
    };
    let relu = last(node("Relu", &[], "y"), int("none", 0));
    assert_eq!(
        relu,
        "operation 49, Relu `new Relu`: expected the logits as the output, found another operation on them"
    );
    let softmax = last(node("Softmax", &[], "y"), int("axis", 0));
    assert_eq!(softmax, "operation 49, Softmax `new Softmax`: expected a softmax over the classes, found over axis 0");
    let best = last(node("ArgMax", &[], "y"), int("axis", 1));
    assert!(best.starts_with("operation 49, ArgMax `new ArgMax`: expected an operation of "), "{best}");
}

#[test]
fn inputs_and_outputs_of_other_networks_are_refused() {
    let outputs = changed(|graph| graph.output.push(graph.output[0].clone()));
    assert_eq!(outputs, "expected one output, the logits, found 2: `v48`, `v48`");
    let inputs = changed(|graph| graph.input.push(pictures("z", [None; 4])));
    assert_eq!(inputs, "expected one input, pictures, found 2: `x`, `z`");
    let grey = changed(|graph| graph.input[0] = pictures("x", [None, Some(1), None, None]));
    assert_eq!(grey, "expected input `x` of N x 3 x H x W or N x H x W x 3, found ? x 1 x ? x ?");
    let scaled = changed(|graph| {
        instead(&mut graph.node, "x", "scaled");
        graph.initializer.push(Tensor { name: "by".into(), ..floats(&[], &[1.0 / 255.0]) });
        graph.node.insert(0, node("Mul", &["x", "by"], "scaled"));
    });
    let expected = "a convolution first: pixels are scaled before the network, as the spec's preprocessing says";
    assert_eq!(scaled, format!("operation 0, Mul `new Mul`: expected {expected}, found a change of the input"));
}

/// Names can be of any length, and have anything in them.
#[test]
fn messages_stay_short_and_on_their_line() {
    let message = changed(|graph| {
        graph.node[3].name = "a\nb".repeat(1000);
        graph.node[3].op_type = "LSTM".into();
    });
    assert!(message.starts_with("operation 3, LSTM `a\\nba\\nb"), "{message}");
    let long = || "a\nb".repeat(1000);
    let messages = [
        message,
        changed(|graph| graph.output.push(ValueInfo { name: long(), r#type: None })),
        changed(|graph| graph.input.push(pictures(&long(), [None; 4]))),
        changed(|graph| graph.input[0] = pictures(&long(), [None, Some(1), None, None])),
    ];
    let (mut file, _) = export(&tables()[0], PLAIN);
    let graph = file.graph.as_mut().unwrap();
    graph.node[0].name = long();
    graph.initializer[0].raw_data = graph.initializer[0].raw_data.iter().map(|_| 0xff).collect::<Vec<_>>().into();
    let onnx = read(&file).unwrap();
    let message = onnx.convert(onnx.spec()).unwrap_err().to_string();
    assert!(message.starts_with("tensor of ONNX operation 0, Conv `a\\nba\\nb"), "{message}");
    for message in messages.into_iter().chain([message]) {
        assert!(!message.contains('\n') && message.chars().count() < 1000, "{message}");
    }
}

/// Small files that would take much memory.
#[test]
fn limits_come_before_memory() {
    let graph = Graph { node: vec![Node::default(); 2_000_000], ..Graph::default() };
    let error = read(&model(graph, 17)).unwrap_err();
    assert!(matches!(error, Error::Limit { limit, .. } if limit == 256 << 20), "{error}");
    let graph =
        Graph { node: vec![Node::default(); 20_001], output: vec![pictures("y", [None; 4])], ..Graph::default() };
    assert!(matches!(read(&model(graph, 17)).unwrap_err(), Error::Limit { limit: 20_000, .. }));

    let large = |dims: &[i64], op: &str| {
        let (mut file, _) = export(&tables()[0], PLAIN);
        let graph = file.graph.as_mut().unwrap();
        let shape = Tensor { name: "shape".into(), ..integers(dims) };
        graph.initializer.push(shape);
        graph.initializer.push(Tensor { name: "one".into(), ..floats(&[1], &[1.0]) });
        let input = if op == "Expand" { vec!["one".into(), "shape".into()] } else { vec!["shape".into()] };
        graph.node.insert(0, Node { input, output: vec!["large".into()], op_type: op.into(), ..Node::default() });
        find(graph, "Conv").input.push("large".into());
        read(&file).unwrap_err()
    };
    for op in ["Expand", "ConstantOfShape"] {
        for dims in [&[1 << 40][..], &[1 << 31, 1 << 31], &[i64::MAX, 2], &[-1], &[1 << 23]] {
            let error = large(dims, op);
            assert!(matches!(error, Error::Onnx(OnnxError::Operation { index: 0, .. })), "{op} {dims:?}: {error}");
        }
    }
    let (mut file, _) = export(&tables()[0], PLAIN);
    file.graph.as_mut().unwrap().initializer[0].dims = vec![1 << 31, 1 << 31, 3, 3];
    assert!(matches!(read(&file).unwrap_err(), Error::Onnx(OnnxError::Operation { .. })));
    file.graph.as_mut().unwrap().initializer[0].dims = vec![-1, 3, 3, 3];
    assert!(matches!(read(&file).unwrap_err(), Error::Onnx(OnnxError::Operation { .. })));
}

/// Before opset 10 everything is an attribute.
#[test]
fn slices_of_constants_are_of_rows() {
    let (evaluator, matrix) = (Evaluator::new(None), Constant::small(vec![2, 3], (0..6).map(Scalar::Int).collect()));
    let sliced = |starts: &[i64], ends: &[i64], axes: &[i64]| {
        let mut slice = node("Slice", &["x"], "y");
        for (name, values) in [("starts", starts), ("ends", ends), ("axes", axes)] {
            set(&mut slice, ints(name, values));
        }
        let value = evaluator.evaluate(Operation { index: 0, node: &slice }, &[Some(&matrix)]);
        value.ok().and_then(|value| value.ints())
    };
    assert_eq!(sliced(&[1], &[2], &[0]), Some(vec![3, 4, 5]));
    assert_eq!(sliced(&[1], &[2], &[1]), None);
    assert_eq!(sliced(&[1, 1], &[2, 2], &[0, 1]), None);
}

/// Weights of 16 bits behind a cast, as exporters write them, are more than may be computed.
#[test]
fn constants_that_are_passed_on_are_not_computed() {
    let dims = [1 << 11, 1 << 10];
    let float16 = Tensor { data_type: data_type::FLOAT16, raw_data: vec![0; 1 << 22].into(), ..floats(&dims, &[]) };
    let stored = Constant::stored(&float16, None).unwrap();
    let shape = Constant::small(vec![1], vec![Scalar::Int(-1)]);
    let evaluator = Evaluator::new(None);
    let evaluate = |op: &str, inputs: &[Option<&Constant>], to: i64| {
        let mut node = node(op, &["x"], "y");
        set(&mut node, int("to", to));
        evaluator.evaluate(Operation { index: 0, node: &node }, inputs)
    };
    for _ in 0..100 {
        let value = evaluate("Cast", &[Some(&stored)], data_type::FLOAT.into()).unwrap();
        let value = evaluate("Reshape", &[Some(&value), Some(&shape)], 0).unwrap();
        assert_eq!(evaluate("Identity", &[Some(&value)], 0).unwrap().dims, [1 << 21]);
    }
    let integers = |_| evaluate("Cast", &[Some(&stored)], data_type::INT64.into());
    assert_eq!((0..100).map_while(|i| integers(i).ok()).count(), 2, "these are computed");
}
