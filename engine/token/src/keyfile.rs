//! The key file: which apps there are, which API keys they hold, which keys sign device tokens.
//!
//! One small JSON file, written by `moorctl` and read by the dispatcher:
//!
//! ```text
//! {"version":1,
//!  "apps":[{"name":"demo","id":1,"keys":[{"id":1,"hash":"…","created_s":…,"note":"","revoked":false}]}],
//!  "token_keys":[{"kid":1,"secret":"…","created_s":…,"state":"current"}]}
//! ```
//!
//! Exactly one token key is *current* and issues; the others are *accepted* until they are retired.

mod disk;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use wire::AppId;

use crate::apikey::{self, KeyHash};
use crate::{KEYS_MAX, TokenKeys};
pub use disk::Stamp;

/// Longest name of an app, in bytes.
pub const NAME_BYTES_MAX: usize = 32;
/// Most API keys of one app, revoked ones included.
const APP_KEYS_MAX: usize = 100;
const FILE_VERSION: u32 = 1;

/// What went wrong with the key file, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// There is no such file.
    #[error("no key file {}; make one with `moorctl app create NAME`", .0.display())]
    Missing(PathBuf),
    /// A new file was wanted where one stands.
    #[error("{} exists; edit it with moorctl, or move it away", .0.display())]
    Exists(PathBuf),
    /// The system refused.
    #[error("cannot {doing} {}: {source}; check that the directory exists and is yours", path.display())]
    Io {
        /// The step that failed.
        doing: &'static str,
        /// The file or directory it concerned.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others may read the secrets.
    #[error("{} has mode {mode:04o} and holds secrets; run `chmod 600` on it", path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a key file: bad JSON, or contradicting itself.
    #[error("{}: {what}; restore it from a copy", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where and how.
        what: String,
    },
    /// A name outside `[a-z0-9][a-z0-9-]{0,31}`.
    #[error("'{0}' is no app name; use 1 to 32 of a-z, 0-9 and '-', starting with a letter or a digit")]
    BadName(String),
    /// An app of that name exists.
    #[error("app '{0}' exists; choose another name, or add a key with `moorctl key create`")]
    NameTaken(String),
    /// There is no such app.
    #[error("no app '{0}'; see `moorctl app list`")]
    NoApp(String),
    /// The app has no such API key.
    #[error("app '{0}' has no key {1}; see `moorctl key list`")]
    NoAppKey(String, u32),
    /// There is no such token key.
    #[error("no token key {0}; see `moorctl token-key list`")]
    NoTokenKey(u8),
    /// The key that issues cannot be retired.
    #[error("token key {0} is the current one; run `moorctl token-key rotate` first")]
    IsCurrent(u8),
    /// A bound of the file is met.
    #[error("{0} are the most there may be; {1}")]
    Full(usize, &'static str),
}

/// The file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    version: u32,
    /// In the order of their making.
    pub apps: Vec<App>,
    /// At most [`KEYS_MAX`].
    pub token_keys: Vec<TokenKey>,
}

/// One tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct App {
    /// As it stands in URLs.
    pub name: String,
    /// As it stands in tokens; never 0.
    pub id: u16,
    /// Its API keys, revoked ones too.
    pub keys: Vec<AppKey>,
}

/// One API key of an app, by its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppKey {
    /// Counts from 1 within the app.
    pub id: u32,
    /// See [`apikey::hash`].
    #[serde(with = "hex")]
    pub hash: KeyHash,
    /// Unix time in seconds.
    pub created_s: u64,
    /// For people.
    #[serde(default)]
    pub note: String,
    /// Refused from now on; kept, so that its number is not given again.
    #[serde(default)]
    pub revoked: bool,
}

/// One key that signs device tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenKey {
    /// As it stands in tokens.
    pub kid: u8,
    /// What signs.
    pub secret: Secret,
    /// Unix time in seconds.
    pub created_s: u64,
    /// Whether it still issues.
    pub state: KeyState,
}

/// What a token key is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// Issues and verifies.
    Current,
    /// Verifies only.
    Accepted,
}

/// 32 secret bytes that no log shows.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(#[serde(with = "hex")] pub [u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// 32 bytes as 64 hex digits; `blake3::Hash` is just that and knows how to be read and shown.
mod hex {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(bytes: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&blake3::Hash::from_bytes(*bytes).to_hex())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(from)?;
        let hash = blake3::Hash::from_hex(&text).map_err(|_| D::Error::custom("expected 64 hex digits"))?;
        Ok(hash.into())
    }
}

impl Default for KeyFile {
    fn default() -> Self {
        Self { version: FILE_VERSION, apps: Vec::new(), token_keys: Vec::new() }
    }
}

impl KeyFile {
    /// The app of that name.
    pub fn app(&self, name: &str) -> Result<&App, KeyFileError> {
        self.apps.iter().find(|app| app.name == name).ok_or_else(|| KeyFileError::NoApp(name.to_owned()))
    }

    fn app_mut(&mut self, name: &str) -> Result<&mut App, KeyFileError> {
        self.apps.iter_mut().find(|app| app.name == name).ok_or_else(|| KeyFileError::NoApp(name.to_owned()))
    }

    /// Adds an app without keys.
    pub fn add_app(&mut self, name: &str) -> Result<AppId, KeyFileError> {
        if !is_name(name) {
            return Err(KeyFileError::BadName(name.to_owned()));
        }
        if self.app(name).is_ok() {
            return Err(KeyFileError::NameTaken(name.to_owned()));
        }
        let id = self.apps.iter().map(|app| app.id).max().unwrap_or(0);
        let id = id
            .checked_add(1)
            .ok_or(KeyFileError::Full(u16::MAX.into(), "serve more apps from another node"))?;
        self.apps.push(App { name: name.to_owned(), id, keys: Vec::new() });
        Ok(AppId(id))
    }

    /// Gives an app a key made of random bytes. Returns its number and its text, which is kept nowhere.
    pub fn add_app_key(
        &mut self,
        name: &str,
        secret: &[u8; 32],
        note: &str,
        now_s: u64,
    ) -> Result<(u32, String), KeyFileError> {
        let app = self.app_mut(name)?;
        if app.keys.len() >= APP_KEYS_MAX {
            return Err(KeyFileError::Full(APP_KEYS_MAX, "make another app"));
        }
        let text = apikey::text(AppId(app.id), secret);
        let id = app.keys.iter().map(|key| key.id).max().unwrap_or(0).saturating_add(1);
        let hash = apikey::hash(&text);
        app.keys.push(AppKey { id, hash, created_s: now_s, note: note.to_owned(), revoked: false });
        Ok((id, text))
    }

    /// Refuses an app's key from now on. False if it was revoked before.
    pub fn revoke_app_key(&mut self, name: &str, id: u32) -> Result<bool, KeyFileError> {
        let key = self.app_mut(name)?.keys.iter_mut().find(|key| key.id == id);
        let key = key.ok_or_else(|| KeyFileError::NoAppKey(name.to_owned(), id))?;
        Ok(!std::mem::replace(&mut key.revoked, true))
    }

    /// Makes a new token key current; the one before stays accepted. Returns the new key's id.
    pub fn rotate(&mut self, secret: [u8; 32], now_s: u64) -> Result<u8, KeyFileError> {
        if self.token_keys.len() >= KEYS_MAX {
            return Err(KeyFileError::Full(KEYS_MAX, "retire one with `moorctl token-key retire`"));
        }
        // After the newest, so that a retired number comes back as late as possible.
        let newest = self.token_keys.last().map_or(0, |key| key.kid);
        let kid = (1..=u8::MAX)
            .map(|step| newest.wrapping_add(step))
            .find(|kid| *kid != 0 && self.token_keys.iter().all(|key| key.kid != *kid))
            .expect("KEYS_MAX is below 255");
        for key in &mut self.token_keys {
            key.state = KeyState::Accepted;
        }
        let state = KeyState::Current;
        self.token_keys.push(TokenKey { kid, secret: Secret(secret), created_s: now_s, state });
        Ok(kid)
    }

    /// Forgets an accepted token key: devices that hold its tokens must register again.
    pub fn retire(&mut self, kid: u8) -> Result<(), KeyFileError> {
        let place = self.token_keys.iter().position(|key| key.kid == kid);
        let place = place.ok_or(KeyFileError::NoTokenKey(kid))?;
        if self.token_keys[place].state == KeyState::Current {
            return Err(KeyFileError::IsCurrent(kid));
        }
        self.token_keys.remove(place);
        Ok(())
    }

    /// The keys, ready to issue and verify.
    pub fn key_set(&self) -> TokenKeys {
        let mut set = TokenKeys::new();
        let current = |key: &&TokenKey| key.state == KeyState::Current;
        let accepted = self.token_keys.iter().filter(|key| !current(key));
        for key in accepted.chain(self.token_keys.iter().filter(current)) {
            set.insert(key.kid, key.secret.0).expect("a key file holds at most KEYS_MAX keys");
        }
        set
    }

    /// What the file contradicts itself in, if anything.
    fn contradiction(&self) -> Option<String> {
        let repeated = |kind: &str, mut all: Vec<String>| {
            all.sort_unstable();
            all.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| format!("{kind} {} twice", pair[0]))
        };
        if self.version != FILE_VERSION {
            return Some(format!("version {} where {FILE_VERSION} is known", self.version));
        }
        if let Some(bad) = self.apps.iter().find(|app| !is_name(&app.name) || app.id == 0) {
            return Some(format!("app '{}' with id {} has a bad name or id", bad.name, bad.id));
        }
        if self.token_keys.len() > KEYS_MAX {
            return Some(format!("{} token keys, more than {KEYS_MAX}", self.token_keys.len()));
        }
        let current = self.token_keys.iter().filter(|key| key.state == KeyState::Current).count();
        if current != usize::from(!self.token_keys.is_empty()) {
            return Some(format!("{current} current token keys instead of one"));
        }
        let hashes = self.apps.iter().flat_map(|app| &app.keys).map(|key| format!("{:02x?}", key.hash));
        repeated("app name", self.apps.iter().map(|app| app.name.clone()).collect())
            .or_else(|| repeated("app id", self.apps.iter().map(|app| app.id.to_string()).collect()))
            .or_else(|| repeated("API key hash", hashes.collect()))
            .or_else(|| {
                repeated("token key", self.token_keys.iter().map(|key| key.kid.to_string()).collect())
            })
    }
}

fn is_name(name: &str) -> bool {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && plain(name.as_bytes()[0])
        && name.bytes().all(|c| plain(c) || c == b'-')
}
