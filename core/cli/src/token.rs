//! `ostler token`.

use crate::Failure;
use crate::context::{Context, remove_each};
use crate::out::Row;
use crate::table::{Cell, Tone};
use clap::Subcommand;
use ostler_api::{NewToken, Span, Token};

/// Tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Makes a token and prints its secret, which is told only once
    #[command(alias = "create")]
    Add {
        /// Its name, which must be unique; requests with this token are recorded under it
        name: String,
        /// What it may do: admin is everything, read is every GET but tokens and `admin check`
        #[arg(long, value_parser = ["admin", "read"])]
        scope: String,
        /// How long it is good, such as 720h; for ever if not given
        #[arg(long, value_name = "TIME")]
        lifetime: Option<Span>,
    },
    /// Lists tokens, without their secrets
    #[command(alias = "ls")]
    List,
    /// Ends tokens at once
    #[command(aliases = ["rm", "delete", "revoke"])]
    Remove {
        /// Names
        #[arg(required = true)]
        tokens: Vec<String>,
    },
}

impl Row for Token {
    const HEADINGS: &'static [&'static str] = &["NAME", "SCOPE", "VALID", "EXPIRES"];
    const WIDER: &'static [&'static str] = &["CREATED"];

    fn cells(&self) -> Vec<Cell> {
        let good = if self.expired {
            Cell::toned("expired", Tone::Bad)
        } else {
            Cell::toned("yes", Tone::Good)
        };
        vec![
            Cell::from(&self.name),
            Cell::from(&self.scope),
            good,
            Cell::maybe(self.expires),
            self.created.into(),
        ]
    }

    fn handle(&self) -> String {
        self.name.clone()
    }
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, command: TokenCommand) -> Result<(), Failure> {
    let client = cx.client()?;
    match command {
        TokenCommand::Add { name, scope, lifetime } => {
            let made = client.add_token(&NewToken { name, scope, lifetime }).await?;
            if cx.out.for_people() {
                // Only the secret goes to standard output, so that it can be redirected into a
                // file.
                let (name, scope) = (&made.token.name, &made.token.scope);
                crate::out::aside(&format!(
                    "token {name} ({scope}): keep this secret, it is not told again"
                ));
            }
            cx.out.write(&cx.out.one(&made, &made.token.name, || format!("{}\n", made.secret))?)
        }
        TokenCommand::List => cx.out.write(&cx.out.rows(&client.tokens().await?)?),
        TokenCommand::Remove { tokens } => {
            remove_each(cx, "token", &tokens, |name| {
                let client = client.clone();
                async move { client.remove_token(&name).await }
            })
            .await
        }
    }
}
