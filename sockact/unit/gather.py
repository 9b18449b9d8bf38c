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
    from collections.abc import Callable, Iterable, Iterator, Mapping

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
    """What the loader must know of the host: its specifiers, whether it has IPv6, where relative paths start, and the
    variables of the supervisor."""

    facts: Facts
    ipv6: bool = True
    directory: str = ""
    variables: Mapping[str, str] = {}

    def context(self, name: str, file: str) -> Context:
        path = file if file.startswith("/") else f"{self.directory}/{file}"
        credentials = {"d": lambda: f"{self.facts['t']()}/credentials/{name}"}
        return Context({**self.facts, **credentials, **unit_facts(name, path)}, self.ipv6, self.variables)


class UnitSet(Record):
    """Units that belong together: sockets in the order given, services by name, templates by the socket that uses them."""

    requested: tuple[str, ...]
    sockets: dict[str, SocketUnit]
    services: dict[str, ServiceUnit]
    templates: dict[str, Template]
    diagnostics: tuple[Diagnostic, ...]
    complete: bool = True
    """False when the companions of the requested units were not asked for."""
    aliases: Mapping[str, str] = {}
    """The units' own names by the other names they were asked for."""
    feeds: Mapping[str, tuple[SocketUnit, ...]] = {}
    """The sockets whose descriptors a service gets, in the order of their units, by the service's name."""
    fed: Mapping[str, tuple[str, ...]] = {}
    """The services that get the descriptors of a socket, by the socket's name."""

    def own_name(self, name: str) -> str:
        """The name of the unit that is asked for by this one."""
        return self.aliases.get(name, name)

    def service_of(self, socket: SocketUnit) -> ServiceUnit | None:
        return self.services.get(self.own_name(service_name(socket)))

    def sockets_of(self, service: ServiceUnit) -> tuple[SocketUnit, ...]:
        return self.feeds.get(service.name, ())

    def fed_by(self, socket: str) -> tuple[str, ...]:
        """The services that get the descriptors of a socket."""
        return self.fed.get(socket, ())


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
        gathering.complete(name)
    g = gathering
    fed = g.fed()
    feeds: dict[str, tuple[SocketUnit, ...]] = {}
    for socket, services in fed.items():
        for service in services:
            feeds[service] = (*feeds.get(service, ()), g.sockets[socket])
    return UnitSet(requested, g.sockets, g.services, g.templates, tuple(g.diagnostics), companions, g.aliases, feeds, fed)


class _Missing(Record):
    """What to say if a companion cannot be found."""

    code: str
    message: str
    origin: Assignment | None
    hint: str
    file: str

    def because(self, found: Diagnostic) -> Diagnostic:
        span = self.origin.span() if self.origin else None
        where = f"{found.file}: " if "/" in found.file else ""
        return Diagnostic(self.code, f"{self.message}: {where}{found.message}", span, self.hint or found.hint, self.file)


def _is_endless(chain: list[str]) -> bool:
    """Whether the last unit is an instance of a template of which another instance is in the chain already."""
    prefix, instance, kind = split_name(chain[-1])
    return bool(instance) and any(name.startswith(f"{prefix}@") and name.endswith(f".{kind}") for name in chain[:-1])


class _Gathering:
    def __init__(self, find: Find, host: Host) -> None:
        self.find = find
        self.host = host
        self.files: dict[str, str] = {}
        self.aliases: dict[str, str] = {}
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
        if self.files.get(source.name, source.file) != source.file:
            message = f"a unit named {source.name} was given already: {self.files[source.name]}"
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

    def complete(self, name: str) -> None:
        """Bring what the unit needs, and what that needs, depth first; `chain` is who needed whom until here, and may be longer
        than Python's stack is deep.

        Every unit is loaded once, so this ends, except where an instance needs another instance of its own template.
        """
        chain, waiting = [name], [self._needs(name)]
        while waiting:
            need = next(waiting[-1], None)
            brought = self._bring(*need) if need else None
            if need is None:
                waiting.pop()
                chain.pop()
            elif brought:
                chain.append(brought)
                endless = _is_endless(chain)
                if endless:
                    message = f"instances of one template need each other without end: {' needs '.join(chain)}"
                    self.diagnostics.append(Diagnostic("SA031", message, file=self.files[brought]))
                waiting.append(iter(()) if endless else self._needs(brought))

    def _needs(self, name: str) -> Iterator[tuple[str, _Missing]]:
        """The units that a unit asks for, and what to say of those that cannot be found."""
        socket, service = self.sockets.get(name), self.services.get(name)
        if socket and socket.socket.accept:
            self._template(socket)
        elif socket:
            hint = f"write {service_name(socket)}, or name the service with Service="
            origin = socket.socket.origin("service")
            yield service_name(socket), _Missing("SA032", f"no service for {name}", origin, hint, socket.file)
        elif service:
            for index, wanted in enumerate(service.service.sockets):
                origin = service.service.origin("sockets", index)
                yield wanted, _Missing("SA035", f"no socket for Sockets={wanted}", origin, "", service.file)

    def _bring(self, name: str, missing: _Missing) -> str | None:
        """Load a unit that is needed; its own name if it is a new one."""
        if self.aliases.get(name, name) in self.files:
            return None
        source = self.find(name)
        if isinstance(source, Diagnostic):
            self.diagnostics.append(missing.because(source))
            return None
        self.aliases[name] = source.name
        return self._load(source) if source.name not in self.files else None

    def fed(self) -> dict[str, tuple[str, ...]]:
        """Who gets the descriptors of each socket: the service that it names, and those that ask for it."""
        asked: dict[str, list[str]] = {}
        for service in self.services.values():
            for wanted in service.service.sockets:
                asked.setdefault(self.aliases.get(wanted, wanted), []).append(service.name)
        found: dict[str, tuple[str, ...]] = {}
        for socket in self.sockets.values():
            if not socket.socket.accept:
                named = service_name(socket)
                candidates = dict.fromkeys((self.aliases.get(named, named), *asked.get(socket.name, ())))
                found[socket.name] = tuple(name for name in candidates if name in self.services)
        return found

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
        name = source.name
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
