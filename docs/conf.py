"""How the site is built from these pages: `sphinx-build -W docs site`. The command line's reference is made of `--help` itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click
from click.testing import CliRunner
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

import datakit
from datakit.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

project = "datakit"
release = datakit.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = True
napoleon_google_docstring = False
napoleon_use_ivar = True
default_role = "code"
html_theme = "furo"
html_title = "datakit"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"


def commands(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Give every command below this one with the words that call it, in the order of `--help`."""
    yield path, command
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            yield from commands(command.get_command(click.Context(command), name), (*path, name))


class Help(SphinxDirective):
    """A section for each command, with what its `--help` prints on 90 columns."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        self.env.note_reread()  # help changes without any change of this page
        found: list[nodes.Node] = []
        for path, _ in commands(main, ("datakit",)):
            said = CliRunner().invoke(main, [*path[1:], "--help"], prog_name="datakit", terminal_width=90).output
            words = " ".join(path)
            section = nodes.section(ids=[nodes.make_id(words)])
            section += nodes.title(words, words)
            section += nodes.literal_block(said, said, language="text")
            found.append(section)
        return found


def give_each_name_its_description(_app: Sphinx, _what: str, _name: str, _of: object, _options: object, lines: list[str]) -> None:
    """Turn ``width, height`` above one description into two attributes, which napoleon takes for a kind and a name."""
    parts: list[str] = []
    for line in lines:
        described = parts and re.match(r"\w+(, \w+)+(\n|$)", parts[-1]) and line.startswith("    ")
        parts += [f"{parts.pop()}\n{line}"] if described else [line]
    lines[:] = [
        each
        for part in parts
        for names, _, text in [part.partition("\n")]
        for name in (names.split(", ") if text else [names])
        for each in (name, *text.splitlines())
    ]


def setup(app: Sphinx) -> None:
    """Register the directive `help`, and what docstrings go through before napoleon reads them."""
    app.add_directive("help", Help)
    app.connect("autodoc-process-docstring", give_each_name_its_description, priority=400)
