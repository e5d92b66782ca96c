//! Device tokens and the keys behind them.
//!
//! A token is a claim the node signed: it names an app, a device and an expiry, and carries its proof with
//! it, so a worker judges it alone, without a look-up, a lock or an allocation.
//!
//! ```text
//!  0    1    2      4                12           16                              32
//!  ┌────┬────┬──────┬────────────────┬────────────┬───────────────────────────────┐
//!  │ v=1│kid │ app  │ device         │ expires_s  │ MAC                           │
//!  └────┴────┴──────┴────────────────┴────────────┴───────────────────────────────┘
//!   u8   u8   u16 LE u64 LE           u32 LE       keyed BLAKE3 of bytes 0..16, first 16 bytes
//!
//!  moorctl ──writes──▶ keys.json ──read by──▶ dispatcher ──sends keys──▶ workers
//!  (mode 0600, atomic)                        issue()                    verify()
//! ```
//!
//! It is not a session, a secret store or a list of revoked devices: a genuine token says who somebody is,
//! and whether they are still welcome is asked where routes are kept. It takes time and randomness as
//! arguments.

pub mod apikey;
mod keyfile;
mod keys;

pub use keyfile::{App, AppKey, KeyFile, KeyFileError, KeyState, NAME_BYTES_MAX, Secret, Stamp, TokenKey};
pub use keys::{
    Claims, KEYS_MAX, KeysError, TEXT_BYTES, TOKEN_BYTES, TokenError, TokenKeys, from_text, to_text,
};
