"""From the units somebody named to all the units that belong together.

A socket brings its service, or the template it makes instances of; a service brings the sockets it asks for. Each unit is
loaded once. Where the text comes from is the edge's affair: it hands in `find`.
"""

from __future__ import annotations

from sockact.record import TYPE_CHECKING, Record
from sockact.unit import syntax
from sockact.unit.diagnostics import Diagnostic, errors
from sockact.unit.load import BODIES, ServiceUnit, SocketUnit, load
from sockact.unit.specifiers import Context, split_name, unit_facts
from sockact.unit.syntax import Document
from sockact.unit.values import is_unit_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sockact.unit.specifiers import Facts
    from sockact.unit.syntax import Assignment

    Find = Callable[[str], "Source | Diagnostic"]

CHECKED_INSTANCE = "internal"
"""The instance under which a template is loaded to be checked, as systemd-analyze(1) does."""


def sample_name(name: str) -> str:
    """The name under which a template is looked at; any other name or path is itself."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.replace("@.", f"@{CHECKED_INSTANCE}.")


class Source(Record):
    """A unit file that was found and read. For an instance the name is the instance's, the file may be the template's."""

    name: str
    file: str
    data: bytes
    drop_ins: tuple[tuple[str, bytes], ...] = ()
    """Files that add to the unit, in the order in which they do, with their contents."""

    def parse(self) -> Document:
        """What the unit file and then its drop-ins say, as if they were one file (systemd.unit(5))."""
        documents = [syntax.parse(data, file) for file, data in ((self.file, self.data), *self.drop_ins)]
        sections = {name: span for document in reversed(documents) for name, span in document.sections.items()}
        assignments = tuple(assignment for document in documents for assignment in document.assignments)
        return Document(sections, assignments, tuple(found for document in documents for found in document.diagnostics))


class Template(Record):
    """A service template: read once, made into a unit for every connection."""

    name: str
    file: str
    document: Document
    host: Host
    sample: ServiceUnit
    has_specifiers: bool
    """Whether an instance may differ from the sample in more than its name."""

    def instance(self, name: str) -> tuple[ServiceUnit, list[Diagnostic]]:
        """The unit for one instance, and its errors: what the sample was free of, a name may bring in through a specifier.
        Only then the file has to be loaded anew."""
        if not self.has_specifiers:
            return self.sample.replace(name=name), []
        unit, found = load(self.document, name, self.file, self.host.context(name, self.file))
        assert isinstance(unit, ServiceUnit)
        return unit, errors(found)


class Host(Record):
    """What the loader must know of the host: its specifiers, whether it has IPv6, and where relative paths start."""

    facts: Facts
    ipv6: bool = True
    directory: str = ""

    def context(self, name: str, file: str) -> Context:
        path = file if file.startswith("/") else f"{self.directory}/{file}"
        return Context({**self.facts, **unit_facts(name, path)}, self.ipv6)


class UnitSet(Record):
    """Units that belong together: sockets in the order given, services by name, templates by the socket that uses them."""

    requested: tuple[str, ...]
    sockets: dict[str, SocketUnit]
    services: dict[str, ServiceUnit]
    templates: dict[str, Template]
    diagnostics: tuple[Diagnostic, ...]
    complete: bool = True
    """False when the companions of the requested units were not asked for."""

    def service_of(self, socket: SocketUnit) -> ServiceUnit | None:
        return self.services.get(service_name(socket))

    def sockets_of(self, service: ServiceUnit) -> tuple[SocketUnit, ...]:
        """The sockets whose descriptors a service gets, in the order of their units."""
        fed = [s for s in self.sockets.values() if s.name in service.service.sockets or service_name(s) == service.name]
        return tuple(socket for socket in fed if not socket.socket.accept)


def service_name(socket: SocketUnit) -> str:
    """The service that a socket with Accept=no starts."""
    return socket.socket.service or socket.name.removesuffix(".socket") + ".service"


def template_name(socket: SocketUnit) -> str:
    """The template that a socket with Accept=yes makes instances of."""
    return split_name(socket.name)[0] + "@.service"


def gather(requests: Iterable[str], find: Find, host: Host, companions: bool = True) -> UnitSet:
    """Load the requested units (names or paths) and, as companions, all they need."""
    gathering = _Gathering(find, host)
    requested = tuple(filter(None, [gathering.request(request) for request in requests]))
    for name in requested if companions else ():
        gathering.complete(name, ())
    g = gathering
    return UnitSet(requested, g.sockets, g.services, g.templates, tuple(g.diagnostics), companions)


class _Missing(Record):
    """What to say if a companion cannot be found."""

    code: str
    message: str
    origin: Assignment | None
    hint: str
    file: str

    def because(self, found: Diagnostic) -> Diagnostic:
        span = self.origin.span() if self.origin else None
        return Diagnostic(self.code, f"{self.message}: {found.message}", span, self.hint or found.hint, self.file)


def _is_endless(chain: tuple[str, ...]) -> bool:
    """Whether the last unit is an instance of a template of which another instance is in the chain already."""
    templates = [(prefix, kind) for prefix, instance, kind in map(split_name, chain) if instance]
    return len(templates) != len(set(templates))


class _Gathering:
    def __init__(self, find: Find, host: Host) -> None:
        self.find = find
        self.host = host
        self.files: dict[str, str] = {}
        self.sockets: dict[str, SocketUnit] = {}
        self.services: dict[str, ServiceUnit] = {}
        self.templates: dict[str, Template] = {}
        self.diagnostics: list[Diagnostic] = []

    def request(self, request: str) -> str | None:
        """Load a unit from the command line; its name, or None when it is not one that can be started."""
        name = request.rpartition("/")[2]
        problem = _not_a_unit(name)
        source = problem or self.find(request)
        if isinstance(source, Diagnostic):
            self.diagnostics.append(source if source.file or source.span else source.replace(file=request))
            return None
        if self.files.get(name, source.file) != source.file:
            message = f"a unit named {name} was given already: {self.files[name]}"
            self.diagnostics.append(Diagnostic("SA031", message, file=source.file))
        return self._load(source)

    def _load(self, source: Source) -> str:
        if source.name not in self.files:
            self.files[source.name] = source.file
            document = source.parse()
            unit, found = load(document, source.name, source.file, self.host.context(source.name, source.file))
            self.diagnostics += found
            if errors(document.diagnostics):
                pass  # text that could not be read to its end says nothing about the unit
            elif isinstance(unit, SocketUnit):
                self.sockets[source.name] = unit
            else:
                self.services[source.name] = unit
        return source.name

    def complete(self, name: str, chain: tuple[str, ...]) -> None:
        """Bring what the unit needs, and what that needs; `chain` is who needed whom until here.

        Every unit is loaded once, so this ends, except where an instance needs another instance of its own template.
        """
        socket, service = self.sockets.get(name), self.services.get(name)
        chain = (*chain, name)
        if _is_endless(chain):
            message = f"instances of one template need each other without end: {' needs '.join(chain)}"
            self.diagnostics.append(Diagnostic("SA031", message, file=self.files[name]))
        elif socket and socket.socket.accept:
            self._template(socket)
        elif socket:
            hint = f"write {service_name(socket)}, or name the service with Service="
            missing = _Missing("SA032", f"no service for {name}", socket.socket.origin("service"), hint, socket.file)
            self._need(service_name(socket), missing, chain)
        elif service:
            for index, wanted in enumerate(service.service.sockets):
                origin = service.service.origin("sockets", index)
                self._need(wanted, _Missing("SA035", f"no socket for Sockets={wanted}", origin, "", service.file), chain)

    def _need(self, name: str, missing: _Missing, chain: tuple[str, ...]) -> None:
        if name in self.files:
            return
        source = self.find(name)
        if isinstance(source, Source):
            self._load(source)
            self.complete(name, chain)
        else:
            self.diagnostics.append(missing.because(source))

    def _template(self, socket: SocketUnit) -> None:
        name = template_name(socket)
        source = self.find(name)
        if isinstance(source, Diagnostic):
            hint = f"write {name}; it is started once for each connection"
            missing = _Missing(
                "SA032", f"Accept=yes needs the template {name}", socket.socket.origin("accept"), hint, socket.file
            )
            self.diagnostics.append(missing.because(source))
            return
        sample = sample_name(name)
        document = source.parse()
        unit, found = load(document, sample, source.file, self.host.context(sample, source.file))
        assert isinstance(unit, ServiceUnit)
        if name not in self.files:
            self.files[name] = source.file
            self.diagnostics += found
        if not errors(document.diagnostics):
            has_specifiers = any("%" in assignment.value for assignment in document.assignments)
            self.templates[socket.name] = Template(name, source.file, document, self.host, unit, has_specifiers)


def _not_a_unit(name: str) -> Diagnostic | None:
    """Why a name cannot be started, if it cannot."""
    if is_unit_name(name, *BODIES):
        return None
    stem, dot, kind = name.rpartition(".")
    if not dot or kind not in BODIES:
        known = " and ".join(f".{kind}" for kind in BODIES)
        return Diagnostic("SA031", f"unknown unit type: the names of units that sockact runs end in {known}")
    if stem.endswith("@"):
        return Diagnostic("SA031", "a template cannot be started itself", hint=f"give it an instance: {stem}NAME.{kind}")
    return Diagnostic("SA031", f"'{name}' is no valid unit name", hint="letters, digits and : - _ . \\ @")
