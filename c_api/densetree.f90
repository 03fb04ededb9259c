! The C interface of densetree for Fortran, made from densetree.h by bindings.py, which explains it.
!
! Handles, buffers and statuses are type(c_ptr): c_loc(array) of a target. Texts end with c_null_char. A status is
! c_null_ptr where a call succeeded; densetree_text(densetree_status_message(status)) is what went wrong.
module densetree
  use, intrinsic :: iso_c_binding
  implicit none
  public

  integer(c_int32_t), parameter :: DENSETREE_VERSION_NUMBER = 1000

  integer(c_int32_t), parameter :: DENSETREE_OK = 0
  integer(c_int32_t), parameter :: DENSETREE_INVALID_ARGUMENT = 1
  integer(c_int32_t), parameter :: DENSETREE_UNAVAILABLE = 2
  integer(c_int32_t), parameter :: DENSETREE_OUT_OF_MEMORY = 3
  integer(c_int32_t), parameter :: DENSETREE_FAILED = 4
  integer(c_int32_t), parameter :: DENSETREE_CANCELLED = 5
  integer(c_int32_t), parameter :: DENSETREE_BUSY = 6
  integer(c_int32_t), parameter :: DENSETREE_NOT_FOUND = 7

  integer(c_int32_t), parameter :: DENSETREE_FP32 = 0
  integer(c_int32_t), parameter :: DENSETREE_TF32 = 1
  integer(c_int32_t), parameter :: DENSETREE_BF16 = 2

  integer(c_int32_t), parameter :: DENSETREE_STORE = 0
  integer(c_int32_t), parameter :: DENSETREE_SHARED = 1
  integer(c_int32_t), parameter :: DENSETREE_RECOMPUTE = 2

  integer(c_int32_t), parameter :: DENSETREE_MSE = 0
  integer(c_int32_t), parameter :: DENSETREE_BCE = 1

  integer(c_int32_t), parameter :: DENSETREE_HOST = 0
  integer(c_int32_t), parameter :: DENSETREE_DEVICE = 1

  type, bind(C) :: densetree_device_info
    integer(c_size_t) :: size = 0
    character(kind=c_char) :: name(16)
    character(kind=c_char) :: detail(464)
    integer(c_int32_t) :: available = 0
    integer(c_int32_t) :: reserved = 0
  end type densetree_device_info

  type, bind(C) :: densetree_engine_params
    integer(c_size_t) :: size = 0
    type(c_ptr) :: device = c_null_ptr
    type(c_ptr) :: stream = c_null_ptr
    type(c_funptr) :: log = c_null_funptr
    type(c_ptr) :: log_data = c_null_ptr
    type(c_funptr) :: allocate = c_null_funptr
    type(c_funptr) :: free = c_null_funptr
    type(c_ptr) :: memory_data = c_null_ptr
    integer(c_int32_t) :: threads = 0
    integer(c_int32_t) :: reserved = 0
  end type densetree_engine_params

  type, bind(C) :: densetree_model_params
    integer(c_size_t) :: size = 0
    type(c_ptr) :: run = c_null_ptr
    type(c_ptr) :: architecture = c_null_ptr
    type(c_ptr) :: label_names = c_null_ptr
    type(c_ptr) :: positive_weights = c_null_ptr
    integer(c_int64_t) :: labels = 0
    integer(c_int64_t) :: batch_size = 0
    integer(c_int64_t) :: image_size = 0
    integer(c_int64_t) :: source_size = 0
    integer(c_int32_t) :: precision = 0
    integer(c_int32_t) :: memory = 0
    integer(c_int32_t) :: loss = 0
    integer(c_int32_t) :: training = 0
    integer(c_int32_t) :: inference = 0
    integer(c_int32_t) :: capture = 0
  end type densetree_model_params

  type, bind(C) :: densetree_model_info
    integer(c_size_t) :: size = 0
    integer(c_size_t) :: bytes = 0
    integer(c_size_t) :: persistent_bytes = 0
    integer(c_size_t) :: alignment = 0
    type(c_ptr) :: architecture = c_null_ptr
    integer(c_int64_t) :: labels = 0
    integer(c_int64_t) :: features = 0
    integer(c_int64_t) :: batch_size = 0
    integer(c_int64_t) :: image_size = 0
    integer(c_int64_t) :: source_size = 0
    integer(c_int64_t) :: steps = 0
    integer(c_int32_t) :: training = 0
    integer(c_int32_t) :: inference = 0
  end type densetree_model_info

  type, bind(C) :: densetree_tensor
    integer(c_size_t) :: size = 0
    type(c_ptr) :: name = c_null_ptr
    integer(c_int64_t) :: elements = 0
    integer(c_int64_t) :: shape(4)
    integer(c_int32_t) :: dimensions = 0
    integer(c_int32_t) :: reserved = 0
  end type densetree_tensor

  type, bind(C) :: densetree_images
    integer(c_size_t) :: size = 0
    type(c_ptr) :: pixels = c_null_ptr
    integer(c_size_t) :: pixels_size = 0
    integer(c_int64_t) :: count = 0
    integer(c_int32_t) :: place = 0
    integer(c_int32_t) :: reserved = 0
  end type densetree_images

  type, bind(C) :: densetree_outputs
    integer(c_size_t) :: size = 0
    type(c_ptr) :: logits = c_null_ptr
    integer(c_size_t) :: logits_size = 0
    type(c_ptr) :: embeddings = c_null_ptr
    integer(c_size_t) :: embeddings_size = 0
    type(c_ptr) :: probabilities = c_null_ptr
    integer(c_size_t) :: probabilities_size = 0
    integer(c_int32_t) :: place = 0
    integer(c_int32_t) :: reserved = 0
  end type densetree_outputs

  type, bind(C) :: densetree_step_params
    integer(c_size_t) :: size = 0
    real(c_double) :: lr = 0
    real(c_double) :: weight_decay = 0
    real(c_double) :: clip_norm = 0
  end type densetree_step_params

  type, bind(C) :: densetree_calibration_params
    integer(c_size_t) :: size = 0
    type(c_ptr) :: tree = c_null_ptr
    type(c_ptr) :: choose = c_null_ptr
    real(c_double) :: choose_share = 0
    real(c_double) :: smoothing = 0
    integer(c_int64_t) :: seed = 0
    integer(c_int32_t) :: bins = 0
    integer(c_int32_t) :: monotone = 0
  end type densetree_calibration_params

  type, bind(C) :: densetree_calibration_info
    integer(c_size_t) :: size = 0
    integer(c_int64_t) :: nodes = 0
    integer(c_int64_t) :: leaves = 0
    integer(c_int64_t) :: images = 0
    integer(c_int64_t) :: patients = 0
    integer(c_int32_t) :: has_thresholds = 0
    integer(c_int32_t) :: reserved = 0
  end type densetree_calibration_info

  type, bind(C) :: densetree_node
    integer(c_size_t) :: size = 0
    type(c_ptr) :: name = c_null_ptr
    integer(c_int64_t) :: parent = 0
  end type densetree_node

  interface
    function densetree_status_code(status) bind(C) result(answer)
      import
      type(c_ptr), value :: status
      integer(c_int32_t) :: answer
    end function densetree_status_code
    function densetree_status_message(status) bind(C) result(answer)
      import
      type(c_ptr), value :: status
      type(c_ptr) :: answer
    end function densetree_status_message
    subroutine densetree_status_release(status) bind(C)
      import
      type(c_ptr), value :: status
    end subroutine densetree_status_release
    function densetree_version() bind(C) result(answer)
      import
      integer(c_int32_t) :: answer
    end function densetree_version
    function densetree_device_get(index, device) bind(C) result(answer)
      import
      integer(c_int32_t), value :: index
      type(densetree_device_info), intent(inout) :: device
      type(c_ptr) :: answer
    end function densetree_device_get
    function densetree_engine_params_init(params, size) bind(C) result(answer)
      import
      type(densetree_engine_params), intent(inout) :: params
      integer(c_size_t), value :: size
      type(c_ptr) :: answer
    end function densetree_engine_params_init
    function densetree_engine_create(version, params, engine) bind(C) result(answer)
      import
      integer(c_int32_t), value :: version
      type(densetree_engine_params), intent(inout) :: params
      type(c_ptr), intent(inout) :: engine
      type(c_ptr) :: answer
    end function densetree_engine_create
    subroutine densetree_engine_release(engine) bind(C)
      import
      type(c_ptr), value :: engine
    end subroutine densetree_engine_release
    function densetree_engine_device(engine) bind(C) result(answer)
      import
      type(c_ptr), value :: engine
      type(c_ptr) :: answer
    end function densetree_engine_device
    function densetree_engine_stream(engine) bind(C) result(answer)
      import
      type(c_ptr), value :: engine
      type(c_ptr) :: answer
    end function densetree_engine_stream
    function densetree_engine_wait(engine) bind(C) result(answer)
      import
      type(c_ptr), value :: engine
      type(c_ptr) :: answer
    end function densetree_engine_wait
    function densetree_model_params_init(params, size) bind(C) result(answer)
      import
      type(densetree_model_params), intent(inout) :: params
      integer(c_size_t), value :: size
      type(c_ptr) :: answer
    end function densetree_model_params_init
    function densetree_plan_create(engine, params, plan) bind(C) result(answer)
      import
      type(c_ptr), value :: engine
      type(densetree_model_params), intent(inout) :: params
      type(c_ptr), intent(inout) :: plan
      type(c_ptr) :: answer
    end function densetree_plan_create
    subroutine densetree_plan_release(plan) bind(C)
      import
      type(c_ptr), value :: plan
    end subroutine densetree_plan_release
    function densetree_plan_get_info(plan, info) bind(C) result(answer)
      import
      type(c_ptr), value :: plan
      type(densetree_model_info), intent(inout) :: info
      type(c_ptr) :: answer
    end function densetree_plan_get_info
    function densetree_largest_batch(engine, params, bytes, batch_size) bind(C) result(answer)
      import
      type(c_ptr), value :: engine
      type(densetree_model_params), intent(inout) :: params
      integer(c_size_t), value :: bytes
      type(c_ptr), value :: batch_size
      type(c_ptr) :: answer
    end function densetree_largest_batch
    function densetree_model_create(plan, memory, bytes, model) bind(C) result(answer)
      import
      type(c_ptr), value :: plan
      type(c_ptr), value :: memory
      integer(c_size_t), value :: bytes
      type(c_ptr), intent(inout) :: model
      type(c_ptr) :: answer
    end function densetree_model_create
    subroutine densetree_model_release(model) bind(C)
      import
      type(c_ptr), value :: model
    end subroutine densetree_model_release
    function densetree_model_get_info(model, info) bind(C) result(answer)
      import
      type(c_ptr), value :: model
      type(densetree_model_info), intent(inout) :: info
      type(c_ptr) :: answer
    end function densetree_model_get_info
    function densetree_model_label(model, index) bind(C) result(answer)
      import
      type(c_ptr), value :: model
      integer(c_int64_t), value :: index
      type(c_ptr) :: answer
    end function densetree_model_label
    function densetree_model_initialize(model, seed) bind(C) result(answer)
      import
      type(c_ptr), value :: model
      integer(c_int64_t), value :: seed
      type(c_ptr) :: answer
    end function densetree_model_initialize
    function densetree_model_load(model, file) bind(C) result(answer)
      import
      type(c_ptr), value :: model
      character(kind=c_char), intent(in) :: file(*)
      type(c_ptr) :: answer
    end function densetree_model_load
    function densetree_model_save(model, file) bind(C) result(answer)
      import
      type(c_ptr), value :: model
      character(kind=c_char), intent(in) :: file(*)
      type(c_ptr) :: answer
    end function densetree_model_save
    function densetree_model_get_tensor(model, index, tensor) bind(C) result(answer)
      import
      type(c_ptr), value :: model
      integer(c_int64_t), value :: index
      type(densetree_tensor), intent(inout) :: tensor
      type(c_ptr) :: answer
    end function densetree_model_get_tensor
    function densetree_model_read_tensor(model, name, values, values_size) bind(C) result(answer)
      import
      type(c_ptr), value :: model
      character(kind=c_char), intent(in) :: name(*)
      type(c_ptr), value :: values
      integer(c_size_t), value :: values_size
      type(c_ptr) :: answer
    end function densetree_model_read_tensor
    function densetree_model_infer(model, images, outputs, progress, progress_data) bind(C) result(answer)
      import
      type(c_ptr), value :: model
      type(densetree_images), intent(inout) :: images
      type(densetree_outputs), intent(inout) :: outputs
      type(c_funptr), value :: progress
      type(c_ptr), value :: progress_data
      type(c_ptr) :: answer
    end function densetree_model_infer
    function densetree_step_params_init(params, size) bind(C) result(answer)
      import
      type(densetree_step_params), intent(inout) :: params
      integer(c_size_t), value :: size
      type(c_ptr) :: answer
    end function densetree_step_params_init
    function densetree_model_train_step(model, images, targets, targets_size, params, loss) bind(C) &
        result(answer)
      import
      type(c_ptr), value :: model
      type(densetree_images), intent(inout) :: images
      type(c_ptr), value :: targets
      integer(c_size_t), value :: targets_size
      type(densetree_step_params), intent(inout) :: params
      type(c_ptr), value :: loss
      type(c_ptr) :: answer
    end function densetree_model_train_step
    function densetree_image_read(file, side, pixels, pixels_size) bind(C) result(answer)
      import
      character(kind=c_char), intent(in) :: file(*)
      integer(c_int64_t), value :: side
      type(c_ptr), value :: pixels
      integer(c_size_t), value :: pixels_size
      type(c_ptr) :: answer
    end function densetree_image_read
    function densetree_image_resize(from, from_size, width, height, side, pixels, pixels_size) bind(C) &
        result(answer)
      import
      type(c_ptr), value :: from
      integer(c_size_t), value :: from_size
      integer(c_int64_t), value :: width
      integer(c_int64_t), value :: height
      integer(c_int64_t), value :: side
      type(c_ptr), value :: pixels
      integer(c_size_t), value :: pixels_size
      type(c_ptr) :: answer
    end function densetree_image_resize
    function densetree_calibration_params_init(params, size) bind(C) result(answer)
      import
      type(densetree_calibration_params), intent(inout) :: params
      integer(c_size_t), value :: size
      type(c_ptr) :: answer
    end function densetree_calibration_params_init
    function densetree_calibration_read(engine, file, calibration) bind(C) result(answer)
      import
      type(c_ptr), value :: engine
      character(kind=c_char), intent(in) :: file(*)
      type(c_ptr), intent(inout) :: calibration
      type(c_ptr) :: answer
    end function densetree_calibration_read
    function densetree_calibration_fit(engine, params, scores, scores_size, targets, targets_size, patients, &
        patients_size, calibration) bind(C) result(answer)
      import
      type(c_ptr), value :: engine
      type(densetree_calibration_params), intent(inout) :: params
      type(c_ptr), value :: scores
      integer(c_size_t), value :: scores_size
      type(c_ptr), value :: targets
      integer(c_size_t), value :: targets_size
      type(c_ptr), value :: patients
      integer(c_size_t), value :: patients_size
      type(c_ptr), intent(inout) :: calibration
      type(c_ptr) :: answer
    end function densetree_calibration_fit
    subroutine densetree_calibration_release(calibration) bind(C)
      import
      type(c_ptr), value :: calibration
    end subroutine densetree_calibration_release
    function densetree_calibration_write(calibration, file) bind(C) result(answer)
      import
      type(c_ptr), value :: calibration
      character(kind=c_char), intent(in) :: file(*)
      type(c_ptr) :: answer
    end function densetree_calibration_write
    function densetree_calibration_get_info(calibration, info) bind(C) result(answer)
      import
      type(c_ptr), value :: calibration
      type(densetree_calibration_info), intent(inout) :: info
      type(c_ptr) :: answer
    end function densetree_calibration_get_info
    function densetree_calibration_get_node(calibration, index, node) bind(C) result(answer)
      import
      type(c_ptr), value :: calibration
      integer(c_int64_t), value :: index
      type(densetree_node), intent(inout) :: node
      type(c_ptr) :: answer
    end function densetree_calibration_get_node
    function densetree_calibration_check_model(calibration, model) bind(C) result(answer)
      import
      type(c_ptr), value :: calibration
      type(c_ptr), value :: model
      type(c_ptr) :: answer
    end function densetree_calibration_check_model
    function densetree_calibration_posteriors(calibration, scores, scores_size, posteriors, posteriors_size) &
        bind(C) result(answer)
      import
      type(c_ptr), value :: calibration
      type(c_ptr), value :: scores
      integer(c_size_t), value :: scores_size
      type(c_ptr), value :: posteriors
      integer(c_size_t), value :: posteriors_size
      type(c_ptr) :: answer
    end function densetree_calibration_posteriors
    function densetree_calibration_thresholds(calibration, thresholds, thresholds_size) bind(C) result(answer)
      import
      type(c_ptr), value :: calibration
      type(c_ptr), value :: thresholds
      integer(c_size_t), value :: thresholds_size
      type(c_ptr) :: answer
    end function densetree_calibration_thresholds
    function densetree_calibration_answer(calibration, posteriors, posteriors_size, thresholds, &
        thresholds_size, reported, reported_size) bind(C) result(answer)
      import
      type(c_ptr), value :: calibration
      type(c_ptr), value :: posteriors
      integer(c_size_t), value :: posteriors_size
      type(c_ptr), value :: thresholds
      integer(c_size_t), value :: thresholds_size
      type(c_ptr), value :: reported
      integer(c_size_t), value :: reported_size
      type(c_ptr) :: answer
    end function densetree_calibration_answer
    function densetree_calibration_report(calibration, posteriors, posteriors_size, thresholds, &
        thresholds_size, text, text_size, text_length) bind(C) result(answer)
      import
      type(c_ptr), value :: calibration
      type(c_ptr), value :: posteriors
      integer(c_size_t), value :: posteriors_size
      type(c_ptr), value :: thresholds
      integer(c_size_t), value :: thresholds_size
      type(c_ptr), value :: text
      integer(c_size_t), value :: text_size
      type(c_ptr), value :: text_length
      type(c_ptr) :: answer
    end function densetree_calibration_report
  end interface

contains

  ! A text of the library's.
  function densetree_text(from) result(text)
    type(c_ptr), intent(in) :: from
    character(len=:), allocatable :: text
    character(kind=c_char), pointer :: letters(:)
    integer :: length
    text = ""
    if (.not. c_associated(from)) return
    call c_f_pointer(from, letters, [huge(0)])
    length = 0
    do while (letters(length + 1) /= c_null_char)
      length = length + 1
      text = text // letters(length)
    end do
  end function densetree_text
end module densetree
