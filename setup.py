"""Builds the operators' library with CMake; everything else stands in pyproject.toml."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()
BUILD = ROOT / "build" / "operators"  # stays, so that building again compiles only what has changed


class CMakeBuild(build_ext):
    """Calls CMake, which has the one list of sources."""

    def get_ext_filename(self, fullname: str) -> str:
        # Not a Python module, so without Python's suffix.
        return f"{fullname.replace('.', '/')}.so"

    def build_extension(self, ext: Extension) -> None:
        import torch

        configure = [
            f"-DTORCH_EBPC_TORCH_DIR={torch.__path__[0]}",
            "-DCMAKE_INSTALL_LIBDIR=lib",
            "-DBUILD_SHARED_LIBS=ON",
            *shlex.split(os.environ.get("CMAKE_ARGS", "")),
        ]
        if ninja := shutil.which("ninja"):
            configure += ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
        subprocess.check_call(["cmake", "-S", ROOT, "-B", BUILD, *configure])
        build = ["cmake", "--build", BUILD, "--target", "torch_ebpc"]
        subprocess.check_call([*build, "--parallel", str(os.cpu_count() or 1)])
        self._install(Path(self.get_ext_fullpath(ext.name)).parents[1])

    def copy_extensions_to_source(self) -> None:
        """For an editable installation."""
        self._install(ROOT / "torch_ebpc")

    def _install(self, package: Path) -> None:
        # Libraries, headers and CMake's package.
        subprocess.check_call(["cmake", "--install", BUILD, "--prefix", package, "--strip"])


class AnyPythonWheel(bdist_wheel):
    """The library uses neither Python's C API nor PyTorch's unstable one, so one wheel serves every
    Python 3 and every PyTorch from 2.10 on; only the platform matters."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


setup(
    version=(ROOT / "version.txt").read_text().strip(),
    ext_modules=[Extension("torch_ebpc.lib.libtorch_ebpc", sources=[])],
    cmdclass={"build_ext": CMakeBuild, "bdist_wheel": AnyPythonWheel},
)
