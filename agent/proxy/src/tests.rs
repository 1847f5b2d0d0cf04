//! The data path in one process, over loopback, with a fixed answer at each seam.

mod beside;
mod carrying;
mod dead;
mod ending;
mod introduced;
mod marks;
mod names;
mod policies;
mod refusing;
mod requests;
mod rig;
mod secure;
mod streams;
mod talk;
pub(crate) mod way;
