//! Puts a graph's steps in a row, and tells whether they are those of a network.

use std::fmt;

use super::constant::Misfit;
use super::message::Graph;
use super::operation::Operation;
use super::step::{Convolution, Step, What};
use super::trace::Trace;
use crate::{Activation, Block, Error, Layer, LayerKind, Network};

/// One of the steps in a row: an index among the steps.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    Convolution(usize),
    MaxPool(usize),
    /// A shortcut over so many convolutions before it.
    Shortcut(usize, usize),
}

impl Event {
    pub(super) fn step(self) -> usize {
        match self {
            Event::Convolution(step) | Event::MaxPool(step) | Event::Shortcut(step, _) => step,
        }
    }
}

/// From the input to the pool; projections stand with their shortcuts.
///
/// # Errors
/// [`OnnxError::Operation`](crate::OnnxError::Operation) for a step on another way than that to the classifier.
pub(crate) fn sequence(graph: &Graph, trace: &Trace) -> Result<Vec<Event>, Error> {
    let (mut events, mut seen, mut convolutions) = (Vec::new(), vec![false; trace.steps.len()], 0);
    // Shortcuts on whose main way we are: where it ends, the event, and how many convolutions came before (backwards).
    let mut open: Vec<(usize, usize, usize)> = Vec::new();
    let mut at = trace.classifier.input;
    loop {
        while let Some(&(fork, event, before)) = open.last()
            && fork == at
        {
            if let Event::Shortcut(_, over) = &mut events[event] {
                *over = convolutions - before;
            }
            open.pop();
        }
        seen[at] = true;
        at = match &trace.steps[at].what {
            What::Input | What::Classifier => break,
            What::Convolution(convolution) => {
                events.push(Event::Convolution(at));
                convolutions += 1;
                convolution.input
            }
            What::MaxPool(input) => {
                events.push(Event::MaxPool(at));
                *input
            }
            What::Shortcut(shortcut) => {
                if let Some(projection) = shortcut.projection {
                    seen[projection] = true;
                }
                open.push((shortcut.fork, events.len(), convolutions));
                events.push(Event::Shortcut(at, 0));
                shortcut.main
            }
        };
    }
    let is_aside = |(step, seen): (&Step, &bool)| !seen && !matches!(step.what, What::Classifier);
    if let Some(aside) = trace.steps.iter().zip(&seen).position(is_aside) {
        let at = trace.steps[aside].at;
        let misfit = Misfit::new("each operation on the way from the input to the classifier", "one aside");
        return Err(Operation::at(graph, at).error(misfit));
    }
    events.reverse();
    Ok(events)
}

/// Where a graph and a network part.
#[derive(Clone, Debug)]
pub(crate) struct Mismatch {
    /// How many events fit before.
    pub(crate) fitting: usize,
    /// Index of the operation in the file.
    pub(crate) at: usize,
    pub(crate) misfit: Misfit,
}

impl Mismatch {
    pub(crate) fn error(self, graph: &Graph) -> Error {
        Operation::at(graph, self.at).error(self.misfit)
    }
}

/// What a network has next.
enum Wanted<'n> {
    Layer(&'n Layer),
    Shortcut(&'n Block),
    MaxPool,
    Classifier(&'n Layer),
    /// Of a detector: graphs of detectors are not understood.
    Heads,
}

/// The steps of all convolutions in the order of [`Network::layers`].
///
/// # Errors
/// The first step that is not the network's, described unless fewer than `least` events fit.
pub(crate) fn fit(trace: &Trace, events: &[Event], network: &Network, least: usize) -> Result<Vec<usize>, Mismatch> {
    let mut found = events.iter().copied().enumerate();
    let mut steps = Vec::with_capacity(events.len());
    let mismatch = |at: Option<(usize, Event)>, wanted: &Wanted| {
        let fitting = at.map_or(events.len(), |(i, _)| i);
        let operation = at.map_or(trace.classifier.at, |(_, event)| trace.steps[event.step()].at);
        let mut misfit = Misfit::new("", "");
        if fitting >= least {
            misfit.expected = wanted.to_string();
            misfit.found = match at {
                Some((_, event)) => described(trace, event),
                None => classifier(trace.classifier.features, trace.classifier.classes),
            };
        }
        Mismatch { fitting, at: operation, misfit }
    };
    for block in &network.blocks {
        for layer in &block.layers {
            match found.next() {
                Some((_, Event::Convolution(step))) if is(&trace.steps[step], layer) => steps.push(step),
                at => return Err(mismatch(at, &Wanted::Layer(layer))),
            }
        }
        if block.identity_channels > 0 || block.projection.is_some() {
            let at = found.next();
            match at {
                Some((_, Event::Shortcut(step, over))) if over == block.layers.len() => {
                    let projection = fits_shortcut(trace, step, block);
                    steps.extend(projection.ok_or_else(|| mismatch(at, &Wanted::Shortcut(block)))?);
                }
                _ => return Err(mismatch(at, &Wanted::Shortcut(block))),
            }
        }
        if block.max_pool {
            match found.next() {
                Some((_, Event::MaxPool(_))) => (),
                at => return Err(mismatch(at, &Wanted::MaxPool)),
            }
        }
    }
    let at = found.next();
    let fits = |last: &&Layer| (last.cin, last.cout) == (trace.classifier.features, trace.classifier.classes);
    match network.classifier() {
        Some(last) if at.is_some() || !fits(&last) => Err(mismatch(at, &Wanted::Classifier(last))),
        Some(_) => Ok(steps),
        None => Err(mismatch(at, &Wanted::Heads)),
    }
}

/// The projection, if there is one, of a shortcut that is the block's.
fn fits_shortcut(trace: &Trace, step: usize, block: &Block) -> Option<Option<usize>> {
    let What::Shortcut(shortcut) = &trace.steps[step].what else { return None };
    let projection = match (&block.projection, shortcut.projection) {
        (None, None) => true,
        (Some(layer), Some(step)) => is(&trace.steps[step], layer),
        _ => false,
    };
    let fits = shortcut.covered == block.identity_channels
        && trace.steps[step].bounds.activation() == Some(block.activation)
        && projection;
    fits.then_some(shortcut.projection)
}

/// Whether a step is a layer.
fn is(step: &Step, layer: &Layer) -> bool {
    let What::Convolution(convolution) = &step.what else { return false };
    let (kernel, depthwise) = window(layer.kind);
    (convolution.kernel, convolution.depthwise) == (kernel, depthwise)
        && (convolution.cin, step.channels, convolution.stride) == (layer.cin, layer.cout, layer.stride)
        && step.bounds.activation() == Some(layer.activation)
}

/// Rows of a layer's kernel, and whether it is depthwise.
fn window(kind: LayerKind) -> (usize, bool) {
    match kind {
        LayerKind::Dense3x3 | LayerKind::Conv3x3 => (3, false),
        LayerKind::Dense7x7 => (7, false),
        LayerKind::Depthwise3x3 => (3, true),
        LayerKind::Pointwise | LayerKind::Linear => (1, false),
    }
}

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::Layer(layer) => {
                let (kernel, depthwise) = window(layer.kind);
                let text =
                    convolution(kernel, depthwise, [layer.cin, layer.cout], layer.stride, Some(layer.activation));
                write!(f, "{text} ({})", layer.name)
            }
            Wanted::Shortcut(block) => {
                let way = shortcut(block.layers.len(), block.identity_channels, block.projection.is_some());
                write!(f, "{way}{} ({})", after(Some(block.activation)), block.name)
            }
            Wanted::MaxPool => f.write_str("a max pool"),
            Wanted::Classifier(layer) => f.write_str(&classifier(layer.cin, layer.cout)),
            Wanted::Heads => f.write_str("the heads of a detector, whose graphs are not read"),
        }
    }
}

pub(super) fn described(trace: &Trace, event: Event) -> String {
    let step = &trace.steps[event.step()];
    let activation = step.bounds.activation();
    match (&step.what, event) {
        (What::Convolution(Convolution { kernel, stride, depthwise, cin, .. }), _) => {
            convolution(*kernel, *depthwise, [*cin, step.channels], *stride, activation)
        }
        (What::Shortcut(way), Event::Shortcut(_, over)) => {
            shortcut(over, way.covered, way.projection.is_some()) + after(activation)
        }
        _ => "a max pool".into(),
    }
}

fn convolution(
    kernel: usize,
    depthwise: bool,
    [cin, cout]: [usize; 2],
    stride: usize,
    activation: Option<Activation>,
) -> String {
    let depthwise = if depthwise { "depthwise " } else { "" };
    let after = after(activation);
    format!("a {depthwise}{kernel}x{kernel} convolution, {cin} to {cout} channels, stride {stride}{after}")
}

fn shortcut(over: usize, covered: usize, projected: bool) -> String {
    let projected = if projected { " with a convolution on it" } else { "" };
    format!("a shortcut over {over} convolutions to {covered} channels{projected}")
}

fn classifier(features: usize, classes: usize) -> String {
    format!("the pool and a classifier of {features} features and {classes} classes")
}

fn after(activation: Option<Activation>) -> &'static str {
    match activation {
        Some(Activation::Linear) => "",
        Some(Activation::Relu6) => ", ReLU6",
        Some(Activation::Relu) => ", ReLU",
        None => ", clamped otherwise",
    }
}
