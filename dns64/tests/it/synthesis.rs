//! AAAA queries (RFC 6147 §5.1).

use std::sync::atomic::{AtomicBool, Ordering};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, RecordType};

use super::*;

#[tokio::test]
async fn a_name_with_ipv4_only_gets_a_synthetic_record_with_the_lower_ttl() {
    let upstream = Upstream::zone(ZONE).await;
    let server = start_with(&upstream).await;
    // The A record's 900 s against the SOA's 300 s, and the other way round (RFC 6147 §5.1.7).
    assert_eq!(answers(&ask(server.address, "v4.example. AAAA").await), ["v4.example. 300 AAAA 2001:db8:64::c000:221"]);
    assert_eq!(
        answers(&ask(server.address, "short.example. AAAA").await),
        ["short.example. 30 AAAA 2001:db8:64::c000:222"]
    );
    assert_eq!(server.stats.snapshot().answers_synthesised, 2);
    assert_eq!(timed(&server.stats), [("synthesised", 2)]);
}

#[tokio::test]
async fn real_records_win_over_synthetic_ones() {
    let upstream = Upstream::zone(ZONE).await;
    let server = start_with(&upstream).await;
    assert_eq!(answers(&ask(server.address, "both.example. AAAA").await), ["both.example. 900 AAAA 2001:db8::2"]);
    assert_eq!(server.stats.snapshot().answers_native, 1);
}

#[tokio::test]
async fn chains_of_aliases_stay_in_their_order_before_the_synthetic_record() {
    let upstream = Upstream::zone(ZONE).await;
    let server = start_with(&upstream).await;
    let expected = [
        "www.example. 60 CNAME alias.example.",
        "alias.example. 70 CNAME v4.example.",
        "v4.example. 300 AAAA 2001:db8:64::c000:221",
    ];
    assert_eq!(answers(&ask(server.address, "www.example. AAAA").await), expected);
}

#[tokio::test]
async fn a_chain_that_the_upstream_does_not_follow_is_followed() {
    // An authority that knows where an alias leads but not what is there.
    let upstream = Upstream::scripted(ZONE, |question| {
        if question.name().to_ascii() == "www.example." {
            Script::Edited(|answer| {
                answer.answers.truncate(1);
                answer.authorities.clear();
            })
        } else {
            Script::Zone
        }
    })
    .await;
    let server = start_with(&upstream).await;
    let answer = ask(server.address, "www.example. AAAA").await;
    assert_eq!(answers(&answer).last().unwrap(), "v4.example. 300 AAAA 2001:db8:64::c000:221");
    assert_eq!(answer.answers.len(), 3);
}

#[tokio::test]
async fn neither_record_gives_the_answer_to_the_aaaa_question_with_its_chain_and_soa() {
    let upstream = Upstream::zone(ZONE).await;
    let server = start_with(&upstream).await;
    let answer = ask(server.address, "to-nothing.example. AAAA").await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    assert_eq!(answers(&answer), ["to-nothing.example. 60 CNAME empty.example."]);
    assert_eq!(answer.authorities[0].record_type(), RecordType::SOA);
}

#[tokio::test]
async fn a_name_that_does_not_exist_stays_so_with_its_chain() {
    let upstream = Upstream::zone(ZONE).await;
    let server = start_with(&upstream).await;
    let answer = ask(server.address, "nowhere.example. AAAA").await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(answer.authorities[0].record_type(), RecordType::SOA);
    let answer = ask(server.address, "to-nowhere.example. AAAA").await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(answers(&answer), ["to-nowhere.example. 60 CNAME nowhere.example."]);
}

#[tokio::test]
async fn name_error_does_not_wait_for_the_a_answer() {
    let upstream =
        Upstream::scripted(
            ZONE,
            |question| if question.query_type() == RecordType::A { Script::Silence } else { Script::Zone },
        )
        .await;
    let server = start_with(&upstream).await;
    let answer = ask(server.address, "nowhere.example. AAAA").await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(server.stats.snapshot().upstream_timeouts, 0);
}

#[tokio::test]
async fn both_questions_are_asked_at_once() {
    // An answer comes when the other question is there, too.
    let [aaaa_heard, a_heard] = [(); 2].map(|()| AtomicBool::new(false));
    let upstream = Upstream::scripted(ZONE, move |question| {
        let (own, other) =
            if question.query_type() == RecordType::A { (&a_heard, &aaaa_heard) } else { (&aaaa_heard, &a_heard) };
        own.store(true, Ordering::SeqCst);
        if other.load(Ordering::SeqCst) { Script::Zone } else { Script::Silence }
    })
    .await;
    let server = start_with(&upstream).await;
    assert_eq!(ask(server.address, "v4.example. AAAA").await.answers.len(), 1);
    assert_eq!(upstream.asked()[..2], ["v4.example. AAAA", "v4.example. A"], "before any answer");
}

#[tokio::test]
async fn a_near_upstream_is_asked_for_a_records_only_if_they_are_needed() {
    let upstream = Upstream::zone(ZONE).await;
    let server = start_with(&upstream).await;
    // Its nearness is known once it has answered. A busy machine may make it look far away for one of these.
    let mut alone = 0;
    for number in 0..10 {
        let before = upstream.asked().len();
        let answer = ask(server.address, &format!("nowhere{number}.example. AAAA")).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
        alone += usize::from(upstream.asked().len() == before + 1);
    }
    assert!(alone > 0, "the A question was always asked");
    assert_eq!(ask(server.address, "v4.example. AAAA").await.answers.len(), 1);
}

#[tokio::test]
async fn any_other_error_and_silence_on_the_aaaa_question_count_as_empty() {
    for script in [
        Script::Code(ResponseCode::ServFail),
        Script::Code(ResponseCode::Refused),
        Script::Code(ResponseCode::NotImp),
        Script::Code(ResponseCode::FormErr),
        Script::Silence,
    ] {
        let upstream = Upstream::scripted(ZONE, move |question| {
            if question.query_type() == RecordType::AAAA { script.clone() } else { Script::Zone }
        })
        .await;
        let server = start_with(&upstream).await;
        // Without an SOA record the TTL is at most 600 s.
        let answer = ask(server.address, "v4.example. AAAA").await;
        assert_eq!(answers(&answer), ["v4.example. 600 AAAA 2001:db8:64::c000:221"]);
    }
}

#[tokio::test]
async fn excluded_records_count_as_absent_and_are_never_told() {
    let zone = "
        example.         3600 SOA 300
        mapped.example.   900 AAAA ::ffff:192.0.2.1
        mapped.example.   900 A 192.0.2.1
        mixed.example.    900 AAAA ::ffff:192.0.2.1
        mixed.example.    900 AAAA 2001:db8::1
        mixed.example.    900 A 192.0.2.1
        only.example.     900 AAAA ::ffff:192.0.2.1
    ";
    let upstream = Upstream::zone(zone).await;
    let server = start_with(&upstream).await;
    assert_eq!(
        answers(&ask(server.address, "mapped.example. AAAA").await),
        ["mapped.example. 600 AAAA 2001:db8:64::c000:201"]
    );
    assert_eq!(answers(&ask(server.address, "mixed.example. AAAA").await), ["mixed.example. 900 AAAA 2001:db8::1"]);
    let only = ask(server.address, "only.example. AAAA").await;
    assert_eq!((only.metadata.response_code, only.answers.len()), (ResponseCode::NoError, 0));
}

#[tokio::test]
async fn each_prefix_gives_a_record_and_all_lengths_work() {
    let upstream = Upstream::zone(ZONE).await;
    let mut config = config(&[upstream.address]);
    // The prefixes of RFC 6052 §2.4, with its address 192.0.2.33.
    config.prefixes = [
        "2001:db8::/32",
        "2001:db8:100::/40",
        "2001:db8:122::/48",
        "2001:db8:122:300::/56",
        "2001:db8:122:344::/64",
        "2001:db8:122:344::/96",
    ]
    .map(|text| text.parse().unwrap())
    .into();
    let server = start(config).await;
    let expected = [
        "2001:db8:c000:221::",
        "2001:db8:1c0:2:21::",
        "2001:db8:122:c000:2:2100::",
        "2001:db8:122:3c0:0:221::",
        "2001:db8:122:344:c0:2:2100:0",
        "2001:db8:122:344::c000:221",
    ]
    .map(|address| format!("v4.example. 300 AAAA {address}"));
    assert_eq!(answers(&ask(server.address, "v4.example. AAAA").await), expected);
}

#[tokio::test]
async fn the_well_known_prefix_carries_global_addresses_only() {
    let zone = "
        example.          3600 SOA 300
        private.example.   900 A 10.0.0.1
        split.example.     900 A 10.0.0.1
        split.example.     900 A 8.8.8.8
    ";
    let upstream = Upstream::zone(zone).await;
    let mut config = config(&[upstream.address]);
    config.prefixes = vec![];
    let server = start(config).await;
    let private = ask(server.address, "private.example. AAAA").await;
    assert_eq!((private.metadata.response_code, private.answers.len()), (ResponseCode::NoError, 0));
    assert_eq!(
        answers(&ask(server.address, "split.example. AAAA").await),
        ["split.example. 300 AAAA 64:ff9b::808:808"]
    );
}

#[tokio::test]
async fn the_do_and_cd_bits_decide_as_rfc_6147_section_5_5_has_it() {
    let upstream = Upstream::scripted(ZONE, |_| Script::Edited(|answer| answer.metadata.authentic_data = true)).await;
    let server = start_with(&upstream).await;
    for (dnssec, unchecked, is_synthesised) in
        [(false, false, true), (true, false, true), (false, true, false), (true, true, false)]
    {
        let answer =
            Ask::new("v4.example. AAAA").dnssec(dnssec).unchecked(unchecked).wants_ad().over_udp(server.address).await;
        assert_eq!(!answer.answers.is_empty(), is_synthesised, "DO {dnssec} CD {unchecked}");
        // What we made up is never called authentic; what passes through keeps the upstream's word.
        assert_eq!(answer.metadata.authentic_data, !is_synthesised);
        assert_eq!(answer.metadata.checking_disabled, unchecked);
        assert_eq!(answer.edns.map(|edns| edns.flags().dnssec_ok), dnssec.then_some(true));
    }
}

#[tokio::test]
async fn other_classes_are_left_alone() {
    let upstream = Upstream::zone(ZONE).await;
    let server = start_with(&upstream).await;
    let answer = Ask::new("nobody.example. AAAA").of_class(DNSClass::CH).over_udp(server.address).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(upstream.asked(), ["nobody.example. AAAA"]);
}

#[tokio::test]
async fn a_replaced_policy_applies_to_cached_names_at_once() {
    let upstream = Upstream::zone(ZONE).await;
    let server = start_with(&upstream).await;
    ask(server.address, "v4.example. AAAA").await;
    let asked = upstream.asked().len();
    let prefixes = vec!["2001:db8:65::/96".parse().unwrap()];
    server.policy.replace(dns64::Policy::new(prefixes, Default::default(), vec![]));
    let answer = ask(server.address, "v4.example. AAAA").await;
    assert!(answers(&answer)[0].ends_with("2001:db8:65::c000:221"), "{:?}", answers(&answer));
    assert_eq!(upstream.asked().len(), asked);
}
