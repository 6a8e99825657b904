//! The number that a stored or sent document carries, checked where the document is read.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The number of a document's format, as its first field.
///
/// It takes no memory: it is written as `N`, and reading any other number is an error that names both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Format<const N: u32>;

impl<const N: u32> Format<N> {
    /// The number.
    pub const NUMBER: u32 = N;
}

/// A document has a format that this release can't read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a document has format {found}, this release reads format {known}")]
pub struct Unknown {
    /// The document's.
    pub found: u64,
    /// Ours.
    pub known: u32,
}

/// Refuses a format other than the known one.
pub fn check(found: u32, known: u32) -> Result<(), Unknown> {
    if found == known { Ok(()) } else { Err(Unknown { found: found.into(), known }) }
}

impl<const N: u32> Serialize for Format<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(N)
    }
}

impl<'de, const N: u32> Deserialize<'de> for Format<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number<const N: u32>;
        impl<const N: u32> de::Visitor<'_> for Number<N> {
            type Value = Format<N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "the number of the document's format, {N}")
            }

            fn visit_u64<E: de::Error>(self, found: u64) -> Result<Self::Value, E> {
                if found == u64::from(N) { Ok(Format) } else { Err(E::custom(Unknown { found, known: N })) }
            }
        }
        deserializer.deserialize_u32(Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_number_is_an_error_that_names_both() {
        assert_eq!(serde_json::to_string(&Format::<3>).unwrap(), "3");
        assert_eq!(serde_json::from_str::<Format<3>>("3").unwrap(), Format);
        let error = serde_json::from_str::<Format<3>>("4").unwrap_err();
        assert!(
            error.to_string().starts_with("a document has format 4, this release reads format 3"),
            "{error}"
        );
        assert!(serde_json::from_str::<Format<3>>("\"3\"").is_err());
    }
}
