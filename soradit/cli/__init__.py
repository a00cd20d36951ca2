"""The command line: each command parses its options, makes one call, and reports. No torch at module level."""

from typing import Annotated

import typer

import soradit
from soradit.cli.average import average
from soradit.cli.byhand import byhand
from soradit.cli.check import check
from soradit.cli.encode import encode
from soradit.cli.evaluate import evaluate
from soradit.cli.generate import generate
from soradit.cli.info import info
from soradit.cli.merge import merge
from soradit.cli.options import Grouped
from soradit.cli.replay import replay
from soradit.cli.skies import skies
from soradit.cli.train import train

app = typer.Typer(
    name="soradit",
    help="Train text-to-video diffusion transformers, and generate videos with them.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> bool:
    if asked:
        typer.echo(f"soradit {soradit.__version__}")
        raise typer.Exit
    return asked


@app.callback()
def _common(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    pass


for command in (generate, replay, info, train, merge, average, evaluate, encode, check, skies, byhand):
    summary = " ".join((command.__doc__ or "").partition("\n\n")[0].split())
    app.command(cls=Grouped, short_help=summary)(command)
