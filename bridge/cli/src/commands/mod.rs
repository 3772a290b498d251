//! One file a command.

pub mod apply;
pub mod asof;
pub mod backup;
pub mod check;
pub mod diff;
pub mod doctor;
pub mod drain;
pub mod estimate;
pub mod explain;
pub mod init;
pub mod man;
pub mod remove;
pub mod resnapshot;
pub mod restore;
pub mod resync;
pub mod rewind;
pub mod run;
pub mod schema;
pub mod sql;
pub mod status;
pub mod top;
pub mod track;
