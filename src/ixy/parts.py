"""How Numba compiles functions that are only ever parts of others: as little as it takes to inline
them.

Numba optimizes each function and makes machine code of it, also of one that all its callers inline:
and each caller then optimizes it again. Without the first half of that, a program of many small
functions compiles in a third of the time.
"""

from typing import Any

from numba import config
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering


class Part(JITCodeLibrary):  # type: ignore[misc]
    """Code in LLVM's language, to be linked into that of callers; nobody can call it as it is."""

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, _: str) -> int:
        """There is none."""
        self._ensure_finalized()
        return 0

    @property
    def codegen(self) -> "Part":
        """Who is told of an environment: of Python objects, of which parts have none."""
        return self

    def set_env(self, _: str, __: Any) -> None:
        """Has no use for it."""


@register_pass(mutates_CFG=True, analysis_only=False)
class PartLowering(NativeLowering):  # type: ignore[misc]
    """Lowering to a `Part`, without optimization."""

    _name = "part_lowering"

    def run_pass(self, state: Any) -> bool:
        """One of Numba's passes over a function."""
        state.library = Part(state.targetctx.codegen(), state.func_id.func_qualname)
        before = config.OPT
        config.OPT = type(before)(0)
        try:
            return bool(super().run_pass(state))
        finally:
            config.OPT = before


class PartPipeline(CompilerBase):  # type: ignore[misc]
    """Numba's passes, but for the lowering."""

    def define_pipelines(self) -> list[Any]:
        """The one pipeline that there is."""
        manager = DefaultPassBuilder.define_nopython_pipeline(self.state)
        manager.passes = [
            (PartLowering if step is NativeLowering else step, words)
            for step, words in manager.passes
        ]
        manager.finalize()
        return [manager]
