"""The project's only compile options, and the types that kernels work on."""

from __future__ import annotations

import functools
import gc
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import llvmlite.binding
import numba
import numpy as np
import numpy.typing as npt
from numba.core import (
    cgutils,
    compiler,
    compiler_machinery,
    typed_passes,
    types,
    typing,
    untyped_passes,
)
from numba.core.codegen import JITCodeLibrary
from numba.core.datamodel import register_default
from numba.core.datamodel.models import OpaqueModel

Floats = npt.NDArray[np.floating[Any]]
"""A float32 or float64 array; all floats of one kernel call are of one type."""

Doubles = npt.NDArray[np.float64]
"""A float64 array: sums over rows, coefficients of a step."""

Integers = npt.NDArray[np.int64]
"""Indices, counts, offsets."""

Function = TypeVar("Function", bound=Callable[..., Any])


def _source_digest() -> str:
    """Digest the source that any kernel may include: a kernel is compiled with those it calls."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted([*package.glob("*.py"), package.parent / "catalogue.py"]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


_DIGEST = _source_digest()


_OPTIONS = {
    "nogil": True,
    "no_cfunc_wrapper": True,
    "error_model": "numpy",
    "fastmath": {"reassoc", "contract", "arcp", "nsz", "afn"},
}
"""The flags leave out ``nnan`` and ``ninf``, so NaN and infinity stay what they are; division by
zero gives them."""


class _Inner(JITCodeLibrary):  # type: ignore[misc]
    """The code of a kernel that only kernels call: kept as it is, for them to link.

    Numba by itself optimizes a function, with all it calls, and makes machine code of it at every
    level of calls anew: two thirds of the time of a first compile.
    """

    _attributes: tuple[str, ...] = ()

    def add_ir_module(self, ir_module: Any) -> None:
        """Take code in as it is: all is optimized once it is together; then a function may go."""
        defined = [function for function in ir_module.functions if function.blocks]
        for function in defined:
            function.attributes.update(self._attributes)
        text = cgutils.normalize_ir_text(str(ir_module))
        self._final_module.link_in(llvmlite.binding.parse_assembly(text))
        for function in defined:
            self._final_module.get_function(function.name).linkage = "linkonce_odr"

    def finalize(self) -> None:
        """Link nothing, optimize nothing."""
        self._finalize_dynamic_globals()
        self._finalized = True

    def _get_module_for_linking(self) -> Any:
        """Give the code with all that lies below it, for a library of Numba's own."""
        whole = self._final_module.clone()
        for library in _link_inner(whole, self._linking_libraries):
            whole.link_in(library._get_module_for_linking(), preserve=True)
        return whole

    def get_pointer_to_function(self, name: str) -> int:
        """Give no address: there is no machine code of its own."""
        return 0

    @property
    def codegen(self) -> Any:
        """What Numba sets a function's environment with, which such a kernel needs none of."""
        return _NoEnvironments


class _Apart(_Inner):
    """The code of such a kernel, kept out of its callers' bodies."""

    _attributes = ("noinline",)


class _Outer(JITCodeLibrary):  # type: ignore[misc]
    """The code of a kernel, with that of all inner ones below it."""

    def finalize(self) -> None:
        """Link every inner kernel once, then optimize all of it and make machine code."""
        others = _link_inner(self._final_module, self._linking_libraries)
        self._linking_libraries: list[Any] = others
        super().finalize()

    def _optimize_final_module(self) -> None:
        """Optimize once: the round before takes out reference counts, of which there are none."""
        passes, builder = self._codegen._module_pass_manager()
        passes.run(self._final_module, builder)


def _link_inner(module: Any, libraries: list[Any]) -> list[Any]:
    """Link the inner kernels of some libraries and those below, each once; give the other ones."""
    found = list(dict.fromkeys(libraries))
    for library in found:
        if isinstance(library, _Inner):
            module.link_in(library._final_module, preserve=True)
            found += [each for each in library._linking_libraries if each not in found]
    return [each for each in found if not isinstance(each, _Inner)]


class _NoEnvironments:
    @staticmethod
    def set_env(name: str, environment: Any) -> None:
        """Do nothing: an environment holds Python objects."""


@functools.cache
def _size_of(target: Any, kind: Any) -> int:
    """Bytes of a type: LLVM is asked once, where Numba asks at each variable."""
    return int(kind.get_abi_size(target))


class _Typing(typing.Context):  # type: ignore[misc]
    """Numba's rules of types, which remember what a call on some types has come to.

    Kernels add, compare and index the same few types thousands of times, and every time, in every
    round, Numba tries all that it knows under that operator: strings, sets, whole arrays. Calls of
    other kernels are not remembered: those compile what they call.
    """

    def __init__(self, rules: typing.Context) -> None:
        self.__dict__.update(vars(rules))
        self._found: dict[Any, Any] = {}

    def resolve_function_type(self, function: Any, arguments: Any, named: Any) -> Any:
        """Give the signature of a call."""
        if named or not isinstance(function, types.Function):
            return super().resolve_function_type(function, arguments, named)
        call = function, tuple(arguments)
        if call not in self._found:
            self._found[call] = super().resolve_function_type(function, arguments, named)
        return self._found[call]

    def resolve_value_type(self, value: Any) -> Any:
        """Give the type of a constant; of a function of Numba's, one that remembers too."""
        found = super().resolve_value_type(value)
        return _remembering(found) if type(found) is types.Function else found


class _Function(types.Function):
    """A function of Numba's that remembers its signatures: every operation asks for it twice."""

    def __init__(self, function: types.Function) -> None:
        super().__init__(function.templates)
        self._found: dict[Any, Any] = {}

    def get_call_type(self, context: Any, arguments: Any, named: Any) -> Any:
        """Give the signature of a call."""
        if named:
            return super().get_call_type(context, arguments, named)
        call = tuple(arguments)
        if call not in self._found:
            self._found[call] = super().get_call_type(context, arguments, named)
        return self._found[call]


register_default(_Function)(OpaqueModel)  # as Numba's own

_remembering = functools.cache(_Function)

_typing = functools.cache(_Typing)


class _Flags(compiler.Flags):  # type: ignore[misc]
    """Numba's options, compared a hundred thousand times, read out at once."""

    def values(self) -> dict[str, Any]:
        """Give the value of every option."""
        return {**_DEFAULTS, **self._values}


_DEFAULTS = {name: option.default for name, option in compiler.Flags.options.items()}


_NEEDLESS = {
    untyped_passes.WithLifting,
    untyped_passes.InlineClosureLikes,
    untyped_passes.RewriteSemanticConstants,
    untyped_passes.DeadBranchPrune,
    untyped_passes.GenericRewrites,
    untyped_passes.RewriteDynamicRaises,
    untyped_passes.MakeFunctionToJitFunction,
    untyped_passes.InlineInlinables,
    untyped_passes.FindLiterallyCalls,
    untyped_passes.LiteralUnroll,
    untyped_passes.LiteralPropagationSubPipelinePass,
    typed_passes.InlineOverloads,
    typed_passes.NopythonRewrites,
}
"""Passes for what no kernel has: closures, expressions of whole arrays, errors that are raised,
loops over tuples. They took a twentieth of the time of a first compile."""


def _compiler(library: type[JITCodeLibrary]) -> type[compiler.CompilerBase]:
    """Give Numba's compiler for code of such a library: with one pass more, and without some."""

    @compiler_machinery.register_pass(mutates_CFG=False, analysis_only=False)
    class Prepare(compiler_machinery.FunctionPass):  # type: ignore[misc]
        """Before code is made: choose the library; count no references, as callers hold them."""

        _name = f"downslope{library.__name__.lower()}"

        def __init__(self) -> None:
            super().__init__()

        def run_pass(self, state: Any) -> bool:
            context = state.targetctx
            state.library = library(context.codegen(), state.func_id.func_qualname)
            state.library.enable_object_caching()
            context.enable_nrt, context.typing_context = False, state.typingctx
            context.get_abi_sizeof = functools.partial(_size_of, context.target_data)
            return False

    class Compiler(compiler.CompilerBase):  # type: ignore[misc]
        def __init__(
            self, typing_context: Any, target: Any, library: Any, arguments: Any, result: Any,
            flags: Any, variables: Any,
        ) -> None:  # fmt: skip
            super().__init__(_typing(typing_context), target, library, arguments, result,
                             _Flags(flags), variables)  # fmt: skip

        def define_pipelines(self) -> list[Any]:
            passes = compiler.DefaultPassBuilder.define_nopython_pipeline(self.state)
            passes.passes = [each for each in passes.passes if each[0] not in _NEEDLESS]
            passes.add_pass_after(Prepare, compiler.NoPythonSupportedFeatureValidation)
            passes.finalize()
            return [passes]

    return Compiler


_KERNEL = {**_OPTIONS, "cache": True, "pipeline_class": _compiler(_Outer)}

_INNER = {**_OPTIONS, "no_cpython_wrapper": True, "pipeline_class": _compiler(_Inner)}

_APART = {**_INNER, "pipeline_class": _compiler(_Apart)}

_EXACT = {**_INNER, "fastmath": False}


def kernel(function: Function) -> Function:
    """Compile a kernel: arrays in, arrays written; no interpreter lock; cached on disk.

    Shapes are not checked in here: the caller has done so.
    """
    return cast(Function, _uncollected(_stamped(numba.njit(**_KERNEL)(function))))


def inner(function: Function) -> Function:
    """Compile a kernel that only kernels call: into their code, without any of its own."""
    return cast(Function, numba.njit(**_INNER)(function))


def apart(function: Function) -> Function:
    """Compile an inner kernel that stays one: not copied into every place that calls it.

    For large ones: LLVM's time grows faster than the function it works on.
    """
    return cast(Function, numba.njit(**_APART)(function))


def exact(function: Function) -> Function:
    """Compile an elementwise kernel that only kernels call, for exactly the operations written.

    Free to reassociate, LLVM chooses differently for a vector, for a loop's remainder and for a
    single element: then a row's result would depend on its place in the block and on the number of
    threads. Where two roundings are too many, `fused` says so.
    """
    return cast(Function, numba.njit(**_EXACT)(function))


def _stamped(compiled: Any) -> Any:
    """Let the cache of a kernel depend on the source of all kernels, as it includes those it calls.

    Numba by itself looks at the kernel's own file only, and would keep a stale kernel.
    """
    compiled._cache._cache_file._source_stamp = _DIGEST
    return compiled


def _uncollected(compiled: Any) -> Any:
    """Let a kernel compile while no garbage is collected.

    A compiler makes millions of objects, few of them garbage: looking through them again and again
    was a tenth of the time.
    """
    compiles = compiled.compile

    def compile_uncollected(signature: Any) -> Any:
        collects = gc.isenabled()
        gc.disable()
        try:
            return compiles(signature)
        finally:
            if collects:
                gc.enable()

    compiled.compile = compile_uncollected
    return compiled


def is_cached(compiled: Any) -> bool:
    """Say whether a kernel lies compiled on disk already."""
    return bool(compiled._cache._cache_file._load_index())
