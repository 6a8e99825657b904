//! Exact fractions: shares, fills and weights.

use std::{cmp::Ordering, fmt, str::FromStr};

/// A non-negative fraction; the denominator isn't zero.
#[derive(Debug, Clone, Copy)]
pub struct Fraction {
    /// Above the line.
    pub numerator: u128,
    /// Below the line.
    pub denominator: u128,
}

impl Fraction {
    /// Nothing.
    pub const ZERO: Self = Self { numerator: 0, denominator: 1 };

    /// `numerator / denominator`, which isn't zero.
    pub fn new(numerator: u128, denominator: u128) -> Self {
        debug_assert!(denominator > 0, "a fraction has a denominator");
        Self { numerator, denominator }
    }
}

impl Ord for Fraction {
    fn cmp(&self, other: &Self) -> Ordering {
        let (mut a, mut b) = (*self, *other);
        if a.denominator == b.denominator {
            return a.numerator.cmp(&b.numerator);
        }
        let small = |x: Self| x.numerator <= u64::MAX.into() && x.denominator <= u64::MAX.into();
        if small(a) && small(b) {
            return (a.numerator * b.denominator).cmp(&(b.numerator * a.denominator));
        }
        // The products may not fit: the whole parts decide, or else the inverses of what is left, the other way round.
        let mut turned = false;
        loop {
            let order = (a.numerator / a.denominator).cmp(&(b.numerator / b.denominator));
            let (rest_a, rest_b) = (a.numerator % a.denominator, b.numerator % b.denominator);
            let order = match (order, rest_a, rest_b) {
                (Ordering::Equal, 0, 0) => Ordering::Equal,
                (Ordering::Equal, 0, _) => Ordering::Less,
                (Ordering::Equal, _, 0) => Ordering::Greater,
                (Ordering::Equal, _, _) => {
                    a = Self::new(a.denominator, rest_a);
                    b = Self::new(b.denominator, rest_b);
                    turned = !turned;
                    continue;
                }
                (order, _, _) => order,
            };
            return if turned { order.reverse() } else { order };
        }
    }
}

impl PartialOrd for Fraction {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Fraction {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Fraction {}

/// How much a node borrows of the whole, by its weight. A later variant is worse than every earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Share {
    /// It borrows nothing.
    Nothing,
    /// The dominant resource's part, divided by the weight.
    Weighted(Fraction),
    /// It has weight 0 and borrows nevertheless; the part without weight.
    Weightless(Fraction),
    /// It borrows what has no nominal quota anywhere; the amount.
    Baseless(u128),
}

impl Share {
    /// In thousandths of the whole, rounded down; none for one that is worse than every number.
    pub fn per_mille(&self) -> Option<u64> {
        match self {
            Self::Nothing => Some(0),
            Self::Weighted(part) => {
                u64::try_from(part.numerator.saturating_mul(1000) / part.denominator).ok()
            }
            Self::Weightless(_) | Self::Baseless(_) => None,
        }
    }

    /// The share of a node with that weight that borrows, per resource, `(borrowed, total nominal in the tree)`.
    pub fn of(weight: Weight, borrowed: impl Iterator<Item = (i128, i128)>) -> Self {
        let mut share = Self::Nothing;
        for (amount, total) in borrowed {
            if amount <= 0 {
                continue;
            }
            let (amount, total) = (amount.unsigned_abs(), total.unsigned_abs());
            let next = if total == 0 {
                Self::Baseless(amount)
            } else if weight.numerator == 0 {
                Self::Weightless(Fraction::new(amount, total))
            } else {
                Self::Weighted(Fraction::new(
                    amount * u128::from(weight.denominator),
                    total * u128::from(weight.numerator),
                ))
            };
            share = share.max(next);
        }
        share
    }
}

/// A weight among siblings: a decimal number with at most six places, at most a million.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight {
    numerator: u64,
    denominator: u64,
}

/// A text that is no weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a weight is a decimal number from 0 to 1000000 with at most six places, such as 2 or 0.5")]
pub struct NoWeight;

impl Weight {
    /// The weight of who has none set.
    pub const ONE: Self = Self { numerator: 1, denominator: 1 };

    /// A whole weight.
    pub fn whole(weight: u32) -> Self {
        Self { numerator: weight.into(), denominator: 1 }
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self::ONE
    }
}

impl FromStr for Weight {
    type Err = NoWeight;

    fn from_str(text: &str) -> Result<Self, NoWeight> {
        let (whole, places) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(places) || places.len() > 6 || whole.len() > 7 {
            return Err(NoWeight);
        }
        // Equal weights look alike.
        let places = places.trim_end_matches('0');
        let denominator = 10_u64.pow(places.len() as u32);
        let part =
            |text: &str| if text.is_empty() { Ok(0) } else { text.parse::<u64>().map_err(|_| NoWeight) };
        let numerator = part(whole)? * denominator + part(places)?;
        if numerator > 1_000_000 * denominator {
            return Err(NoWeight);
        }
        Ok(Self { numerator, denominator })
    }
}

impl schemars::JsonSchema for Weight {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Weight".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": r"^[0-9]{1,7}(\.[0-9]{1,6})?$" })
    }
}

impl serde::Serialize for Weight {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Weight {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.numerator / self.denominator, self.numerator % self.denominator);
        if rest == 0 {
            return write!(f, "{whole}");
        }
        let places = self.denominator.ilog10() as usize;
        write!(f, "{whole}.{}", format!("{rest:0places$}").trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_fractions_compare_exactly() {
        let big = u128::MAX / 3;
        assert!(Fraction::new(big, big - 1) > Fraction::new(big - 1, big - 1));
        assert!(Fraction::new(big, big - 1) < Fraction::new(big - 1, big - 2));
        assert_eq!(Fraction::new(big - big % 7, 7 * 5), Fraction::new((big - big % 7) / 7, 5));
        assert!(Fraction::new(1, big) < Fraction::new(1, big - 1));
    }

    #[test]
    fn weights_are_read_and_shown() {
        for text in ["0", "1", "0.5", "12.000001", "1000000"] {
            assert_eq!(text.parse::<Weight>().unwrap().to_string(), text);
        }
        assert_eq!("1.50".parse::<Weight>().unwrap().to_string(), "1.5");
        assert_eq!(["1", "1.0", "1.00"].map(str::parse), [Ok(Weight::ONE); 3]);
        assert_eq!("0.0".parse(), Ok(Weight::whole(0)));
        for text in ["", ".5", "1.", "-1", "1e3", "0.0000001", "1000001", "1000000.1", "x"] {
            assert_eq!(text.parse::<Weight>(), Err(NoWeight), "{text}");
        }
    }

    #[test]
    fn no_weight_is_worse_than_any_weight() {
        let weightless = Share::of(Weight::whole(0), [(1, 100)].into_iter());
        let heavy = Share::of(Weight::ONE, [(99, 100)].into_iter());
        let baseless = Share::of(Weight::ONE, [(1, 0)].into_iter());
        assert!(Share::Nothing < heavy && heavy < weightless && weightless < baseless);
        assert_eq!(Share::of(Weight::whole(0), [(0, 5)].into_iter()), Share::Nothing);
        let shown = [Share::Nothing, heavy, weightless, baseless].map(|share| share.per_mille());
        assert_eq!(shown, [Some(0), Some(990), None, None]);
    }
}
