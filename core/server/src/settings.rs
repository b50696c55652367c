//! Checks the settings that an operator gives for a driver: one that the driver never reads is
//! refused. A misspelt name would otherwise be kept without effect.

use crate::unfit::Unfit;
use ostler_driver::DriverSetting;
use ostler_model::DriverName;

/// Refuses a setting that the driver does not read. `field` is where the settings are in the
/// request.
pub(crate) fn known<'a>(
    field: &str,
    driver: &DriverName,
    read: &[DriverSetting],
    mut given: impl Iterator<Item = &'a String>,
) -> Result<(), Unfit> {
    let names = || read.iter().map(|setting| setting.name.as_str());
    let Some(other) = given.find(|given| names().all(|name| name != given.as_str())) else {
        return Ok(());
    };
    let listed = match names().collect::<Vec<_>>().join(", ") {
        empty if empty.is_empty() => "it reads no settings".to_owned(),
        listed => format!("it reads: {listed}"),
    };
    let hint = ostler_api::nearest(other, names()).map(|near| format!("did you mean {near}?"));
    let detail = format!("driver {driver} reads no setting {other}; {listed}");
    Err(Unfit { hint, ..Unfit::new(format!("{field}.{other}"), detail) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(read: &[&str], given: &[&str]) -> Result<(), Unfit> {
        let setting = |name: &&str| DriverSetting {
            name: (*name).to_owned(),
            about: String::new(),
            default: None,
            required: false,
        };
        let read: Vec<_> = read.iter().map(setting).collect();
        let given: Vec<String> = given.iter().map(|name| (*name).to_owned()).collect();
        known("config", &"sim".parse().expect("a name"), &read, given.iter())
    }

    #[test]
    fn a_setting_that_is_never_read_is_refused_with_the_nearest_name() {
        assert_eq!(asked(&["fault", "folder"], &["folder"]), Ok(()));
        assert_eq!(asked(&[], &[]), Ok(()));
        let wrong = asked(&["fault", "folder"], &["folder", "falt"]).expect_err("is never read");
        assert_eq!(wrong.field, "config.falt");
        assert_eq!(wrong.detail, "driver sim reads no setting falt; it reads: fault, folder");
        assert_eq!(wrong.hint.as_deref(), Some("did you mean fault?"));
        let none = asked(&[], &["url"]).expect_err("is never read");
        assert_eq!(none.detail, "driver sim reads no setting url; it reads no settings");
    }
}
