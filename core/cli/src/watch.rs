//! `--watch`: prints the same again and again.

use crate::context::Context;
use crate::{Exit, Failure};
use clap::Args;
use ostler_api::Span;
use std::time::Duration;

/// The shortest pause. A list of 100,000 VMs takes the daemon some tens of milliseconds.
const SHORTEST: Duration = Duration::from_millis(200);
/// How often in a row the daemon may be unreachable before the command gives up. With the default
/// pause this is a minute.
const AWAY_MAX: u32 = 30;

/// Whether to look again and again.
#[derive(Debug, Clone, Args)]
pub struct Watch {
    /// Look again and again, until interrupted
    #[arg(short, long)]
    pub watch: bool,
    /// How long to pause between looks
    #[arg(long, default_value = "2s", value_name = "TIME")]
    pub interval: Span,
}

/// Prints once, or again whenever the text has changed. On a terminal the new text replaces the old
/// one.
pub(crate) async fn run(
    cx: &Context,
    watch: &Watch,
    mut look: impl AsyncFnMut() -> Result<String, Failure>,
) -> Result<(), Failure> {
    if !watch.watch {
        let text = look().await?;
        return cx.out.write(&text);
    }
    let pause = watch.interval.duration().max(SHORTEST);
    let (mut last, mut away) = (look().await?, 0);
    paint(cx, &last)?;
    loop {
        tokio::time::sleep(pause).await;
        match look().await {
            Ok(text) if text == last && away == 0 => {}
            Ok(text) => {
                paint(cx, &text)?;
                (last, away) = (text, 0);
            }
            Err(failure) if failure.exit == Exit::Unreachable && away < AWAY_MAX => {
                away += 1;
                if away == 1 {
                    failure.tell();
                }
            }
            Err(failure) => return Err(failure),
        }
    }
}

fn paint(cx: &Context, text: &str) -> Result<(), Failure> {
    // Goes to the top left and clears from there. This flickers less than clearing first.
    if cx.out.terminal {
        cx.out.write(&format!("\u{1b}[H\u{1b}[J{text}"))
    } else {
        cx.out.write(text)
    }
}
