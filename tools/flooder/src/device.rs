//! A device as the API issued it.

use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// Length of a token in bytes.
pub const TOKEN_BYTES: usize = 32;

/// A device's number and its token. As text: the token in base64url, a space, the number in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Device {
    /// Unique on the node.
    pub id: u64,
    /// What the phone says in its Hello.
    pub token: [u8; TOKEN_BYTES],
}

/// A line that is no device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no device: expected a token of 43 characters, a space, and 16 hexadecimal digits")]
pub struct DeviceError(String);

impl Device {
    /// From the two texts of the API's answer.
    ///
    /// # Errors
    /// One of them has the wrong form.
    pub fn new(token: &str, id: &str) -> Result<Self, DeviceError> {
        let refuse = || DeviceError(format!("{token} {id}"));
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| refuse())?;
        let id = u64::from_str_radix(id, 16).map_err(|_| refuse())?;
        Ok(Self { id, token: bytes.try_into().map_err(|_| refuse())? })
    }

    /// The token as the API takes it.
    pub fn token_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.token)
    }

    /// Reads a file of one device a line.
    ///
    /// # Errors
    /// The file cannot be read, or a line is no device; the error names it.
    pub fn read_file(path: &Path) -> io::Result<Vec<Self>> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
        let line = |(at, line): (usize, &str)| {
            line.parse().map_err(|e| io::Error::other(format!("{}:{}: {e}", path.display(), at + 1)))
        };
        text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()).map(line).collect()
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:016x}", self.token_text(), self.id)
    }
}

impl FromStr for Device {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let (token, id) = text.trim().split_once(' ').ok_or_else(|| DeviceError(text.into()))?;
        Self::new(token, id)
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.to_string()
    }
}

impl TryFrom<String> for Device {
    type Error = DeviceError;

    fn try_from(text: String) -> Result<Self, DeviceError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_survives_its_text() {
        let device = Device { id: 0xabc, token: [9; TOKEN_BYTES] };
        assert_eq!(device.to_string().parse(), Ok(device));
        let text = serde_json::to_string(&device).unwrap();
        assert_eq!(serde_json::from_str::<Device>(&text).unwrap(), device);
        for bad in ["", "short 1", "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk x"] {
            assert!(bad.parse::<Device>().unwrap_err().to_string().contains("expected a token"));
        }
    }
}
