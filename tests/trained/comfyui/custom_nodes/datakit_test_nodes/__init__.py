"""Nodes that a ComfyUI under test loads: conditioning without a text encoder, pixels without a VAE, faults on demand."""

import hashlib
import time

import torch


class TinyTextEncode:
    """The same text gives the same conditioning."""

    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "encode"
    CATEGORY = "datakit tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"text": ("STRING", {"multiline": True})}}

    def encode(self, text):
        draw = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big"))
        return ([[torch.randn(1, 8, 32, generator=draw), {"pooled_output": torch.randn(1, 32, generator=draw)}]],)


class TinyDecode:
    """Three latent channels as a picture eight times as large."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "decode"
    CATEGORY = "datakit tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"samples": ("LATENT",)}}

    def decode(self, samples):
        pixels = torch.sigmoid(samples["samples"][:, :3].float())
        return (torch.nn.functional.interpolate(pixels, scale_factor=8, mode="bilinear").movedim(1, -1),)


class TinyFault:
    """Passes a picture on after so many seconds, or raises."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "datakit tests"

    @classmethod
    def INPUT_TYPES(cls):
        seconds = ("FLOAT", {"default": 0.0, "min": 0.0, "max": 600.0})
        return {"required": {"images": ("IMAGE",), "seconds": seconds, "error": ("STRING", {"default": ""})}}

    def run(self, images, seconds, error):
        import comfy.model_management

        end = time.monotonic() + seconds
        while time.monotonic() < end:
            comfy.model_management.throw_exception_if_processing_interrupted()
            time.sleep(0.02)
        if error:
            raise RuntimeError(error)
        return (images,)


NODE_CLASS_MAPPINGS = {"TinyTextEncode": TinyTextEncode, "TinyDecode": TinyDecode, "TinyFault": TinyFault}
