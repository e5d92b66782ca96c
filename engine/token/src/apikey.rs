//! API keys of business back ends: `mk_<app id>_<32 random bytes in base64url>`.
//!
//! A key is shown once, when it is made; only its hash is kept. The key is 256 random bits, so a plain fast
//! hash is enough: there is no dictionary to try.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use wire::AppId;

/// The hash of a key, as [`crate::KeyFile`] keeps it and a server looks it up. Looking it up in a map leaks
/// no useful timing: whoever guesses cannot steer the hash of what they send.
pub type KeyHash = [u8; 32];

/// The text of a key with the given random bytes.
pub fn text(app: AppId, secret: &[u8; 32]) -> String {
    format!("mk_{}_{}", app.0, URL_SAFE_NO_PAD.encode(secret))
}

/// The hash of a key's text.
pub fn hash(text: &str) -> KeyHash {
    blake3::hash(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_names_its_app() {
        let key = text(AppId(12), &[0xff; 32]);
        assert_eq!(key, format!("mk_12_{}8", "_".repeat(42)));
        assert_ne!(hash(&key), hash(&text(AppId(13), &[0xff; 32])));
    }
}
