"""``holdfast completion``: let a shell complete commands, options and file names."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_HOLDFAST_COMPLETE"  # by which the shell asks; the name is click's rule


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the script by which SHELL completes what is typed after "holdfast".

    \b
    bash: holdfast completion bash > ~/.local/share/bash-completion/completions/holdfast
    zsh:  holdfast completion zsh > DIR/_holdfast, where DIR is in fpath
    fish: holdfast completion fish > ~/.config/fish/completions/holdfast.fish
    """
    from click.shell_completion import get_completion_class

    from holdfast.cli.commands import holdfast

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(holdfast, {}, "holdfast", VARIABLE).source())
