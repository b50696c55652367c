//! Translates libvirt's errors into the engine's errors, which say what to do next. The texts are
//! for people; no decision reads them.
//!
//! The code never concludes from an error that the connection was lost. A daemon reports its own
//! troubles as a client (with its log daemon, or with the other host of a migration) in the same
//! words, over a connection that is whole.

use crate::xml::SPARE_PORTS;
use ostler_model::{DriverError, ErrorKind};
use virt::error::{Error, ErrorNumber};

/// The kind of request that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum During {
    /// A question, or a look before anything was changed.
    Asking,
    /// A change to a domain that is here already.
    Acting,
    /// A change that may succeed on another host: a start, a restore.
    Placing,
}

/// The meaning of an error code, without its circumstances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// The connection is dead.
    Connection,
    /// There is no such domain.
    NoDomain,
    /// libvirt is busy with something else, or was too slow to begin.
    Busy,
    /// We have no permission.
    Forbidden,
    /// libvirt does not accept the request as valid.
    Bad,
    /// This host cannot do it.
    Unable,
    /// libvirt tried, and failed.
    Failed,
    /// The domain's state does not allow it.
    Invalid,
    /// The call was told to stop.
    Aborted,
}

/// The error for the engine. `alive`: whether the connection still lives.
pub(crate) fn driver_error(error: &Error, during: During, alive: bool) -> DriverError {
    let meaning = if alive { meaning(error.code()) } else { Meaning::Connection };
    let (kind, code) = decide(meaning, during);
    DriverError::new(kind, code, told(error.message()))
}

/// libvirt's message. Where the message does not tell its meaning, the meaning comes first.
pub(crate) fn told(message: &str) -> String {
    if message.contains("No more available PCI slots") {
        return format!(
            "the VM has no free slot for another device; it gets {SPARE_PORTS} new ones by \
             poweroff and resume (libvirt: {message})"
        );
    }
    message.to_owned()
}

/// Whether libvirt says that there is no such domain.
pub(crate) fn is_no_domain(error: &Error) -> bool {
    error.code() == ErrorNumber::NoDomain
}

/// Whether libvirt refused the call before it tried anything.
pub(crate) fn is_refusal(error: &Error) -> bool {
    matches!(meaning(error.code()), Meaning::Bad | Meaning::Unable)
}

fn decide(meaning: Meaning, during: During) -> (ErrorKind, &'static str) {
    use ErrorKind::{Cancelled, Gone, NotHere, Refused, Retry, Unknown};
    match (meaning, during) {
        (Meaning::Connection, During::Asking) => (Retry, "no-connection"),
        // The request was sent, and no answer came: the change may have happened.
        (Meaning::Connection, During::Acting | During::Placing) => (Unknown, "lost-connection"),
        (Meaning::NoDomain, _) => (Gone, "no-domain"),
        (Meaning::Busy, _) => (Retry, "busy"),
        (Meaning::Forbidden, _) => (Refused, "forbidden"),
        (Meaning::Bad, _) => (Refused, "bad-request"),
        (Meaning::Unable, During::Placing) => (NotHere, "unable"),
        (Meaning::Unable, During::Asking | During::Acting) => (Refused, "unable"),
        // A question that failed is no answer: nothing may be concluded from it.
        (Meaning::Failed | Meaning::Invalid, During::Asking) => (Retry, "no-answer"),
        (Meaning::Failed, During::Placing) => (NotHere, "failed"),
        (Meaning::Failed, During::Acting) => (Refused, "failed"),
        (Meaning::Invalid, During::Acting | During::Placing) => (Refused, "wrong-state"),
        (Meaning::Aborted, _) => (Cancelled, "aborted"),
    }
}

/// The one table of meanings, for a connection that lives. It is exhaustive: a code that a later
/// binding adds must get its meaning here.
#[allow(clippy::too_many_lines)]
const fn meaning(code: ErrorNumber) -> Meaning {
    use ErrorNumber as E;
    match code {
        E::NoDomain | E::InvalidDomain => Meaning::NoDomain,
        E::OperationTimeout
        | E::ResourceBusy
        | E::BlockCopyActive
        | E::AgentUnresponsive
        | E::AgentUnsynced
        | E::AgentCommandTimeout => Meaning::Busy,
        E::OperationDenied
        | E::AccessDenied
        | E::AuthFailed
        | E::AuthCancelled
        | E::AuthUnavailable => Meaning::Forbidden,
        E::InvalidArg
        | E::XmlError
        | E::XmlDetail
        | E::XmlInvalidSchema
        | E::DomExist
        | E::InvalidMac
        | E::ConfSyntax
        | E::ParseFailed
        | E::Overflow
        | E::NoName
        | E::NoOs
        | E::OsType
        | E::NoRoot
        | E::NoSource
        | E::NoTarget
        | E::NoKernel
        | E::NoDevice
        | E::MultipleDomains => Meaning::Bad,
        E::NoMemory
        | E::NoSupport
        | E::ConfigUnsupported
        | E::ArgumentUnsupported
        | E::OperationUnsupported
        | E::CpuIncompatible
        | E::DriverFull
        | E::NoNetwork
        | E::NoNetworkStart
        | E::NoInterface
        | E::NoInterfaceStart
        | E::InvalidInterface
        | E::MultipleInterfaces
        | E::InvalidNetwork
        | E::NoSecurityModel
        | E::NoNwfilter
        | E::NoNwfilterStart
        | E::InvalidNwfilter
        | E::InvalidNwfilterBinding
        | E::NoNwfilterBinding
        | E::NoStorage
        | E::NoStoragePool
        | E::NoStorageVolume
        | E::NoNode
        | E::NoNodeDevice
        | E::NoSecret
        | E::NoSecretStart
        | E::NoNetworkPort
        | E::DeviceMissing
        | E::DbusService => Meaning::Unable,
        E::OperationInvalid
        | E::InvalidDomainSnapshot
        | E::InvalidDomainCheckpoint
        | E::NoDomainSnapshot
        | E::NoDomainCheckpoint
        | E::NoDomainBackup
        | E::NoDomainMetadata
        | E::NoNetworkMetadata => Meaning::Invalid,
        E::OperationAborted => Meaning::Aborted,
        E::Ok
        | E::InternalError
        | E::SystemError
        // In these codes, the daemon itself could not connect to somebody else, or was not
        // understood by them.
        | E::NoConnect
        | E::InvalidConn
        | E::UnknownHost
        | E::Rpc
        | E::GnutlsError
        | E::Ssh
        | E::Libssh
        | E::NoServer
        | E::NoClient
        | E::HttpError
        | E::NoHostname
        | E::OperationFailed
        | E::GetFailed
        | E::PostFailed
        | E::SExprSerial
        | E::NoXen
        | E::XenCall
        | E::NoXenStore
        | E::CallFailed
        | E::OpenFailed
        | E::ReadFailed
        | E::WriteFailed
        | E::NetworkExist
        | E::InvalidStoragePool
        | E::InvalidStorageVol
        | E::InvalidNodeDevice
        | E::BuildFirewall
        | E::InvalidSecret
        | E::MigratePersistFailed
        | E::HookScriptFailed
        | E::InvalidStream
        | E::StorageProbeFailed
        | E::StoragePoolBuilt
        | E::SnapshotRevertRisky
        | E::MigrateUnsafe
        | E::StorageVolExist
        | E::MigrateFinishOk
        | E::InvalidNetworkPort
        | E::NetworkPortExists
        | E::CheckpointInconsistent
        | E::AgentCommandFailed
        | E::Last => Meaning::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libvirt_says_in_riddles_is_told_plainly() {
        let slots = told("internal error: No more available PCI slots");
        assert!(
            slots.starts_with("the VM has no free slot for another device")
                && slots.contains("poweroff and resume"),
            "{slots}"
        );
        assert_eq!(told("domain is not running"), "domain is not running");
    }

    const ALL: [Meaning; 9] = [
        Meaning::Connection,
        Meaning::NoDomain,
        Meaning::Busy,
        Meaning::Forbidden,
        Meaning::Bad,
        Meaning::Unable,
        Meaning::Failed,
        Meaning::Invalid,
        Meaning::Aborted,
    ];

    #[test]
    fn a_question_never_ends_in_doubt_and_a_lost_change_always_does() {
        for meaning in ALL {
            let (kind, _) = decide(meaning, During::Asking);
            assert_ne!(kind, ErrorKind::Unknown, "{meaning:?}");
            assert_eq!(kind == ErrorKind::Gone, meaning == Meaning::NoDomain, "{meaning:?}");
        }
        for during in [During::Acting, During::Placing] {
            assert_eq!(
                decide(Meaning::Connection, during),
                (ErrorKind::Unknown, "lost-connection")
            );
        }
        assert_eq!(
            decide(Meaning::Connection, During::Asking),
            (ErrorKind::Retry, "no-connection")
        );
    }

    #[test]
    fn only_a_start_may_be_tried_elsewhere() {
        for meaning in ALL {
            for during in [During::Asking, During::Acting] {
                assert_ne!(decide(meaning, during).0, ErrorKind::NotHere, "{meaning:?} {during:?}");
            }
        }
        assert_eq!(decide(Meaning::Unable, During::Placing).0, ErrorKind::NotHere);
    }

    #[test]
    fn errors_of_a_server_on_a_connection_that_lives_are_its_answers() {
        for (code, expected) in [
            (ErrorNumber::Rpc, Meaning::Failed),
            (ErrorNumber::NoConnect, Meaning::Failed),
            (ErrorNumber::SystemError, Meaning::Failed),
            (ErrorNumber::InternalError, Meaning::Failed),
            (ErrorNumber::NoDomain, Meaning::NoDomain),
            (ErrorNumber::OperationTimeout, Meaning::Busy),
            (ErrorNumber::ConfigUnsupported, Meaning::Unable),
            (ErrorNumber::OperationInvalid, Meaning::Invalid),
            (ErrorNumber::XmlError, Meaning::Bad),
            (ErrorNumber::AuthFailed, Meaning::Forbidden),
        ] {
            assert_eq!(meaning(code), expected, "{code}");
        }
        // If virtlogd does not run, a start fails on this host.
        assert_eq!(
            decide(meaning(ErrorNumber::SystemError), During::Placing),
            (ErrorKind::NotHere, "failed")
        );
    }
}
