//! Reads of a socket that does not wait.
//!
//! A read that leaves room has taken all that there was. The runtime is told so: the next read waits for
//! news, and does not ask the kernel in vain. (tokio does the same in its own `AsyncRead`.) News that come
//! between a read and what is told here are not lost, as they are newer than the state that it is about.
//! An end or an error stays known in any case.
//!
//! Two kinds of bytes are read until the kernel says that there is no more. What is carried as it is may
//! have urgent data, the only thing that ends a read early while more is there. And a body's sender is
//! often quicker than the news: an answer that comes before the body's end closes the connection.

use std::io;

use tokio::{io::Interest, net::TcpStream};

/// Whether there may be something to read, as far as the runtime has heard.
pub(crate) fn has_news(tcp: &TcpStream) -> bool {
    tcp.try_io(Interest::READABLE, || Ok(())).is_ok()
}

/// Reads what there is; 0 is the end.
pub(crate) fn read(tcp: &TcpStream, into: &mut [u8]) -> io::Result<usize> {
    let room = into.len();
    noting(tcp, room, || tcp.try_read(into))
}

/// The same, into the room that a buffer has left.
pub(crate) fn read_buf(tcp: &TcpStream, into: &mut Vec<u8>) -> io::Result<usize> {
    let room = into.capacity() - into.len();
    noting(tcp, room, || tcp.try_read_buf(into))
}

/// Reads, and tells the runtime where that has left room.
fn noting(
    tcp: &TcpStream,
    room: usize,
    read: impl FnOnce() -> io::Result<usize>,
) -> io::Result<usize> {
    let mut all = None;
    let outcome = tcp.try_io(Interest::READABLE, || match read()? {
        length if (1..room).contains(&length) => {
            all = Some(length);
            // By this word alone the runtime learns it.
            Err(io::ErrorKind::WouldBlock.into())
        }
        length => Ok(length),
    });
    all.map_or(outcome, Ok)
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::tests::rig::{reset, soon};

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (listener.accept().await.unwrap().0, far)
    }

    /// What the next read gives, once there is news.
    async fn next(near: &TcpStream, room: usize) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; room];
        loop {
            soon(near.readable()).await?;
            match read(near, &mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read.map(|length| buffer[..length].to_vec()),
            }
        }
    }

    #[tokio::test]
    async fn what_leaves_room_is_all_and_the_next_read_waits() {
        let (near, mut far) = pair().await;
        for text in ["one", "other"] {
            far.write_all(text.as_bytes()).await.unwrap();
            assert_eq!(next(&near, 64).await.unwrap(), text.as_bytes());
            assert!(!has_news(&near));
            let again = read(&near, &mut [0; 64]);
            assert_eq!(again.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
    }

    #[tokio::test]
    async fn what_leaves_no_room_may_not_be_all() {
        let (near, mut far) = pair().await;
        far.write_all(b"onetwo").await.unwrap();
        assert_eq!(next(&near, 3).await.unwrap(), b"one");
        assert!(has_news(&near));
        assert_eq!(next(&near, 3).await.unwrap(), b"two");
    }

    #[tokio::test]
    async fn an_end_is_noticed_whether_it_comes_with_the_bytes_or_after_them() {
        for is_together in [true, false] {
            let (near, mut far) = pair().await;
            far.write_all(b"last").await.unwrap();
            if is_together {
                far.shutdown().await.unwrap();
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            assert_eq!(next(&near, 64).await.unwrap(), b"last");
            far.shutdown().await.unwrap();
            assert_eq!(next(&near, 64).await.unwrap(), b"");
            // The other way is still open.
            let mut near = near;
            near.write_all(b"answer").await.unwrap();
            soon(far.read_exact(&mut [0; 6])).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_reset_is_noticed_after_the_bytes() {
        let (near, mut far) = pair().await;
        far.write_all(b"last").await.unwrap();
        assert_eq!(next(&near, 64).await.unwrap(), b"last");
        reset(far);
        assert_eq!(next(&near, 64).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn urgent_data_ends_a_read_early() {
        let (near, far) = pair().await;
        // The kernel's words for the reason that this is not for what is carried as it is.
        let far = SockRef::from(&far);
        far.send(b"before").unwrap();
        far.send_out_of_band(b"!").unwrap();
        far.send(b"after").unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        assert_eq!(next(&near, 64).await.unwrap(), b"before");
        let mut rest = [0; 64];
        assert_eq!(near.try_read(&mut rest).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let more = SockRef::from(&near).recv(&mut [std::mem::MaybeUninit::uninit(); 64]).unwrap();
        assert_eq!(more, 5);
    }
}
