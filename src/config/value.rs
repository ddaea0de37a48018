//! Values of the configuration that have a grammar of their own.

use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use ipnet::{Ipv4Net, Ipv6Net};
use pref64::Pref64;
use serde::de::value::StrDeserializer;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml::Spanned;

use super::place::{Located, Place};

/// One value or a list of values.
#[derive(Clone, Debug)]
pub(crate) struct Many<T>(pub(crate) Vec<Located<T>>);

impl<T> Many<T> {
    /// Values that nobody wrote.
    pub(crate) fn default<const N: usize>(values: [T; N]) -> Self {
        Self(values.into_iter().map(Located::default).collect())
    }

    /// The values without their places.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|located| &located.value)
    }

    /// Whether there is none.
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Many<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<OneOrMore<T>>::deserialize(deserializer)?;
        let place = Place::File(spanned.span());
        Ok(match spanned.into_inner() {
            OneOrMore::One(value) => Self(vec![Located { value, place }]),
            OneOrMore::More(values) => Self(values),
        })
    }
}

impl<T: Serialize> Serialize for Many<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

enum OneOrMore<T> {
    One(T),
    More(Vec<Located<T>>),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMore<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = OneOrMore<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one string or a list of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                T::deserialize(StrDeserializer::new(text)).map(OneOrMore::One)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(de::value::MapAccessDeserializer::new(map)).map(OneOrMore::One)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(OneOrMore::More(values))
            }
        }

        deserializer.deserialize_any(Either(PhantomData))
    }
}

/// Consecutive IPv4 addresses: `192.0.2.1`, `198.51.100.0/28` or `192.0.2.4-192.0.2.9`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddressRange {
    /// The first address.
    pub(crate) first: Ipv4Addr,
    /// The last address, not before the first.
    pub(crate) last: Ipv4Addr,
}

impl AddressRange {
    /// Its addresses, in order.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        (self.first.to_bits()..=self.last.to_bits()).map(Ipv4Addr::from_bits)
    }
}

impl FromStr for AddressRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong =
            || format!("`{text}` is no IPv4 address or range; write 192.0.2.1, 198.51.100.0/28 or 192.0.2.4-192.0.2.9");
        if text.contains('/') {
            let net: Ipv4Net = text.parse().map_err(|_| wrong())?;
            if net.addr() != net.network() {
                return Err(format!("`{text}` has bits set after its length; the range is `{}`", net.trunc()));
            }
            return Ok(Self { first: net.network(), last: net.broadcast() });
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let first: Ipv4Addr = first.trim().parse().map_err(|_| wrong())?;
        let last: Ipv4Addr = last.trim().parse().map_err(|_| wrong())?;
        if last < first {
            return Err(format!("`{text}` ends before it starts; write the lower address first"));
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return self.first.fmt(f);
        }
        let size = self.last.to_bits() - self.first.to_bits();
        let is_net = size != u32::MAX && (size + 1).is_power_of_two() && self.first.to_bits() & size == 0;
        if is_net {
            write!(f, "{}/{}", self.first, size.leading_zeros())
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// Ports (and ICMP identifiers) from 1 to 65535: `20000-29999`, or one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PortRange {
    /// The first port.
    pub(crate) first: u16,
    /// The last port, not before the first.
    pub(crate) last: u16,
}

impl PortRange {
    /// Every port but 0.
    pub(crate) const ALL: Self = Self { first: 1, last: u16::MAX };
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is no port range; write it as 1-65535, the lower port first and not 0");
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let first: u16 = first.trim().parse().map_err(|_| wrong())?;
        let last: u16 = last.trim().parse().map_err(|_| wrong())?;
        if first == 0 || last < first { Err(wrong()) } else { Ok(Self { first, last }) }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// An entry of the pool: addresses, ports if they are not those of the whole pool, and sources if it is not for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PoolEntry {
    /// The addresses; none that could be used as long as [`Self::shared`] is not found out.
    pub(crate) addresses: AddressRange,
    /// The ports, if the entry has its own.
    pub(crate) ports: Option<PortRange>,
    /// The only sources that use it; none means it is for whoever has no entry of their own.
    pub(crate) sources: Vec<Ipv6Range>,
    /// Written as `shared`: the host's own address, with the ports that were written.
    pub(crate) shared: Option<Option<PortRange>>,
}

/// How the host's own address is written.
const SHARED: &str = "shared";

impl PoolEntry {
    fn new(address: &str, ports: Option<PortRange>, sources: Vec<Ipv6Range>) -> Result<Self, String> {
        if address == SHARED {
            let addresses = AddressRange { first: Ipv4Addr::UNSPECIFIED, last: Ipv4Addr::UNSPECIFIED };
            return Ok(Self { addresses, ports, sources, shared: Some(ports) });
        }
        Ok(Self { addresses: address.parse()?, ports, sources, shared: None })
    }
}

impl FromStr for PoolEntry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            // Not an IPv6 address, which has more than one colon.
            Some((address, ports)) if !ports.contains(':') => Self::new(address, Some(ports.parse()?), Vec::new()),
            _ => Self::new(text, None, Vec::new()),
        }
    }
}

impl<'de> Deserialize<'de> for PoolEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// The long form.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Long {
            address: String,
            ports: Option<PortRange>,
            #[serde(default)]
            sources: Vec<Ipv6Range>,
        }

        struct ShortOrLong;

        impl<'de> Visitor<'de> for ShortOrLong {
            type Value = PoolEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "\"shared\", an address, a range, or { address = \"203.0.113.5\", ports = \"20000-29999\" }",
                )
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let long = Long::deserialize(de::value::MapAccessDeserializer::new(map))?;
                PoolEntry::new(&long.address, long.ports, long.sources).map_err(de::Error::custom)
            }
        }

        deserializer.deserialize_any(ShortOrLong)
    }
}

impl Serialize for PoolEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Long<'e> {
            address: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            ports: Option<PortRange>,
            #[serde(skip_serializing_if = "<[_]>::is_empty")]
            sources: &'e [Ipv6Range],
        }
        let (address, ports) = match self.shared {
            Some(written) => (SHARED.to_owned(), written),
            None => (self.addresses.to_string(), self.ports),
        };
        if ports.is_none() && self.sources.is_empty() {
            return serializer.serialize_str(&address);
        }
        Long { address, ports, sources: &self.sources }.serialize(serializer)
    }
}

/// An address with a port, which is 53 if it is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint(pub(crate) SocketAddr);

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(socket) = text.parse() {
            return Ok(Self(socket));
        }
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        match bare.parse::<IpAddr>() {
            Ok(address) => Ok(Self(SocketAddr::new(address, 53))),
            Err(_) => Err(format!(
                "`{text}` is no address; write 192.0.2.53, 192.0.2.53:5353, 2001:db8::53 or [2001:db8::53]:5353"
            )),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An address with its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Socket(pub(crate) SocketAddr);

impl FromStr for Socket {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<SocketAddr>() {
            Ok(socket) if socket.port() != 0 => Ok(Self(socket)),
            _ => Err(format!("`{text}` is no address with a port; write 127.0.0.1:9464 or [::1]:9464")),
        }
    }
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A source address: found out at start, or given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Auto<A> {
    /// One of this host's addresses.
    #[default]
    Auto,
    /// This one.
    Fixed(A),
}

impl<A: FromStr> FromStr for Auto<A> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let family = if size_of::<A>() == 4 { "IPv4" } else { "IPv6" };
        text.parse().map(Self::Fixed).map_err(|_| format!("`{text}` is neither \"auto\" nor an {family} address"))
    }
}

impl<A: fmt::Display> fmt::Display for Auto<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Fixed(address) => address.fmt(f),
        }
    }
}

/// A translation prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix(pub(crate) Pref64);

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|error: pref64::Pref64Error| error.to_string())
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A range of IPv6 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ipv6Range(pub(crate) Ipv6Net);

impl FromStr for Ipv6Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let net: Ipv6Net = text
            .parse()
            .map_err(|_| format!("`{text}` is no IPv6 range; write it as address/length, for example 2001:db8::/32"))?;
        if net.addr() == net.network() {
            Ok(Self(net))
        } else {
            Err(format!("`{text}` has bits set after its length; the range is `{}`", net.trunc()))
        }
    }
}

impl fmt::Display for Ipv6Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A range of IPv4 addresses by prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ipv4Range(pub(crate) Ipv4Net);

impl FromStr for Ipv4Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let net = text.parse::<Ipv4Net>().or_else(|_| text.parse::<Ipv4Addr>().map(Ipv4Net::from)).map_err(|_| {
            format!("`{text}` is no IPv4 range; write it as address/length, for example 198.51.100.0/24")
        })?;
        if net.addr() == net.network() {
            Ok(Self(net))
        } else {
            Err(format!("`{text}` has bits set after its length; the range is `{}`", net.trunc()))
        }
    }
}

impl fmt::Display for Ipv4Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Implements serde by `FromStr` and `Display`. Parsing happens inside a visitor, where the parser knows the place.
macro_rules! as_text {
    ($($type:ty: $what:literal;)+) => {$(
        impl<'de> ::serde::Deserialize<'de> for $type {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct InText;

                impl ::serde::de::Visitor<'_> for InText {
                    type Value = $type;

                    fn expecting(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                        f.write_str($what)
                    }

                    fn visit_str<E: ::serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                        text.parse().map_err(E::custom)
                    }
                }

                deserializer.deserialize_any(InText)
            }
        }

        impl ::serde::Serialize for $type {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )+};
}
pub(crate) use as_text;

as_text! {
    Prefix: "a translation prefix such as \"64:ff9b::/96\"";
    AddressRange: "an IPv4 address or range such as \"198.51.100.0/28\"";
    PortRange: "a port range such as \"1-65535\"";
    Endpoint: "an address, with a port if it is not 53, such as \"192.0.2.53\"";
    Socket: "an address with a port such as \"127.0.0.1:9464\"";
    Ipv4Range: "an IPv4 range such as \"198.51.100.0/24\"";
    Ipv6Range: "an IPv6 range such as \"2001:db8::/32\"";
    Auto<Ipv4Addr>: "\"auto\" or an IPv4 address";
    Auto<Ipv6Addr>: "\"auto\" or an IPv6 address";
}

/// Whether, and to what, the MSS of TCP is lowered: `false`, `true` or an IPv6 MTU in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum MssClamp {
    /// Leave it alone.
    #[default]
    Off,
    /// To what fits `lowest-ipv6`.
    ToLowest,
    /// To what fits this MTU.
    To(u16),
}

impl<'de> Deserialize<'de> for MssClamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SwitchOrMtu;

        impl Visitor<'_> for SwitchOrMtu {
            type Value = MssClamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("false, true, or an MTU from 1280 to 65535")
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> Result<Self::Value, E> {
                Ok(if on { MssClamp::ToLowest } else { MssClamp::Off })
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
                match u16::try_from(value) {
                    Ok(mtu @ 1280..) => Ok(MssClamp::To(mtu)),
                    _ => Err(E::invalid_value(de::Unexpected::Signed(value), &self)),
                }
            }
        }

        deserializer.deserialize_any(SwitchOrMtu)
    }
}

impl Serialize for MssClamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_bool(false),
            Self::ToLowest => serializer.serialize_bool(true),
            Self::To(mtu) => serializer.serialize_u16(*mtu),
        }
    }
}
