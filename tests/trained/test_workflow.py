"""Workflows: read from what ComfyUI writes, their nodes found by class and link, changed for a cell without traces."""

from __future__ import annotations

import json
import struct
import zlib

import pytest
from PIL import Image

from datakit.errors import UsageError, WorkflowError
from datakit.trained.comfy.apg import Apg
from datakit.trained.comfy.columns import Wanted, columns
from datakit.trained.comfy.graph import Link, Node, Place, read_workflow, to_api, upstream, with_values
from datakit.trained.comfy.grid import Asked, Column, Grid, Row, labels_of, slug
from datakit.trained.comfy.nodes import NEW, Classes, Names, find_roles
from tests.trained.fake import LORAS, OBJECT_INFO, TINY, TUTORIAL, drawn

CLASSES = Classes(OBJECT_INFO)
BASE, LORA = Column("base", "base"), Column("500", "000500", lora=LORAS[-1])


def roles(path=TINY, names=Names(), graph=None, wants_lora=True, classes=CLASSES):
    return find_roles(graph or read_workflow(path), classes, LORAS, names, wants_lora)


def cell(found, row=Row(1, None, None), column=LORA, **asked):
    return Grid(found, CLASSES, [row], [column], Asked(**asked)).cell(row, column)


def renumbered(graph):
    """The same workflow with other numbers."""
    new = {name: str(1000 + at) for at, name in enumerate(graph)}
    return {
        new[name]: node._replace(
            inputs={key: [new[value[0]], value[1]] if isinstance(value, list) else value for key, value in node.inputs.items()}
        )
        for name, node in graph.items()
    }


def test_the_nodes_of_a_plain_workflow_are_found_whatever_their_numbers():
    for graph in (read_workflow(TINY), renumbered(read_workflow(TINY))):
        found = roles(graph=graph)
        kinds = {name: node.kind for name, node in found.graph.items()}
        assert kinds[found.save] == "SaveImage"
        assert (kinds[found.lora.node], found.lora.input) == ("LoraLoaderModelOnly", "lora_name")
        assert [(kinds[place.node], place.input) for place in (*found.strengths, *found.seeds, *found.guidance, *found.samplers)] == [
            ("LoraLoaderModelOnly", "strength_model"), ("KSampler", "seed"), ("KSampler", "cfg"), ("KSampler", "model"),
        ]  # fmt: skip
        assert [found.graph[place.node].title for place in (*found.prompt, *found.negative)] == [
            "Positive prompt",
            "Negative prompt",
        ]


def test_primitives_guiders_and_two_save_nodes():
    with pytest.raises(
        WorkflowError,
        match=r"the node that saves the picture: 2 nodes could be it: 91 \(LoRA\), 92 \(Base\); --save-node names one",
    ):
        roles(TUTORIAL)
    for name in ("91", "LoRA"):
        found = roles(TUTORIAL, Names(save=name))
        assert found.lora == Place("81", "lora_name")
        assert found.prompt == (Place("11", "value"),), "the text's own place, behind a link"
        assert found.seeds == (Place("21", "value"),)
        assert found.negative == (Place("7", "text"),)
        assert found.samplers == (Place("24", "model"),)
        assert not {"90", "92", "30", "31"} & set(found.graph), "what the picture does not need is left out"
    with pytest.raises(WorkflowError, match="saves no picture"):
        roles(TUTORIAL, Names(save="24"))
    with pytest.raises(WorkflowError, match="has no node 'nobody'; it has"):
        roles(TUTORIAL, Names(save="nobody"))


def test_where_there_is_no_loader_one_is_put_behind_the_model():
    found = roles(TUTORIAL, Names(save="Base"))
    added = found.graph[found.lora.node]
    assert added.kind == "LoraLoaderModelOnly"
    made = cell(found).graph
    assert made["30"].inputs["model"] == [found.lora.node, 0]
    assert made[found.lora.node].inputs == {"model": ["4", 0], "lora_name": LORAS[-1], "strength_model": 1.0}
    # The base is the workflow as it was.
    base = cell(found, column=BASE).graph
    assert to_api(base) == to_api(upstream(read_workflow(TUTORIAL), ["92"]))
    another = roles(names=Names(lora=NEW))
    made = cell(another).graph
    assert [node.kind for node in made.values()].count("LoraLoaderModelOnly") == 2


def test_two_loaders_are_named_and_one_is_chosen():
    graph = dict(read_workflow(TINY))
    graph["277"] = Node("LoraLoaderModelOnly", {"model": ["276", 0], "lora_name": LORAS[0], "strength_model": 0.5}, "Style")
    graph["3"] = graph["3"]._replace(inputs={**graph["3"].inputs, "model": ["277", 0]})
    with pytest.raises(WorkflowError, match=r"276 \(LoraLoaderModelOnly\), 277 \(Style\); --lora-node names one"):
        roles(graph=graph)
    found = roles(graph=graph, names=Names(lora="Style"))
    made = cell(found).graph
    assert (made["276"].inputs["lora_name"], made["277"].inputs["lora_name"]) == (
        "run1/checkpoint-500_lora.safetensors",
        LORAS[-1],
    )
    assert cell(found, column=BASE).graph["3"].inputs["model"] == ["276", 0], "the other one stays"
    with pytest.raises(WorkflowError, match="takes no name of a LoRA"):
        roles(graph=graph, names=Names(lora="3"))


def test_a_loader_with_clip_is_left_out_whole_for_the_base():
    graph = dict(read_workflow(TINY))
    graph["50"] = Node("DualCLIPLoader", {"clip_name1": "a", "clip_name2": "b", "type": "sd3"})
    graph["276"] = Node(
        "LoraLoader", {"model": ["4", 0], "clip": ["50", 0], "lora_name": LORAS[0], "strength_model": 1.0, "strength_clip": 1.0}
    )
    graph["6"] = Node("CLIPTextEncode", {"text": "x", "clip": ["276", 1]})
    found = roles(graph=graph)
    assert {place.input for place in found.strengths} == {"strength_model", "strength_clip"}
    base = cell(found, column=BASE).graph
    assert "276" not in base
    assert (base["3"].inputs["model"], base["6"].inputs["clip"]) == (["4", 0], ["50", 0])
    halved = cell(found, column=Column("x", "x", lora=LORAS[0], strength=0.5)).graph["276"].inputs
    assert (halved["strength_model"], halved["strength_clip"]) == (0.5, 0.5)


def test_new_notation_of_choices_is_read_too():
    told = {
        **OBJECT_INFO,
        "Loader": {
            "input": {"required": {"model": ["MODEL", {}], "file": ["COMBO", {"options": LORAS}]}},
            "output": ["MODEL"],
            "output_node": False,
        },
    }
    graph = dict(read_workflow(TINY))
    graph["276"] = Node("Loader", {"model": ["4", 0], "file": LORAS[0]})
    assert roles(graph=graph, classes=Classes(told)).lora == Place("276", "file")


def test_a_class_that_the_server_lacks_is_named():
    graph = {**read_workflow(TINY), "8": Node("Special", {"samples": ["3", 0]}, "Mine")}
    with pytest.raises(WorkflowError, match='node 8 "Mine": the server has no class Special'):
        roles(graph=graph)
    with pytest.raises(WorkflowError, match="samples leads to node 99, which is not there"):
        roles(graph={**read_workflow(TINY), "8": Node("TinyDecode", {"samples": ["99", 0]})})


def test_every_text_of_the_prompts_node_is_set_and_two_prompt_nodes_are_named():
    graph = dict(read_workflow(TINY))
    graph["50"] = Node("DualCLIPLoader", {"clip_name1": "a", "clip_name2": "b", "type": "flux"})
    graph["6"] = Node("CLIPTextEncodeFlux", {"clip": ["50", 0], "clip_l": "a", "t5xxl": "b", "guidance": 3.5})
    found = roles(graph=graph)
    made = cell(found, Row(1, "new", 7)).graph
    assert (made["6"].inputs["clip_l"], made["6"].inputs["t5xxl"]) == ("new", "new")
    assert made["3"].inputs["seed"] == 7
    graph["60"] = Node("TinyTextEncode", {"text": "more"}, "More")
    graph["61"] = Node("ConditioningCombine", {"conditioning_1": ["6", 0], "conditioning_2": ["60", 0]})
    graph["3"] = graph["3"]._replace(inputs={**graph["3"].inputs, "positive": ["61", 0]})
    with pytest.raises(WorkflowError, match="--prompt-node names one"):
        roles(graph=graph)
    assert cell(roles(graph=graph, names=Names(prompt="More")), Row(1, "new", None)).graph["60"].inputs["text"] == "new"


def test_what_is_asked_for_and_not_there_is_refused():
    graph = dict(read_workflow(TINY))
    graph["3"] = graph["3"]._replace(
        inputs={key: value for key, value in graph["3"].inputs.items() if key not in ("seed", "cfg", "positive", "negative")}
    )
    found = roles(graph=graph, wants_lora=False)
    for row, column, asked, said in (
        (Row(1, "x", None), BASE, {}, "no text that a sampler's positive"),
        (Row(1, None, 1), BASE, {}, "no seed"),
        (Row(1, None, None), BASE, {"negative": "x"}, "no text that a sampler's negative"),
        (Row(1, None, None), Column("x", "x", strength=1.0), {}, "no strength"),
    ):
        with pytest.raises(WorkflowError, match=said):
            cell(found, row, column, **asked)
    with pytest.raises(UsageError, match="no node of the workflow has a cfg"):
        cell(found, column=Column("x", "x", apg=Apg()))


def test_apg_goes_before_the_sampler_and_the_workflows_own_is_left_out_elsewhere():
    found = roles()
    made = cell(found, column=Column("x", "x", lora=LORAS[0], apg=Apg.parse("eta=0,norm_threshold=15"), scale=-1.0)).graph
    name = made["3"].inputs["model"][0]
    assert made[name].inputs == {"model": ["276", 0], "eta": 0.0, "norm_threshold": 15.0, "momentum": 0.0}
    assert made["3"].inputs["cfg"] == 3.5
    own = {**found.graph, "70": Node("APG", {"model": ["276", 0], "eta": 1.0, "norm_threshold": 5.0, "momentum": 0.0})}
    own["3"] = own["3"]._replace(inputs={**own["3"].inputs, "model": ["70", 0]})
    with_own = roles(graph=own)
    assert "70" not in cell(with_own).graph
    assert [node.kind for node in cell(with_own, column=Column("x", "x", lora=LORAS[0], apg=Apg())).graph.values()].count(
        "APG"
    ) == 1
    for wrong, said in (("eta=x", "write eta"), ("zeta=1", "write eta"), ("eta=11", "takes -10 to 10")):
        with pytest.raises(UsageError, match=said):
            cell(found, column=Column("x", "x", lora=LORAS[0], apg=Apg.parse(wrong)))
    low = {**found.graph, "3": found.graph["3"]._replace(inputs={**found.graph["3"].inputs, "cfg": 1.0})}
    with pytest.raises(UsageError, match="cfg 1 leaves no guidance"):
        cell(roles(graph=low), column=Column("x", "x", lora=LORAS[0], apg=Apg()))
    with pytest.raises(UsageError, match="has no node for APG"):
        Apg().node(Classes({}))
    older = Apg.parse("momentum=0.5").node(
        Classes(
            {
                "APGFunction": {
                    "input": {
                        "required": {
                            "model": ["MODEL"],
                            "momentum": ["FLOAT", {"default": 0.05, "min": 0, "max": 1}],
                            "use_momentum": [["enable", "disable"]],
                        }
                    }
                }
            }
        )
    )
    assert older.inputs["use_momentum"] == "enable"


def test_the_key_knows_everything_but_the_files_name_and_the_nodes_titles():
    found = roles()
    one = cell(found).key
    assert cell(found, Row(9, None, None)).key == one
    graph = {name: node._replace(title="other") for name, node in found.graph.items()}
    graph[found.save] = graph[found.save]._replace(inputs={**graph[found.save].inputs, "filename_prefix": "elsewhere"})
    assert cell(roles(graph=graph)).key == one
    others = [
        cell(found, Row(1, "other", None)).key,
        cell(found, Row(1, None, 5)).key,
        cell(found, column=BASE).key,
        cell(found, column=Column("x", "x", lora=LORAS[0])).key,
        cell(found, column=Column("x", "x", lora=LORAS[-1], sha256="00")).key,
        cell(found, settings={Place("3", "steps"): 3}).key,
    ]
    assert len({one, *others}) == 1 + len(others)


def test_a_workflow_is_read_from_a_picture_and_what_is_none_is_told(tmp_path):
    picture = tmp_path / "x.png"
    picture.write_bytes(drawn(json.loads(TINY.read_text())))
    assert to_api(read_workflow(picture)) == to_api(read_workflow(TINY))
    webp = tmp_path / "x.webp"
    image = Image.new("RGB", (8, 8))
    exif = image.getexif()
    exif[0x0110] = "prompt:" + TINY.read_text()
    image.save(webp, exif=exif)
    assert to_api(read_workflow(webp)) == to_api(read_workflow(TINY))
    wrapped = tmp_path / "wrapped.json"
    wrapped.write_text(json.dumps({"prompt": json.loads(TINY.read_text())}))
    assert len(read_workflow(wrapped)) == 8
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    for name, content, said in (
        ("editor.json", '{"nodes": [], "links": []}', r"Workflow > Export \(API\)"),
        ("text.json", "hello", "is no workflow"),
        ("empty.json", "{}", "holds no nodes"),
        ("odd.json", '{"1": {"inputs": {}}}', "node 1 has no class"),
        ("plain.png", None, "carries no workflow"),
        ("cut.png", "\x89PNG", "is no workflow|is a damaged picture"),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content.encode("latin-1"))
        with pytest.raises(WorkflowError, match=said):
            read_workflow(tmp_path / name)
    with pytest.raises(WorkflowError, match="cannot be read"):
        read_workflow(tmp_path / "none.json")


def test_columns_are_the_servers_files_in_the_order_of_the_training():
    listed = [
        "run/a-000500.safetensors",
        "run/a-001000.safetensors",
        "run/a-010000.safetensors",
        "run/a-last.safetensors",
        "other\\b.safetensors",
    ]
    found = columns(Wanted(("run",), base=True, strengths=(0.5, 1.0)), listed)
    assert [column.label for column in found][:3] == ["base", "500 × 0.5", "500 × 1"]
    assert [column.slug for column in found][-2:] == ["last-strength-0.5", "last-strength-1"]
    assert len({column.slug for column in found}) == len(found) == 9
    assert [column.lora for column in columns(Wanted(("run/a-00*",)), listed)] == listed[:2]
    assert [column.lora for column in columns(Wanted(("run",), steps="500:10000:500,last"), listed)] == listed[:4]
    assert [column.lora for column in columns(Wanted(), listed, "run\\gone.safetensors")] == listed[:4]
    assert columns(Wanted(("other/b.safetensors",)), listed)[0].lora == "other\\b.safetensors", "as the server writes it"
    with pytest.raises(
        UsageError, match=r"'run/a-000501\.safetensors' is not on the server, which lists 5; nearest: run/a-000500"
    ):
        columns(Wanted(("run/a-000501.safetensors",)), listed)
    with pytest.raises(UsageError, match="say which files are compared"):
        columns(Wanted(), listed, "gone.safetensors")
    with_apg = columns(Wanted(("run/a-000500.safetensors",), base=True, apg=Apg(), scale=-1.0), listed)
    assert [column.label for column in with_apg] == ["base", "a-500", "a-500 + APG, cfg -1"]


def test_labels_and_file_names():
    assert labels_of(["run1/checkpoint-1000_lora.safetensors", "run1/checkpoint-500_lora.safetensors"]) == ["1000", "500"]
    assert labels_of(["a/x.safetensors"]) == ["x"]
    assert labels_of(["run/n-001000.safetensors", "run/n-001000-ema.safetensors"]) == ["n-001000", "n-001000-ema"]
    assert slug("A lighthouse, at dusk — ünïcode " * 3) == "a-lighthouse-at-dusk-unicode-a-lighthous"
    assert slug("灯台").startswith("x")
    assert slug("灯台") != slug("猫")


@pytest.mark.parametrize("place", [Place("276", "model"), Place("3", "seed"), Place("4", "unet_name"), Place("6", "text")])
def test_links_that_lead_in_a_circle_are_named(place):
    graph = with_values(read_workflow(TINY), {place: Link("3", 0)})
    for names in (Names(), Names(lora=NEW)):
        with pytest.raises(WorkflowError, match=r"lead in a circle: nodes .*3"):
            roles(graph=graph, names=names)


def test_a_picture_that_is_a_bomb_is_damaged(tmp_path):
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    path = tmp_path / "x.png"
    for size, text in ((100_000, b"tEXtprompt\0{}"), (1, b"zTXtprompt\0\0" + zlib.compress(bytes(2_000_000)))):
        header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(text[:4], text[4:]) + chunk(b"IDAT", b""))
        with pytest.raises(WorkflowError, match="damaged picture"):
            read_workflow(path)


def test_the_number_of_a_file_is_its_last_but_for_what_link_puts_behind():
    listed = [f"sd35/x-{number}.safetensors" for number in ("5", "10", "15")]
    assert [each.lora for each in columns(Wanted(("sd35",), steps="10,15"), listed)] == listed[1:]
    again = [f"sd35/x-{label}.safetensors" for label in ("000005-2", "000010-ema-3", "000012-rolling-2", "last-2", "last-ema-2")]
    assert [each.lora for each in columns(Wanted(("sd35",), steps="5,10,12"), again[::-1])] == again[:3]
    assert [each.lora for each in columns(Wanted(("sd35",), steps="last"), again)] == again[3:]
    assert [each.lora for each in columns(Wanted(("sd35",)), again[::-1])][:3] == again[:3]
