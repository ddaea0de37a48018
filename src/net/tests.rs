use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use nat64_core::LinkMtus;
use nat64_core::policy::PoolRange;
use pref64::Pref64;

use super::*;

/// Runs `test` on a runtime in a network namespace of its own, unless there is no permission to make one.
fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    let outcome = std::thread::spawn(move || {
        #[expect(deprecated, reason = "what makes it unsafe are shared file descriptors, which are not asked for")]
        if let Err(error) = rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET) {
            // Past the harness's capture, so that a passing run shows it. A closed stderr is no reason to fail.
            let _ = writeln!(std::io::stderr(), "skipped: needs root for network namespaces: {error} ({name})");
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    })
    .join();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// `ip` with these words, in the calling thread's namespace.
fn ip(words: &str) -> String {
    let output = Command::new("ip").args(words.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A gateway with an interface in 192.0.2.0/24, and a device to configure.
struct Gateway {
    index: u32,
    directory: PathBuf,
}

impl Gateway {
    async fn new() -> Self {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        for words in [
            "link set lo up",
            "link add eth0 type veth peer name far",
            "addr add 192.0.2.10/24 dev eth0",
            "-6 addr add 2001:db8::10/64 dev eth0 nodad",
            "link set eth0 up",
            "link set far up",
            "tuntap add nat64 mode tun",
        ] {
            ip(words);
        }
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("nat64-net-{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let links = Host::open().unwrap().links().await.unwrap();
        let index = links.iter().find(|link| link.name == "nat64").unwrap().index;
        Self { index, directory }
    }

    async fn set_up(&self, pool: &[&str]) -> Result<Network, NetError> {
        let host = Host::open()?;
        host.set_up(&device(), self.index, &policy(pool), &self.directory).await
    }

    fn records(&self) -> usize {
        fs::read_dir(&self.directory).unwrap().count()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.directory).unwrap();
    }
}

fn device() -> DeviceSettings {
    DeviceSettings { name: "nat64".to_owned(), offload: true, mtu: 9000, routes: true, proxy_arp: true }
}

fn policy(pool: &[&str]) -> Policy {
    let pool = pool.iter().map(|address| PoolRange::address(address.parse().unwrap())).collect();
    Policy::new(vec![Pref64::WELL_KNOWN], pool)
}

/// What must be the same before and after, the device's own parameters excepted.
fn state() -> Vec<String> {
    let mut state = vec![ip("-4 neigh show proxy")];
    for (directory, keys) in [
        ("net/ipv4/conf", &["forwarding", "accept_redirects", "rp_filter", "accept_local"][..]),
        ("net/ipv6/conf", &["forwarding", "accept_ra", "accept_redirects", "addr_gen_mode"][..]),
        ("net/ipv4/neigh", &["proxy_delay"][..]),
    ] {
        let sysctls = Sysctls::of_kernel();
        for interface in sysctls.entries(directory).iter().filter(|name| *name != "nat64") {
            for key in keys {
                let key = format!("{directory}/{interface}/{key}");
                state.push(format!("{key} = {:?}", sysctls.read(&key).unwrap()));
            }
        }
    }
    state
}

#[test]
fn set_up_routes_and_forwards_and_take_back_restores() {
    in_namespace(|| async {
        let gateway = Gateway::new().await;
        ip("link set eth0 up");
        fs::write("/proc/sys/net/ipv4/conf/far/forwarding", "1").unwrap();
        fs::write("/proc/sys/net/ipv4/conf/all/accept_redirects", "0").unwrap();
        let before = state();

        let network = gateway.set_up(&["192.0.2.1", "203.0.113.1"]).await.unwrap();

        assert!(ip("-6 route show dev nat64").contains("64:ff9b::/96"));
        let routes = ip("-4 route show dev nat64");
        assert!(routes.contains("192.0.2.1") && routes.contains("203.0.113.1"), "{routes}");
        assert_eq!(ip("-4 neigh show proxy").trim(), "192.0.2.1 dev eth0 proxy");
        assert!(ip("link show nat64").contains("mtu 9000"));
        assert!(!ip("addr show nat64").contains("fe80"), "no link-local address");
        let sysctls = Sysctls::of_kernel();
        for (key, value) in [
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv6/conf/all/forwarding", "1"),
            ("net/ipv6/conf/eth0/accept_ra", "2"),
            ("net/ipv4/conf/nat64/accept_local", "1"),
            ("net/ipv4/conf/nat64/rp_filter", "0"),
            ("net/ipv4/neigh/eth0/proxy_delay", "0"),
        ] {
            assert_eq!(sysctls.read(key).unwrap().as_deref(), Some(value), "{key}");
        }
        let sources = network.sources("nat64", gateway.index).await.unwrap();
        assert_eq!(sources.source6, Some("2001:db8::10".parse().unwrap()));
        assert_eq!(sources.source4, Some("192.0.2.10".parse().unwrap()));
        assert_eq!(gateway.records(), 1);

        network.take_back().await;
        assert_eq!(state(), before);
        assert_eq!(gateway.records(), 0);
    });
}

#[test]
fn what_a_killed_daemon_left_is_taken_back_by_the_next() {
    in_namespace(|| async {
        let gateway = Gateway::new().await;
        let before = state();
        let network = gateway.set_up(&["192.0.2.1"]).await.unwrap();
        drop(network);
        assert_ne!(state(), before);

        Host::open().unwrap().clean_up(&gateway.directory, "other").await.unwrap();
        assert_ne!(state(), before, "the device is there, so that its daemon may be");

        Host::open().unwrap().clean_up(&gateway.directory, "nat64").await.unwrap();
        assert_eq!(state(), before);
        assert_eq!(gateway.records(), 0);
    });
}

#[test]
fn a_record_of_another_namespace_is_not_acted_on() {
    in_namespace(|| async {
        let gateway = Gateway::new().await;
        let _network = gateway.set_up(&["192.0.2.1"]).await.unwrap();
        let directory = gateway.directory.clone();
        in_namespace(move || async move {
            fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
            Host::open().unwrap().clean_up(&directory, "other").await.unwrap();
            assert_eq!(Sysctls::of_kernel().read("net/ipv4/ip_forward").unwrap().as_deref(), Some("1"));
        });
        assert_eq!(gateway.records(), 1);
    });
}

#[test]
fn a_change_by_somebody_else_since_is_left_alone() {
    in_namespace(|| async {
        let gateway = Gateway::new().await;
        let network = gateway.set_up(&["192.0.2.1"]).await.unwrap();
        fs::write("/proc/sys/net/ipv4/neigh/eth0/proxy_delay", "40").unwrap();

        network.take_back().await;

        assert_eq!(Sysctls::of_kernel().read("net/ipv4/neigh/eth0/proxy_delay").unwrap().as_deref(), Some("40"));
    });
}

#[test]
fn a_route_of_somebody_else_is_refused_and_nothing_is_changed() {
    in_namespace(|| async {
        let gateway = Gateway::new().await;
        ip("-6 route add 64:ff9b::/96 dev eth0");
        let before = state();

        let error = gateway.set_up(&["192.0.2.1"]).await.unwrap_err();

        let expected = "there is a route to 64:ff9b::/96 already, through eth0";
        assert!(error.to_string().starts_with(expected), "{error}");
        assert_eq!(state(), before);
        assert_eq!(gateway.records(), 0);
    });
}

#[test]
fn a_route_that_only_the_kernel_notices_is_refused_and_everything_taken_back() {
    in_namespace(|| async {
        let gateway = Gateway::new().await;
        ip("route add blackhole 203.0.113.1");
        let before = state();

        let error = gateway.set_up(&["192.0.2.1", "203.0.113.1"]).await.unwrap_err();

        assert!(error.to_string().starts_with("there is a route to 203.0.113.1/32 already"), "{error}");
        assert_eq!(state(), before);
        assert_eq!(gateway.records(), 0);
    });
}

#[test]
fn strict_reverse_path_filtering_leaves_errors_to_the_pool_address() {
    in_namespace(|| async {
        let gateway = Gateway::new().await;
        fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "1").unwrap();

        let network = gateway.set_up(&["192.0.2.1"]).await.unwrap();

        assert_eq!(network.sources("nat64", gateway.index).await.unwrap().source4, None);
        network.take_back().await;
    });
}

#[test]
fn without_routes_only_the_device_is_configured() {
    in_namespace(|| async {
        let gateway = Gateway::new().await;
        let before = state();
        let settings = DeviceSettings { routes: false, ..device() };
        let host = Host::open().unwrap();

        let network = host.set_up(&settings, gateway.index, &policy(&["192.0.2.1"]), &gateway.directory).await.unwrap();

        assert_eq!(state(), before);
        assert_eq!(ip("-4 route show dev nat64"), "");
        assert!(ip("link show nat64").contains("UP"));
        network.take_back().await;
    });
}

#[test]
fn the_addresses_of_the_host_come_with_their_interfaces() {
    in_namespace(|| async {
        let _gateway = Gateway::new().await;

        let addresses = Host::open().unwrap().addresses().await.unwrap();

        let own = HostAddress { address: "192.0.2.10".parse().unwrap(), interface: "eth0".to_owned() };
        assert!(addresses.contains(&own), "{addresses:?}");
    });
}

#[test]
fn prefixes_of_links_are_those_of_global_addresses_and_news_come_of_each_change() {
    in_namespace(|| async {
        let gateway = Gateway::new().await;
        let mut links = Links::open().unwrap();
        let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpNet>>();
        assert_eq!(links.prefixes().await.unwrap(), nets(&["192.0.2.0/24", "2001:db8::/64"]));
        ip("addr add 198.51.100.1 peer 198.51.100.2/32 dev far");
        ip("addr add 2001:db8:1::1/80 dev far nodad");
        assert!(links.changed().await);
        let more = nets(&["192.0.2.0/24", "198.51.100.2/32", "2001:db8::/64", "2001:db8:1::/80"]);
        assert_eq!(links.prefixes().await.unwrap(), more);
        ip("link del far");
        assert!(links.changed().await);
        assert_eq!(links.prefixes().await.unwrap(), []);
        drop(gateway);
    });
}

#[test]
fn the_mtus_of_the_links_are_those_of_the_interfaces_and_changes_are_noticed() {
    in_namespace(|| async {
        let gateway = Gateway::new().await;
        ip("addr add 203.0.113.9/32 dev lo");
        ip("addr add 198.51.100.1/24 dev nat64");
        ip("link set nat64 mtu 9000 up");
        let mut watch = MtuWatch::open(gateway.index).unwrap();
        let both = |mtu| LinkMtus { ipv4: Some(mtu), ipv6: Some(mtu) };
        // The kernel calls a link running a moment after it has been set up.
        watch.until(both(1500)).await;

        ip("link set eth0 mtu 1400");
        watch.until(both(1400)).await;

        fs::write("/proc/sys/net/ipv6/conf/eth0/mtu", "1300").unwrap();
        watch.until(LinkMtus { ipv4: Some(1400), ipv6: Some(1300) }).await;

        ip("addr del 192.0.2.10/24 dev eth0");
        watch.until(LinkMtus { ipv4: None, ipv6: Some(1300) }).await;

        ip("link set far down");
        watch.until(LinkMtus::default()).await;
    });
}

impl MtuWatch {
    /// Waits for changes until the MTUs are these.
    async fn until(&mut self, expected: LinkMtus) {
        let arrive = async {
            while self.mtus().await.unwrap() != expected {
                assert!(self.changed().await, "the kernel goes on telling");
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), arrive).await.expect("the change is told");
    }
}
