//! Who may call: API keys by their hash, and the keys that sign device tokens. Replaced whole when the key
//! file changes, so that a request sees one version from start to end.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use token::apikey::{self, KeyHash};
use token::{KeyFile, TokenKeys};
use wire::AppId;

/// The app an API key opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its id.
    pub app: AppId,
    /// Its name, as it stands in URLs.
    pub name: String,
}

/// One version of who may call.
#[derive(Debug, Default)]
pub struct Access {
    grants: HashMap<KeyHash, Grant>,
    tokens: TokenKeys,
}

impl Access {
    /// What a key file grants; revoked keys grant nothing.
    pub fn from_key_file(file: &KeyFile) -> Self {
        let keys = file.apps.iter().flat_map(|app| app.keys.iter().map(move |key| (app, key)));
        let grants = keys
            .filter(|(_, key)| !key.revoked)
            .map(|(app, key)| (key.hash, Grant { app: AppId(app.id), name: app.name.clone() }))
            .collect();
        Self { grants, tokens: file.key_set() }
    }

    /// What an API key opens.
    pub fn grant(&self, key: &str) -> Option<&Grant> {
        self.grants.get(&apikey::hash(key))
    }

    /// The keys that sign device tokens.
    pub fn tokens(&self) -> &TokenKeys {
        &self.tokens
    }
}

/// The current [`Access`], shared by all requests.
#[derive(Clone, Debug, Default)]
pub struct SharedAccess(Arc<RwLock<Arc<Access>>>);

impl SharedAccess {
    /// Starts with a version.
    pub fn new(access: Access) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(access))))
    }

    /// The version of now. The lock is held for one pointer copy, and nothing in it can panic, so a
    /// poisoned lock still holds a whole version.
    pub fn load(&self) -> Arc<Access> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets requests that start from now on see another version.
    pub fn replace(&self, access: Access) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(access);
    }
}
