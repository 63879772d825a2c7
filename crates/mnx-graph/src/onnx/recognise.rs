//! Finds the spec of a graph: a named network at some width, or else a stage table of its own.

use super::constant::Misfit;
use super::message::Graph;
use super::own;
use super::sequence::{Event, Mismatch, described, fit};
use super::step::What;
use super::trace::Trace;
use crate::{BlockKind, Error, Network, Spec, families};

/// Widths that people train come first: of those that make the same channels one is as good as another.
const WIDTHS: [f64; 8] = [1.0, 0.75, 0.5, 0.35, 0.25, 0.1, 1.4, 1.3];

/// What the channels of a stage table are rounded to multiples of, at width 1.
const MULTIPLE: usize = 8;

/// # Errors
/// Where the graph leaves the network that it follows the longest, or what its own stage table has that none may have.
pub(crate) fn recognise(graph: &Graph, trace: &Trace, events: &[Event]) -> Result<Spec, Error> {
    let own = own::spec(trace, events);
    let uneven = own.as_ref().and_then(|own| uneven(own, trace, events));
    let mut nearest: Option<Mismatch> = None;
    for spec in candidates(trace, events, own) {
        let spec = Spec { classes: trace.classifier.classes, ..spec };
        let network = match Network::new(&spec) {
            Ok(network) => network,
            // The graph's own network is too large: no other one is it.
            Err(error @ Error::Limit { .. }) if spec.family == own::FAMILY => return Err(error),
            Err(_) => continue,
        };
        let least = nearest.as_ref().map_or(0, |mismatch| mismatch.fitting + 1);
        match fit(trace, events, &network, least) {
            Ok(_) => return Ok(spec),
            Err(mismatch) if mismatch.fitting >= least => nearest = Some(mismatch),
            Err(_) => (),
        }
    }
    let fitting = nearest.as_ref().map_or(0, |mismatch| mismatch.fitting);
    // There is a first network that the graph leaves, if only at once.
    let mismatch = uneven.filter(|uneven| uneven.fitting >= fitting).or(nearest).unwrap_or_else(|| Mismatch {
        fitting: 0,
        at: trace.classifier.at,
        misfit: Misfit::new(
            "one of the known networks",
            format!("{} features and {} classes", trace.classifier.features, trace.classifier.classes),
        ),
    });
    Err(mismatch.error(graph))
}

/// The first convolution with channels that a stage table cannot have, which rounds them.
fn uneven(own: &Spec, trace: &Trace, events: &[Event]) -> Option<Mismatch> {
    let channels = [own.stem.channels].into_iter().chain(own.stages.iter().map(|stage| stage.channels)).chain(own.head);
    let uneven: Vec<_> = channels.filter(|channels| !channels.is_multiple_of(MULTIPLE)).collect();
    let step =
        |event: &Event| matches!(event, Event::Convolution(step) if uneven.contains(&trace.steps[*step].channels));
    let fitting = events.iter().position(step)?;
    let expected = format!("channels that are a multiple of {MULTIPLE}, as a stage table has them");
    let misfit = Misfit::new(expected, described(trace, events[fitting]));
    Some(Mismatch { fitting, at: trace.steps[events[fitting].step()].at, misfit })
}

/// The families, and the stage table of the graph's own blocks, at every width and identity tensor multiplier that they may
/// have.
fn candidates(trace: &Trace, events: &[Event], own: Option<Spec>) -> impl Iterator<Item = Spec> {
    let identities = identities(trace, events);
    let named = families().filter_map(Spec::family).filter(|spec| spec.detector.is_none()).map(|spec| (spec, widths()));
    let own = own.map(|spec| (spec, vec![1.0]));
    named.chain(own).flat_map(move |(spec, widths)| {
        let has = |kind| spec.stages.iter().any(|stage| stage.block == kind);
        let residual = has(BlockKind::Basic) || has(BlockKind::Bottleneck);
        let widths = if residual { vec![1.0] } else { widths };
        let identities = if has(BlockKind::Sandglass) { identities.clone() } else { vec![1.0] };
        let pairs = widths.into_iter().flat_map(move |width| identities.clone().into_iter().map(move |i| (width, i)));
        pairs.map(move |(width, identity)| Spec { width, identity, ..spec.clone() })
    })
}

fn widths() -> Vec<f64> {
    WIDTHS.into_iter().chain((1..=200).map(|hundredths| f64::from(hundredths) / 100.0)).collect()
}

/// Identity tensor multipliers with which shortcuts cover as many channels as they do: those of the fewest decimals.
fn identities(trace: &Trace, events: &[Event]) -> Vec<f64> {
    let (mut least, mut most) = (0.0_f64, 1.0_f64);
    let mut any = false;
    for event in events {
        if let Event::Shortcut(step, _) = event
            && let What::Shortcut(shortcut) = &trace.steps[*step].what
        {
            let (covered, channels) = (shortcut.covered as f64, trace.steps[*step].channels as f64);
            least = least.max((covered - 0.5) / channels);
            most = most.min((covered + 0.5) / channels);
            any = true;
        }
    }
    if !any {
        return vec![0.0];
    }
    let mut found: Vec<f64> = Vec::new();
    for decimals in 0..=4 {
        let scale = 10_f64.powi(decimals);
        // Both bounds may be right: halves are rounded to even.
        for candidate in [(most * scale).floor() / scale, (least * scale).ceil() / scale] {
            if (least..=most).contains(&candidate) && !found.contains(&candidate) {
                found.push(candidate);
            }
        }
    }
    found.push(f64::midpoint(least, most));
    found
}
