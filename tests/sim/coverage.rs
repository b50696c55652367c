//! Counts what runs have reached: verbs and how they ended, steps, states, errors. If the fixed
//! seeds do not reach a thing, they prove nothing about it.

use ostler_lifecycle::{Decision, Input};
use ostler_model::{Ended, Journal, RefusalKind, Request, State, StepKind, Verb, VmRecord};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use strum::IntoEnumIterator;

/// How a request or an operation went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Went {
    Began,
    Already,
    Refused,
    Succeeded,
    Failed,
    Superseded,
}

const WAYS: usize = 6;

/// Counts.
#[derive(Debug, Clone)]
pub(crate) struct Coverage {
    verbs: Vec<[u64; WAYS]>,
    steps: Vec<u64>,
    undone: Vec<u64>,
    states: Vec<u64>,
    pub(crate) refusals: BTreeMap<String, u64>,
}

impl Default for Coverage {
    fn default() -> Self {
        Self {
            verbs: vec![[0; WAYS]; Verb::iter().count()],
            steps: vec![0; StepKind::iter().count()],
            undone: vec![0; StepKind::iter().count()],
            states: vec![0; State::iter().count()],
            refusals: BTreeMap::new(),
        }
    }
}

impl Coverage {
    fn verb(&mut self, verb: Verb, went: Went) {
        self.verbs[verb as usize][went as usize] += 1;
    }

    /// A decision was made.
    pub(crate) fn decided(&mut self, before: &VmRecord, input: &Input, made: &Decision) {
        let asked = if let Input::Request(asked) = input { Some(asked.verb) } else { None };
        if let (Some(verb), Some(answer)) = (asked, &made.answer) {
            self.verb(verb, if answer.already { Went::Already } else { Went::Began });
        }
        let active = before.operation.as_ref().or(made.record.operation.as_ref());
        let undoing = made.record.operation.as_ref().is_some_and(|active| active.undoing);
        for entry in &made.journal {
            match entry {
                Journal::StepBegan { kind, .. } => {
                    self.steps[*kind as usize] += 1;
                    self.undone[*kind as usize] += u64::from(undoing);
                }
                Journal::Ended { operation, outcome, .. } => {
                    let verb = active
                        .filter(|active| active.id == *operation)
                        .map(|active| active.verb)
                        .or(asked);
                    if let Some(verb) = verb {
                        self.ended(verb, outcome);
                    }
                }
                Journal::Began { .. }
                | Journal::StepWent { .. }
                | Journal::StepFailed { .. }
                | Journal::StepEnded { .. } => {}
            }
        }
        if made.record.state != before.state {
            self.states[made.record.state as usize] += 1;
        }
    }

    pub(crate) fn ended(&mut self, verb: Verb, outcome: &Ended) {
        let went = match outcome {
            Ended::Succeeded => Went::Succeeded,
            Ended::Failed { .. } => Went::Failed,
            Ended::Superseded { .. } => Went::Superseded,
        };
        self.verb(verb, went);
    }

    pub(crate) fn refused(&mut self, asked: &Request, kind: RefusalKind) {
        self.verb(asked.verb, Went::Refused);
        *self.refusals.entry(kind.to_string()).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (to, from) in self.verbs.iter_mut().zip(&other.verbs) {
            for (to, from) in to.iter_mut().zip(from) {
                *to += from;
            }
        }
        let sums = [
            (&mut self.steps, &other.steps),
            (&mut self.undone, &other.undone),
            (&mut self.states, &other.states),
        ];
        for (to, from) in sums.into_iter().flat_map(|(to, from)| to.iter_mut().zip(from)) {
            *to += from;
        }
        for (kind, count) in &other.refusals {
            *self.refusals.entry(kind.clone()).or_default() += count;
        }
    }

    /// Things that must be reached and were not.
    pub(crate) fn missing(&self) -> Vec<String> {
        let states = State::iter()
            .filter(|state| self.states[*state as usize] == 0)
            .map(|state| format!("state {state}"));
        // The switch is a step of the record: it begins and ends within one decision. The stamp
        // begins when the VM is made, and only decisions about existing VMs are seen.
        let seen = |step: &StepKind| !matches!(step, StepKind::Switch | StepKind::Stamp);
        let steps = StepKind::iter()
            .filter(|step| self.steps[*step as usize] == 0 && seen(step))
            .map(|step| format!("step {step}"));
        let reached = |verb: Verb, went: Went| self.verbs[verb as usize][went as usize] > 0;
        let succeeded = |verb: &Verb| !reached(*verb, Went::Succeeded) && !verb.is_recovery();
        let verbs = Verb::iter().filter(succeeded).map(|verb| format!("verb {verb} that succeeds"));
        let began = |verb: &Verb| verb.is_recovery() && !reached(*verb, Went::Began);
        let recoveries = Verb::iter().filter(began).map(|verb| format!("verb {verb}"));
        states.chain(steps).chain(verbs).chain(recoveries).collect()
    }

    pub(crate) fn table(&self) -> String {
        let mut out = String::from(
            "verb                   began  already  refused  succeeded  failed  superseded\n",
        );
        for verb in Verb::iter() {
            let [began, already, refused, succeeded, failed, superseded] =
                self.verbs[verb as usize];
            let verb = verb.to_string();
            let _ = writeln!(
                out,
                "{verb:<22} {began:>6} {already:>8} {refused:>8} {succeeded:>10} {failed:>7} \
                 {superseded:>11}"
            );
        }
        out.push_str("steps (rolling back): ");
        for step in StepKind::iter() {
            let _ = write!(
                out,
                "{step} {} ({}), ",
                self.steps[step as usize], self.undone[step as usize]
            );
        }
        out.push_str("\nstates: ");
        for state in State::iter() {
            let _ = write!(out, "{state} {}, ", self.states[state as usize]);
        }
        let _ = write!(out, "\nrefusals: {:?}", self.refusals);
        out.push('\n');
        out
    }
}
