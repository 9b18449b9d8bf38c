"""Directives that every unit with processes may have in systemd and that sockact does not apply (systemd.exec(5),
systemd.resource-control(5), systemd.kill(5)). Named here so that a user is told "not applied", never "unknown"."""

from __future__ import annotations

from sockact.unit.directives import not_applied

SANDBOX = "sockact builds no sandbox; nothing is confined by it"
CGROUP = "sockact does not set this part of control groups"
ACCOUNTS = "sockact shows no accounts of control groups"
BOOT = "sockact boots nothing, hence knows no time of that; the key without Startup is applied"
LATER = "sockact does not set this part of the execution environment"
LABELS = "sockact sets no security labels; the security module decides without it"
PAM = "sockact opens no PAM session; what its modules would set stays unset"
KEYRING = "sockact makes no keyring; the command has that of the supervisor"
ENCRYPTED = "sockact decrypts nothing; the credential is missing"
LOGGING = "sockact hands streams over as they are, and logs nothing itself that a command prints"
OBSOLETE = "obsolete in systemd too"

EXECUTION = not_applied(
    {
        SANDBOX: """
RootImage RootImageOptions RootImagePolicy RootHash RootHashSignature RootVerity RootEphemeral RootMStack ExtensionDirectories
ExtensionImages ExtensionImagePolicy MountImages MountImagePolicy ProtectProc ProcSubset PrivateBPF BPFDelegateCommands
BPFDelegateMaps BPFDelegatePrograms BPFDelegateAttachments SystemCallFilter SystemCallArchitectures SystemCallErrorNumber
SystemCallLog MemoryDenyWriteExecute RestrictNamespaces RestrictRealtime RestrictSUIDSGID RestrictAddressFamilies
LockPersonality DelegateNamespaces RestrictFileSystems ReadWriteDirectories ReadOnlyDirectories InaccessibleDirectories
ReadWritePaths ReadOnlyPaths InaccessiblePaths ExecPaths NoExecPaths BindPaths BindReadOnlyPaths TemporaryFileSystem
PrivateTmp PrivateDevices ProtectKernelTunables ProtectKernelModules ProtectKernelLogs ProtectClock ProtectControlGroups
UserNamespacePath NetworkNamespacePath IPCNamespacePath PrivateNetwork PrivateUsers PrivateMounts PrivateIPC PrivatePIDs
ProtectSystem ProtectHome MountFlags MountAPIVFS BindLogSockets ProtectHostname""",
        CGROUP: """
CPUSetPartition MemoryZSwapWriteback DeviceAllow DevicePolicy IODeviceWeight IOReadBandwidthMax IOWriteBandwidthMax IOReadIOPSMax
IOWriteIOPSMax IODeviceLatencyTargetSec Delegate DelegateSubgroup DisableControllers IPAddressAllow IPAddressDeny
IPIngressFilterPath IPEgressFilterPath ManagedOOMSwap ManagedOOMMemoryPressure ManagedOOMMemoryPressureLimit
ManagedOOMMemoryPressureDurationSec ManagedOOMPreference OOMRules BPFProgram SocketBindAllow SocketBindDeny
RestrictNetworkInterfaces MemoryPressureThresholdSec MemoryPressureWatch CPUPressureThresholdSec CPUPressureWatch
IOPressureThresholdSec IOPressureWatch NFTSet CoredumpReceive BindNetworkInterface""",
        ACCOUNTS: "MemoryAccounting IOAccounting TasksAccounting IPAccounting",
        BOOT: """
StartupAllowedCPUs StartupAllowedMemoryNodes StartupCPUWeight StartupMemoryLow StartupMemoryHigh StartupMemoryMax
StartupMemorySwapMax StartupMemoryZSwapMax StartupIOWeight""",
        "the control groups of all units are in one": "Slice",
        LATER: """
StateDirectoryAccounting StateDirectoryQuota CacheDirectoryAccounting CacheDirectoryQuota LogsDirectoryAccounting
LogsDirectoryQuota NUMAPolicy NUMAMask MemoryKSM MemoryTHP TimeoutCleanSec UtmpIdentifier UtmpMode""",
        LOGGING: """
TTYVTDisallocate SyslogFacility SyslogLevel SyslogLevelPrefix LogLevelMax LogRateLimitIntervalSec LogRateLimitBurst
LogExtraFields LogFilterPatterns LogNamespace""",
        LABELS: "SELinuxContext AppArmorProfile SmackProcessLabel",
        PAM: "PAMName",
        KEYRING: "KeyringMode",
        ENCRYPTED: "LoadCredentialEncrypted SetCredentialEncrypted",
        "sockact shows the machine as it is": "Personality",
        "System V queues and shared memory of the user stay": "RemoveIPC",
        OBSOLETE: """
Capabilities CPUAccounting CPUShares StartupCPUShares DefaultMemoryMin DefaultMemoryLow DefaultStartupMemoryLow MemoryLimit
BlockIOAccounting BlockIOWeight StartupBlockIOWeight BlockIODeviceWeight BlockIOReadBandwidth BlockIOWriteBandwidth NetClass""",
    }
)

IN_SOCKET = {
    key: reason for key, reason in EXECUTION.items() if key not in ("PrivateNetwork", "NetworkNamespacePath")
} | not_applied(
    {
        "the commands of a socket unit are ended with KillSignal=, then SIGKILL": """
SendSIGKILL SendSIGHUP RestartKillSignal FinalKillSignal WatchdogSignal""",
    }
)
"""The same keys inside `[Socket]`, where they concern its four commands; the network is also where sockets are made."""
