/* densetree: trains and runs DenseNets on chest X-rays and answers with calibrated confidence. The C interface.
 *
 * An engine is a device and its queue of work. A plan says what a model will need before any of it is allocated; a
 * model is a plan with its memory. A calibration turns a model's scores into posteriors along a label tree.
 *
 *   densetree_engine_params params;
 *   densetree_status* status = densetree_engine_params_init(&params, sizeof params);
 *   densetree_engine* engine = NULL;
 *   if (!status) status = densetree_engine_create(DENSETREE_VERSION, &params, &engine);
 *   if (status) {
 *     fprintf(stderr, "%s\n", densetree_status_message(status));
 *     densetree_status_release(status);
 *   }
 *
 * Rules
 *  - A function that can fail returns a status: null where it succeeded, else a code and a sentence, to be released.
 *    What it was to make is then null, and what it was to change is as it was, unless it says otherwise.
 *  - Release functions take null. Handles may be released in any order.
 *  - Structs begin with their size, so that they can grow: set by the ..._init function, with defaults, where there is
 *    one, else {.size = sizeof(struct)} with zeros behind it. Reserved fields, and such as a library does not know,
 * must be zero.
 *  - Sizes of buffers are numbers of elements, not bytes. Arrays are dense, the last index fastest.
 *  - An engine, and what was made of it, is for one thread at a time: a call while another one runs there, or out of a
 *    callback of it, is refused with DENSETREE_BUSY. What takes a const handle may be called at any time, and what is
 *    released during a call goes when the call is over. Different engines may be used at the same time.
 *  - Texts are UTF-8 and end with a zero. Those handed out belong to their handle.
 *  - Nothing here ends the process, throws, installs handlers, or leaves changed what belongs to the host program: the
 *    number of OpenMP threads, the current CUDA device, locale, floating-point mode.
 *  - On CUDA, work is queued on the engine's stream. infer and train_step wait for it only where they write to host
 *    memory; what they read from device memory must stay until their work is done. Other calls wait.
 *
 * No medical device: for research only.
 */
#ifndef DENSETREE_H
#define DENSETREE_H

#include <stddef.h>
#include <stdint.h>

#define DENSETREE_VERSION_MAJOR 0
#define DENSETREE_VERSION_MINOR 1
#define DENSETREE_VERSION_PATCH 0
#define DENSETREE_VERSION (DENSETREE_VERSION_MAJOR * 1000000 + DENSETREE_VERSION_MINOR * 1000 + DENSETREE_VERSION_PATCH)

#if defined(__GNUC__)
#define DENSETREE_API __attribute__((visibility("default")))
#define DENSETREE_MUST_CHECK __attribute__((warn_unused_result))
#else
#define DENSETREE_API
#define DENSETREE_MUST_CHECK
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Status ------------------------------------------------------------------------------------------ */

typedef struct densetree_status densetree_status;

typedef int32_t densetree_code;
enum {
  DENSETREE_OK = 0,
  DENSETREE_INVALID_ARGUMENT = 1, /* null, too small, misaligned, in another place, no such value */
  DENSETREE_UNAVAILABLE = 2,      /* this build or machine does not have it */
  DENSETREE_OUT_OF_MEMORY = 3,
  DENSETREE_FAILED = 4,    /* a file, a device, or data that make no sense */
  DENSETREE_CANCELLED = 5, /* a callback asked for it */
  DENSETREE_BUSY = 6,      /* the engine is in use by another call */
  DENSETREE_NOT_FOUND = 7  /* behind the last of a list */
};

DENSETREE_API densetree_code densetree_status_code(const densetree_status* status); /* DENSETREE_OK of null */
DENSETREE_API const char* densetree_status_message(const densetree_status* status); /* "" of null */
DENSETREE_API void densetree_status_release(densetree_status* status);

/* ---- Version and devices ----------------------------------------------------------------------------- */

DENSETREE_API int32_t densetree_version(void); /* DENSETREE_VERSION of the library */

typedef struct densetree_device_info {
  size_t size;
  char name[16];     /* "cpu", "cuda:0" */
  char detail[464];  /* hardware, or why it is not available */
  int32_t available; /* 1 or 0 */
  int32_t reserved;
} densetree_device_info;

/* What this build and machine offer. DENSETREE_NOT_FOUND behind the last. */
DENSETREE_API densetree_status* densetree_device_get(int32_t index, densetree_device_info* device) DENSETREE_MUST_CHECK;

/* ---- Engine ------------------------------------------------------------------------------------------ */

typedef struct densetree_engine densetree_engine;

/* One line, for a log. */
typedef void (*densetree_log)(void* data, const char* message);
/* Device memory for models and tables: aligned to `alignment`, or null where there is none. */
typedef void* (*densetree_allocate)(void* data, size_t bytes, size_t alignment);
typedef void (*densetree_free)(void* data, void* memory);
/* After each batch; 0 cancels. */
typedef int32_t (*densetree_progress)(void* data, int64_t done, int64_t total);

typedef struct densetree_engine_params {
  size_t size;
  const char* device; /* "auto", "cpu", "cpu:SET" (x86-64, avx2, avx512, avx512_bf16), "cuda" or "cuda:N" */
  void* stream;       /* cudaStream_t of that device, cudaStreamLegacy for the default one; null: one of its own */
  densetree_log log;  /* or null */
  void* log_data;
  densetree_allocate allocate; /* both, or neither */
  densetree_free free;
  void* memory_data;
  int32_t threads; /* of the CPU; 0: all cores that the process may use */
  int32_t reserved;
} densetree_engine_params;

DENSETREE_API densetree_status* densetree_engine_params_init(densetree_engine_params* params,
                                                             size_t size) DENSETREE_MUST_CHECK;
/* Stream, callbacks and their data outlive the engine and all that is made of it. */
/* version: DENSETREE_VERSION as the caller was compiled with. Another major version is refused. */
DENSETREE_API densetree_status* densetree_engine_create(int32_t version, const densetree_engine_params* params,
                                                        densetree_engine** engine) DENSETREE_MUST_CHECK;
DENSETREE_API void densetree_engine_release(densetree_engine* engine);
/* "cpu", "cuda:0": what "auto" took. Null of null. */
DENSETREE_API const char* densetree_engine_device(const densetree_engine* engine);
/* Where it queues its work, a cudaStream_t: the caller's, or its own. Null on devices without streams. */
DENSETREE_API void* densetree_engine_stream(const densetree_engine* engine);
/* Waits for all work that was queued. */
DENSETREE_API densetree_status* densetree_engine_wait(densetree_engine* engine) DENSETREE_MUST_CHECK;

/* ---- Plan: what a model needs, before anything is allocated ------------------------------------------ */

typedef struct densetree_plan densetree_plan;
typedef struct densetree_model densetree_model;

typedef int32_t densetree_precision;
enum { DENSETREE_FP32 = 0, DENSETREE_TF32 = 1, DENSETREE_BF16 = 2 };
typedef int32_t densetree_memory; /* what training keeps for backward */
enum { DENSETREE_STORE = 0, DENSETREE_SHARED = 1, DENSETREE_RECOMPUTE = 2 };
typedef int32_t densetree_loss; /* of the sigmoid, or with logits */
enum { DENSETREE_MSE = 0, DENSETREE_BCE = 1 };

typedef struct densetree_model_params {
  size_t size;
  /* The folder of a trained run, or a checkpoint (safetensors): weights, architecture, labels and sizes come from
     there. Null: an architecture whose weights are loaded or drawn later. */
  const char* run;
  const char* architecture;       /* "densenet121", "growth=8,blocks=2-3-4-2,init=16", ...; null: the run's, or that */
  const char* const* label_names; /* as many as labels, for checkpoints; null: the run's, or of 14 NIH's findings */
  const float* positive_weights;  /* as many as labels, of the loss; or null */
  int64_t labels;                 /* 0: the run's, or 14 */
  int64_t batch_size;             /* images at once */
  int64_t image_size;             /* side of the network's input; 0: the run's, or 224 */
  int64_t source_size;            /* side of the images that are handed in; 0: the run's, or 256 */
  densetree_precision precision;
  densetree_memory memory;
  densetree_loss loss;
  int32_t training;  /* 1: can train */
  int32_t inference; /* 1: can infer */
  int32_t capture;   /* 1: a step may become a CUDA graph; results are the same */
} densetree_model_params;

typedef struct densetree_model_info {
  size_t size;
  size_t bytes;            /* of device memory, all that the model will ever take there */
  size_t persistent_bytes; /* of these: weights, statistics, Adam's moments */
  size_t alignment;        /* that memory of the caller must have */
  const char* architecture;
  int64_t labels, features, batch_size, image_size, source_size;
  int64_t steps; /* of training that the weights have seen; 0 of a plan */
  int32_t training, inference;
} densetree_model_info;

DENSETREE_API densetree_status* densetree_model_params_init(densetree_model_params* params,
                                                            size_t size) DENSETREE_MUST_CHECK;
DENSETREE_API densetree_status* densetree_plan_create(densetree_engine* engine, const densetree_model_params* params,
                                                      densetree_plan** plan) DENSETREE_MUST_CHECK;
DENSETREE_API void densetree_plan_release(densetree_plan* plan);
DENSETREE_API densetree_status* densetree_plan_get_info(const densetree_plan* plan,
                                                        densetree_model_info* info) DENSETREE_MUST_CHECK;
/* The largest batch up to 4096 whose plan fits into so many bytes; 0 where not even one image does. That of the params
   does not matter. */
DENSETREE_API densetree_status* densetree_largest_batch(densetree_engine* engine, const densetree_model_params* params,
                                                        size_t bytes, int64_t* batch_size) DENSETREE_MUST_CHECK;

/* ---- Model ------------------------------------------------------------------------------------------- */

/* memory: `bytes` of the engine's device, at least what the plan says, that outlive the model; null, with 0 bytes: the
   engine's allocator, or the device's. Weights are the run's, or drawn with seed 1. */
DENSETREE_API densetree_status* densetree_model_create(densetree_plan* plan, void* memory, size_t bytes,
                                                       densetree_model** model) DENSETREE_MUST_CHECK;
DENSETREE_API void densetree_model_release(densetree_model* model);
DENSETREE_API densetree_status* densetree_model_get_info(const densetree_model* model,
                                                         densetree_model_info* info) DENSETREE_MUST_CHECK;
/* Null behind the last, or where neither a run nor the caller named the labels. */
DENSETREE_API const char* densetree_model_label(const densetree_model* model, int64_t index);

/* torchvision's initialisation, drawn with the seed. */
DENSETREE_API densetree_status* densetree_model_initialize(densetree_model* model, uint64_t seed) DENSETREE_MUST_CHECK;
/* Weights under torchvision's names (safetensors), each of its shape; and the state of training where the model trains
   and the file has it. */
DENSETREE_API densetree_status* densetree_model_load(densetree_model* model, const char* file) DENSETREE_MUST_CHECK;
/* A checkpoint that load takes, and where the labels are NIH's findings the program; whole or not at all. Needs names
   of the labels. */
DENSETREE_API densetree_status* densetree_model_save(densetree_model* model, const char* file) DENSETREE_MUST_CHECK;

typedef struct densetree_tensor {
  size_t size;
  const char* name; /* torchvision's */
  int64_t elements;
  int64_t shape[4]; /* the first `dimensions` of them */
  int32_t dimensions;
  int32_t reserved;
} densetree_tensor;

/* Weights and running statistics in a fixed order. DENSETREE_NOT_FOUND behind the last. */
DENSETREE_API densetree_status* densetree_model_get_tensor(const densetree_model* model, int64_t index,
                                                           densetree_tensor* tensor) DENSETREE_MUST_CHECK;
/* To host memory, as many values as the tensor has. */
DENSETREE_API densetree_status* densetree_model_read_tensor(densetree_model* model, const char* name, float* values,
                                                            size_t values_size) DENSETREE_MUST_CHECK;

/* ---- Images, inference, training --------------------------------------------------------------------- */

typedef int32_t densetree_place;
enum { DENSETREE_HOST = 0, DENSETREE_DEVICE = 1 };

typedef struct densetree_images {
  size_t size;
  const uint8_t* pixels; /* (count, source_size, source_size), 8-bit grey, rows from the top */
  size_t pixels_size;
  int64_t count;
  densetree_place place; /* of the pixels, and in training of the targets */
  int32_t reserved;
} densetree_images;

typedef struct densetree_outputs {
  size_t size;
  float* logits; /* (count, labels), or null */
  size_t logits_size;
  float* embeddings; /* (count, features): what the classifier sees; or null */
  size_t embeddings_size;
  double* probabilities; /* (count, labels): the sigmoid, in host memory only; or null */
  size_t probabilities_size;
  densetree_place place; /* of logits and embeddings */
  int32_t reserved;
} densetree_outputs;

/* Any number of images, a batch at a time. In host memory outputs that are not finite are an error, which says where in
   the network they come from. When cancelled or failed, the outputs of the batches before hold. progress may be null.
 */
DENSETREE_API densetree_status* densetree_model_infer(densetree_model* model, const densetree_images* images,
                                                      const densetree_outputs* outputs, densetree_progress progress,
                                                      void* progress_data) DENSETREE_MUST_CHECK;

typedef struct densetree_step_params {
  size_t size;
  double lr;           /* Adam's learning rate */
  double weight_decay; /* decoupled, as in AdamW */
  double clip_norm;    /* largest norm of the gradient; 0: any */
} densetree_step_params;

DENSETREE_API densetree_status* densetree_step_params_init(densetree_step_params* params,
                                                           size_t size) DENSETREE_MUST_CHECK;
/* Forward, backward and Adam on one whole batch. targets: (batch_size, labels) from 0 to 1, or NaN where unknown. loss:
   its mean before the update, which may have become infinite or NaN; null: it is not waited for. */
DENSETREE_API densetree_status* densetree_model_train_step(densetree_model* model, const densetree_images* images,
                                                           const float* targets, size_t targets_size,
                                                           const densetree_step_params* params,
                                                           double* loss) DENSETREE_MUST_CHECK;

/* An image file (PNG, JPEG) as a network takes it: 8-bit grey, upright, on a square of this side, resized by areas. */
DENSETREE_API densetree_status* densetree_image_read(const char* file, int64_t side, uint8_t* pixels,
                                                     size_t pixels_size) DENSETREE_MUST_CHECK;
/* The same from (height, width) pixels in memory. */
DENSETREE_API densetree_status* densetree_image_resize(const uint8_t* from, size_t from_size, int64_t width,
                                                       int64_t height, int64_t side, uint8_t* pixels,
                                                       size_t pixels_size) DENSETREE_MUST_CHECK;

/* ---- Calibration: posteriors along a label tree ------------------------------------------------------ */

typedef struct densetree_calibration densetree_calibration;

typedef struct densetree_calibration_params {
  size_t size;
  const char* tree;   /* file of a label tree (TOML), whose leaves are the columns of scores; null: NIH's 14 findings */
  const char* choose; /* thresholds with a guarantee: "precision:0.8,delta:0.1", "any-false:0.1", "miss:0.1"; or null */
  double choose_share; /* of the patients, that choose thresholds; the others calibrate */
  double smoothing;    /* in images per bin */
  uint64_t seed;       /* of the draw of these patients */
  int32_t bins;
  int32_t monotone; /* 1: confidence never falls as the score rises */
} densetree_calibration_params;

typedef struct densetree_calibration_info {
  size_t size;
  int64_t nodes, leaves;    /* leaves are the first nodes, the root is the last */
  int64_t images, patients; /* it was fitted on */
  int32_t has_thresholds;   /* some were chosen */
  int32_t reserved;
} densetree_calibration_info;

typedef struct densetree_node {
  size_t size;
  const char* name;
  int64_t parent; /* -1 of the root */
} densetree_node;

DENSETREE_API densetree_status* densetree_calibration_params_init(densetree_calibration_params* params,
                                                                  size_t size) DENSETREE_MUST_CHECK;
DENSETREE_API densetree_status* densetree_calibration_read(densetree_engine* engine, const char* file,
                                                           densetree_calibration** calibration) DENSETREE_MUST_CHECK;
/* scores: (images, leaves) in [0, 1]; targets: (images, leaves) of 1, 0 or NaN; patients: (images), whose each is. */
DENSETREE_API densetree_status* densetree_calibration_fit(densetree_engine* engine,
                                                          const densetree_calibration_params* params,
                                                          const double* scores, size_t scores_size,
                                                          const float* targets, size_t targets_size,
                                                          const int64_t* patients, size_t patients_size,
                                                          densetree_calibration** calibration) DENSETREE_MUST_CHECK;
DENSETREE_API void densetree_calibration_release(densetree_calibration* calibration);
DENSETREE_API densetree_status* densetree_calibration_write(densetree_calibration* calibration,
                                                            const char* file) DENSETREE_MUST_CHECK;
DENSETREE_API densetree_status* densetree_calibration_get_info(const densetree_calibration* calibration,
                                                               densetree_calibration_info* info) DENSETREE_MUST_CHECK;
/* DENSETREE_NOT_FOUND behind the last. */
DENSETREE_API densetree_status* densetree_calibration_get_node(const densetree_calibration* calibration, int64_t index,
                                                               densetree_node* node) DENSETREE_MUST_CHECK;
/* Whether the model's labels are the leaves, in this order; DENSETREE_FAILED says how they differ. */
DENSETREE_API densetree_status* densetree_calibration_check_model(const densetree_calibration* calibration,
                                                                  const densetree_model* model) DENSETREE_MUST_CHECK;
/* scores: (images, leaves) in [0, 1]; posteriors: (images, nodes). */
DENSETREE_API densetree_status* densetree_calibration_posteriors(densetree_calibration* calibration,
                                                                 const double* scores, size_t scores_size,
                                                                 double* posteriors,
                                                                 size_t posteriors_size) DENSETREE_MUST_CHECK;
/* The chosen ones, by node; infinity where none can be certified. */
DENSETREE_API densetree_status* densetree_calibration_thresholds(const densetree_calibration* calibration,
                                                                 double* thresholds,
                                                                 size_t thresholds_size) DENSETREE_MUST_CHECK;
/* Of one image: which nodes are reported, 1 or 0 each. A node is where its posterior reaches its threshold and that of
   no node below it does: what is not certain enough backs off to its parent. */
DENSETREE_API densetree_status* densetree_calibration_answer(const densetree_calibration* calibration,
                                                             const double* posteriors, size_t posteriors_size,
                                                             const double* thresholds, size_t thresholds_size,
                                                             uint8_t* reported,
                                                             size_t reported_size) DENSETREE_MUST_CHECK;
/* The same in words, a line each. text_length: without the zero at the end; a text that is too small for it is an
   error, and text may be null with a size of 0 to ask for it. */
DENSETREE_API densetree_status* densetree_calibration_report(const densetree_calibration* calibration,
                                                             const double* posteriors, size_t posteriors_size,
                                                             const double* thresholds, size_t thresholds_size,
                                                             char* text, size_t text_size,
                                                             size_t* text_length) DENSETREE_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
