//! The memory of the shapes that came last.

use crate::run::{Observed, Prepared};

/// Most shapes whose memory is kept.
pub(super) const MOST_SHAPES: usize = 4;

/// What a session has prepared, the last used first.
pub(super) struct Layouts {
    prepared: Vec<Prepared>,
}

impl Layouts {
    pub(super) fn new() -> Layouts {
        Layouts { prepared: Vec::with_capacity(MOST_SHAPES) }
    }

    /// The one that was used last.
    pub(super) fn current(&self) -> Option<&Prepared> {
        self.prepared.first()
    }

    pub(super) fn current_mut(&mut self) -> Option<&mut Prepared> {
        self.prepared.first_mut()
    }

    /// Makes the one for such an input the current one. Whether there is one.
    pub(super) fn bring(&mut self, shape: [usize; 4], observed: Observed) -> bool {
        let found = self.prepared.iter().position(|p| p.shape == shape && p.observed == observed);
        let Some(index) = found else { return false };
        self.prepared[..=index].rotate_right(1);
        true
    }

    /// Forgets the least recently used ones until there is a place for another, and `bytes` more are within `limit`.
    pub(super) fn make_room(&mut self, bytes: u64, limit: u64) {
        let held = |layouts: &Layouts| layouts.prepared.iter().map(|p| p.held).fold(bytes, u64::saturating_add);
        while !self.is_empty() && (self.prepared.len() >= MOST_SHAPES || held(self) > limit) {
            self.prepared.pop();
        }
    }

    /// Makes this the current one.
    pub(super) fn add(&mut self, prepared: Prepared) {
        self.prepared.insert(0, prepared);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.prepared.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.prepared.clear();
    }

    /// Bytes of all arenas together.
    pub(super) fn bytes(&self) -> usize {
        self.prepared.iter().map(|p| p.memory.len()).sum()
    }
}
