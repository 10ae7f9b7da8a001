//! Does a listener require less of its clients than before: TLS, a certificate of an authority, or an address?

use crate::compare::Side;
use crate::compare::finding::relative;
use crate::config::Listener;
use crate::config::tls::ClientCertificateRule;
use std::path::Path;

/// The requirement of a listener, from the weakest to the strongest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ListenerRequirement {
    Nothing,
    Tls,
    CertificateIfAny,
    Certificate,
}

impl ListenerRequirement {
    fn of(listener: &Listener) -> Self {
        match listener
            .tls
            .as_ref()
            .map(|tls| tls.clients.as_ref().map(|clients| clients.rule))
        {
            None => Self::Nothing,
            Some(None) => Self::Tls,
            Some(Some(ClientCertificateRule::Optional)) => Self::CertificateIfAny,
            Some(Some(ClientCertificateRule::Required)) => Self::Certificate,
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Nothing => "plain HTTP",
            Self::Tls => "TLS",
            Self::CertificateIfAny => "TLS, client certificates optional",
            Self::Certificate => "TLS, client certificates required",
        }
    }
}

/// Reports each listener that requires less than the old one with its address. A listener with a new address is compared
/// with the old one that requires least.
pub(in crate::compare) fn compare(old: Side<'_>, new: Side<'_>, report: &mut dyn FnMut([&str; 2], String, String)) {
    let weakest = old
        .config
        .listeners
        .iter()
        .min_by_key(|listener| ListenerRequirement::of(listener));
    for is in &new.config.listeners {
        let same = old.config.listeners.iter().find(|was| was.address == is.address);
        let Some(was) = same.or(weakest) else {
            continue;
        };
        let text =
            |listener: &Listener| format!("{} with {}", listener.address, ListenerRequirement::of(listener).text());
        if ListenerRequirement::of(is) < ListenerRequirement::of(was) {
            report(["listeners", ""], text(was), text(is));
        }
        if !is.addresses.is_within(&was.addresses) {
            let text = |listener: &Listener| format!("{} for {}", listener.address, listener.addresses);
            report(["listeners", ""], text(was), text(is));
        }
        if let (Some(was), Some(is)) = (authorities(old.folder, was), authorities(new.folder, is))
            && was != is
        {
            report(["listeners", ""], format!("client_ca {was}"), format!("client_ca {is}"));
        }
    }
}

/// Returns the file of the authorities that sign the certificates of a listener's clients.
fn authorities(folder: &Path, listener: &Listener) -> Option<String> {
    let clients = listener.tls.as_ref()?.clients.as_ref()?;
    Some(relative(folder, &clients.ca_file))
}
