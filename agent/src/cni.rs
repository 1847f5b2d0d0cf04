//! The chained CNI plugin: a pod that is to be judged is judged before its first process runs.
//!
//! ```text
//! kubelet ─► containerd ─► bridge, ptp, aws-cni … ─► sekisho-cni (this program, by another name)
//!                                                        │ ADD: pod, UID, sandbox, namespace
//!                                          <run-dir>/cni.sock
//!                                                        ▼
//!                                   admission (the agent) ─► publisher: pods::sandboxes, a publication
//! ```
//!
//! call reads what the runtime says, answer is what it is told, plugin is the process in between;
//! admission is the agent's side, and talk what goes over the socket; install keeps the program and its entry
//! in the node's CNI directories, and conflist knows where in a configuration that entry goes.

pub(crate) mod admission;
mod answer;
mod call;
mod conflist;
pub(crate) mod install;
pub(crate) mod plugin;
pub(crate) mod talk;
