"""What to do about each finding: the remedy, and where a few lines of a unit file provoke it, those lines. `sockact explain`
prints both; the tests let the verifier find in the example what it is an example of."""

from __future__ import annotations

from sockact.record import Record


class Advice(Record):
    remedy: str
    example: str = ""


ADVICE = {
    "SA001": Advice("Unit files are UTF-8 text. Was this one cut off, compiled, or written in another encoding?"),
    "SA002": Advice("Lines that end in a backslash count as one; split the list over several assignments."),
    "SA003": Advice(
        "The name of a section stands alone on its line, between brackets. What follows the broken header is not read.",
        "[Socket\nListenStream=80",
    ),
    "SA004": Advice("Put the header of its section above it.", "ListenStream=80\n[Socket]\nListenStream=81"),
    "SA005": Advice("Write KEY=VALUE, or # in front of a comment.", "[Socket]\nListenStream 80\nListenStream=81"),
    "SA006": Advice(
        "See to the spelling. The names of your own sections begin with X-, and those are passed over in silence.",
        "[Socket]\nListenStream=80\n[Sockets]\nNoDelay=yes",
    ),
    "SA007": Advice(
        "See to the spelling: keys are case-sensitive. Your own keys begin with X-. sockact explain lists those that are "
        "applied.",
        "[Socket]\nListenStream=80\nNodelay=yes",
    ),
    "SA008": Advice(
        "Nothing is wrong with the unit, but sockact does not do what this line asks for; sockact explain KEY tells why. What "
        "must not be missed, such as a sandbox, has to come from elsewhere: a container, or the service itself.",
        "[Service]\nExecStart=/bin/true\nProtectSystem=yes",
    ),
    "SA009": Advice(
        "Between the units that sockact was given, what is said of others holds. Give it those, too, if they are .socket or "
        ".service units; whatever else is named (a device, a mount) has to be there by itself. Targets and slices, and what "
        "After= and Before= name, are passed over in silence.",
        "[Unit]\nRequires=other.service\n[Service]\nExecStart=-/bin/true",
    ),
    "SA010": Advice(
        "The line does nothing, as under systemd: what an earlier line said, or the default, holds. Write the value as its "
        "type wants it; sockact explain KEY shows examples.",
        "[Socket]\nListenStream=80\nNoDelay=perhaps",
    ),
    "SA011": Advice(
        "systemd ignores such a line. Here it is an error, because the unit would do something else than it says: listen "
        "nowhere, or run as somebody else.",
        "[Socket]\nListenStream=localhost:80",
    ),
    "SA012": Advice(
        "A oneshot service whose success starts it again would never be done; Restart=on-failure is allowed. It has ended when "
        "its command has, whatever else runs. For a service that is to run on and on, use Type=exec.",
        "[Service]\nType=oneshot\nRestart=always\nExecStart=-/bin/true",
    ),
    "SA020": Advice(
        "Add a Listen...= line. An empty one removes all those before it.",
        "[Socket]\nListenStream=80\nListenStream=",
    ),
    "SA021": Advice(
        "SocketProtocol= is for all sockets of a unit. Change the line to what the protocol carries, or put the socket into a "
        "unit of its own; both may start the same service (Service=, Sockets=).",
        "[Socket]\nListenDatagram=53\nSocketProtocol=mptcp",
    ),
    "SA022": Advice(
        "Only streams and sequential packets have connections. With Accept=no one service gets the socket itself.",
        "[Socket]\nListenDatagram=53\nAccept=yes",
    ),
    "SA023": Advice(
        "With Accept=yes the template of the socket's own name is started, once for each connection.",
        "[Socket]\nListenStream=80\nAccept=yes\nService=other.service",
    ),
    "SA024": Advice("The default is 64; write the number you can bear.", "[Socket]\nListenStream=80\nMaxConnections=0"),
    "SA025": Advice(
        "Remove one of the two, or share the port with ReusePort=yes in both units. A wildcard takes every address, [::] also "
        "those of IPv4 (unless BindIPv6Only=ipv6-only), and TCP and Multipath TCP have their ports in common.",
        "[Socket]\nListenStream=127.0.0.1:80\nListenStream=127.0.0.1:80",
    ),
    "SA026": Advice(
        "The kernel binds both, and gives what comes to the one that was bound last. Remove one; with ReusePort=yes in both "
        "units the kernel shares out by sender.",
        "[Socket]\nListenDatagram=127.0.0.1:53\nListenDatagram=127.0.0.1:53",
    ),
    "SA027": Advice(
        "A link needs one node to lead to: listen on one UNIX path or FIFO, others in units of their own. TCP ports beside it "
        "do not matter. systemd refuses the unit, too.",
        "[Socket]\nListenStream=80\nSymlinks=/run/web.link",
    ),
    "SA028": Advice(
        "Remove one of the two; systemd refuses the unit, too. Under sockact nothing is ever deferred.",
        "[Socket]\nListenStream=80\nAccept=yes\nDeferTrigger=yes",
    ),
    "SA029": Advice(
        "Such an address is there on every link. Name the interface behind the port, as in [fe80::1]:80%%eth0 (%% is one "
        "percent sign in a unit file), or with BindToDevice=.",
        "[Socket]\nListenStream=[fe80::1]:80",
    ),
    "SA030": Advice(
        "A path with a slash is taken as it is. A name is looked for beside the units given by path, in the current "
        "directory, in SOCKACT_UNIT_PATH, in /etc/sockact and /run/sockact, and with --system-units in systemd's folders. An "
        "empty file, or a link to /dev/null, is a unit that somebody has masked."
    ),
    "SA031": Advice("sockact runs NAME.socket and NAME.service; a template needs its instance, as in web@1.service."),
    "SA032": Advice(
        "A socket starts the service of its own name, or the one of Service=; with Accept=yes the template NAME@.service. "
        "Write it, or give it on the command line."
    ),
    "SA033": Advice(
        "Add ExecStart=. Several commands, one after another, need Type=oneshot. Two kinds of services do without: one that only "
        "cleans up (Type=oneshot, RemainAfterExit=yes and ExecStop=), and one that only ends everything (SuccessAction=).",
        "[Service]\nType=exec",
    ),
    "SA034": Advice(
        "Standard input is one descriptor. Use Accept=yes to get one connection at a time, or have the service take its "
        "sockets from LISTEN_FDS."
    ),
    "SA035": Advice("The service is started without these sockets. Write the unit, or take its name out of Sockets=."),
    "SA036": Advice(
        "Start the socket unit; the service comes with its first traffic.",
        "[Service]\nExecStart=/bin/cat\nStandardInput=socket",
    ),
    "SA037": Advice(
        "A service gets the sockets that it names, but traffic starts the service that the socket names. Add Service= to the "
        "socket unit."
    ),
    "SA038": Advice(
        "A service that looks for its sockets by name (LISTEN_FDNAMES) takes one for the other. Give them different names "
        "with FileDescriptorName=."
    ),
    "SA039": Advice(
        "The link is not made where something else is, or takes the place of what another unit has made there. Give each its "
        "own path, in Symlinks= or in the Listen...= line."
    ),
    "SA040": Advice(
        "The unit works, and the line does nothing. Remove it, or move it to the unit that it was meant for; sockact explain "
        "KEY tells which sockets it is about.",
        "[Socket]\nListenStream=80\nPipeSize=64K",
    ),
    "SA041": Advice(
        "The kernel would refuse the option, and sockact does not ask for it. sockact explain KEY tells which protocols have it.",
        "[Socket]\nListenStream=80\nSocketProtocol=mptcp\nIPTTL=5",
    ),
    "SA042": Advice(
        "Some settings are about the connections that sockact accepts, others about the sockets that a service gets. Remove "
        "it, or change Accept=.",
        "[Socket]\nListenStream=80\nMaxConnectionsPerSource=2",
    ),
    "SA043": Advice(
        "What stands in [Socket] is for the commands of the socket unit. What the service runs in stands in its own file, in "
        "[Service].",
        "[Socket]\nListenStream=80\nUser=nobody",
    ),
    "SA044": Advice("Add the other one, or remove this one.", "[Socket]\nListenStream=80\nKeepAliveTimeSec=60"),
    "SA045": Advice(
        "Another limit is always reached before, or half of this one is switched off (0). Raise the one, or remove the other.",
        "[Socket]\nListenStream=80\nTriggerLimitBurst=50\nTriggerLimitIntervalSec=0",
    ),
    "SA046": Advice(
        "A service that is started time and again hits its own limit, StartLimitBurst=, and takes its socket with it, before "
        "the socket can pause. Switch that limit off: StartLimitIntervalSec=0 in [Unit] of the service.",
        "[Socket]\nListenStream=80\n[X-Sockact]\nTriggerLimitAction=pause",
    ),
    "SA047": Advice(
        "No order has each of them after all the others. The service that is named first does not wait, where systemd would not "
        "start one of them at all. Take one After= or Before= out of the circle."
    ),
    "SA050": Advice(
        "The program is looked for on this machine; where units are checked on another one, use verify --offline. A - in "
        "front of the command makes a failure harmless.",
        "[Service]\nExecStart=/no/such/program",
    ),
    "SA051": Advice(
        "Add the account (useradd, groupadd), or see to the name. Numbers need no account.",
        "[Service]\nExecStart=-/bin/true\nUser=nobody-of-this-name",
    ),
    "SA052": Advice(
        "ip link lists the interfaces. One that comes later cannot be bound to; listen on its address with FreeBind=yes.",
        "[Socket]\nListenStream=80\nBindToDevice=nowhere0",
    ),
    "SA053": Advice(
        "Make the directory. A - in front allows it to be missing.",
        "[Service]\nExecStart=-/bin/true\nWorkingDirectory=/no/such/directory",
    ),
    "SA054": Advice(
        "The file is read at each start of the service, and there has to be there. A - in front allows it to be missing.",
        "[Service]\nExecStart=-/bin/true\nEnvironmentFile=/no/such/file",
    ),
    "SA055": Advice(
        "See to the address, or let it come later: with FreeBind=yes the socket is bound to an address that nobody has yet.",
        "[Socket]\nListenStream=192.0.2.1:80",
    ),
    "SA056": Advice(
        "Run sockact as root, or with the capability that is named; or do without: a port above 1023, an account of your own.",
        "[Socket]\nListenStream=80",
    ),
    "SA057": Advice(
        "The unit starts without the option. Run sockact with the capability that is named, or remove the line.",
        "[Socket]\nListenStream=8080\nMark=1",
    ),
    "SA058": Advice(
        "Load or build the protocol (sctp, mptcp), or switch it on (net.mptcp.enabled). With ProtocolFallback=tcp in "
        "[X-Sockact] the socket listens for TCP where it is missing.",
        "[Socket]\nListenStream=8080\nSocketProtocol=sctp",
    ),
    "SA059": Advice(
        "ip netns add NAME makes a namespace at /run/netns/NAME; a device may need its module. What ExecStartPre= makes is "
        "not asked for.",
        "[Socket]\nListenStream=8080\nNetworkNamespacePath=/run/netns/none",
    ),
    "SA060": Advice(
        "Fine for sockact. If the same file is for systemd too, do without; where sockact is to have more, a drop-in beside "
        "it (NAME.d/*.conf) in a folder that systemd does not read keeps the two apart.",
        "[Socket]\nListenStream=8000-8003",
    ),
    "SA061": Advice(
        "The service runs without the limit, and --strict refuses it. In a container, have /sys/fs/cgroup writable and of "
        "version 2; beside systemd, start sockact from a unit with Delegate=yes, where it is the only process.",
        "[Service]\nMemoryMax=1G\nExecStart=/bin/true",
    ),
}
"""By code."""
