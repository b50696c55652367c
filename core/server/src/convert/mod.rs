//! Converts between the types of the wire and those of the engine. Each conversion names every
//! field, so that a new one cannot be forgotten.

mod event;
mod figures;
mod infra;
pub(crate) mod named;
mod operation;
mod schedule;
mod spec;
mod vm;

pub(crate) use event::{EVENT_KINDS, event};
pub(crate) use figures::driver_figures;
pub(crate) use infra::{
    datastore, driver, earlier_driver, host, image, new_datastore, new_host, new_image,
};
pub(crate) use operation::{calls, complaint, operation};
pub(crate) use schedule::{reschedule, schedule_from_wire};
pub(crate) use spec::{
    ONE_CONTENT, cpu_from_wire, format_or_usual, nic_from_wire, spec_from_wire, spec_to_wire,
};
pub(crate) use vm::{Names, adoption, counters, destroyed, preview, snapshot, vm, vm_summary, why};

pub(crate) use crate::unfit::Unfit;
use ostler_api::Time;
use ostler_model::Timestamp;
use std::borrow::Cow;
use std::str::FromStr;
use strum::IntoEnumIterator;

/// Parses a name, path or id.
pub(crate) fn parse<T: FromStr>(field: &str, text: &str) -> Result<T, Unfit>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|err| Unfit::new(field, err))
}

/// Parses the name of a thing that requests may give by name or by id. A name that is all digits is
/// refused, because it would be taken for an id.
pub(crate) fn new_name<T: FromStr>(field: &str, text: &str) -> Result<T, Unfit>
where
    T::Err: std::fmt::Display,
{
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Unfit::new(
            field,
            format!("{text:?} is all digits, and digits are an id: add a letter"),
        ));
    }
    parse(field, text)
}

/// Parses one of a set of words.
pub(crate) fn word<T>(field: &str, text: &str) -> Result<T, Unfit>
where
    T: FromStr + IntoEnumIterator + Into<&'static str>,
{
    text.parse().map_err(|_| {
        let known: Vec<&'static str> = T::iter().map(Into::into).collect();
        let hint = ostler_api::nearest(text, known.iter().copied())
            .map(|near| format!("did you mean {near}?"));
        Unfit {
            field: field.to_owned(),
            detail: format!("{text:?} is not one of {}", known.join(", ")),
            hint,
        }
    })
}

/// A word of ours for the wire, without an allocation.
pub(crate) fn said<T: Into<&'static str>>(word: T) -> Cow<'static, str> {
    Cow::Borrowed(word.into())
}

pub(crate) const fn time(at: Timestamp) -> Time {
    Time(at.0)
}
