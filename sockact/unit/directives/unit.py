"""[Unit]: what units of every type have (systemd.unit(5)). [Install] is for enabling units, which sockact does not do."""

from __future__ import annotations

from sockact.unit.directives import Section, directive, not_applied
from sockact.unit.values import SECONDS, TEXT, UNSIGNED


class UnitSection(Section, title="Unit"):
    description: str = directive(
        "Description", TEXT, "What the unit is, for people; shown by sockact show.", "", examples=("A web server",)
    )
    start_limit_interval: float = directive(
        "StartLimitIntervalSec",
        SECONDS,
        "The window in which StartLimitBurst= starts are allowed; 0 switches the limit off.",
        10.0,
        examples=("30s", "0"),
        rejects=("soon",),
        aliases=("StartLimitInterval",),
    )
    start_limit_burst: int = directive(
        "StartLimitBurst",
        UNSIGNED,
        "Starts allowed in the window; one more fails the unit and its sockets. 0 switches the limit off.",
        5,
        examples=("3", "0"),
        rejects=("-1", "few"),
    )

    silent = frozenset({"Documentation"})
    known = not_applied(
        {
            "sockact runs the units it is given, and orders nothing among them": """
After Before Requires Requisite Wants BindsTo PartOf Upholds Conflicts OnFailure OnSuccess PropagatesReloadTo ReloadPropagatedFrom
PropagatesStopTo StopPropagatedFrom JoinsNamespaceOf RequiresMountsFor WantsMountsFor OnFailureJobMode OnSuccessJobMode
IgnoreOnIsolate StopWhenUnneeded RefuseManualStart RefuseManualStop AllowIsolate DefaultDependencies SurviveFinalKillSignal
CollectMode FailureAction SuccessAction FailureActionExitStatus SuccessActionExitStatus JobTimeoutSec JobRunningTimeoutSec
JobTimeoutAction JobTimeoutRebootArgument StartLimitAction RebootArgument SourcePath PropagateReloadTo PropagateReloadFrom
RequiresOverridable RequisiteOverridable BindTo IgnoreOnSnapshot OnFailureIsolate DebugInvocation""",
            "conditions are not tested; the unit starts as if they held": """
ConditionPathExists ConditionPathExistsGlob ConditionPathIsDirectory ConditionPathIsSymbolicLink ConditionPathIsMountPoint
ConditionPathIsReadWrite ConditionPathIsEncrypted ConditionPathIsSocket ConditionDirectoryNotEmpty ConditionFileNotEmpty
ConditionFileIsExecutable ConditionNeedsUpdate ConditionFirstBoot ConditionArchitecture ConditionFirmware ConditionVirtualization
ConditionHost ConditionKernelCommandLine ConditionKernelVersion ConditionVersion ConditionKernelModuleLoaded ConditionCredential
ConditionEnvironment ConditionSecurity ConditionCapability ConditionACPower ConditionMemory ConditionCPUFeature ConditionCPUs
ConditionUser ConditionGroup ConditionControlGroupController ConditionMemoryPressure ConditionCPUPressure ConditionIOPressure
ConditionOSRelease AssertPathExists AssertPathExistsGlob AssertPathIsDirectory AssertPathIsSymbolicLink AssertPathIsMountPoint
AssertPathIsReadWrite AssertPathIsEncrypted AssertPathIsSocket AssertDirectoryNotEmpty AssertFileNotEmpty AssertFileIsExecutable
AssertNeedsUpdate AssertFirstBoot AssertArchitecture AssertFirmware AssertVirtualization AssertHost AssertKernelCommandLine
AssertKernelVersion AssertVersion AssertKernelModuleLoaded AssertCredential AssertEnvironment AssertSecurity AssertCapability
AssertACPower AssertMemory AssertCPUFeature AssertCPUs AssertUser AssertGroup AssertControlGroupController AssertMemoryPressure
AssertCPUPressure AssertIOPressure AssertOSRelease""",
        }
    )


class InstallSection(Section, title="Install"):
    """Read by `systemctl enable` alone; every key of it is silently in order."""

    silent = frozenset(["Alias", "WantedBy", "RequiredBy", "UpheldBy", "Also", "DefaultInstance"])
