//! A small network and its weight file, taken apart and put together again.
#![allow(dead_code)]

pub mod kept;

use mnx_graph::{
    Int8Weights, Layer, LayerWeights, Limits, Network, Quantization, Spec, Weights, write_model, write_quantized,
};
use serde_json::Value;

/// Every kind of layer, channels that fill neither blocks of 8 nor panels of 16: 3 → 12 → (dw, 6, 20, dw) → 3 classes.
pub fn small_spec() -> Spec {
    let table = r#"{
        "stem": {"channels": 120, "stride": 2},
        "stages": [{"ratio": 2, "channels": 20, "repeats": 1, "stride": 2}],
        "width": 0.1, "resolution": 8, "classes": 3, "labels": ["cat", "dog", "ship"]
    }"#;
    Spec::from_json(table).unwrap()
}

/// Weights that tell layers and positions apart.
pub fn numbered() -> impl FnMut(&Layer) -> LayerWeights {
    let mut number = 0;
    let mut next = move || {
        number += 1;
        number as f32 / 8.0
    };
    move |layer| LayerWeights {
        weight: (0..layer.weight_elements()).map(|_| next()).collect(),
        bias: (0..layer.cout).map(|_| next()).collect(),
    }
}

pub fn small_file() -> Vec<u8> {
    let mut bytes = Vec::new();
    write_model(&small_spec(), &Limits::default(), numbered(), &mut bytes).unwrap();
    bytes
}

/// The small network in int8, but for the third layer, `features.1.conv.3`.
pub fn small_int8_layers() -> Vec<Weights> {
    let mut number = 0_usize;
    let mut next = move || {
        number += 1;
        number
    };
    let mut f32_source = numbered();
    let mut int8 = |layer: &Layer| Int8Weights {
        weight: (0..layer.weight_elements()).map(|_| (next() * 89 % 255) as u8 as i8).map(|w| w.max(-127)).collect(),
        scale: (0..layer.cout).map(|_| next() as f32 / 65536.0).collect(),
        bias: (0..layer.cout).map(|_| next() as i32 * 7 - 3000).collect(),
    };
    let network = Network::new(&small_spec()).unwrap();
    let layers = network.layers().enumerate().map(|(index, layer)| match index {
        2 => Weights::F32(f32_source(layer)),
        _ => Weights::Int8(int8(layer)),
    });
    layers.collect()
}

/// Its weight file, of version 2.
pub fn small_int8_file() -> Vec<u8> {
    let mut bytes = Vec::new();
    let value = |name: &str| Quantization { scale: 1.0 / name.len() as f32, zero_point: name.len() as u8 };
    write_quantized(&small_spec(), &Limits::default(), &small_int8_layers(), value, &mut bytes).unwrap();
    bytes
}

/// A weight file whose parts can be changed one by one.
#[derive(Clone)]
pub struct Parts {
    pub magic: [u8; 4],
    pub version: u32,
    /// Instead of the true length.
    pub header_len: Option<u64>,
    /// Instead of the true checksum.
    pub header_crc: Option<u32>,
    pub reserved: u32,
    pub header: Value,
    /// What stands between header and payload.
    pub padding: u8,
    pub payload: Vec<u8>,
}

impl Parts {
    pub fn of(bytes: &[u8]) -> Parts {
        let header_len = u64::from_le_bytes(bytes[8..16].try_into().unwrap()) as usize;
        Parts {
            magic: *b"MNXW",
            version: bytes[4].into(),
            header_len: None,
            header_crc: None,
            reserved: 0,
            header: serde_json::from_slice(&bytes[24..24 + header_len]).unwrap(),
            padding: 0,
            payload: bytes[(24 + header_len).next_multiple_of(64)..].to_vec(),
        }
    }

    pub fn small() -> Parts {
        Parts::of(&small_file())
    }

    pub fn small_int8() -> Parts {
        Parts::of(&small_int8_file())
    }

    pub fn build(&self) -> Vec<u8> {
        self.build_with(&serde_json::to_vec(&self.header).unwrap())
    }

    /// With this text for a header.
    pub fn build_with(&self, header: &[u8]) -> Vec<u8> {
        let mut bytes = self.magic.to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.header_len.unwrap_or(header.len() as u64).to_le_bytes());
        bytes.extend(self.header_crc.unwrap_or(crc32fast::hash(header)).to_le_bytes());
        bytes.extend(self.reserved.to_le_bytes());
        bytes.extend(header);
        bytes.resize(bytes.len().next_multiple_of(64), self.padding);
        bytes.extend(&self.payload);
        bytes
    }

    /// Offset and length of a tensor in the payload.
    pub fn tensor(&self, index: usize) -> (usize, usize) {
        let tensor = &self.header["tensors"][index];
        let number = |key: &str| tensor[key].as_u64().unwrap() as usize;
        (number("offset"), number("length"))
    }

    /// Which tensor has this name.
    pub fn find(&self, name: &str) -> usize {
        let tensors = self.header["tensors"].as_array().unwrap();
        tensors.iter().position(|tensor| tensor["name"] == name).expect("a tensor of this name")
    }

    /// Sets a value of a packed tensor, and the checksum to match.
    pub fn set(&mut self, tensor: usize, index: usize, value: f32) {
        self.set_bytes(tensor, 4 * index, &value.to_le_bytes());
    }

    /// Sets bytes of a packed tensor, and the checksum to match.
    pub fn set_bytes(&mut self, tensor: usize, at: usize, bytes: &[u8]) {
        let (offset, length) = self.tensor(tensor);
        self.payload[offset + at..][..bytes.len()].copy_from_slice(bytes);
        let crc = crc32fast::hash(&self.payload[offset..offset + length]);
        self.header["tensors"][tensor]["crc32"] = crc.into();
    }
}
