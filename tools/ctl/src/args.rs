//! The command line.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use settings::Settings;

use crate::failure::Failure;
use crate::store::StoreAction;

/// Devices one `device issue` makes at most.
const DEVICES_MAX: u32 = 1_000_000;
/// Longest idempotency key the API takes.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// Operate a Moorline node.
#[derive(Debug, Parser)]
#[command(name = "moorctl", version, max_term_width = 100, subcommand_required = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Args, Debug)]
pub(crate) struct Common {
    /// The node's configuration
    #[arg(
        long,
        global = true,
        env = "MOORLINE_CONFIG",
        default_value = "tools/moorline.toml",
        value_name = "FILE"
    )]
    pub(crate) config: PathBuf,
    /// Where the node's HTTP API answers [default: api.listen of the configuration]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) api: Option<String>,
    /// The app's API key
    #[arg(long, global = true, env = "MOORLINE_KEY", hide_env_values = true, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// The app's name [default: looked up by the API key]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) app: Option<String>,
    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl Common {
    pub(crate) fn settings(&self) -> Result<Settings, Failure> {
        Ok(Settings::load(&self.config)?)
    }

    /// The key file of the configured node.
    pub(crate) fn key_file(&self) -> Result<PathBuf, Failure> {
        let directory = self.settings()?.node.state_dir;
        Ok(Path::new(&directory).join("keys.json"))
    }

    /// The app's name, where nothing else can tell it.
    pub(crate) fn app(&self) -> Result<&str, Failure> {
        self.app.as_deref().ok_or_else(|| {
            Failure::missing("no app is named", "add --app NAME; `moorctl app list` shows which there are")
        })
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Apps of this node
    #[command(subcommand)]
    App(AppAction),
    /// API keys of an app
    #[command(subcommand)]
    Key(KeyAction),
    /// Keys that sign device tokens
    #[command(subcommand)]
    TokenKey(TokenKeyAction),
    /// Devices of an app
    #[command(subcommand)]
    Device(DeviceAction),
    /// Send a message
    Push(Push),
    /// Show where a message stands
    Message {
        /// The id that `push` showed
        id: u64,
    },
    /// Take back what is not delivered yet of a message
    Recall {
        /// The id that `push` showed
        id: u64,
    },
    /// Show which devices are connected
    Presence {
        /// Device tokens
        #[arg(required = true, value_name = "TOKEN")]
        tokens: Vec<String>,
    },
    /// Show whether the node is ready, and what it does
    Status,
    /// Show how the node would run on this machine
    Plan {
        /// Print KEY=VALUE lines that a shell can eval
        #[arg(long, conflicts_with = "json")]
        shell: bool,
    },
    /// The configuration file
    #[command(subcommand)]
    Config(ConfigAction),
    /// Stores on disk
    #[command(subcommand)]
    Store(StoreAction),
    /// Broadcasts of the dispatcher that runs: look, pause, go on, set the pace
    Fanout {
        /// The dispatcher's run directory [default: node.run_dir of the configuration]
        #[arg(long, global = true, value_name = "RUN")]
        run_dir: Option<PathBuf>,
        #[command(subcommand)]
        action: FanoutAction,
    },
    /// Logins at the dispatcher that runs: look, set how many there may be
    Admission {
        /// The dispatcher's run directory [default: node.run_dir of the configuration]
        #[arg(long, global = true, value_name = "RUN")]
        run_dir: Option<PathBuf>,
        #[command(subcommand)]
        action: AdmissionAction,
    },
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum AdmissionAction {
    /// Show who may log in
    Status,
    /// Let so many phones log in a second, until the dispatcher ends; the others are told when to come back
    Limit {
        /// Fresh logins a second, all workers together; 0: as many as come
        #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(..=10_000_000))]
        attaches_per_s: u32,
    },
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum FanoutAction {
    /// Show where broadcasts stand
    Status,
    /// Serve no member until `resume`, or until the dispatcher ends; single pushes go on
    Pause,
    /// Go on
    Resume,
    /// Serve so many members a second, until the dispatcher ends
    Pace {
        /// Members a second, all workers together; 0: as many as go
        #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(..=1_000_000_000))]
        members_per_s: u32,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AppAction {
    /// Make an app and its first API key, which is shown this once
    Create {
        /// 1 to 32 of a-z, 0-9 and '-'
        name: String,
    },
    /// Show all apps
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyAction {
    /// Make another API key, which is shown this once
    Create {
        /// Who uses it, for people
        #[arg(long, default_value = "", value_name = "TEXT")]
        note: String,
    },
    /// Show an app's API keys, without the keys themselves
    List,
    /// Refuse an API key from now on
    Revoke {
        /// Its number in `key list`
        id: u32,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenKeyAction {
    /// Sign with a new key from now on; tokens of the old one stay good
    Rotate,
    /// Refuse all tokens signed with an old key
    Retire {
        /// Its number in `token-key list`
        kid: u8,
    },
    /// Show all keys, without their secrets
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeviceAction {
    /// Register devices and show their tokens
    Issue {
        /// How many
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=DEVICES_MAX as i64))]
        count: u32,
    },
    /// Refuse a device for good and end its session
    Revoke {
        /// The device's token
        #[arg(value_parser = device_token)]
        token: String,
    },
}

/// Send a message.
#[derive(Args, Debug)]
pub(crate) struct Push {
    #[command(flatten)]
    pub(crate) target: Target,
    /// The payload
    pub(crate) text: String,
    /// How long to keep it for devices that are away, as 60s; 0s is for those online now
    #[arg(long, value_name = "SECONDS")]
    pub(crate) ttl: Option<String>,
    /// Take the place of the message with the same key that still waits
    #[arg(long, value_name = "KEY")]
    pub(crate) collapse_key: Option<String>,
    /// Send it once, however often this is run with the same key and message within a day
    #[arg(long, value_name = "KEY", value_parser = idempotency_key)]
    pub(crate) idempotency_key: Option<String>,
    /// Wait until every device acknowledged it, at most this many seconds
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "60")]
    pub(crate) wait: Option<u64>,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct Target {
    /// To one device
    #[arg(long, value_parser = device_token)]
    pub(crate) token: Option<String>,
    /// To the members of a topic
    #[arg(long)]
    pub(crate) topic: Option<String>,
    /// To every device of the app
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum ConfigAction {
    /// Read the file and tell what does not hold
    Check,
    /// Show every key with its default, range and meaning
    Describe,
}

/// An idempotency key goes into a header as it is, so its form is checked before.
fn idempotency_key(text: &str) -> Result<String, String> {
    if (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "no idempotency key: give 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible ASCII characters, no space"
    ))
}

/// A device token goes into paths as it is, so its form is checked before.
fn device_token(text: &str) -> Result<String, String> {
    let advice = "not a device token: 43 letters, digits, '-' and '_'; copy it whole";
    token::from_text(text).map(|_| text.to_owned()).map_err(|_| advice.to_owned())
}
