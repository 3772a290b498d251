//! One file a command.

pub mod check;
pub mod doctor;
pub mod explain;
pub mod init;
pub mod resnapshot;
pub mod resync;
pub mod run;
pub mod status;
