"""What densetree.h declares, for ctypes. Made from it by bindings.py."""

from ctypes import CFUNCTYPE, POINTER, Structure, c_char, c_char_p, c_double, c_int32, c_int64, c_size_t, c_uint64, c_void_p

VERSION = 1000
VERSION_TEXT = "0.1.0"

OK = 0
INVALID_ARGUMENT = 1
UNAVAILABLE = 2
OUT_OF_MEMORY = 3
FAILED = 4
CANCELLED = 5
BUSY = 6
NOT_FOUND = 7

FP32 = 0
TF32 = 1
BF16 = 2

STORE = 0
SHARED = 1
RECOMPUTE = 2

MSE = 0
BCE = 1

HOST = 0
DEVICE = 1

LogCallback = CFUNCTYPE(None, c_void_p, c_char_p)
AllocateCallback = CFUNCTYPE(c_void_p, c_void_p, c_size_t, c_size_t)
FreeCallback = CFUNCTYPE(None, c_void_p, c_void_p)
ProgressCallback = CFUNCTYPE(c_int32, c_void_p, c_int64, c_int64)


class DeviceInfo(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("name", c_char * 16),
        ("detail", c_char * 464),
        ("available", c_int32),
        ("reserved", c_int32),
    ]


class EngineParams(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("device", c_char_p),
        ("stream", c_void_p),
        ("log", LogCallback),
        ("log_data", c_void_p),
        ("allocate", AllocateCallback),
        ("free", FreeCallback),
        ("memory_data", c_void_p),
        ("threads", c_int32),
        ("reserved", c_int32),
    ]


class ModelParams(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("run", c_char_p),
        ("architecture", c_char_p),
        ("label_names", c_void_p),
        ("positive_weights", c_void_p),
        ("labels", c_int64),
        ("batch_size", c_int64),
        ("image_size", c_int64),
        ("source_size", c_int64),
        ("precision", c_int32),
        ("memory", c_int32),
        ("loss", c_int32),
        ("training", c_int32),
        ("inference", c_int32),
        ("capture", c_int32),
    ]


class ModelInfo(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("bytes", c_size_t),
        ("persistent_bytes", c_size_t),
        ("alignment", c_size_t),
        ("architecture", c_char_p),
        ("labels", c_int64),
        ("features", c_int64),
        ("batch_size", c_int64),
        ("image_size", c_int64),
        ("source_size", c_int64),
        ("steps", c_int64),
        ("training", c_int32),
        ("inference", c_int32),
    ]


class Tensor(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("name", c_char_p),
        ("elements", c_int64),
        ("shape", c_int64 * 4),
        ("dimensions", c_int32),
        ("reserved", c_int32),
    ]


class Images(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("pixels", c_void_p),
        ("pixels_size", c_size_t),
        ("count", c_int64),
        ("place", c_int32),
        ("reserved", c_int32),
    ]


class Outputs(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("logits", c_void_p),
        ("logits_size", c_size_t),
        ("embeddings", c_void_p),
        ("embeddings_size", c_size_t),
        ("probabilities", c_void_p),
        ("probabilities_size", c_size_t),
        ("place", c_int32),
        ("reserved", c_int32),
    ]


class StepParams(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("lr", c_double),
        ("weight_decay", c_double),
        ("clip_norm", c_double),
    ]


class CalibrationParams(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("tree", c_char_p),
        ("choose", c_char_p),
        ("choose_share", c_double),
        ("smoothing", c_double),
        ("seed", c_uint64),
        ("bins", c_int32),
        ("monotone", c_int32),
    ]


class CalibrationInfo(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("nodes", c_int64),
        ("leaves", c_int64),
        ("images", c_int64),
        ("patients", c_int64),
        ("has_thresholds", c_int32),
        ("reserved", c_int32),
    ]


class Node(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("name", c_char_p),
        ("parent", c_int64),
    ]


# Of each function its result and arguments.
FUNCTIONS = {
    "densetree_status_code": (c_int32, [c_void_p]),
    "densetree_status_message": (c_char_p, [c_void_p]),
    "densetree_status_release": (None, [c_void_p]),
    "densetree_version": (c_int32, []),
    "densetree_device_get": (c_void_p, [c_int32, POINTER(DeviceInfo)]),
    "densetree_engine_params_init": (c_void_p, [POINTER(EngineParams), c_size_t]),
    "densetree_engine_create": (c_void_p, [c_int32, POINTER(EngineParams), c_void_p]),
    "densetree_engine_release": (None, [c_void_p]),
    "densetree_engine_device": (c_char_p, [c_void_p]),
    "densetree_engine_stream": (c_void_p, [c_void_p]),
    "densetree_engine_wait": (c_void_p, [c_void_p]),
    "densetree_model_params_init": (c_void_p, [POINTER(ModelParams), c_size_t]),
    "densetree_plan_create": (c_void_p, [c_void_p, POINTER(ModelParams), c_void_p]),
    "densetree_plan_release": (None, [c_void_p]),
    "densetree_plan_get_info": (c_void_p, [c_void_p, POINTER(ModelInfo)]),
    "densetree_largest_batch": (c_void_p, [c_void_p, POINTER(ModelParams), c_size_t, c_void_p]),
    "densetree_model_create": (c_void_p, [c_void_p, c_void_p, c_size_t, c_void_p]),
    "densetree_model_release": (None, [c_void_p]),
    "densetree_model_get_info": (c_void_p, [c_void_p, POINTER(ModelInfo)]),
    "densetree_model_label": (c_char_p, [c_void_p, c_int64]),
    "densetree_model_initialize": (c_void_p, [c_void_p, c_uint64]),
    "densetree_model_load": (c_void_p, [c_void_p, c_char_p]),
    "densetree_model_save": (c_void_p, [c_void_p, c_char_p]),
    "densetree_model_get_tensor": (c_void_p, [c_void_p, c_int64, POINTER(Tensor)]),
    "densetree_model_read_tensor": (c_void_p, [c_void_p, c_char_p, c_void_p, c_size_t]),
    "densetree_model_infer": (c_void_p, [c_void_p, POINTER(Images), POINTER(Outputs), ProgressCallback,
        c_void_p]),
    "densetree_step_params_init": (c_void_p, [POINTER(StepParams), c_size_t]),
    "densetree_model_train_step": (c_void_p, [c_void_p, POINTER(Images), c_void_p, c_size_t,
        POINTER(StepParams), c_void_p]),
    "densetree_image_read": (c_void_p, [c_char_p, c_int64, c_void_p, c_size_t]),
    "densetree_image_resize": (c_void_p, [c_void_p, c_size_t, c_int64, c_int64, c_int64, c_void_p, c_size_t]),
    "densetree_calibration_params_init": (c_void_p, [POINTER(CalibrationParams), c_size_t]),
    "densetree_calibration_read": (c_void_p, [c_void_p, c_char_p, c_void_p]),
    "densetree_calibration_fit": (c_void_p, [c_void_p, POINTER(CalibrationParams), c_void_p, c_size_t,
        c_void_p, c_size_t, c_void_p, c_size_t, c_void_p]),
    "densetree_calibration_release": (None, [c_void_p]),
    "densetree_calibration_write": (c_void_p, [c_void_p, c_char_p]),
    "densetree_calibration_get_info": (c_void_p, [c_void_p, POINTER(CalibrationInfo)]),
    "densetree_calibration_get_node": (c_void_p, [c_void_p, c_int64, POINTER(Node)]),
    "densetree_calibration_check_model": (c_void_p, [c_void_p, c_void_p]),
    "densetree_calibration_posteriors": (c_void_p, [c_void_p, c_void_p, c_size_t, c_void_p, c_size_t]),
    "densetree_calibration_thresholds": (c_void_p, [c_void_p, c_void_p, c_size_t]),
    "densetree_calibration_answer": (c_void_p, [c_void_p, c_void_p, c_size_t, c_void_p, c_size_t, c_void_p,
        c_size_t]),
    "densetree_calibration_report": (c_void_p, [c_void_p, c_void_p, c_size_t, c_void_p, c_size_t, c_char_p,
        c_size_t, c_void_p]),
}
