//! The phones: millions in user space, and the control with sockets of the kernel.
//!
//! ```text
//!  device FIRST + 0 … n-1      UserFleet: a TCP of its own over TUN devices, 64 bytes each
//!  device FIRST + n … n+c-1    Fleet: the kernel's TCP over lo; what both say of the server must be the same
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use flooder::user::{Counts, Latencies, Profile, UserConfig, UserFleet};
use flooder::{Device, Fleet, FleetConfig, FleetStats};
use token::{Claims, TokenKeys};
use wire::{AppId, DeviceId};

use super::options::{Options, TARGET};
use super::sampler::Sampler;
use crate::Error;

/// Devices are numbered from here, far from those that the API issues.
pub const DEVICE_FIRST: u64 = 1 << 40;
/// How long tokens are good, in seconds; longer than any run.
const TOKEN_S: u64 = 86_400;
/// Between two looks at a count.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Whose devices, and the keys that sign their tokens.
#[derive(Clone, Debug)]
pub struct Signer {
    /// The app's number.
    pub app: u16,
    /// The node's token keys.
    pub keys: TokenKeys,
}

impl Signer {
    /// Of a floor, which asks for no token: any key will do.
    ///
    /// # Errors
    /// Never: one key always fits.
    pub fn any() -> Result<Self, Error> {
        let mut keys = TokenKeys::new();
        keys.insert(1, [1; 32]).map_err(|error| Error::Tokens(error.to_string()))?;
        Ok(Self { app: 1, keys })
    }

    /// The device of this number with its token.
    ///
    /// # Errors
    /// There is no key.
    pub fn device(&self, id: u64) -> Result<Device, Error> {
        let now_s = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        let expires_s = u32::try_from(now_s + TOKEN_S).unwrap_or(u32::MAX);
        let claims = Claims { app: AppId(self.app), device: DeviceId(id), expires_s };
        let token = self.keys.issue(&claims).map_err(|error| Error::Tokens(error.to_string()))?;
        Ok(Device { id, token })
    }

    /// Devices of these numbers, in their order.
    ///
    /// # Errors
    /// There is no key.
    pub fn devices(&self, ids: impl Iterator<Item = u64>) -> Result<Vec<Device>, Error> {
        ids.map(|id| self.device(id)).collect()
    }
}

/// Phones in user space.
#[derive(Clone, Debug)]
pub struct Crowd {
    /// The fleet itself.
    pub fleet: Arc<UserFleet>,
    /// How many they are.
    pub phones: u64,
    /// When they began to connect.
    pub started: Instant,
}

impl Crowd {
    /// Begins to connect `phones`; the sampler counts them from here on.
    ///
    /// # Errors
    /// [`Error::User`].
    pub fn start(options: &Options, signer: &Signer, phones: u32, sampler: &Sampler) -> Result<Self, Error> {
        let config = UserConfig {
            phones,
            target: TARGET,
            queues: options.queues as usize,
            app: signer.app,
            keys: signer.keys.clone(),
            device_first: DEVICE_FIRST,
            heartbeat_s: options.heartbeat_s,
            connect_per_s: options.connect_per_s,
            under_way_max: options.under_way_max,
            back_off_ms: options.back_off_ms,
            profile: Profile::named(&options.network).unwrap_or(Profile::DIRECT),
            seed: options.seed,
            nice: options.nice,
        };
        let started = Instant::now();
        let fleet = Arc::new(UserFleet::start(&config)?);
        let watched = Arc::clone(&fleet);
        sampler.watch_phones(Some(Box::new(move || watched.counts().established)));
        Ok(Self { fleet, phones: u64::from(phones), started })
    }

    /// Waits until `done` holds; whether it did in time.
    pub fn wait(&self, deadline: Instant, mut done: impl FnMut(&Counts) -> bool) -> bool {
        loop {
            if done(&self.fleet.counts()) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Latencies so far.
    ///
    /// # Errors
    /// [`Error::User`].
    pub fn latencies(&self) -> Result<Latencies, Error> {
        Ok(self.fleet.latencies()?)
    }
}

/// Phones with sockets of the kernel.
pub struct Control {
    /// The fleet itself.
    pub fleet: Fleet,
    /// Its devices.
    pub devices: Vec<Device>,
}

impl Control {
    /// Connects `count` phones, numbered behind those in user space, and waits until they are logged in; how many
    /// are is to be seen at the fleet.
    ///
    /// # Errors
    /// [`Error::Fleet`].
    pub fn start(options: &Options, signer: &Signer, deadline: Instant) -> Result<Self, Error> {
        let first = DEVICE_FIRST + u64::from(options.user_phones());
        let devices = signer.devices(first..first + u64::from(options.control))?;
        let config = FleetConfig {
            heartbeat_s: options.heartbeat_s,
            seed: options.seed,
            ..FleetConfig::new(vec![TARGET.into()], devices.clone())
        };
        let fleet = Fleet::start(config)?;
        fleet.wait(deadline, |progress| progress.attached == u64::from(options.control));
        Ok(Self { fleet, devices })
    }

    /// Everything counted so far.
    ///
    /// # Errors
    /// [`Error::Fleet`].
    pub fn stats(&self) -> Result<FleetStats, Error> {
        Ok(self.fleet.stats()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_name_the_app_and_the_device() {
        let signer = Signer { app: 7, ..Signer::any().unwrap() };
        let devices = signer.devices(DEVICE_FIRST..DEVICE_FIRST + 2).unwrap();
        let claims = signer.keys.verify(&devices[1].token, 0).unwrap();
        assert_eq!((claims.app.0, claims.device.0, devices[1].id), (7, DEVICE_FIRST + 1, DEVICE_FIRST + 1));
        assert!(claims.expires_s > 86_400);
        let none = Signer { app: 1, keys: TokenKeys::new() };
        assert!(none.device(1).is_err());
    }
}
