//! The chained CNI plugin and the admission of new pods: a pod is judged before its first process runs.
//!
//! ```text
//! kubelet ─► containerd ─► bridge, ptp, aws-cni … ─► sekisho-cni (this program, by another name)
//!                                                        │ ADD: pod, UID, sandbox, namespace
//!                                          <run-dir>/cni.sock
//!                                                        ▼
//!                                   admission (the agent) ─► agent_pods::sandboxes ─► a publication
//! ```
//!
//! `call` reads what the runtime says, `answer` is what it is told, `plugin` is the process in between.
//! `admission` is the agent's side, and `talk` what goes over the socket. `install` keeps the program and
//! its entry in the node's CNI directories, and `conflist` knows where in a configuration the entry goes.
//!
//! After a reboot nothing of ours is left in the kernel. The entry is on disk and outlives the reboot, so
//! no pod is made before the agent runs, and one that is made then is judged from its first packet.

pub(crate) mod admission;
mod answer;
mod call;
mod conflist;
pub(crate) mod install;
pub(crate) mod plugin;
pub(crate) mod talk;
