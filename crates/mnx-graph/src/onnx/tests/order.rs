//! Operations in another order than that in which they can be computed.

use std::time::{Duration, Instant};

use prost::Message;

use super::write::{PLAIN, export, model, pictures};
use super::{File, find, int, node, read, small, tables};
use crate::onnx::message::{Graph, Node};
use crate::{Error, OnnxError};

#[test]
fn operations_stand_in_any_order() {
    for index in 0..tables().len() {
        let mut file = File::decode(&small(index)[..]).unwrap();
        let plain = read(&file).unwrap();
        let count = file.graph.as_ref().unwrap().node.len();
        for turn in [1, 7, count - 1] {
            file.graph.as_mut().unwrap().node.rotate_left(turn);
            let turned = read(&file).unwrap();
            assert_eq!(turned.spec(), plain.spec());
            assert!(turned.convert(turned.spec()).unwrap() == plain.convert(plain.spec()).unwrap(), "{index}, {turn}");
            file.graph.as_mut().unwrap().node.rotate_right(turn);
        }
        file.graph.as_mut().unwrap().node.reverse();
        let reversed = read(&file).unwrap();
        assert!(reversed.convert(plain.spec()).unwrap() == plain.convert(plain.spec()).unwrap(), "{index}");
    }
}

/// As ONNX Runtime's converter to 16 bits leaves it: what casts the input stands at the end. Messages have places in the file.
#[test]
fn a_cast_of_the_input_may_stand_last() {
    let (mut file, expected) = export(&tables()[0], PLAIN);
    let graph = file.graph.as_mut().unwrap();
    graph.node[0].input[0] = "graph_input_cast_0".into();
    let cast = node("Cast", &["x"], "graph_input_cast_0");
    graph.node.push(Node { attribute: vec![int("to", 1)], ..cast });
    let onnx = read(&file).unwrap();
    let family = crate::Spec { family: "custom".into(), ..tables()[0].clone() };
    assert!(onnx.convert(&family).unwrap().file == expected);
    let last = file.graph.as_ref().unwrap().node.len() - 1;
    find(file.graph.as_mut().unwrap(), "Cast").attribute[0].i = 7;
    let error = read(&file).unwrap_err().to_string();
    assert_eq!(error, format!("ONNX: operation {last}, Cast `new Cast`: expected a floating-point type, found int64"));
}

fn refused(nodes: Vec<Node>) -> String {
    let output = pictures("y", [None; 4]);
    let graph = Graph {
        node: nodes,
        input: vec![pictures("x", [None, Some(3), None, None])],
        output: vec![output],
        ..Graph::default()
    };
    let error = read(&model(graph, 17)).unwrap_err();
    assert!(matches!(error, Error::Onnx(OnnxError::Operation { .. } | OnnxError::Graph { .. })), "{error}");
    error.to_string()
}

#[test]
fn cycles_and_values_that_are_made_twice_are_refused() {
    let itself = refused(vec![node("Relu", &["y"], "y")]);
    let expected = "expected inputs that do not depend on what it makes, found input";
    assert_eq!(itself, format!("ONNX: operation 0, Relu `new Relu`: {expected} `y`, which does"));
    let three = refused(vec![node("Add", &["x", "c"], "y"), node("Relu", &["a"], "c"), node("Clip", &["c"], "a")]);
    assert_eq!(three, format!("ONNX: operation 2, Clip `new Clip`: {expected} `c`, which does"));
    let twice = refused(vec![node("Relu", &["x"], "y"), node("Clip", &["x"], "y")]);
    assert!(
        twice.ends_with(
            "expected outputs that no other operation makes, found output `y`, which operation 0 makes, too"
        ),
        "{twice}"
    );
    let input = refused(vec![node("Relu", &["x"], "y"), node("Clip", &["y"], "x")]);
    assert!(
        input.contains("operation 1, Clip") && input.contains("output `x`, which the graph has as an input"),
        "{input}"
    );
}

/// As deep as a graph may be, the last operation first; and one whose operations take each other many times.
#[test]
fn deep_graphs_take_no_time() {
    let start = Instant::now();
    let name = |i: usize| if i == 0 { "x".into() } else { format!("v{i}") };
    let mut chain: Vec<_> = (0..19_999).map(|i| node("Identity", &[&name(i)], &name(i + 1))).collect();
    chain.push(node("Identity", &[&name(19_999)], "y"));
    chain.reverse();
    assert!(refused(chain).contains("expected a classifier"));
    let mut wide: Vec<_> = (0..999).map(|i| node("Concat", &vec![&*name(i); 500], &name(i + 1))).collect();
    wide.push(node("Identity", &[&name(999)], "y"));
    wide.reverse();
    assert!(refused(wide).contains("Concat"));
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}
