"""The stage about the machine and the build: what both are."""
import ctypes
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys

SOURCES = ("kernels", "engine", "nn", "tree", "tools", "bench", "tests")


# ---- Environment

def git(root, *arguments):
    """What git says about the folder; None where there is no git, or this is no checkout."""
    if not shutil.which("git"):
        return None
    asked = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True)
    return asked.stdout if asked.returncode == 0 else None


def source_files(root):
    """Files of the source folders, by name: what git does not ignore where this is a checkout, else all that is there."""
    listed = git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *SOURCES)
    if listed:
        names = set(filter(None, listed.split("\0")))
    else:
        names = {str(path.relative_to(root)) for folder in SOURCES for path in (root / folder).rglob("*")}
    kept = (name for name in names if not name.startswith("bench/results/") and "__pycache__" not in name)
    return sorted(name for name in kept if (root / name).is_file())


def source_hash(root):
    """SHA-256 over name and SHA-256 of each source file: which code was measured, with or without git."""
    total = hashlib.sha256()
    for name in source_files(root):
        content = hashlib.sha256((root / name).read_bytes()).hexdigest()
        total.update(f"{content}  {name}\n".encode())
    return total.hexdigest()


def git_commit(root):
    """The commit, with '+' where files differ from it; None without git."""
    commit = git(root, "rev-parse", "HEAD")
    return commit and commit.strip() + ("+" if git(root, "status", "--porcelain", "-uno") else "")


def library_version(name, function):
    """What a library's own function says of its version; None where it cannot be loaded."""
    try:
        call = getattr(ctypes.CDLL(name), function)
    except (OSError, AttributeError):
        return None
    value = ctypes.c_int(0)
    if function == "cuDriverGetVersion":
        return value.value if call(ctypes.byref(value)) == 0 else None
    call.restype = ctypes.c_size_t
    return call()


def cudnn_description(index):
    """The GPU as cuDNN describes it (CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION), or why it does not: with it, plans can
    be made where there is no such GPU."""
    try:
        cudnn = ctypes.CDLL("libcudnn.so.9")
        descriptor, count, number = ctypes.c_void_p(), ctypes.c_int64(), ctypes.c_int32(index)
        create, finalize = cudnn.cudnnBackendCreateDescriptor, cudnn.cudnnBackendFinalize
        set_attribute, get_attribute = cudnn.cudnnBackendSetAttribute, cudnn.cudnnBackendGetAttribute
    except (OSError, AttributeError) as error:
        return {"refused": str(error)}
    device_id, json_text, properties = 2700, 2702, 38  # CUDNN_ATTR_DEVICEPROP_…, CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR
    int32, characters = 23, 24                         # CUDNN_TYPE_INT32, CUDNN_TYPE_CHAR
    text, one, most = ctypes.create_string_buffer(1 << 16), ctypes.c_int64(1), ctypes.c_int64(1 << 16)
    for call in (lambda: create(properties, ctypes.byref(descriptor)),
                 lambda: set_attribute(descriptor, device_id, int32, one, ctypes.byref(number)),
                 lambda: finalize(descriptor),
                 lambda: get_attribute(descriptor, json_text, characters, most, ctypes.byref(count), text)):
        status = call()
        if status != 0:
            return {"refused": f"cuDNN's status {status}"}
    try:
        return json.loads(text.raw[:count.value].rstrip(b"\0"))
    except ValueError:
        return {"refused": text.raw[:count.value].decode(errors="replace")}


def cards():
    """nvidia-smi's answer for each GPU."""
    fields = ("name", "driver_version", "memory.total", "memory.free", "compute_cap", "clocks.max.sm", "power.limit")
    if not shutil.which("nvidia-smi"):
        return []
    asked = subprocess.run(["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"],
                           capture_output=True, text=True)
    lines = asked.stdout.strip().splitlines() if asked.returncode == 0 else []
    return [dict(zip(fields, map(str.strip, line.split(",")))) for line in lines]


def torch_about(stage):
    """Versions of the PyTorch that can be asked; None without one."""
    if not stage.settings.python:
        return None
    script = ("import json, sys, torch\n"
              "print(json.dumps({'python': sys.executable, 'torch': torch.__version__, 'cuda': torch.version.cuda, "
              "'cudnn': torch.backends.cudnn.version(), 'gpu': torch.cuda.is_available() and "
              "torch.cuda.get_device_name()}))")
    asked = stage.run(stage.settings.python, "-c", script)
    return json.loads(asked.stdout) if asked.returncode == 0 else None


def processor():
    with open("/proc/cpuinfo") as info:
        return next((line.split(":")[1].strip() for line in info if line.startswith("model name")), platform.machine())


def first_line(stage, *command):
    if not shutil.which(str(command[0])):
        return None
    said = stage.run(*command).stdout.strip().splitlines()
    return said[-1] if said else None


def environment(stage):
    devices = json.loads(stage.densetree("devices", "--json").stdout)
    pack = stage.build / "pack.json"
    packed = json.loads(pack.read_text()) if pack.exists() else None
    here = source_hash(stage.root)
    for name, value in {
            "commit": git_commit(stage.root), "source_sha256": here, "pack": packed, "processor": processor(),
            "cores": os.cpu_count(), "kernel": platform.release(), "python": sys.version.split()[0], "gpus": cards(),
            "cuda_driver": library_version("libcuda.so.1", "cuDriverGetVersion"),
            "cudnn": library_version("libcudnn.so.9", "cudnnGetVersion"),
            "cudart_of_cudnn": library_version("libcudnn.so.9", "cudnnGetCudartVersion"),
            "nvcc": first_line(stage, "nvcc", "--version"), "pytorch": torch_about(stage), "devices": devices}.items():
        stage.figure(name, value)
    if stage.on_gpu:
        stage.figure("cudnn_description", cudnn_description(int(stage.device.partition(":")[2] or 0)))
    usable = [d for d in devices if d["available"] and d["name"].startswith(stage.device.split(":")[0])]
    stage.check(f"{stage.device} can be used", bool(usable), [d["detail"] for d in devices if d not in usable])
    if packed:
        stage.check("the pack was built from these sources", packed["source_sha256"] == here)
