//! The loop: poll the sources, make their events durable, step the engine, commit to the sinks,
//! checkpoint, recover.
//!
//! [`Pipeline::open`] recovers and [`Pipeline::run`] goes on; [`check()`] looks at everything and
//! writes nothing, and [`findings()`] asks the sources how they are set up; [`resync`] brings a sink
//! in line whatever it holds, [`Pipeline::resnapshot`] the views; [`read_status`] needs no process. [`backup()`] copies a
//! state while it is worked on, and a [`Backup`] makes a pipeline of it again.
//! An epoch exists from the moment its record is durable in the input log ([`log`]): it is replayed
//! with the same boundaries and the same hash, and a sink that holds its number and its hash has it
//! already. Loads and rebuilds exist from the moment their checkpoint is published.

mod backup;
mod barrier;
mod beside;
mod blocking;
mod call;
mod check;
mod checkpoint;
mod config;
mod contents;
mod cycles;
mod deliver;
mod delivery;
mod delta_log;
mod depot;
mod difference;
mod durable;
mod epoch;
mod epoch_time;
mod error;
mod feed;
mod findings;
mod goal;
mod history;
mod hold;
mod kept;
mod ladder;
mod load;
mod lock;
pub mod log;
mod observer;
mod open_engine;
mod patience;
mod pending;
mod pipeline;
mod planner;
mod recovery;
mod remove;
mod replay;
mod requests;
mod resnapshot;
mod restored;
mod resync;
mod retry;
mod rewind;
mod round;
mod run;
mod save;
mod schedule;
mod state;
mod statistics;
mod status;
mod summary;
mod tail;
mod ticks;
mod time_map;

pub use backup::{Backup, BackupLocation, RestorePlaces, Site, backup};
pub use beside::{Beside, Groundwork, NotBeside};
pub(crate) use blocking::blocking;
pub use check::{CheckReport, CheckedView, check};
pub use config::{Connectors, OnSinkFailure, PipelineConfig, RunUntil, SinkSlot, SourceSlot, StopSignal};
pub use cycles::ReadBack;
pub use difference::{Difference, Exchange, ViewChange, difference, views_in_force};
pub use epoch_time::{Clock, epoch_time};
pub use error::{Repair, RuntimeError, SinkBehind, SinkDetached};
pub use findings::{Findings, Unasked, findings};
pub use lock::is_running;
pub use log::LogLocation;
pub use observer::{Observer, Phase, Progress, Silent, Stretch, Work};
pub use pipeline::Pipeline;
pub use remove::{Removed, remove};
pub use requests::{PipelineHandle, Sample, Unanswered};
pub use resync::resync;
pub use rewind::{BranchSummary, RewindOptions, RewindSummary, RewindWay, branch, rewind};
pub use schedule::{Commits, Schedule, ScheduleError};
pub use statistics::{KnownTables, statistics};
pub use status::{
    Lag, ReplayStatus, SinkState, SinkStatus, SourceState, SourceStatus, Status, ViewStatus, read_status,
};
pub use summary::{BackupSummary, Phases, RestoreSummary, ResyncSummary, RunSummary};
pub use time_map::{Moment, TimeMap, TimeMapEntry, Unresolved};
