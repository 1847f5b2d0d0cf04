//! Errors for people.

use std::error::Error;

/// An error with its causes, in one line.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        // A transparent error says what its cause says.
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Outer {
        #[error("the file cannot be read")]
        Read(#[source] io::Error),
        #[error(transparent)]
        Transparent(#[from] io::Error),
    }

    #[test]
    fn each_cause_is_said_once() {
        let cause = || io::Error::other("no such device");
        assert_eq!(chain(&Outer::Read(cause())), "the file cannot be read: no such device");
        assert_eq!(chain(&Outer::Transparent(cause())), "no such device");
    }
}
