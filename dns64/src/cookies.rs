//! DNS cookies (RFC 7873) in the form that servers share (RFC 9018): a client that repeats ours has not forged its address.

use std::hash::Hasher;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use siphasher::sip::SipHasher24;

use crate::wire::Cookie;

/// A server cookie is good for so long, in seconds (RFC 9018 §4.3).
const LIFETIME: u32 = 3600;

/// So far may another server's clock be ahead, in seconds (RFC 9018 §4.3).
const SKEW: u32 = 300;

/// What makes our cookies ours: a secret of this process.
#[derive(Debug)]
pub(crate) struct Cookies {
    keys: (u64, u64),
}

impl Cookies {
    pub(crate) fn new() -> Self {
        Self { keys: rand::random() }
    }

    /// Whether the client repeats a cookie that we gave to this address.
    pub(crate) fn is_good(&self, cookie: &Cookie, client: IpAddr) -> bool {
        let Some(server) = cookie.server else { return false };
        let time = u32::from_be_bytes([server[4], server[5], server[6], server[7]]);
        // Serial number arithmetic (RFC 9018 §4.3).
        let age = now().wrapping_sub(time);
        server[0] == 1
            && (age <= LIFETIME || age.wrapping_neg() <= SKEW)
            && server == self.server_cookie(cookie.client, time, client)
    }

    /// The option's data for the answer: the client's cookie and ours.
    pub(crate) fn answer(&self, cookie: &Cookie, client: IpAddr) -> [u8; 24] {
        let mut data = [0; 24];
        data[..8].copy_from_slice(&cookie.client);
        data[8..].copy_from_slice(&self.server_cookie(cookie.client, now(), client));
        data
    }

    fn server_cookie(&self, client_cookie: [u8; 8], time: u32, client: IpAddr) -> [u8; 16] {
        let mut cookie = [0; 16];
        cookie[0] = 1;
        cookie[4..8].copy_from_slice(&time.to_be_bytes());
        let mut hasher = SipHasher24::new_with_keys(self.keys.0, self.keys.1);
        hasher.write(&client_cookie);
        hasher.write(&cookie[..8]);
        match client.to_canonical() {
            IpAddr::V4(address) => hasher.write(&address.octets()),
            IpAddr::V6(address) => hasher.write(&address.octets()),
        }
        cookie[8..].copy_from_slice(&hasher.finish().to_le_bytes());
        cookie
    }
}

fn now() -> u32 {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    // Cookies count time modulo 2³².
    u32::try_from(seconds & u64::from(u32::MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_good_for_its_client_and_its_time() {
        let cookies = Cookies::new();
        let (here, elsewhere): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let client = *b"cookie!!";
        let with = |server| Cookie { client, server: Some(server) };
        let given = cookies.server_cookie(client, now(), here);
        assert!(cookies.is_good(&with(given), here));
        assert!(!cookies.is_good(&with(given), elsewhere));
        assert!(!cookies.is_good(&Cookie { client: *b"another!", server: Some(given) }, here));
        assert!(!cookies.is_good(&Cookie { client, server: None }, here));
        for (age, expected) in [(3590_i64, true), (3700, false), (-290, true), (-400, false)] {
            let time = u32::try_from(i64::from(now()) - age).unwrap();
            assert_eq!(cookies.is_good(&with(cookies.server_cookie(client, time, here)), here), expected, "{age}");
        }
    }

    #[test]
    fn the_hash_is_that_of_rfc_9018() {
        // Appendix A.1: secret e5e973e5a6b2a43f48e7dc849e37bfcf, client 198.51.100.100.
        let secret = 0xe5e9_73e5_a6b2_a43f_48e7_dc84_9e37_bfcf_u128.to_be_bytes();
        let (low, high) = secret.split_at(8);
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
        let cookies = Cookies { keys: (word(low), word(high)) };
        let client = 0x2464_c4ab_cf10_c957_u64.to_be_bytes();
        let cookie = cookies.server_cookie(client, 0x5cf7_9f11, "198.51.100.100".parse().unwrap());
        assert_eq!(u128::from_be_bytes(cookie), 0x0100_0000_5cf7_9f11_1f81_30c3_eee2_9480);
    }
}
