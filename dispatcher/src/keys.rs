//! The key file, watched: API keys for the API, token keys for the API and the workers.

use crate::backend::Hand;
use api::{Access, SharedAccess};
use std::path::PathBuf;
use std::time::SystemTime;
use token::KeyFile;

/// Looks at the key file from time to time.
pub struct KeyWatch {
    path: PathBuf,
    seen: Option<SystemTime>,
    /// What was wrong with the file when last looked at; said once.
    complaint: Option<String>,
    access: SharedAccess,
}

impl KeyWatch {
    /// Watches `path` for `access`.
    pub fn new(path: PathBuf, access: SharedAccess) -> Self {
        Self { path, seen: None, complaint: None, access }
    }

    /// Reads the file if it changed. One that cannot be read changes nothing and is reported once; one that is
    /// gone changes nothing either. Before the first there are no keys, and everybody is refused.
    pub fn poll(&mut self, hand: &Hand) {
        let modified = std::fs::metadata(&self.path).and_then(|m| m.modified()).ok();
        if modified.is_none() || modified == self.seen {
            return;
        }
        match KeyFile::load(&self.path) {
            Ok(file) => {
                let keys = file.token_keys.iter().map(|k| (k.kid, k.secret.0)).collect();
                if hand.set_keys(keys).is_err() {
                    // The hub is busy: the next look tries again.
                    return;
                }
                self.access.replace(Access::from_key_file(&file));
                (self.seen, self.complaint) = (modified, None);
            }
            Err(error) => {
                let complaint = error.to_string();
                if self.complaint.as_ref() != Some(&complaint) {
                    metrics::say!("dispatcher: {complaint}; going on with the keys of before");
                }
                // Not seen: it may be mended without a new time, by its mode for instance.
                self.complaint = Some(complaint);
            }
        }
    }
}
