//! Choices made of a fuzzer's bytes.

/// Takes numbers from bytes. When there are no more, every number is 0.
pub struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    pub fn new(bytes: &'a [u8]) -> Source<'a> {
        Source(bytes)
    }

    /// What is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes([(); 4].map(|()| self.byte()))
    }

    /// 0 to `count` - 1, where `count` is at most 65,536.
    pub fn below(&mut self, count: usize) -> usize {
        let number =
            if count <= 256 { self.byte().into() } else { usize::from(self.byte()) << 8 | usize::from(self.byte()) };
        number % count.max(1)
    }

    /// `low` to `high`.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// Mostly a number of some size; at times one that is none, or that is odd in another way.
    pub fn f32(&mut self) -> f32 {
        match self.byte() {
            kind @ 0..=11 => ODD[usize::from(kind)],
            12..=15 => f32::from_bits(self.u32()),
            kind => (f32::from(self.byte()) - 127.5) / 8.0 * f32::from(kind) / 128.0,
        }
    }
}

const ODD: [f32; 12] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    f32::NAN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::MAX,
    f32::MIN,
    f32::MIN_POSITIVE,
    1e-42,
    88.8,
];
