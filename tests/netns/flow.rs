//! Datagrams of which none may be lost.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::{CLIENT, Lab, SERVER, eventually, under_pref64};

const PATIENCE: Duration = Duration::from_secs(20);
const PORT: u16 = 7100;

/// A host that sends datagrams and has every one of them back, whole and from where it sent it.
pub(crate) struct Flow {
    stopping: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    client: thread::JoinHandle<()>,
    server: thread::JoinHandle<Vec<SocketAddr>>,
}

impl Flow {
    pub(crate) fn start(lab: &Lab) -> Self {
        let (stopping, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let echo = lab.server.enter(|| UdpSocket::bind((SERVER, PORT)).expect("the port is free"));
        let client = lab.client.enter(|| UdpSocket::bind((CLIENT, 0)).expect("a port is free"));
        client.connect((under_pref64(SERVER), PORT)).expect("there is a route");
        client.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        echo.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout can be set");
        let over = Arc::clone(&stopping);
        let server = thread::spawn(move || {
            let (mut buffer, mut sources) = ([0; 2048], Vec::new());
            while !over.load(Ordering::Relaxed) {
                let Ok((len, from)) = echo.recv_from(&mut buffer) else { continue };
                if !sources.contains(&from) {
                    sources.push(from);
                }
                echo.send_to(&buffer[..len], from).expect("it can be sent");
            }
            sources
        });
        let (over, count) = (Arc::clone(&stopping), Arc::clone(&answered));
        let client = thread::spawn(move || {
            let mut back = [0; 2048];
            for number in 0_u64.. {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let sent: Vec<u8> =
                    (0..150).flat_map(|word| (number.wrapping_mul(0x9e37_79b9) ^ word).to_le_bytes()).collect();
                client.send(&sent).expect("it can be sent");
                let len = client.recv(&mut back).expect("no datagram is lost");
                assert!(back[..len] == sent, "datagram {number} has changed");
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { stopping, answered, client, server }
    }

    #[track_caller]
    pub(crate) fn goes_on(&self, when: &str) {
        let before = self.answered.load(Ordering::Relaxed);
        eventually(when, PATIENCE, || {
            assert!(!self.client.is_finished(), "the flow has ended {when}");
            self.answered.load(Ordering::Relaxed) >= before + 20
        });
    }

    /// Ends it, and returns where its datagrams came from.
    pub(crate) fn stop(self) -> Vec<SocketAddr> {
        self.goes_on("to the end");
        // The client first, which still waits for its last answer.
        self.stopping.store(true, Ordering::Relaxed);
        let sources = self.server.join().expect("the server does not panic");
        drop(self.client);
        sources
    }
}
