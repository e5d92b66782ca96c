//! How one value is read, bounded and shown again, by type.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// A value as it stood in the file or in a variable, before its key says what it should be.
pub(crate) enum Raw {
    Integer(i64),
    Boolean(bool),
    Text(String),
    List(Vec<String>),
    /// Any other kind, by name: never right, only reported.
    Other(&'static str),
}

/// A type that may stand behind a key.
pub(crate) trait Field: Sized {
    /// What bounds a value of this type.
    type Rule;
    /// Reads text that carries no type of its own: the value of an environment variable.
    fn from_variable(text: &str) -> Raw;
    /// The value, or `reason; what to do`.
    fn read(raw: &Raw, rule: &Self::Rule) -> Result<Self, String>;
    /// The value as TOML.
    fn show(&self) -> String;
    /// The rule in words.
    fn range(rule: &Self::Rule) -> String;
}

/// The rule of a type whose every value is good.
pub(crate) struct Any;

fn expected(what: &str, raw: &Raw) -> String {
    let found = match raw {
        Raw::Integer(_) => "an integer",
        Raw::Boolean(_) => "true or false",
        Raw::Text(_) => "a string",
        Raw::List(_) => "a list of strings",
        Raw::Other(kind) => kind,
    };
    format!("this is {found}; give {what}")
}

macro_rules! integer_field {
    ($($ty:ty),+) => {$(
        impl Field for $ty {
            type Rule = RangeInclusive<$ty>;

            fn from_variable(text: &str) -> Raw {
                text.trim().parse().map_or_else(|_| Raw::Text(text.to_owned()), Raw::Integer)
            }

            fn read(raw: &Raw, rule: &Self::Rule) -> Result<Self, String> {
                let Raw::Integer(value) = raw else {
                    return Err(expected(&format!("an integer, {}", Self::range(rule)), raw));
                };
                match <$ty>::try_from(*value) {
                    Ok(value) if rule.contains(&value) => Ok(value),
                    _ => Err(format!("out of range; give {}", Self::range(rule))),
                }
            }

            fn show(&self) -> String {
                self.to_string()
            }

            fn range(rule: &Self::Rule) -> String {
                format!("{} to {}", rule.start(), rule.end())
            }
        }
    )+};
}

integer_field!(usize, u64);

impl Field for bool {
    type Rule = Any;

    fn from_variable(text: &str) -> Raw {
        text.trim().parse().map_or_else(|_| Raw::Text(text.to_owned()), Raw::Boolean)
    }

    fn read(raw: &Raw, rule: &Self::Rule) -> Result<Self, String> {
        match raw {
            Raw::Boolean(value) => Ok(*value),
            _ => Err(expected(&Self::range(rule), raw)),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn range(_: &Self::Rule) -> String {
        "true or false".to_owned()
    }
}

impl Field for SocketAddr {
    type Rule = Any;

    fn from_variable(text: &str) -> Raw {
        Raw::Text(text.to_owned())
    }

    fn read(raw: &Raw, rule: &Self::Rule) -> Result<Self, String> {
        let Raw::Text(text) = raw else { return Err(expected(&Self::range(rule), raw)) };
        text.parse().map_err(|_| format!("not an address to listen on; give {}", Self::range(rule)))
    }

    fn show(&self) -> String {
        quoted(&self.to_string())
    }

    fn range(_: &Self::Rule) -> String {
        "an IP address and a port: \"127.0.0.1:7070\", \"[::]:7070\"".to_owned()
    }
}

/// A name that goes into file names, metric labels and logs as it is.
impl Field for String {
    type Rule = RangeInclusive<usize>;

    fn from_variable(text: &str) -> Raw {
        Raw::Text(text.to_owned())
    }

    fn read(raw: &Raw, rule: &Self::Rule) -> Result<Self, String> {
        let Raw::Text(text) = raw else { return Err(expected(&Self::range(rule), raw)) };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if rule.contains(&text.len()) && text.chars().all(plain) {
            Ok(text.clone())
        } else {
            Err(format!("not a plain name; give {}", Self::range(rule)))
        }
    }

    fn show(&self) -> String {
        quoted(self)
    }

    fn range(rule: &Self::Rule) -> String {
        format!("{} to {} letters, digits, dots, dashes or underscores", rule.start(), rule.end())
    }
}

impl Field for PathBuf {
    /// Bytes: Unix socket addresses, which are short, hang below paths.
    type Rule = RangeInclusive<usize>;

    fn from_variable(text: &str) -> Raw {
        Raw::Text(text.to_owned())
    }

    fn read(raw: &Raw, rule: &Self::Rule) -> Result<Self, String> {
        let Raw::Text(text) = raw else { return Err(expected(&Self::range(rule), raw)) };
        if rule.contains(&text.len()) && !text.chars().any(char::is_control) {
            Ok(Self::from(text))
        } else {
            Err(format!("a path of {} bytes does not fit; give {}", text.len(), Self::range(rule)))
        }
    }

    fn show(&self) -> String {
        quoted(&self.to_string_lossy())
    }

    fn range(rule: &Self::Rule) -> String {
        format!("a path of {} to {} bytes", rule.start(), rule.end())
    }
}

impl Field for Vec<String> {
    /// How many.
    type Rule = RangeInclusive<usize>;

    fn from_variable(text: &str) -> Raw {
        Raw::List(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
    }

    fn read(raw: &Raw, rule: &Self::Rule) -> Result<Self, String> {
        let Raw::List(items) = raw else { return Err(expected(&Self::range(rule), raw)) };
        if !rule.contains(&items.len()) {
            return Err(format!("{} addresses do not fit; give {}", items.len(), Self::range(rule)));
        }
        match items.iter().find(|item| !is_host_and_port(item)) {
            Some(bad) => Err(format!("\"{bad}\" is no address; give {}", Self::range(rule))),
            None => Ok(items.clone()),
        }
    }

    fn show(&self) -> String {
        let items: Vec<String> = self.iter().map(|item| quoted(item)).collect();
        format!("[{}]", items.join(", "))
    }

    fn range(rule: &Self::Rule) -> String {
        format!("{} to {} of \"host:port\"", rule.start(), rule.end())
    }
}

fn is_host_and_port(text: &str) -> bool {
    if text.parse::<SocketAddr>().is_ok_and(|address| address.port() != 0) {
        return true;
    }
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    (1..=253).contains(&host.len())
        && host.chars().all(plain)
        && port.parse::<u16>().is_ok_and(|port| port != 0)
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => write!(out, "\\u{:04X}", u32::from(c)).expect("a String takes any text"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Declares a choice among names: the enum, and how it is read and shown.
macro_rules! choice {
    ($(#[doc = $about:literal])+ $Name:ident { $($(#[doc = $meaning:literal])+ $Variant:ident = $text:literal,)+ }) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $Name { $($(#[doc = $meaning])+ $Variant,)+ }

        impl $Name {
            /// The name it has in the file.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$Variant => $text,)+ }
            }
        }

        impl $crate::field::Field for $Name {
            type Rule = $crate::field::Any;

            fn from_variable(text: &str) -> $crate::field::Raw {
                $crate::field::Raw::Text(text.to_owned())
            }

            fn read(raw: &$crate::field::Raw, rule: &Self::Rule) -> Result<Self, String> {
                match raw {
                    $($crate::field::Raw::Text(text) if text == $text => Ok(Self::$Variant),)+
                    _ => Err(format!("not a choice here; give {}", Self::range(rule))),
                }
            }

            fn show(&self) -> String {
                format!("\"{}\"", self.as_str())
            }

            fn range(_: &Self::Rule) -> String {
                [$(concat!("\"", $text, "\"")),+].join(" or ")
            }
        }
    };
}
pub(crate) use choice;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        for good in ["10.0.0.1:7070", "push-2.example.org:443", "[::1]:7070"] {
            assert!(is_host_and_port(good), "{good}");
        }
        for bad in ["", "host", "host:", ":80", "host:0", "host:70000", "a b:80", "::1:80", "10.0.0.1:0"] {
            assert!(!is_host_and_port(bad), "{bad}");
        }
    }

    #[test]
    fn strings_are_quoted_as_toml() {
        assert_eq!(quoted("a\"b\\c\u{7}"), r#""a\"b\\c\u0007""#);
    }
}
