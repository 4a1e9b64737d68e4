"""The argument tree, and nothing else."""

from importlib.metadata import version as installed

import typer

from kube_upgrade.cli.commands.lab import LabCommand, lab
from kube_upgrade.cli.commands.locks import locks
from kube_upgrade.telemetry import logs

app = typer.Typer(
    name="kube-upgrade",
    help="Automatic, safe upgrades of kubeadm clusters whose nodes run Fedora CoreOS.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
app.command(name="lab", cls=LabCommand)(lab)
app.add_typer(locks, name="locks")


@app.command()
def version() -> None:
    """Print the version."""
    print(installed("kube-upgrade"))


def main() -> None:
    """Entry point of `kube-upgrade` and `kubectl kube-upgrade`."""
    logs.configure("warn")  # on stderr: stdout is for what was asked for
    app()
