//! Random values, as SQL.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// Six bits a character, which the server's compression of long values, whatever its kind, finds
/// nothing in.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// More than a page of 8 KiB: it cannot lie in the row.
const LONG: std::ops::Range<usize> = 9_000..14_000;

/// The source of randomness.
pub(super) struct Draw(StdRng);

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        Draw(StdRng::seed_from_u64(seed))
    }

    /// A number from 0 to this, without it.
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }

    /// True so often of 100 times.
    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(super) fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        *values.choose(&mut self.0).expect("there is something to choose from")
    }

    /// As many as drawn, from 1 to this, separated by commas.
    pub(super) fn list(&mut self, count_max: usize, one: impl Fn(&mut Draw) -> String) -> String {
        let count = 1 + self.below(count_max);
        (0..count).map(|_| one(self)).collect::<Vec<_>>().join(", ")
    }

    /// A short, a compressible or a long text, or NULL.
    pub(super) fn text(&mut self) -> String {
        match self.below(100) {
            0..15 => "NULL".to_owned(),
            15..65 => {
                const SHORT: &[&str] =
                    &["''", "'a'", "'A'", "'ß 漢字 🦀'", "'it''s'", r"'back\slash'", "E'tab\\tand\\nline'", "'NULL'"];
                self.one_of(SHORT).to_owned()
            }
            65..75 => format!("repeat('{}', {})", self.below(10), 10_000 + self.below(10_000)),
            _ => self.long_text(),
        }
    }

    /// A text that lies outside of its row.
    pub(super) fn long_text(&mut self) -> String {
        let length = self.0.random_range(LONG);
        let text: String = (0..length).map(|_| char::from(self.one_of(ALPHABET))).collect();
        format!("'{text}'")
    }

    /// A `numeric(12,2)`.
    pub(super) fn amount(&mut self) -> String {
        match self.below(10) {
            0 => "NULL".to_owned(),
            1 => self.one_of(&["0", "0.10", "-5.50", "9999999999.99", "-9999999999.99"]).to_owned(),
            _ => format!("{}.{:02}", self.below(10_000), self.below(100)),
        }
    }
}
