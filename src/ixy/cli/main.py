"""The command's table of contents."""

import typer

from ixy.cli import (
    bench,
    bind,
    capture,
    devices,
    emulate,
    forward,
    generate,
    latency,
    reflect,
    regs,
    replay,
    throughput,
    unbind,
)

app = typer.Typer(
    name="ixy",
    help="User-space network drivers: millions of packets per second, in Python.",
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
)
for module in (
    devices, bind, unbind, forward, generate, capture, replay, latency, reflect, throughput, regs,
    emulate, bench,
):  # fmt: skip
    app.command(name=module.NAME, help=module.HELP, epilog=module.EXAMPLE)(module.command)
