"""How commands and their options are declared: one look of the help, and the kinds of values that options take."""
from __future__ import annotations

import functools
import re
from typing import Any, Callable, List, Optional, Tuple, Type

import click

UNITS = {"B": 0, "K": 10, "M": 20, "G": 30, "T": 40, "P": 50}
SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
PORT = click.IntRange(1, 65535)
NSID = click.IntRange(1, 0xfffffffe)
ANA_GROUP = click.IntRange(1, 32)
STDIN = "-"
ALIASES = {"ns": "namespace"}
CNODE = "-n nqn.2016-06.io.spdk:cnode1"
"""As examples name a subsystem."""
HOST = "-t nqn.2014-08.org.nvmexpress:uuid:0e6b5b3c-9c4f-4c1a-8f7e-3a4b5c6d7e8f"
"""As examples name a host."""
Function = Callable[..., Any]


def _epilog(example: str) -> str:
    lines = example.strip().splitlines()
    return "\b\n" + "\n".join(["Examples:" if len(lines) > 1 else "Example:"] + [f"  {line.strip()}" for line in lines])


class Aliased(click.Group):
    """A group in which `ns` is `namespace` too; listings do not repeat it."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> Optional[click.Command]:
        return super().get_command(ctx, ALIASES.get(cmd_name, cmd_name))


def group(name: str, example: str, kind: Type[click.Group] = click.Group) -> Callable[[Function], click.Group]:
    """A group of commands, with examples in its help."""
    return click.group(name, cls=kind, epilog=_epilog(example), context_settings=SETTINGS)


def command(name: str, example: str, parent: Optional[click.Group] = None) -> Callable[[Function], click.Command]:
    """A command, of `parent` if there is one, with examples in its help."""
    return (parent or click).command(name, epilog=_epilog(example), context_settings=SETTINGS)


def subsystem(required: bool = True) -> Any:
    if required:
        return click.option("-n", "--subsystem", required=True, metavar="NQN", help="NQN of the subsystem.")
    return click.option("-n", "--subsystem", default="", metavar="NQN", help="Only this subsystem.")


def nsid(function: Any) -> Any:
    return click.option("--nsid", type=NSID, required=True, metavar="NSID", help="Namespace id.")(function)


def host_nqns(function: Any) -> Any:
    """One or more: `-t A B`, as existing clients have it, or `-t A -t B`. Joined by `all_hosts`."""
    function = click.argument("more_hosts", nargs=-1, metavar="[NQN]...")(function)
    return click.option("-t", "--host-nqn", multiple=True, required=True, metavar="NQN",
                        help="NQN of a host; more may follow.")(function)


def all_hosts(host_nqn: Tuple[str, ...], more_hosts: Tuple[str, ...]) -> List[str]:
    return list(dict.fromkeys([*host_nqn, *more_hosts]))


class Size(click.ParamType):
    """`10G`, `512MB`, `20 MiB`; a number alone is in MiB, as in existing clients. Units are powers of 1024."""

    name = "size"

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> int:
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"([0-9]+)\s*(?:(B)|([KMGTP])(?:I?B)?)?", value.strip().upper())
        if not match or not int(match[1]):
            self.fail(f"'{value}' is not a number with a unit such as 512MB, 10G or 1TB (a number alone: MiB)", param,
                      ctx)
        return int(match[1]) << UNITS[match[2] or match[3] or "M"]


class MebibyteSize(Size):
    """A size that is a whole number of MiB; converts to that number."""

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> int:
        if isinstance(value, int):
            return value
        size = super().convert(value, param, ctx)
        if size % (1 << 20):
            self.fail(f"'{value}' is {size} bytes, which is not a whole number of MiB", param, ctx)
        return size >> 20


class KeySource(click.ParamType):
    """A secret key out of a file or from standard input, never from the command line, which every user of the machine
    sees in the list of processes."""

    name = "file"

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> str:
        if re.match(r"(DHHC-1|NVMeTLSkey-1):", value):
            self.fail("keys are not taken from the command line, where the list of processes shows them to every user: "
                      "write the key to a file that only you can read and name that, or '-' for standard input", param,
                      ctx)
        try:
            with click.open_file(value) as file:
                key = file.read().strip()
        except (OSError, UnicodeDecodeError) as error:
            self.fail(f"the key cannot be read from '{value}': {error}", param, ctx)
        if not key or len(key.split()) > 1:
            place, found = "standard input" if value == STDIN else repr(value), "more than a key" if key else "no key"
            self.fail(f"{place} has {found} in it; one key of the form 'DHHC-1:...' or 'NVMeTLSkey-1:...' is wanted",
                      param, ctx)
        return key


def key(*names: str, what: str) -> Any:
    return click.option(*names, type=KeySource(), metavar="FILE|-", help=(
        f"{what}: a file that has it, or '-' for standard input. A key itself is refused: the list of processes would "
        "show it."))


def new_key(function: Function) -> Function:
    """`--dhchap-key` or `--no-key`: which one must be said, so that no key is removed by forgetting an option."""
    @functools.wraps(function)
    def checked(*args: Any, dhchap_key: Optional[str], no_key: bool, **values: Any) -> Any:
        if no_key is (dhchap_key is not None):
            raise click.UsageError("give either --dhchap-key with a file that has the new key, or --no-key to remove "
                                   "it")
        return function(*args, dhchap_key=dhchap_key, **values)

    checked = click.option("--no-key", is_flag=True, help="Remove the key: it is not asked for any more.")(checked)
    return key("-k", "--dhchap-key", what="The new key (DH-HMAC-CHAP)")(checked)
