//! What names resolve to: an input of a translation, as objects are.
//!
//! A translation says which names it wants ([`Wanted`]); the resolver asks a name server and hands
//! the [`Answers`] in with the next one. Nothing here asks, and nothing here has a clock: when an
//! address stops being current or lingering is decided where the answers are kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

/// How many addresses a name may have at once. A service behind one name has a handful; what comes
/// by the hundreds is hardly one destination, and each costs an entry in the kernel for every port.
pub const MAX_ADDRESSES: usize = 256;

/// The mesh's `dnsRefreshRate` where it does not say.
pub const DEFAULT_REFRESH: Duration = Duration::from_mins(1);

/// What is known of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The newest answer, in its order.
    pub current: Vec<IpAddr>,
    /// No longer in the newest answer, but a cache may still hand them out: allowed for now.
    pub lingering: Vec<IpAddr>,
    /// Not allowed any more. Connections that were opened while they were go on.
    pub former: Vec<IpAddr>,
    /// What a person should know of it.
    pub trouble: Option<Trouble>,
}

/// What is wrong with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It was asked for, and no address of it was ever heard.
    Unresolved,
    /// The newest answer has more than [`MAX_ADDRESSES`], so the one before stays.
    TooMany {
        /// How many.
        found: usize,
    },
}

impl Answer {
    /// What new connections may go to.
    pub fn allowed(&self) -> impl Iterator<Item = IpAddr> {
        self.current.iter().chain(&self.lingering).copied()
    }
}

/// What is known of names, by name in lower case without the final dot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers(BTreeMap<Arc<str>, Arc<Answer>>);

impl Answers {
    /// What is known of a name; `None` where it has not been asked for yet.
    pub fn get(&self, name: &str) -> Option<&Arc<Answer>> {
        self.0.get(name)
    }

    /// All names with what is known of them.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Answer>)> {
        self.0.iter()
    }

    /// The names that an address is or was an answer for.
    pub fn of(&self, address: IpAddr) -> impl Iterator<Item = (&Arc<str>, &Arc<Answer>)> {
        self.iter().filter(move |(_, answer)| {
            answer.allowed().chain(answer.former.iter().copied()).any(|one| one == address)
        })
    }
}

impl FromIterator<(Arc<str>, Arc<Answer>)> for Answers {
    fn from_iter<T: IntoIterator<Item = (Arc<str>, Arc<Answer>)>>(answers: T) -> Self {
        Self(answers.into_iter().collect())
    }
}

/// What has to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The names that rules of this node's pods follow from.
    pub names: BTreeSet<Arc<str>>,
    /// The longest time between two questions for a name, whatever its answer allows.
    pub refresh: Duration,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { names: BTreeSet::new(), refresh: DEFAULT_REFRESH }
    }
}

/// A name as answers have it: in lower case, without the final dot.
pub fn canonical(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}
