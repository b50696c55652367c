//! `ostler event watch`: prints the feed. It connects again after a lost connection and leaves out
//! no event.

use crate::context::Context;
use crate::out::{Format, json_line, yaml};
use crate::retry::{patiently, pause};
use crate::text::clean;
use crate::{Exit, Failure, range};
use clap::{Args, Subcommand};
use ostler_api::{Client, ClientError, Event, EventFilter, EventStream, StreamEnd, code};

/// How many connections may fail in a row before the command gives up. With the pauses this takes
/// about half a minute.
const TRIES: u32 = 20;

/// Events.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct EventArgs {
    #[command(subcommand)]
    command: Option<EventCommand>,
    #[command(flatten)]
    watch: WatchArgs,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
enum EventCommand {
    /// Prints events as they are committed, until interrupted; `--after 0`: also those before
    #[command(aliases = ["tail", "follow"])]
    Watch(WatchArgs),
}

/// Selects the events.
#[derive(Debug, Args)]
struct WatchArgs {
    /// Only events after this sequence number; events from now on if not given
    #[arg(long, value_name = "SEQ")]
    after: Option<u64>,
    /// Only of this VM: its id or name
    #[arg(long)]
    vm: Option<String>,
    /// Only of this kind; several are separated by commas
    #[arg(long)]
    kind: Option<String>,
    /// End after so many
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, args: EventArgs) -> Result<(), Failure> {
    let args = match args.command {
        Some(EventCommand::Watch(args)) => args,
        None => args.watch,
    };
    args.vm.as_deref().map(range::one).transpose()?;
    let client = cx.client()?;
    // The number of the last event is asked at the start. So a connection that is lost before the
    // first event loses nothing.
    let after = match args.after {
        Some(after) => after,
        None => client.version().await?.seq,
    };
    let filter = EventFilter { after: Some(after), vm: args.vm, kind: args.kind };
    let mut feed = Feed { client, filter, stream: None, lost: 0 };
    let mut left = args.count;
    while left != Some(0) {
        let event = feed.next().await?;
        print(cx, &event)?;
        left = left.map(|left| left - 1);
    }
    Ok(())
}

fn print(cx: &Context, event: &Event) -> Result<(), Failure> {
    match cx.out.format {
        Format::Json => cx.out.write(&json_line(event)?),
        Format::Yaml => cx.out.write(&format!("---\n{}", yaml(event)?)),
        Format::Name => cx.out.line(&event.seq.to_string()),
        Format::Table | Format::Wide => {
            let vm = event.vm.map_or_else(|| "-".to_owned(), |vm| vm.to_string());
            let particulars = if cx.out.format == Format::Wide {
                format!("  {}", event.data)
            } else {
                String::new()
            };
            let (kind, summary) = (clean(&event.kind), clean(&event.summary));
            cx.out.line(&format!(
                "{:>8}  {}  vm {vm:<6} {kind:<16} {summary}{particulars}",
                event.seq, event.at
            ))
        }
    }
}

/// The feed, over as many connections as are needed.
struct Feed {
    client: Client,
    filter: EventFilter,
    stream: Option<EventStream>,
    lost: u32,
}

impl Feed {
    async fn next(&mut self) -> Result<Event, Failure> {
        loop {
            let mut stream = match self.stream.take() {
                Some(stream) => stream,
                None => self.connect().await?,
            };
            match stream.next().await {
                Ok(Some(event)) => {
                    self.filter.after = Some(event.seq);
                    self.lost = 0;
                    self.stream = Some(stream);
                    return Ok(event);
                }
                Ok(None) => match stream.end() {
                    Some(end) if end.code != code::SHUTTING_DOWN => return Err(ended(end)),
                    Some(_) | None => self.pause(None).await?,
                },
                Err(err @ (ClientError::Unreachable { .. } | ClientError::TimedOut { .. })) => {
                    self.pause(Some(err)).await?
                }
                Err(err) => return Err(err.into()),
            }
        }
    }

    /// Connects. The first connection must succeed at once. Later ones may take a while, because
    /// the daemon may be starting again.
    async fn connect(&mut self) -> Result<EventStream, Failure> {
        loop {
            match patiently(|| self.client.events(&self.filter)).await {
                Ok(stream) => return Ok(stream),
                Err(err @ ClientError::Unreachable { .. }) if self.lost > 0 => {
                    self.pause(Some(err)).await?
                }
                Err(err) => return Err(err.into()),
            }
        }
    }

    async fn pause(&mut self, why: Option<ClientError>) -> Result<(), Failure> {
        self.lost += 1;
        if self.lost == 1 {
            let after = self.filter.after.unwrap_or_default();
            crate::out::aside(&format!(
                "the connection is lost; going on after event {after} when it is back"
            ));
        }
        if self.lost > TRIES {
            return Err(why.map_or_else(
                || Failure::new(Exit::Unreachable, "the daemon ends the feed again and again"),
                Failure::from,
            ));
        }
        tokio::time::sleep(pause(self.lost)).await;
        Ok(())
    }
}

fn ended(end: &StreamEnd) -> Failure {
    match end.code.as_str() {
        code::TRIMMED => {
            let failure = Failure::new(Exit::Refused, &end.detail);
            match end.oldest {
                Some(oldest) => failure.hint(format!(
                    "the oldest event kept is {oldest}: --after {}",
                    oldest.saturating_sub(1)
                )),
                None => failure,
            }
        }
        _ => Failure::new(
            Exit::Server,
            format!("the daemon ended the feed: {} [{}]", end.detail, end.code),
        ),
    }
}
