"""``datakit review``."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path
from threading import Thread

import click

from datakit.cli.sections import RUN, WRITE, SectionedCommand, section
from datakit.cli.shared import cores, say_using


@click.command(cls=SectionedCommand)
@click.argument("dataset", metavar="[OUT]", type=click.Path(path_type=Path, file_okay=False), required=False)
@section(RUN)
@click.option("--no-open", is_flag=True, help="Print the address and leave the browser alone.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, show_default="a free one", metavar="N", help="Port to listen on."
)
@section(WRITE)
@click.option(
    "--static",
    "static_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write one self-contained HTML file instead, to mail or to keep, and stop.",
)
@section(RUN)
@click.option("--overwrite", is_flag=True, help="Replace the --static FILE if it is there.")
def review(*, dataset: Path | None, no_open: bool, port: int, static_file: Path | None, overwrite: bool) -> None:
    """Look at a dataset on a page in the browser, and mend what is wrong.

    OUT is a folder that crop or shuffle wrote, by default the one last written from here. The page shows each
    picture with its window, faces, size, caption and warnings, what most needs an eye first. Drag a window,
    change a size, reject a picture, edit a caption: each change is written at once to OUT/decisions.jsonl, and
    followed by the page's Apply button as by every datakit crop SRC OUT. Nothing in the source is changed.

    The page is served to this machine alone, at an address that nobody can guess. Ctrl-C ends it.

    \b
    datakit review out/
    datakit review --static report.html
    """
    from datakit.dataset.remembered import last_dataset

    folder = dataset or say_using(*last_dataset(Path.cwd()))
    if static_file:
        from datakit.dataset.origin import refuse_in_source
        from datakit.review.static import write_static

        refuse_in_source(static_file, [folder])
        count = write_static(folder, static_file, overwrite=overwrite)
        click.echo(f"wrote {static_file}: {count} pictures")
        return
    from datakit.review.server import Server
    from datakit.review.session import Session

    session = Session(folder, jobs=cores())
    server = Server(session, port)
    click.echo(server.address)
    click.echo("Ctrl-C ends it; what was changed is in decisions.jsonl", err=True)
    if not no_open:
        # In a thread: a browser in the terminal would only return when it is closed.
        Thread(target=webbrowser.open, args=(server.address,), daemon=True).start()
    status = 0
    try:
        server.run()
    except KeyboardInterrupt:
        pass
    except SystemExit as end:
        status = int(end.code or 0)
    if session.applying.running:
        from multiprocessing import active_children

        # Python would wait for workers that the thread goes on replacing; what they finished is kept.
        for worker in active_children():
            worker.kill()
        os._exit(status)
    sys.exit(status)
