"""Memory of NumPy arrays, and of whatever speaks DLPack, as the C interface takes it."""

import ctypes
from typing import Any, NamedTuple

import numpy as np

from densetree import _c

# Of DLPack's header (dlpack.h): where memory lies, and what its elements are.
_CUDA, _CUDA_MANAGED = 2, 13
_CODES = {"i": 0, "u": 1, "f": 2}


class _Device(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int32), ("id", ctypes.c_int32)]


class _DataType(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class _Tensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("device", _Device), ("ndim", ctypes.c_int32), ("dtype", _DataType),
                ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
                ("byte_offset", ctypes.c_uint64)]


_pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_of.restype, _pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


class Memory(NamedTuple):
    pointer: int
    shape: tuple
    place: int  # _c.HOST or _c.DEVICE
    owner: Any  # keeps it

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))


def _gpu_of(array: Any) -> str | None:
    """"cuda:0" where its elements are on a GPU."""
    kind, number = array.__dlpack_device__() if hasattr(array, "__dlpack_device__") else (0, 0)
    return f"cuda:{number}" if kind in (_CUDA, _CUDA_MANAGED) else None


def of_dlpack(array: Any, dtype: np.dtype, name: str, stream: int | None = None) -> Memory:
    """Where the elements of an array are. The capsule is not consumed: it gives the array back when it is dropped."""
    capsule = array.__dlpack__() if stream is None else array.__dlpack__(stream=stream)
    tensor = _Tensor.from_address(_pointer_of(capsule, b"dltensor"))
    dtype = np.dtype(dtype)
    found = (tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes)
    if found != (_CODES[dtype.kind], 8 * dtype.itemsize, 1):
        raise TypeError(f"{name} has elements of DLPack's type {found}; it must have {dtype.name}")
    shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
    if tensor.strides:
        dense = 1
        for length, stride in zip(reversed(shape), reversed([tensor.strides[i] for i in range(tensor.ndim)])):
            if length > 1 and stride != dense:
                raise ValueError(f"{name} is not dense, the last index fastest")
            dense *= length
    place = _c.DEVICE if tensor.device.type in (_CUDA, _CUDA_MANAGED) else _c.HOST
    return Memory((tensor.data or 0) + tensor.byte_offset, shape, place, (array, capsule))


def read(array: Any, dtype: Any, name: str, engine: Any = None) -> Memory:
    """To be read: in place where it is dense and of this type, else as a copy. On a GPU it has to be the engine's, and
    without an engine it has to be on the host."""
    if _gpu_of(array):
        return _on_gpu(array, dtype, name, engine)
    if hasattr(array, "__dlpack__") and not hasattr(array, "__array__"):
        memory = of_dlpack(array, dtype, name)
        values = np.from_dlpack(array)
        return Memory(memory.pointer, memory.shape, _c.HOST, values)
    values = np.asarray(array)
    if values.dtype != dtype and values.size > 0 and not np.can_cast(values.dtype, dtype, "same_kind"):
        raise TypeError(f"{name} has elements of type {values.dtype.name}; it must have {np.dtype(dtype).name}")
    values = np.ascontiguousarray(values, dtype=dtype)
    return Memory(values.ctypes.data, values.shape, _c.HOST, values)


def written(array: Any, dtype: Any, shape: tuple, name: str, engine: Any) -> Memory:
    """To be written to in place."""
    if _gpu_of(array):
        memory = _on_gpu(array, dtype, name, engine)
    elif not isinstance(array, np.ndarray):
        memory = of_dlpack(array, dtype, name)
    else:
        if array.dtype != dtype:
            raise TypeError(f"{name} has elements of type {array.dtype.name}; it must have {np.dtype(dtype).name}")
        if not (array.flags.c_contiguous and array.flags.writeable):
            raise ValueError(f"{name} must be dense and writeable")
        memory = Memory(array.ctypes.data, array.shape, _c.HOST, array)
    if memory.shape != shape:
        raise ValueError(f"{name} has the shape {memory.shape}; it must have {shape}")
    return memory


def _on_gpu(array: Any, dtype: Any, name: str, engine: Any) -> Memory:
    wanted = "the host" if engine is None else engine.device
    if _gpu_of(array) != wanted:
        raise ValueError(f"{name} is on {_gpu_of(array)}; it must be on {wanted.replace('cpu', 'the host')}")
    return of_dlpack(array, dtype, name, engine.stream)
