//! What happens by the passing of time.

use std::sync::atomic::Ordering;

use crate::packet::{HEADROOM, Offload, PacketBuf};
use crate::pass::{Pass, Passed};
use crate::refuse::{self, Stop};
use crate::rewrite::{self, Endpoints};
use crate::session::Probe;
use crate::sweep::sweep;
use crate::verdict::DropReason;

/// Steps of timers in one call, each of which ends a session at the most: together well below a millisecond.
const STEPS: u32 = 512;
/// Steps of one shard's timers while it is locked.
const STEPS_OF_SHARD: u32 = 128;
/// Datagrams whose fragments are forgotten in one call.
const DATAGRAMS: usize = 256;

/// Does a bounded part of what is due. Returns whether more is.
pub(crate) fn expire(pass: &mut Pass<'_>) -> bool {
    let lost = pass.translator.fragments.expire(pass.now, DATAGRAMS);
    pass.count_lost(DropReason::FragmentTimeout, lost);
    let mut more = expire_stored_syns(pass) | sweep(pass);
    let mut budget = STEPS;
    // No shard has to wait for all that is due in the others.
    let first = pass.translator.expiry_turn.fetch_add(1, Ordering::Relaxed);
    let shards = pass.translator.shard_count();
    for offset in 0..shards {
        more |= budget == 0 || expire_shard(pass, (first.wrapping_add(offset)) % shards, &mut budget);
    }
    more
}

fn expire_shard(pass: &mut Pass<'_>, number: usize, budget: &mut u32) -> bool {
    const PROBES: usize = STEPS_OF_SHARD as usize;
    const PROBE: usize = 60;
    let translator = pass.translator;
    if !pass.worker.spill.has_room(PROBES, PROBES * PROBE) {
        return true;
    }
    let share = STEPS_OF_SHARD.min(*budget);
    let mut left = share;
    // The probes are built outside of the borrow of the events.
    let mut probes: [Option<Probe>; PROBES] = [None; PROBES];
    let mut due = probes.iter_mut();
    let more = translator.shard(number).expire(&mut pass.context(), &mut left, &mut |probe| {
        if let Some(place) = due.next() {
            *place = Some(probe);
        }
    });
    *budget -= share - left;
    probes.iter().map_while(|probe| *probe).for_each(|probe| send_probe(pass, probe));
    more
}

/// Asks the host behind the translator whether its connection lives; its answer goes on to the other end
/// (RFC 6146 §3.5.2.2, ESTABLISHED).
fn send_probe(pass: &mut Pass<'_>, probe: Probe) {
    let prefix = pass.terms.prefixes.at(probe.internal.prefix);
    let segment = rewrite::probe_v6(&Endpoints {
        source: prefix.embed(probe.remote),
        source_port: probe.remote_port,
        destination: probe.internal.address,
        destination_port: probe.internal.port,
    });
    pass.worker.spill.push(&[&segment], Offload::default());
}

fn expire_stored_syns(pass: &mut Pass<'_>) -> bool {
    for _ in 0..STEPS {
        let Some(syn) = pass.translator.stored_syns.take_expired(pass.tick) else { return false };
        pass.worker.counters.count_drop(DropReason::StoredSynTimeout);
        let mut storage = vec![0; HEADROOM + syn.len() + HEADROOM];
        storage[HEADROOM..HEADROOM + syn.len()].copy_from_slice(&syn);
        let mut packet = PacketBuf::new(&mut storage, HEADROOM, syn.len(), Offload::default());
        let (policy, now) = (&pass.terms.policy, pass.now);
        let identification = pass.worker.identifications.next();
        let errors = &mut pass.worker.errors;
        if refuse::answer_stored_syn(policy, &mut packet, identification, || errors.take(now, policy.errors.rate)) {
            pass.worker.counters.count_refused();
            pass.send_to_ipv4_host(&mut packet);
        }
    }
    true
}

impl Pass<'_> {
    /// Sends a packet of our own for an IPv4 address, which may be that of a host behind the translator: a hairpinned
    /// SYN comes from the pool.
    pub(crate) fn send_to_ipv4_host(&mut self, packet: &mut PacketBuf<'_>) {
        let destination = packet.bytes().get(16..20).and_then(|octets| octets.first_chunk::<4>()).copied();
        let inside = destination.is_some_and(|octets| self.terms.pool.index_of(octets.into()).is_some());
        if !inside || matches!(self.four_to_six(packet, true), Ok(Passed::Translated)) {
            self.worker.spill.push(&[packet.bytes()], packet.offload);
        }
    }

    /// Puts a packet that was translated outside of the caller's buffer into the spill, or counts why it was not.
    pub(crate) fn spill(&mut self, packet: &PacketBuf<'_>, outcome: Result<Passed, Stop>) {
        match outcome {
            Ok(Passed::Translated | Passed::Hairpinned | Passed::Refused(_)) => {
                self.worker.spill.push(&[packet.bytes()], packet.offload);
            }
            Ok(Passed::Held) => {}
            Err(stop) => self.worker.counters.count_drop(stop.reason),
        }
    }
}
