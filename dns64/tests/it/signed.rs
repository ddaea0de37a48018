//! Signed zones, made and signed by the test: the root, `example.` below it with NSEC, `hashed.` with NSEC3, and
//! `plain.`, which nobody has signed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use data_encoding::BASE32_DNSSEC;
use hickory_proto::dnssec::crypto::EcdsaSigningKey;
use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData, DS, NSEC, NSEC3, RRSIG};
use hickory_proto::dnssec::{Algorithm, DigestType, DnssecSigner, Nsec3HashAlgorithm, SigningKey};
use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::rdata::{CNAME, NS, NULL, SOA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordSet, RecordType};
use hickory_proto::serialize::binary::BinEncodable;
use time::OffsetDateTime;

use super::upstream::record;

const DAY: Duration = Duration::from_secs(86_400);

/// What is wrong with the signatures or the delegation of `example.`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Signed for a time that is over.
    Expired,
    /// Signed for a time that has not come.
    NotYet,
    /// Signed with a key that the zone does not show.
    WrongKey,
    /// The parent's DS record is for another key.
    WrongDs,
    /// The parent denies that there is a DS record, without proof.
    MissingDs,
    /// No signatures at all.
    Unsigned,
    /// Denials without the records that prove them.
    NoDenial,
    /// Signed over other addresses than are told.
    Forged,
    /// With addresses of another name beside those that were asked for.
    Smuggled,
    /// More signatures than anybody has.
    TooMany,
}

/// All zones, and what answers are made of.
pub(crate) struct World {
    zones: Vec<Zone>,
    fault: Fault,
    anchors: PathBuf,
}

struct Zone {
    name: Name,
    signer: Option<DnssecSigner>,
    /// NSEC3 iterations, if names are denied so.
    hashed: Option<u16>,
    inception: OffsetDateTime,
    records: BTreeMap<(Name, u16), Vec<Record>>,
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn signer(zone: &Name) -> DnssecSigner {
    let pkcs8 = EcdsaSigningKey::generate_pkcs8(Algorithm::ECDSAP256SHA256).unwrap();
    let key = EcdsaSigningKey::from_pkcs8(&pkcs8, Algorithm::ECDSAP256SHA256).unwrap();
    let dnskey = DNSKEY::from_key(&key.to_public_key().unwrap());
    DnssecSigner::new(dnskey, Box::new(key), zone.clone(), 30 * DAY)
}

impl World {
    /// `text` is what is in `example.`, `hashed.` and `plain.`, a record a line.
    pub(crate) fn new(text: &str, fault: Fault, iterations: u16) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let anchors = std::env::temp_dir().join(format!("dns64-anchors-{}-{number}", std::process::id()));
        let mut root = Zone::new(".", true, None);
        let mut zones = vec![
            Zone::new("example.", true, None),
            Zone::new("hashed.", true, Some(iterations)),
            Zone::new("plain.", false, None),
        ];
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let record = record(line);
            let zone = zones.iter_mut().find(|zone| zone.name.zone_of(&record.name)).expect("a zone for each record");
            zone.add(record);
        }
        for zone in &mut zones {
            root.add(Record::from_rdata(zone.name.clone(), 3600, RData::NS(NS(name("ns.example.")))));
            let is_example = zone.name == name("example.");
            if let Some(signer) = &zone.signer
                && !(is_example && fault == Fault::MissingDs)
            {
                let shown =
                    if is_example && fault == Fault::WrongDs { self::signer(&zone.name) } else { signer_of(signer) };
                let key = shown.dnskey().clone();
                let digest = key.to_digest(&zone.name, DigestType::SHA256).unwrap();
                let tag = key.calculate_key_tag().unwrap();
                let ds = DS::new(tag, Algorithm::ECDSAP256SHA256, DigestType::SHA256, digest.as_ref().to_owned());
                root.add(Record::from_rdata(zone.name.clone(), 3600, RData::DNSSEC(DNSSECRData::DS(ds))));
            }
            if is_example {
                zone.spoil(fault);
            }
        }
        let key = root.signer.as_ref().unwrap().dnskey();
        std::fs::write(&anchors, format!("; the root's key\n. 3600 IN DNSKEY {key}\n")).unwrap();
        zones.push(root);
        Self { zones, fault, anchors }
    }

    /// A file with the root's key.
    pub(crate) fn anchors(&self) -> PathBuf {
        self.anchors.clone()
    }

    /// What a resolver that does not validate says, with everything that is needed to do so.
    pub(crate) fn answer(&self, query: &Query) -> Message {
        let mut message = Message::response(0, hickory_proto::op::OpCode::Query);
        message.metadata.recursion_available = true;
        message.queries.push(query.clone());
        let mut edns = Edns::new();
        edns.set_dnssec_ok(true);
        message.edns = Some(edns);
        let (mut owner, kind) = (query.name().clone(), query.query_type());
        for _ in 0..8 {
            let zone = self.zone(&owner, kind);
            let is_example = zone.name == name("example.");
            if let Some(records) = zone.records.get(&(owner.clone(), kind.into())) {
                let mut signed = zone.signed(records);
                if is_example && self.fault == Fault::TooMany {
                    let signature = signed.last().unwrap().clone();
                    signed.extend(std::iter::repeat_n(signature, 200));
                }
                if is_example && self.fault == Fault::Forged {
                    signed[0].data = RData::try_from_str(RecordType::A, "203.0.113.66").unwrap();
                }
                message.answers.extend(signed);
                if self.fault == Fault::Smuggled && is_example {
                    message.answers.push(record("elsewhere.plain. 900 A 203.0.113.66"));
                }
                return message;
            }
            if let Some(target) = redirected(&owner) {
                message.answers.extend(zone.signed(&[redirection()]));
                message.answers.push(Record::from_rdata(owner, 300, RData::CNAME(CNAME(target.clone()))));
                owner = target;
                continue;
            }
            let Some(alias) = zone.records.get(&(owner.clone(), u16::from(RecordType::CNAME))) else {
                let denial = zone.denial(&owner);
                message.metadata.response_code = denial.0;
                message.authorities = denial.1;
                let is_unproven = is_example && self.fault == Fault::NoDenial
                    || self.fault == Fault::MissingDs && kind == RecordType::DS && owner == name("example.");
                if is_unproven {
                    message.authorities.retain(|record| record.record_type() != RecordType::NSEC);
                    message.authorities.truncate(2);
                }
                return message;
            };
            message.answers.extend(zone.signed(alias));
            let RData::CNAME(target) = &alias[0].data else { unreachable!() };
            owner = target.0.clone();
        }
        message
    }

    /// The zone that is asked; what is above a delegation is the parent's.
    fn zone(&self, owner: &Name, kind: RecordType) -> &Zone {
        let is_in = |zone: &&Zone| {
            zone.name.zone_of(owner) && !(kind == RecordType::DS && zone.name == *owner && !zone.name.is_root())
        };
        self.zones.iter().filter(is_in).max_by_key(|zone| zone.name.num_labels()).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.anchors);
    }
}

/// `old.example.` has moved to `example.`, with all names below it (RFC 6672).
fn redirection() -> Record {
    let rdata = NULL::with(name("example.").to_bytes().unwrap());
    Record::from_rdata(name("old.example."), 300, RData::Unknown { code: RecordType::DNAME, rdata })
}

fn redirected(owner: &Name) -> Option<Name> {
    let old = name("old.example.");
    let is_below = old.zone_of(owner) && *owner != old;
    is_below.then(|| Name::from_labels(owner.iter().take(1)).unwrap().append_domain(&name("example.")).unwrap())
}

/// The signer is asked for its key only.
fn signer_of(signer: &DnssecSigner) -> DnssecSigner {
    let pkcs8 = EcdsaSigningKey::generate_pkcs8(Algorithm::ECDSAP256SHA256).unwrap();
    let unused = EcdsaSigningKey::from_pkcs8(&pkcs8, Algorithm::ECDSAP256SHA256).unwrap();
    DnssecSigner::new(signer.dnskey().clone(), Box::new(unused), signer.signer_name().clone(), DAY)
}

impl Zone {
    fn new(zone: &str, is_signed: bool, hashed: Option<u16>) -> Self {
        let zone = name(zone);
        let signer = is_signed.then(|| signer(&zone));
        let soa = SOA::new(name("ns.example."), name("root.example."), 1, 2, 3, 4, 300);
        let inception = OffsetDateTime::now_utc() - DAY;
        let mut this = Self { name: zone.clone(), signer, hashed, inception, records: BTreeMap::new() };
        this.add(Record::from_rdata(zone.clone(), 3600, RData::SOA(soa)));
        this.add(Record::from_rdata(zone.clone(), 3600, RData::NS(NS(name("ns.example.")))));
        if let Some(key) = this.signer.as_ref().map(|signer| signer.dnskey().clone()) {
            this.add(Record::from_rdata(zone, 3600, RData::DNSSEC(DNSSECRData::DNSKEY(key))));
        }
        this
    }

    fn add(&mut self, record: Record) {
        self.records.entry((record.name.clone(), record.record_type().into())).or_default().push(record);
    }

    fn spoil(&mut self, fault: Fault) {
        match fault {
            Fault::Expired => self.inception -= 60 * DAY,
            Fault::NotYet => self.inception += 60 * DAY,
            Fault::WrongKey => self.signer = Some(signer(&self.name)),
            Fault::Unsigned => self.signer = None,
            Fault::None
            | Fault::WrongDs
            | Fault::MissingDs
            | Fault::NoDenial
            | Fault::Forged
            | Fault::Smuggled
            | Fault::TooMany => {}
        }
    }

    /// Records of one set with their signature.
    fn signed(&self, records: &[Record]) -> Vec<Record> {
        let mut all = records.to_vec();
        let first = &records[0];
        // A delegation is not the parent's to sign.
        let is_delegation = first.record_type() == RecordType::NS && first.name != self.name;
        if let Some(signer) = self.signer.as_ref().filter(|_| !is_delegation) {
            let mut set = RecordSet::with_ttl(first.name.clone(), first.record_type(), first.ttl);
            for record in records {
                set.add_rdata(record.data.clone());
            }
            let signature = RRSIG::from_rrset(&set, DNSClass::IN, self.inception, signer).unwrap();
            let data = RData::DNSSEC(DNSSECRData::RRSIG(signature));
            all.push(Record::from_rdata(first.name.clone(), first.ttl, data));
        }
        all
    }

    /// The response code and the records that say that there is nothing.
    fn denial(&self, owner: &Name) -> (ResponseCode, Vec<Record>) {
        let exists = self.records.keys().any(|(name, _)| owner.zone_of(name));
        let code = if exists { ResponseCode::NoError } else { ResponseCode::NXDomain };
        let mut records = self.signed(&self.records[&(self.name.clone(), u16::from(RecordType::SOA))]);
        if self.signer.is_some() {
            let proofs = match self.hashed {
                Some(iterations) => self.hashed_proofs(owner, exists, iterations),
                None => self.plain_proofs(owner, exists),
            };
            records.extend(proofs.iter().flat_map(|proof| self.signed(std::slice::from_ref(proof))));
        }
        (code, records)
    }

    fn types_at(&self, owner: &Name) -> Vec<RecordType> {
        self.records.keys().filter(|(name, _)| name == owner).map(|(_, kind)| RecordType::from(*kind)).collect()
    }

    fn owners(&self) -> Vec<Name> {
        let mut owners: Vec<Name> = self.records.keys().map(|(name, _)| name.clone()).collect();
        owners.sort();
        owners.dedup();
        owners
    }

    /// NSEC records that match or cover the name and the wildcard beside it (RFC 4035 §3.1.3).
    fn plain_proofs(&self, owner: &Name, exists: bool) -> Vec<Record> {
        let owners = self.owners();
        let before = |wanted: &Name| owners.iter().rposition(|one| one <= wanted).unwrap_or(owners.len() - 1);
        let mut places = vec![before(owner)];
        if !exists {
            places.push(before(&name("*").append_domain(&self.name).unwrap()));
        }
        places.dedup();
        let proof = |&at: &usize| {
            let next = owners[(at + 1) % owners.len()].clone();
            let nsec = NSEC::new_cover_self(next, self.types_at(&owners[at]));
            Record::from_rdata(owners[at].clone(), 300, RData::DNSSEC(DNSSECRData::NSEC(nsec)))
        };
        places.iter().map(proof).collect()
    }

    /// NSEC3 records that match or cover the name, its closest encloser and the wildcard there (RFC 5155 §7.2).
    fn hashed_proofs(&self, owner: &Name, exists: bool, iterations: u16) -> Vec<Record> {
        let hash = |name: &Name| Nsec3HashAlgorithm::SHA1.hash(b"salt", name, iterations).unwrap().as_ref().to_vec();
        let mut hashed: Vec<(Vec<u8>, Name)> = self.owners().into_iter().map(|name| (hash(&name), name)).collect();
        hashed.sort();
        let wanted = if exists {
            vec![owner.clone()]
        } else {
            vec![self.name.clone(), owner.clone(), name("*").append_domain(&self.name).unwrap()]
        };
        let place = |name: &Name| {
            let wanted = hash(name);
            hashed.iter().rposition(|(one, _)| *one <= wanted).unwrap_or(hashed.len() - 1)
        };
        let mut places: Vec<usize> = wanted.iter().map(place).collect();
        places.sort_unstable();
        places.dedup();
        let proof = |&at: &usize| {
            let (here, owner) = &hashed[at];
            let next = hashed[(at + 1) % hashed.len()].0.clone();
            let types = self.types_at(owner).into_iter().chain([RecordType::RRSIG]);
            let nsec3 = NSEC3::new(Nsec3HashAlgorithm::SHA1, false, iterations, b"salt".to_vec(), next, types);
            let owner = Name::from_ascii(BASE32_DNSSEC.encode(here)).unwrap().append_domain(&self.name).unwrap();
            Record::from_rdata(owner, 300, RData::DNSSEC(DNSSECRData::NSEC3(nsec3)))
        };
        places.iter().map(proof).collect()
    }
}
