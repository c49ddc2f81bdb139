//! Recording: the recorder that the configuration asks for, at the start and after each reload.
//!
//! It does not know what is recorded, nor how it is written.

use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::plan::RecordPlan;
use crate::gateway::Gateway;
use crate::telemetry::record::Recorder;
use crate::telemetry::record::digest::Digests;
use crate::telemetry::record::writer::FileRecorder;

/// What a process records with.
pub(super) struct Recorders {
    /// Where the tasks run that write.
    tasks: TaskTracker,
    /// Ends them, when they have written what waits.
    flush: CancellationToken,
    /// By what plan it records now; `None`: nobody has asked yet.
    plan: Mutex<Option<RecordPlan>>,
}

impl Recorders {
    /// Nothing is recorded yet. Whoever cancels `flush` waits for `tasks` then.
    pub(super) fn new(tasks: TaskTracker, flush: CancellationToken) -> Self {
        Self { tasks, flush, plan: Mutex::default() }
    }

    /// Records as a gateway's plan says from now on. Calls that have begun are recorded as before, and the task that writes them
    /// ends with the last of them.
    pub(super) fn follow(&self, gateway: &Gateway) {
        let wanted = &gateway.plan.record;
        let mut plan = self.plan.lock();
        if plan.as_ref() == Some(wanted) {
            return;
        }
        let was_on = plan.as_ref().is_some_and(|plan| plan.folder.is_some());
        let recorder = wanted.folder.as_deref().map(|folder| self.begin(folder, gateway));
        match &wanted.folder {
            Some(folder) => tracing::info!(folder = %folder.display(), "recording calls"),
            None if was_on => tracing::info!("calls are no longer recorded"),
            None => {}
        }
        gateway.state.recording().set(recorder);
        *plan = Some(wanted.clone());
    }

    fn begin(&self, folder: &Path, gateway: &Gateway) -> Arc<dyn Recorder> {
        let (plan, world, recording) = (&gateway.plan.record, &gateway.world, gateway.state.recording());
        let digests = match &plan.secret {
            Some(secret) => Digests::new(secret.expose()),
            None => Digests::of_process(world.chance().hash_key()),
        };
        let (recorder, writer) = FileRecorder::new(folder, plan, digests, recording, world.clock());
        self.tasks.spawn(writer.run(self.flush.clone()));
        Arc::new(recorder)
    }
}
