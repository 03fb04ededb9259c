"""How PyTorch is told to compute: fp32 in full ("off"), fp32 through TensorFloat-32 ("tf32"), or autocast to bfloat16.

Used wherever this engine is held or timed against PyTorch, so that both mean the same by a precision.
"""
import contextlib

AMP = {"fp32": "off", "tf32": "tf32", "bf16": "bf16"}  # this engine's names, and torch_step.py's


def set_up(torch, amp):
    """Allows TensorFloat-32 in convolutions and products, or forbids it: by default PyTorch does one of each."""
    torch.backends.cudnn.allow_tf32 = amp == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = amp == "tf32"


def autocast(torch, amp, device):
    """The context to run forward passes and losses in."""
    if amp == "bf16":
        return torch.autocast(device, dtype=torch.bfloat16)
    return contextlib.nullcontext()
