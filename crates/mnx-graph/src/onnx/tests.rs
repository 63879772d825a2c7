use proptest::prelude::*;
use prost::Message;

use super::Onnx;
use super::message::{Attribute, Entry, Graph, Model as File, Node, Tensor};
use crate::{Error, Model, OnnxError, Padding, Spec, families};

mod order;
mod refuse;
mod write;

use write::{Clamps, Head, Norms, PLAIN, Pads, Style, bytes, export, float, int, integers, ints};

fn spec(family: &str, width: f64, identity: f64, resolution: usize) -> Spec {
    let mut spec = Spec { width, identity, classes: 3, ..Spec::family(family).unwrap() };
    spec.set_resolution(resolution);
    spec
}

/// Blocks of every kind, as stage tables of their own.
fn tables() -> Vec<Spec> {
    let table = |stem: &str, stages: &str, rest: &str| {
        let text = format!(r#"{{"stem": {stem}, "stages": [{stages}], {rest} "resolution": 32, "classes": 3}}"#);
        Spec::from_json(&text).unwrap()
    };
    let stage = |block: &str, ratio: usize, channels: usize, repeats: usize, stride: usize| {
        format!(
            r#"{{"block": "{block}", "ratio": {ratio}, "channels": {channels}, "repeats": {repeats}, "stride": {stride}}}"#
        )
    };
    let (small, large) =
        (r#"{"channels": 16, "stride": 2}"#, r#"{"channels": 8, "stride": 2, "kernel": 7, "max_pool": true}"#);
    let inverted = |ratio, channels, repeats, stride| stage("inverted_residual", ratio, channels, repeats, stride);
    let sandglass = |ratio, channels, repeats, stride| stage("sandglass", ratio, channels, repeats, stride);
    let bottleneck = |ratio, channels, repeats, stride| stage("bottleneck", ratio, channels, repeats, stride);
    let basic = |channels, repeats, stride| stage("basic", 1, channels, repeats, stride);
    vec![
        table(small, &[inverted(1, 8, 1, 1), inverted(6, 16, 2, 2), inverted(3, 16, 1, 1)].join(","), r#""head": 40,"#),
        table(r#"{"channels": 16, "stride": 1}"#, &inverted(4, 16, 2, 1), r#""activation": "relu","#),
        // Ratio 2, alone, a change of channels at both strides, shortcuts.
        table(
            small,
            &[sandglass(2, 24, 1, 2), sandglass(6, 40, 1, 1), sandglass(6, 48, 3, 1), sandglass(6, 64, 2, 2)].join(","),
            r#""identity": 0.3,"#,
        ),
        // Equal channels take a stage its stride.
        table(small, &[sandglass(4, 16, 1, 2), sandglass(6, 24, 2, 2)].join(","), ""),
        table(large, &[basic(8, 2, 1), basic(24, 2, 2)].join(","), r#""activation": "relu","#),
        table(large, &[bottleneck(4, 32, 2, 1), bottleneck(4, 64, 2, 2)].join(","), r#""activation": "relu","#),
        table(small, &[basic(16, 1, 1), bottleneck(2, 32, 1, 2)].join(","), r#""activation": "relu6","#),
    ]
}

fn styles() -> Vec<Style> {
    let mut styles = Vec::new();
    for norms in [Norms::Kept, Norms::Folded, Norms::Apart] {
        styles.push(Style { norms, ..PLAIN });
    }
    for pads in [Pads::Node, Pads::Auto] {
        styles.push(Style { pads, ..PLAIN });
    }
    for clamps in [Clamps::Attributes, Clamps::Bounds] {
        styles.push(Style { clamps, opset: 9, ..PLAIN });
    }
    for head in [Head::Computed, Head::Twice, Head::Convolution] {
        styles.push(Style { head, opset: 12, ..PLAIN });
        styles.push(Style { head, open: true, channels_last: true, ..PLAIN });
    }
    styles
}

/// The padding that fits a way of writing it: SAME is PyTorch's on odd sizes only, and what is left open shows by its
/// operations alone.
fn fitted(spec: &Spec, style: Style) -> Spec {
    let mut spec = spec.clone();
    if style.pads == Pads::Auto {
        spec.padding = Padding::Tf;
    }
    spec
}

fn read(file: &File) -> Result<Onnx, Error> {
    Onnx::from_bytes(bytes(file))
}

/// The spec is found again but for what the graph does not tell, and the weight file's bytes are right.
fn check(spec: &Spec, style: Style) {
    let (file, expected) = export(spec, style);
    let onnx = read(&file).unwrap_or_else(|e| panic!("{style:?} {spec:?}: {e}"));
    let found = onnx.spec();
    assert_eq!(found.family, spec.family);
    assert_eq!((found.width, found.identity, found.classes), (spec.width, spec.identity, spec.classes), "{style:?}");
    assert_eq!((found.padding, found.activation), (spec.padding, spec.activation), "{style:?}");
    let size = if style.open { None } else { Some(spec.resolution) };
    assert_eq!(onnx.input_size(), [size; 2]);
    assert!(style.open || found.resolution == spec.resolution);
    assert_eq!(onnx.has_softmax(), style.head == Head::Twice);
    assert!(onnx.convert(spec).unwrap().file == expected, "{style:?} {}: other bytes", spec.family);
}

#[test]
fn every_family_is_found_at_its_widths() {
    for family in families().filter(|family| !family.starts_with("ssdlite")) {
        let widths: &[f64] = match family {
            _ if family.starts_with("resnet") => &[],
            _ if family.starts_with("mobilenext") => &[0.1, 0.13, 0.35, 0.5],
            _ => &[0.1, 0.35, 0.75],
        };
        for &width in widths {
            check(&spec(family, width, 1.0, 32), PLAIN);
        }
    }
    check(&spec("resnet18", 1.0, 1.0, 32), Style { norms: Norms::Folded, ..PLAIN });
}

#[test]
fn identity_tensor_multipliers_are_found() {
    for identity in [0.0, 0.125, 0.25, 0.3, 0.5, 0.75, 0.9] {
        for (family, channels_last) in [("mobilenext", false), ("mobilenext-cifar", true)] {
            check(&spec(family, 0.1, identity, 32), Style { channels_last, ..PLAIN });
        }
    }
}

#[test]
fn every_way_of_writing_gives_the_same_network() {
    for style in styles() {
        check(&fitted(&spec("mobilenetv2", 0.1, 1.0, 64), style), style);
        check(&fitted(&spec("mobilenext", 0.1, 0.5, 64), style), style);
    }
}

/// What is made of a table need not be the table, but makes the same network.
#[test]
fn networks_of_no_family_have_stage_tables_of_their_own() {
    for spec in tables() {
        for style in [PLAIN, Style { norms: Norms::Folded, head: Head::Computed, open: true, ..PLAIN }] {
            let (file, expected) = export(&spec, style);
            let onnx = read(&file).unwrap_or_else(|e| panic!("{spec:?}: {e}"));
            assert_eq!((onnx.spec().family.as_str(), onnx.spec().identity), ("custom", spec.identity));
            let found = Model::from_bytes(onnx.convert(onnx.spec()).unwrap().file).unwrap();
            let expected = Model::from_bytes(expected).unwrap();
            let shapes = |model: &Model| {
                let blocks = model.network().blocks.iter();
                let parts = |b: &crate::Block| (b.identity_channels, b.activation, b.max_pool);
                blocks.map(parts).collect::<Vec<_>>()
            };
            assert_eq!(shapes(&found), shapes(&expected), "{spec:?}");
            for (i, (a, b)) in found.network().layers().zip(expected.network().layers()).enumerate() {
                assert_eq!(
                    (a.kind, a.cin, a.cout, a.stride, a.activation),
                    (b.kind, b.cin, b.cout, b.stride, b.activation)
                );
                assert!(found.weights(i).unwrap() == expected.weights(i).unwrap());
            }
        }
    }
}

#[test]
fn padding_is_read_off_the_graph() {
    for (padding, pads, open, expected) in [
        (Padding::Torch, Pads::Attribute, false, Padding::Torch),
        (Padding::Tf, Pads::Attribute, false, Padding::Tf),
        (Padding::Tf, Pads::Node, false, Padding::Tf),
        (Padding::Tf, Pads::Auto, true, Padding::Tf),
        (Padding::Tf, Pads::Attribute, true, Padding::Tf),
        (Padding::Torch, Pads::Node, true, Padding::Torch),
    ] {
        let spec = Spec { padding, ..spec("mobilenetv2", 0.1, 1.0, 64) };
        let onnx = read(&export(&spec, Style { pads, open, ..PLAIN }).0).unwrap();
        assert_eq!(onnx.spec().padding, expected, "{padding:?} {pads:?} {open}");
        let other = if expected == Padding::Tf { Padding::Torch } else { Padding::Tf };
        let error = onnx.convert(&Spec { padding: other, ..onnx.spec().clone() }).unwrap_err();
        assert!(matches!(&error, Error::Spec { field, .. } if field == "padding"), "{error}");
    }
    // On odd sizes both put the same zeros.
    let odd = Spec { padding: Padding::Tf, ..spec("mobilenetv2", 0.1, 1.0, 65) };
    let (file, expected) = export(&odd, PLAIN);
    let onnx = read(&file).unwrap();
    assert_eq!(onnx.spec().padding, Padding::Torch);
    assert!(onnx.convert(&odd).unwrap().file == expected);
}

/// TorchScript's exporter leaves it to be evaluated how PyTorch's pads, last axis first, become ONNX's.
#[test]
fn pads_that_are_computed_are_read() {
    let spec = Spec { padding: Padding::Tf, ..spec("mobilenetv2", 0.1, 1.0, 64) };
    let (mut file, expected) = export(&spec, Style { pads: Pads::Node, ..PLAIN });
    let graph = file.graph.as_mut().unwrap();
    let number = |name: &str, values: &[i64]| Tensor { name: name.into(), ..integers(values) };
    let pads = graph.node[0].input[1].clone();
    graph.initializer.retain(|tensor| tensor.name != pads);
    graph.initializer.extend([
        number("right", &[0, 1, 0, 1]),
        number("four", &[4]),
        number("pairs", &[-1, 2]),
        number("axes", &[0]),
        number("back", &[-1]),
        number("to the first", &[i64::MIN + 1]),
    ]);
    let with = |node: Node, attribute| Node { attribute: vec![attribute], ..node };
    let zero = Attribute { name: "value".into(), t: Some(integers(&[0])), ..Attribute::default() };
    let computed = [
        with(node("ConstantOfShape", &["four"], "zeros"), zero),
        with(node("Concat", &["right", "zeros"], "all"), int("axis", 0)),
        node("Reshape", &["all", "pairs"], "in pairs"),
        node("Slice", &["in pairs", "back", "to the first", "axes", "back"], "turned"),
        with(node("Transpose", &["turned"], "befores and afters"), ints("perm", &[1, 0])),
        node("Reshape", &["befores and afters", "back"], "flat"),
        with(node("Cast", &["flat"], &pads), int("to", 7)),
    ];
    graph.node.splice(0..0, computed);
    let onnx = read(&file).unwrap();
    assert_eq!(onnx.spec(), &Spec { preprocessing: onnx.spec().preprocessing.clone(), ..spec.clone() });
    assert!(onnx.convert(&spec).unwrap().file == expected);
}

/// Zeros at fixed places in a graph for any size: TensorFlow's on even sizes, and no one's on odd ones.
#[test]
fn fixed_zeros_before_nothing_go_with_even_sizes_only() {
    let spec = Spec { padding: Padding::Tf, ..spec("mobilenetv2", 0.1, 1.0, 64) };
    let onnx = read(&export(&spec, Style { open: true, ..PLAIN }).0).unwrap();
    let mut spec = onnx.spec().clone();
    assert!(onnx.convert(&spec).is_ok());
    spec.set_resolution(65);
    let error = onnx.convert(&spec).unwrap_err();
    assert!(matches!(&error, Error::Spec { field, .. } if field == "resolution"), "{error}");
    let auto = read(&export(&spec, Style { open: true, pads: Pads::Auto, ..PLAIN }).0).unwrap();
    assert!(auto.convert(&spec).is_ok());
}

#[test]
fn a_spec_that_is_not_the_graphs_is_refused_by_the_first_operation_that_differs() {
    let onnx = read(&export(&spec("mobilenetv2", 0.1, 1.0, 64), PLAIN).0).unwrap();
    let message = |spec: &Spec| match onnx.convert(spec).unwrap_err() {
        Error::Onnx(OnnxError::Operation { index, operation, expected, .. }) => {
            format!("{index} {operation}: {expected}")
        }
        other => panic!("{other}"),
    };
    let cifar = message(&spec("mobilenetv2-cifar", 0.1, 1.0, 64));
    assert_eq!(cifar, "0 Conv: a 3x3 convolution, 3 to 8 channels, stride 1, ReLU6 (features.0.0)");
    let wide = message(&spec("mobilenetv2", 1.0, 1.0, 64));
    assert_eq!(wide, "0 Conv: a 3x3 convolution, 3 to 32 channels, stride 2, ReLU6 (features.0.0)");
    let other = message(&spec("mobilenext", 0.13, 1.0, 64));
    assert_eq!(other, "8 Conv: a 1x1 convolution, 8 to 4 channels, stride 1 (features.1.conv.3)");
    let classes = message(&Spec { classes: 4, ..onnx.spec().clone() });
    assert!(classes.contains("Gemm: the pool and a classifier of 1280 features and 4 classes"), "{classes}");
}

#[test]
fn a_family_that_is_asked_for_has_the_graphs_classes_and_padding() {
    let spec = Spec { padding: Padding::Tf, ..spec("mobilenetv2", 0.1, 1.0, 64) };
    let onnx = read(&export(&spec, PLAIN).0).unwrap();
    assert_eq!(onnx.spec_as("mobilenetv2").as_ref(), Some(onnx.spec()));
    let other = onnx.spec_as("mobilenext").unwrap();
    assert_eq!(other, Spec { classes: 3, padding: Padding::Tf, ..Spec::family("mobilenext").unwrap() });
    let error = onnx.convert(&other).unwrap_err();
    assert!(matches!(error, Error::Onnx(OnnxError::Operation { index: 0, .. })), "{error}");
    assert_eq!((onnx.spec_as("custom"), onnx.spec_as("alexnet")), (None, None));
}

fn find<'a>(graph: &'a mut Graph, op: &str) -> &'a mut Node {
    graph.node.iter_mut().find(|node| node.op_type == op).unwrap()
}

fn set(node: &mut Node, attribute: Attribute) {
    node.attribute.retain(|other| other.name != attribute.name);
    node.attribute.push(attribute);
}

fn node(op: &str, input: &[&str], output: &str) -> Node {
    Node {
        input: input.iter().map(ToString::to_string).collect(),
        output: vec![output.into()],
        name: format!("new {op}"),
        op_type: op.into(),
        ..Node::default()
    }
}

#[test]
fn weights_that_are_not_finite_are_refused() {
    let (mut file, _) = export(&tables()[0], PLAIN);
    let graph = file.graph.as_mut().unwrap();
    graph.initializer[4].raw_data = graph.initializer[4].raw_data.iter().map(|_| 0xff).collect::<Vec<_>>().into();
    let onnx = read(&file).unwrap();
    let error = onnx.convert(onnx.spec()).unwrap_err();
    assert!(error.to_string().starts_with("tensor of ONNX operation 0, Conv `n0`: weights to fold: "), "{error}");
}

#[test]
fn numbers_of_every_type_and_place_are_read() {
    let spec = &tables()[0];
    let (mut file, expected) = export(spec, PLAIN);
    for tensor in &mut file.graph.as_mut().unwrap().initializer {
        // All values are exact in 11 bits.
        let values: Vec<f32> = tensor.raw_data.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
        let raw = std::mem::take(&mut tensor.raw_data);
        match tensor.name.len() + values.len() {
            n if n % 3 == 0 => tensor.float_data = raw,
            n if n % 3 == 1 => {
                tensor.data_type = super::message::data_type::DOUBLE;
                tensor.double_data = values.iter().flat_map(|&v| f64::from(v).to_le_bytes()).collect::<Vec<_>>().into();
            }
            _ => {
                tensor.data_type = super::message::data_type::FLOAT16;
                let mut varints = Vec::new();
                for value in values {
                    prost::encoding::encode_varint(mnx_tensor::half::f32_to_f16(value).into(), &mut varints);
                }
                tensor.int32_data = varints.into();
            }
        }
    }
    let onnx = read(&file).unwrap();
    assert!(onnx.convert(&Spec { family: "custom".into(), ..spec.clone() }).unwrap().file == expected);
}

#[test]
fn tensors_in_other_files_are_read_from_the_models_folder_alone() {
    let (mut file, expected) = export(&spec("mobilenext", 0.1, 0.5, 32), PLAIN);
    let folder = tempfile::tempdir().unwrap();
    let mut data = vec![0; 16];
    for tensor in &mut file.graph.as_mut().unwrap().initializer {
        let raw = std::mem::take(&mut tensor.raw_data);
        let entry = |key: &str, value: String| Entry { key: key.into(), value };
        tensor.external_data = vec![
            entry("location", "model.onnx.data".into()),
            entry("offset", data.len().to_string()),
            entry("length", raw.len().to_string()),
        ];
        tensor.data_location = 1;
        data.extend_from_slice(&raw);
    }
    let (path, beside) = (folder.path().join("model.onnx"), folder.path().join("model.onnx.data"));
    std::fs::write(&path, bytes(&file)).unwrap();
    let missing = Onnx::open(&path).unwrap_err().to_string();
    assert!(missing.contains("model.onnx.data"), "{missing}");
    let nowhere = folder.path().join("nowhere.onnx");
    let error = Onnx::open(&nowhere).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::NotFound);
    assert!(error.to_string().starts_with(&format!("{}: ", nowhere.display())), "{error}");
    std::fs::write(&beside, &data).unwrap();
    let onnx = Onnx::open(&path).unwrap();
    assert!(onnx.convert(onnx.spec()).unwrap().file == expected);
    assert_eq!(onnx.files().collect::<Vec<_>>(), [&*beside]);
    // Nor are other files named for tensors that no operation takes.
    let mut unused = file.clone();
    for location in ["/etc/passwd", "../secret", "a/../../b", ""] {
        let entry = Entry { key: "location".into(), value: location.into() };
        let tensor = Tensor { name: location.into(), data_location: 1, external_data: vec![entry], ..integers(&[1]) };
        unused.graph.as_mut().unwrap().initializer.push(tensor);
    }
    std::fs::write(&path, bytes(&unused)).unwrap();
    assert_eq!(Onnx::open(&path).unwrap().files().collect::<Vec<_>>(), [&*beside]);
    let alone = read(&file).unwrap_err().to_string();
    assert!(alone.contains("in the model's own bytes, found it in another file, `model.onnx.data`"), "{alone}");

    std::fs::write(&beside, &data[..data.len() - 1]).unwrap();
    let short = Onnx::open(&path).unwrap_err().to_string();
    assert!(short.contains("bytes of tensor"), "{short}");
    for location in ["../model.onnx.data", "/etc/passwd", "", "a/../b", "./x"] {
        file.graph.as_mut().unwrap().initializer[0].external_data[0].value = location.into();
        std::fs::write(&path, bytes(&file)).unwrap();
        let outside = Onnx::open(&path).unwrap_err().to_string();
        assert!(outside.contains("in a file of the model's folder"), "{location}: {outside}");
    }
}

#[test]
fn what_is_no_model_is_refused() {
    let good = bytes(&export(&tables()[0], PLAIN).0);
    for bad in [&b""[..], b"PK\x03\x04", &[0xff; 100], &good[..good.len() - 1], &good[..20]] {
        let error = Onnx::from_bytes(bad.to_vec()).unwrap_err();
        assert!(
            matches!(error, Error::Onnx(OnnxError::Format { .. }) | Error::Onnx(OnnxError::Graph { .. })),
            "{error}"
        );
    }
    for opset in [0, 8, 24, i64::MAX] {
        let mut file = export(&tables()[0], PLAIN).0;
        file.opset_import[0].version = opset;
        let error = read(&file).unwrap_err().to_string();
        assert!(error.starts_with("ONNX: expected an opset from 9 to 23, found "), "{error}");
    }
}

#[test]
fn models_are_told_by_their_first_bytes() {
    assert!(Onnx::begins(&bytes(&export(&tables()[0], PLAIN).0)[..Onnx::BYTES]));
    let safetensors = |length: u64| [&length.to_le_bytes()[..], b"{\"a\": 1}"].concat();
    for length in [8, 0x0708, 0x12_0708, 0x3a_1208] {
        assert!(!Onnx::begins(&safetensors(length)));
    }
    // A TensorFlow graph, and a version that nobody has written.
    assert!(!Onnx::begins(b"\x08\x01\x12\xff\x01") && !Onnx::begins(b"\x08\x20\x12\x07pytorch"));
    assert!(!Onnx::begins(b"") && !Onnx::begins(b"\x08") && !Onnx::begins(b"MNXW\x01\0\0\0"));
}

fn small(index: usize) -> Vec<u8> {
    let styles = [PLAIN, Style { head: Head::Computed, channels_last: true, pads: Pads::Node, ..PLAIN }];
    bytes(&export(&tables()[index % tables().len()], styles[index % 2]).0)
}

fn survives(bytes: Vec<u8>) {
    if let Ok(onnx) = Onnx::from_bytes(bytes)
        && let Ok(converted) = onnx.convert(onnx.spec())
    {
        Model::from_bytes(converted.file).expect("what convert writes opens");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn damaged_files_do_not_panic(
        index in 0..7_usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        length in any::<prop::sample::Index>(),
    ) {
        let mut bytes = small(index);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        survives(bytes.clone());
        bytes.truncate(length.index(bytes.len()));
        survives(bytes);
    }

    /// Operations and attributes that are others, in files that are whole.
    #[test]
    fn changed_graphs_do_not_panic(
        index in 0..7_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..6_u8, any::<i64>()), 1..4),
    ) {
        let mut file = File::decode(&small(index)[..]).unwrap();
        let graph = file.graph.as_mut().unwrap();
        for (a, b, what, number) in changes {
            let number = if number % 2 == 0 { number % 8 } else { number };
            let (a, b) = (a.index(graph.node.len()), b.index(graph.node.len()));
            match what {
                0 => graph.node[a].op_type = graph.node[b].op_type.clone(),
                1 => graph.node[a].attribute = graph.node[b].attribute.clone(),
                2 => graph.node[a].input = graph.node[b].input.clone(),
                3 => graph.node.swap(a, b),
                4 => if let Some(attribute) = graph.node[a].attribute.first_mut() {
                    attribute.i = number;
                    attribute.f = number as f32;
                    attribute.ints.iter_mut().for_each(|int| *int = number);
                },
                _ => {
                    let tensor = a % graph.initializer.len();
                    graph.initializer[tensor].dims = vec![number; b % 5];
                }
            }
        }
        survives(bytes(&file));
    }
}

#[test]
fn epsilon_is_what_was_meant() {
    let (mut file, _) = export(&tables()[0], PLAIN);
    let plain = read(&file).unwrap();
    let plain = plain.convert(plain.spec()).unwrap();
    set(find(file.graph.as_mut().unwrap(), "BatchNormalization"), float("epsilon", 0.5));
    let other = read(&file).unwrap();
    assert!(other.convert(other.spec()).unwrap() != plain, "another epsilon, the same weights");
}
