//! The file system of the machine.
