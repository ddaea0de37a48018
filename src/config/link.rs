//! `translator.mtu.ipv4-link` and `translator.mtu.ipv6-link`.

use std::fmt;

use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The MTU of the next hop on one side: found out, or given, of `LEAST` bytes at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LinkMtu<const LEAST: u16> {
    /// That of this host's interfaces.
    #[default]
    Auto,
    /// This one.
    Fixed(u16),
}

impl<const LEAST: u16> LinkMtu<LEAST> {
    /// The MTU, if it was given.
    pub(crate) fn given(self) -> Option<u32> {
        match self {
            Self::Auto => None,
            Self::Fixed(mtu) => Some(mtu.into()),
        }
    }
}

impl<'de, const LEAST: u16> Deserialize<'de> for LinkMtu<LEAST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AutoOrMtu<const LEAST: u16>;

        impl<const LEAST: u16> Visitor<'_> for AutoOrMtu<LEAST> {
            type Value = LinkMtu<LEAST>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "\"auto\" or an MTU from {LEAST} to {}", u16::MAX)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                if text == "auto" { Ok(LinkMtu::Auto) } else { Err(E::invalid_value(Unexpected::Str(text), &self)) }
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
                let mtu = u16::try_from(value).ok().filter(|mtu| *mtu >= LEAST);
                mtu.map(LinkMtu::Fixed).ok_or_else(|| E::invalid_value(Unexpected::Signed(value), &self))
            }
        }

        deserializer.deserialize_any(AutoOrMtu::<LEAST>)
    }
}

impl<const LEAST: u16> Serialize for LinkMtu<LEAST> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Fixed(mtu) => serializer.serialize_u16(*mtu),
        }
    }
}
