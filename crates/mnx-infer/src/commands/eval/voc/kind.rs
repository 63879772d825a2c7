//! What problems of a data set are about.

use serde::Serialize;

/// What a problem is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Inverted,
    Thin,
    Outside,
    Object,
    Size,
    List,
}

impl Kind {
    /// In the order in which they are reported.
    pub(super) const ALL: [Kind; 6] = [Kind::Inverted, Kind::Thin, Kind::Outside, Kind::Object, Kind::Size, Kind::List];

    /// What is said of one of them, and of several.
    pub(super) fn sentences(self) -> (&'static str, &'static str) {
        match self {
            Kind::Inverted => ("box is inverted; it counts as missed", "boxes are inverted; they count as missed"),
            Kind::Thin => ("box is one pixel wide or high", "boxes are one pixel wide or high"),
            Kind::Outside => ("box reaches out of its picture", "boxes reach out of their pictures"),
            Kind::Object => ("object could not be understood", "objects could not be understood"),
            Kind::Size => ("annotation has no size or a wrong one", "annotations have no size or a wrong one"),
            Kind::List => ("line of the split was not used", "lines of the split were not used"),
        }
    }
}
