//! The checks of snapshot rules.

use super::stage::broken;
use super::{Check, Trouble, check};
use ostler_driver::{RulesQuestion, RulesVerdict, SnapshotRules, Verdict};
use ostler_model::{Ability, State, Verb};
use std::sync::Arc;
use std::time::{Duration, Instant};
use strum::IntoEnumIterator;

type Stage = Arc<dyn SnapshotRules>;

/// The time that the engine allows rules for an answer. Most of it is a reserve for busy machines.
const PATIENCE: Duration = Duration::from_millis(100);
const SNAPSHOT_VERBS: [&str; 3] = ["snapshot-create", "snapshot-revert", "snapshot-delete"];

/// All of them.
pub(super) fn checks() -> Vec<Check<Stage>> {
    vec![
        check!("rules-are-pure", "the same question has the same answer", pure),
        check!(
            "rules-one-fate-each",
            "there is one fate for each existing snapshot, in every state and for every verb",
            one_fate_each
        ),
        check!(
            "rules-judge-snapshots-only",
            "only snapshot verbs may be refused; delete is never held up",
            judge_snapshots_only
        ),
        check!("rules-say-why", "a refusal says why", say_why),
        check!("rules-are-quick", "an answer takes less than 100 ms", quick),
    ]
}

fn question(verb: &str, state: State, snapshots: usize) -> RulesQuestion {
    RulesQuestion {
        verb: verb.to_owned(),
        state,
        disks: vec![
            ("vda".to_owned(), "qcow2".to_owned(), false),
            ("vdb".to_owned(), "raw".to_owned(), true),
        ],
        snapshots: (0..snapshots).map(|number| format!("snapshot-{number}")).collect(),
        subject: (snapshots > 0).then(|| "snapshot-0".to_owned()),
        abilities: vec![Ability::Snapshots, Ability::Suspend],
        now_ms: 1_700_000_000_000,
    }
}

fn verbs() -> impl Iterator<Item = String> {
    Verb::iter()
        .map(RulesQuestion::verb_name)
        .chain(SNAPSHOT_VERBS.map(str::to_owned))
        .chain(["observed".to_owned()])
}

/// Every verb in a few states, with and without snapshots.
fn questions() -> Vec<RulesQuestion> {
    let states = [State::Running, State::Poweroff, State::Suspended, State::Unknown];
    let all = verbs()
        .flat_map(|verb| states.map(|state| [0, 1, 3].map(|count| question(&verb, state, count))));
    all.flatten().collect()
}

async fn judge(stage: &Stage, question: &RulesQuestion) -> Result<RulesVerdict, Trouble> {
    match stage.judge(question).await {
        Ok(verdict) => Ok(verdict),
        Err(error) => broken(format!(
            "{} in {} with {} snapshots: {error}",
            question.verb,
            question.state,
            question.snapshots.len()
        )),
    }
}

async fn pure(stage: &Stage) -> super::Verdict {
    for asked in questions() {
        let (first, second) = (judge(stage, &asked).await?, judge(stage, &asked).await?);
        if first != second {
            return broken(format!(
                "{} in {} was judged {first:?}, and then {second:?}",
                asked.verb, asked.state
            ));
        }
    }
    Ok(())
}

async fn one_fate_each(stage: &Stage) -> super::Verdict {
    for asked in questions() {
        let fates = judge(stage, &asked).await?.fates.len();
        if fates != asked.snapshots.len() {
            return broken(format!(
                "{} in {}: {fates} fates for {} snapshots",
                asked.verb,
                asked.state,
                asked.snapshots.len()
            ));
        }
    }
    Ok(())
}

async fn judge_snapshots_only(stage: &Stage) -> super::Verdict {
    for asked in
        questions().into_iter().filter(|asked| !SNAPSHOT_VERBS.contains(&asked.verb.as_str()))
    {
        if let Verdict::Refused { reason } = judge(stage, &asked).await?.verdict {
            return broken(format!("{} in {} was refused: {reason}", asked.verb, asked.state));
        }
    }
    Ok(())
}

async fn say_why(stage: &Stage) -> super::Verdict {
    for asked in questions() {
        if let Verdict::Refused { reason } = judge(stage, &asked).await?.verdict
            && reason.trim().is_empty()
        {
            return broken(format!(
                "{} in {} was refused without a reason",
                asked.verb, asked.state
            ));
        }
    }
    Ok(())
}

async fn quick(stage: &Stage) -> super::Verdict {
    let asked = question("snapshot-create", State::Running, 3);
    // The first answer may compile or load something, and a busy machine may delay any answer.
    // Therefore the quickest of five counts.
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let began = Instant::now();
        judge(stage, &asked).await?;
        best = best.min(began.elapsed());
    }
    if best < PATIENCE {
        Ok(())
    } else {
        broken(format!("the quickest of five answers took {} ms", best.as_millis()))
    }
}
