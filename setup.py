"""Builds one module of kernels for each element type and instruction level, and the door to them.

Beside each of those for floats stands one that measures what the machine can do, for benchmarks.

CONV2D_DEBUG=1 builds with bounds checks and the address and undefined-behaviour sanitizers;
CONV2D_STRICT=1 (for CI) fails on a warning of the compiler or a performance hint of Cython.
"""

import contextlib
import io
import os
import platform
import sys
import tempfile
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ELEMENTS = ["f32", "f64", "u32", "u64", "u16"]  # CONV2D_ELEMENT in simd.h
OF_KIND = {"planar": 5, "layer": 4, "limits": 2}  # how many of them, of each kind of module
LEVELS = ["v2", "v3", "v4"]
DEBUG = os.environ.get("CONV2D_DEBUG") == "1"
STRICT = os.environ.get("CONV2D_STRICT") == "1"
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "wraparound": False,
    "initializedcheck": DEBUG,
    "cdivision": True,
    "embedsignature": True,
    "show_performance_hints": True,
}
# Never -ffast-math, not even to link: it makes the process flush subnormal numbers to zero.
OPTIMIZE = [
    "-O3",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-predictive-commoning",  # writes tiles three times over, and spills
    "-g0",
]
# Loops a second time, for steps of 1, are 3 % of all modules, and no faster. gcc alone knows this.
# What exceptions of C++ would need, which kernels never see, is 4 %.
SMALLER = ["-fno-version-loops-for-strides", "-fno-asynchronous-unwind-tables"]
# Code in pages of its own leaves up to 12 KB empty in each module.
DENSE = ["-Wl,-z,noseparate-code"]
SANITIZE = ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-g"]
# The tiles are written as small inline functions; only inlined do they live in registers.
INLINE = ("CYTHON_INLINE", "inline __attribute__((always_inline))")


def extension(name: str, source: str, **options: object) -> Extension:
    """One cythonized module. Each has a folder of its own, or the C files overwrite each other."""
    bare = Extension(f"conv2d.{name}", [f"pyx/{source}.pyx"])
    messages = io.StringIO()
    try:
        with contextlib.redirect_stderr(messages):
            module = cythonize(
                [bare],
                build_dir=f"build/cython/{name}",
                include_path=["pyx"],
                compiler_directives=DIRECTIVES,
                quiet=True,
            )[0]
    finally:
        sys.stderr.write(messages.getvalue())
    if STRICT and messages.getvalue():
        raise SystemExit("CONV2D_STRICT=1 refuses warnings and performance hints of Cython")
    module.include_dirs = ["pyx", numpy.get_include()]
    for option, value in options.items():
        setattr(module, option, value)
    return module


def kernel_modules() -> list[Extension]:
    """Every element type at every level; the build leaves out what the compiler cannot do."""
    levels = [*LEVELS, "generic"]
    modules = [
        extension(f"_{source}_{element}_{level}", source, element=number, level=level)
        for source, count in OF_KIND.items()
        for number, element in enumerate(ELEMENTS[:count])
        for level in levels
    ]
    wide = ELEMENTS.index("f64")  # what the transforms compute in, for both types of floats
    return modules + [
        extension(f"_fft_{level}", "fft", element=wide, level=level) for level in levels
    ]


class BuildModules(build_ext):
    """Finds out what the compiler can do, then sets the flags of each module."""

    def build_extensions(self) -> None:
        """Set flags, then build."""
        gcc_like = self.compiler.compiler_type != "msvc"
        program = "int main(void) { return 0; }"
        openmp = ["-fopenmp"] if gcc_like else ["/openmp"]
        openmp = openmp if self.compiles(program, openmp) else []
        smaller = SMALLER if gcc_like and self.compiles(program, SMALLER) else []
        dense = DENSE if gcc_like and self.compiles(program, DENSE) else []
        asks = 'int main(void) { return __builtin_cpu_supports("x86-64-v4"); }'
        x86 = platform.machine().lower() in ("x86_64", "amd64")
        levels = x86 and gcc_like and self.compiles(asks, ["-march=x86-64-v4"])
        for module in self.extensions:
            level = getattr(module, "level", None)
            module.extra_compile_args = [*(OPTIMIZE if gcc_like else ["/O2"]), *smaller, *openmp]
            module.extra_link_args = [*openmp, *dense] if gcc_like else []
            module.define_macros = [("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")]
            if levels:
                module.define_macros.append(("CONV2D_LEVELS", "1"))
            if level is not None:
                module.define_macros.append(("CONV2D_ELEMENT", str(module.element)))
            if level is not None and gcc_like:
                module.define_macros.append(INLINE)
            if level in LEVELS:
                module.extra_compile_args.append(f"-march=x86-64-{level}")
            if DEBUG:
                module.extra_compile_args += SANITIZE
                module.extra_link_args += SANITIZE
            if STRICT:
                module.extra_compile_args += ["-Wall", "-Wextra", "-Werror"]
        self.extensions = [
            module
            for module in self.extensions
            if levels or getattr(module, "level", "") not in LEVELS
        ]
        super().build_extensions()

    def finalize_options(self) -> None:
        """Compile on all cores; keep the objects of a debug build apart."""
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()
        if DEBUG:  # no object file of another build may serve
            self.build_temp = "build/debug"
            self.force = True

    def compiles(self, program: str, flags: list[str]) -> bool:
        """Whether the compiler and the linker take a program with these flags."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "try.c"
            source.write_text(program)
            try:
                objects = self.compiler.compile([str(source)], folder, extra_postargs=flags)
                self.compiler.link_executable(objects, "try", folder, extra_postargs=flags)
            except Exception:  # each class of compilers has errors of its own
                return False
        return True


setup(
    ext_modules=[
        extension("_cpu", "cpu"),
        extension("_door", "door"),
        *kernel_modules(),
    ],
    cmdclass={"build_ext": BuildModules},
)
