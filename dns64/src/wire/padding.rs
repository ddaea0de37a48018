//! Padding of messages that are encrypted, so that their length says less about what is in them (RFC 7830, RFC 8467).

use super::cursor::Cursor;
use super::{code, option};

/// What queries are padded to, in bytes (RFC 8467 §4.1).
pub(crate) const QUERY_BLOCK: usize = 128;

/// What answers are padded to, in bytes (RFC 8467 §4.1).
pub(crate) const ANSWER_BLOCK: usize = 468;

/// Pads a message that ends in its OPT record to a multiple of so many bytes; one that does not stays as it is.
pub(crate) fn pad(message: &mut Vec<u8>, block: usize) {
    let Some(options_len) = trailing_opt(message) else { return };
    let padding = (message.len() + 4).next_multiple_of(block) - message.len() - 4;
    let (Ok(length), Ok(all)) = (u16::try_from(padding), u16::try_from(options_len + 4 + padding)) else { return };
    if message.len() + 4 + padding > usize::from(u16::MAX) {
        return;
    }
    let at = message.len() - options_len - 2;
    message[at..at + 2].copy_from_slice(&all.to_be_bytes());
    message.extend_from_slice(&option::PADDING.to_be_bytes());
    message.extend_from_slice(&length.to_be_bytes());
    message.resize(message.len() + padding, 0);
}

/// The length of the options of the OPT record that a message ends in.
fn trailing_opt(message: &[u8]) -> Option<usize> {
    let mut cursor = Cursor::new(message);
    let [_, answers, authorities, additionals] = cursor.header()?.counts;
    cursor.plain_name()?;
    cursor.skip(4)?;
    let records = u32::from(answers) + u32::from(authorities) + u32::from(additionals);
    let mut last = None;
    for _ in 0..records {
        last = Some(cursor.record()?);
    }
    last.filter(|record| record.kind == code::OPT && record.rdata.end == message.len()).map(|opt| opt.rdata.len())
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{Edns, Message, Query};
    use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
    use hickory_proto::rr::{Name, RecordType};

    use super::*;

    fn message(name: &str, edns: Option<Edns>) -> Vec<u8> {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::AAAA));
        message.edns = edns;
        message.to_vec().unwrap()
    }

    #[test]
    fn a_message_with_an_opt_record_is_padded_to_blocks_and_can_be_read() {
        for labels in 1..20 {
            for block in [QUERY_BLOCK, ANSWER_BLOCK] {
                let mut edns = Edns::new();
                edns.options_mut().insert(EdnsOption::Unknown(10, vec![7; 8]));
                edns.set_dnssec_ok(true);
                let mut bytes = message(&"label.".repeat(labels), Some(edns));
                pad(&mut bytes, block);
                assert_eq!(bytes.len() % block, 0);
                let read = Message::from_vec(&bytes).unwrap().edns.unwrap();
                assert!(read.flags().dnssec_ok && read.option(EdnsCode::Padding).is_some());
                assert!(read.option(EdnsCode::Cookie).is_some());
            }
        }
    }

    #[test]
    fn a_message_without_an_opt_record_at_its_end_stays_as_it_is() {
        let plain = message("x.example.", None);
        for bytes in [plain.clone(), plain[..20].to_vec(), Vec::new()] {
            let mut padded = bytes.clone();
            pad(&mut padded, QUERY_BLOCK);
            assert_eq!(padded, bytes);
        }
    }
}
