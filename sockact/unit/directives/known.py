"""Directives that every unit with processes may have in systemd and that sockact does not apply (systemd.exec(5),
systemd.resource-control(5), systemd.kill(5)). Named here so that a user is told "not applied", never "unknown"."""

from __future__ import annotations

from sockact.unit.directives import not_applied

SANDBOX = "sockact builds no sandbox; nothing is confined by it"
CGROUP = "sockact manages no control groups"
LATER = "sockact does not set this part of the execution environment"
LOGGING = "standard streams go where StandardOutput= says, without a journal"
OBSOLETE = "obsolete in systemd too"

EXECUTION = not_applied(
    {
        SANDBOX: """
RootDirectory RootImage RootImageOptions RootImagePolicy RootHash RootHashSignature RootVerity RootEphemeral RootMStack
ExtensionDirectories ExtensionImages ExtensionImagePolicy MountImages MountImagePolicy RemoveIPC SecureBits
CapabilityBoundingSet AmbientCapabilities NoNewPrivileges ProtectProc ProcSubset PrivateBPF BPFDelegateCommands BPFDelegateMaps
BPFDelegatePrograms BPFDelegateAttachments SystemCallFilter SystemCallArchitectures SystemCallErrorNumber SystemCallLog
MemoryDenyWriteExecute RestrictNamespaces RestrictRealtime RestrictSUIDSGID RestrictAddressFamilies LockPersonality
DelegateNamespaces RestrictFileSystems ReadWriteDirectories ReadOnlyDirectories InaccessibleDirectories ReadWritePaths
ReadOnlyPaths InaccessiblePaths ExecPaths NoExecPaths BindPaths BindReadOnlyPaths TemporaryFileSystem PrivateTmp PrivateDevices
ProtectKernelTunables ProtectKernelModules ProtectKernelLogs ProtectClock ProtectControlGroups UserNamespacePath
NetworkNamespacePath IPCNamespacePath PrivateNetwork PrivateUsers PrivateMounts PrivateIPC PrivatePIDs ProtectSystem ProtectHome
MountFlags MountAPIVFS BindLogSockets Personality SELinuxContext AppArmorProfile SmackProcessLabel ProtectHostname DynamicUser
KeyringMode PAMName""",
        CGROUP: """
Slice AllowedCPUs StartupAllowedCPUs AllowedMemoryNodes StartupAllowedMemoryNodes CPUSetPartition CPUWeight StartupCPUWeight
CPUQuota CPUQuotaPeriodSec MemoryAccounting MemoryMin MemoryLow StartupMemoryLow MemoryHigh StartupMemoryHigh MemoryMax
StartupMemoryMax MemorySwapMax StartupMemorySwapMax MemoryZSwapMax StartupMemoryZSwapMax MemoryZSwapWriteback DeviceAllow
DevicePolicy IOAccounting IOWeight StartupIOWeight IODeviceWeight IOReadBandwidthMax IOWriteBandwidthMax IOReadIOPSMax
IOWriteIOPSMax IODeviceLatencyTargetSec TasksAccounting TasksMax Delegate DelegateSubgroup DisableControllers IPAccounting
IPAddressAllow IPAddressDeny IPIngressFilterPath IPEgressFilterPath ManagedOOMSwap ManagedOOMMemoryPressure
ManagedOOMMemoryPressureLimit ManagedOOMMemoryPressureDurationSec ManagedOOMPreference OOMRules BPFProgram SocketBindAllow
SocketBindDeny RestrictNetworkInterfaces MemoryPressureThresholdSec MemoryPressureWatch CPUPressureThresholdSec CPUPressureWatch
IOPressureThresholdSec IOPressureWatch NFTSet CoredumpReceive BindNetworkInterface""",
        LATER: """
SetLoginEnvironment UMask PassEnvironment UnsetEnvironment ExecSearchPath RuntimeDirectoryPreserve RuntimeDirectoryMode
RuntimeDirectory StateDirectoryMode StateDirectoryAccounting StateDirectoryQuota StateDirectory CacheDirectoryMode
CacheDirectoryAccounting CacheDirectoryQuota CacheDirectory LogsDirectoryMode LogsDirectoryAccounting LogsDirectoryQuota
LogsDirectory ConfigurationDirectoryMode ConfigurationDirectory SupplementaryGroups SetCredential SetCredentialEncrypted
LoadCredential LoadCredentialEncrypted ImportCredential Nice IOSchedulingClass IOSchedulingPriority CPUSchedulingPolicy
CPUSchedulingPriority CPUSchedulingResetOnFork CPUAffinity NUMAPolicy NUMAMask TimerSlackNSec MemoryKSM MemoryTHP OOMScoreAdjust
CoredumpFilter LimitCPU LimitFSIZE LimitDATA LimitSTACK LimitCORE LimitRSS LimitNOFILE LimitAS LimitNPROC LimitMEMLOCK LimitLOCKS
LimitSIGPENDING LimitMSGQUEUE LimitNICE LimitRTPRIO LimitRTTIME TimeoutCleanSec IgnoreSIGPIPE UtmpIdentifier UtmpMode""",
        LOGGING: """
StandardInputText StandardInputData TTYPath TTYReset TTYVHangup TTYVTDisallocate TTYRows TTYColumns SyslogIdentifier
SyslogFacility SyslogLevel SyslogLevelPrefix LogLevelMax LogRateLimitIntervalSec LogRateLimitBurst LogExtraFields
LogFilterPatterns LogNamespace""",
        OBSOLETE: """
Capabilities CPUAccounting CPUShares StartupCPUShares DefaultMemoryMin DefaultMemoryLow DefaultStartupMemoryLow MemoryLimit
BlockIOAccounting BlockIOWeight StartupBlockIOWeight BlockIODeviceWeight BlockIOReadBandwidth BlockIOWriteBandwidth NetClass""",
        "sockact ends services with KillSignal=, then SIGKILL": """
SendSIGKILL SendSIGHUP RestartKillSignal FinalKillSignal WatchdogSignal""",
    }
)

IN_SOCKET = EXECUTION | not_applied(
    {
        "a socket unit runs no commands of its own": """
WorkingDirectory Environment EnvironmentFile User Group StandardInput StandardOutput StandardError KillMode KillSignal""",
    }
)
"""The same keys inside `[Socket]`, where they concern the four Exec* commands of the socket unit."""
