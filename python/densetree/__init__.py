"""densetree: DenseNets on chest X-rays, with calibrated confidence along a label tree.

    import densetree

    engine = densetree.Engine()                          # a GPU where there is one, else the CPU
    model = engine.load("runs/nih", batch_size=16)       # a trained run
    images = model.read_images(["a.png", "b.png"])       # (N, S, S) uint8
    scores = model.score(images)                         # (N, labels) float64
    calibration = engine.read_calibration("calibration.json")
    posteriors = calibration.posteriors(scores)          # (N, nodes) float64
    print(calibration.report(posteriors))

Arrays are NumPy's. Images, targets and places for results may be of anything that speaks DLPack, on the engine's GPU
too: these are used in place. An engine, and what was made of it, is for one thread at a time; calls let other threads
run. What goes wrong raises densetree.Error. No medical device: for research only.
"""

import ctypes
import operator
import os
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from densetree import _arrays, _c
from densetree._library import (
    Busy,
    Cancelled,
    Error,
    InvalidArgument,
    NotFound,
    OutOfMemory,
    Unavailable,
    call,
    defaults,
    filled,
    library,
    made,
    text,
)

__all__ = ["Busy", "Calibration", "Cancelled", "Device", "Engine", "Error", "InvalidArgument", "Model", "NotFound",
           "OutOfMemory", "Plan", "Unavailable", "devices", "read_image", "resize_image"]

__version__ = _c.VERSION_TEXT

Path = str | os.PathLike
Progress = Callable[[int, int], Any]

_PRECISIONS = {"fp32": _c.FP32, "tf32": _c.TF32, "bf16": _c.BF16}
_MEMORIES = {"store": _c.STORE, "shared": _c.SHARED, "recompute": _c.RECOMPUTE}
_LOSSES = {"mse": _c.MSE, "bce": _c.BCE}
_MOST_QUEUED = 16  # steps whose inputs are kept
_LEGACY_STREAM = 1  # cudaStreamLegacy: PyTorch's and others' 0


class Device(NamedTuple):
    name: str  # "cpu", "cuda:0"
    available: bool
    detail: str  # hardware, or why it is not available


def devices() -> list[Device]:
    """What this build and machine offer."""
    found = []
    while True:
        try:
            device = filled("device_get", _c.DeviceInfo, len(found))
        except NotFound:
            return found
        found.append(Device(device.name.decode(), bool(device.available), device.detail.decode(errors="replace")))


def read_image(file: Path, side: int) -> np.ndarray:
    """An image file (PNG, JPEG) as networks take it: (side, side) uint8 grey, upright, resized by areas."""
    pixels = np.empty((side, side) if side > 0 else (0, 0), np.uint8)
    call("image_read", text(file), side, pixels.ctypes.data, pixels.size)
    return pixels


def resize_image(image: Any, side: int) -> np.ndarray:
    """The same from (height, width) uint8 in memory."""
    given = _arrays.read(image, np.uint8, "image")
    _check_shape(given, (None, None), "image")
    pixels = np.empty((side, side) if side > 0 else (0, 0), np.uint8)
    call("image_resize", given.pointer, given.size, given.shape[1], given.shape[0], side, pixels.ctypes.data, pixels.size)
    return pixels


class _Handle:
    """A handle of the C interface, released when nobody has it any more, or by close()."""

    def __init__(self, kind: str, handle: int) -> None:
        self._handle = ctypes.c_void_p(handle)
        self._release = weakref.finalize(self, getattr(library, f"densetree_{kind}_release"), self._handle)

    def close(self) -> None:
        self._release()
        self._handle = ctypes.c_void_p()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


class Engine(_Handle):
    """A device and its queue of work.

    device   "auto" (a GPU where there is one), "cpu", "cpu:SET", "cuda" or "cuda:N"
    threads  of the CPU; 0: all cores that the process may use
    stream   address of a CUDA stream of yours, on which all work is queued (torch.cuda.current_stream().cuda_stream; 0
             is the default stream); None: one of its own
    log      called with lines for a log
    """

    def __init__(self, device: str = "auto", *, threads: int = 0, stream: int | None = None,
                 log: Callable[[str], Any] | None = None) -> None:
        params = defaults("engine_params", _c.EngineParams)
        params.device = device.encode()
        params.threads = operator.index(threads)
        params.stream = _LEGACY_STREAM if stream == 0 else stream
        # A method of this object would keep it alive for ever.
        self._log = _c.LogCallback(lambda _, line: log(line.decode(errors="replace"))) if log else _c.LogCallback()
        params.log = self._log
        super().__init__("engine", made("engine_create", _c.VERSION, ctypes.byref(params)))
        self._waits = stream is None  # nobody else knows what to wait for
        self._queued: list = []  # what queued steps have yet to read

    @property
    def device(self) -> str:
        """"cpu", "cuda:0": what "auto" took."""
        return library.densetree_engine_device(self._handle).decode()

    @property
    def stream(self) -> int | None:
        """Address of the CUDA stream on which work is queued; None on devices without."""
        return library.densetree_engine_stream(self._handle)

    def wait(self) -> None:
        """For all work that was queued."""
        call("engine_wait", self._handle)
        self._queued.clear()

    def plan(self, **settings: Any) -> "Plan":
        """What a model would need; nothing is allocated. The settings are those of Model."""
        return Plan(self, settings)

    def largest_batch(self, memory: int, **settings: Any) -> int:
        """The largest batch whose plan fits into so many bytes; 0 where not even one image does."""
        params, _kept = _model_params(settings)
        batch = ctypes.c_int64()
        call("largest_batch", self._handle, ctypes.byref(params), memory, ctypes.byref(batch))
        return batch.value

    def load(self, run: Path, **settings: Any) -> "Model":
        """A trained run, or a checkpoint (safetensors). The settings are those of Model."""
        return self.plan(run=run, **settings).model()

    def model(self, **settings: Any) -> "Model":
        """A network with weights drawn from a seed. The settings are those of Model."""
        return self.plan(**settings).model()

    def read_calibration(self, file: Path) -> "Calibration":
        """A calibration that `densetree calibrate` or Calibration.write() wrote."""
        return Calibration(self, made("calibration_read", self._handle, text(file)))

    def fit_calibration(self, scores: Any, targets: Any, patients: Any, *, tree: Path | None = None,
                        choose: str | None = None, choose_share: float = 0.5, smoothing: float = 1, bins: int = 50,
                        monotone: bool = True, seed: int = 1) -> "Calibration":
        """Fits posteriors, and chooses thresholds where asked for.

        scores    (N, leaves) in [0, 1]
        targets   (N, leaves) of 1, 0, or NaN where unknown
        patients  (N,) integers, whose each image is
        tree      file of a label tree (TOML); None: NIH's 14 findings
        choose    thresholds with a guarantee: "precision:0.8,delta:0.1", "any-false:0.1", "miss:0.1"
        """
        params = defaults("calibration_params", _c.CalibrationParams)
        params.tree = text(tree)
        params.choose = None if choose is None else choose.encode()
        params.choose_share, params.smoothing, params.seed = choose_share, smoothing, seed
        params.bins, params.monotone = operator.index(bins), bool(monotone)
        given = [_arrays.read(array, dtype, name) for array, dtype, name in
                 [(scores, np.float64, "scores"), (targets, np.float32, "targets"), (patients, np.int64, "patients")]]
        _check_shape(given[0], (None, None), "scores")
        _check_shape(given[1], given[0].shape, "targets")
        _check_shape(given[2], given[0].shape[:1], "patients")
        sizes = [value for memory in given for value in (memory.pointer, memory.size)]
        return Calibration(self, made("calibration_fit", self._handle, ctypes.byref(params), *sizes))


def _choice(name: str, choices: dict, value: str) -> int:
    if value not in choices:
        raise InvalidArgument(f"{name} is {value!r}; use one of {', '.join(choices)}")
    return choices[value]


def _model_params(settings: dict) -> tuple[_c.ModelParams, list]:
    """And what has to be kept for as long as they are."""
    params = defaults("model_params", _c.ModelParams)
    kept: list = []
    for name, value in settings.items():
        if name == "run":
            params.run = text(value)
        elif name == "architecture":
            params.architecture = value.encode()
        elif name == "labels" and not hasattr(value, "__index__"):
            if len(value) == 0:
                raise InvalidArgument("labels is empty; a model has at least one")
            names = (ctypes.c_char_p * len(value))(*(label.encode() for label in value))
            params.label_names, params.labels = ctypes.cast(names, ctypes.c_void_p), len(value)
            kept.append(names)
        elif name == "positive_weights":
            weights = np.ascontiguousarray(value, np.float32)
            params.positive_weights = weights.ctypes.data
            kept.append(weights)
        elif name == "precision":
            params.precision = _choice(name, _PRECISIONS, value)
        elif name == "memory":
            params.memory = _choice(name, _MEMORIES, value)
        elif name == "loss":
            params.loss = _choice(name, _LOSSES, value)
        elif name in ("labels", "batch_size", "image_size", "source_size", "training", "inference", "capture"):
            setattr(params, name, operator.index(value))
        else:
            raise TypeError(f"a model has no setting {name!r}")
    if params.positive_weights and len(weights) != params.labels:
        raise InvalidArgument(f"positive_weights has {len(weights)} values; give labels, and as many")
    return params, kept


class _Planned(_Handle):
    """What plans and models tell of themselves."""

    _kind: str

    def _info(self) -> _c.ModelInfo:
        return filled(f"{self._kind}_get_info", _c.ModelInfo, self._handle)

    architecture = property(lambda self: self._info().architecture.decode())
    bytes = property(lambda self: self._info().bytes, doc="Of device memory, all that the model ever takes there.")
    persistent_bytes = property(lambda self: self._info().persistent_bytes, doc="Of these: weights, statistics, moments.")
    batch_size = property(lambda self: self._info().batch_size)
    image_size = property(lambda self: self._info().image_size, doc="Side of the network's input.")
    source_size = property(lambda self: self._info().source_size, doc="Side of the images that are handed in.")
    features = property(lambda self: self._info().features, doc="Width of what the classifier sees.")


class Plan(_Planned):
    """What a model will need, before anything is allocated."""

    _kind = "plan"

    def __init__(self, engine: Engine, settings: dict) -> None:
        self._engine = engine
        params, _kept = _model_params(settings)
        super().__init__("plan", made("plan_create", engine._handle, ctypes.byref(params)))

    def model(self) -> "Model":
        """A model of this plan, with its memory: `bytes` of it."""
        return Model(self._engine, made("model_create", self._handle, None, 0))


class Model(_Planned):
    """A DenseNet with its weights on an engine. Made by Engine.load(), Engine.model() or Plan.model(). Settings:

    run               the folder of a trained run, or a checkpoint: architecture, labels and sizes are its own
    architecture      "densenet121", "growth=8,blocks=2-3-4-2,init=16", ...
    labels            their names, or how many
    batch_size        images at once (16)
    image_size, source_size   sides of the network's input (224) and of the images that are handed in (256)
    training, inference       what it is for (False, True)
    precision         "fp32", "tf32" (a GPU) or "bf16"
    memory            what training keeps for backward: "store", "shared" or "recompute"
    loss              "mse" of the sigmoid, or "bce"
    positive_weights  of the loss, one for each label
    capture           a step may become a CUDA graph (True)
    """

    _kind = "model"

    def __init__(self, engine: Engine, handle: int) -> None:
        self._engine = engine
        super().__init__("model", handle)
        info = self._info()
        self._labels, self._features, self._source = info.labels, info.features, info.source_size

    @property
    def labels(self) -> list[str | None]:
        """Names of the outputs; None where nobody gave them."""
        names = [library.densetree_model_label(self._handle, i) for i in range(self._labels)]
        return [name.decode() if name else None for name in names]

    steps = property(lambda self: self._info().steps, doc="Of training that the weights have seen.")

    def read_images(self, files: Sequence[Path]) -> np.ndarray:
        """Image files as this network takes them: (N, source_size, source_size) uint8."""
        return np.stack([read_image(file, self._source) for file in files])

    def score(self, images: Any, *, progress: Progress | None = None) -> np.ndarray:
        """Probabilities of the labels, (N, labels) float64.

        images    (N, source_size, source_size) uint8, any number of them
        progress  called after each batch with images done and in all; False cancels, which raises Cancelled
        """
        given = self._images(images)
        scores = np.empty((given.shape[0], self._labels))
        outputs = _c.Outputs(size=ctypes.sizeof(_c.Outputs), probabilities=scores.ctypes.data,
                             probabilities_size=scores.size)
        self._infer(given, outputs, progress)
        return scores

    def logits(self, images: Any, *, out: Any = None, progress: Progress | None = None) -> Any:
        """Before the sigmoid, (N, labels) float32; into `out` where that is given."""
        return self._float_outputs(images, "logits", self._labels, out, progress)

    def embed(self, images: Any, *, out: Any = None, progress: Progress | None = None) -> Any:
        """What the classifier sees, (N, features) float32; into `out` where that is given."""
        return self._float_outputs(images, "embeddings", self._features, out, progress)

    def train_step(self, images: Any, targets: Any, *, lr: float = 1e-3, weight_decay: float = 0, clip_norm: float = 0,
                   wait: bool = True) -> float | None:
        """Forward, backward and Adam on one whole batch. Returns the mean loss before the update.

        targets  (batch_size, labels) of 1, 0, or NaN where unknown, where the images are: on the host, or the GPU
        wait     False: the step is queued on a GPU and nothing is returned
        """
        given = self._images(images)
        known = _arrays.read(targets, np.float32, "targets", self._engine)
        _check_shape(known, (given.shape[0], self._labels), "targets")
        if known.place != given.place:
            raise InvalidArgument("images and targets are in different places; both must be on the host, or on the GPU")
        params = defaults("step_params", _c.StepParams)
        params.lr, params.weight_decay, params.clip_norm = lr, weight_decay, clip_norm
        loss = ctypes.c_double()
        call("model_train_step", self._handle, ctypes.byref(_images(given)), known.pointer, known.size,
             ctypes.byref(params), ctypes.byref(loss) if wait else None)
        queued = self._engine._queued
        if wait:
            queued.clear()
            return loss.value
        queued.append((given, known))
        if len(queued) > _MOST_QUEUED:
            self._engine.wait()
        return None

    def initialize(self, seed: int) -> None:
        """Draws the weights anew, as torchvision does."""
        call("model_initialize", self._handle, seed)

    def load(self, file: Path) -> None:
        """Weights under torchvision's names (safetensors), and the state of training where it has it."""
        call("model_load", self._handle, text(file))

    def save(self, file: Path) -> None:
        """A checkpoint that load() and the program take, whole or not at all."""
        call("model_save", self._handle, text(file))

    def tensors(self) -> dict[str, np.ndarray]:
        """Copies of all weights and running statistics, float32, by torchvision's names."""
        values: dict[str, np.ndarray] = {}
        while True:
            try:
                tensor = filled("model_get_tensor", _c.Tensor, self._handle, len(values))
            except NotFound:
                return values
            array = np.empty(tensor.shape[: tensor.dimensions], np.float32)
            call("model_read_tensor", self._handle, tensor.name, array.ctypes.data, array.size)
            values[tensor.name.decode()] = array

    def _images(self, images: Any) -> _arrays.Memory:
        given = _arrays.read(images, np.uint8, "images", self._engine)
        _check_shape(given, (None, self._source, self._source), "images")
        return given

    def _float_outputs(self, images: Any, name: str, width: int, out: Any, progress: Progress | None) -> Any:
        given = self._images(images)
        shape = (given.shape[0], width)
        if out is None:
            out = np.empty(shape, np.float32)
        to = _arrays.written(out, np.float32, shape, "out", self._engine)
        outputs = _c.Outputs(size=ctypes.sizeof(_c.Outputs), place=to.place)
        setattr(outputs, name, to.pointer)
        setattr(outputs, f"{name}_size", to.size)
        self._infer(given, outputs, progress)
        if to.place == _c.DEVICE and self._engine._waits:
            self._engine.wait()
        return out

    def _infer(self, given: _arrays.Memory, outputs: _c.Outputs, progress: Progress | None) -> None:
        raised: list[BaseException] = []

        def note(_: Any, done: int, total: int) -> int:
            try:
                return 0 if progress is not None and progress(done, total) is False else 1
            except BaseException as error:  # Ctrl-C among them: it goes on behind the library
                raised.append(error)
                return 0

        try:
            call("model_infer", self._handle, ctypes.byref(_images(given)), ctypes.byref(outputs),
                 _c.ProgressCallback(note), None)
        except Cancelled:
            if not raised:
                raise
        if raised:
            raise raised[0]


def _images(given: _arrays.Memory) -> _c.Images:
    return _c.Images(size=ctypes.sizeof(_c.Images), pixels=given.pointer, pixels_size=given.size, count=given.shape[0],
                     place=given.place)


def _check_shape(given: _arrays.Memory, shape: tuple, name: str) -> None:
    if len(given.shape) != len(shape) or any(want not in (None, have) for have, want in zip(given.shape, shape)):
        wanted = ", ".join("N" if length is None else str(length) for length in shape)
        raise InvalidArgument(f"{name} has the shape {given.shape}; it must have ({wanted})")


def _pair(values: np.ndarray | None) -> tuple:
    """Address and size, as the C interface takes them."""
    return (None, 0) if values is None else (values.ctypes.data, values.size)


class Calibration(_Handle):
    """Turns scores into posteriors along a label tree. Made by Engine.read_calibration() or Engine.fit_calibration().

    nodes       names: first the leaves, in the order of the scores' columns, last the root
    parents     of each node the number of its parent, -1 of the root
    leaves      how many there are
    thresholds  (nodes,) the chosen ones, infinity where none can be certified; None where none were chosen
    """

    def __init__(self, engine: Engine, handle: int) -> None:
        self._engine = engine
        super().__init__("calibration", handle)
        info = filled("calibration_get_info", _c.CalibrationInfo, self._handle)
        nodes = [filled("calibration_get_node", _c.Node, self._handle, i) for i in range(info.nodes)]
        self.nodes: list[str] = [node.name.decode() for node in nodes]
        self.parents: list[int] = [node.parent for node in nodes]
        self.leaves: int = info.leaves
        self.thresholds: np.ndarray | None = None
        if info.has_thresholds:
            self.thresholds = np.empty(info.nodes)
            call("calibration_thresholds", self._handle, self.thresholds.ctypes.data, self.thresholds.size)

    def check(self, model: Model) -> None:
        """Raises Error, saying how they differ, unless the model's labels are the leaves."""
        call("calibration_check_model", self._handle, model._handle)

    def posteriors(self, scores: Any) -> np.ndarray:
        """P(node | score) of scores (N, leaves) in [0, 1]: (N, nodes) float64."""
        given = _arrays.read(scores, np.float64, "scores")
        _check_shape(given, (None, self.leaves), "scores")
        posteriors = np.empty((given.shape[0], len(self.nodes)))
        if given.size > 0:
            call("calibration_posteriors", self._handle, given.pointer, given.size, posteriors.ctypes.data,
                 posteriors.size)
        return posteriors

    def answer(self, posteriors: Any, thresholds: Any = None) -> np.ndarray:
        """Which nodes are reported, (N, nodes) bool: those whose posterior reaches its threshold and that of no node
        below them does. Thresholds are (nodes,), a number, or None: the chosen ones."""
        given, limits = self._answered(posteriors, thresholds)
        reported = np.zeros(given.shape, np.uint8)
        for row, to in zip(given, reported):
            call("calibration_answer", self._handle, row.ctypes.data, row.size, *_pair(limits), to.ctypes.data, to.size)
        return reported.astype(bool)

    def report(self, posteriors: Any, thresholds: Any = None) -> list[str]:
        """The same in words, for each image."""
        given, limits = self._answered(posteriors, thresholds)
        texts = []
        for row in given:
            length = ctypes.c_size_t()
            told = (self._handle, row.ctypes.data, row.size, *_pair(limits))
            call("calibration_report", *told, None, 0, ctypes.byref(length))
            lines = ctypes.create_string_buffer(length.value + 1)
            call("calibration_report", *told, lines, len(lines), ctypes.byref(length))
            texts.append(lines.value.decode())
        return texts

    def write(self, file: Path) -> None:
        call("calibration_write", self._handle, text(file))

    def _answered(self, posteriors: Any, thresholds: Any) -> tuple[np.ndarray, np.ndarray | None]:
        given = _arrays.read(posteriors, np.float64, "posteriors")
        _check_shape(given, (None, len(self.nodes)), "posteriors")
        if thresholds is None:
            return given.owner, None
        return given.owner, np.ascontiguousarray(np.broadcast_to(np.asarray(thresholds, np.float64), (len(self.nodes),)))
