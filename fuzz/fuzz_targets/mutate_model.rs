//! Changes a weight file that is right in one place or some, mends its checksums, and runs what still opens.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mnx_fuzz::common::Parts;
use mnx_fuzz::{Source, network};
use mnx_graph::{Model, Network, OpenOptions, Spec};
use serde_json::{Value, json};

fuzz_target!(|bytes: &[u8]| {
    let mut source = Source::new(bytes);
    let Some(spec) = network::spec(&mut source) else { return };
    let net = network::weights(&spec, &mut source);
    let file = net.file();
    if source.is_empty() {
        Model::from_bytes(file).expect("what is written opens");
        return;
    }
    let mut parts = Parts::of(&file);
    // A spec that changed and still makes a network gets the tensors that follow from it: only so the code behind the
    // tensor table is reached.
    if source.flag() {
        change(&mut parts.header["spec"], &mut source);
        let spec: Option<Spec> = serde_json::from_value(parts.header["spec"].clone()).ok();
        if let Some(spec) = spec.filter(|spec| Network::new_with(spec, &network::limits()).is_ok()) {
            parts = Parts::of(&network::weights(&spec, &mut source).file());
        }
    }
    for _ in 0..source.below(4) {
        mutate(&mut parts, &mut source);
    }
    let verify = source.flag();
    let options = OpenOptions::new().limits(network::limits()).verify_checksums(verify);
    if let Ok(model) = Model::from_bytes_with(parts.build(), &options) {
        network::run(&model, &mut source);
    }
});

fn mutate(parts: &mut Parts, source: &mut Source) {
    let tensors = parts.header["tensors"].as_array().map_or(0, Vec::len);
    match source.below(10) {
        0 => change(&mut parts.header["spec"], source),
        1 => change(&mut parts.header["tensors"], source),
        2 => change(&mut parts.header, source),
        3 => {
            let count = parts.payload.len();
            parts.payload.resize((count + source.below(129)).saturating_sub(64), source.byte());
        }
        4 => match source.below(5) {
            0 => parts.version = source.byte().into(),
            1 => parts.reserved = source.u32(),
            2 => parts.padding = source.byte(),
            3 => parts.header_len = Some(u64::from(source.u32()) << source.below(33)),
            _ => parts.header_crc = Some(source.u32()),
        },
        // Numbers of a tensor, whose checksum is mended.
        kind if tensors > 0 => {
            let tensor = source.below(tensors);
            let place = |key: &str| parts.header["tensors"][tensor][key].as_u64().map(|n| n as usize);
            let (Some(offset), Some(length)) = (place("offset"), place("length")) else { return };
            if length < 1 || offset.checked_add(length).is_none_or(|end| end > parts.payload.len()) {
                return;
            }
            if kind < 8 && length >= 4 {
                parts.set(tensor, source.below(65_536) % (length / 4), source.f32());
            } else {
                parts.set_bytes(tensor, source.below(65_536) % length, &[source.byte()]);
            }
        }
        _ => (),
    }
}

/// Changes one of the values inside, whichever it is.
fn change(value: &mut Value, source: &mut Source) {
    let count = nodes(value);
    let mut number = source.below(count.clamp(1, 65_536));
    if let Some(place) = node(value, &mut number) {
        match source.below(8) {
            0 => drop(
                place.as_object_mut().and_then(|object| object.keys().next().cloned().and_then(|k| object.remove(&k))),
            ),
            1 => place.as_array_mut().into_iter().for_each(|array| drop(array.pop())),
            2 => place.as_array_mut().into_iter().for_each(|array| array.extend(array.first().cloned())),
            _ => *place = other(place, source),
        }
    }
}

/// Values inside, itself included.
fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Array(array) => array.iter().map(nodes).sum(),
        Value::Object(object) => object.values().map(nodes).sum(),
        _ => 0,
    }
}

/// Value number `number` inside, in the order in which they stand.
fn node<'v>(value: &'v mut Value, number: &mut usize) -> Option<&'v mut Value> {
    if *number == 0 {
        return Some(value);
    }
    *number -= 1;
    match value {
        Value::Array(array) => array.iter_mut().find_map(|value| node(value, number)),
        Value::Object(object) => object.values_mut().find_map(|value| node(value, number)),
        _ => None,
    }
}

/// A number near the one that is there, an odd one, or something else.
fn other(value: &Value, source: &mut Source) -> Value {
    let number = value.as_i64().unwrap_or_default();
    match source.below(16) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(""),
        3 => json!("int8"),
        4 => json!([]),
        5 => json!({}),
        6 => json!(u64::MAX),
        7 => json!(-1),
        8 => json!(1_u64 << source.below(64)),
        9 => json!(f64::from(source.f32())),
        10 => json!(1e300),
        11 => json!(source.u32()),
        12 => json!(number.wrapping_add(1)),
        13 => json!(number.wrapping_sub(1)),
        _ => json!(source.byte()),
    }
}
