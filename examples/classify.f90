! What a trained network finds in an X-ray: probabilities of its labels.
!   classify_fortran RUN IMAGE
! gfortran densetree.f90 classify.f90 $(pkg-config --libs densetree) -o classify_fortran
program classify
  use densetree
  implicit none
  type(densetree_engine_params) :: engine_params
  type(densetree_model_params) :: params
  type(densetree_model_info) :: info
  type(densetree_images) :: images
  type(densetree_outputs) :: outputs
  type(c_ptr) :: engine = c_null_ptr, plan = c_null_ptr, model = c_null_ptr
  integer(c_int8_t), allocatable, target :: pixels(:)
  real(c_double), allocatable, target :: scores(:)
  character(kind=c_char, len=:), allocatable, target :: run
  integer(c_int64_t) :: label

  if (command_argument_count() /= 2) error stop "usage: classify_fortran RUN IMAGE"
  call check(densetree_engine_params_init(engine_params, c_sizeof(engine_params)))
  call check(densetree_engine_create(DENSETREE_VERSION_NUMBER, engine_params, engine))

  call check(densetree_model_params_init(params, c_sizeof(params)))
  run = argument(1)
  params%run = c_loc(run)
  params%batch_size = 1
  call check(densetree_plan_create(engine, params, plan))
  info%size = c_sizeof(info)
  call check(densetree_plan_get_info(plan, info))
  call check(densetree_model_create(plan, c_null_ptr, 0_c_size_t, model))
  call densetree_plan_release(plan)

  allocate (pixels(info%source_size**2), scores(info%labels))
  call check(densetree_image_read(argument(2), info%source_size, c_loc(pixels), size(pixels, kind=c_size_t)))
  images%size = c_sizeof(images)
  images%pixels = c_loc(pixels)
  images%pixels_size = size(pixels)
  images%count = 1
  outputs%size = c_sizeof(outputs)
  outputs%probabilities = c_loc(scores)
  outputs%probabilities_size = size(scores)
  call check(densetree_model_infer(model, images, outputs, c_null_funptr, c_null_ptr))
  do label = 1, info%labels
    print '(2x, a20, f9.6)', padded(densetree_text(densetree_model_label(model, label - 1))), scores(label)
  end do

  call densetree_model_release(model)
  call densetree_engine_release(engine)

contains

  subroutine check(status)
    type(c_ptr), intent(in) :: status
    character(len=:), allocatable :: message
    if (.not. c_associated(status)) return
    message = densetree_text(densetree_status_message(status))
    call densetree_status_release(status)
    error stop "classify_fortran: " // message
  end subroutine check

  function argument(number) result(text)
    integer, intent(in) :: number
    character(kind=c_char, len=:), allocatable :: text
    integer :: length
    call get_command_argument(number, length=length)
    allocate (character(kind=c_char, len=length) :: text)
    call get_command_argument(number, text)
    text = text // c_null_char
  end function argument

  ! To twenty places.
  function padded(name) result(text)
    character(len=*), intent(in) :: name
    character(len=20) :: text
    text = name
  end function padded
end program classify
