"""``datakit checkpoints strip`` and ``compare``: pictures of checkpoints side by side, made by a ComfyUI."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from datakit.cli.sections import CHOOSE, RUN, SHOW, WRITE, SectionedCommand, section
from datakit.cli.shared import Command, json_option, print_json, progress_bar

if TYPE_CHECKING:
    from datakit.trained.comfy.columns import Wanted
    from datakit.trained.comfy.graph import Graph, Place
    from datakit.trained.comfy.nodes import Names, Roles


@dataclass(frozen=True, slots=True)
class Request:
    """What both commands are told beside their columns.

    Attributes
    ----------
    workflow, out, server
        Where everything is.
    prompts, seeds, negative, settings
        What is drawn.
    names
        Nodes that the user names.
    timeout, height
        Seconds for one picture, pixels of one in a strip.
    dataset
        Training pictures, to tell copies.
    dry_run, as_json
        Only say what would be done; print JSON.
    """

    workflow: Path
    out: Path
    server: str
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    negative: str | None
    settings: tuple[str, ...]
    names: Names
    timeout: float
    height: int
    dataset: Path | None
    dry_run: bool
    as_json: bool


def request_options(command: Command) -> Command:
    """Add what both commands share, and pass it on as ``request``."""

    @click.argument("workflow", type=click.Path(path_type=Path, dir_okay=False))
    @click.argument("out", type=click.Path(path_type=Path, file_okay=False))
    @section(RUN)
    @click.option(
        "--server",
        default="127.0.0.1:8188",
        show_default=True,
        metavar="ADDRESS",
        help="Of ComfyUI; a token for it is read from DATAKIT_COMFY_TOKEN.",
    )
    @section(CHOOSE)
    @click.option(
        "--prompt", "prompts", multiple=True, metavar="TEXT", help="A row for each seed; repeatable. [default: the workflow's]"
    )
    @click.option("--prompts", "file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="One prompt a line.")
    @click.option(
        "--seed",
        "seeds",
        type=click.IntRange(0, 2**64 - 1),
        multiple=True,
        metavar="N",
        help="Repeatable. [default: the workflow's]",
    )
    @click.option("--negative", metavar="TEXT", help="Instead of the workflow's negative prompt.")
    @click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="NODE.INPUT=VALUE",
        help="Any other value, by the node's number or title; values are JSON, text as it is; repeatable.",
    )
    @click.option("--save-node", metavar="NODE", help="The node that saves the picture, by number or title, where several do.")
    @click.option("--prompt-node", metavar="NODE", help="The node that takes the prompt, where several could be meant.")
    @section(RUN)
    @click.option(
        "--timeout",
        type=click.FloatRange(1),
        default=600,
        show_default=True,
        metavar="SECONDS",
        help="For one picture, once it runs; and for a server that does not answer.",
    )
    @section(WRITE)
    @click.option(
        "--height",
        type=click.IntRange(64, 4096),
        default=512,
        show_default=True,
        metavar="PIXELS",
        help="Of pictures in a strip.",
    )
    @section(CHOOSE)
    @click.option(
        "--dataset",
        type=click.Path(path_type=Path, file_okay=False, exists=True),
        metavar="DIR",
        help="Training pictures: what looks like one of them is told.",
    )
    @section(SHOW)
    @click.option("--dry-run", is_flag=True, help="Say which nodes are used and how many pictures are missing.")
    @json_option
    @functools.wraps(command)
    def wrapped(
        *, workflow: Path, out: Path, server: str, prompts: tuple[str, ...], file: Path | None, seeds: tuple[int, ...],
        negative: str | None, settings: tuple[str, ...], save_node: str | None, prompt_node: str | None, lora_node: str | None,
        timeout: float, height: int, dataset: Path | None, dry_run: bool, as_json: bool, **options: Any,
    ) -> Any:  # fmt: skip
        from datakit.trained.comfy.nodes import Names

        listed = [*prompts, *_lines(file)] if file else list(prompts)
        request = Request(
            workflow, out, server, tuple(dict.fromkeys(listed)), tuple(dict.fromkeys(seeds)), negative, settings,
            Names(save_node, lora_node, prompt_node), timeout, height, dataset, dry_run, as_json,
        )  # fmt: skip
        return command(request=request, **options)

    return wrapped


def _lines(file: Path) -> list[str]:
    from datakit.errors import UsageError

    try:
        lines = [line.strip() for line in file.read_text("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {error}") from None
    if not any(lines):
        raise UsageError(f"{file} holds no prompt")
    return [line for line in lines if line]


strength_option = click.option(
    "--strength",
    "strengths",
    type=float,
    multiple=True,
    metavar="X",
    help="A column for each; repeatable. [default: the workflow's]",
)
apg_option = click.option(
    "--apg",
    metavar="SETTINGS",
    help="Each a second time with adaptive projected guidance: eta=0,norm_threshold=15,momentum=-0.5, or default.",
)
same_scale_option = click.option(
    "--same-scale",
    is_flag=True,
    help="Lower cfg by 1 where APG is: ComfyUI's node at neutral settings guides as much as cfg + 1 without it.",
)
lora_node_option = click.option(
    "--lora-node", metavar="NODE", help="The node that loads the LoRA, where several do; new puts another one in."
)


@click.command(cls=SectionedCommand, short_help="Draw every prompt with every checkpoint, side by side.")
@request_options
@section(CHOOSE)
@click.option(
    "--loras",
    multiple=True,
    metavar="NAME",
    help="A folder, name or pattern in the server's list of LoRAs, or a folder that link wrote; repeatable. [default: the folder of the workflow's LoRA]",
)
@click.option("--models", multiple=True, metavar="NAME", help="The same of whole models, in its diffusion_models.")
@click.option("--steps", metavar="LIST", help="Only these: 500:4000:500 (from, to, every), single numbers, last.")
@strength_option
@click.option("--base", is_flag=True, help="The model without a LoRA first.")
@apg_option
@same_scale_option
@lora_node_option
@click.pass_context
def strip(
    ctx: click.Context,
    request: Request,
    loras: tuple[str, ...],
    models: tuple[str, ...],
    steps: str | None,
    strengths: tuple[float, ...],
    base: bool,
    apg: str | None,
    same_scale: bool,
) -> None:
    """Have ComfyUI draw each prompt and seed with each checkpoint, and lay the pictures side by side.

    WORKFLOW is any workflow in API format (Workflow > Export (API)), or a picture that ComfyUI wrote. Its nodes are
    found by class and links; where two could be meant, both are named. OUT gets the pictures, a strip a row as PNG,
    and index.html with zoom, arrow keys and a slider between two columns. Pictures come through HTTP, so that the
    server may be anywhere.

    Run it again after any interruption, of this command or of the server: no picture is made twice. One that fails
    costs its place alone, where the reason stands. Exit 1 where one failed.

    \b
    datakit checkpoints strip workflow.json strips/ --loras fantasy --base --seed 1 --seed 2 --prompt "a lighthouse"
    datakit checkpoints strip ComfyUI_00001_.png strips/ --loras fantasy --steps 1000::1000 --strength 0.8 --strength 1
    """
    from datakit.errors import UsageError
    from datakit.trained.comfy.columns import Wanted

    if models and (loras or strengths):
        raise UsageError("--models compares whole models, which have no strength: leave out --loras and --strength")
    wanted = Wanted(loras, models, steps, tuple(dict.fromkeys(strengths)), base, _apg(apg), scale=-1.0 if same_scale else 0.0)
    ctx.exit(_draw(request, wanted, opens=False))


@click.command(cls=SectionedCommand, short_help="Draw base, LoRA and LoRA with APG.")
@request_options
@section(CHOOSE)
@click.option(
    "--lora", "loras", multiple=True, required=True, metavar="NAME", help="A name in the server's list of LoRAs; repeatable."
)
@strength_option
@apg_option
@same_scale_option
@lora_node_option
@click.pass_context
def compare(
    ctx: click.Context, request: Request, loras: tuple[str, ...], strengths: tuple[float, ...], apg: str | None, same_scale: bool
) -> None:
    """Draw base, LoRA and LoRA with adaptive projected guidance side by side, at the same guidance.

    As `datakit checkpoints strip` with other columns; the page opens with the slider between LoRA and LoRA + APG.
    ComfyUI's own node at neutral settings (eta 1, norm_threshold 0, momentum 0) guides as much as cfg + 1 without it:
    --same-scale lowers cfg by 1 in its column. At cfg 1 there is nothing that APG could change, which is refused.

    \b
    datakit checkpoints compare workflow.json apg/ --lora fantasy/fantasy-002000.safetensors --same-scale
    """
    from datakit.trained.comfy.apg import Apg
    from datakit.trained.comfy.columns import Wanted

    wanted = Wanted(
        loras, (), None, tuple(dict.fromkeys(strengths)), base=True, apg=_apg(apg) or Apg(), scale=-1.0 if same_scale else 0.0
    )
    ctx.exit(_draw(request, wanted, opens=True))


def _apg(text: str | None) -> Any:
    from datakit.trained.comfy.apg import Apg

    return None if text is None else Apg() if text == "default" else Apg.parse(text)


def _draw(request: Request, wanted: Wanted, *, opens: bool) -> int:
    """Have the pictures made, print what was done, and return the exit code."""
    from datakit.errors import UsageError
    from datakit.report import counted
    from datakit.trained.comfy.apg import CORE_APG
    from datakit.trained.comfy.columns import columns
    from datakit.trained.comfy.drawing import Drawing, Look, check_out
    from datakit.trained.comfy.figures import Measuring, training_hashes
    from datakit.trained.comfy.graph import read_workflow
    from datakit.trained.comfy.grid import Asked, Grid, Row
    from datakit.trained.comfy.nodes import Classes, find_roles
    from datakit.trained.comfy.pictures import Pictures
    from datakit.trained.comfy.server import Server
    from datakit.trained.comfy.watching import Watch

    graph = read_workflow(request.workflow)
    check_out(request.out)
    server = Server(request.server)
    classes = Classes(server.classes())
    listed = server.models("loras")
    roles = find_roles(graph, classes, listed, request.names, wants_lora=not wanted.models)
    if wanted.models and roles.model is None:
        raise UsageError("--models needs one node in the workflow that loads a diffusion model by its name (unet_name)")
    default = roles.graph[roles.lora.node].inputs[roles.lora.input] if roles.lora else None
    compared = columns(wanted, server.models("diffusion_models") if wanted.models else listed, default)
    rows = [
        Row(number, prompt, seed)
        for number, prompt in enumerate(request.prompts or (None,), 1)
        for seed in request.seeds or (None,)
    ]
    grid = Grid(roles, classes, rows, compared, Asked(request.negative, _settings(roles, request.settings)))
    if wanted.apg is not None and CORE_APG in classes and not wanted.scale:
        scale = grid.scales[0]
        click.echo(
            f"APG at cfg {scale:g} guides about as much as cfg {scale + 1:g} without it; --same-scale lowers it to {scale - 1:g}",
            err=True,
        )
    pictures = Pictures(request.out, server, roles.save, Watch(request.timeout, lambda said: click.echo(said, err=True)))
    if request.dry_run:
        return _say_plan(request, roles, grid, pictures)
    apg = [at for at, column in enumerate(compared) if column.apg]
    slider = (apg[0] - 1, apg[0]) if opens and apg else (0, len(compared) - 1)
    look = Look(
        request.out.resolve().name,
        f"ComfyUI {server.version()}",
        slider,
        opens,
        request.height,
        (_text(roles, roles.prompt), _text(roles, roles.seeds)),
    )
    measuring = Measuring(training_hashes(request.dataset) if request.dataset else None)
    drawn = Drawing(request.out, grid, pictures, look, measuring).run(progress_bar)
    if request.as_json:
        print_json(drawn.to_json() | {"page": str(request.out / "index.html")})
    else:
        for where, why in drawn.failed:
            click.echo(f"{where}: failed: {why}", err=True)
        for where, warning in drawn.warned:
            click.echo(f"{where}: {warning}", err=True)
        if drawn.stopped:
            click.echo(f"stopped: {drawn.stopped}", err=True)
        missing = f", {drawn.missing} not tried" if drawn.missing else ""
        size = f"{counted(len(rows), 'strip')} of {counted(len(compared), 'picture')}"
        click.echo(
            f"{request.out / 'index.html'}: {size}: {drawn.made} made, {drawn.kept} kept, {len(drawn.failed)} failed{missing}"
        )
    return 1 if drawn.failed or drawn.missing else 0


def _say_plan(request: Request, roles: Roles, grid: Any, pictures: Any) -> int:
    cells = list(grid.cells())
    kept = sum(pictures.is_there(cell) for cell in cells)
    if request.as_json:
        print_json({"pictures": [cell.stem for cell in cells], "kept": kept, "nodes": roles.describe()})
    else:
        for line in roles.describe():
            click.echo(line)
        click.echo(f"columns: {', '.join(column.label for column in grid.columns)}")
        click.echo(f"{len(cells)} pictures: {len(cells) - kept} to make, {kept} there")
    return 0


def _text(roles: Roles, places: Sequence[Place]) -> str:
    """Return what the workflow holds at the first of some places."""
    return str(roles.graph[places[0].node].inputs[places[0].input]) if places else ""


def _no_number(text: str) -> Any:
    raise ValueError(text)  # NaN and Infinity are no JSON, and no value of a node


def _settings(roles: Roles, texts: Sequence[str]) -> dict[Place, Any]:
    """Read ``NODE.INPUT=VALUE``; a node that the picture does not need is refused, for it would change nothing."""
    import json

    from datakit.errors import UsageError
    from datakit.trained.comfy.graph import Place, called, named

    graph: Graph = roles.graph
    found: dict[Place, Any] = {}
    for text in texts:
        where, equals, value = text.partition("=")
        node, dot, key = where.rpartition(".")
        if not (equals and dot and node):
            raise UsageError(f"--set {text!r}: write NODE.INPUT=VALUE, such as 3.steps=28")
        name = named(graph, node)
        if key not in graph[name].inputs:
            raise UsageError(
                f"--set {text!r}: {called(graph, name)} has no input {key!r}; it has {', '.join(graph[name].inputs)}"
            )
        try:
            found[Place(name, key)] = json.loads(value, parse_constant=_no_number)
        except ValueError:
            found[Place(name, key)] = value
    return found
