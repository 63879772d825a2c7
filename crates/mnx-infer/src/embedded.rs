//! The networks inside this program.

use mnx::Model;

use crate::error::Error;

/// The network that is taken where none is named.
pub(crate) const DEFAULT: &str = "cifar";

/// The detector that is taken where none is named.
pub(crate) const DEFAULT_DETECTOR: &str = "bccd";

/// A weight file inside this program.
pub(crate) struct Embedded {
    /// What `--model` calls it.
    pub(crate) name: &'static str,
    /// Network, classes and arithmetic.
    pub(crate) about: &'static str,
    /// By its SPDX expression.
    pub(crate) licence: &'static str,
    /// Where the weights come from.
    pub(crate) source: &'static str,
    /// The file.
    pub(crate) bytes: &'static [u8],
}

/// Those of this build.
static ALL: &[Embedded] = &[
    #[cfg(feature = "embedded-model")]
    Embedded {
        name: "cifar",
        about: "MobileNeXt 0.35 for the ten classes of CIFAR-10, f32",
        licence: "MIT OR Apache-2.0",
        source: "trained for this project",
        bytes: mnx::include_model!("../model/mobilenext-0.35-cifar10.mnx"),
    },
    #[cfg(feature = "embedded-cifar-mobilenetv2")]
    Embedded {
        name: "cifar-mobilenetv2",
        about: "MobileNetV2 0.35 for the ten classes of CIFAR-10, f32",
        licence: "MIT OR Apache-2.0",
        source: "trained for this project",
        bytes: mnx::include_model!("../model/mobilenetv2-0.35-cifar10.mnx"),
    },
    #[cfg(feature = "embedded-imagenet")]
    Embedded {
        name: "imagenet",
        about: "MobileNetV2 1.0 for the thousand classes of ImageNet, int8",
        licence: "Apache-2.0",
        source: "google-coral/test_data, mobilenet_v2_1.0_224_quant.tflite",
        bytes: mnx::include_model!("../model/imagenet/mobilenetv2-1.0-imagenet-int8.mnx"),
    },
    #[cfg(feature = "embedded-bccd")]
    Embedded {
        name: "bccd",
        about: "SSDLite-MobileNeXt 0.35 for three kinds of blood cells, int8",
        licence: "MIT OR Apache-2.0",
        source: "trained for this project on BCCD (MIT)",
        bytes: mnx::include_model!("../model/bccd/ssdlite-mobilenext-0.35-bccd-int8.mnx"),
    },
];

impl Embedded {
    /// All of this build, in the order in which they are listed.
    pub(crate) fn all() -> &'static [Embedded] {
        ALL
    }

    /// The one with this name.
    pub(crate) fn find(name: &str) -> Option<&'static Embedded> {
        ALL.iter().find(|embedded| embedded.name == name)
    }

    /// Opens it in place.
    pub(crate) fn open(&self) -> Result<Model, Error> {
        Model::from_bytes(self.bytes).map_err(|e| self.error(e))
    }

    /// That something is wrong with it.
    pub(crate) fn error(&self, message: impl std::fmt::Display) -> Error {
        Error::failed(format_args!("embedded:{}: {message}", self.name))
    }
}

impl PartialEq for Embedded {
    fn eq(&self, other: &Embedded) -> bool {
        self.name == other.name
    }
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_one_opens_and_is_what_it_says() {
        for embedded in Embedded::all() {
            let model = embedded.open().unwrap();
            let spec = model.spec();
            let family = spec.family.trim_end_matches("-cifar");
            let begins = format!("{family} {:?} for ", spec.width);
            assert!(embedded.about.to_lowercase().starts_with(&begins), "{}", embedded.about);
            let int8 = model.arithmetic().contains(&mnx::Arithmetic::Int8);
            assert!(embedded.about.ends_with(if int8 { ", int8" } else { ", f32" }), "{}", embedded.about);
            assert_eq!(spec.labels.as_ref().map(Vec::len), Some(spec.classes));
            assert_eq!(embedded.bytes.as_ptr() as usize % 64, 0, "{} is not aligned", embedded.name);
        }
    }
}
