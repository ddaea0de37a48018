//! An answer cut into what can be judged by itself.
//!
//! An upstream follows aliases, so that one answer holds a chain and its end, from several zones; the validator knows one
//! name and one type at a time. Each link becomes an answer of its own, and the end another.

use hickory_net::proto::op::{DnsResponse, Query};
use hickory_proto::dnssec::rdata::RRSIG;
use hickory_proto::op::Message as HickoryMessage;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// Links of one chain, at most.
const MOST_LINKS: usize = 16;

/// A question and what the answer says to it.
#[derive(Clone)]
pub(super) struct Piece {
    pub(super) query: Query,
    pub(super) response: DnsResponse,
}

/// The parts of an answer, and whether the chain of aliases is there to its end. Nothing if it cannot be cut, because
/// something in it belongs to no part.
pub(super) fn cut(query: &Query, response: &DnsResponse) -> Option<(Vec<Piece>, bool)> {
    let (pieces, is_complete) = all(query, response)?;
    let taken: usize = pieces.iter().map(|piece| piece.response.answers.len()).sum();
    // An alias that is made from a DNAME record is in no part, but followed from it.
    let made = pieces.iter().filter(|piece| piece.query.query_type() == RecordType::DNAME).count();
    let asked_for = if query.query_type() == RecordType::DNAME { 0 } else { made };
    (taken + asked_for == response.answers.len()).then_some((pieces, is_complete))
}

fn all(query: &Query, response: &DnsResponse) -> Option<(Vec<Piece>, bool)> {
    let mut pieces = Vec::new();
    let mut owner = query.name().clone();
    while let Some(target) = alias(response, &owner).filter(|_| query.query_type() != RecordType::CNAME) {
        if pieces.len() == MOST_LINKS {
            return None;
        }
        pieces.push(link(query, response, &owner, &target)?);
        owner = target;
    }
    let answers = owned(response, &owner);
    let is_complete = pieces.is_empty() || !answers.is_empty() || !response.authorities.is_empty();
    if is_complete {
        let end = Query::query(owner, query.query_type());
        pieces.push(piece(end, answers, response.authorities.clone(), response.response_code)?);
    }
    Some((pieces, is_complete))
}

/// Where a name leads.
fn alias(response: &DnsResponse, owner: &Name) -> Option<Name> {
    let mut links = response.answers.iter().filter(|record| record.name == *owner);
    links.find_map(|record| record.try_borrow::<CNAME>().map(|target| target.data().0.clone()))
}

fn owned(response: &DnsResponse, owner: &Name) -> Vec<Record> {
    response.answers.iter().filter(|record| record.name == *owner).cloned().collect()
}

fn link(query: &Query, response: &DnsResponse, owner: &Name, target: &Name) -> Option<Piece> {
    let records = owned(response, owner);
    let signatures: Vec<_> = records.iter().filter_map(|record| record.try_borrow::<RRSIG>()).collect();
    if signatures.is_empty()
        && records.len() == 1
        && let Some(redirection) = redirection(response, owner, target)
    {
        // RFC 6672 §5.3.1: the alias is made from the DNAME record, which is signed, and is not signed itself.
        let records = owned(response, &redirection);
        let query = Query::query(redirection, RecordType::DNAME);
        return piece(query, records, Vec::new(), ResponseCode::NoError);
    }
    // An alias that a wildcard stands for needs the proof that there is nothing closer (RFC 4035 §5.3.4).
    let is_expanded = signatures.iter().any(|one| one.data().input().num_labels < owner.num_labels());
    let proofs = if is_expanded { response.authorities.clone() } else { Vec::new() };
    let query = Query::query(owner.clone(), query.query_type());
    piece(query, records, proofs, ResponseCode::NoError)
}

/// The owner of the DNAME record that makes `owner` an alias of `target`.
fn redirection(response: &DnsResponse, owner: &Name, target: &Name) -> Option<Name> {
    response.answers.iter().find_map(|record| {
        let RData::Unknown { code: RecordType::DNAME, rdata } = &record.data else { return None };
        let to = <Name as hickory_proto::serialize::binary::BinDecodable>::from_bytes(&rdata.anything).ok()?;
        let is_above = record.name.zone_of(owner) && record.name != *owner;
        let kept = usize::from(owner.num_labels().checked_sub(record.name.num_labels())?);
        let prefix = Name::from_labels(owner.iter().take(kept)).ok()?;
        (is_above && prefix.append_domain(&to).ok()? == *target).then(|| record.name.clone())
    })
}

fn piece(query: Query, answers: Vec<Record>, authorities: Vec<Record>, code: ResponseCode) -> Option<Piece> {
    let mut message = HickoryMessage::response(0, hickory_proto::op::OpCode::Query);
    message.metadata.response_code = code;
    message.queries.push(query.clone());
    message.answers = answers;
    message.authorities = authorities;
    Some(Piece { query, response: DnsResponse::from_message(message).ok()? })
}
