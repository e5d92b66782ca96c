//! The token itself: its layout, and the small set of keys that make and check it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use wire::{AppId, DeviceId};

/// Bytes of a token as it crosses the wire.
pub const TOKEN_BYTES: usize = 32;
/// Characters of a token's text form.
pub const TEXT_BYTES: usize = 43;
/// Most keys valid at once: the one that issues, and those whose tokens are still out.
pub const KEYS_MAX: usize = 4;

const VERSION: u8 = 1;
const CLAIM_BYTES: usize = 16;
const MAC_BYTES: usize = TOKEN_BYTES - CLAIM_BYTES;
/// Keeps a token's MAC apart from any other use of the same secret.
const DERIVE_CONTEXT: &str = "moorline 2026 device token v1 mac";

const _: () = assert!(TOKEN_BYTES <= wire::limits::TOKEN_BYTES_MAX);
const _: () = assert!(TEXT_BYTES == (TOKEN_BYTES * 4).div_ceil(3));

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The tenant it was issued for.
    pub app: AppId,
    /// The device it names.
    pub device: DeviceId,
    /// Unix time in seconds from which it is refused.
    pub expires_s: u32,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Wrong length, alphabet or version.
    #[error("not a device token; register the device again")]
    Malformed,
    /// Its key was retired, or is of another node.
    #[error("signed with a key this node does not hold; register the device again")]
    UnknownKey,
    /// Its MAC does not match: altered, or made up.
    #[error("the signature does not match; register the device again")]
    BadMac,
    /// Genuine, and past its time.
    #[error("expired; register the device again")]
    Expired,
}

/// Why the key set refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// [`KEYS_MAX`] keys are held already.
    #[error("{KEYS_MAX} token keys are valid already; retire one first")]
    Full,
    /// There is no key to issue with.
    #[error("no token key to issue with; create one")]
    NoCurrent,
}

#[derive(Clone, Copy)]
struct Key {
    kid: u8,
    mac: [u8; 32],
}

/// The keys a process holds. A handful in an array: a scan of four bytes beats any map.
#[derive(Clone, Default)]
pub struct TokenKeys {
    keys: [Option<Key>; KEYS_MAX],
    current: Option<u8>,
}

impl TokenKeys {
    /// No keys: every token is refused.
    pub const fn new() -> Self {
        Self { keys: [None; KEYS_MAX], current: None }
    }

    /// Holds a secret under `kid`, in place of one it had, and issues with it from now on.
    pub fn insert(&mut self, kid: u8, secret: [u8; 32]) -> Result<(), KeysError> {
        let key = Key { kid, mac: blake3::derive_key(DERIVE_CONTEXT, &secret) };
        let place = self.position(kid).or_else(|| self.keys.iter().position(Option::is_none));
        self.keys[place.ok_or(KeysError::Full)?] = Some(key);
        self.current = Some(kid);
        Ok(())
    }

    /// Forgets a key; its tokens are refused from now on. False if it was not held.
    pub fn remove(&mut self, kid: u8) -> bool {
        let Some(place) = self.position(kid) else { return false };
        self.keys[place] = None;
        if self.current == Some(kid) {
            self.current = None;
        }
        true
    }

    /// The key that issues: the one inserted last.
    pub fn current(&self) -> Option<u8> {
        self.current
    }

    /// Signs a claim with the current key.
    pub fn issue(&self, claims: &Claims) -> Result<[u8; TOKEN_BYTES], KeysError> {
        let kid = self.current.ok_or(KeysError::NoCurrent)?;
        let key = self.key(kid).ok_or(KeysError::NoCurrent)?;
        let mut token = [0; TOKEN_BYTES];
        token[0] = VERSION;
        token[1] = kid;
        token[2..4].copy_from_slice(&claims.app.0.to_le_bytes());
        token[4..12].copy_from_slice(&claims.device.0.to_le_bytes());
        token[12..16].copy_from_slice(&claims.expires_s.to_le_bytes());
        let (claim, mac) = token.split_at_mut(CLAIM_BYTES);
        mac.copy_from_slice(&blake3::keyed_hash(&key.mac, claim).as_bytes()[..MAC_BYTES]);
        Ok(token)
    }

    /// Judges a token at `now_s`, Unix time in seconds. What it returns was signed by a key held here.
    pub fn verify(&self, token: &[u8], now_s: u64) -> Result<Claims, TokenError> {
        let Some((claim, mac)) = token.split_first_chunk::<CLAIM_BYTES>() else {
            return Err(TokenError::Malformed);
        };
        if mac.len() != MAC_BYTES || claim[0] != VERSION {
            return Err(TokenError::Malformed);
        }
        let key = self.key(claim[1]).ok_or(TokenError::UnknownKey)?;
        if !same_mac(&blake3::keyed_hash(&key.mac, claim), mac) {
            return Err(TokenError::BadMac);
        }
        let [_, _, a0, a1, d0, d1, d2, d3, d4, d5, d6, d7, e0, e1, e2, e3] = *claim;
        let claims = Claims {
            app: AppId(u16::from_le_bytes([a0, a1])),
            device: DeviceId(u64::from_le_bytes([d0, d1, d2, d3, d4, d5, d6, d7])),
            expires_s: u32::from_le_bytes([e0, e1, e2, e3]),
        };
        if now_s < u64::from(claims.expires_s) { Ok(claims) } else { Err(TokenError::Expired) }
    }

    fn position(&self, kid: u8) -> Option<usize> {
        self.keys.iter().position(|key| key.is_some_and(|key| key.kid == kid))
    }

    fn key(&self, kid: u8) -> Option<&Key> {
        self.keys.iter().flatten().find(|key| key.kid == kid)
    }
}

/// Shows which keys are held, never what they are.
impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kids: Vec<u8> = self.keys.iter().flatten().map(|key| key.kid).collect();
        f.debug_struct("TokenKeys").field("kids", &kids).field("current", &self.current).finish()
    }
}

/// Compares in a time that does not tell how many bytes were right, or a MAC could be guessed byte by byte.
/// [`blake3::Hash`] promises that for 32 bytes, so the half a token does not carry is filled in from ours.
fn same_mac(ours: &blake3::Hash, theirs: &[u8]) -> bool {
    let mut whole = *ours.as_bytes();
    whole[..MAC_BYTES].copy_from_slice(theirs);
    *ours == blake3::Hash::from_bytes(whole)
}

/// The text form: base64url without padding, [`TEXT_BYTES`] characters.
pub fn to_text(token: &[u8; TOKEN_BYTES]) -> String {
    URL_SAFE_NO_PAD.encode(token)
}

/// The inverse of [`to_text`]; allocates nothing. One token has one text: loose trailing bits are refused.
pub fn from_text(text: impl AsRef<[u8]>) -> Result<[u8; TOKEN_BYTES], TokenError> {
    let text = text.as_ref();
    let mut token = [0; TOKEN_BYTES];
    if text.len() != TEXT_BYTES {
        return Err(TokenError::Malformed);
    }
    match URL_SAFE_NO_PAD.decode_slice(text, &mut token) {
        Ok(TOKEN_BYTES) => Ok(token),
        _ => Err(TokenError::Malformed),
    }
}

#[cfg(test)]
mod tests;
