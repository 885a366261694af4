"""Hugging Face Accelerate's launch configuration: plain, or with DeepSpeed ZeRO stage 2."""

from __future__ import annotations

from datakit.errors import UsageError
from datakit.trainers.training import Batching

KINDS = ("plain", "deepspeed2")


def accelerate_yaml(batching: Batching, kind: str = "plain") -> bytes:
    """Return the YAML for one machine with bf16.

    ``deepspeed2`` spreads optimizer state and gradients over the GPUs (ZeRO stage 2) and keeps both on them.
    Keys as `accelerate config` writes them (accelerate 1.x).

    Raises
    ------
    UsageError
        The kind is unknown.
    """
    if kind not in KINDS:
        raise UsageError(f"accelerate configuration {kind!r} is not known: use one of {' '.join(KINDS)}")
    several = "MULTI_GPU" if batching.gpus > 1 else "'NO'"
    lines = [
        "compute_environment: LOCAL_MACHINE",
        "debug: false",
        f"distributed_type: {'DEEPSPEED' if kind == 'deepspeed2' else several}",
        "downcast_bf16: 'no'",
        "enable_cpu_affinity: false",
        "machine_rank: 0",
        "main_training_function: main",
        "mixed_precision: bf16",
        "num_machines: 1",
        f"num_processes: {batching.gpus}",
        "rdzv_backend: static",
        "same_network: true",
        "use_cpu: false",
    ]
    if kind == "plain":
        lines.append("gpu_ids: all")
    else:
        lines += [
            "deepspeed_config:",
            f"  gradient_accumulation_steps: {batching.accumulate}",
            "  gradient_clipping: 1.0",
            "  offload_optimizer_device: none",
            "  offload_param_device: none",
            "  zero3_init_flag: false",
            "  zero_stage: 2",
        ]
    return ("\n".join(lines) + "\n").encode()
