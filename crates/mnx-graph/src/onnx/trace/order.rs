//! The order in which operations are visited: each after those whose values it takes, wherever in the file they stand. Not
//! every program that writes or changes graphs sorts them, and ONNX Runtime sorts for itself.

use std::collections::HashMap;

use super::super::constant::Misfit;
use super::super::message::Graph;
use super::super::operation::Operation;
use super::operations;
use crate::Error;

/// How far an operation is.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Unneeded,
    Needed,
    /// Operations that it waits for are visited.
    Waiting,
    Done,
}

/// The operations that an output depends on. They stay in the file's order if that is one in which they can be computed.
///
/// # Errors
/// [`OnnxError::Operation`](crate::OnnxError::Operation) for an operation that waits for itself, and for a second value of a
/// name.
pub(super) fn order<'a>(graph: &'a Graph, output: &str) -> Result<Vec<Operation<'a>>, Error> {
    let makers = makers(graph)?;
    let mut states = vec![State::Unneeded; graph.node.len()];
    let mut open = vec![output];
    while let Some(name) = open.pop() {
        if let Some(&index) = makers.get(name)
            && states[index] == State::Unneeded
        {
            states[index] = State::Needed;
            open.extend(graph.node[index].input.iter().map(String::as_str));
        }
    }
    let mut ordered = Vec::new();
    // Operations that wait, each for the next one, and which of its inputs an operation waits for. A graph may be too deep for
    // functions that call themselves.
    let mut waiting: Vec<(usize, usize)> = Vec::new();
    for first in 0..graph.node.len() {
        if states[first] == State::Needed {
            states[first] = State::Waiting;
            waiting.push((first, 0));
        }
        while let Some((index, input)) = waiting.last_mut() {
            let op = Operation::at(graph, *index);
            let Some(name) = op.node.input.get(*input) else {
                states[op.index] = State::Done;
                ordered.push(op);
                waiting.pop();
                continue;
            };
            *input += 1;
            let Some(&maker) = makers.get(name.as_str()) else { continue };
            match states[maker] {
                State::Done => (),
                State::Waiting => {
                    let found = format!("input `{name}`, which does");
                    return Err(op.error(Misfit::new("inputs that do not depend on what it makes", found)));
                }
                State::Unneeded | State::Needed => {
                    states[maker] = State::Waiting;
                    waiting.push((maker, 0));
                }
            }
        }
    }
    Ok(ordered)
}

/// Which operation makes the value of a name.
fn makers(graph: &Graph) -> Result<HashMap<&str, usize>, Error> {
    let mut makers = HashMap::new();
    for op in operations(graph) {
        for name in op.node.output.iter().filter(|name| !name.is_empty()) {
            if let Some(other) = makers.insert(name.as_str(), op.index) {
                let found = format!("output `{name}`, which operation {other} makes, too");
                return Err(op.error(Misfit::new("outputs that no other operation makes", found)));
            }
        }
    }
    let stored = graph.initializer.iter().map(|tensor| &tensor.name);
    for name in graph.input.iter().map(|input| &input.name).chain(stored) {
        if let Some(&index) = makers.get(name.as_str()) {
            let found = format!("output `{name}`, which the graph has as an input or a stored tensor");
            return Err(Operation::at(graph, index).error(Misfit::new("outputs with names of their own", found)));
        }
    }
    Ok(makers)
}
