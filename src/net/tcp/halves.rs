//! What the borrowed and the owned halves have in common. Both have a `stream()`.

/// The methods of a read half, as those of the stream.
macro_rules! read_half_methods {
    () => {
        /// Reads what is there. See [`TcpStream::read`](super::TcpStream::read).
        ///
        /// # Errors
        /// As the stream's.
        ///
        /// # Cancel safety
        /// Cancel safe.
        pub async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            poll_fn(|cx| self.stream().poll_read(cx, buf)).await
        }

        /// Fills `buf`. See [`TcpStream::read_exact`](super::TcpStream::read_exact).
        ///
        /// # Errors
        /// As the stream's.
        ///
        /// # Cancel safety
        /// Not cancel safe.
        pub async fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.stream().fill(buf).await
        }

        /// Appends what is there. See [`TcpStream::read_buf`](super::TcpStream::read_buf).
        ///
        /// # Errors
        /// As the stream's.
        ///
        /// # Cancel safety
        /// Cancel safe.
        pub async fn read_buf(&mut self, buf: &mut impl BufMut) -> io::Result<usize> {
            poll_fn(|cx| self.stream().poll_append(cx, buf)).await
        }

        /// Appends everything until the end. See [`TcpStream::read_to_end`](super::TcpStream::read_to_end).
        ///
        /// # Errors
        /// As the stream's.
        ///
        /// # Cancel safety
        /// What was read is in `buf`.
        pub async fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
            self.stream().drain_to(buf).await
        }

        /// Takes what is there without a copy. See [`TcpStream::read_lease`](super::TcpStream::read_lease).
        ///
        /// # Errors
        /// As the stream's.
        ///
        /// # Cancel safety
        /// Cancel safe.
        pub async fn read_lease(&mut self, len_max: usize) -> io::Result<Lease> {
            poll_fn(|cx| self.stream().poll_read_lease(cx, len_max)).await
        }

        /// Looks at what is there. See [`TcpStream::peek`](super::TcpStream::peek).
        ///
        /// # Errors
        /// As the stream's.
        ///
        /// # Cancel safety
        /// Cancel safe.
        pub async fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.stream().peek(buf).await
        }

        /// The twin of [`peek`](Self::peek).
        ///
        /// # Errors
        /// As the stream's.
        pub fn poll_peek(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
            self.stream().poll_peek(cx, buf)
        }

        /// Waits until a read would get an answer.
        ///
        /// # Errors
        /// As the stream's.
        ///
        /// # Cancel safety
        /// Cancel safe.
        pub async fn readable(&self) -> io::Result<()> {
            self.stream().readable().await
        }

        /// Reads what is there.
        ///
        /// # Errors
        /// [`io::ErrorKind::WouldBlock`] if nothing is; else as the stream's.
        pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
            self.stream().try_read(buf)
        }

        /// Reads what is there into one slice after the other.
        ///
        /// # Errors
        /// [`io::ErrorKind::WouldBlock`] if nothing is; else as the stream's.
        pub fn try_read_vectored(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
            self.stream().try_read_vectored(bufs)
        }

        /// Appends what is there to `buf`.
        ///
        /// # Errors
        /// [`io::ErrorKind::WouldBlock`] if nothing is; else as the stream's.
        pub fn try_read_buf(&self, buf: &mut impl BufMut) -> io::Result<usize> {
            self.stream().try_read_buf(buf)
        }
    };
}

/// The methods of a write half, as those of the stream.
macro_rules! write_half_methods {
    () => {
        /// Queues what there is room for. See [`TcpStream::write`](super::TcpStream::write).
        ///
        /// # Errors
        /// As the stream's.
        ///
        /// # Cancel safety
        /// Cancel safe.
        pub async fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            poll_fn(|cx| self.stream().poll_write(cx, buf)).await
        }

        /// Queues all of `buf`. See [`TcpStream::write_all`](super::TcpStream::write_all).
        ///
        /// # Errors
        /// As the stream's.
        ///
        /// # Cancel safety
        /// Not cancel safe.
        pub async fn write_all(&mut self, buf: &[u8]) -> io::Result<()> {
            self.stream().send_all(buf).await
        }

        /// Queues all of `bytes`, without a copy if they are long. See [`TcpStream::write_owned`](super::TcpStream::write_owned).
        ///
        /// # Errors
        /// As the stream's.
        ///
        /// # Cancel safety
        /// Not cancel safe.
        pub async fn write_owned(&mut self, bytes: impl Into<Payload>) -> io::Result<()> {
            self.stream().send_owned(bytes.into()).await
        }

        /// Returns at once. See [`TcpStream::flush`](super::TcpStream::flush).
        ///
        /// # Errors
        /// None so far.
        pub async fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }

        /// Tells the peer that no more will be written. See
        /// [`TcpStream::shutdown`](super::TcpStream::shutdown).
        ///
        /// # Errors
        /// As the stream's.
        ///
        /// # Cancel safety
        /// Cancel safe.
        pub async fn shutdown(&mut self) -> io::Result<()> {
            self.shut_down()
        }

        /// Waits until a write would get an answer.
        ///
        /// # Errors
        /// As the stream's.
        ///
        /// # Cancel safety
        /// Cancel safe.
        pub async fn writable(&self) -> io::Result<()> {
            self.stream().writable().await
        }

        /// Queues what there is room for.
        ///
        /// # Errors
        /// [`io::ErrorKind::WouldBlock`] if there is none; else as the stream's.
        pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
            self.stream().try_write(buf)
        }

        /// Queues what there is room for of one slice after the other.
        ///
        /// # Errors
        /// [`io::ErrorKind::WouldBlock`] if there is none; else as the stream's.
        pub fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
            self.stream().try_write_vectored(bufs)
        }
    };
}

/// The methods of both.
macro_rules! half_methods {
    () => {
        /// Waits until the stream is ready for any of `interest`, and says for what.
        ///
        /// # Errors
        /// As the stream's.
        ///
        /// # Cancel safety
        /// Cancel safe.
        pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
            self.stream().ready(interest).await
        }

        /// Our address.
        ///
        /// # Errors
        /// As the stream's.
        pub fn local_addr(&self) -> io::Result<SocketAddr> {
            self.stream().local_addr()
        }

        /// The peer's address.
        ///
        /// # Errors
        /// As the stream's.
        pub fn peer_addr(&self) -> io::Result<SocketAddr> {
            self.stream().peer_addr()
        }
    };
}

pub(super) use {half_methods, read_half_methods, write_half_methods};
