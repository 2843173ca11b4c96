//! The few system calls that have no safe wrapper in `nix`: making a TAP device, receiving many datagrams
//! in one call, and sending through a packet socket. All `unsafe` of this crate is here.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const TUNSETIFF: libc::c_ulong = 0x4004_54ca;

/// Size of one receive buffer in bytes: a log event with 96 bytes of packet is below 400 bytes, a trace
/// event below 1,200.
pub const DATAGRAM_BYTES: usize = 2048;
/// How many datagrams one call of [`Datagrams::receive`] takes at most.
pub const DATAGRAMS: usize = 8;

/// Creates a non-persistent, non-blocking TAP device called `name` in the network namespace of the calling
/// thread. The device disappears when the descriptor is closed. Fails with `EPERM` without `CAP_NET_ADMIN`
/// over the namespace and with `EBUSY` if the name is taken. See the kernel's tuntap documentation.
pub fn open_tap(name: &str) -> io::Result<OwnedFd> {
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains('\0') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not an interface name"));
    }
    // SAFETY: `open` reads a NUL-terminated string literal and returns a new descriptor or -1.
    let raw =
        unsafe { libc::open(c"/dev/net/tun".as_ptr(), libc::O_RDWR | libc::O_NONBLOCK | libc::O_CLOEXEC) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `raw` was just opened, is valid, and nothing else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    // SAFETY: all-zero bytes are a valid `ifreq`, a plain C structure of integers and byte arrays.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *slot = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which outlives the call; the name is NUL-terminated
    // because it is shorter than the zeroed array.
    if unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETIFF as _, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(fd)
}

/// A packet socket that only sends; whole Ethernet frames, to any interface of the thread's namespace.
pub fn open_packet_socket() -> io::Result<OwnedFd> {
    // SAFETY: `socket` takes three integers and returns a new descriptor or -1.
    let raw = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `raw` was just opened, is valid, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Sends one Ethernet frame through the interface with this index, as if the interface transmitted it.
pub fn send_frame(fd: BorrowedFd<'_>, interface_index: u32, ethertype: u16, frame: &[u8]) -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid `sockaddr_ll`, a plain C structure.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ethertype.to_be();
    address.sll_ifindex = interface_index as i32;
    address.sll_halen = 6;
    // SAFETY: the pointers and lengths describe `frame` and `address`, both live for the whole call.
    let sent = unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            libc::MSG_DONTWAIT,
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Receive buffers for several datagrams.
pub struct Datagrams {
    buffers: Box<[[u8; DATAGRAM_BYTES]; DATAGRAMS]>,
    lengths: [usize; DATAGRAMS],
    count: usize,
}

impl Datagrams {
    /// Empty buffers.
    pub fn new() -> Self {
        Self { buffers: Box::new([[0; DATAGRAM_BYTES]; DATAGRAMS]), lengths: [0; DATAGRAMS], count: 0 }
    }

    /// Takes what is waiting on the socket without blocking and returns how many datagrams that were; 0 when
    /// nothing waits. `ENOBUFS` means that the kernel had to throw events away.
    pub fn receive(&mut self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        self.count = 0;
        // SAFETY: `iovec` and `mmsghdr` are plain C structures; all-zero bytes are valid (null, length 0).
        let mut parts: [libc::iovec; DATAGRAMS] = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        let mut headers: [libc::mmsghdr; DATAGRAMS] = unsafe { std::mem::zeroed() };
        for ((part, header), buffer) in parts.iter_mut().zip(&mut headers).zip(self.buffers.iter_mut()) {
            part.iov_base = buffer.as_mut_ptr().cast();
            part.iov_len = DATAGRAM_BYTES;
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: every header points to one iovec, every iovec to one distinct buffer of the stated length;
        // all outlive the call, and a null timeout is allowed.
        let received = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                headers.as_mut_ptr(),
                DATAGRAMS as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        if received < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock => Ok(0),
                io::ErrorKind::Interrupted => self.receive(fd),
                _ => Err(error),
            };
        }
        self.count = (received as usize).min(DATAGRAMS);
        for (length, header) in self.lengths.iter_mut().zip(&headers) {
            *length = (header.msg_len as usize).min(DATAGRAM_BYTES);
        }
        Ok(self.count)
    }

    /// The datagrams of the last [`Datagrams::receive`], oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.buffers.iter().zip(self.lengths).take(self.count).map(|(buffer, length)| &buffer[..length])
    }
}
