//! Sizes, times and CPUs as people write them: `96MiB`, `2GiB`, `60s`, `0.5`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

/// The error for a text that is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuantity {
    /// The text is not a size.
    #[error(
        "{0:?} is not a size: write a whole number of MiB, or a number with MiB, GiB or TiB, for \
         example 512MiB or 1.5GiB"
    )]
    Size(String),
    /// The size has a decimal unit.
    #[error("{0:?} uses a decimal unit: sizes here are powers of 1024, write MiB, GiB or TiB")]
    DecimalUnit(String),
    /// The text is not a length of time.
    #[error(
        "{0:?} is not a length of time: write seconds, or a number with ms, s, m, h or d, for \
         example 90s"
    )]
    Span(String),
    /// The value is not a number of CPUs.
    #[error("{0} is not a number of CPUs: write a number from 0 to 1000000, for example 0.5")]
    Cpu(String),
}

/// A size in mebibytes. Written as `"96MiB"` or as a bare number of MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, ToSchema)]
#[schema(value_type = String, example = "512MiB")]
pub struct Size(pub u64);

impl Size {
    /// The size in bytes, for arithmetic.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0.saturating_mul(1024 * 1024)
    }
}

impl FromStr for Size {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || InvalidQuantity::Size(text.to_owned());
        let (number, unit) = split_unit(text);
        let scale = match unit {
            "" | "M" | "MiB" | "Mi" => 1.0,
            "G" | "GiB" | "Gi" => 1024.0,
            "T" | "TiB" | "Ti" => 1024.0 * 1024.0,
            "MB" | "GB" | "TB" | "KB" | "kB" => {
                return Err(InvalidQuantity::DecimalUnit(text.to_owned()));
            }
            _ => return Err(bad()),
        };
        whole(number, scale).map(Self).ok_or_else(bad)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const GIB: u64 = 1024;
        const TIB: u64 = 1024 * 1024;
        match self.0 {
            mib if mib >= TIB && mib % TIB == 0 => write!(f, "{}TiB", mib / TIB),
            mib if mib >= GIB && mib % GIB == 0 => write!(f, "{}GiB", mib / GIB),
            mib => write!(f, "{mib}MiB"),
        }
    }
}

/// A length of time in milliseconds. Written as `"90s"`, `"2m"`, `"1h"`, `"7d"`, `"500ms"` or as a
/// bare number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, ToSchema)]
#[schema(value_type = String, example = "90s")]
pub struct Span(pub u64);

impl Span {
    /// The span as a `Duration` of the standard library.
    #[must_use]
    pub const fn duration(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }
}

impl FromStr for Span {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || InvalidQuantity::Span(text.to_owned());
        let (number, unit) = split_unit(text);
        let scale = match unit {
            "ms" => 1.0,
            "" | "s" => 1000.0,
            "m" | "min" => 60_000.0,
            "h" => 3_600_000.0,
            "d" => 86_400_000.0,
            _ => return Err(bad()),
        };
        whole(number, scale).map(Self).ok_or_else(bad)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms if ms > 0 && ms % 86_400_000 == 0 => write!(f, "{}d", ms / 86_400_000),
            ms if ms > 0 && ms % 3_600_000 == 0 => write!(f, "{}h", ms / 3_600_000),
            ms if ms > 0 && ms % 60_000 == 0 => write!(f, "{}m", ms / 60_000),
            ms if ms % 1000 == 0 => write!(f, "{}s", ms / 1000),
            ms => write!(f, "{ms}ms"),
        }
    }
}

/// CPUs in thousandths. Written as a decimal number of CPUs: `0.5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ToSchema)]
#[schema(value_type = f64, example = 0.5)]
pub struct CpuMilli(pub u64);

impl CpuMilli {
    /// The largest number of CPUs that can be written.
    const MOST: f64 = 1_000_000.0;

    /// Converts a decimal number of CPUs.
    ///
    /// # Errors
    /// When the number is not finite, negative, or above a million. Zero is allowed, because an
    /// empty host holds zero CPUs. A VM with zero CPUs is refused with its specification.
    pub fn from_cpus(cpus: f64) -> Result<Self, InvalidQuantity> {
        if !(cpus.is_finite() && (0.0..=Self::MOST).contains(&cpus)) {
            return Err(InvalidQuantity::Cpu(cpus.to_string()));
        }
        // The number is in range and not negative, as just checked. So the cast loses only the
        // fraction that rounding has removed.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Ok(Self((cpus * 1000.0).round() as u64))
    }

    /// The decimal number of CPUs.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // at most a few million thousandths: exact in a double
    pub fn cpus(self) -> f64 {
        self.0 as f64 / 1000.0
    }
}

impl fmt::Display for CpuMilli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cpus())
    }
}

/// Splits `"1.5GiB"` into `"1.5"` and `"GiB"`.
fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let at = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    (&text[..at], text[at..].trim_start())
}

/// `number * scale`, if the result is a whole number that a double can hold exactly.
fn whole(number: &str, scale: f64) -> Option<u64> {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53
    let value = number.parse::<f64>().ok()? * scale;
    let fits = value.is_finite() && (0.0..EXACT).contains(&value) && value.fract() == 0.0;
    // The value is whole, not negative and below 2^53, as just checked.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fits.then_some(value as u64)
}

macro_rules! text_or_number {
    ($name:ident, $per_number:expr, $expecting:literal) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_u64<E: de::Error>(self, number: u64) -> Result<$name, E> {
                        number
                            .checked_mul($per_number)
                            .map($name)
                            .ok_or_else(|| E::custom("the number is too large"))
                    }

                    fn visit_i64<E: de::Error>(self, number: i64) -> Result<$name, E> {
                        u64::try_from(number)
                            .map_err(|_| E::custom("the number must not be negative"))
                            .and_then(|n| self.visit_u64(n))
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_any(Visitor)
            }
        }
    };
}

text_or_number!(Size, 1, "a size such as \"512MiB\" or a whole number of MiB");
text_or_number!(Span, 1000, "a length of time such as \"90s\" or a whole number of seconds");

impl Serialize for CpuMilli {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.cpus())
    }
}

impl<'de> Deserialize<'de> for CpuMilli {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        f64::deserialize(deserializer)
            .and_then(|cpus| Self::from_cpus(cpus).map_err(de::Error::custom))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, mib) in [
            ("96MiB", 96),
            ("96", 96),
            ("2GiB", 2048),
            ("1.5 GiB", 1536),
            ("1TiB", 1_048_576),
            ("3G", 3072),
        ] {
            assert_eq!(text.parse(), Ok(Size(mib)), "{text}");
        }
        for bad in [
            "",
            "GiB",
            "-1MiB",
            "1.5MiB",
            "1PB",
            "x",
            "1e300GiB",
            "1..2GiB",
            "99999999999999999999",
        ] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
        assert!("1GB".parse::<Size>().expect_err("decimal").to_string().contains("1024"));
        for (mib, text) in
            [(96, "96MiB"), (1024, "1GiB"), (1536, "1536MiB"), (1_048_576, "1TiB"), (0, "0MiB")]
        {
            assert_eq!(Size(mib).to_string(), text);
        }
    }

    #[test]
    fn spans_are_read_and_written() {
        for (text, ms) in [
            ("60s", 60_000),
            ("60", 60_000),
            ("500ms", 500),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("0.5s", 500),
            ("90d", 7_776_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Span(ms)), "{text}");
        }
        assert!("5 parsecs".parse::<Span>().is_err());
        for (ms, text) in [
            (60_000, "1m"),
            (90_000, "90s"),
            (1, "1ms"),
            (0, "0s"),
            (7_200_000, "2h"),
            (172_800_000, "2d"),
        ] {
            assert_eq!(Span(ms).to_string(), text);
            assert_eq!(text.parse(), Ok(Span(ms)));
        }
    }

    #[test]
    fn json_takes_texts_and_numbers() {
        let from = |text: &str| serde_json::from_str::<Size>(text);
        assert_eq!(from("\"2GiB\"").expect("text"), Size(2048));
        assert_eq!(from("96").expect("number"), Size(96));
        assert!(from("-1").is_err());
        assert!(from("1.5").is_err());
        assert_eq!(serde_json::to_string(&Size(2048)).expect("json"), "\"2GiB\"");
        assert_eq!(serde_json::from_str::<CpuMilli>("0.5").expect("half"), CpuMilli(500));
        // An empty host holds zero CPUs. A VM with zero CPUs is refused with its specification.
        assert_eq!(serde_json::from_str::<CpuMilli>("0").expect("none"), CpuMilli(0));
        for bad in ["-1", "1e9", "\"x\""] {
            assert!(serde_json::from_str::<CpuMilli>(bad).is_err(), "{bad}");
        }
    }
}
