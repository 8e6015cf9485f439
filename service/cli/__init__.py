"""The `traincast` command.

Imports of the server and the engine are inside the commands, so that `traincast --help` answers at once.
Exit codes are told by `traincast --help`.
"""

import typer

from service.cli import agents, benching, estimating, evaluating, levering, measuring, planning, serving, sweeping
from service.cli.keys import keys

EPILOG = """\
Exit codes: 0 done; 1 it cannot be done, or not all of it (said on standard error); 2 the command was not understood.

Results go to standard output, all else to standard error. Colours are left out where NO_COLOR is set or the output is
no terminal. `--install-completion` makes the shell complete commands and options.
"""

app = typer.Typer(
    name="traincast",
    epilog=EPILOG,
    help="Predicts how long a training run takes, what it costs and what it emits, with calibrated intervals.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    serving.serve,
    estimating.estimate,
    sweeping.sweep,
    sweeping.offers,
    levering.levers,
    planning.plan,
    evaluating.evaluate,
    evaluating.calibrate,
    benching.bench,
    measuring.submit,
    measuring.export,
    agents.mcp,
    serving.migrate,
    serving.seed,
    serving.openapi,
    serving.dashboard,
):
    app.command()(command)
app.command(name="import")(measuring.import_measurements)
app.add_typer(keys)


def main() -> None:
    """Entry point of the `traincast` command."""
    app()
