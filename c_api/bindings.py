#!/usr/bin/env python3
"""Makes from densetree.h what other languages know of the C interface: a Fortran module, and ctypes' declarations for
Python. Both are kept in the repository, and tests hold them against the header.

  bindings.py fortran|python             prints it
  bindings.py fortran|python --check F   exit status 1 where F is not what would be printed
"""

import pathlib
import re
import sys
import textwrap

HEADER = pathlib.Path(__file__).parent / "densetree.h"


class Header:
    """What densetree.h declares, in its order. Types are texts without const: "double*", "densetree_images*"."""

    def __init__(self, text):
        text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
        self.numbers = re.findall(r"#define (DENSETREE_VERSION_\w+) (\d+)", text)
        self.enumerations = [(typedef, re.findall(r"(\w+) = (\d+)", body)) for typedef, body in
                             re.findall(r"typedef int32_t (\w+);\s*enum \{(.*?)\};", text, re.DOTALL)]
        self.callback_texts = re.findall(r"typedef ([^;{]*?)\(\*(\w+)\)\(([^)]*)\)", text)
        self.callbacks = [name for _, name, _ in self.callback_texts]
        self.structs = [(name, [self.declaration(field) for field in body.split(";") if field.strip()])
                        for name, body in re.findall(r"typedef struct (\w+) \{(.*?)\} \1;", text, re.DOTALL)]
        self.functions = [(name, self.plain(result), [] if args.strip() == "void" else
                           [self.declaration(argument)[:2] for argument in args.split(",")])
                          for result, name, args in
                          re.findall(r"DENSETREE_API\s+([\w\s*]+?)\s*\b(\w+)\(([^)]*)\)", text)]

    def callback_types(self):
        """Of each: name, result, types of its arguments."""
        for result, name, arguments in self.callback_texts:
            yield name, self.plain(result), [self.declaration(argument)[1] for argument in arguments.split(",")]

    @staticmethod
    def plain(kind):
        return re.sub(r"\bconst\b|\s", "", kind)

    def declarations(self, field):
        """Of "int64_t a, b" or "char name[16]": name, type, length of an array or 0."""
        kind, names = re.match(r"\s*((?:const\s+)?\w+[\s*]*(?:const\s*\*\s*)?)(\w.*)", field.strip(), re.DOTALL).groups()
        for name in names.split(","):
            name, length = re.match(r"\s*(\w+)(?:\[(\d+)\])?\s*$", name).groups()
            yield name, self.plain(kind), int(length or 0)

    def declaration(self, field):
        return list(self.declarations(field)) if "," in field else next(self.declarations(field))

    def fields(self, struct):
        """As declaration(), one for each name."""
        for entry in struct:
            yield from entry if isinstance(entry, list) else [entry]


KINDS = {"size_t": "integer(c_size_t)", "int32_t": "integer(c_int32_t)", "int64_t": "integer(c_int64_t)",
         "uint64_t": "integer(c_int64_t)", "double": "real(c_double)", "char": "character(kind=c_char)"}


def fortran(header):
    enumerations = {name for name, _ in header.enumerations}
    structs = {name for name, _ in header.structs}

    def value(kind):
        if kind in enumerations:
            return KINDS["int32_t"]
        if kind in header.callbacks:
            return "type(c_funptr)"
        return KINDS.get(kind, "type(c_ptr)")

    def argument(name, kind):
        if kind.endswith("**"):
            return f"type(c_ptr), intent(inout) :: {name}"  # where a handle is put
        if kind.rstrip("*") in structs:
            return f"type({kind[:-1]}), intent(inout) :: {name}"
        if kind == "char*" and name != "text":
            return f"character(kind=c_char), intent(in) :: {name}(*)"
        return f"{value(kind)}, value :: {name}"

    yield "! The C interface of densetree for Fortran, made from densetree.h by bindings.py, which explains it."
    yield "!"
    yield "! Handles, buffers and statuses are type(c_ptr): c_loc(array) of a target. Texts end with c_null_char. A status is"
    yield "! c_null_ptr where a call succeeded; densetree_text(densetree_status_message(status)) is what went wrong."
    yield "module densetree"
    yield "  use, intrinsic :: iso_c_binding"
    yield "  implicit none"
    yield "  public"
    yield ""
    major, minor, patch = (int(number) for _, number in header.numbers)
    yield f"  integer(c_int32_t), parameter :: DENSETREE_VERSION_NUMBER = {major * 1000000 + minor * 1000 + patch}"
    for _, constants in header.enumerations:
        yield ""
        for name, number in constants:
            yield f"  integer(c_int32_t), parameter :: {name} = {number}"
    for name, struct in header.structs:
        yield ""
        yield f"  type, bind(C) :: {name}"
        for field, kind, length in header.fields(struct):
            yield f"    {value(kind)} :: {field}" + (f"({length})" if length else initial(value(kind)))
        yield f"  end type {name}"
    yield ""
    yield "  interface"
    for name, result, arguments in header.functions:
        procedure = "subroutine" if result == "void" else "function"
        statement = f"{procedure} {name}({', '.join(a for a, _ in arguments)}) bind(C)"
        statement += "" if result == "void" else " result(answer)"
        yield " &\n        ".join(textwrap.wrap(statement, 110, initial_indent="    "))
        yield "      import"
        for parameter, kind in arguments:
            yield f"      {argument(parameter, kind)}"
        if result != "void":
            yield f"      {value(result)} :: answer"
        yield f"    end {procedure} {name}"
    yield "  end interface"
    yield ""
    yield "contains"
    yield ""
    yield "  ! A text of the library's."
    yield "  function densetree_text(from) result(text)"
    yield "    type(c_ptr), intent(in) :: from"
    yield "    character(len=:), allocatable :: text"
    yield "    character(kind=c_char), pointer :: letters(:)"
    yield "    integer :: length"
    yield '    text = ""'
    yield "    if (.not. c_associated(from)) return"
    yield "    call c_f_pointer(from, letters, [huge(0)])"
    yield "    length = 0"
    yield "    do while (letters(length + 1) /= c_null_char)"
    yield "      length = length + 1"
    yield "      text = text // letters(length)"
    yield "    end do"
    yield "  end function densetree_text"
    yield "end module densetree"


def initial(kind):
    """Of a field: structs are handed over with zeros in what is not set."""
    if kind.startswith("integer"):
        return " = 0"
    return {"real(c_double)": " = 0", "type(c_ptr)": " = c_null_ptr", "type(c_funptr)": " = c_null_funptr"}.get(kind, "")


# Of arguments and fields in C.
CTYPES = {"size_t": "c_size_t", "int32_t": "c_int32", "int64_t": "c_int64", "uint64_t": "c_uint64", "double": "c_double",
          "char*": "c_char_p", "void": "None"}


def python(header):
    structs = {name for name, _ in header.structs}
    enumerations = {name for name, _ in header.enumerations}

    def kind_of(kind):
        if kind.rstrip("*") in structs:
            return f"POINTER({python_name(kind[:-1])})"
        if kind in header.callbacks:
            return f"{python_name(kind)}Callback"
        if kind in enumerations:
            return "c_int32"
        return CTYPES.get(kind, "c_void_p")

    yield '"""What densetree.h declares, for ctypes. Made from it by bindings.py."""'
    yield ""
    names = "CFUNCTYPE, POINTER, Structure, c_char, c_char_p, c_double, c_int32, c_int64, c_size_t, c_uint64, c_void_p"
    yield f"from ctypes import {names}"
    yield ""
    major, minor, patch = (int(number) for _, number in header.numbers)
    yield f"VERSION = {major * 1000000 + minor * 1000 + patch}"
    yield f'VERSION_TEXT = "{major}.{minor}.{patch}"'
    for _, constants in header.enumerations:
        yield ""
        for name, number in constants:
            yield f"{name.removeprefix('DENSETREE_')} = {number}"
    yield ""
    for name, result, arguments in header.callback_types():
        kinds = ", ".join(kind_of(kind) for kind in [result, *arguments])
        yield f"{python_name(name)}Callback = CFUNCTYPE({kinds})"
    for name, struct in header.structs:
        yield ""
        yield ""
        yield f"class {python_name(name)}(Structure):"
        yield "    _fields_ = ["
        for field, kind, length in header.fields(struct):
            if length:
                yield f'        ("{field}", {"c_char" if kind == "char" else kind_of(kind)} * {length}),'
            else:
                yield f'        ("{field}", {kind_of(kind)}),'
        yield "    ]"
    yield ""
    yield ""
    yield "# Of each function its result and arguments."
    yield "FUNCTIONS = {"
    for name, result, arguments in header.functions:
        kinds = [kind_of(kind) for _, kind in arguments]
        statement = f'"{name}": ({kind_of(result)}, [{", ".join(kinds)}]),'
        yield "\n        ".join(textwrap.wrap(statement, 110, initial_indent="    "))
    yield "}"


def python_name(name):
    """Of densetree_model_params: ModelParams."""
    return "".join(word.capitalize() for word in name.removeprefix("densetree_").split("_"))


LANGUAGES = {"fortran": fortran, "python": python}


def main(arguments):
    if len(arguments) not in (1, 3) or arguments[0] not in LANGUAGES or arguments[1:2] not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    made = "\n".join(LANGUAGES[arguments[0]](Header(HEADER.read_text()))) + "\n"
    if len(arguments) == 1:
        sys.stdout.write(made)
        return 0
    if pathlib.Path(arguments[2]).read_text() == made:
        return 0
    print(f"{arguments[2]} is not what '{sys.argv[0]} {arguments[0]}' makes of {HEADER}; make it anew", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
