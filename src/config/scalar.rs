//! Numbers, durations and names whose types carry what is allowed.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Number<MIN, MAX> {
    /// A number that is known to be in range.
    pub(crate) const fn new(value: u64) -> Self {
        assert!(value >= MIN && value <= MAX, "the default is in range");
        Self(value)
    }

    /// The number in a type that `MAX` fits.
    pub(crate) fn to<T: TryFrom<u64>>(self) -> T {
        T::try_from(self.0).unwrap_or_else(|_| unreachable!("{MAX} fits the type"))
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Number<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InRange<const MIN: u64, const MAX: u64>;

        impl<const MIN: u64, const MAX: u64> Visitor<'_> for InRange<MIN, MAX> {
            type Value = Number<MIN, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from {MIN} to {MAX}")
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
                match u64::try_from(value) {
                    Ok(value) => self.visit_u64(value),
                    Err(_) => Err(E::invalid_value(Unexpected::Signed(value), &self)),
                }
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
                if (MIN..=MAX).contains(&value) {
                    Ok(Number(value))
                } else {
                    Err(E::invalid_value(Unexpected::Unsigned(value), &self))
                }
            }
        }

        deserializer.deserialize_any(InRange::<MIN, MAX>)
    }
}

impl<const MIN: u64, const MAX: u64> Serialize for Number<MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

/// A duration from `MIN` to `MAX` milliseconds, written as `"2h4m"` or as whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetime<const MIN: u64, const MAX: u64>(Duration);

impl<const MIN: u64, const MAX: u64> Lifetime<MIN, MAX> {
    /// A duration that is known to be in range.
    pub(crate) const fn new(value: Duration) -> Self {
        assert!(value.as_millis() >= MIN as u128 && value.as_millis() <= MAX as u128, "the default is in range");
        Self(value)
    }

    /// The duration.
    pub(crate) const fn value(self) -> Duration {
        self.0
    }

    fn checked<E: de::Error>(value: Duration) -> Result<Self, E> {
        if (u128::from(MIN)..=u128::from(MAX)).contains(&value.as_millis()) {
            return Ok(Self(value));
        }
        let (least, most) = (Text(Duration::from_millis(MIN)), Text(Duration::from_millis(MAX)));
        Err(E::custom(format_args!("{} is out of range; allowed is {least} to {most}", Text(value))))
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Lifetime<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InRange<const MIN: u64, const MAX: u64>;

        impl<const MIN: u64, const MAX: u64> Visitor<'_> for InRange<MIN, MAX> {
            type Value = Lifetime<MIN, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"5m\", \"2h4m\" or \"500ms\", or whole seconds")
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
                match u64::try_from(value) {
                    Ok(seconds) => self.visit_u64(seconds),
                    Err(_) => Err(E::invalid_value(Unexpected::Signed(value), &self)),
                }
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
                Lifetime::checked(Duration::from_secs(value))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Lifetime::checked(text.parse::<Text>().map_err(E::custom)?.0)
            }
        }

        deserializer.deserialize_any(InRange::<MIN, MAX>)
    }
}

impl<const MIN: u64, const MAX: u64> Serialize for Lifetime<MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Text(self.0))
    }
}

/// A duration as people write it: `2h4m`, `500ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) Duration);

/// The units, largest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, millis) in UNITS {
            if rest >= millis {
                write!(f, "{}{unit}", rest / millis)?;
                rest %= millis;
            }
        }
        Ok(())
    }
}

impl FromStr for Text {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            format!(
                "`{text}` is not a duration; write it as \"5m\", \"2h4m\" or \"500ms\" with the units d, h, m, s, ms"
            )
        };
        if text.is_empty() {
            return Err(wrong());
        }
        let mut total: u64 = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let (count, after) = rest.split_at(digits);
            let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
            let (unit, after) = after.split_at(letters);
            let (_, millis) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
            let count: u64 = count.parse().map_err(|_| wrong())?;
            total = count.checked_mul(millis).and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
            rest = after;
        }
        Ok(Self(Duration::from_millis(total)))
    }
}

/// The name of a network device: 1 to 15 characters that the kernel takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct DeviceName(String);

impl DeviceName {
    /// The name.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if !(1..=15).contains(&name.len()) || !plain || [".", "..", "all", "default", "lo"].contains(&name) {
            return Err(format!(
                "`{name}` is not a device name; allowed are 1 to 15 letters, digits, `-`, `_` and `.`, and not `all`, \
                 `default` or `lo`"
            ));
        }
        Ok(Self(name.to_owned()))
    }
}

impl TryFrom<String> for DeviceName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

impl From<DeviceName> for String {
    fn from(name: DeviceName) -> Self {
        name.0
    }
}

/// A file name that does not depend on the working directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct SocketPath(String);

impl SocketPath {
    /// The path.
    pub(crate) fn as_path(&self) -> &std::path::Path {
        std::path::Path::new(&self.0)
    }
}

impl FromStr for SocketPath {
    type Err = String;

    fn from_str(path: &str) -> Result<Self, Self::Err> {
        // sun_path has 108 bytes, the last of which is zero (unix(7)).
        if !path.starts_with('/') || path.ends_with('/') || path.len() > 107 {
            return Err(format!("`{path}` is not a socket path; allowed is an absolute path of at most 107 bytes"));
        }
        Ok(Self(path.to_owned()))
    }
}

impl TryFrom<String> for SocketPath {
    type Error = String;

    fn try_from(path: String) -> Result<Self, Self::Error> {
        path.parse()
    }
}

impl From<SocketPath> for String {
    fn from(path: SocketPath) -> Self {
        path.0
    }
}
