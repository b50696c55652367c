"""A hypervisor driver in Python that passes the conformance suite.

It has no hypervisor yet: it keeps each domain as a small JSON file of a datastore.
The functions marked REPLACE are the places for calls to your hypervisor.

Each call of the host runs in a fresh copy of this module, as it was when the component was built.
So module variables are constants: what must outlive a call belongs into the domain.
"""

import json
from dataclasses import asdict, dataclass
from typing import Callable, Optional

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.hypervisor import Listed
from wit_world.imports import config, files
from wit_world.imports.call_context import Call
from wit_world.imports.types import (
    Description,
    DomainSeen,
    DomainSpec,
    EffectId,
    Error,
    ErrorKind,
    HostFacts,
    Identity,
    Observation,
    Observation_Absent,
    Observation_Present,
    Outcome,
)

NAME = "python-example"
VERSION = "0.1.0"


@dataclass
class Domain:
    """A domain, as its file holds it."""

    vm: str
    name: str
    # The stamp: the store and the generation that the domain belongs to.
    store: str
    generation: int
    power: str
    reason: str
    # The identity of the last edge effect, in the order of the fields of `EffectId`.
    edge: Optional[tuple[str, int, int, str]] = None

    def seen(self) -> DomainSeen:
        """The domain in the words of the contract."""
        return DomainSeen(
            uuid=self.vm,
            name=self.name,
            identity=Identity(self.store, self.vm, self.generation),
            power=self.power,
            reason=self.reason,
            last_edge=EffectId(*self.edge) if self.edge else None,
            extra=[],
        )


def failed(kind: ErrorKind, code: str, detail: str) -> Err[Error]:
    """The error of a call. Raise it: an `Err` that is raised is the answer of the call."""
    return Err(Error(kind, code, detail))


def present(domain: Domain) -> Outcome:
    """The call succeeded, and a look afterwards has shown this domain."""
    return Outcome(Observation_Present(domain.seen()), None, [])


def absent() -> Outcome:
    """The call succeeded, and a look afterwards has shown no domain."""
    return Outcome(Observation_Absent(), None, [])


def setting(key: str) -> str:
    """A setting that the driver cannot do without."""
    value = config.get(key)
    if value is None:
        raise failed(ErrorKind.REFUSED, "config-missing", f"the setting {key} is not set")
    return value


def place(name: str = "") -> files.Path:
    """A file in the folder of this host, or the folder. Each host needs a folder of its own."""
    folder = setting("folder")
    return files.Path(setting("datastore"), f"{folder}/{name}" if name else folder)


def load(vm: str) -> Optional[Domain]:
    """REPLACE: ask the hypervisor for one domain.

    Answer None only if the hypervisor says that there is none. If it cannot be asked, raise an
    error: the host removes disks because a domain is absent.
    """
    data = files.read(place(vm))
    if data is None:
        return None
    try:
        return Domain(vm=vm, **json.loads(data))
    except (ValueError, TypeError) as problem:
        detail = f"the file of {vm} cannot be read: {problem}"
        raise failed(ErrorKind.RETRY, "unreadable", detail) from problem


def save(domain: Domain) -> Outcome:
    """REPLACE: change the domain at the hypervisor."""
    kept = asdict(domain)
    del kept["vm"]  # The file has its name.
    files.write(place(domain.vm), json.dumps(kept).encode())
    return present(domain)


def names() -> list[str]:
    """REPLACE: list all domains of the host."""
    try:
        return files.list(place())
    except Err as err:
        # There is no folder before the first domain. All other errors are answers of the call.
        if err.value.kind == ErrorKind.GONE:
            return []
        raise


def find(call: Call) -> Optional[Domain]:
    """Finds the domain of a call, and checks whether the call may touch it.

    Every call that changes something begins with this.
    """
    domain = load(call.id().vm)
    if domain is None:
        return None
    # First the store: generations of two stores cannot be compared.
    if domain.store != call.store():
        detail = f"the domain belongs to the store {domain.store}"
        raise failed(ErrorKind.REFUSED, "foreign", detail)
    if domain.generation > call.generation():
        detail = f"the domain has generation {domain.generation}, the call {call.generation()}"
        raise failed(ErrorKind.STALE, "stale", detail)
    return domain


def edge(call: Call, send: Callable[[Domain], None]) -> Outcome:
    """Sends an effect that must not happen twice.

    Its identity is written into the domain first. If it is there already, nothing is sent.
    """
    domain = find(call)
    if domain is None:
        raise failed(ErrorKind.GONE, "no-domain", "there is no such domain")
    effect = call.id()
    stamp = (effect.vm, effect.operation, effect.step, effect.item)
    if domain.edge is not None and tuple(domain.edge) == stamp:
        return present(domain)
    if domain.power != "running":
        raise failed(ErrorKind.GONE, "not-running", f"the domain is {domain.power}")
    domain.edge = stamp
    save(domain)
    send(domain)
    return save(domain)


class Hypervisor(exports.Hypervisor):
    """The mandatory interface. The name of the class is that of the interface."""

    def describe(self) -> Description:
        return Description(NAME, VERSION, "Domains as small files, in Python")

    def probe(self) -> HostFacts:
        return HostFacts(
            cpu_milli=4000,
            memory_mib=4096,
            hypervisor=f"{NAME} {VERSION}",
            unable=[],
            notes=[],
            extra=[],
        )

    def deploy(self, call: Call, domain: DomainSpec) -> Outcome:
        found = find(call)
        identity = domain.identity
        return save(
            Domain(
                vm=identity.vm,
                name=domain.name,
                store=identity.store,
                generation=identity.generation,
                power="running",
                reason="none",
                edge=found.edge if found else None,
            )
        )

    def press_power(self, call: Call) -> Outcome:
        def press(domain: Domain) -> None:
            # A real guest takes its time. The domains of this driver have no guest.
            domain.power, domain.reason = "off", "guest"

        return edge(call, press)

    def destroy(self, call: Call) -> Outcome:
        domain = find(call)
        if domain is None:
            return absent()
        if domain.power == "off":
            return present(domain)
        domain.power, domain.reason = "off", "destroyed"
        return save(domain)

    def remove(self, call: Call) -> Outcome:
        find(call)
        files.remove(place(call.id().vm))
        return absent()

    def observe(self, vm: str) -> Observation:
        domain = load(vm)
        return Observation_Present(domain.seen()) if domain else Observation_Absent()

    def list(self) -> Listed:
        listed = Listed(domains=[], unreadable=[])
        # A file is named like its VM. Files with other names are still being written.
        for vm in (name for name in names() if len(name) == 36):
            try:
                domain = load(vm)
            except Err:
                listed.unreadable.append(vm)
                continue
            if domain is not None:
                listed.domains.append(domain.seen())
        return listed


class Reboot(exports.Reboot):
    """An ability. A driver that does not have it leaves out the class, and `with-reboot` in wit/."""

    def reboot(self, call: Call) -> Outcome:
        return edge(call, lambda _: None)

    def reset(self, call: Call) -> Outcome:
        return edge(call, lambda _: None)
