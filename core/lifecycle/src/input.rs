//! The one door: [`decide`], and [`create`] for a VM that is not there yet.

use crate::draft::Draft;
use crate::{Facts, judge, monitor, request, step};
use ostler_model::{
    Answer, CallResult, Claim, DiskState, Effect, EffectKey, EventKind, FilesAt, Generation, Journal, Observation, OperationId,
    Reason, Refusal, Request, State, StepNo, Timestamp, Version, VmId, VmRecord, VmSpec, VmUuid,
};

/// Everything that can happen to a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Somebody asks for something.
    Request(Request),
    /// A driver call returned, or was proven dead.
    Answered {
        /// Which.
        key: EffectKey,
        /// When it was really sent.
        sent: Timestamp,
        /// What came of it.
        result: CallResult,
    },
    /// The monitor looked.
    Observed {
        /// The VM's step counter as read before looking; counts only if it is unchanged and no call is open.
        step: StepNo,
        /// What it saw.
        seen: Observation,
    },
    /// The monitor could not ask.
    CouldNotAsk {
        /// Since when that is so.
        since: Timestamp,
    },
    /// Time has passed.
    Tick,
    /// The daemon was started: every call that was open is of unknown outcome, and whoever sent it is dead.
    Restarted,
}

/// What is to be committed, and what is done after that. Nothing of it may happen before the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The next record.
    pub record: VmRecord,
    /// Whether anything changed: if not, there is nothing to commit.
    pub changed: bool,
    /// For requests: the answer.
    pub answer: Option<Answer>,
    /// Calls to send, and rows to put into the outbox.
    pub effects: Vec<Effect>,
    /// Rows to take out of the outbox.
    pub settled: Vec<EffectKey>,
    /// Calls in flight that are to be told to stop.
    pub cancels: Vec<EffectKey>,
    /// What must hold inside the transaction.
    pub claims: Vec<Claim>,
    /// For operations' records.
    pub journal: Vec<Journal>,
    /// For the feed.
    pub events: Vec<EventKind>,
}

/// What a VM is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVm {
    /// Its id.
    pub id: VmId,
    /// As hypervisors will know it.
    pub uuid: VmUuid,
    /// The operation that creates it.
    pub operation: OperationId,
    /// Who asks; becomes the owner.
    pub by: String,
    /// What it is to be; checked.
    pub spec: VmSpec,
    /// Its disks, with images looked up.
    pub disks: Vec<DiskState>,
    /// Whether the scheduler leaves it alone at first.
    pub hold: bool,
}

/// A new VM: pending or hold, claiming its images.
#[must_use]
pub fn create(new: NewVm, now: Timestamp) -> Decision {
    let state = if new.hold { State::Hold } else { State::Pending };
    let mut claims: Vec<Claim> = new.disks.iter().filter_map(|disk| disk.image).map(|image| Claim::Image { image }).collect();
    claims.dedup();
    let name = new.spec.name.to_string();
    let record = VmRecord {
        id: new.id,
        uuid: new.uuid,
        owner: new.by,
        created: now,
        spec: new.spec,
        version: Version(1),
        state,
        since: now,
        reason: Reason::Asked,
        step: StepNo(0),
        issued: Generation(0),
        placed: Generation(0),
        placement: None,
        storage: None,
        files: FilesAt::default(),
        disks: new.disks,
        recovery: None,
        operation: None,
        open: Vec::new(),
        failure: None,
        running_since: None,
        seen: None,
        blind_since: None,
        snapshots: Vec::new(),
        driver_state: Default::default(),
        history: Vec::new(),
    };
    let answer = Answer { vm: record.id, operation: None, state, version: record.version, already: false, overtook: None };
    Decision {
        record,
        changed: true,
        answer: Some(answer),
        effects: Vec::new(),
        settled: Vec::new(),
        cancels: Vec::new(),
        claims,
        journal: Vec::new(),
        events: vec![EventKind::Created { name }],
    }
}

/// Decides what `input` makes of `record`.
///
/// # Errors
/// Only requests are refused, and a refused one changes nothing.
pub fn decide(record: &VmRecord, facts: &Facts, input: &Input, now: Timestamp) -> Result<Decision, Refusal> {
    let mut draft = Draft::new(record, facts, now);
    match input {
        Input::Request(asked) => request::request(&mut draft, asked)?,
        Input::Answered { key, sent, result } => judge::answered(&mut draft, key, *sent, result),
        Input::Observed { step, seen } => monitor::observed(&mut draft, *step, seen),
        Input::CouldNotAsk { since } => monitor::could_not_ask(&mut draft, *since),
        Input::Tick => step::tick(&mut draft),
        Input::Restarted => step::restarted(&mut draft),
    }
    Ok(draft.finish())
}
