//! Viewers of the live page: a limited number, all served from one shared snapshot.
//!
//! It does not know what the page shows.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Seats. A wall of screens has fewer; and a page that is forgotten in a browser costs one.
const SEATS: usize = 16;

/// A picture that is no older than this is given to the next who asks for one. Less than the time between two.
const SAME: Duration = Duration::from_millis(900);

/// The seats, and the latest pictures: without names, and with them.
pub struct Viewers {
    seats: Arc<Semaphore>,
    latest: Mutex<[Option<(Instant, Bytes)>; 2]>,
}

impl Default for Viewers {
    fn default() -> Self {
        Self { seats: Arc::new(Semaphore::new(SEATS)), latest: Mutex::default() }
    }
}

impl Viewers {
    /// A seat, until it is dropped; `None`: all are taken.
    pub fn sit_down(&self) -> Option<OwnedSemaphorePermit> {
        self.seats.clone().try_acquire_owned().ok()
    }

    /// The picture of this second, for those who may read names or for those who may not. Each is drawn once, however many watch,
    /// and never when nobody does.
    pub fn picture(&self, shows_names: bool, draw: impl FnOnce() -> Bytes) -> Bytes {
        // Held while it is drawn: another viewer would only draw the same.
        let mut latest = self.latest.lock();
        let latest = &mut latest[usize::from(shows_names)];
        if let Some((at, picture)) = latest
            && at.elapsed() < SAME
        {
            return picture.clone();
        }
        let picture = draw();
        *latest = Some((Instant::now(), picture.clone()));
        picture
    }
}
