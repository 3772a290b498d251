//! One file a command.

pub mod check;
pub mod explain;
pub mod init;
pub mod resync;
pub mod run;
pub mod status;
