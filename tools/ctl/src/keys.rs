//! Apps, API keys and token keys: edits of the key file. The dispatcher takes up a changed file within a second.

use serde_json::{Value, json};
use token::{AppKey, KeyFile, KeyState};

use crate::args::{AppAction, Common, KeyAction, TokenKeyAction};
use crate::failure::Failure;
use crate::output::{Output, age, now_s, table};

/// 32 bytes nobody can guess.
fn secret() -> Result<[u8; 32], Failure> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|e| {
        Failure::failed(format!("the system gives no random bytes: {e}"), "check /dev/urandom")
    })?;
    Ok(secret)
}

pub(crate) fn app(common: &Common, action: AppAction, output: &mut Output<'_>) -> Result<(), Failure> {
    let path = common.key_file()?;
    match action {
        AppAction::Create { name } => {
            let (api_secret, token_secret, now_s) = (secret()?, secret()?, now_s());
            let (id, key) = KeyFile::edit(&path, |file| {
                if file.token_keys.is_empty() {
                    file.rotate(token_secret, now_s)?;
                }
                let id = file.add_app(&name)?;
                let (_, key) = file.add_app_key(&name, &api_secret, "", now_s)?;
                Ok((id.0, key))
            })?;
            output.show(&json!({"app": name, "id": id, "key": key}), || {
                format!("app  {name}\nkey  {key}\nKeep the key: it is shown this once.")
            })?;
        }
        AppAction::List => {
            let apps = KeyFile::load(&path)?.apps;
            let valid = |keys: &[AppKey]| keys.iter().filter(|key| !key.revoked).count();
            let json: Vec<Value> = apps
                .iter()
                .map(|app| json!({"app": app.name, "id": app.id, "keys": valid(&app.keys)}))
                .collect();
            let row = |app: &token::App| [app.name.clone(), app.id.to_string(), valid(&app.keys).to_string()];
            output.show(&json.into(), || {
                table(["APP", "ID", "KEYS"], &apps.iter().map(row).collect::<Vec<_>>())
            })?;
        }
    }
    Ok(())
}

pub(crate) fn key(common: &Common, action: KeyAction, output: &mut Output<'_>) -> Result<(), Failure> {
    let (path, app) = (common.key_file()?, common.app()?);
    match action {
        KeyAction::Create { note } => {
            let secret = secret()?;
            let (id, key) = KeyFile::edit(&path, |file| file.add_app_key(app, &secret, &note, now_s()))?;
            output.show(&json!({"app": app, "id": id, "key": key}), || {
                format!("app  {app}\nid   {id}\nkey  {key}\nKeep the key: it is shown this once.")
            })?;
        }
        KeyAction::List => {
            let file = KeyFile::load(&path)?;
            let (keys, now_s) = (&file.app(app)?.keys, now_s());
            let json = |key: &AppKey| json!({"id": key.id, "created_s": key.created_s, "note": key.note, "revoked": key.revoked});
            let row = |key: &AppKey| {
                let state = if key.revoked { "revoked" } else { "valid" };
                [key.id.to_string(), state.to_owned(), age(key.created_s, now_s), key.note.clone()]
            };
            output.show(&keys.iter().map(json).collect(), || {
                table(["ID", "STATE", "CREATED", "NOTE"], &keys.iter().map(row).collect::<Vec<_>>())
            })?;
        }
        KeyAction::Revoke { id } => {
            let fresh = KeyFile::edit(&path, |file| file.revoke_app_key(app, id))?;
            output.show(&json!({"app": app, "id": id, "revoked": true}), || {
                let when = if fresh { "within a second" } else { "already" };
                format!("key {id} of {app} is refused {when}")
            })?;
        }
    }
    Ok(())
}

pub(crate) fn token_key(
    common: &Common,
    action: TokenKeyAction,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let path = common.key_file()?;
    match action {
        TokenKeyAction::Rotate => {
            let secret = secret()?;
            let kid = KeyFile::edit(&path, |file| file.rotate(secret, now_s()))?;
            output.show(&json!({"kid": kid, "state": "current"}), || {
                format!(
                    "token key {kid} signs from now on; older tokens stay good until their key is retired"
                )
            })?;
        }
        TokenKeyAction::Retire { kid } => {
            KeyFile::edit(&path, |file| file.retire(kid))?;
            output.show(&json!({"kid": kid, "state": "retired"}), || {
                format!("token key {kid} is retired; devices with its tokens must register again")
            })?;
        }
        TokenKeyAction::List => {
            let (keys, now_s) = (KeyFile::load(&path)?.token_keys, now_s());
            let state = |key: &token::TokenKey| match key.state {
                KeyState::Current => "current",
                KeyState::Accepted => "accepted",
            };
            let json: Vec<Value> = keys
                .iter()
                .map(|key| json!({"kid": key.kid, "state": state(key), "created_s": key.created_s}))
                .collect();
            output.show(&json.into(), || {
                let row = |key: &token::TokenKey| {
                    [key.kid.to_string(), state(key).to_owned(), age(key.created_s, now_s)]
                };
                table(["KID", "STATE", "CREATED"], &keys.iter().map(row).collect::<Vec<_>>())
            })?;
        }
    }
    Ok(())
}
