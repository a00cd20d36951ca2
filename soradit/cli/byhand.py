"""``soradit byhand``."""

from pathlib import Path
from typing import Annotated

import typer

from soradit.cli.options import Overwrite, print_line


def byhand(
    step: Annotated[str | None, typer.Option(metavar="N|N-M", help="Only these of the 14 steps.")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="No colour, and ASCII only.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Every value, as a JSON line per step.")] = False,
    worksheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a sheet with blanks, and its answers: .html or .md.")
    ] = None,
    quiz: Annotated[bool, typer.Option("--quiz", help="Ask, and say right or wrong.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Work the diffusion transformer's 14 steps in small numbers, by the code that trains and generates.

    soradit byhand --step 7
    """
    from soradit.byhand.steps import WORKSHEETS, parse_selection
    from soradit.errors import UsageError
    from soradit.files import check_output_path

    selection = parse_selection(step)
    if sum((as_json, worksheet is not None, quiz)) > 1:
        raise UsageError("--json, --worksheet and --quiz exclude one another")
    if worksheet is not None:
        check_output_path(worksheet, overwrite=overwrite, suffixes=WORKSHEETS)

    from soradit.byhand.exercise import work
    from soradit.byhand.lesson import tell
    from soradit.byhand.terminal import ask_steps, show_json, show_steps
    from soradit.byhand.worksheet import write_worksheet

    steps = [one for one in tell(work()) if one.number in selection]
    if worksheet is not None:
        write_worksheet(worksheet, steps, overwrite=overwrite)
        print_line(str(worksheet))
    elif as_json:
        show_json(steps)
    elif quiz:
        ask_steps(steps, plain=plain)
    else:
        show_steps(steps, plain=plain)
