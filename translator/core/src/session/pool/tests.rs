use super::*;

fn pool(first: [u8; 4], last: [u8; 4], ports: (u16, u16)) -> Pool {
    Pool::new(&[PoolRange { first: first.into(), last: last.into(), first_port: ports.0, last_port: ports.1 }])
}

const UDP: Protocol = Protocol::Udp;
const ALL: (u16, u16) = (0, u16::MAX);
const WISH: Wish = Wish { protocol: UDP, like: 5000 };

#[test]
fn addresses_are_found_by_value_across_runs() {
    let one = PoolRange::address(Ipv4Addr::new(192, 0, 2, 1));
    let three = PoolRange {
        first: Ipv4Addr::new(198, 51, 100, 7),
        last: Ipv4Addr::new(198, 51, 100, 9),
        first_port: 1,
        last_port: 65_535,
    };
    let pool = Pool::new(&[three, one]);
    assert_eq!(pool.len(), 4);
    for (index, text) in ["192.0.2.1", "198.51.100.7", "198.51.100.8", "198.51.100.9"].into_iter().enumerate() {
        let address = text.parse().unwrap();
        let index = AddressIndex::try_from(index).unwrap();
        assert_eq!(pool.index_of(address), Some(index), "{text}");
        assert_eq!(pool.address(index), address);
    }
    for text in ["192.0.2.0", "192.0.2.2", "198.51.100.6", "198.51.100.10", "0.0.0.0", "255.255.255.255"] {
        assert_eq!(pool.index_of(text.parse().unwrap()), None, "{text}");
    }
}

#[test]
fn every_port_is_given_out_exactly_once() {
    let pool = pool([192, 0, 2, 1], [192, 0, 2, 1], (1000, 2100));
    let mut random = Random::new(1, 0);
    let wish = Wish { protocol: UDP, like: 5000 };
    let mut seen: Vec<u16> = (0..1101).map(|_| pool.take(0, ALL, wish, &mut random).unwrap().port).collect();
    seen.sort_unstable();
    assert_eq!(seen, (1000..=2100).collect::<Vec<_>>());
    assert_eq!(pool.take(0, ALL, wish, &mut random), None);
    assert_eq!(pool.taken(UDP), 1101);
    pool.give_back(UDP, External { address: 0, port: 1500 });
    assert_eq!(pool.take(0, ALL, wish, &mut random), Some(External { address: 0, port: 1500 }));
}

#[test]
fn class_and_parity_are_kept_while_they_can_be() {
    let pool = pool([192, 0, 2, 1], [192, 0, 2, 1], (1, 65_535));
    let mut random = Random::new(2, 0);
    for like in [53, 500, 1024, 40_000, 40_001, 65_535] {
        let port = pool.take(0, ALL, Wish { protocol: UDP, like }, &mut random).unwrap().port;
        assert_eq!(port < 1024, like < 1024, "{like} became {port}");
        assert_eq!(port % 2, like % 2, "{like} became {port}");
    }
    let few = self::pool([192, 0, 2, 1], [192, 0, 2, 1], (2000, 2001));
    let wish = Wish { protocol: UDP, like: 80 };
    let mut ports =
        [few.take(0, ALL, wish, &mut random).unwrap().port, few.take(0, ALL, wish, &mut random).unwrap().port];
    ports.sort_unstable();
    assert_eq!(ports, [2000, 2001], "another class is better than none");
}

#[test]
fn several_ranges_of_one_address_are_one_set() {
    let range =
        |first_port, last_port| PoolRange { first_port, last_port, ..PoolRange::address(Ipv4Addr::new(192, 0, 2, 1)) };
    let pool = Pool::new(&[range(5000, 5009), range(3000, 3009), range(7000, 7000)]);
    assert_eq!((pool.len(), pool.ports()), (1, 21));
    let mut random = Random::new(3, 0);
    let wish = Wish { protocol: Protocol::Tcp, like: 9999 };
    let mut seen: Vec<u16> = (0..21).map(|_| pool.take(0, ALL, wish, &mut random).unwrap().port).collect();
    seen.sort_unstable();
    assert_eq!(seen, (3000..=3009).chain(5000..=5009).chain([7000]).collect::<Vec<_>>());
    assert_eq!(pool.take(0, ALL, wish, &mut random), None);
}

#[test]
fn ports_are_not_given_out_in_order() {
    let pool = pool([192, 0, 2, 1], [192, 0, 2, 1], (1024, 65_535));
    let mut random = Random::new(4, 0);
    let wish = Wish { protocol: Protocol::Tcp, like: 9999 };
    let ports: Vec<u16> = (0..100).map(|_| pool.take(0, ALL, wish, &mut random).unwrap().port).collect();
    let neighbours = ports.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 64).count();
    assert!(neighbours < 5, "{ports:?}");
}

#[test]
fn whole_blocks_are_given_out_once_and_then_what_is_left_at_the_edges() {
    let pool = pool([192, 0, 2, 1], [192, 0, 2, 1], (1000, 1999));
    let mut random = Random::new(6, 0);
    let mut whole: Vec<u16> = (0..7).map(|_| pool.take_block(0, 128, WISH, &mut random).unwrap()).collect();
    whole.sort_unstable();
    assert_eq!(whole, [1024, 1152, 1280, 1408, 1536, 1664, 1792]);
    let mut rest: Vec<u16> = std::iter::from_fn(|| pool.take_block(0, 128, WISH, &mut random)).collect();
    rest.sort_unstable();
    assert_eq!(rest, [896, 1920]);
    assert_eq!(pool.ours_of_block(0, (896, 1023)), (1000, 1023));
    assert_eq!(pool.ours_of_block(0, (1920, 2047)), (1920, 1999));
    pool.release_block(0, 1280, 128);
    assert_eq!(pool.take_block(0, 128, WISH, &mut random), Some(1280));
}

#[test]
fn blocks_are_counted_once_whichever_ranges_they_have_ports_of() {
    let range =
        |first_port, last_port| PoolRange { first_port, last_port, ..PoolRange::address(Ipv4Addr::new(192, 0, 2, 1)) };
    for (ranges, count) in [
        (vec![range(1024, 2047)], 8),
        (vec![range(1000, 1999)], 9),
        (vec![range(1000, 1010), range(1012, 1030), range(1100, 1110)], 2),
        (vec![range(0, 65_535)], 512),
    ] {
        let pool = Pool::new(&ranges);
        let mut random = Random::new(9, 0);
        let taken = std::iter::from_fn(|| pool.take_block(0, 128, WISH, &mut random)).count();
        assert_eq!((taken, pool.addresses[0].block_count(128)), (count, u32::try_from(count).unwrap()), "{ranges:?}");
    }
}

#[test]
fn a_block_is_of_the_class_that_is_wished_for() {
    let pool = pool([192, 0, 2, 1], [192, 0, 2, 1], (0, 65_535));
    let mut random = Random::new(7, 0);
    for (like, blocks) in [(53, 16), (5000, 16)] {
        for _ in 0..blocks {
            let first = pool.take_block(0, 64, Wish { protocol: UDP, like }, &mut random).unwrap();
            assert_eq!(first < 1024, like < 1024, "{like} became {first}");
        }
    }
    assert!(pool.take_block(0, 64, Wish { protocol: UDP, like: 53 }, &mut random).unwrap() >= 1024);
}

#[test]
fn a_block_whose_ports_are_all_static_is_left_alone() {
    let pool = pool([192, 0, 2, 1], [192, 0, 2, 1], (1024, 1055));
    let mut random = Random::new(8, 0);
    for port in 1024..1040 {
        assert!(pool.take_exactly(UDP, External { address: 0, port }));
    }
    assert_eq!(pool.take_block(0, 16, WISH, &mut random), Some(1040));
    assert_eq!(pool.take_block(0, 16, WISH, &mut random), None);
    let tcp = Wish { protocol: Protocol::Tcp, like: 5000 };
    assert_eq!(pool.take_block(0, 16, tcp, &mut random), Some(1024), "other protocols have ports there");
}

#[test]
fn protocols_have_ports_of_their_own() {
    let pool = pool([192, 0, 2, 1], [192, 0, 2, 1], (4000, 4000));
    let mut random = Random::new(5, 0);
    for protocol in Protocol::ALL {
        assert!(pool.take(0, ALL, Wish { protocol, like: 4000 }, &mut random).is_some());
        assert!(pool.take(0, ALL, Wish { protocol, like: 4000 }, &mut random).is_none());
    }
}
