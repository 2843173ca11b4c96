//! What the Linux kernel does with a packet: throwaway network namespaces.
