//! Any bytes as a packet of either IP version, as it arrives and inside an ICMP error.

use nat64_core::packet::{Parsed, Upper, original_datagram, parse_embedded_v4, parse_embedded_v6, parse_v4, parse_v6};

/// Parses.
pub fn run(data: &[u8]) {
    if let Ok(parsed) = parse_v4(data) {
        check(&parsed, data);
        let _ = parse_embedded_v4(original_datagram(data, &parsed));
    }
    if let Ok(parsed) = parse_v6(data) {
        check(&parsed, data);
        let _ = parse_embedded_v6(original_datagram(data, &parsed));
    }
    for embedded in [parse_embedded_v4(data).map(lengths), parse_embedded_v6(data).map(lengths)].into_iter().flatten() {
        assert!(embedded.0 <= data.len() && embedded.0 <= embedded.1, "{embedded:?}");
    }
}

fn check<A>(parsed: &Parsed<A>, data: &[u8]) {
    let (header, total) = (usize::from(parsed.header_len), parsed.total_len as usize);
    assert!(header <= total && total <= data.len(), "{header} {total} {}", data.len());
    if let Some(fragment) = parsed.fragment {
        assert!(fragment.offset.is_multiple_of(8) && (fragment.more || fragment.offset > 0));
        // What is not translated is not looked at further.
        let looked_at = !matches!(parsed.upper, Upper::Other(_));
        assert!(!looked_at || usize::from(fragment.offset) + (total - header) <= 65_535);
    }
}

fn lengths<A>(parsed: Parsed<A>) -> (usize, usize) {
    (parsed.header_len.into(), parsed.total_len as usize)
}
