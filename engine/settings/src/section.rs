//! A section of the file: plain public fields, and one table that gives each its default, range and meaning.

use crate::field::Raw;

/// One key, as documentation and sample file show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDoc {
    /// The section it stands in.
    pub section: &'static str,
    /// Its name.
    pub key: &'static str,
    /// Its default, as TOML.
    pub default: String,
    /// The values it may take, in words.
    pub range: String,
    /// What it means, with the unit.
    pub meaning: String,
}

impl KeyDoc {
    /// The environment variable that overrides the key.
    pub fn variable(&self) -> String {
        format!("MOORLINE_{}_{}", self.section, self.key).to_uppercase()
    }
}

/// Where a section's value comes from: the file's types, or a variable's bare text.
pub(crate) enum Source<'a> {
    File(&'a Raw),
    Variable(&'a str),
}

/// Why a key was not set.
pub(crate) enum Unset {
    UnknownKey,
    /// `reason; what to do`
    Refused(String),
}

/// What the reader needs from a section; written by [`section!`].
pub(crate) trait Section {
    fn name(&self) -> &'static str;
    fn about(&self) -> String;
    fn keys(&self) -> Vec<KeyDoc>;
    fn set(&mut self, key: &str, source: &Source<'_>) -> Result<(), Unset>;
    fn show(&self, key: &str) -> Option<String>;
}

/// Doc comment lines as one text.
pub(crate) fn prose(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ").trim().to_owned()
}

/// Declares a section. Each row is `/// meaning`, then `key: type = default, rule;`.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $name:literal => $Section:ident {
            $($(#[doc = $meaning:literal])+ $key:ident: $ty:ty = $default:expr, $rule:expr;)+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $Section {
            $(
                $(#[doc = $meaning])+
                #[doc = concat!("\n\nDefault `", stringify!($default), "`, range `", stringify!($rule), "`.")]
                pub $key: $ty,
            )+
        }

        impl Default for $Section {
            fn default() -> Self {
                Self { $($key: $default,)+ }
            }
        }

        impl $crate::section::Section for $Section {
            fn name(&self) -> &'static str {
                $name
            }

            fn about(&self) -> String {
                $crate::section::prose(&[$($about),+])
            }

            fn keys(&self) -> Vec<$crate::section::KeyDoc> {
                let default = Self::default();
                vec![$($crate::section::KeyDoc {
                    section: $name,
                    key: stringify!($key),
                    default: $crate::field::Field::show(&default.$key),
                    range: <$ty as $crate::field::Field>::range(&$rule),
                    meaning: $crate::section::prose(&[$($meaning),+]),
                }),+]
            }

            fn set(
                &mut self,
                key: &str,
                source: &$crate::section::Source<'_>,
            ) -> Result<(), $crate::section::Unset> {
                use $crate::{field::Field, section::{Source, Unset}};
                match key {
                    $(stringify!($key) => {
                        let read = match source {
                            Source::File(raw) => <$ty as Field>::read(raw, &$rule),
                            Source::Variable(text) => {
                                <$ty as Field>::read(&<$ty as Field>::from_variable(text), &$rule)
                            }
                        };
                        self.$key = read.map_err(Unset::Refused)?;
                        Ok(())
                    })+
                    _ => Err(Unset::UnknownKey),
                }
            }

            fn show(&self, key: &str) -> Option<String> {
                match key {
                    $(stringify!($key) => Some($crate::field::Field::show(&self.$key)),)+
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use section;
