"""Hugging Face Accelerate's launch configuration: plain, or with DeepSpeed ZeRO stage 2."""

from __future__ import annotations

from datakit.errors import UsageError
from datakit.trainers.training import Batching

KINDS = ("plain", "deepspeed2", "deepspeed2-offload")


def accelerate_yaml(batching: Batching, kind: str = "plain") -> bytes:
    """Return the YAML for one machine with bf16.

    ``deepspeed2`` spreads optimizer state and gradients over the GPUs (ZeRO stage 2) and keeps both on them;
    ``deepspeed2-offload`` moves optimizer and parameters to the CPU's memory, as the tutorial does for a full
    fine-tune of SD3.5 Large on one GPU of 80 GB with 128 GB beside it.
    Keys as `accelerate config` writes them (accelerate 1.x).

    Raises
    ------
    UsageError
        The kind is unknown.
    """
    if kind not in KINDS:
        raise UsageError(f"accelerate configuration {kind!r} is not known: use one of {' '.join(KINDS)}")
    place = "cpu" if kind == "deepspeed2-offload" else "none"
    several = "MULTI_GPU" if batching.gpus > 1 else "'NO'"
    lines = [
        "compute_environment: LOCAL_MACHINE",
        "debug: false",
        f"distributed_type: {several if kind == 'plain' else 'DEEPSPEED'}",
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
            f"  offload_optimizer_device: {place}",
            f"  offload_param_device: {place}",
            "  zero3_init_flag: false",
            "  zero_stage: 2",
        ]
    return ("\n".join(lines) + "\n").encode()
