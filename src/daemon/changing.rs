//! Changes of the running daemon: a new configuration, static mappings by command, draining. One at a time.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use nat64_core::policy::{MappingBehavior, StaticMapping};
use nat64_core::{Draining, Policy};
use tracing::{info, warn};

use super::running::Running;
use super::{logging, starting};
use crate::config::{self, Effective, KeyChange, Overrides, OwnAddress, Settings};
use crate::control::api::{self, Reloaded, StaticEntry};
use crate::control::change::{StaticChange, Wish};
use crate::control::server::TranslatorView;
use crate::net::{Host, Sources};

/// What is in force, and how it came about.
#[derive(Debug)]
pub(super) struct Changes {
    /// The file that was named.
    path: Option<PathBuf>,
    overrides: Overrides,
    /// The configuration, as far as it is in force.
    settings: Settings,
    effective: Effective,
    /// Static mappings that were made by command.
    statics: Vec<StaticMapping>,
    draining: Draining,
    /// The addresses for ICMP errors that were found out at the start.
    sources: Sources,
}

/// What a new configuration comes to.
struct Target {
    settings: Settings,
    policy: Option<Policy>,
    dns64: Option<dns64::Config>,
    reloaded: Reloaded,
    /// What `shared` stands for, if that is something else than before.
    moved: Option<KeyChange>,
}

impl Changes {
    /// What is in force after the start.
    pub(super) fn new(path: Option<PathBuf>, overrides: Overrides, settings: Settings, sources: Sources) -> Self {
        let effective = settings.effective();
        let (statics, draining) = (Vec::new(), Draining::default());
        Self { path, overrides, settings, effective, statics, draining, sources }
    }

    /// Does what somebody wishes.
    pub(super) async fn grant(&mut self, running: &mut Running, wish: Wish) {
        // Whoever has gone away needs no answer.
        match wish {
            Wish::Reload { dry_run, answer } => drop(answer.send(self.reload(running, dry_run).await)),
            Wish::Follow { own } => self.follow(running, own).await,
            Wish::Static { change, answer } => drop(answer.send(self.change_statics(running, change))),
            Wish::Drain { address, is_drained, answer } => {
                drop(answer.send(self.drain(running, address, is_drained)));
            }
        }
    }

    /// Lets `shared` stand for another address.
    async fn follow(&mut self, running: &mut Running, own: OwnAddress) {
        let address = own.address;
        match self.try_follow(running, own).await {
            Ok(Some(KeyChange { from, to, .. })) => info!(from, to, "followed the shared address"),
            Ok(None) => {}
            Err(problem) => warn!(
                %address,
                "cannot follow the shared address: {problem}; nat64 reload tries again"
            ),
        }
    }

    async fn try_follow(&mut self, running: &mut Running, own: OwnAddress) -> Result<Option<KeyChange>, String> {
        if !self.settings.follow_address || self.settings.own.as_ref().is_none_or(|known| known.is_at(&own)) {
            return Ok(None);
        }
        let new = self.settings.with_own(own).map_err(|error| error.to_string())?;
        let target = self.target(running, new).await?;
        self.apply(running, &target).await?;
        self.settings = target.settings;
        Ok(target.moved)
    }

    /// Reads the configuration again, and applies what can be applied while the daemon runs.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub(super) async fn reload(&mut self, running: &mut Running, dry_run: bool) -> Result<Reloaded, String> {
        let done = self.try_reload(running, dry_run).await;
        match &done {
            Ok(reloaded) if !dry_run => tell(reloaded),
            Ok(_) => {}
            Err(problem) => warn!("the configuration stays as it is: {problem}"),
        }
        done
    }

    async fn try_reload(&mut self, running: &mut Running, dry_run: bool) -> Result<Reloaded, String> {
        let new = config::load(self.path.as_deref(), &self.overrides).map_err(|error| error.to_string())?;
        let target = self.target(running, new).await?;
        if dry_run {
            return Ok(Reloaded { dry_run, ..target.reloaded.with(target.moved) });
        }
        let moves = target.settings.metrics != self.settings.metrics;
        if moves {
            running.metrics().move_to(&target.settings.metrics.listen).await?;
        }
        if let Err(problem) = self.apply(running, &target).await {
            if moves && let Err(problem) = running.metrics().move_to(&self.settings.metrics.listen).await {
                warn!("{problem}");
            }
            return Err(problem);
        }
        running.reload_certificate();
        target.reloaded.applied.iter().for_each(|change| self.effective.note(change));
        self.settings = target.settings;
        if let Some(policy) = &self.settings.policy {
            // What is in the file now is the file's.
            self.statics.retain(|mapping| !policy.static_mappings.contains(mapping));
        }
        Ok(target.reloaded.with(target.moved))
    }

    /// Checks a configuration, and finds out what can be applied of it.
    async fn target(&mut self, running: &Running, mut new: Settings) -> Result<Target, String> {
        let own = async { Host::open()?.addresses().await }.await.map_err(|error| error.to_string())?;
        new.check_host(&own).map_err(|error| error.to_string())?;
        new.share_with(&own);
        let moved = moved(self.settings.own.as_ref(), new.own.as_ref());
        if moved.is_some() {
            self.find_sources(running).await?;
        }
        let is_applied = |change: &KeyChange| self.is_applied(&new, &change.key);
        let (applied, needs_restart) = self.effective.changes_to(&new.effective()).into_iter().partition(is_applied);
        let policy = match (&self.settings.policy, &new.policy) {
            (Some(old), Some(policy)) => {
                let policy = self.effective_policy(&new, policy.with_layout_of(old));
                Some(policy.map_err(|problem| self.with_hint(problem))?)
            }
            _ => None,
        };
        let dns64 = match (&self.settings.dns64, &new.dns64) {
            (Some(old), Some(config)) => Some(merged(old, config)),
            _ => None,
        };
        if let (Some(config), Some(handles)) = (&dns64, running.dns64()) {
            handles.upstreams.check(config).map_err(|error| error.to_string())?;
        }
        let settings = self.settings.with_reloaded(new, policy.is_some(), dns64.clone());
        let reloaded = Reloaded { dry_run: false, applied, needs_restart, settled: false };
        Ok(Target { settings, policy, dns64, reloaded, moved })
    }

    /// Finds out anew which addresses ICMP errors come from.
    async fn find_sources(&mut self, running: &Running) -> Result<(), String> {
        let index = running.view.translator.as_ref().and_then(|view| view.with_dataplane(|plane| plane.device().index));
        if let (Some(network), Some(index)) = (&running.network, index) {
            let found = network.sources(&self.settings.device.name, index).await;
            self.sources = found.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Whether a change of this key can be applied.
    fn is_applied(&self, new: &Settings, key: &str) -> bool {
        let is_shared = |policy: &Policy| policy.mapping == MappingBehavior::AddressAndPortDependent;
        let stays_off = match key.split('.').next() {
            Some("log") if key == "log.level" => false,
            // Logs are of the translator's sessions.
            Some("translator" | "log") => self.settings.policy.is_none() || new.policy.is_none(),
            Some("dns64") => self.settings.dns64.is_none() || new.dns64.is_none(),
            _ => false,
        };
        let is_fixed = key == "translator.static" && self.settings.policy.as_ref().is_some_and(is_shared);
        config::is_reloaded(key) && !stays_off && !is_fixed
    }

    /// A policy with what is not in the file.
    fn effective_policy(&self, settings: &Settings, mut policy: Policy) -> Result<Policy, String> {
        let errors = &mut policy.errors;
        errors.source6 = errors.source6.or_else(|| self.sources.source6.filter(|_| settings.find_source6));
        errors.source4 = errors.source4.or_else(|| self.sources.source4.filter(|_| settings.find_source4));
        let added = self.statics.iter().copied().filter(|mapping| !policy.static_mappings.contains(mapping));
        let added: Vec<StaticMapping> = added.collect();
        policy.static_mappings.extend(added);
        policy.draining = self.draining.clone();
        policy.check().map_err(|error| error.to_string())?;
        Ok(policy)
    }

    /// Where else a problem may come from than from the file, which is right by itself.
    fn with_hint(&self, problem: String) -> String {
        if self.statics.is_empty() {
            return problem;
        }
        format!("{problem}; that is with the static mappings that were added by command, see nat64 static list")
    }

    async fn apply(&self, running: &mut Running, target: &Target) -> Result<(), String> {
        let view = Arc::clone(&running.view);
        if let (Some(policy), Some(translator)) = (&target.policy, &view.translator) {
            let old = translator.translator.policy();
            let index = translator.with_dataplane(|dataplane| dataplane.device().index).unwrap_or(0);
            let device = &self.settings.device;
            if let Some(network) = &mut running.network {
                network.extend(device, index, (&old, policy)).await.map_err(|error| error.to_string())?;
            }
            let replaced = translator.translator.replace(policy.clone());
            if let Some(network) = &mut running.network {
                let (from, to) = if replaced.is_ok() { (&old, policy) } else { (policy, &old) };
                network.retract(device, index, (from, to)).await;
            }
            replaced.map_err(|error| error.to_string())?;
        }
        if let (Some(config), Some(handles), Some(dns64)) = (&target.dns64, running.dns64(), &view.dns64) {
            handles.policy.replace(config.policy());
            dns64.health.replace(&config.prefixes);
            if asks_otherwise(self.settings.dns64.as_ref(), config) {
                handles.upstreams.replace(config).map_err(|error| error.to_string())?;
                dns64.set_upstreams(&config.upstreams);
            }
        }
        if let Some(log) = &mut running.session_log {
            log.replace(&target.settings.session_logs).map_err(|error| format!("cannot start a log: {error}"))?;
            *view.session_logs.lock().unwrap_or_else(PoisonError::into_inner) = log.stats();
        }
        if let Some(handles) = running.dns64() {
            handles.names.remember(target.settings.wants_names());
        }
        logging::set_level(target.settings.log_level);
        starting::follow_anew(running, &target.settings).await.map_err(|error| format!("{error:#}"))
    }

    fn change_statics(
        &mut self,
        running: &Running,
        change: Option<(StaticChange, StaticMapping)>,
    ) -> Result<Vec<StaticEntry>, String> {
        let translator = translator(running)?;
        if let Some((change, mapping)) = change {
            let before = self.statics.clone();
            match change {
                StaticChange::Add => self.statics.push(mapping),
                StaticChange::Remove => self.remove_static(translator, &mapping)?,
            }
            if let Err(problem) = self.replace(translator) {
                self.statics = before;
                return Err(problem);
            }
            info!(?change, external = ?mapping.external, "static mapping changed by command");
        }
        let entry = |mapping: &StaticMapping| StaticEntry {
            protocol: mapping.protocol.name().to_owned(),
            external: mapping.external.into(),
            internal: mapping.internal.into(),
            runtime: self.statics.contains(mapping),
        };
        Ok(translator.translator.policy().static_mappings.iter().map(entry).collect())
    }

    fn remove_static(&mut self, translator: &TranslatorView, mapping: &StaticMapping) -> Result<(), String> {
        match self.statics.iter().position(|known| known == mapping) {
            Some(place) => {
                self.statics.remove(place);
                Ok(())
            }
            None if translator.translator.policy().static_mappings.contains(mapping) => {
                Err("this mapping is in the configuration; remove it there, and reload".to_owned())
            }
            None => Err("there is no such static mapping; see nat64 static list".to_owned()),
        }
    }

    fn drain(
        &mut self,
        running: &Running,
        address: Option<Ipv4Addr>,
        is_drained: bool,
    ) -> Result<api::Draining, String> {
        let translator = translator(running)?;
        let before = self.draining.clone();
        match address {
            Some(address) => {
                let in_pool = translator.translator.pool_addresses().iter().any(|known| known.address == address);
                // One that is drained may have left the pool meanwhile.
                if !in_pool && !self.draining.addresses.contains(&address) {
                    return Err(format!("{address} is not in the pool; see nat64 pool"));
                }
                self.draining.addresses.retain(|known| *known != address);
                self.draining.addresses.extend(is_drained.then_some(address));
            }
            None if is_drained => self.draining.everything = true,
            None => self.draining = Draining::default(),
        }
        if let Err(problem) = self.replace(translator) {
            self.draining = before;
            return Err(problem);
        }
        if let (None, Some(dns64)) = (address, &running.view.dns64) {
            dns64.health.drain(None, is_drained);
        }
        info!(address = address.map(tracing::field::display), is_drained, "draining changed by command");
        let Draining { everything, addresses } = self.draining.clone();
        Ok(api::Draining { everything, addresses, sessions: None })
    }

    /// Puts the policy of the configuration in force again, with what was changed by command.
    fn replace(&self, translator: &TranslatorView) -> Result<(), String> {
        let configured = self.settings.policy.clone().ok_or("the translator is off")?;
        let policy = self.effective_policy(&self.settings, configured)?;
        translator.translator.replace(policy).map_err(|error| error.to_string())
    }
}

fn translator(running: &Running) -> Result<&TranslatorView, String> {
    running.view.translator.as_ref().ok_or_else(|| "the translator is off".to_owned())
}

/// A configuration of DNS64 with what of another can be applied while the server runs.
fn merged(old: &dns64::Config, new: &dns64::Config) -> dns64::Config {
    let new = new.clone();
    dns64::Config {
        prefixes: new.prefixes,
        well_known: new.well_known,
        clients: new.clients,
        exclude_aaaa: new.exclude_aaaa,
        exclude_a: new.exclude_a,
        range_prefixes: new.range_prefixes,
        groups: new.groups,
        domains: new.domains,
        when_unusable: new.when_unusable,
        upstreams: new.upstreams,
        upstream_order: new.upstream_order,
        routes: new.routes,
        timeout: new.timeout,
        attempts: new.attempts,
        random_case: new.random_case,
        upstream_ca: new.upstream_ca,
        ..old.clone()
    }
}

/// Whether upstreams are asked in another way, so that what is known of their health is of no use.
fn asks_otherwise(old: Option<&dns64::Config>, new: &dns64::Config) -> bool {
    old.is_none_or(|old| {
        old.upstreams != new.upstreams
            || old.upstream_order != new.upstream_order
            || old.routes != new.routes
            || old.timeout != new.timeout
            || old.attempts != new.attempts
            || old.random_case != new.random_case
            || old.upstream_ca != new.upstream_ca
    })
}

/// What becomes of `shared`.
fn moved(old: Option<&OwnAddress>, new: Option<&OwnAddress>) -> Option<KeyChange> {
    let (old, new) = (old?, new?);
    let text = |own: &OwnAddress| Some(format!("{} of {}", own.address, own.interface));
    (!old.is_at(new)).then(|| KeyChange { key: "translator.pool4: shared".to_owned(), from: text(old), to: text(new) })
}

fn tell(reloaded: &Reloaded) {
    for KeyChange { key, from, to } in &reloaded.applied {
        info!(key, from, to, "changed by reload");
    }
    for KeyChange { key, from, to } in &reloaded.needs_restart {
        warn!(key, from, to, "differs in the file; counts from the next start on");
    }
    if reloaded.applied.is_empty() && reloaded.needs_restart.is_empty() {
        info!("reloaded; nothing differs");
    }
}
