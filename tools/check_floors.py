"""Holds the plan of the house: imports run downwards, and never in a circle.

python3 tools/check_floors.py [SOURCE]

SOURCE is the package's directory, src/ixy unless told. A room is what lies directly in it: a
package or a module. Every import counts, those inside functions too.
"""

import ast
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FLOORS = {
    "cli": 5,
    "address": 4,
    "bench": 4,
    "drivers": 3,
    "emulator": 3,
    "apps": 3,
    "bus": 2,
    "device": 2,
    "batch": 2,
    "traffic": 2,
    "datasheets": 1,
    "memory": 1,
    "pcap": 1,
    "errors": 0,
    "native": 0,
    "parts": 0,
    "compiled": 0,
    "system": 0,
}
PORCH = 6  # ixy/__init__.py and ixy/__main__.py: they see every room, no room sees them

# (room, room): the first may import the second although both are on one floor.
SIDEWAYS = {
    ("device", "bus"),  # a device is reached over a bus
    ("bench", "address"),  # a benchmark opens devices as users do
    ("device", "batch"),  # and hands out packets
    ("compiled", "parts"),  # how Numba is told to inline
    ("compiled", "native"),  # what Python has no words for
    ("system", "native"),
    ("pcap", "memory"),  # records of a file are records in memory
    ("system", "compiled"),  # system calls for compiled code
    ("system", "errors"),
}
SHARED = "intel"  # in drivers/: what drivers of one family have in common, no driver itself


class Import(NamedTuple):
    """One module names another."""

    line: int
    target: str
    runs: bool  # false under `if TYPE_CHECKING:`


class Module(NamedTuple):
    """A source file and what it imports from the package."""

    name: str
    path: Path
    imports: list[Import]

    @property
    def is_porch(self) -> bool:
        """Whether it is the package's own front door."""
        return room_of(self.name) in ("__init__", "__main__")


def room_of(module: str) -> str:
    """The room of a module: `ixy.bus.vfio` is in `bus`, `ixy` itself in `__init__`."""
    return [*module.split("."), "__init__"][1]


def module_name(source: Path, path: Path) -> str:
    """The dotted name of a source file."""
    parts = [source.name, *path.relative_to(source).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def is_type_checking(node: ast.AST) -> bool:
    """Whether this is `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and "TYPE_CHECKING" in (
        getattr(node.test, "id", ""),
        getattr(node.test, "attr", ""),
    )


def imported_names(node: ast.AST, package: str) -> list[str]:
    """The dotted names that a statement or an `import_module("...")` imports."""
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=module, names=names, level=level):
            above = package.split(".")
            above = above[: len(above) - level + 1] if level else []
            base = ".".join([*above, *([module] if module else [])])
            return [f"{base}.{alias.name}" for alias in names]
        case ast.Call(
            func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__"),
            args=[ast.Constant(value=str(name)), *_],
        ):
            return [name]
    return []


def walk_imports(node: ast.AST, package: str, runs: bool = True) -> Iterator[Import]:
    """All imports under a node."""
    for name in imported_names(node, package):
        yield Import(getattr(node, "lineno", 0), name, runs)
    if is_type_checking(node):
        assert isinstance(node, ast.If)
        for child in node.body:
            yield from walk_imports(child, package, runs=False)
        for child in node.orelse:
            yield from walk_imports(child, package, runs)
        return
    for descendant in ast.iter_child_nodes(node):
        yield from walk_imports(descendant, package, runs)


def nearest_module(name: str, known: set[str]) -> str:
    """The module in which a dotted name lies: `ixy.errors.IxyError` is in `ixy.errors`."""
    while name not in known and "." in name:
        name = name.rpartition(".")[0]
    return name


def read_modules(source: Path) -> dict[str, Module]:
    """Every module of the package, by its dotted name."""
    paths = {module_name(source, path): path for path in sorted(source.rglob("*.py"))}
    known = set(paths) | {source.name}
    modules = {}
    for name, path in paths.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        imports = []
        for found in walk_imports(ast.parse(path.read_bytes(), str(path)), package):
            if found.target.split(".")[0] == source.name:
                target = nearest_module(found.target, known)
                imports.append(found._replace(target=target))
        modules[name] = Module(name, Path(os.path.relpath(path)), imports)
    return modules


def why_not(importer: str, target: str) -> str:
    """What is wrong with an import between two modules; empty if nothing is."""
    room, other = room_of(importer), room_of(target)
    if room == other:
        drivers = [name.split(".")[2:3] for name in (importer, target)]
        if room == "drivers" and all(drivers) and drivers[0] != drivers[1] != [SHARED]:
            return "a driver does not know another driver"
        return ""
    floor, below = FLOORS[room], FLOORS.get(other, PORCH)
    if below < floor or (room, other) in SIDEWAYS:
        return ""
    return "imports run downwards" if below > floor else "rooms of one floor do not know each other"


def describe(module: str) -> str:
    """A module's room and floor, in words."""
    room = room_of(module)
    return f"{room} (floor {FLOORS[room]})" if room in FLOORS else "the package itself (porch)"


def check_floors(modules: dict[str, Module]) -> Iterator[str]:
    """A line for each import that does not run downwards."""
    for module in modules.values():
        if module.is_porch:
            continue
        if room_of(module.name) not in FLOORS:
            room = room_of(module.name)
            yield f"{module.path}:1: room {room} has no floor: give it one in {Path(__file__).name}"
            continue
        for line, target, _ in module.imports:
            unknown = room_of(target) not in FLOORS and target in modules
            if unknown and not modules[target].is_porch:
                continue  # that room's own lines say so
            if reason := why_not(module.name, target):
                yield (
                    f"{module.path}:{line}: room {describe(module.name)} "
                    f"imports {describe(target)}: {reason}"
                )


def check_circles(modules: dict[str, Module]) -> Iterator[str]:
    """A line for each import that closes a circle of modules."""
    done: set[str] = set()
    trail: list[str] = []

    def visit(name: str) -> Iterator[str]:
        trail.append(name)
        module = modules[name]
        for line, target, runs in module.imports:
            if not runs or target == name or target not in modules:
                continue
            if target in trail:
                circle = [*trail[trail.index(target) :], target]
                yield f"{module.path}:{line}: imports in a circle: {' -> '.join(circle)}"
            elif target not in done:
                yield from visit(target)
        trail.pop()
        done.add(name)

    for name in modules:
        if name not in done:
            yield from visit(name)


def main() -> int:
    """Prints what breaks the plan; 1 if anything does."""
    default = Path(__file__).resolve().parents[1] / "src" / "ixy"
    source = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else default
    modules = read_modules(source)
    if not modules:
        print(f"{source}: no Python source here", file=sys.stderr)
        return 1
    violations = [*check_floors(modules), *check_circles(modules)]
    for violation in dict.fromkeys(violations):
        print(violation)
    if not violations:
        arrows = sum(len(module.imports) for module in modules.values())
        print(f"floors: {len(modules)} modules, {arrows} imports, all downwards, no circle")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
