"""PURE: what a socket and a service do next, as tables of states and events; and what a child process is made of."""
