use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use wire::DeviceId;

use super::*;
use crate::{Claims, TokenError};

/// A directory of its own for each test, gone when the test is.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("moorline-keyfile-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    fn file(&self) -> PathBuf {
        self.0.join("state/keys.json")
    }

    fn holding(text: &str) -> (Self, PathBuf) {
        let place = Self::new();
        let path = place.0.join("keys.json");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        (place, path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("the test made this directory");
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn what_is_saved_is_loaded() {
    let place = Place::new();
    let path = place.file();
    assert!(matches!(KeyFile::load(&path), Err(KeyFileError::Missing(_))));
    let (id, text) = KeyFile::edit(&path, |file| {
        file.rotate([1; 32], 10)?;
        file.add_app("demo")?;
        file.add_app_key("demo", &[2; 32], "for \"tests\"", 11)
    })
    .unwrap();
    let file = KeyFile::load(&path).unwrap();
    let app = file.app("demo").unwrap();
    assert_eq!((app.id, app.keys[0].id, app.keys[0].hash), (1, id, apikey::hash(&text)));
    assert_eq!(app.keys[0].note, "for \"tests\"");
    assert!(!fs::read_to_string(&path).unwrap().contains(&text), "the key itself is never written");

    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    let names = fs::read_dir(path.parent().unwrap()).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["keys.json", "keys.json.lock"]);
}

#[test]
fn an_edit_that_fails_changes_nothing() {
    let place = Place::new();
    let path = place.file();
    KeyFile::create(&path, [1; 32], 10).unwrap();
    let before = (fs::read(&path).unwrap(), Stamp::of(&path));
    let failed = KeyFile::edit(&path, |file| {
        file.add_app("kept-out")?;
        file.retire(9)
    });
    assert!(matches!(failed, Err(KeyFileError::NoTokenKey(9))));
    assert_eq!((fs::read(&path).unwrap(), Stamp::of(&path)), before);
    assert!(matches!(KeyFile::create(&path, [2; 32], 11), Err(KeyFileError::Exists(_))));
}

#[test]
fn a_save_changes_the_stamp() {
    let place = Place::new();
    let path = place.file();
    assert_eq!(Stamp::of(&path), None);
    KeyFile::create(&path, [1; 32], 10).unwrap();
    let first = Stamp::of(&path);
    KeyFile::load(&path).unwrap();
    assert_eq!(Stamp::of(&path), first);
    KeyFile::edit(&path, |file| file.add_app("a")).unwrap();
    assert_ne!(Stamp::of(&path), first);
}

#[test]
fn editors_take_turns() {
    let place = Place::new();
    let path = place.file();
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let path = &path;
            scope.spawn(move || KeyFile::edit(path, |file| file.add_app(&format!("app-{writer}"))).unwrap());
        }
    });
    let file = KeyFile::load(&path).unwrap();
    let mut ids: Vec<u16> = file.apps.iter().map(|app| app.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn rotation_leaves_old_tokens_good_until_retired() {
    let mut file = KeyFile::default();
    assert_eq!(file.rotate([1; 32], 1).unwrap(), 1);
    let claims = Claims { app: AppId(1), device: DeviceId(2), expires_s: 100 };
    let old = file.key_set().issue(&claims).unwrap();
    assert_eq!(file.rotate([2; 32], 2).unwrap(), 2);
    let set = file.key_set();
    assert_eq!(set.current(), Some(2));
    assert_eq!(set.verify(&old, 0), Ok(claims));
    assert!(matches!(file.retire(2), Err(KeyFileError::IsCurrent(2))));
    file.retire(1).unwrap();
    assert_eq!(file.key_set().verify(&old, 0), Err(TokenError::UnknownKey));
}

#[test]
fn token_keys_are_bounded_and_numbers_come_round_late() {
    let mut file = KeyFile::default();
    for turn in 1..=300u32 {
        let kid = file.rotate([0; 32], turn.into()).unwrap();
        assert_eq!(u32::from(kid), (turn - 1) % 255 + 1);
        if turn > 1 {
            let old = file.token_keys[0].kid;
            file.retire(old).unwrap();
        }
    }
    for _ in 1..KEYS_MAX {
        file.rotate([0; 32], 0).unwrap();
    }
    assert!(matches!(file.rotate([0; 32], 0), Err(KeyFileError::Full(KEYS_MAX, _))));
}

#[test]
fn apps_and_their_keys() {
    let mut file = KeyFile::default();
    for bad in ["", "-a", "A", "a_b", "ä", &"x".repeat(33)] {
        assert!(matches!(file.add_app(bad), Err(KeyFileError::BadName(_))), "{bad}");
    }
    for good in ["a", "0-", &"x".repeat(32)] {
        file.add_app(good).unwrap();
    }
    assert!(matches!(file.add_app("a"), Err(KeyFileError::NameTaken(_))));
    assert!(matches!(file.add_app_key("b", &[0; 32], "", 0), Err(KeyFileError::NoApp(_))));
    for number in 1..=APP_KEYS_MAX {
        let (id, _) = file.add_app_key("a", &[number as u8; 32], "", 0).unwrap();
        assert_eq!(id as usize, number);
    }
    assert!(matches!(file.add_app_key("a", &[0; 32], "", 0), Err(KeyFileError::Full(APP_KEYS_MAX, _))));
    assert!(file.revoke_app_key("a", 3).unwrap());
    assert!(!file.revoke_app_key("a", 3).unwrap());
    assert!(matches!(file.revoke_app_key("a", 101), Err(KeyFileError::NoAppKey(_, 101))));
}

#[test]
fn a_file_others_can_read_is_refused() {
    let (_place, path) = Place::holding(r#"{"version":1,"apps":[],"token_keys":[]}"#);
    KeyFile::load(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = KeyFile::load(&path).unwrap_err().to_string();
    assert!(error.ends_with("has mode 0640 and holds secrets; run `chmod 600` on it"), "{error}");
}

#[test]
fn corrupt_files_say_where() {
    let key = |kid: u8, state: &str| {
        format!(r#"{{"kid":{kid},"secret":"{}","created_s":1,"state":"{state}"}}"#, "ab".repeat(32))
    };
    let file = |apps: &str, keys: &str| format!(r#"{{"version":1,"apps":[{apps}],"token_keys":[{keys}]}}"#);
    let app = |name: &str, id: u32| format!(r#"{{"name":"{name}","id":{id},"keys":[]}}"#);
    let cases = [
        ("{\n  \"version\": 1,\n  oops".to_owned(), "key must be a string at line 3 column 3"),
        (file("", "").replace(":1,", ":2,"), "version 2 where 1 is known"),
        (file(&app("Bad", 1), ""), "app 'Bad' with id 1 has a bad name or id"),
        (file(&app("zero", 0), ""), "app 'zero' with id 0 has a bad name or id"),
        (file(&[app("a", 1), app("a", 2)].join(","), ""), "app name a twice"),
        (file(&[app("a", 1), app("b", 1)].join(","), ""), "app id 1 twice"),
        (file("", &key(1, "accepted")), "0 current token keys instead of one"),
        (file("", &[key(1, "current"), key(1, "accepted")].join(",")), "token key 1 twice"),
        (file("", &[1, 2, 3, 4, 5].map(|kid| key(kid, "accepted")).join(",")), "5 token keys, more than 4"),
        (file("", &key(1, "current").replace("ab", "zz")), "expected 64 hex digits"),
        (file("", "").replace("apps", "aps"), "unknown field `aps`"),
    ];
    for (text, what) in cases {
        let (_place, path) = Place::holding(&text);
        let error = KeyFile::load(&path).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains("keys.json: "), "{error}\n  should say: {what}");
    }
}
