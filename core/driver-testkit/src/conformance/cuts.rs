//! Stops a driver before and after each of its calls to the host, and sends the same effect again.
//!
//! A daemon may die in the middle of a driver's call. Then some of the call's work at the host is
//! done, and nobody knows how much. A sandbox can make this happen on purpose: it knows every call
//! of a driver to its host, and can stop the driver at each of them.
//!
//! ```text
//!   a clean run            -> n calls to the host, and the end that is right
//!   for each of n, twice   -> stopped before it | stopped after it
//!                          -> a look: nothing may be broken in between
//!                          -> the same effect again, by a fresh instance: it must succeed
//!                          -> the end must be that of the clean run, and nothing is left over
//! ```
//!
//! [`Cuts`] is the sandbox as the suite sees it. A built-in driver has none, and the checks are
//! skipped.

use super::{Trouble, Verdict};
use async_trait::async_trait;
use ostler_driver::CallControl;
use ostler_model::{DriverError, EffectKey, Outcome};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// The most cuts of one effect. A driver that makes more calls to the host is stopped at as many
/// points, evenly spread.
const CUTS_MAX: usize = 40;
/// The number of cuts that are made even if the time is over.
const CUTS_LEAST: usize = 4;

/// The side of a call to the host on which a driver is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The host has not done the call.
    Before,
    /// The host has done the call, and the driver has no answer.
    After,
}

/// The point at which a driver is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// At which of its calls to the host; the first one is 1.
    pub at: usize,
    /// Before or after that call.
    pub side: Side,
}

/// The calls to the host that a driver has made for an effect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watched {
    /// The words for each of them, in their order.
    pub calls: Vec<String>,
    /// Whether the driver was stopped.
    pub stopped: bool,
}

/// A sandbox that can stop the driver at its calls to the host. A driver call that is stopped
/// answers `unknown`, and whatever the driver kept in memory is forgotten.
pub trait Cuts: Send + Sync {
    /// From now on, notes the calls to the host that are made for that effect, and stops the driver
    /// at the cut.
    fn watch(&self, effect: &EffectKey, cut: Option<Cut>);
    /// Ends the watch. Tells what it has seen.
    fn end(&self) -> Watched;
}

/// The means to stop the driver, and the time that is left for that.
pub(super) struct Cutting {
    cuts: Option<Arc<dyn Cuts>>,
    turns: Mutex<Turns>,
}

struct Turns {
    /// The time that is left for all checks that stop the driver.
    left: Duration,
    /// How many of these checks have not begun.
    checks: u32,
    /// The last check's words about the cuts that it has made.
    note: Option<String>,
}

impl Cutting {
    /// `within` is the time for all `checks` together. Each check has an equal share, and leaves
    /// what it does not use to those that come later.
    pub(super) fn new(cuts: Option<Arc<dyn Cuts>>, within: Duration, checks: usize) -> Self {
        let checks = u32::try_from(checks).unwrap_or(u32::MAX);
        let turns = Mutex::new(Turns { left: within, checks, note: None });
        Self { cuts, turns }
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A remark of the last check, beside its result.
    pub(super) fn take_note(&self) -> Option<String> {
        self.turns().note.take()
    }

    fn share(&self) -> Duration {
        let turns = self.turns();
        turns.left / turns.checks.max(1)
    }

    fn used(&self, used: Duration) {
        let mut turns = self.turns();
        turns.left = turns.left.saturating_sub(used);
        turns.checks = turns.checks.saturating_sub(1);
    }
}

/// The state that an effect has left, as pairs of a subject and what is true of it.
#[derive(Debug, Default)]
pub(super) struct End {
    pub(super) facts: Vec<(&'static str, String)>,
    /// Names of files, without what differs between two runs, and how many have each name.
    pub(super) files: BTreeMap<String, usize>,
}

impl End {
    pub(super) fn fact(&mut self, subject: &'static str, what: impl Into<String>) {
        self.facts.push((subject, what.into()));
    }

    /// How this end differs from that of a clean run.
    fn differs(&self, clean: &Self) -> Option<String> {
        let facts = self.facts.iter().zip(&clean.facts);
        if let Some(((subject, found), (_, wanted))) =
            facts.into_iter().find(|(found, wanted)| found != wanted)
        {
            return Some(format!("{subject} is {found}; after a run in one piece it is {wanted}"));
        }
        let over = more(&self.files, &clean.files);
        if !over.is_empty() {
            return Some(format!("files are left over: {over:?} (`#` stands for a number)"));
        }
        let missing = more(&clean.files, &self.files);
        (!missing.is_empty())
            .then(|| format!("files are missing: {missing:?} (`#` stands for a number)"))
    }
}

/// The names of which there are more here than there.
fn more<'a>(here: &'a BTreeMap<String, usize>, there: &BTreeMap<String, usize>) -> Vec<&'a String> {
    let count = |name| there.get(name).copied().unwrap_or_default();
    here.iter().filter(|(name, here)| **here > count(*name)).map(|(name, _)| name).collect()
}

/// The length of a UUID as text.
const UUID_LEN: usize = 36;

/// The fewest digits of a mark in hexadecimal.
const MARK_LEAST: usize = 4;

/// The length of the mark in hexadecimal that a text begins with. 0 if it does not.
fn mark(text: &str) -> usize {
    let word = text.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(text.len());
    let letters = text.as_bytes().iter().take(word);
    let hex = word >= MARK_LEAST && letters.clone().all(u8::is_ascii_hexdigit);
    if hex && letters.clone().any(u8::is_ascii_digit) { word } else { 0 }
}

/// A name without what differs between two runs: each UUID becomes `ID`, and each number, or word
/// that is a number in hexadecimal, `#`.
pub(super) fn plain(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    let mut rest = name;
    let mut within = false;
    while let Some(letter) = rest.chars().next() {
        if rest.get(..UUID_LEN).is_some_and(|head| head.parse::<Uuid>().is_ok()) {
            plain.push_str("ID");
            (rest, within) = (&rest[UUID_LEN..], false);
            continue;
        }
        let mark = if within { 0 } else { mark(rest) };
        within = letter.is_ascii_alphanumeric();
        if mark > 0 {
            plain.push('#');
            rest = &rest[mark..];
            continue;
        }
        if !letter.is_ascii_digit() {
            plain.push(letter);
        } else if !plain.ends_with('#') {
            plain.push('#');
        }
        rest = &rest[letter.len_utf8()..];
    }
    plain
}

/// One effect of a driver, as the checks play it again and again.
#[async_trait]
pub(super) trait Play: Send + Sync {
    /// All that an effect finds.
    type Scene: Send + Sync;

    /// Makes a new scene.
    async fn begin(&self) -> Result<Self::Scene, Trouble>;
    /// The effect, as a call.
    fn call(&self, scene: &Self::Scene) -> CallControl;
    /// The same effect as another call.
    fn again(&self, call: &CallControl) -> CallControl;
    /// Sends the call until it has an answer other than `retry`.
    async fn send(
        &self,
        scene: &Self::Scene,
        call: &CallControl,
    ) -> Result<Result<Outcome, DriverError>, Trouble>;
    /// Whether the answer to a repeat is as good as success.
    fn accepts(&self, _error: &DriverError) -> bool {
        false
    }
    /// Checks what must be true although the call was stopped.
    async fn halfway(&self, scene: &Self::Scene, call: &CallControl) -> Verdict;
    /// Looks at the state that the effect has left. `first`: nothing was done before the repeat.
    async fn end(
        &self,
        scene: &Self::Scene,
        call: &CallControl,
        first: bool,
    ) -> Result<End, Trouble>;
    /// Takes the scene away.
    async fn tidy(&self);
}

/// A cut, with the name of the call to the host, as an author reads it.
struct Told<'a> {
    cut: Cut,
    call: &'a str,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.cut.side {
            Side::Before => "before",
            Side::After => "after",
        };
        let ending = match (self.cut.at % 10, self.cut.at % 100) {
            (_, 11..=13) => "th",
            (1, _) => "st",
            (2, _) => "nd",
            (3, _) => "rd",
            _ => "th",
        };
        write!(f, "stopped {side} its {}{ending} call to the host ({})", self.cut.at, self.call)
    }
}

/// The cuts of an effect that makes `calls` calls to the host: all, or [`CUTS_MAX`] that are evenly
/// spread. They are in the order in which they are made.
fn planned(calls: usize) -> Vec<Cut> {
    let all = calls.saturating_mul(2);
    let count = all.min(CUTS_MAX);
    let nth = |index: usize| {
        let point = if count == all { index } else { index * (all - 1) / (count - 1) };
        let side = if point % 2 == 0 { Side::Before } else { Side::After };
        Cut { at: point / 2 + 1, side }
    };
    // The first cuts are spread over the whole call, and each later one lies between earlier ones.
    // So if the time is over early, no part of the call was left out.
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|index| index.reverse_bits());
    order.into_iter().map(nth).collect()
}

/// Plays the effect in one piece, and then stops it at every point of [`planned`].
pub(super) async fn each_cut<P: Play>(cutting: &Cutting, play: &P) -> Verdict {
    let began = Instant::now();
    let share = cutting.share();
    let verdict = play_cuts(cutting, play, began + share).await;
    cutting.used(began.elapsed());
    verdict
}

async fn play_cuts<P: Play>(cutting: &Cutting, play: &P, until: Instant) -> Verdict {
    let Some(cuts) = &cutting.cuts else {
        return Err(Trouble::Skipped(
            "nothing here can stop the driver at its calls to the host".to_owned(),
        ));
    };
    let (calls, clean) = in_one_piece(&**cuts, play).await?;
    let plan = planned(calls.len());
    let (mut made, mut missed) = (0, 0);
    for cut in &plan {
        if made + missed >= CUTS_LEAST && Instant::now() >= until {
            break;
        }
        let name = calls.get(cut.at - 1).map_or("", String::as_str);
        if stopped_once(&**cuts, play, *cut, &clean, name).await? {
            made += 1;
        } else {
            missed += 1;
        }
        play.tidy().await;
    }
    let mut note = format!("stopped {made} times at {} calls to the host", calls.len());
    let left = plan.len() - made - missed;
    if plan.len() < 2 * calls.len() {
        note.push_str(&format!(", of {} points", 2 * calls.len()));
    }
    if missed > 0 {
        note.push_str(&format!("; {missed} other points were not reached"));
    }
    if left > 0 {
        note.push_str(&format!("; no time was left for {left} other points"));
    }
    if made == 0 {
        return Err(Trouble::Skipped(note));
    }
    cutting.turns().note = Some(note);
    Ok(())
}

/// The calls to the host of an effect that nobody stops, and the state that it leaves.
async fn in_one_piece<P: Play>(cuts: &dyn Cuts, play: &P) -> Result<(Vec<String>, End), Trouble> {
    let scene = play.begin().await?;
    let call = play.call(&scene);
    cuts.watch(&call.context.key, None);
    let answer = play.send(&scene, &call).await;
    let watched = cuts.end();
    if let Err(error) = answer? {
        return Err(Trouble::Broken(format!("in one piece, it answered: {error}")));
    }
    let end = play.end(&scene, &call, true).await.map_err(|trouble| when(trouble, "in one piece"));
    let end = end?;
    play.tidy().await;
    Ok((watched.calls, end))
}

/// Stops the effect once, sends it again, and compares the end. False if the cut was not reached.
async fn stopped_once<P: Play>(
    cuts: &dyn Cuts,
    play: &P,
    cut: Cut,
    clean: &End,
    name: &str,
) -> Result<bool, Trouble> {
    let scene = play.begin().await?;
    let call = play.call(&scene);
    cuts.watch(&call.context.key, Some(cut));
    let answer = play.send(&scene, &call).await;
    let watched = cuts.end();
    // A call that was stopped has no answer that counts. If it was not, the repeat shows the same.
    let _: Result<Outcome, DriverError> = answer?;
    let call_name = watched.calls.get(cut.at - 1).map_or(name, String::as_str);
    let told = Told { cut, call: &plain(call_name) }.to_string();
    if watched.stopped {
        play.halfway(&scene, &call).await.map_err(|trouble| when(trouble, &told))?;
    }
    let told = if watched.stopped { format!("{told}, and sent again") } else { "twice".to_owned() };
    let again = play.again(&call);
    let answer = play.send(&scene, &again).await.map_err(|trouble| when(trouble, &told))?;
    if let Err(error) = answer
        && !play.accepts(&error)
    {
        return Err(Trouble::Broken(format!("{told}, it answered: {error}")));
    }
    let first = watched.stopped && cut == Cut { at: 1, side: Side::Before };
    let end = play.end(&scene, &again, first).await.map_err(|trouble| when(trouble, &told))?;
    match end.differs(clean) {
        Some(difference) => Err(Trouble::Broken(format!("{told}, it succeeded, but {difference}"))),
        None => Ok(watched.stopped),
    }
}

/// Says of a failure when it was seen.
fn when(trouble: Trouble, told: &str) -> Trouble {
    match trouble {
        Trouble::Broken(detail) => Trouble::Broken(format!("{told}: {detail}")),
        skipped @ Trouble::Skipped(_) => skipped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_point_is_planned_once_or_they_are_evenly_spread() {
        let points = |calls: usize| {
            let mut points: Vec<_> = planned(calls)
                .iter()
                .map(|cut| 2 * cut.at + usize::from(cut.side == Side::After))
                .collect();
            points.sort_unstable();
            points
        };
        assert_eq!(points(0), Vec::<usize>::new());
        assert_eq!(points(3), [2, 3, 4, 5, 6, 7]);
        let many = points(1000);
        assert_eq!((many.len(), many[0], many[CUTS_MAX - 1]), (CUTS_MAX, 2, 2001));
        let gaps: BTreeSet<_> = many.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| (51..=52).contains(gap)), "{gaps:?}");
        // The first ones are spread over the whole call, of few calls and of many.
        let spread = |calls: usize| {
            let first = planned(calls);
            first[..CUTS_LEAST].iter().map(|cut| 4 * cut.at / calls).collect::<BTreeSet<_>>().len()
        };
        assert!(spread(1000) >= 3 && spread(20) >= 3, "{:?}", planned(20));
    }

    #[test]
    fn a_check_leaves_the_time_that_it_does_not_use_to_the_later_ones() {
        let cutting = Cutting::new(None, Duration::from_secs(60), 3);
        assert_eq!(cutting.share(), Duration::from_secs(20));
        cutting.used(Duration::from_secs(10));
        assert_eq!(cutting.share(), Duration::from_secs(25));
        cutting.used(Duration::from_secs(70));
        assert_eq!(cutting.share(), Duration::ZERO);
    }

    #[test]
    fn a_difference_is_told_with_its_subject() {
        let end = |power: &str, files: &[&str]| End {
            facts: vec![("the domain", power.to_owned())],
            files: files.iter().fold(BTreeMap::new(), |mut files, file| {
                *files.entry((*file).to_owned()).or_default() += 1;
                files
            }),
        };
        let clean = end("off", &["ID.json"]);
        assert_eq!(end("off", &["ID.json"]).differs(&clean), None);
        let told = end("running", &[]).differs(&clean).expect("differs");
        assert_eq!(told, "the domain is running; after a run in one piece it is off");
        let draft = end("off", &["ID.json", "ID.new-#-#"]).differs(&clean).expect("differs");
        assert!(draft.contains("left over: [\"ID.new-#-#\"]"), "{draft}");
        assert!(end("off", &[]).differs(&clean).expect("differs").contains("missing"));
        let twice = end("off", &["ID.json", "ID.json"]).differs(&clean).expect("differs");
        assert!(twice.contains("left over: [\"ID.json\"]"), "{twice}");
    }

    #[test]
    fn names_of_two_runs_become_equal() {
        let name = "sim/5f0c5d2e-0000-4000-8000-000000000001.json.new-12-3";
        assert_eq!(plain(name), "sim/ID.json.new-#-#");
        assert_eq!(plain("é2/5f0c5d2e-00"), "é#/#-#");
        assert_eq!([plain("run-3fa9"), plain("run-b71c")], ["run-#", "run-#"]);
        assert_eq!(plain("interface1.deadline2"), "interface#.deadline#");
        let told = Told { cut: Cut { at: 3, side: Side::After }, call: "exec convert" };
        assert_eq!(told.to_string(), "stopped after its 3rd call to the host (exec convert)");
    }
}
