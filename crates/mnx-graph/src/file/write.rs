//! Writes a weight file: the same spec and weights give the same bytes.

use std::io::{self, Write};

use super::{ALIGNMENT, Header, MAGIC, PREFIX_LEN, VERSION, layout};
use crate::{Error, Layer, Limits, Network, Spec};

/// A layer's weights before packing, batch norm folded in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerWeights {
    /// Row-major in the order of [`Layer::weight_dims`].
    pub weight: Vec<f32>,
    /// One value per output channel.
    pub bias: Vec<f32>,
}

/// Writes the weight file of a network. `source` is asked for each layer's weights in order of execution. Writes
/// nothing unless all of it is right; the whole payload is held in memory until then.
///
/// # Errors
/// What [`Network::new_with`] says of the spec; [`Error::Conv`] with the tensor's name when `source` gives a slice of
/// the wrong length, [`Error::NotFinite`] when it gives a value that is not finite; [`Error::Limit`] for a header or
/// tensor that could not be read back within `limits`; [`Error::Memory`]; [`Error::Io`] from `out`.
pub fn write_model(
    spec: &Spec,
    limits: &Limits,
    mut source: impl FnMut(&Layer) -> LayerWeights,
    out: &mut impl Write,
) -> Result<(), Error> {
    let network = Network::new_with(spec, limits)?;
    let (mut tensors, payload_len) = layout(&network, limits)?;
    let mut payload = zeroed(payload_len)?;
    for (layer, pair) in network.layers().zip(tensors.chunks_exact_mut(2)) {
        let LayerWeights { weight, bias } = source(layer);
        for (tensor, values) in pair.iter_mut().zip([weight, bias]) {
            if let Some(index) = values.iter().position(|v| !v.is_finite()) {
                return Err(Error::NotFinite { tensor: tensor.name.clone(), index, value: values[index] });
            }
            let packed = tensor.packing.pack(&values, &tensor.dims);
            let packed = packed.map_err(|error| Error::Conv { tensor: tensor.name.clone(), error })?;
            tensor.crc32 = crc32fast::hash(packed.as_bytes());
            payload[tensor.range.clone()].copy_from_slice(packed.as_bytes());
        }
    }
    let header = Header { spec: spec.clone(), tensors: tensors.iter().map(|t| t.entry()).collect() };
    let header = serde_json::to_vec(&header).map_err(|e| Error::Header { message: e.to_string() })?;
    if header.len() as u64 > limits.header_bytes {
        return Err(Error::Limit {
            what: "bytes of the weight file's header (labels included)".into(),
            limit: limits.header_bytes,
            found: header.len() as u64,
        });
    }
    write(&header, &payload, out).map_err(Error::Io)
}

fn write(header: &[u8], payload: &[u8], out: &mut impl Write) -> io::Result<()> {
    out.write_all(&MAGIC)?;
    out.write_all(&VERSION.to_le_bytes())?;
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&crc32fast::hash(header).to_le_bytes())?;
    out.write_all(&[0; 4])?;
    out.write_all(header)?;
    let end = PREFIX_LEN + header.len();
    out.write_all(&[0; ALIGNMENT][..end.next_multiple_of(ALIGNMENT) - end])?;
    out.write_all(payload)
}

/// An error where `vec![0; len]` would end the program.
fn zeroed(len: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| Error::Memory { what: "the weights", bytes: len as u64 })?;
    bytes.resize(len, 0);
    Ok(bytes)
}
