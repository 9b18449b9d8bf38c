"""PURE: addresses, protocols, and the plan of system calls that makes a listening socket."""
